#version 460
// attention.comp - multi-head attention over frames with relative positions (Shaw et al. 2018, arXiv:1803.02155):
//   y_i = sum_j p_ij (v_j + v_rel[j-i]),   p_i = softmax_j(q_i (k_j + k_rel[j-i]) / sqrt(d)),   |j-i| <= window.
//
// A workgroup takes QUERIES queries of one head and walks over tiles of KEYS keys with the online softmax of
// FlashAttention (Dao et al. 2022, arXiv:2205.14135): the greatest score m so far, the sum l of e^(s - m), and the
// output scaled likewise. A thread has 4 queries (a vec4's components), KEYS/16 keys of a tile and SIZE/16 channels.
//
// Relative terms stand in `band` [query][j - i + window]: first q_i k_rel, then, as tiles pass, the whole score s_ij,
// from which the end takes p_ij v_rel.
#include "common.glsl"

layout(local_size_x = 16, local_size_y_id = 8) in;      // QUERIES / 4
layout(constant_id = 9) const uint SIZE = 64;           // d
layout(constant_id = 10) const uint QUERIES = 32;
layout(constant_id = 11) const uint KEYS = 64;
layout(constant_id = 12) const uint BAND = 0;           // 2 window + 1; 0: no relative positions

layout(push_constant) uniform Push {
    uint q, k, v, y;        // offsets in elements: [frames][channels]
    uint frames, channels;
    uint key_band, value_band;      // in the weights, floats: k_rel [SIZE][BAND], v_rel [BAND][SIZE]
    float scale;            // 1 / sqrt(d)
} push;

const uint ROWS = QUERIES / 4, OWN = KEYS / 16, COLUMNS = (SIZE + 15) / 16, PITCH = ROWS + 1;
const float NEVER = -3.4e38;

shared vec4 q4[SIZE * ROWS];                    // [channel][query], scaled
shared float kv[SIZE * (KEYS + 1)];             // keys [channel][KEYS + 1], then values [key][SIZE]
shared vec4 p4[KEYS * PITCH];                   // [key][query]; before, and at the end, [row][16] of what is reduced
shared float band[QUERIES * BAND + 1];

uint tx, ty, thread, threads, query0, head;

void load_queries() {
    for (uint i = thread; i < QUERIES * SIZE; i += threads) {
        const uint query = i / SIZE, j = i % SIZE;
        const uint at = push.q + (query0 + query) * push.channels + head * SIZE + j;
        q4[j * ROWS + query / 4][query % 4] = query0 + query < push.frames ? float(slab[at]) * push.scale : 0;
    }
}

void load_band() {
    for (uint i = thread; i < QUERIES * BAND; i += threads) {
        const uint query = i / BAND, offset = i % BAND;
        float sum = 0;
        for (uint j = 0; j < SIZE; j++)
            sum += q4[j * ROWS + query / 4][query % 4] * weights_float[push.key_band + j * BAND + offset];
        band[i] = sum;
    }
}

// Keys or values of a tile, 0 beyond the last frame.
float tile_value(uint from, uint key, uint channel) {
    return key < push.frames ? float(slab[from + key * push.channels + head * SIZE + channel]) : 0;
}

void load_keys(uint key0) {
    for (uint i = thread; i < KEYS * SIZE; i += threads)
        kv[i % SIZE * (KEYS + 1) + i / SIZE] = tile_value(push.k, key0 + i / SIZE, i % SIZE);
}

void load_values(uint key0) {
    for (uint i = thread; i < KEYS * SIZE; i += threads) kv[i] = tile_value(push.v, key0 + i / SIZE, i % SIZE);
}

// Scores in the band take q_i k_rel, and are kept there.
vec4 with_band(vec4 s, uint key) {
    [[unroll]] for (uint i = 0; i < 4; i++) {
        const uint query = 4 * ty + i, offset = key + BAND / 2 - (query0 + query);
        if (offset < BAND) {
            s[i] += band[query * BAND + offset];
            band[query * BAND + offset] = s[i];
        }
    }
    return s;
}

void scores(uint key0, out vec4 s[OWN]) {
    [[unroll]] for (uint c = 0; c < OWN; c++) s[c] = vec4(0);
    for (uint j = 0; j < SIZE; j++) {
        const vec4 q = q4[j * ROWS + ty];
        [[unroll]] for (uint c = 0; c < OWN; c++) s[c] += q * kv[j * (KEYS + 1) + tx + 16 * c];
    }
    const bool near = BAND > 0 && key0 + KEYS + BAND > query0 && key0 < query0 + QUERIES + BAND;
    [[unroll]] for (uint c = 0; c < OWN; c++) {
        const uint key = key0 + tx + 16 * c;
        if (near) s[c] = with_band(s[c], key);
        if (key >= push.frames) s[c] = vec4(NEVER);
    }
}

// What of all 16 threads of the row is combined: in p4, by everyone in the same order.
vec4 row_greatest(vec4 v) {
    p4[ty * 16 + tx] = v;
    barrier();
    [[unroll]] for (uint i = 0; i < 16; i++) v = max(v, p4[ty * 16 + i]);
    barrier();
    return v;
}

vec4 row_sum(vec4 v) {
    p4[ty * 16 + tx] = v;
    barrier();
    v = vec4(0);
    [[unroll]] for (uint i = 0; i < 16; i++) v += p4[ty * 16 + i];
    return v;
}

uint column(uint c) { return SIZE % 16 == 0 ? tx + 16 * c : min(tx + 16 * c, SIZE - 1); }

// Relative values of the keys there are: a row's keys from query - window to query + window.
void add_band(vec4 m, inout vec4 o[COLUMNS]) {
    for (uint offset = 0; offset < BAND; offset++) {
        vec4 p;
        [[unroll]] for (uint i = 0; i < 4; i++) {
            const uint query = 4 * ty + i, key = query0 + query + offset - BAND / 2;
            p[i] = key < push.frames ? exp(band[query * BAND + offset] - m[i]) : 0;
        }
        [[unroll]] for (uint c = 0; c < COLUMNS; c++)
            o[c] += p * weights_float[push.value_band + offset * SIZE + column(c)];
    }
}

void main() {
    tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    thread = gl_LocalInvocationIndex, threads = 16 * ROWS;
    query0 = gl_WorkGroupID.x * QUERIES, head = gl_WorkGroupID.y;
    load_queries();
    barrier();
    load_band();

    vec4 o[COLUMNS], m = vec4(NEVER), l = vec4(0);
    [[unroll]] for (uint c = 0; c < COLUMNS; c++) o[c] = vec4(0);
    for (uint key0 = 0; key0 < push.frames; key0 += KEYS) {
        load_keys(key0);
        barrier();
        vec4 s[OWN], greatest = m;
        scores(key0, s);
        [[unroll]] for (uint c = 0; c < OWN; c++) greatest = max(greatest, s[c]);
        greatest = row_greatest(greatest);
        const vec4 keep = exp(m - greatest);
        m = greatest;
        l *= keep;
        [[unroll]] for (uint c = 0; c < OWN; c++) {
            const vec4 p = exp(s[c] - m);
            l += p;
            p4[(tx + 16 * c) * PITCH + ty] = p;
        }
        load_values(key0);
        barrier();
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) o[c] *= keep;
        for (uint j = 0; j < KEYS; j++) {
            const vec4 p = p4[j * PITCH + ty];
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) o[c] += p * kv[j * SIZE + column(c)];
        }
        barrier();
    }
    const vec4 factor = 1 / row_sum(l);
    if (BAND > 0) add_band(m, o);
    [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
        const vec4 y = o[c] * factor;
        [[unroll]] for (uint i = 0; i < 4; i++) {
            const uint query = query0 + 4 * ty + i, channel = tx + 16 * c;
            if (query < push.frames && channel < SIZE)
                slab[push.y + query * push.channels + head * SIZE + channel] = element(y[i]);
        }
    }
}
