#version 460
// conv_matrix.comp - convolution by cooperative matrices: factors float16, sums float32 (conv.glsl).
//
// A subgroup makes TILE_M x TILE_N outputs as matrices of 16 x 16. Shared memory holds float16 in vectors of eight; its rows
// are one vector longer than their data, so that eight rows that are read together start in different banks. When the
// sums are done they leave through the same memory, 16 rows of a subgroup at a time, for bias and steps.
//
// The language knows cooperative matrices in two dialects: NVIDIA's, which every compiler here knows, and with -DNN_KHR that
// of all makers.
#pragma use_vulkan_memory_model
#include "common.glsl"
#ifdef NN_KHR
#extension GL_KHR_cooperative_matrix : require
#define x_matrix coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define w_matrix coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB>
#define sum_matrix coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>
#define LOAD(m, from, at, pitch) coopMatLoad(m, from, at, pitch, gl_CooperativeMatrixLayoutRowMajor)
#define STORE(m, to, at, pitch) coopMatStore(m, to, at, pitch, gl_CooperativeMatrixLayoutRowMajor)
#define MULTIPLY_ADD(a, b, c) coopMatMulAdd(a, b, c)
#else
#extension GL_NV_cooperative_matrix : require
#define x_matrix fcoopmatNV<16, gl_ScopeSubgroup, 16, 16>
#define w_matrix fcoopmatNV<16, gl_ScopeSubgroup, 16, 16>
#define sum_matrix fcoopmatNV<32, gl_ScopeSubgroup, 16, 16>
#define LOAD(m, from, at, pitch) coopMatLoadNV(m, from, at, pitch, false)
#define STORE(m, to, at, pitch) coopMatStoreNV(m, to, at, pitch, false)
#define MULTIPLY_ADD(a, b, c) coopMatMulAddNV(a, b, c)
#endif
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_memory_scope_semantics : require

#define vector uvec4                   // eight float16
const uint VECTOR = 8;
vector zero_vector();
vector fetch_vector(uint at);
vector gather_vector(int y, int x, uint c);
vector fetch_weights(uint at);
void store_x(uint b);
void store_w(uint b);
void multiply(uint x_buffer, uint w_buffer, uint first);

layout(set = 0, binding = 0) buffer Slab8 { uvec4 slab8[]; };
layout(set = 0, binding = 1) readonly buffer Weights8 { uvec4 weights8[]; };

#include "conv.glsl"

const uint SIDE = 16;
const uint X_PITCH = PER_ROW + 1, W_PITCH = BN / VECTOR + 1;
const uint X_BYTES = BUFFERS * ROWS * X_PITCH, W_BYTES = BUFFERS * BK * W_PITCH;   // in vectors
const uint OUT_PITCH = TILE_N / 4 + 1;                                             // vectors of four float32
const uint OUT_BYTES = THREADS / 32 * SIDE * OUT_PITCH;
const uint TILE_BYTES = X_BYTES + W_BYTES > OUT_BYTES ? X_BYTES + W_BYTES : OUT_BYTES;
const uint SUMS_M = TILE_M / SIDE, SUMS_N = TILE_N / SIDE;

shared uvec4 tile[TILE_BYTES];

sum_matrix sum[SUMS_M * SUMS_N];

vector zero_vector() { return uvec4(0); }
vector fetch_vector(uint at) { return slab8[at / 8]; }
vector fetch_weights(uint at) { return weights8[at / 8]; }
vector gather_vector(int y, int x, uint c) {
    uvec4 v;
    [[unroll]] for (uint i = 0; i < 4; i++)
        v[i] = packHalf2x16(vec2(fetch_one(y, x, c + 2 * i), fetch_one(y, x, c + 2 * i + 1)));
    return v;
}

uint activate(uint two) {
    const f16vec2 v = unpackFloat2x16(two);
    const float16_t slope = float16_t(push.slope);
    if (PRE == STEP_RELU) return packFloat2x16(max(v, f16vec2(0)));
    if (PRE == STEP_LEAKY_RELU) return packFloat2x16(max(v, f16vec2(0)) + min(v, f16vec2(0)) * slope);
    if (PRE == STEP_SCALE) return packFloat2x16(v * slope);
    return two;
}

void store_x(uint b) {
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint index = gl_LocalInvocationID.x + i * THREADS;
        if (index < ROWS * PER_ROW) {
            const uvec4 v = x_next[i];
            tile[(b * ROWS + index / PER_ROW) * X_PITCH + index % PER_ROW] =
                uvec4(activate(v.x), activate(v.y), activate(v.z), activate(v.w));
        }
    }
}

void store_w(uint b) {
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        const uint index = gl_LocalInvocationID.x + i * THREADS;
        if (index < BK * (BN / VECTOR))
            tile[X_BYTES + (b * BK + index / (BN / VECTOR)) * W_PITCH + index % (BN / VECTOR)] = w_next[i];
    }
}

// Where this subgroup's outputs begin in the tile.
uint part_m() { return gl_SubgroupID / (BN / TILE_N) * TILE_M; }
uint part_n() { return gl_SubgroupID % (BN / TILE_N) * TILE_N; }

void multiply(uint x_buffer, uint w_buffer, uint first) {
    const uint x_at = (x_buffer * ROWS + first + part_m() * row_step()) * X_PITCH;
    const uint w_at = X_BYTES + w_buffer * BK * W_PITCH + part_n() / VECTOR;
    [[unroll]] for (uint k = 0; k < BK / SIDE; k++) {
        x_matrix x[SUMS_M];
        [[unroll]] for (uint i = 0; i < SUMS_M; i++)
            LOAD(x[i], tile, x_at + i * SIDE * row_step() * X_PITCH + k * SIDE / VECTOR, row_step() * X_PITCH);
        [[unroll]] for (uint j = 0; j < SUMS_N; j++) {
            w_matrix w;
            LOAD(w, tile, w_at + k * SIDE * W_PITCH + j * SIDE / VECTOR, W_PITCH);
            [[unroll]] for (uint i = 0; i < SUMS_M; i++) sum[i * SUMS_N + j] = MULTIPLY_ADD(x[i], w, sum[i * SUMS_N + j]);
        }
    }
}

// Eight channels from n on of row m, as eight neighbours of the subgroup's strip.
void finish_eight(uint at, uint m, uint n) {
    vec4 a = uintBitsToFloat(tile[at]), b = uintBitsToFloat(tile[at + 1]);
    if (WIDE && !SPLIT) {
        if (m >= push.rows || n >= push.group_out) return;
        const uint channel = group * push.group_out + n, row = output_row(m);
        a = apply_steps(a + weights_float4[(push.bias + channel) / 4], row, channel);
        b = apply_steps(b + weights_float4[(push.bias + channel) / 4 + 1], row, channel + 4);
        slab8[(push.y + row * push.c_out + channel) / 8] = uvec4(packFloat2x16(f16vec2(a.xy)), packFloat2x16(f16vec2(a.zw)),
                                                                 packFloat2x16(f16vec2(b.xy)), packFloat2x16(f16vec2(b.zw)));
    } else {
        finish(a, m, n);
        finish(b, m, n + 4);
    }
}

void main() {
    find_place();
    place_rows();
    [[unroll]] for (uint i = 0; i < SUMS_M * SUMS_N; i++) sum[i] = sum_matrix(0.0);
    sum_up();

    barrier();
    const uint strip = gl_SubgroupID * SIDE * OUT_PITCH, per_row = TILE_N / 8;
    [[unroll]] for (uint i = 0; i < SUMS_M; i++) {
        [[unroll]] for (uint j = 0; j < SUMS_N; j++) STORE(sum[i * SUMS_N + j], tile, strip + j * SIDE / 4, OUT_PITCH);
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
        for (uint q = gl_SubgroupInvocationID; q < SIDE * per_row; q += 32) {
            const uint r = q / per_row, c = q % per_row;
            finish_eight(strip + r * OUT_PITCH + 2 * c, first_row + part_m() + i * SIDE + r, first_channel + part_n() + 8 * c);
        }
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
    }
}
