#version 460
// concat.comp - y: of each row, a's channels and then b's.
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool FOUR = false;

layout(push_constant) uniform Push {
    uint a, b, y;       // offsets in elements
    uint count;         // of the output: elements, or groups of four where FOUR
    uint a_channels, b_channels;
} push;

void main() {
    const uint unit = FOUR ? 4 : 1, ca = push.a_channels / unit, cb = push.b_channels / unit, c = ca + cb;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const uint row = i / c, j = i % c;
        const uint at = j < ca ? push.a / unit + row * ca + j : push.b / unit + row * cb + j - ca;
        if (FOUR)
            slab4[push.y / 4 + i] = slab4[at];
        else
            slab[push.y + i] = slab[at];
    }
}
