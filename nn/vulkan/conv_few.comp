#version 460
// conv_few.comp - convolution of a few factors: one group, few input channels, few taps; as fast as its output is written.
//
//   y[m][n] = bias[n] + sum over taps t, channels c of  x[place(m) + t][c] * w[t][c][n]
//
// An invocation makes four channels, or four of each half, of ROWS rows that lie `blocks` apart, so that neighbours write
// neighbours. It reads each of the weights once, and its values without looking for the edge where none of them is beyond.
#include "common.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint x, y;                   // offsets in the slab
    uint bias, weights;          // offsets in the weights: floats, elements
    uint rows, blocks;           // of the output; rows / ROWS, rounded up
    uint h, w, out_w;            // of the input; columns of the output
    float slope;                 // of the pre-activation
    uint step[6];
} push;

layout(constant_id = 8) const uint C_IN = 1;
layout(constant_id = 9) const uint C_OUT = 16;
layout(constant_id = 10) const uint PITCH = 16;         // elements from row to row of w
layout(constant_id = 11) const uint TAPS_Y = 1;
layout(constant_id = 12) const uint TAPS_X = 1;
layout(constant_id = 13) const uint STRIDE = 1;         // along x
layout(constant_id = 14) const uint PAD_Y = 0;
layout(constant_id = 15) const uint PAD_X = 0;
layout(constant_id = 16) const uint PRE = 255;          // pre-activation, a step's kind
layout(constant_id = 17) const uint ROWS = 4;

#define STEP_CHANNELS C_OUT
#include "steps.glsl"

const uint HALVES = C_OUT % 8 == 0 ? 2 : 1, HALF = C_OUT / HALVES, FOURS = HALF / 4;

vec4 sum[ROWS * HALVES];
int top[ROWS], left[ROWS];                              // of what a row sees

float activate(float v) {
    if (PRE == STEP_RELU) return max(v, 0);
    if (PRE == STEP_LEAKY_RELU) return max(v, 0) + min(v, 0) * push.slope;
    if (PRE == STEP_SCALE) return v * push.slope;
    return v;
}

bool inside(uint i, int ty, int tx) {
    const int y = top[i] + ty, x = left[i] + tx;
    return y >= 0 && y < int(push.h) && x >= 0 && x < int(push.w);
}

void sum_up(uint channel, bool at_edge) {
    uint at = push.weights + channel;
    int first[ROWS];
    [[unroll]] for (uint i = 0; i < ROWS; i++) first[i] = int(push.x) + (top[i] * int(push.w) + left[i]) * int(C_IN);
    for (int ty = 0; ty < TAPS_Y; ty++)
        for (int tx = 0; tx < TAPS_X; tx++)
            for (int c = 0; c < C_IN; c++, at += PITCH) {
                const int offset = (ty * int(push.w) + tx) * int(C_IN) + c;
                vec4 w[HALVES];
                [[unroll]] for (uint j = 0; j < HALVES; j++) w[j] = vec4(weights4[(at + j * HALF) / 4]);
                [[unroll]] for (uint i = 0; i < ROWS; i++) {
                    float x = 0;
                    if (!at_edge || inside(i, ty, tx)) x = activate(float(slab[first[i] + offset]));
                    [[unroll]] for (uint j = 0; j < HALVES; j++) sum[i * HALVES + j] = fma(vec4(x), w[j], sum[i * HALVES + j]);
                }
            }
}

void main() {
    const uint channel = gl_GlobalInvocationID.x % FOURS * 4, block = gl_GlobalInvocationID.x / FOURS;
    if (block >= push.blocks) return;
    bool at_edge = false;
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        const uint m = block + i * push.blocks, y = m / push.out_w;
        top[i] = int(y) - int(PAD_Y);
        left[i] = int((m - y * push.out_w) * STRIDE) - int(PAD_X);
        at_edge = at_edge || !inside(i, 0, 0) || !inside(i, int(TAPS_Y) - 1, int(TAPS_X) - 1);
        [[unroll]] for (uint j = 0; j < HALVES; j++) sum[i * HALVES + j] = weights_float4[(push.bias + channel + j * HALF) / 4];
    }
    if (at_edge)
        sum_up(channel, true);
    else
        sum_up(channel, false);
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        const uint m = block + i * push.blocks;
        if (m >= push.rows) continue;
        [[unroll]] for (uint j = 0; j < HALVES; j++) {
            const uint n = channel + j * HALF;
            slab4[(push.y + m * C_OUT + n) / 4] = element4(apply_steps(sum[i * HALVES + j], m, n));
        }
    }
}
