#version 460
// retrieve_merge.comp - of each query's finds, 8 in each of some blocks, the 8 nearest: an invocation for a query.
#include "common.glsl"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push {
    uint candidates, out_at;    // offsets in the slab, words
    uint queries, blocks;
} push;

const uint K = 8, NONE = 0xffffffffu;

void main() {
    const uint q = gl_GlobalInvocationID.x;
    if (q >= push.queries) return;
    float score[K];
    uint row[K];
    for (uint i = 0; i < K; i++) {
        score[i] = uintBitsToFloat(0x7f800000u);
        row[i] = NONE;
    }
    for (uint c = 0; c < push.blocks * K; c++) {
        const uint at = push.candidates + (q * push.blocks * K + c) * 2;
        float s = slab_float[at];
        uint r = uint(slab_int[at + 1]);
        for (uint i = 0; i < K; i++) {      // what is nearer takes the place, and what was there moves on
            if (!(s < score[i])) continue;
            const float old = score[i];
            const uint last = row[i];
            score[i] = s;
            row[i] = r;
            s = old;
            r = last;
        }
    }
    for (uint i = 0; i < K; i++) {
        slab_float[push.out_at + (q * K + i) * 2] = score[i];
        slab_int[push.out_at + (q * K + i) * 2 + 1] = int(row[i]);
    }
}
