#version 460
// spectrogram.comp - a workgroup makes a frame: y[t][b] = ln(max(sum_k bank[b][k] |X[k]|, 1e-5)).
//
// The 1024 real samples are 512 complex ones, z[j] = x[2j] + i x[2j+1]. Nine radix-2 passes after Stockham (Cochran et al.
// 1967), which sort as they go, and with E and O the transforms of the even and the odd samples
//
//   Z[k] = E[k] + i O[k],   X[k] = E[k] + exp(-2 pi i k/1024) O[k]
//
// Turns come from a table made in double, so that rounding stays that of the sums.
#include "common.glsl"
#include "turn.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint x;             // offset in words
    uint y;             // offset in elements
    uint tables;        // offset in the weights, floats: window, turns, bands, bank
    uint samples, lead, frames, rows, bands;
} push;

const uint HALF = 512, TURNS = 1024, BANDS = 2048;
shared vec2 z[2][HALF];
shared float magnitude[HALF + 1];

vec2 turn(uint j) {
    const uint at = push.tables + TURNS + 2 * j;
    return vec2(weights_float[at], weights_float[at + 1]);
}

vec2 times(vec2 a, vec2 b) { return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }

// Sample i of the signal, mirrored at both ends without repeating them, times the window's j.
float windowed(int i, uint j) {
    const int n = int(push.samples), period = max(2 * (n - 1), 1);
    i = abs(i) % period;                                        // the remainder of a negative number is anything
    if (i >= n) i = period - i;
    return slab_float[push.x + uint(i)] * weights_float[push.tables + j];
}

void transform(uint me) {
    uint from = 0;
    for (uint stride = 1; stride < HALF; stride *= 2) {         // pass: groups of `stride` interleaved transforms
        barrier();
        const uint k = me & (stride - 1), p = me - k;
        const vec2 a = z[from][me], b = z[from][me + 256];
        z[1 - from][2 * p + k] = a + b;
        z[1 - from][2 * p + k + stride] = times(a - b, turn(2 * p));
        from = 1 - from;
    }
    barrier();
}

void main() {
    const uint me = gl_LocalInvocationID.x;
    for (uint t = gl_WorkGroupID.x; t < push.rows; t += gl_NumWorkGroups.x) {
        const uint row = push.y + t * push.bands;
        if (t >= push.frames) {                                 // the same for the whole workgroup
            for (uint b = me; b < push.bands; b += 256) slab[row + b] = element(0);
            continue;
        }
        const int start = int(160 * t + push.lead) - 512;
        for (uint j = me; j < HALF; j += 256) {
            const int i = start + int(2 * j);
            z[0][j] = vec2(windowed(i, 2 * j), windowed(i + 1, 2 * j + 1));
        }
        transform(me);
        for (uint k = me; k <= HALF; k += 256) {                // 9 passes end in z[1]
            const vec2 a = z[1][k & (HALF - 1)], b = z[1][(HALF - k) & (HALF - 1)] * vec2(1, -1);
            const vec2 even = (a + b) * 0.5, d = (a - b) * 0.5, odd = vec2(d.y, -d.x);
            magnitude[k] = length(even + (k < HALF ? times(turn(k), odd) : -odd));
        }
        barrier();
        for (uint b = me; b < push.bands; b += 256) {
            const uint band = push.tables + BANDS + 3 * b, bank = push.tables + BANDS + 3 * push.bands;
            const uint first = weights_uint[band], count = weights_uint[band + 1], at = bank + weights_uint[band + 2];
            float sum = 0;
            for (uint k = 0; k < count; k++) sum += weights_float[at + k] * magnitude[first + k];
            slab[row + b] = element(nn_log(max(sum, 1e-5)));
        }
        barrier();
    }
}
