#version 460
// group_norm.comp - the last of group norm's dispatches: y = (x - mean) scale + beta, then the node's steps.
// Wu & He 2018, arXiv:1803.08494.
#include "group_norm.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool FOUR = false;

#define STEP_CHANNELS push.channels
#include "steps.glsl"

vec4 four_floats(uint at) { return vec4(slab_float[at], slab_float[at + 1], slab_float[at + 2], slab_float[at + 3]); }

void main() {
    const uint beta = push.gamma + push.channels, scale = push.result + push.channels;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const uint at = FOUR ? 4 * i : i, row = at / push.channels, channel = at % push.channels;
        if (FOUR) {
            const vec4 d = vec4(slab4[push.x / 4 + i]) - four_floats(push.result + channel);
            const vec4 v = d * four_floats(scale + channel) + step_weight(d, beta + channel);
            slab4[push.y / 4 + i] = element4(apply_steps(v, row, channel));
        } else {
            const float d = float(slab[push.x + i]) - slab_float[push.result + channel];
            const float v = d * slab_float[scale + channel] + weights_float[beta + channel];
            slab[push.y + i] = element(apply_steps(v, row, channel));
        }
    }
}
