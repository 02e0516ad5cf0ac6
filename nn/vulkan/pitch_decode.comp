#version 460
// pitch_decode.comp - a workgroup finds a frame's largest salience, the first of equals, and one invocation takes the mean.
//
//   f0 = hz[peak] 2^(d/60),   d = sum s_i (i - peak) / sum s_i over |i - peak| <= 4      (classes are 1200/60 cents apart)
#include "common.glsl"

layout(local_size_x = 128) in;

layout(push_constant) uniform Push {
    uint x;             // offset in elements
    uint factor, y;     // offsets in words
    uint frames;
    uint table;         // offset in the weights, floats: each class's Hz as the sum of two
    float threshold;
} push;

const uint CLASSES = 360, REACH = 4;
shared float best[128];
shared uint place[128];

float decode(uint row) {
    const uint peak = place[0], from = peak < REACH ? 0 : peak - REACH, to = min(peak + REACH, CLASSES - 1);
    float weight = 0, sum = 0;
    if (!(best[0] > push.threshold)) return 0;
    for (uint i = from; i <= to; i++) {
        const float s = float(slab[row + i]);
        weight += s;
        sum += s * (float(i) - float(peak));
    }
    // 2^(d/60) by its series: |d| <= 4, so the first term left out is below 2e-12
    const float v = sum / weight * (0.693147180559945 / 60);
    const float series = v * (1 + v / 2 * (1 + v / 3 * (1 + v / 4 * (1 + v / 5 * (1 + v / 6)))));
    const float hz = weights_float[push.table + 2 * peak];
    return hz + (hz * series + weights_float[push.table + 2 * peak + 1]);
}

// f (c + rest), rounded once: what the product's rounding lost comes from halves of 12 bits (Dekker 1971).
float times_sum(float f, float c, float rest) {
    precise const float p = f * c, fs = f * 4097, cs = c * 4097;
    precise const float f1 = fs - (fs - f), f0 = f - f1, c1 = cs - (cs - c), c0 = c - c1;
    precise const float lost = ((f1 * c1 - p) + f1 * c0 + f0 * c1) + f0 * c0;
    return p + (lost + f * rest);
}

void main() {
    const uint me = gl_LocalInvocationID.x;
    for (uint t = gl_WorkGroupID.x; t < push.frames; t += gl_NumWorkGroups.x) {
        const uint row = push.x + t * CLASSES;
        best[me] = float(slab[row + me]);
        place[me] = me;
        for (uint i = me + 128; i < CLASSES; i += 128) {
            const float s = float(slab[row + i]);
            if (s > best[me]) {
                best[me] = s;
                place[me] = i;
            }
        }
        for (uint apart = 64; apart > 0; apart /= 2) {
            barrier();
            if (me < apart && (best[me + apart] > best[me] || (best[me + apart] == best[me] && place[me + apart] < place[me]))) {
                best[me] = best[me + apart];
                place[me] = place[me + apart];
            }
        }
        if (me == 0) slab_float[push.y + t] = times_sum(decode(row), slab_float[push.factor], slab_float[push.factor + 1]);
        barrier();
    }
}
