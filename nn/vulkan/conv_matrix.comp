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
// The weights of the next step are on their way in registers. The sums begin as bias plus what the node adds first (its
// residual), so that those reads cost no time at the end; further steps are applied to the matrices themselves. Only blocks
// over the output's edge, and what cannot be addressed as rows at one distance, leave through shared memory.
//
// gl_WorkGroupID: x is the tile of channels, y of rows, z = (phase * groups + group) * splits + split; see conv.glsl.
#pragma use_vulkan_memory_model
#include "common.glsl"
#ifndef NN_F16
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif
#extension GL_NV_cooperative_matrix : require
// The sides are constants of their own, so that to_khr.c can tell factors and sums apart.
#define x_matrix fcoopmatNV<16, gl_ScopeSubgroup, 16, SIDE_X>
#define w_matrix fcoopmatNV<16, gl_ScopeSubgroup, SIDE_W, 16>
#define sum_matrix fcoopmatNV<32, gl_ScopeSubgroup, 16, 16>
#define half_matrix fcoopmatNV<16, gl_ScopeSubgroup, 16, 16>
#define LOAD(m, from, at, pitch) coopMatLoadNV(m, from, at, pitch, false)
#define STORE(m, to, at, pitch) coopMatStoreNV(m, to, at, pitch, false)
#define MULTIPLY_ADD(a, b, c) coopMatMulAddNV(a, b, c)
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_memory_scope_semantics : require

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
layout(constant_id = 18) const uint OUT = 0;            // 1: channels come in eights; 3: and rows at one distance
layout(constant_id = 19) const uint THREADS = 256;
layout(constant_id = 20) const uint WM = 32;            // a subgroup's share
layout(constant_id = 21) const uint WN = 32;
layout(constant_id = 22) const uint C = 64;             // input channels of a group
layout(constant_id = 23) const uint PITCH = 64;
layout(constant_id = 24) const uint STRIDE = 1;
layout(constant_id = 25) const uint C_IN = 64;          // of all groups
layout(constant_id = 26) const uint C_OUT = 64;
layout(constant_id = 27) const uint BUFFERS = 2;        // of w, and of x where it is not resident
layout(constant_id = 28) const uint TAPS = 0;           // 0: phases differ, see the table
layout(constant_id = 29) const int FIRST_Y = 0;         // offset of the first tap, where TAPS
layout(constant_id = 30) const int FIRST_X = 0;
layout(constant_id = 100) const uint SIDE_X = 16;
layout(constant_id = 101) const uint SIDE_W = 16;

const bool EIGHTS = (OUT & 1) != 0, EVEN = (OUT & 2) != 0;
#define STEP_CHANNELS C_OUT
#include "steps.glsl"

layout(set = 0, binding = 0) buffer Slab8 { uvec4 slab8[]; };
layout(set = 0, binding = 1) readonly buffer Weights8 { uvec4 weights8[]; };

const uint SIDE = 16;
const uint PER_X = BK / 8, PER_W = BN / 8;              // vectors of a row
const uint KS = RESIDENT ? TPS * BK : BK;               // rows of w in a step
const uint BATCH = 3;                                   // of rows fetched at once, where not all are
const uint X_LOADS = (ROWS * PER_X + THREADS - 1) / THREADS;
const uint W_LOADS = (KS * PER_W + THREADS - 1) / THREADS;
const bool AHEAD = X_LOADS <= 4;
const uint X_PITCH = PER_X + 1, W_PITCH = PER_W + 1;
const uint X_SIZE = (RESIDENT ? 1 : BUFFERS) * ROWS * X_PITCH;
const uint W_SIZE = BUFFERS * KS * W_PITCH;
#ifdef NN_F16
const uint PARTS = 1, PER_VECTOR = 8;                   // planes of factors; values in 16 bytes of the slab
#else
const uint PARTS = 2, PER_VECTOR = 4;
#endif
const uint PLANE = X_SIZE + W_SIZE;
const uint OUT_PITCH = WN / PER_VECTOR + 1;             // a subgroup's outputs on their way out
const uint OUT_SUMS = PARTS == 1 ? WM / SIDE : 1;       // rows of matrices at once
const uint OUT_SIZE = THREADS / 32 * OUT_SUMS * SIDE * OUT_PITCH;
const uint TILE = PARTS * PLANE > OUT_SIZE ? PARTS * PLANE : OUT_SIZE;
const uint SETS = PARTS == 2 ? 1 : 2;                    // of matrices in registers
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
    if (TAPS > 0) {
        phase_y = phase_x = 0;
        taps = TAPS;
        taps_x = TAPS_X;
        first_y = FIRST_Y;
        first_x = FIRST_X;
        weights_at = push.weights + group * TAPS * C * PITCH;
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

#ifdef NN_F16
#define eight uvec4                      // values, as they are
eight nothing() { return uvec4(0); }
eight fetch_values(uint at) { return slab8[at / 8]; }
eight fetch_weights(uint at) { return weights8[at / 8]; }

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
struct eight { uvec4 a, b; };            // float32 values; of weights the float16 nearest to them, and LACKS times the rest
const float LACKS = 2048;                // keeps the rest from being too small for float16
eight nothing() { return eight(uvec4(0), uvec4(0)); }
eight fetch_values(uint at) { return eight(slab8[at / 4], slab8[at / 4 + 1]); }
eight fetch_weights(uint at) { return eight(weights8[at / 4], weights8[at / 4 + 1]); }

vec4 activate(vec4 v) {
    if (PRE == STEP_RELU) return max(v, vec4(0));
    if (PRE == STEP_LEAKY_RELU) return max(v, vec4(0)) + min(v, vec4(0)) * push.slope;
    if (PRE == STEP_SCALE) return v * push.slope;
    return v;
}

uvec2 packed(f16vec4 v) { return uvec2(packFloat2x16(v.xy), packFloat2x16(v.zw)); }

// The factor that float16 can hold: its first 11 bits. (To float16 and back would do, but a compiler may leave that out.)
vec4 nearest(vec4 v) { return uintBitsToFloat(floatBitsToUint(v) & 0xffffe000u); }

void put_values(uint at, eight v) {
    const vec4 a = activate(uintBitsToFloat(v.a)), b = activate(uintBitsToFloat(v.b));
    const vec4 near_a = nearest(a), near_b = nearest(b);
    tile[at] = uvec4(packed(f16vec4(near_a)), packed(f16vec4(near_b)));
    tile[at + PLANE] = uvec4(packed(f16vec4((a - near_a) * LACKS)), packed(f16vec4((b - near_b) * LACKS)));
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
    const int x = int(first_row * STRIDE + index / PER_X) + first_x;
    const uint c = c0 + index % PER_X * 8;
    if (x >= 0 && x < int(push.w) && (C % BK == 0 || c < C)) return fetch_values(push.x + uint(x) * C_IN + group * C + c);
    return nothing();
}

void store_row(uint index, eight v) {
    const uint q = index / PER_X;
    if (index < ROWS * PER_X) put_values((q % STRIDE * (ROWS / STRIDE) + q / STRIDE) * X_PITCH + index % PER_X, v);
}

void fetch_signal(uint c0) {
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) x_next[i] = fetch_row(gl_LocalInvocationID.x + i * THREADS, c0);
}

void store_signal() {
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) store_row(gl_LocalInvocationID.x + i * THREADS, x_next[i]);
}

// Both, where it is too much for the registers.
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
        const uint k = k0 + (gl_LocalInvocationID.x + i * THREADS) % PER_X * 8;
        const uint tap = IMAGE ? k / C : 0, c = k - tap * C, ty = tap / taps_x;
        const int y = row_y[i] + int(ty), x = row_x[i] + int(tap - ty * taps_x);
        bool inside = x >= 0 && x < int(push.w) && (C % BK == 0 || k < taps * C);
        if (IMAGE) inside = inside && y >= 0 && y < int(push.h);
        x_next[i] = nothing();
        if (inside) x_next[i] = fetch_values(push.x + uint(IMAGE ? y * int(push.w) + x : x) * C_IN + group * C + c);
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
        const uint r = index / PER_W, n = first_channel + index % PER_W * 8;
        const uint t = RESIDENT ? tap + r / BK : 0, c = c0 + (RESIDENT ? r % BK : r);
        bool there = (KS * PER_W % THREADS == 0 || r < KS) && (PITCH % BN == 0 || n < PITCH);
        if (RESIDENT)
            there = there && (TPS == 1 || t < taps) && (C % BK == 0 || c < C);
        else
            there = there && (C % BK == 0 || c < taps * C);
        w_next[i] = nothing();
        if (there) w_next[i] = fetch_weights(weights_at + (t * C + c) * PITCH + n);
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

sum_matrix sum[SUMS_M * SUMS_N];
#ifndef NN_F16
sum_matrix low[SUMS_M * SUMS_N];                        // LACKS times what the products of the nearest lack
#endif

uint part_m() { return gl_SubgroupID / (BN / WN) * WM; }
uint part_n() { return gl_SubgroupID % (BN / WN) * WN; }

// Where the row of the tile's first output lies under a tap.
uint tap_row(uint tap) {
    const uint q = tap * push.dilation;
    return q % STRIDE * (ROWS / STRIDE) + q / STRIDE;
}

#define LOAD_FACTORS(set, u)                                                                                           \
    {                                                                                                                  \
        const uint row = RESIDENT ? tap_row(tap + (u) * SIDE / BK) : b * ROWS;                                         \
        const uint x_at = (row + part_m()) * X_PITCH + (u) * SIDE % BK / 8;                                            \
        const uint w_at = X_SIZE + (b * KS + (u) * SIDE) * W_PITCH + part_n() / 8;                                     \
        [[unroll]] for (uint p = 0; p < PARTS; p++) {                                                                  \
            [[unroll]] for (uint i = 0; i < SUMS_M; i++)                                                               \
                LOAD(x[((set) * PARTS + p) * SUMS_M + i], tile, p * PLANE + x_at + i * SIDE * X_PITCH, X_PITCH);       \
            [[unroll]] for (uint j = 0; j < SUMS_N; j++)                                                               \
                LOAD(w[((set) * PARTS + p) * SUMS_N + j], tile, p * PLANE + w_at + j * 2, W_PITCH);                    \
        }                                                                                                              \
    }

#define ADD_PRODUCTS(sum, set, px, pw)                                                                                 \
    [[unroll]] for (uint j = 0; j < SUMS_N; j++)                                                                       \
        [[unroll]] for (uint i = 0; i < SUMS_M; i++)                                                                   \
            sum[i * SUMS_N + j] = MULTIPLY_ADD(x[((set) * PARTS + px) * SUMS_M + i], w[((set) * PARTS + pw) * SUMS_N + j], \
                                               sum[i * SUMS_N + j]);

// A step: rows of w in buffer b and what of x belongs to them. The next matrices are loaded while some are multiplied.
void multiply(uint tap, uint b) {
    x_matrix x[SETS * PARTS * SUMS_M];
    w_matrix w[SETS * PARTS * SUMS_N];
    LOAD_FACTORS(0, 0)
    [[unroll]] for (uint u = 0; u < KS / SIDE; u++) {
        if (SETS == 2 && u + 1 < KS / SIDE) LOAD_FACTORS((u + 1) % SETS, u + 1)
        ADD_PRODUCTS(sum, u % SETS, 0, 0)
#ifndef NN_F16
        ADD_PRODUCTS(low, u % SETS, 1, 0)                // the product of what both lack is too small to matter
        ADD_PRODUCTS(low, u % SETS, 0, 1)
#endif
        if (SETS == 1 && u + 1 < KS / SIDE) LOAD_FACTORS(0, u + 1)
    }
}

void sum_signal() {
    const uint chunks = (C + BK - 1) / BK, first = chunks * split / push.splits, last = chunks * (split + 1) / push.splits;
    uint b = 0;
    fetch_w(0, first * BK);
    if (AHEAD) fetch_signal(first * BK);
    for (uint chunk = first; chunk < last; chunk++) {
        if (chunk > first) barrier();
        if (AHEAD)
            store_signal();
        else
            load_signal(chunk * BK);
        for (uint tap = 0; tap < taps; tap += TPS) {
            store_w(b);
            barrier();
            if (tap + TPS < taps) {
                fetch_w(tap + TPS, chunk * BK);
            } else if (chunk + 1 < last) {
                fetch_w(0, (chunk + 1) * BK);
                if (AHEAD) fetch_signal((chunk + 1) * BK);
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

bool adds(uint code) { return (code & 255) == STEP_ADD; }
// Steps that the sums begin with.
uint leading() {
    if (!EVEN || SPLIT || !adds(step_code_0)) return 0;
    return adds(step_code_1) ? 2 : 1;
}

// Operand of a step for the block whose first output is (row, channel).
#ifdef NN_F16
#define operand_matrix half_matrix
#else
#define operand_matrix sum_matrix
#endif
#define OPERAND(m, code, argument, row, channel)                                                                       \
    {                                                                                                                  \
        operand_matrix operand_;                                                                                       \
        LOAD(operand_, slab8, ((argument) + ((code) < 256 ? (row) * C_OUT : 0) + (channel)) / PER_VECTOR,              \
             (code) < 256 ? push.step_x * (C_OUT / PER_VECTOR) : 0);                                                   \
        m = sum_matrix(operand_);                                                                                      \
    }

void begin() {
#ifndef NN_F16
    [[unroll]] for (uint i = 0; i < SUMS_M; i++)
        [[unroll]] for (uint j = 0; j < SUMS_N; j++) low[i * SUMS_N + j] = sum_matrix(0.0);
#endif
    [[unroll]] for (uint j = 0; j < SUMS_N; j++) {
        const uint channel = group * push.group_out + first_channel + part_n() + j * SIDE;
        sum_matrix bias, o;
        if (!SPLIT) LOAD(bias, weights8, (push.bias + channel) / 4, 0);
        [[unroll]] for (uint i = 0; i < SUMS_M; i++) {
            const uint row = (first_row + part_m() + i * SIDE) * push.step_x + phase_x;
            if (SPLIT)
                sum[i * SUMS_N + j] = sum_matrix(0.0);
            else
                sum[i * SUMS_N + j] = bias;
            if (leading() > 0) {
                OPERAND(o, step_code_0, push.step[0], row, channel)
                sum[i * SUMS_N + j] = sum[i * SUMS_N + j] + o;
            }
            if (leading() > 1) {
                OPERAND(o, step_code_1, push.step[1], row, channel)
                sum[i * SUMS_N + j] = sum[i * SUMS_N + j] + o;
            }
        }
    }
}

#define FURTHER_STEPS(v, row, channel)                                                                                 \
    {                                                                                                                  \
        if (leading() < 1) v = apply_step(step_code_0, push.step[0], v, row, channel);                                 \
        if (leading() < 2) v = apply_step(step_code_1, push.step[1], v, row, channel);                                 \
        v = apply_step(step_code_2, push.step[2], v, row, channel);                                                    \
        v = apply_step(step_code_3, push.step[3], v, row, channel);                                                    \
        v = apply_step(step_code_4, push.step[4], v, row, channel);                                                    \
        v = apply_step(step_code_5, push.step[5], v, row, channel);                                                    \
    }

void finish_one(float v, uint row, uint channel) {
    FURTHER_STEPS(v, row, channel)
    slab[push.y + row * C_OUT + channel] = element(v);
}

// Eight channels from n on of row m.
void finish(vec4 a, vec4 b, uint m, uint n) {
    if (m >= push.rows || n >= push.group_out) return;
    const uint channel = group * push.group_out + n, row = output_row(m);
    if (EIGHTS) {
        FURTHER_STEPS(a, row, channel)
        FURTHER_STEPS(b, row, channel + 4)
        slab4[(push.y + row * C_OUT + channel) / 4] = element4(a);
        slab4[(push.y + row * C_OUT + channel) / 4 + 1] = element4(b);
    } else {
        for (uint i = 0; i < 8 && n + i < push.group_out; i++) finish_one(i < 4 ? a[i] : b[i - 4], row, channel + i);
    }
}

// OUT_SUMS rows of matrices through shared memory to their place. (No loop over parts: sums must be found at compile time to
// stay in registers, and drivers do not unroll a loop with such a body.)
#define LEAVE(part)                                                                                                    \
    {                                                                                                                  \
        if (part > 0)                                                                                                  \
            controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease); \
        [[unroll]] for (uint i = 0; i < OUT_SUMS; i++)                                                                 \
            [[unroll]] for (uint j = 0; j < SUMS_N; j++)                                                               \
                STORE(operand_matrix(sum[((part) * OUT_SUMS + i) % SUMS_M * SUMS_N + j]), tile,                                   \
                      at + i * SIDE * OUT_PITCH + j * SIDE / PER_VECTOR, OUT_PITCH);                                   \
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);     \
        put_out(at, part_m() + part * OUT_SUMS * SIDE);                                                                \
    }

void put_out(uint at, uint row) {
    [[dont_unroll]] for (uint q = gl_SubgroupInvocationID; q < OUT_SUMS * SIDE * WN / 8; q += 32) {
        const uint r = q / (WN / 8), c = q % (WN / 8), from = at + r * OUT_PITCH + c * (8 / PER_VECTOR);
        const uvec4 v = tile[from];
#ifdef NN_F16
        const vec4 a = vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y)), b = vec4(unpackHalf2x16(v.z), unpackHalf2x16(v.w));
#else
        const vec4 a = uintBitsToFloat(v), b = uintBitsToFloat(tile[from + 1]);
#endif
        finish(a, b, first_row + row + r, first_channel + part_n() + 8 * c);
    }
}

void end() {
    const uint at = gl_SubgroupID * OUT_SUMS * SIDE * OUT_PITCH;
#ifndef NN_F16
    [[unroll]] for (uint i = 0; i < SUMS_M; i++)
        [[unroll]] for (uint j = 0; j < SUMS_N; j++)
            sum[i * SUMS_N + j] = sum[i * SUMS_N + j] + low[i * SUMS_N + j] * (1 / LACKS);
#endif
    if (SPLIT) {                         // float32, to be added up by conv_sum.comp; rows are padded there
        [[unroll]] for (uint i = 0; i < SUMS_M; i++)
            [[unroll]] for (uint j = 0; j < SUMS_N; j++) {
                const uint m = first_row + part_m() + i * SIDE, n = first_channel + part_n() + j * SIDE;
                if (m < push.rows && n < push.group_out)
                    STORE(sum[i * SUMS_N + j], slab8, (push.partial + (split * push.padded_rows + m) * C_OUT + n) / 4, C_OUT / 4);
            }
        return;
    }
    barrier();
    LEAVE(0)
    if (SUMS_M > OUT_SUMS) LEAVE(1)
    if (SUMS_M > 2 * OUT_SUMS) LEAVE(2)
    if (SUMS_M > 3 * OUT_SUMS) LEAVE(3)
}

void main() {
    find_place();
    begin();
    if (RESIDENT)
        sum_signal();
    else
        sum_row();
    end();
}
