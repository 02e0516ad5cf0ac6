#version 460
// conv_image_matrix.comp - convolution of an image in float32, by cooperative matrices of pairs of float16.
//
//   y[v][u][n] = bias[n] + sum over K x K taps, channels c of  x[v + ty - BORDER][u + tx - BORDER][c] * w[ty][tx][c][n]
//
// K is 3 or 1; or 2, for a transposed convolution of stride 2, whose outputs under an input are four times as many channels:
// all that are even in y and x, then those odd in x, in y, in both.
//
// As in conv_matrix.comp each factor is the float16 nearest to it and LACKS times what that lacks, and of the four products
// all but that of both rests are added up (Markidis et al. 2018).
//
// A workgroup makes the pixels of a tile TY x TX, BN channels of each. It lays the tile's input with its border in shared
// memory once, CK channels at a time, and all taps read it there: 16 pixels side by side are a matrix, under
// another tap the 16 that lie elsewhere. Where the image is narrower than 16, its whole rows with one pixel of zeros after
// each are one long row, of which 16 are a matrix; what comes out for the zeros is dropped. Weights come as matrices straight
// from memory, packed so (conv_image.c). A subgroup makes R x NT matrices of the output; KG of them share the sum over
// channels among them, and so do `splits` workgroups (conv_sum.comp).
//
// A pixel takes CK / 4 + 1 vectors of shared memory: nearest, rests, and one so that eight pixels start in different banks.
//
// gl_WorkGroupID: x is the tile of channels, y of pixels, z the part of the sum.
#include "common.glsl"
#include "matrix.glsl"

layout(local_size_x_id = 8) in;

layout(push_constant) uniform Push {
    uint x, y;                   // offsets in the slab
    uint bias, weights;          // offsets in the weights: floats, vectors of 16 bytes
    uint h, tiles_x;             // rows of the image, tiles side by side
    uint splits, partial;        // parts of the sum, and where they go: floats of the slab
    uint step[6];
} push;

layout(constant_id = 8) const uint THREADS = 128;
layout(constant_id = 9) const uint C = 16;
layout(constant_id = 10) const uint C_OUT = 16;
layout(constant_id = 11) const uint W = 128;            // of the image
layout(constant_id = 12) const uint TY = 8;
layout(constant_id = 13) const uint TX = 32;            // a multiple of 16, or W
layout(constant_id = 14) const uint R = 4;              // a subgroup's matrices: of pixels, one below the other
layout(constant_id = 15) const uint NT = 1;             // of channels
layout(constant_id = 16) const uint SN = 1;             // subgroups side by side along the channels
layout(constant_id = 17) const uint KG = 1;             // subgroups that share a sum
layout(constant_id = 18) const uint CK = 16;            // channels in shared memory
layout(constant_id = 19) const uint OUT_R = 4;          // matrices of pixels that leave together
layout(constant_id = 20) const bool SPLIT = false;
layout(constant_id = 21) const bool DIRECT = false;     // matrices are whole: KG is 1, TX divides W, SIDE divides TX and C_OUT
layout(constant_id = 22) const uint K = 3;
layout(constant_id = 23) const uint UP = 1;             // outputs to an input, along each axis

#define STEP_CHANNELS C_OUT
#include "steps.glsl"

layout(set = 0, binding = 0) buffer Slab8 { uvec4 slab8[]; };
layout(set = 0, binding = 1) readonly buffer Weights8 { uvec4 weights8[]; };

const uint SIDE = 16, MATRIX = SIDE * SIDE / 8;         // vectors of a matrix of weights
const bool NARROW = TX % SIDE != 0;
const uint SM = THREADS / LANES / SN / KG;                 // subgroups along the pixels
const uint COLUMNS = NARROW ? 1 : TX / SIDE;            // matrices side by side
const uint BORDER = K == 3 ? 1 : 0;
const uint P = NARROW ? TX + (K > 1 ? 1 : 0) : TX + K - 1;       // pixels of a row in shared memory
const uint PIXELS = NARROW ? SM * R * SIDE + (K - 1) * (P + 1) : (TY + K - 1) * P;
const uint PITCH = CK / 4 + 1, REST = CK / 8;
const uint BN = SN * NT * SIDE;
const uint OUT_PITCH = BN / 4 + 1, OUT_SIZE = DIRECT ? 0 : KG * SM * OUT_R * SIDE * OUT_PITCH;
const uint OUT_FOURS = SM * OUT_R * SIDE * BN / 4;
const uint TILE = PIXELS * PITCH > OUT_SIZE ? PIXELS * PITCH : OUT_SIZE;
const uint XS = NARROW ? R : R + K - 1;                     // matrices of x in registers: tall images use them under three taps
const uint BATCH = 4;                                   // fetched before the first is put down

shared uvec4 tile[TILE];

int top, left;                                          // the tile's first pixel
uint first_channel;                                     // with UP 2: of the four times as many
uint part_k, part_n, part_m;                            // this subgroup's share

// ---- the input's tile

// From the nearest pixel there is, and zero afterwards beside the image: see conv_matrix.comp.
eight fetch(uint index, uint c0) {
    const uint p = index / (CK / 8), c = c0 + index % (CK / 8) * 8;
    const int y = top - int(BORDER) + int(p / P), x = left - int(BORDER) + int(p % P);
    const int near_y = clamp(y, 0, int(push.h) - 1), near_x = clamp(x, 0, int(W) - 1);
    const uint at = (push.x + (uint(near_y) * W + uint(near_x)) * C + c) / 4;
    const bool there = y == near_y && x == near_x;
    return eight(there ? slab8[at] : uvec4(0), there ? slab8[at + 1] : uvec4(0));
}

void put(uint index, eight v) {
    const uint at = index / (CK / 8) * PITCH + index % (CK / 8);
    if (index >= PIXELS * (CK / 8)) return;
    tile[at] = nearest(v);
    tile[at + REST] = lack(v, LACKS);
}

void load_tile(uint c0) {
    [[dont_unroll]] for (uint from = gl_LocalInvocationID.x; from < PIXELS * (CK / 8); from += BATCH * THREADS) {
        eight v[BATCH];
        [[unroll]] for (uint i = 0; i < BATCH; i++) v[i] = fetch(from + i * THREADS, c0);
        [[unroll]] for (uint i = 0; i < BATCH; i++) put(from + i * THREADS, v[i]);
    }
}

// ---- the sum

matrix_sum sum[R * NT], low[R * NT];                    // low: LACKS times what the products of the nearest lack

#define LOAD_X(i, at)                                                                                                  \
    {                                                                                                                  \
        matrix_load(x[i], tile, at, PITCH);                                                                            \
        matrix_load(x[XS + (i)], tile, (at) + REST, PITCH);                                                            \
    }

#define ADD_PRODUCTS(sum, px, pw)                                                                                      \
    [[unroll]] for (uint j = 0; j < NT; j++)                                                                           \
        [[unroll]] for (uint r = 0; r < R; r++)                                                                        \
            matrix_add_product(sum[r * NT + j], x[(px) * XS + r + (NARROW ? 0 : ty)], w[(ty * 2 + (pw)) * NT + j]);

// Sixteen channels: those from s * 16 on in shared memory, c16 * 16 of the image.
void multiply(uint s, uint c16) {
    const uint first = NARROW ? part_m * R * SIDE : part_m / COLUMNS * R * P + part_m % COLUMNS * SIDE;
    const uint x_at = first * PITCH + s * 2, step = NARROW ? SIDE : P;
    const uint w_at = push.weights + ((first_channel / SIDE + part_n * NT) * (C / SIDE) + c16) * K * K * 2 * MATRIX;
    matrix_left x[2 * XS];
    matrix_right w[2 * K * NT];
    [[unroll]] for (uint tx = 0; tx < K; tx++) {
        [[unroll]] for (uint i = 0; i < 2 * K; i++)
            [[unroll]] for (uint j = 0; j < NT; j++)
                matrix_load_columns(w[i * NT + j], weights8, w_at + ((j * (C / SIDE) * K + tx) * K * 2 + i) * MATRIX, 2);
        if (!NARROW) {
            [[unroll]] for (uint i = 0; i < XS; i++) LOAD_X(i, x_at + (i * step + tx) * PITCH)
        }
        [[unroll]] for (uint ty = 0; ty < K; ty++) {
            if (NARROW) {
                [[unroll]] for (uint i = 0; i < XS; i++) LOAD_X(i, x_at + (i * step + ty * P + tx) * PITCH)
            }
            ADD_PRODUCTS(sum, 0, 0)
            ADD_PRODUCTS(low, 1, 0)
            ADD_PRODUCTS(low, 0, 1)
        }
    }
}

// ---- the way out: straight from the matrices, or through shared memory

uint channel_of(uint n) { return UP == 1 ? n : n % C_OUT; }
uint row_of(uint y, uint x, uint n) {
    if (UP == 1) return y * W + x;
    return (y * 2 + n / C_OUT / 2) * 2 * W + x * 2 + n / C_OUT % 2;
}
uint part_at() { return push.partial + gl_WorkGroupID.z * push.h * W * UP * UP * C_OUT; }

// A step of the node on a matrix whose first output is (row, channel).
#define APPLY(m, code, argument, row, channel)                                                                         \
    {                                                                                                                  \
        const uint kind_ = (code) & 255, at_ = (argument) + (channel);                                                 \
        matrix_sum a_, b_;                                                                                             \
        if (kind_ <= STEP_MUL) {                                                                                       \
            matrix_load(a_, slab8, (at_ + ((code) < 256 ? (row) * C_OUT : 0)) / 4, (code) < 256 ? UP * C_OUT / 4 : 0); \
            if (kind_ == STEP_ADD) m = m + a_;                                                                         \
            if (kind_ == STEP_SUB) m = m - a_;                                                                         \
            if (kind_ == STEP_RSUB) m = a_ - m;                                                                        \
            if (kind_ == STEP_MUL) matrix_multiply(m, a_);                                                             \
        } else if (kind_ == STEP_AFFINE) {                                                                             \
            matrix_load(a_, weights8, at_ / 4, 0);                                                                     \
            matrix_load(b_, weights8, (at_ + C_OUT) / 4, 0);                                                           \
            matrix_multiply(m, a_);                                                                                    \
            m = m + b_;                                                                                                \
        } else if (kind_ != STEP_NONE) {                                                                               \
            matrix_each(i_, m) m[i_] = apply_step(code, argument, m[i_], 0, 0);                                        \
        }                                                                                                              \
    }

// What lies under the image is not stored; its steps read the last row's operands, so that no reading waits for a branch.
void leave_directly() {
    const uint x = left + part_m % COLUMNS * SIDE, y = top + part_m / COLUMNS * R, first = first_channel + part_n * NT * SIDE;
    [[unroll]] for (uint r = 0; r < R; r++)
        [[unroll]] for (uint j = 0; j < NT; j++) {
            const uint n = first + j * SIDE, channel = channel_of(n), row = row_of(min(y + r, push.h - 1), x, n);
            matrix_sum v = sum[r * NT + j] + low[r * NT + j] * (1 / LACKS);
            if (!SPLIT) {
                matrix_sum bias;
                matrix_load(bias, weights8, (push.bias + channel) / 4, 0);
                v = v + bias;
                APPLY(v, step_code_0, push.step[0], row, channel)
                APPLY(v, step_code_1, push.step[1], row, channel)
                APPLY(v, step_code_2, push.step[2], row, channel)
                APPLY(v, step_code_3, push.step[3], row, channel)
                APPLY(v, step_code_4, push.step[4], row, channel)
                APPLY(v, step_code_5, push.step[5], row, channel)
            }
            sum[r * NT + j] = v;
        }
    [[unroll]] for (uint r = 0; r < R; r++)
        if (y + r < push.h) {
            [[unroll]] for (uint j = 0; j < NT; j++) {
                const uint n = first + j * SIDE, at = row_of(y + r, x, n) * C_OUT + channel_of(n);
                matrix_store(sum[r * NT + j], slab8, ((SPLIT ? part_at() : push.y) + at) / 4, UP * C_OUT / 4);
            }
        }
}

// Four channels of a pixel.
struct four {
    vec4 v;
    uint row, channel;                                  // NOWHERE: outside of the image
};
const uint NOWHERE = 0xffffffff;

four take(uint index, uint part) {
    const uint c = index % (BN / 4) * 4, p = index / (BN / 4), pixel = p % SIDE, i = p / SIDE % OUT_R;
    const uint m = p / SIDE / OUT_R, r = part * OUT_R + i;
    uint y, x;
    if (NARROW) {
        const uint q = (m * R + r) * SIDE + pixel;
        y = q / P;
        x = q % P;
    } else {
        y = m / COLUMNS * R + r;
        x = m % COLUMNS * SIDE + pixel;
    }
    const uint n = first_channel + c;
    four f = four(vec4(0), NOWHERE, channel_of(n));
    if (index >= OUT_FOURS || r >= R || y >= TY || top + y >= push.h || left + x >= W || f.channel >= C_OUT) return f;
    f.row = row_of(top + y, left + x, n);
    [[unroll]] for (uint k = 0; k < KG; k++) f.v += uintBitsToFloat(tile[(k * SM * OUT_R * SIDE + p) * OUT_PITCH + c / 4]);
    if (SPLIT) return f;
    f.v += weights_float4[(push.bias + f.channel) / 4];
    if (C_OUT % 4 == 0)
        f.v = apply_steps(f.v, f.row, f.channel);
    else
        for (uint i = 0; i < min(C_OUT - f.channel, 4); i++) f.v[i] = apply_steps(f.v[i], f.row, f.channel + i);
    return f;
}

void put(four f) {
    const uint at = (SPLIT ? part_at() : push.y) + f.row * C_OUT + f.channel;
    if (f.row == NOWHERE) return;
    if (C_OUT % 4 == 0)
        slab4[at / 4] = f.v;
    else
        for (uint i = 0; i < min(C_OUT - f.channel, 4); i++) slab[at + i] = f.v[i];
}

// OUT_R matrices of each subgroup at a time. (No loop over parts: sums must be found at compile time to stay in registers.)
#define LEAVE(part)                                                                                                    \
    {                                                                                                                  \
        barrier();                                                                                                     \
        [[unroll]] for (uint i = 0; i < OUT_R; i++)                                                                    \
            [[unroll]] for (uint j = 0; j < NT; j++) {                                                                 \
                const uint q = ((part) * OUT_R + i) % R * NT + j;                                                      \
                matrix_store(sum[q] + low[q] * (1 / LACKS), tile,                                                      \
                             ((part_k * SM + part_m) * OUT_R + i) * SIDE * OUT_PITCH + (part_n * NT + j) * SIDE / 4,    \
                             OUT_PITCH);                                                                               \
            }                                                                                                          \
        barrier();                                                                                                     \
        [[dont_unroll]] for (uint from = gl_LocalInvocationID.x; from < OUT_FOURS; from += BATCH * THREADS) {          \
            four f[BATCH];                                                                                             \
            [[unroll]] for (uint i = 0; i < BATCH; i++) f[i] = take(from + i * THREADS, part);                         \
            [[unroll]] for (uint i = 0; i < BATCH; i++) put(f[i]);                                                     \
        }                                                                                                              \
    }

void main() {
    const uint chunks = C / CK, first = chunks * gl_WorkGroupID.z / push.splits,
               last = chunks * (gl_WorkGroupID.z + 1) / push.splits;
    first_channel = gl_WorkGroupID.x * BN;
    top = int(gl_WorkGroupID.y / push.tiles_x * TY);
    left = int(gl_WorkGroupID.y % push.tiles_x * TX);
    part_k = subgroup_id % KG;
    part_n = subgroup_id / KG % SN;
    part_m = subgroup_id / (KG * SN);
    [[unroll]] for (uint i = 0; i < R * NT; i++) {
        matrix_zero(sum[i]);
        matrix_zero(low[i]);
    }
    for (uint chunk = first; chunk < last; chunk++) {
        if (chunk > first) barrier();
        load_tile(chunk * CK);
        barrier();
        [[dont_unroll]] for (uint s = part_k; s < CK / SIDE; s += KG) multiply(s, chunk * (CK / SIDE) + s);
    }
    if (DIRECT) {
        leave_directly();
        return;
    }
    LEAVE(0)
    if (R > OUT_R) LEAVE(1)
    if (R > 2 * OUT_R) LEAVE(2)
    if (R > 3 * OUT_R) LEAVE(3)
}
