#version 460
// normal.comp - normal numbers by position (turn.glsl): y[i] = factor * element (first + row) channels + i of the stream.
#include "common.glsl"
#include "turn.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool SCALED = false;

layout(push_constant) uniform Push {
    uint place;         // offset in the slab, words: seed low and high, first row low and high
    uint factor;        // offset in the slab, words
    uint y;             // offset in elements
    uint count, channels, row, stream;
} push;

void main() {
    const uvec2 seed = uvec2(slab_int[push.place], slab_int[push.place + 1]);
    uint carry, high, low;
    const uint row = uaddCarry(uint(slab_int[push.place + 2]), push.row, carry);
    umulExtended(row, push.channels, high, low);
    high += (uint(slab_int[push.place + 3]) + carry) * push.channels;
    const float factor = SCALED ? slab_float[push.factor] : 1;
    // the first block may begin before the first element
    const uint skip = low & 3, blocks = (skip + push.count + 3) / 4;
    const uvec2 first = uvec2(low >> 2 | high << 30, high >> 2);
    for (uint i = gl_GlobalInvocationID.x; i < blocks; i += gl_NumWorkGroups.x * 256) {
        uint over;
        const uint at = uaddCarry(first.x, i, over);
        const vec4 v = factor * nn_normal(seed, push.stream, uvec2(at, first.y + over));
        for (uint k = 0; k < 4; k++) {
            const uint to = 4 * i + k - skip;       // below zero it is beyond count
            if (to < push.count) slab[push.y + to] = element(v[k]);
        }
    }
}
