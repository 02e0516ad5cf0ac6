#version 460
// flip.comp - y: of each row of x, the channels in reverse order.
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool FOUR = false;

layout(push_constant) uniform Push {
    uint x, y;          // offsets in elements
    uint count;         // elements, or groups of four where FOUR
    uint channels;
} push;

void main() {
    const uint c = FOUR ? push.channels / 4 : push.channels;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const uint at = i - i % c + c - 1 - i % c;
        if (FOUR)
            slab4[push.y / 4 + i] = slab4[push.x / 4 + at].wzyx;
        else
            slab[push.y + i] = slab[push.x + at];
    }
}
