#version 460
// group_norm_combine.comp - a workgroup per group: mean and variance of all its rows and channels from the blocks' means
// and M2 (group_norm_blocks.comp); of each channel, the mean and gamma / sqrt(var + 1e-5).
#include "group_norm.glsl"

layout(local_size_x = 64) in;
const uint THREADS = 64;

shared vec4 partial[THREADS / 4];

float sum_all(float v) {
    const uint thread = gl_LocalInvocationID.x;
    barrier();
    partial[thread / 4][thread % 4] = v;
    barrier();
    vec4 sum = vec4(0);
    [[unroll]] for (uint i = 0; i < THREADS / 4; i++) sum += partial[i];
    return sum.x + sum.y + sum.z + sum.w;
}

void main() {
    const uint width = push.channels / push.groups, items = width * push.blocks, thread = gl_LocalInvocationID.x;
    const float n = float(push.rows) * float(width);
    for (uint group = gl_WorkGroupID.x; group < push.groups; group += gl_NumWorkGroups.x) {
        const uint means = push.partial + group * items, squares = means + push.channels * push.blocks;
        float sum = 0, m2 = 0;
        for (uint i = thread; i < items; i += THREADS) sum += slab_float[means + i] * block_rows(i % push.blocks);
        const float mean = sum_all(sum) / n;
        for (uint i = thread; i < items; i += THREADS) {
            const float d = slab_float[means + i] - mean;
            m2 += slab_float[squares + i] + d * d * block_rows(i % push.blocks);
        }
        const float inverse = inversesqrt(sum_all(m2) / n + 1e-5);
        for (uint i = thread; i < width; i += THREADS) {
            const uint channel = group * width + i;
            slab_float[push.result + channel] = mean;
            slab_float[push.result + push.channels + channel] = weights_float[push.gamma + channel] * inverse;
        }
    }
}
