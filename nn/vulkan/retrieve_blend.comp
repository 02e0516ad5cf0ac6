#version 460
// retrieve_blend.comp - y = rate sum_j w_j v_j + (1 - rate) x, w_j = d_j^-2 normalised: a workgroup for a query. The weights
// are taken relative to the nearest, (d_0/d_j)^2, so that nothing overflows; at distance 0 it counts alone.
#include "common.glsl"

layout(local_size_x = 128) in;

layout(push_constant) uniform Push {
    uint x;             // offset in elements
    uint rate;          // offset in words
    uint y;             // offset in elements
    uint vectors;       // offset in the weights, floats
    uint chosen;        // offset in the slab, words: finds [queries][8]
    uint width;
} push;

const uint K = 8, NONE = 0xffffffffu;

void main() {
    const uint q = gl_WorkGroupID.x, finds = push.chosen + q * K * 2;
    const float nearest = slab_float[finds];
    float weight[K], total = 0;
    uint row[K];
    for (uint j = 0; j < K; j++) {
        const float d = slab_float[finds + 2 * j];
        row[j] = uint(slab_int[finds + 2 * j + 1]);
        const float share = nearest > 0 ? nearest / d : j == 0 ? 1 : 0;
        weight[j] = row[j] == NONE ? 0 : share * share;
        total += weight[j];
    }
    const float rate = total > 0 ? slab_float[push.rate] : 0;
    for (uint i = gl_LocalInvocationID.x; i < push.width; i += 128) {
        float sum = 0;
        for (uint j = 0; j < K; j++)
            if (weight[j] > 0) sum += weight[j] * weights_float[push.vectors + row[j] * push.width + i];
        const float own = float(slab[push.x + q * push.width + i]);
        slab[push.y + q * push.width + i] = element(total > 0 ? rate * (sum / total) + (1 - rate) * own : own);
    }
}
