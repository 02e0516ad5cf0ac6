#version 460
// retrieve_nearest.comp - for a tile of queries, the 8 nearest of a block of rows, by squared distance: 32 rows at a time,
// eight invocations to a row, each of which adds its eighth of the channels for every query of the tile.
//
// IN_LISTS: the tile is one query, and workgroup x looks into the x-th list that was chosen for it.
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const uint WIDTH = 1;
layout(constant_id = 9) const uint QUERIES = 1;
layout(constant_id = 10) const bool IN_LISTS = false;

layout(push_constant) uniform Push {
    uint x;             // offset in elements: queries
    uint rows_at;       // offset in the weights, floats: rows [..][WIDTH]
    uint rows;          // of them; 0: as many as the starts of lists say
    uint each;          // rows of a block
    uint starts;        // offset in the weights, words: where each list starts, and behind the last
    uint chosen, out_at;    // offsets in the slab, words
    uint queries;
} push;

const uint K = 8, ROWS = 32, LANES = 8, NONE = 0xffffffffu;
shared float query[QUERIES * WIDTH];
shared float part[ROWS * LANES];
shared float best_score[QUERIES * K];
shared uint best_row[QUERIES * K];

void offer(uint q, float score, uint row) {
    const uint at = q * K;
    if (!(score < best_score[at + K - 1])) return;          // a score that is no number is never nearer
    uint i = K - 1;
    for (; i > 0 && score < best_score[at + i - 1]; i--) {
        best_score[at + i] = best_score[at + i - 1];
        best_row[at + i] = best_row[at + i - 1];
    }
    best_score[at + i] = score;
    best_row[at + i] = row;
}

// The rows from .. to-1 of this workgroup.
uvec2 rows_to_see() {
    if (!IN_LISTS) {
        const uint rows = push.rows > 0 ? push.rows : weights_uint[push.starts], from = gl_WorkGroupID.x * push.each;
        return uvec2(from, min(from + push.each, rows));
    }
    const uint list = uint(slab_int[push.chosen + (gl_WorkGroupID.y * K + gl_WorkGroupID.x) * 2 + 1]);
    if (list == NONE) return uvec2(0);
    return uvec2(weights_uint[push.starts + list], weights_uint[push.starts + list + 1]);
}

void main() {
    const uint me = gl_LocalInvocationID.x, lane = me % LANES, first = gl_WorkGroupID.y * QUERIES;
    for (uint i = me; i < QUERIES * WIDTH; i += 256) {
        const uint q = min(first + i / WIDTH, push.queries - 1);
        query[i] = float(slab[push.x + q * WIDTH + i % WIDTH]);
    }
    for (uint i = me; i < QUERIES * K; i += 256) {
        best_score[i] = uintBitsToFloat(0x7f800000u);       // infinity
        best_row[i] = NONE;
    }
    barrier();
    const uvec2 see = rows_to_see();
    for (uint from = see.x; from < see.y; from += ROWS) {
        const uint row = min(from + me / LANES, see.y - 1), at = push.rows_at + row * WIDTH;
        float sum[QUERIES];
        for (uint q = 0; q < QUERIES; q++) sum[q] = 0;
        for (uint i = lane; i < WIDTH; i += LANES) {
            const float v = weights_float[at + i];
            [[unroll]] for (uint q = 0; q < QUERIES; q++) {
                const float d = query[q * WIDTH + i] - v;
                sum[q] += d * d;
            }
        }
        for (uint q = 0; q < QUERIES; q++) {
            part[me] = sum[q];
            barrier();
            if (me < ROWS) {
                float all = 0;
                for (uint i = 0; i < LANES; i++) all += part[me * LANES + i];
                part[me * LANES] = all;
            }
            barrier();
            if (me == q)
                for (uint i = 0; i < min(ROWS, see.y - from); i++) offer(q, part[i * LANES], from + i);
            barrier();
        }
    }
    // finds lie by query, then by block
    for (uint i = me; i < QUERIES * K; i += 256) {
        const uint q = first + i / K, to = push.out_at + ((q * gl_NumWorkGroups.x + gl_WorkGroupID.x) * K + i % K) * 2;
        if (q >= push.queries) continue;
        slab_float[to] = best_score[i];
        slab_int[to + 1] = int(best_row[i]);
    }
}
