#version 460
// attention_matrix.comp - attention.comp's formula on cooperative matrices: float16 factors, float32 sums and softmax.
//
// A workgroup takes blocks of 16 queries of one head, and `split` subgroups share each block: they take its keys, in blocks of
// 16, in turn, which fills the device when frames are few. All walk over tiles of KEYS keys and values in shared memory, the
// next of which is on its way in registers. A subgroup makes S = Q K^T, P = 2^(S - m) and O += P V. m is a matrix of equal
// columns and l, the sum of P, is summed up along rows at the very end, so no invocation need know where an element stands.
// Only where a score exceeds its row's m by GROWTH, as all do at first, are rows looked at: m becomes LIFT less than their
// greatest, and O and l are scaled (`raise`). P reaches the second product, as float16, through `work`. At the end the parts
// are summed, each brought from its own m to the greatest.
//
// Relative positions touch NEAR blocks of keys around that of the queries. `band` [query][key - first such key] holds the
// terms q_i k_rel[j - i], 0 elsewhere: sums begin with them. The scores take their place there, and in the end each part makes
// p v_rel of those that are its own.
//
// Float32 is computed with pairs of float16 (see conv_matrix.comp): every factor but P is its nearest float16 and LACKS times
// the rest. Of P, which is about 2^LIFT where it matters, the rest needs no factor, so that all products of O have one sum.
#include "common.glsl"
#include "matrix.glsl"

layout(local_size_x_id = 8) in;
layout(constant_id = 8) const uint THREADS = 256;
layout(constant_id = 9) const uint SIZE = 64;           // d, a multiple of 16
layout(constant_id = 10) const uint KEYS = 128;         // of a tile, a multiple of 16, THREADS / 4 or more
layout(constant_id = 11) const uint BAND = 0;           // 2 window + 1; 0: no relative positions
layout(constant_id = 12) const uint MOST = 8;           // blocks of queries of a workgroup: SUBGROUPS / split or more
layout(constant_id = 13) const uint STEP = 1;           // blocks of keys that a subgroup takes at once

layout(set = 0, binding = 0) buffer Slab8 { uvec4 slab8[]; };
layout(set = 0, binding = 1) readonly buffer Weights8 { uvec4 weights8[]; };

layout(push_constant) uniform Push {
    uint q, k, v, y;        // offsets in the slab, 16 bytes: [frames][channels]
    uint frames, channels;
    uint key_band, value_band;      // in the weights, 16 bytes: k_rel, v_rel: factors [PARTS][BLOCKS 16][SIZE], padded with 0
    float scale;            // 1 / sqrt(d), for powers of 2
    uint split;             // subgroups of a block of queries, a power of 2
} push;

const uint SUBGROUPS = THREADS / 32, EIGHTS = SIZE / 8, DEPTH = SIZE / 16;
const uint PITCH = EIGHTS + 1;                          // uvec4 of a row in `tile`; pitches without bank conflicts
const uint PLANE = 2 * KEYS * PITCH;
const uint HALF = (DEPTH + 1) / 2, OUT_PITCH = 4 * HALF + 1, OUT = 16 * SUBGROUPS * OUT_PITCH;
const uint TILE = PARTS * PLANE > OUT ? PARTS * PLANE : OUT;
const uint P_PITCH = 2 * PARTS * STEP + 1, WORK = P_PITCH > 4 ? 16 * P_PITCH : 64;
const uint BLOCKS = (BAND + 15) / 16, WINDOW = BAND / 2, REACH = (WINDOW + 15) / 16, NEAR = BAND > 0 ? 2 * REACH + 1 : 0;
const uint BAND_PITCH = 4 * NEAR, BANDS = BAND > 0 ? 16 * MOST * BAND_PITCH : 1;
const uint LOADS = (KEYS * EIGHTS + THREADS - 1) / THREADS;
const uint RELATIVE = BLOCKS * 16 * EIGHTS, RELATIVE_LOADS = (RELATIVE + THREADS - 1) / THREADS;
const float NEVER = -1e30, LIFT = 7, GROWTH = 15;

shared uvec4 tile[TILE];                                // keys, then values; before, the queries; at the end, the parts of O
shared uvec4 work[SUBGROUPS * WORK];                    // [16][16] float32, or rows of P as float16, its rest beside it
shared uvec4 band4[BANDS];                              // float32
shared uvec4 beyond[12];                                // float32, what is added to scores of keys: all, the last, none
shared vec2 state[16 * SUBGROUPS];                      // m and l of each row

uint thread, block, part, query, work0, band0;          // query: first of the block
uint row, side;                                         // lane's row, and its half of it
matrix_left q[PARTS * DEPTH];
matrix_sum o[DEPTH], m_matrix, l;
float m;                                                // of the lane's row
eight next_k[LOADS], next_v[LOADS];

// The last frame stands for all beyond it: their p is 0.
eight fetch(uint from, uint frame, uint j) {
    const uint at = from + (min(frame, push.frames - 1) * push.channels + gl_WorkGroupID.y * SIZE + 8 * j) / PER_VECTOR;
#ifdef NN_F16
    return slab8[at];
#else
    return eight(slab8[at], slab8[at + 1]);
#endif
}

void put(uint at, eight v) {
#ifdef NN_F16
    tile[at] = v;
#else
    tile[at] = nearest(v);
    tile[at + PLANE] = lack(v, LACKS);
#endif
}

void fetch_tile(uint key0) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        const uint index = thread + i * THREADS;
        next_k[i] = fetch(push.k, key0 + index / EIGHTS, index % EIGHTS);
        next_v[i] = fetch(push.v, key0 + index / EIGHTS, index % EIGHTS);
    }
}

void put_tile() {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        const uint index = thread + i * THREADS, at = index / EIGHTS * PITCH + index % EIGHTS;
        if (KEYS * EIGHTS % THREADS == 0 || index < KEYS * EIGHTS) {
            put(at, next_k[i]);
            put(KEYS * PITCH + at, next_v[i]);
        }
    }
}

// k_rel or v_rel, which has no more rows than a tile has keys.
void fetch_relative(out eight to[LOADS], uint from) {
    [[unroll]] for (uint i = 0; i < RELATIVE_LOADS; i++) {
        const uint at = from + min(thread + i * THREADS, RELATIVE - 1);
#ifdef NN_F16
        to[i] = weights8[at];
#else
        to[i] = eight(weights8[at], weights8[at + RELATIVE]);
#endif
    }
}

void put_relative(eight v[LOADS]) {
    [[unroll]] for (uint i = 0; i < RELATIVE_LOADS; i++) {
        const uint index = thread + i * THREADS, at = index / EIGHTS * PITCH + index % EIGHTS;
        if (index < RELATIVE) {
#ifdef NN_F16
            tile[at] = v[i];
#else
            tile[at] = v[i].a;
            tile[at + PLANE] = v[i].b;
#endif
        }
    }
}

// sum += Q times 16 rows of the tile from `row` on, transposed.
void add_scores(inout matrix_sum sum, uint row) {
#ifdef NN_F16
    [[unroll]] for (uint j = 0; j < DEPTH; j++) {
        matrix_right k;
        matrix_load_columns(k, tile, row * PITCH + 2 * j, PITCH);
        matrix_add_product(sum, q[j], k);
    }
#else
    matrix_sum low;
    matrix_zero(low);
    [[unroll]] for (uint j = 0; j < DEPTH; j++) {
        matrix_right k;
        matrix_load_columns(k, tile, row * PITCH + 2 * j, PITCH);
        matrix_add_product(sum, q[j], k);
        matrix_add_product(low, q[DEPTH + j], k);
        matrix_load_columns(k, tile, PLANE + row * PITCH + 2 * j, PITCH);
        matrix_add_product(low, q[j], k);
    }
    sum = sum + low * (1 / LACKS);
#endif
}

// O += P, at `at` in `work`, times 16 rows of the tile. Cards may cut off the last bits of what they add in a product, not
// round them: so float32's sum over all keys is made of sums of 16.
void add_values(uint at, uint row) {
    matrix_left p;
    matrix_load(p, work, work0 + at, P_PITCH);
#ifndef NN_F16
    matrix_left rest, less = p * float16_t(1 / LACKS);
    matrix_load(rest, work, work0 + at + 2, P_PITCH);
#endif
    [[unroll]] for (uint j = 0; j < DEPTH; j++) {
        matrix_right v;
        matrix_load(v, tile, row * PITCH + 2 * j, PITCH);
#ifdef NN_F16
        matrix_add_product(o[j], p, v);
#else
        matrix_sum sum;
        matrix_zero(sum);
        matrix_add_product(sum, rest, v);
        matrix_add_product(sum, p, v);
        matrix_load(v, tile, PLANE + row * PITCH + 2 * j, PITCH);
        matrix_add_product(sum, less, v);
        o[j] = o[j] + sum;
#endif
    }
}

// Every row's own number as a matrix of equal columns; `at` has room for 16 of them.
#define LOAD_ROWS(matrix, at, number)                                                                                  \
    {                                                                                                                  \
        if (side == 0) work[(at) + row / 4][row % 4] = floatBitsToUint(number);                                        \
        subgroup_wait();                                                                                               \
        matrix_load_columns(matrix, work, at, 0);                                                                      \
    }

// A row of a matrix in `work`, the lane's half of it.
vec4 low_half() { return uintBitsToFloat(work[work0 + row * 4 + 2 * side]); }
vec4 high_half() { return uintBitsToFloat(work[work0 + row * 4 + 2 * side + 1]); }

// m for these scores too; O and l are scaled.
void raise(matrix_sum s[STEP]) {
    vec4 four = vec4(NEVER);
    [[unroll]] for (uint b = 0; b < STEP; b++) {
        subgroup_wait();
        matrix_store(s[b], work, work0, 4);
        subgroup_wait();
        four = max(four, max(low_half(), high_half()));
    }
    float top = max(max(four.x, four.y), max(four.z, four.w)) * push.scale - LIFT;
    top = max(m, max(top, subgroupShuffleXor(top, 1)));
    const float keep = exp2(m - top);
    m = top;
    subgroup_wait();
    LOAD_ROWS(m_matrix, work0 + 4, m)
    matrix_sum rows;
    LOAD_ROWS(rows, work0, keep)
    [[unroll]] for (uint j = 0; j < DEPTH; j++) matrix_multiply(o[j], rows);
    matrix_multiply(l, rows);
    subgroup_wait();
}

// STEP blocks of keys from key0 on, which are in the tile at row `at`.
void attend(uint key0, uint at) {
    const uint near0 = key0 / 16 + REACH - query / 16;
    matrix_sum s[STEP];
    [[unroll]] for (uint b = 0; b < STEP; b++) {
        if (BAND > 0 && near0 + b < NEAR)
            matrix_load(s[b], band4, band0 + 4 * (near0 + b), BAND_PITCH);
        else
            matrix_zero(s[b]);
    }
    if (key0 + 16 * STEP > push.frames) {
        [[unroll]] for (uint b = 0; b < STEP; b++) {
            matrix_sum less;
            const uint key = key0 + 16 * b;
            matrix_load(less, beyond, key + 16 <= push.frames ? 0 : key < push.frames ? 4 : 8, 0);
            s[b] = s[b] + less;
        }
    }
    [[unroll]] for (uint b = 0; b < STEP; b++) add_scores(s[b], at + 16 * b);
    if (BAND > 0) {
        [[unroll]] for (uint b = 0; b < STEP; b++)
            if (near0 + b < NEAR) matrix_store(s[b], band4, band0 + 4 * (near0 + b), BAND_PITCH);
    }

    matrix_sum e[STEP];
    float greatest = NEVER;
    [[unroll]] for (uint b = 0; b < STEP; b++) {
        matrix_each(i, s[b]) {
            e[b][i] = fma(s[b][i], push.scale, -m_matrix[i]);
            greatest = max(greatest, e[b][i]);
        }
    }
    if (subgroup_any(greatest > GROWTH)) {
        raise(s);
        [[unroll]] for (uint b = 0; b < STEP; b++) e[b] = s[b] * push.scale - m_matrix;
    }
    subgroup_wait();
    [[unroll]] for (uint b = 0; b < STEP; b++) {
        matrix_each(i, e[b]) e[b][i] = exp2(e[b][i]);
        l = l + e[b];
#ifdef NN_F16
        matrix_store(matrix_half(e[b]), work, work0 + 2 * b, P_PITCH);
#else
        matrix_sum coarse = e[b];
        matrix_each(i, coarse) coarse[i] = nearest(coarse[i]);
        matrix_store(matrix_half(coarse), work, work0 + 4 * b, P_PITCH);
        matrix_store(matrix_half(e[b] - coarse), work, work0 + 4 * b + 2, P_PITCH);
#endif
    }
    subgroup_wait();
    [[unroll]] for (uint b = 0; b < STEP; b++) add_values(2 * PARTS * b, KEYS + at + 16 * b);
}

// q k_rel, with k_rel in the tile, to its place in `band`: 16 offsets a part, in turn.
void load_band() {
    [[dont_unroll]] for (uint b = part; b < BLOCKS; b += push.split) {
        matrix_sum s;
        matrix_zero(s);
        add_scores(s, 16 * b);
        matrix_store(s, work, work0, 4);
        subgroup_wait();
        const vec4 low = low_half(), high = high_half();
        [[unroll]] for (uint c = 0; c < 8; c++) {
            const uint offset = 16 * b + 8 * side + c, near = row + offset + 16 * REACH - WINDOW;
            if (offset < BAND)
                band4[band0 + row * BAND_PITCH + near / 4][near % 4] = floatBitsToUint(c < 4 ? low[c] : high[c - 4]);
        }
        subgroup_wait();
    }
}

// O += p v_rel, with v_rel in the tile, of the keys that this part has had.
void add_band() {
    [[dont_unroll]] for (uint b = 0; b < BLOCKS; b++) {
        vec4 low = vec4(0), high = vec4(0);
        [[unroll]] for (uint c = 0; c < 8; c++) {
            const uint offset = 16 * b + 8 * side + c, near = row + offset + 16 * REACH - WINDOW;
            const uint key = query + row + offset - WINDOW;
            if (offset < BAND && key < push.frames && (key % KEYS / (16 * STEP) & (push.split - 1)) == part) {
                const float s = uintBitsToFloat(band4[band0 + row * BAND_PITCH + near / 4][near % 4]);
                const float p = exp2(s * push.scale - m);
                if (c < 4)
                    low[c] = p;
                else
                    high[c - 4] = p;
            }
        }
        const eight v = eight_of(low, high);
        const uint at = work0 + row * P_PITCH + side;
        subgroup_wait();
#ifdef NN_F16
        work[at] = v;
#else
        work[at] = nearest(v);
        work[at + 2] = lack(v, 1);
#endif
        subgroup_wait();
        add_values(0, 16 * b);
    }
}

void begin(uint query0, uint queries) {
    for (uint i = thread; i < queries * EIGHTS; i += THREADS)
        put(i / EIGHTS * PITCH + i % EIGHTS, fetch(push.q, query0 + i / EIGHTS, i % EIGHTS));
    if (thread < 48) {
        const bool there = thread < 16 + push.frames % 16;
        beyond[thread / 4][thread % 4] = floatBitsToUint(there ? 0 : NEVER);
    }
    for (uint i = thread; i < BANDS; i += THREADS) band4[i] = uvec4(0);
    eight relative[LOADS];
    if (BAND > 0) fetch_relative(relative, push.key_band);
    fetch_tile(0);
    barrier();
    [[unroll]] for (uint j = 0; j < DEPTH; j++) {
        [[unroll]] for (uint p = 0; p < PARTS; p++)
            matrix_load(q[p * DEPTH + j], tile, p * PLANE + 16 * block * PITCH + 2 * j, PITCH);
        matrix_zero(o[j]);
    }
    m = NEVER;
    m_matrix = matrix_sum(NEVER);
    matrix_zero(l);
    barrier();
    if (BAND > 0) {
        put_relative(relative);
        barrier();
        load_band();
        barrier();
    }
}

// The results' channels from 16 `first` on, the parts of which all subgroups have left in `tile`.
void store(uint query0, uint queries, uint first) {
    barrier();
    const uint eights = 2 * min(HALF, DEPTH - first);
    for (uint i = thread; i < queries * eights; i += THREADS) {
        const uint r = i / eights, j = i % eights;
        float top = NEVER, all = 0;
        vec4 low = vec4(0), high = vec4(0);
        for (uint s = 0; s < push.split; s++) top = max(top, state[(r / 16 * push.split + s) * 16 + r % 16].x);
        for (uint s = 0; s < push.split; s++) {
            const uint of = (r / 16 * push.split + s) * 16 + r % 16, at = of * OUT_PITCH + 2 * j;
            const float weight = exp2(state[of].x - top);
            all += weight * state[of].y;
            low += weight * uintBitsToFloat(tile[at]);
            high += weight * uintBitsToFloat(tile[at + 1]);
        }
        if (query0 + r < push.frames) {
            const uint channel = gl_WorkGroupID.y * SIZE + 16 * first + 8 * j;
            const uint at = push.y + ((query0 + r) * push.channels + channel) / PER_VECTOR;
            const eight v = eight_of(low / all, high / all);
#ifdef NN_F16
            slab8[at] = v;
#else
            slab8[at] = v.a;
            slab8[at + 1] = v.b;
#endif
        }
    }
}

void end(uint query0, uint queries) {
    if (BAND > 0) {
        put_relative(next_k);
        barrier();
        add_band();
        barrier();
    }
    const uint at = subgroup_id * 16 * OUT_PITCH;
    [[unroll]] for (uint j = 0; j < HALF; j++) matrix_store(o[j], tile, at + 4 * j, OUT_PITCH);
    subgroup_wait();
    matrix_store(l, work, work0, 4);
    subgroup_wait();
    const vec4 four = low_half() + high_half();
    float sum = four.x + four.y + (four.z + four.w);
    sum += subgroupShuffleXor(sum, 1);
    if (side == 0) state[subgroup_id * 16 + row] = vec2(m, sum);
    store(query0, queries, 0);
    if (HALF < DEPTH) {
        barrier();
        [[unroll]] for (uint j = HALF; j < DEPTH; j++) matrix_store(o[j], tile, at + 4 * (j - HALF), OUT_PITCH);
        store(query0, queries, HALF);
    }
}

void main() {
    const uint queries = 16 * (SUBGROUPS / push.split), query0 = gl_WorkGroupID.x * queries;
    thread = gl_LocalInvocationIndex;
    block = subgroup_id / push.split, part = subgroup_id % push.split;
    row = lane_id / 2, side = lane_id % 2;
    work0 = subgroup_id * WORK, band0 = block * 16 * BAND_PITCH;
    query = query0 + 16 * block;

    begin(query0, queries);
    [[dont_unroll]] for (uint key0 = 0; key0 < push.frames; key0 += KEYS) {
        put_tile();
        barrier();
        if (key0 + KEYS < push.frames)
            fetch_tile(key0 + KEYS);
        else if (BAND > 0)
            fetch_relative(next_k, push.value_band);
        [[dont_unroll]] for (uint at = 16 * STEP * part; at < min(KEYS, push.frames - key0); at += 16 * STEP * push.split)
            attend(key0 + at, at);
        barrier();
    }
    end(query0, queries);
}
