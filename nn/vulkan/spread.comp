#version 460
// spread.comp - y[t] = x[t/2], or where PROTECT and there is no pitch, protect x[t/2] + (1 - protect) own[t/2].
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool FOUR = false;
layout(constant_id = 9) const bool PROTECT = false;

layout(push_constant) uniform Push {
    uint x, own;        // offsets in elements
    uint f0, protect;   // offsets in words
    uint y;             // offset in elements
    uint count;         // of the output: elements, or groups of four where FOUR
    uint channels;
} push;

void main() {
    const uint width = push.channels / (FOUR ? 4 : 1);
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const uint t = i / width, from = t / 2 * width + i % width;
        const bool blend = PROTECT && slab_float[push.f0 + t] < 1;
        const float protect = PROTECT ? slab_float[push.protect] : 1;
        if (FOUR) {
            vec4 v = vec4(slab4[push.x / 4 + from]);
            if (blend) v = v * protect + vec4(slab4[push.own / 4 + from]) * (1 - protect);
            slab4[push.y / 4 + i] = element4(v);
        } else {
            float v = float(slab[push.x + from]);
            if (blend) v = v * protect + float(slab[push.own + from]) * (1 - protect);
            slab[push.y + i] = element(v);
        }
    }
}
