#version 460
// attention_matrix.comp - attention.comp's formula on cooperative matrices: float16 factors, float32 sums and softmax.
//
// Four subgroups. Each has 16 queries and, of every tile of KEYS keys, the WIDTH = KEYS/SPLIT of its part: with SPLIT 1 four
// blocks of queries share the tiles, with 4 one block's keys are shared out, which fills the device when frames are few.
// Per tile a subgroup stores its scores S = Q K^T to its own `work`, two lanes a row make P = e^(S - m) of them in the same
// place as float16, and O += P V. Where a row's m has grown, O's rows are scaled by a matrix of equal columns.
// At the end the parts are brought to one m and summed.
//
// Relative terms are products with 16-row blocks of k_rel and v_rel; `band` [query][j - i + window] first holds q_i k_rel,
// then, as keys pass, the whole scores.
#include "common.glsl"
#include "matrix.glsl"

layout(local_size_x = 128) in;
layout(constant_id = 8) const uint SIZE = 64;           // d, a multiple of 16
layout(constant_id = 9) const uint SPLIT = 1;           // 1, 2 or 4
layout(constant_id = 10) const uint KEYS = 64;          // a multiple of 16 SPLIT
layout(constant_id = 11) const uint BAND = 0;           // 2 window + 1; 0: no relative positions

layout(set = 0, binding = 0) buffer Slab8 { uvec4 slab8[]; };
layout(set = 0, binding = 1) readonly buffer Weights8 { uvec4 weights8[]; };

layout(push_constant) uniform Push {
    uint q, k, v, y;        // offsets in the slab, 8 elements: [frames][channels / 8]
    uint frames, channels;
    uint key_band, value_band;      // in the weights, 8 elements: float16 k_rel and v_rel [BLOCKS 16][SIZE], padded with 0
    float scale;            // 1 / sqrt(d)
} push;

const uint SUBGROUPS = 4, QUERIES = 16 * SUBGROUPS / SPLIT, WIDTH = KEYS / SPLIT;
const uint EIGHTS = SIZE / 8, PITCH = EIGHTS + 1;               // uvec4 of a key in `tiles`
const uint WORK_PITCH = WIDTH / 4 + 2, WORK = 16 * WORK_PITCH;  // of a row in `work`; pitches without bank conflicts
const uint BLOCKS = (BAND + 15) / 16, DEPTH = SIZE / 16, OWN = WIDTH / 8;
const float NEVER = -3.4e38;

shared uvec4 tiles[2 * KEYS * PITCH];           // keys, then values; before, the queries
shared uvec4 work[SUBGROUPS * WORK];
shared uvec4 factors[SUBGROUPS * 16 * 4];       // float32 [16][16], rows of equal values
shared uvec4 band4[QUERIES * BLOCKS * 4 + 1];   // float32 [QUERIES][BLOCKS 16]
shared vec2 state[SUBGROUPS * 16];              // m and l of each row

uint block0, part, row, side, work0, query;     // subgroup's first query in the workgroup, its part; lane's row and side

uvec4 value8(uint from, uint frame, uint j) {
    return frame < push.frames ? slab8[from + frame * (push.channels / 8) + gl_WorkGroupID.y * EIGHTS + j] : uvec4(0);
}

void load_tile(uint at, uint from, uint frame0, uint rows) {
    for (uint i = gl_LocalInvocationIndex; i < rows * EIGHTS; i += 128)
        tiles[(at + i / EIGHTS) * PITCH + i % EIGHTS] = value8(from, frame0 + i / EIGHTS, i % EIGHTS);
}

float band_get(uint offset) { return uintBitsToFloat(band4[(block0 + row) * BLOCKS * 4 + offset / 4][offset % 4]); }
void band_set(uint offset, float s) {
    band4[(block0 + row) * BLOCKS * 4 + offset / 4][offset % 4] = floatBitsToUint(s);
}

// The lane's scores of a tile: with scale and band, NEVER beyond the last frame. Element i, c: key0 + 8 i + 4 side + c.
void finish_scores(inout vec4 s[OWN], uint key0) {
    const bool near = BAND > 0 && key0 + WIDTH + BAND > query && key0 < query + BAND;
    [[unroll]] for (uint i = 0; i < OWN; i++)
        [[unroll]] for (uint c = 0; c < 4; c++) {
            const uint key = key0 + 8 * i + 4 * side + c, offset = key + BAND / 2 - query;
            s[i][c] *= push.scale;
            if (near && offset < BAND) {
                s[i][c] += band_get(offset) * push.scale;
                band_set(offset, s[i][c]);
            }
            if (key >= push.frames) s[i][c] = NEVER;
        }
}

// Rows of o times each row's factor.
void scale_rows(inout matrix_sum o[DEPTH], float factor) {
    const uint at = subgroup_id * 64;
    factors[at + row * 4 + 2 * side] = factors[at + row * 4 + 2 * side + 1] = uvec4(floatBitsToUint(factor));
    subgroup_wait();
    matrix_sum by;
    matrix_load(by, factors, at, 4);
    [[unroll]] for (uint j = 0; j < DEPTH; j++) matrix_multiply(o[j], by);
    subgroup_wait();
}

uvec2 halves(vec4 v) { return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw)); }

void load_band(matrix_left q[DEPTH]) {
    [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
        matrix_sum s;
        matrix_zero(s);
        [[unroll]] for (uint j = 0; j < DEPTH; j++) {
            matrix_right k;
            matrix_load_columns(k, weights8, push.key_band + b * 16 * EIGHTS + 2 * j, EIGHTS);
            matrix_add_product(s, q[j], k);
        }
        matrix_store(s, band4, block0 * BLOCKS * 4 + 4 * b, BLOCKS * 4);
    }
}

// o += P V of the lanes' own p, which takes the place of the scores in `work`.
void add_values(inout matrix_sum o[DEPTH], vec4 p[OWN]) {
    [[unroll]] for (uint i = 0; i < OWN; i++) {
        const uvec2 h = halves(p[i]);
        work[work0 + row * WORK_PITCH + i][2 * side] = h.x;
        work[work0 + row * WORK_PITCH + i][2 * side + 1] = h.y;
    }
    subgroup_wait();
    [[unroll]] for (uint b = 0; b < WIDTH / 16; b++) {
        matrix_left a;
        matrix_right v;
        matrix_load(a, work, work0 + 2 * b, WORK_PITCH);
        [[unroll]] for (uint j = 0; j < DEPTH; j++) {
            matrix_load(v, tiles, (KEYS + part * WIDTH + 16 * b) * PITCH + 2 * j, PITCH);
            matrix_add_product(o[j], a, v);
        }
    }
    subgroup_wait();
}

void scores(matrix_left q[DEPTH], out vec4 s[OWN]) {
    [[unroll]] for (uint b = 0; b < WIDTH / 16; b++) {
        matrix_sum sum;
        matrix_zero(sum);
        [[unroll]] for (uint j = 0; j < DEPTH; j++) {
            matrix_right k;
            matrix_load_columns(k, tiles, (part * WIDTH + 16 * b) * PITCH + 2 * j, PITCH);
            matrix_add_product(sum, q[j], k);
        }
        matrix_store(sum, work, work0 + 4 * b, WORK_PITCH);
    }
    subgroup_wait();
    [[unroll]] for (uint i = 0; i < OWN; i++) s[i] = uintBitsToFloat(work[work0 + row * WORK_PITCH + 2 * i + side]);
    subgroup_wait();
}

// p v_rel of the keys there are, by the first part, whose m is everyone's by now.
void add_band(inout matrix_sum o[DEPTH], float m) {
    [[unroll]] for (uint i = 0; i < 2 * BLOCKS; i++) {
        vec4 p;
        [[unroll]] for (uint c = 0; c < 4; c++) {
            const uint offset = 8 * i + 4 * side + c, key = query + offset - BAND / 2;
            p[c] = offset < BAND && key < push.frames ? exp(band_get(offset) - m) : 0;
        }
        const uvec2 h = halves(p);
        work[work0 + row * WORK_PITCH + i][2 * side] = h.x;
        work[work0 + row * WORK_PITCH + i][2 * side + 1] = h.y;
    }
    subgroup_wait();
    [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
        matrix_left a;
        matrix_right v;
        matrix_load(a, work, work0 + 2 * b, WORK_PITCH);
        [[unroll]] for (uint j = 0; j < DEPTH; j++) {
            matrix_load(v, weights8, push.value_band + b * 16 * EIGHTS + 2 * j, EIGHTS);
            matrix_add_product(o[j], a, v);
        }
    }
    subgroup_wait();
}

// The parts' sum of 8 channels of the lane's row, stored. Parts of one block are neighbouring subgroups.
void store_block(uint j, float factor) {
    vec4 low = vec4(0), high = vec4(0);
    [[unroll]] for (uint s = 0; s < SPLIT; s++) {
        const uint at = (block0 / 16 * SPLIT + s) * WORK + row * WORK_PITCH + 2 * side;
        low += uintBitsToFloat(work[at]);
        high += uintBitsToFloat(work[at + 1]);
    }
    if (query < push.frames)
        slab8[push.y + query * (push.channels / 8) + gl_WorkGroupID.y * EIGHTS + 2 * j + side] =
            uvec4(halves(low * factor), halves(high * factor));
}

void main() {
    block0 = subgroup_id / SPLIT * 16, part = subgroup_id % SPLIT;
    row = lane_id / 2, side = lane_id % 2, work0 = subgroup_id * WORK;
    const uint query0 = gl_WorkGroupID.x * QUERIES;
    query = query0 + block0 + row;

    load_tile(0, push.q, query0, QUERIES);
    barrier();
    matrix_left q[DEPTH];
    matrix_sum o[DEPTH];
    [[unroll]] for (uint j = 0; j < DEPTH; j++) {
        matrix_load(q[j], tiles, block0 * PITCH + 2 * j, PITCH);
        matrix_zero(o[j]);
    }
    if (BAND > 0 && part == 0) load_band(q);
    barrier();

    float m = NEVER, l = 0;
    for (uint key0 = 0; key0 < push.frames; key0 += KEYS) {
        load_tile(0, push.k, key0, KEYS);
        load_tile(KEYS, push.v, key0, KEYS);
        barrier();
        vec4 s[OWN];
        scores(q, s);
        finish_scores(s, key0 + part * WIDTH);
        vec4 greatest = s[0];
        [[unroll]] for (uint i = 1; i < OWN; i++) greatest = max(greatest, s[i]);
        float top = max(max(greatest.x, greatest.y), max(greatest.z, greatest.w));
        top = max(m, max(top, subgroupShuffleXor(top, 1)));
        const float keep = exp(m - top);
        vec4 sum = vec4(0);
        [[unroll]] for (uint i = 0; i < OWN; i++) {
            s[i] = mix(exp(s[i] - top), vec4(0), equal(s[i], vec4(NEVER)));
            sum += s[i];
        }
        if (subgroup_any(top > m)) scale_rows(o, keep);
        l = l * keep + sum.x + sum.y + (sum.z + sum.w);
        m = top;
        add_values(o, s);
        barrier();
    }

    l += subgroupShuffleXor(l, 1);
    state[subgroup_id * 16 + row] = vec2(m, l);
    barrier();
    float top = NEVER, all = 0;
    [[unroll]] for (uint s = 0; s < SPLIT; s++) top = max(top, state[(block0 / 16 * SPLIT + s) * 16 + row].x);
    [[unroll]] for (uint s = 0; s < SPLIT; s++) {
        const vec2 other = state[(block0 / 16 * SPLIT + s) * 16 + row];
        all += other.y * exp(other.x - top);
    }
    if (SPLIT > 1) scale_rows(o, exp(m - top));
    if (BAND > 0 && part == 0) add_band(o, top);
    [[unroll]] for (uint j = 0; j < DEPTH; j++) {
        matrix_store(o[j], work, work0, WORK_PITCH);
        barrier();
        if (j % SPLIT == part) store_block(j, 1 / all);
        barrier();
    }
}
