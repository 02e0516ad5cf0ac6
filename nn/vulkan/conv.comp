#version 460
// conv.comp - convolution by ordinary multiplications, in float32; for every form and every device (conv.glsl).
//
// An invocation makes TILE_M x TILE_N outputs: rows THREADS_M apart, channels in fours THREADS_N * 4 apart, so that
// neighbours read neighbouring vectors of shared memory, or the same one.
#include "common.glsl"

#define vector vec4
const uint VECTOR = 4;
vec4 zero_vector();
vec4 fetch_vector(uint at);
vec4 gather_vector(int y, int x, uint c);
vec4 fetch_weights(uint at);
void store_x(uint b);
void store_w(uint b);
void multiply(uint x_buffer, uint w_buffer, uint first);

#include "conv.glsl"

const uint THREADS_N = BN / TILE_N, THREADS_M = THREADS / THREADS_N;
const uint X_PITCH = PER_ROW + 1;      // one more, so that rows start in different banks
const uint FOURS = TILE_N / 4;

shared vec4 x_tile[BUFFERS * ROWS * X_PITCH];
shared vec4 w_tile[BUFFERS * BK * (BN / 4)];

vec4 sum[TILE_M * FOURS];

vec4 zero_vector() { return vec4(0); }
vec4 fetch_vector(uint at) { return vec4(slab4[at / 4]); }
vec4 gather_vector(int y, int x, uint c) {
    return vec4(fetch_one(y, x, c), fetch_one(y, x, c + 1), fetch_one(y, x, c + 2), fetch_one(y, x, c + 3));
}
vec4 fetch_weights(uint at) { return vec4(weights4[at / 4]); }

void store_x(uint b) {
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint index = gl_LocalInvocationID.x + i * THREADS;
        if (index < ROWS * PER_ROW) {
            const vec4 v = x_next[i];
            x_tile[(b * ROWS + index / PER_ROW) * X_PITCH + index % PER_ROW] = PRE_ACTIVATE(vec4, v);
        }
    }
}

void store_w(uint b) {
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        const uint index = gl_LocalInvocationID.x + i * THREADS;
        if (index < BK * (BN / 4)) w_tile[b * BK * (BN / 4) + index] = w_next[i];
    }
}

void multiply(uint x_buffer, uint w_buffer, uint first) {
    const uint tn = gl_LocalInvocationID.x % THREADS_N, tm = gl_LocalInvocationID.x / THREADS_N;
    const uint x_at = (x_buffer * ROWS + first + tm * row_step()) * X_PITCH, x_step = THREADS_M * row_step() * X_PITCH;
    const uint w_at = w_buffer * BK * (BN / 4) + tn;
    for (uint k = 0; k < PER_ROW; k++) {
        vec4 x[TILE_M];
        [[unroll]] for (uint i = 0; i < TILE_M; i++) x[i] = x_tile[x_at + i * x_step + k];
        [[unroll]] for (uint l = 0; l < 4; l++)
            [[unroll]] for (uint j = 0; j < FOURS; j++) {
                const vec4 w = w_tile[w_at + (4 * k + l) * (BN / 4) + j * THREADS_N];
                [[unroll]] for (uint i = 0; i < TILE_M; i++) sum[i * FOURS + j] = fma(vec4(x[i][l]), w, sum[i * FOURS + j]);
            }
    }
}

void main() {
    find_place();
    place_rows();
    [[unroll]] for (uint i = 0; i < TILE_M * FOURS; i++) sum[i] = vec4(0);
    sum_up();
    const uint tn = gl_LocalInvocationID.x % THREADS_N, tm = gl_LocalInvocationID.x / THREADS_N;
    [[unroll]] for (uint i = 0; i < TILE_M; i++)
        [[unroll]] for (uint j = 0; j < FOURS; j++)
            finish(sum[i * FOURS + j], first_row + tm + i * THREADS_M, first_channel + (j * THREADS_N + tn) * 4);
}
