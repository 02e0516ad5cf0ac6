#version 460
// avg_pool.comp - the mean of each 2x2 square: x [2h][2w][c] -> y [h][w][c].
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool FOUR = false;

layout(push_constant) uniform Push {
    uint x, y;          // offsets in elements
    uint count;         // of the output: elements, or groups of four where FOUR
    uint width, channels;   // of the output
} push;

void main() {
    const uint c = FOUR ? push.channels / 4 : push.channels, line = 2 * push.width * c;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const uint pixel = i / c, at = pixel / push.width * 2 * line + pixel % push.width * 2 * c + i % c;
        if (FOUR) {
            const uint a = push.x / 4 + at, b = a + line;
            slab4[push.y / 4 + i] = element4((vec4(slab4[a]) + vec4(slab4[a + c]) + (vec4(slab4[b]) + vec4(slab4[b + c]))) * 0.25);
        } else {
            const uint a = push.x + at, b = a + line;
            slab[push.y + i] = element((float(slab[a]) + float(slab[a + c]) + (float(slab[b]) + float(slab[b + c]))) * 0.25);
        }
    }
}
