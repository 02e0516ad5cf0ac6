#version 460
// conv_few.comp - convolution of a few factors: one group, few input channels, few taps; as fast as its output is written.
//
//   y[m][n] = bias[n] + sum over taps t, channels c of  x[place(m) + t][c] * w[t][c][n]
//
// An invocation makes four channels of ROWS rows that lie `blocks` apart, so that neighbours write neighbours, and reads each
// of the weights once. What it reads of x its neighbours read too.
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

#define STEP_CHANNELS C_OUT
#include "steps.glsl"

const uint ROWS = 4, FOURS = C_OUT / 4;

float fetch(int y, int x, uint c) {
    if (y < 0 || y >= int(push.h) || x < 0 || x >= int(push.w)) return 0;
    const float v = float(slab[push.x + (uint(y) * push.w + uint(x)) * C_IN + c]);
    if (PRE == STEP_RELU) return max(v, 0);
    if (PRE == STEP_LEAKY_RELU) return max(v, 0) + min(v, 0) * push.slope;
    if (PRE == STEP_SCALE) return v * push.slope;
    return v;
}

void main() {
    const uint channel = gl_GlobalInvocationID.x % FOURS * 4, block = gl_GlobalInvocationID.x / FOURS;
    if (block >= push.blocks) return;
    const vec4 bias = weights_float4[(push.bias + channel) / 4];
    vec4 sum[ROWS];
    int top[ROWS], left[ROWS];
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        const uint m = block + i * push.blocks, y = m / push.out_w;
        top[i] = int(y) - int(PAD_Y);
        left[i] = int((m - y * push.out_w) * STRIDE) - int(PAD_X);
        sum[i] = bias;
    }
    uint at = push.weights + channel;
    for (int ty = 0; ty < TAPS_Y; ty++)
        for (int tx = 0; tx < TAPS_X; tx++)
            for (uint c = 0; c < C_IN; c++) {
                const vec4 w = vec4(weights4[at / 4]);
                [[unroll]] for (uint i = 0; i < ROWS; i++)
                    sum[i] = fma(vec4(fetch(top[i] + ty, left[i] + tx, c)), w, sum[i]);
                at += PITCH;
            }
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        const uint m = block + i * push.blocks;
        if (m < push.rows) slab4[(push.y + m * C_OUT + channel) / 4] = element4(apply_steps(sum[i], m, channel));
    }
}
