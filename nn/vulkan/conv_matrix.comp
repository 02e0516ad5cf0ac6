#version 460
// conv_matrix.comp - convolution by cooperative matrices of float16, sums float32.
//
//   y[m][n] = bias[n] + sum over taps t, channels c of  x[place(m) + offset(t)][c] * w[t][c][n]
//
// A workgroup makes BM rows x BN channels, a subgroup of it WM x WN as matrices of 16 x 16. Factors come through shared
// memory, whose rows are one vector of eight longer than their data so that eight rows read together start in different
// banks. Two ways to walk the sum:
//
//   RESIDENT   a signal with several taps: BK channels of all rows that the taps reach lie in shared memory, pre-activation
//              applied, while the weights of TPS taps after TPS taps pass by
//   else       taps and channels are one long row of factors, walked BK at a time: linear layers and images
//
// Float32 is computed so too: each factor is the float16 nearest to it and what that lacks, and of the four products all but
// that of both rests are added up, which leaves an error as small as float32's own (Markidis et al. 2018). A factor beyond
// 65504 becomes infinite and the result not a number, which the caller finds.
//
// The weights of the next step are on their way in registers. Sums leave 16 rows at a time through shared memory, so that
// every invocation adds, activates and writes eight channels at once. What counts besides the products is how many workgroups
// a unit can hold, since nothing else hides their loads: hence as little shared memory and as few registers as will do.
//
// gl_WorkGroupID: x is the tile of channels, y of rows, z = (phase * groups + group) * splits + split; see conv.glsl.
#include "common.glsl"
#include "matrix.glsl"

layout(local_size_x_id = 19) in;

layout(push_constant) uniform Push {
    uint x, y;                   // offsets in the slab
    uint table, bias, weights;   // offsets in the weights: words, floats, elements
    uint rows;                   // of a phase's output
    uint h, w;                   // of the input
    uint columns, out_w;         // output columns of a phase, of all
    uint c_in, group_in, c_out, group_out;
    uint pitch;                  // elements from row to row of w
    uint stride, dilation;
    uint step_y, step_x;         // from output to output of a phase
    uint groups, splits;
    uint partial;                // offset of the parts in the slab, floats
    float slope;                 // of the pre-activation
    uint step[6];
    uint padded_rows;            // of a part
    uint taps;                   // of a signal
    int first_x;                 // offset of its first tap
} push;

layout(constant_id = 8) const uint BM = 64;
layout(constant_id = 9) const uint BN = 64;
layout(constant_id = 10) const uint BK = 32;
layout(constant_id = 11) const uint ROWS = 64;          // rows of x in shared memory
layout(constant_id = 12) const bool RESIDENT = false;
layout(constant_id = 13) const uint TPS = 1;            // taps of a step, where RESIDENT
layout(constant_id = 14) const uint PRE = 255;          // pre-activation, a step's kind
layout(constant_id = 15) const uint TAPS_X = 1;         // of an image
layout(constant_id = 16) const bool IMAGE = false;
layout(constant_id = 17) const bool SPLIT = false;
layout(constant_id = 18) const bool EIGHTS = false;     // output channels come in eights
layout(constant_id = 19) const uint THREADS = 256;
layout(constant_id = 20) const uint WM = 32;            // a subgroup's share
layout(constant_id = 21) const uint WN = 32;
layout(constant_id = 22) const uint C = 64;             // input channels of a group
layout(constant_id = 23) const uint PITCH = 64;
layout(constant_id = 24) const uint STRIDE = 1;
layout(constant_id = 25) const uint C_IN = 64;          // of all groups
layout(constant_id = 26) const uint C_OUT = 64;
layout(constant_id = 27) const uint BUFFERS = 2;        // of w, and of x where it is not resident
layout(constant_id = 28) const uint TAPS = 0;           // TABLE: phases differ, see the table; SIGNAL: as pushed
layout(constant_id = 29) const int FIRST_Y = 0;         // offset of the first tap, where TAPS are many
layout(constant_id = 30) const int FIRST_X = 0;
// The first steps that add a tensor: their operands are fetched ahead, eight channels at a time. (Nothing read from the
// slab moves across what is written to it, so who fetches late waits each time.)
layout(constant_id = 31) const uint ADDS = 0;

#define STEP_CHANNELS C_OUT
#include "steps.glsl"

layout(set = 0, binding = 0) buffer Slab8 { uvec4 slab8[]; };
layout(set = 0, binding = 1) readonly buffer Weights8 { uvec4 weights8[]; };

const uint TABLE = 0, SIGNAL = 0xffffffff;
const uint SIDE = 16;
const uint PER_X = BK / 8, PER_W = BN / 8;              // vectors of a row
const uint KS = RESIDENT ? TPS * BK : BK;               // rows of w in a step
const uint X_LOADS = (ROWS * PER_X + THREADS - 1) / THREADS;
const uint W_LOADS = (KS * PER_W + THREADS - 1) / THREADS;
const uint X_PITCH = PER_X + 1, W_PITCH = PER_W + 1;
const uint X_SIZE = (RESIDENT ? 1 : BUFFERS) * ROWS * X_PITCH;
const uint W_SIZE = BUFFERS * KS * W_PITCH;
const uint BATCH = 6 / PARTS;                           // vectors of a signal that an invocation has on their way
const uint PLANE = X_SIZE + W_SIZE;
const uint OUT_PITCH = WN / PER_VECTOR + 1;             // a subgroup's outputs on their way out
const uint OUT_SIZE = THREADS / LANES * SIDE * OUT_PITCH;
const uint TILE = PARTS * PLANE > OUT_SIZE ? PARTS * PLANE : OUT_SIZE;
const uint SUMS_M = WM / SIDE, SUMS_N = WN / SIDE;

shared uvec4 tile[TILE];

// ---- where this workgroup is

uint group, split, first_row, first_channel;            // first_channel: within the group
uint taps, taps_x, phase_y, phase_x, weights_at;
int first_y, first_x;                                   // offset of the first tap

void find_place() {
    const uint zs = gl_WorkGroupID.z / push.splits;
    split = gl_WorkGroupID.z - zs * push.splits;
    const uint phase = zs / push.groups;
    group = zs - phase * push.groups;
    first_row = gl_WorkGroupID.y * BM;
    first_channel = gl_WorkGroupID.x * BN;
    if (TAPS != TABLE) {
        phase_y = phase_x = 0;
        taps = TAPS == SIGNAL ? push.taps : TAPS;
        taps_x = TAPS_X;
        first_y = FIRST_Y;
        first_x = TAPS == SIGNAL ? push.first_x : FIRST_X;
        weights_at = push.weights + group * taps * C * PITCH;
    } else {
        const uint at = push.table + 8 * phase;
        phase_y = weights_uint[at];
        phase_x = weights_uint[at + 1];
        taps_x = weights_uint[at + 3];
        taps = weights_uint[at + 2] * taps_x;
        first_y = int(weights_uint[at + 4]);
        first_x = int(weights_uint[at + 5]);
        weights_at = push.weights + weights_uint[at + 6] + group * taps * C * PITCH;
    }
}

uint output_row(uint m) {
    if (!IMAGE || push.step_x == 1) return m * push.step_x + phase_x;
    const uint y = m / push.columns;
    return (y * push.step_y + phase_y) * push.out_w + (m - y * push.columns) * push.step_x + phase_x;
}

// ---- fetching
//
// From the nearest place there is, and what is beside the input becomes zero afterwards: a load in a branch is waited for
// before the next one starts.

#ifdef NN_F16
eight fetch_values(uint at) { return slab8[at / 8]; }
eight fetch_weights(uint at) { return weights8[at / 8]; }
eight only_if(bool there, eight v) { return there ? v : uvec4(0); }

uint activate(uint two) {
    const f16vec2 v = unpackFloat2x16(two);
    const float16_t slope = float16_t(push.slope);
    if (PRE == STEP_RELU) return packFloat2x16(max(v, f16vec2(0)));
    if (PRE == STEP_LEAKY_RELU) return packFloat2x16(max(v, f16vec2(0)) + min(v, f16vec2(0)) * slope);
    if (PRE == STEP_SCALE) return packFloat2x16(v * slope);
    return two;
}

void put_values(uint at, eight v) { tile[at] = uvec4(activate(v.x), activate(v.y), activate(v.z), activate(v.w)); }
void put_weights(uint at, eight v) { tile[at] = v; }
#else
// Of weights the float16 nearest to them, and LACKS times the rest.
eight fetch_values(uint at) { return eight(slab8[at / 4], slab8[at / 4 + 1]); }
eight fetch_weights(uint at) { return eight(weights8[at / 4], weights8[at / 4 + 1]); }
eight only_if(bool there, eight v) { return eight(there ? v.a : uvec4(0), there ? v.b : uvec4(0)); }

vec4 activate(vec4 v) {
    if (PRE == STEP_RELU) return max(v, vec4(0));
    if (PRE == STEP_LEAKY_RELU) return max(v, vec4(0)) + min(v, vec4(0)) * push.slope;
    if (PRE == STEP_SCALE) return v * push.slope;
    return v;
}

void put_values(uint at, eight v) {
    const eight x = eight_of(activate(uintBitsToFloat(v.a)), activate(uintBitsToFloat(v.b)));
    tile[at] = nearest(x);
    tile[at + PLANE] = lack(x, LACKS);
}

void put_weights(uint at, eight v) {
    tile[at] = v.a;
    tile[at + PLANE] = v.b;
}
#endif

eight x_next[X_LOADS], w_next[W_LOADS];                 // on their way

// All rows and BK channels of a signal, from channel c0 of the group on. Rows lie ordered by their remainder by STRIDE, so
// that a tap reads neighbours.
eight fetch_row(uint index, uint c0) {
    const int x = int(first_row * STRIDE + index / PER_X) + first_x, near = clamp(x, 0, int(push.w) - 1);
    const uint c = c0 + index % PER_X * 8, near_c = C % BK == 0 ? c : min(c, C - 8);
    return only_if(x == near && c == near_c, fetch_values(push.x + uint(near) * C_IN + group * C + near_c));
}

void store_row(uint index, eight v) {
    const uint q = index / PER_X;
    if (index < ROWS * PER_X) put_values((q % STRIDE * (ROWS / STRIDE) + q / STRIDE) * X_PITCH + index % PER_X, v);
}

void load_signal(uint c0) {
    [[dont_unroll]] for (uint from = gl_LocalInvocationID.x; from < ROWS * PER_X; from += BATCH * THREADS) {
        eight v[BATCH];
        [[unroll]] for (uint i = 0; i < BATCH; i++) v[i] = fetch_row(from + i * THREADS, c0);
        [[unroll]] for (uint i = 0; i < BATCH; i++) store_row(from + i * THREADS, v[i]);
    }
}

int row_y[X_LOADS], row_x[X_LOADS];                     // input's place of the rows that this invocation fetches
const int NOWHERE = -0x40000000;

void place_rows() {
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint q = (gl_LocalInvocationID.x + i * THREADS) / PER_X, m = first_row + q;
        const uint y = IMAGE ? m / push.columns : 0;
        row_y[i] = int(y);
        row_x[i] = q < BM && m < push.rows ? int((m - y * push.columns) * STRIDE) + first_x : NOWHERE;
        row_y[i] += first_y;
    }
}

void fetch_x(uint k0) {
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint k = k0 + (gl_LocalInvocationID.x + i * THREADS) % PER_X * 8, near_k = C % BK == 0 ? k : min(k, taps * C - 8);
        const uint tap = IMAGE ? near_k / C : 0, c = near_k - tap * C, ty = tap / taps_x;
        const int y = row_y[i] + int(ty), x = row_x[i] + int(tap - ty * taps_x);
        const int near_y = clamp(y, 0, int(push.h) - 1), near_x = clamp(x, 0, int(push.w) - 1);
        const uint row = uint(IMAGE ? near_y * int(push.w) + near_x : near_x);
        x_next[i] = only_if(x == near_x && (!IMAGE || y == near_y) && k == near_k,
                            fetch_values(push.x + row * C_IN + group * C + c));
    }
}

void store_x(uint b) {
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint index = gl_LocalInvocationID.x + i * THREADS;
        if (ROWS * PER_X % THREADS == 0 || index < ROWS * PER_X)
            put_values((b * ROWS + index / PER_X) * X_PITCH + index % PER_X, x_next[i]);
    }
}

// Rows k0 .. of the weights; where RESIDENT BK of each of TPS taps.
void fetch_w(uint tap, uint c0) {
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        const uint index = gl_LocalInvocationID.x + i * THREADS;
        const uint r = index / PER_W, n = first_channel + index % PER_W * 8, near_n = PITCH % BN == 0 ? n : min(n, PITCH - 8);
        const uint t = RESIDENT ? tap + r / BK : 0, c = c0 + (RESIDENT ? r % BK : r);
        const uint rows = RESIDENT ? C : taps * C, near_t = RESIDENT ? min(t, taps - 1) : 0, near_c = min(c, rows - 1);
        w_next[i] = only_if(t == near_t && c == near_c && n == near_n,
                            fetch_weights(weights_at + (near_t * C + near_c) * PITCH + near_n));
    }
}

void store_w(uint b) {
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        const uint index = gl_LocalInvocationID.x + i * THREADS;
        if (KS * PER_W % THREADS == 0 || index < KS * PER_W)
            put_weights(X_SIZE + (b * KS + index / PER_W) * W_PITCH + index % PER_W, w_next[i]);
    }
}

// ---- the sum

matrix_sum sum[SUMS_M * SUMS_N];
#ifndef NN_F16
matrix_sum low[SUMS_M * SUMS_N];                        // LACKS times what the products of the nearest lack
#endif

uint part_m() { return gl_SubgroupID / (BN / WN) * WM; }
uint part_n() { return gl_SubgroupID % (BN / WN) * WN; }

// Where the row of the tile's first output lies under a tap.
uint tap_row(uint tap) {
    const uint q = tap * push.dilation;
    return q % STRIDE * (ROWS / STRIDE) + q / STRIDE;
}

#define LOAD_FACTORS(u)                                                                                                \
    {                                                                                                                  \
        const uint row = RESIDENT ? tap_row(tap + (u) * SIDE / BK) : b * ROWS;                                         \
        const uint x_at = (row + part_m()) * X_PITCH + (u) * SIDE % BK / 8;                                            \
        const uint w_at = X_SIZE + (b * KS + (u) * SIDE) * W_PITCH + part_n() / 8;                                     \
        [[unroll]] for (uint p = 0; p < PARTS; p++) {                                                                  \
            [[unroll]] for (uint i = 0; i < SUMS_M; i++)                                                               \
                matrix_load(x[p * SUMS_M + i], tile, p * PLANE + x_at + i * SIDE * X_PITCH, X_PITCH);                         \
            [[unroll]] for (uint j = 0; j < SUMS_N; j++)                                                               \
                matrix_load(w[p * SUMS_N + j], tile, p * PLANE + w_at + j * 2, W_PITCH);                                      \
        }                                                                                                              \
    }

#define ADD_PRODUCTS(sum, px, pw)                                                                                      \
    [[unroll]] for (uint j = 0; j < SUMS_N; j++)                                                                       \
        [[unroll]] for (uint i = 0; i < SUMS_M; i++)                                                                   \
            matrix_add_product(sum[i * SUMS_N + j], x[(px) * SUMS_M + i], w[(pw) * SUMS_N + j]);

// A step: rows of w in buffer b and what of x belongs to them.
void multiply(uint tap, uint b) {
    matrix_left x[PARTS * SUMS_M];
    matrix_right w[PARTS * SUMS_N];
    [[unroll]] for (uint u = 0; u < KS / SIDE; u++) {
        LOAD_FACTORS(u)
        ADD_PRODUCTS(sum, 0, 0)
#ifndef NN_F16
        ADD_PRODUCTS(low, 1, 0)                          // the product of what both lack is too small to matter
        ADD_PRODUCTS(low, 0, 1)
#endif
    }
}

void sum_signal() {
    const uint chunks = (C + BK - 1) / BK, first = chunks * split / push.splits, last = chunks * (split + 1) / push.splits;
    uint b = 0;
    fetch_w(0, first * BK);
    for (uint chunk = first; chunk < last; chunk++) {
        if (chunk > first) barrier();
        load_signal(chunk * BK);
        for (uint tap = 0; tap < taps; tap += TPS) {
            store_w(b);
            barrier();
            if (tap + TPS < taps) {
                fetch_w(tap + TPS, chunk * BK);
            } else if (chunk + 1 < last) {
                fetch_w(0, (chunk + 1) * BK);
            }
            multiply(tap, b);
            if (BUFFERS == 2)
                b ^= 1;
            else
                barrier();
        }
    }
}

void sum_row() {
    const uint steps = (taps * C + BK - 1) / BK, first = steps * split / push.splits, last = steps * (split + 1) / push.splits;
    uint b = 0;
    place_rows();
    fetch_x(first * BK);
    fetch_w(0, first * BK);
    for (uint s = first; s < last; s++) {
        store_x(b);
        store_w(b);
        barrier();
        if (s + 1 < last) {
            fetch_x((s + 1) * BK);
            fetch_w(0, (s + 1) * BK);
        }
        multiply(0, b);
        if (BUFFERS == 2)
            b ^= 1;
        else
            barrier();
    }
}

// ---- beginning and end

void begin() {
#ifndef NN_F16
    [[unroll]] for (uint i = 0; i < SUMS_M; i++)
        [[unroll]] for (uint j = 0; j < SUMS_N; j++) low[i * SUMS_N + j] = matrix_sum(0.0);
#endif
    [[unroll]] for (uint j = 0; j < SUMS_N; j++) {
        const uint channel = group * push.group_out + first_channel + part_n() + j * SIDE;
        matrix_sum bias = matrix_sum(0.0);
        if (!SPLIT) matrix_load(bias, weights8, (push.bias + channel) / 4, 0);
        [[unroll]] for (uint i = 0; i < SUMS_M; i++) sum[i * SUMS_N + j] = bias;
    }
}

#define FURTHER_STEPS(v, row, channel)                                                                                 \
    {                                                                                                                  \
        if (ADDS < 1) v = apply_step(step_code_0, push.step[0], v, row, channel);                                      \
        if (ADDS < 2) v = apply_step(step_code_1, push.step[1], v, row, channel);                                      \
        if (ADDS < 3) v = apply_step(step_code_2, push.step[2], v, row, channel);                                      \
        v = apply_step(step_code_3, push.step[3], v, row, channel);                                                    \
        v = apply_step(step_code_4, push.step[4], v, row, channel);                                                    \
        v = apply_step(step_code_5, push.step[5], v, row, channel);                                                    \
    }

#ifdef NN_F16
#define leaving_matrix matrix_half
void unpack(eight v, out vec4 a, out vec4 b) {
    a = vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y));
    b = vec4(unpackHalf2x16(v.z), unpackHalf2x16(v.w));
}
eight leaving(uint at) { return tile[at]; }
void put(uint at, vec4 a, vec4 b) { slab8[at / 8] = eight_of(a, b); }
#else
#define leaving_matrix matrix_sum
void unpack(eight v, out vec4 a, out vec4 b) {
    a = uintBitsToFloat(v.a);
    b = uintBitsToFloat(v.b);
}
eight leaving(uint at) { return eight(tile[at], tile[at + 1]); }
void put(uint at, vec4 a, vec4 b) {
    slab8[at / 4] = floatBitsToUint(a);
    slab8[at / 4 + 1] = floatBitsToUint(b);
}
#endif

void finish_one(float v, uint row, uint channel) {
    FURTHER_STEPS(v, row, channel)
    slab[push.y + row * C_OUT + channel] = element(v);
}

// Eight channels from n on of row m.
void finish(vec4 a, vec4 b, uint m, uint n) {
    const uint channel = group * push.group_out + n, row = output_row(m);
    if (EIGHTS) {
        [[unroll]] for (uint half_of = 0; half_of < 2; half_of++) {
            vec4 v = half_of == 0 ? a : b;
            FURTHER_STEPS(v, row, channel + 4 * half_of)
            if (half_of == 0)
                a = v;
            else
                b = v;
        }
        put(push.y + row * C_OUT + channel, a, b);
    } else {
        for (uint i = 0; i < 8 && n + i < push.group_out; i++) finish_one(i < 4 ? a[i] : b[i - 4], row, channel + i);
    }
}

// ---- out: in rounds, 16 rows of a subgroup's matrices through shared memory, eight channels an invocation

const uint ROUNDS = WM / SIDE;
const uint OUT_EIGHTS = SIDE * WN / 8 / LANES;             // of an invocation in a round
eight operand[2 * 3 * OUT_EIGHTS];                      // two rounds', of up to three steps

uint out_row(uint round, uint i) {
    return first_row + part_m() + round * SIDE + (gl_SubgroupInvocationID + i * LANES) / (WN / 8);
}
uint out_channel(uint i) { return first_channel + part_n() + (gl_SubgroupInvocationID + i * LANES) % (WN / 8) * 8; }
bool is_output(uint m, uint n) { return m < push.rows && n < push.group_out; }

void fetch_operand(uint set, uint k, uint code, uint round) {
    [[unroll]] for (uint i = 0; i < OUT_EIGHTS; i++) {
        const uint m = min(out_row(round, i), push.rows - 1), n = min(out_channel(i), push.group_out - 8);
        operand[(set * 3 + k) * OUT_EIGHTS + i] =
            fetch_values(push.step[k] + (code < 256 ? output_row(m) * C_OUT : 0) + group * push.group_out + n);
    }
}

void fetch_operands(uint set, uint round) {
    if (ADDS > 0) fetch_operand(set, 0, step_code_0, round);
    if (ADDS > 1) fetch_operand(set, 1, step_code_1, round);
    if (ADDS > 2) fetch_operand(set, 2, step_code_2, round);
}

// (Written out: sums must be found at compile time to stay in registers, and drivers do not unroll a loop with barriers.)
#define LAY_OUT(r)                                                                                                     \
    if ((r) < ROUNDS && round == (r))                                                                                  \
        [[unroll]] for (uint j = 0; j < SUMS_N; j++)                                                                   \
            matrix_store(leaving_matrix(sum[(r) % ROUNDS * SUMS_N + j]), tile, at + j * SIDE / PER_VECTOR, OUT_PITCH);
#define ROUND(set)                                                                                                     \
    if (pair + (set) < ROUNDS) {                                                                                       \
        const uint round = pair + (set);                                                                               \
        if (round + 1 < ROUNDS) fetch_operands(1 - (set), round + 1);                                                  \
        if (round > 0)                                                                                                 \
            controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease); \
        LAY_OUT(set)                                                                                                   \
        LAY_OUT((set) + 2)                                                                                             \
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);     \
        put_round(set, at, round);                                                                                     \
    }

void put_round(uint set, uint at, uint round) {
    [[unroll]] for (uint i = 0; i < OUT_EIGHTS; i++) {
        const uint m = out_row(round, i), n = out_channel(i), q = gl_SubgroupInvocationID + i * LANES;
        vec4 a, b, c, d;
        unpack(leaving(at + q / (WN / 8) * OUT_PITCH + q % (WN / 8) * (8 / PER_VECTOR)), a, b);
        [[unroll]] for (uint k = 0; k < ADDS; k++) {
            unpack(operand[(set * 3 + k) * OUT_EIGHTS + i], c, d);
            a += c;
            b += d;
        }
        if (is_output(m, n)) finish(a, b, m, n);
    }
}

void leave() {
    const uint at = gl_SubgroupID * SIDE * OUT_PITCH;
    fetch_operands(0, 0);
    barrier();
    [[dont_unroll]] for (uint pair = 0; pair < ROUNDS; pair += 2) {
        ROUND(0)
        ROUND(1)
    }
}

// Float32 parts, to be added up by conv_sum.comp; rows are padded there.
void leave_part() {
    [[unroll]] for (uint i = 0; i < SUMS_M; i++)
        [[unroll]] for (uint j = 0; j < SUMS_N; j++) {
            const uint m = first_row + part_m() + i * SIDE, n = first_channel + part_n() + j * SIDE;
            if (is_output(m, n))
                matrix_store(sum[i * SUMS_N + j], slab8, (push.partial + (split * push.padded_rows + m) * C_OUT + n) / 4, C_OUT / 4);
        }
}

void main() {
    find_place();
    begin();
    if (RESIDENT)
        sum_signal();
    else
        sum_row();
#ifndef NN_F16
    [[unroll]] for (uint i = 0; i < SUMS_M; i++)
        [[unroll]] for (uint j = 0; j < SUMS_N; j++)
            sum[i * SUMS_N + j] = sum[i * SUMS_N + j] + low[i * SUMS_N + j] * (1 / LACKS);
#endif
    if (SPLIT)
        leave_part();
    else
        leave();
}
