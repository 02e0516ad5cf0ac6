#version 460
// map.comp - element-wise steps that found no op to be fused into: y = steps(x).
//
// y may lie where x or an operand lies: an invocation reads its own elements only, before it writes them.
#include "common.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint x, y;          // offsets in elements
    uint count;         // elements, or groups of four where FOUR
    uint channels;
    uint step[6];
} push;

layout(constant_id = 8) const bool FOUR = false;

#define STEP_CHANNELS push.channels
#include "steps.glsl"

void main() {
    // a grid of at most 65535 workgroups walks over any number of elements
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        if (FOUR) {
            const uint at = 4 * i;
            slab4[push.y / 4 + i] = element4(apply_steps(vec4(slab4[push.x / 4 + i]), at / push.channels, at % push.channels));
        } else {
            slab[push.y + i] = element(apply_steps(float(slab[push.x + i]), i / push.channels, i % push.channels));
        }
    }
}
