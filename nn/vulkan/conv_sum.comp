#version 460
// conv_sum.comp - adds the parts of a split convolution, in order, then bias and steps (conv.glsl).
#include "common.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint y, bias, partial;   // elements of the slab, floats of the weights, floats of the slab
    uint count, part;        // values: rows * channels; from part to part
    uint channels;
    uint step[6];
} push;

layout(constant_id = 8) const uint SPLITS = 2;          // known, so that all of them are read at once

#define STEP_CHANNELS push.channels
#include "steps.glsl"

void main() {
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const uint row = i / push.channels, channel = i - row * push.channels;
        float v = weights_float[push.bias + channel];
        [[unroll]] for (uint s = 0; s < SPLITS; s++) v += slab_float[push.partial + s * push.part + i];
        slab[push.y + i] = element(apply_steps(v, row, channel));
    }
}
