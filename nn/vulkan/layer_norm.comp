#version 460
// layer_norm.comp - a workgroup per row: y = (x - mean) / sqrt(var + 1e-5) gamma + beta, then the node's steps.
// Ba, Kiros & Hinton 2016, arXiv:1607.06450.
//
// The row stays in registers. Its mean comes first, then the mean of squared differences from it, which loses nothing
// where the mean is large. Sums: each thread its own channels, then every thread all partial sums in the same order.
#include "common.glsl"

layout(local_size_x_id = 8) in;
layout(constant_id = 8) const uint THREADS = 64;
layout(constant_id = 9) const uint CHANNELS = 4;

layout(push_constant) uniform Push {
    uint x, y;          // offsets in elements
    uint gamma;         // offset in the weights, floats; beta stands behind it
    uint rows;
    uint step[6];
} push;

#define STEP_CHANNELS CHANNELS
#include "steps.glsl"

const bool FOUR = CHANNELS % 4 == 0;
const uint QUADS = (CHANNELS + 3) / 4, EACH = (QUADS + THREADS - 1) / THREADS;     // quad: 4 channels; of a thread

shared vec4 partial[2][THREADS / 4];

// Sum over the workgroup; `which` alternates so that one barrier is enough.
float sum_all(float v, uint which) {
    const uint thread = gl_LocalInvocationID.x;
    partial[which][thread / 4][thread % 4] = v;
    barrier();
    vec4 sum = vec4(0);
    [[unroll]] for (uint i = 0; i < THREADS / 4; i++) sum += partial[which][i];
    return sum.x + sum.y + sum.z + sum.w;
}

// Which of a quad's channels there are.
bvec4 there(uint quad) { return lessThan(4 * quad + uvec4(0, 1, 2, 3), uvec4(CHANNELS)); }

vec4 load(uint row, uint quad) {
    if (FOUR) return vec4(slab4[(push.x + row * CHANNELS) / 4 + quad]);
    vec4 v = vec4(0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (4 * quad + i < CHANNELS) v[i] = float(slab[push.x + row * CHANNELS + 4 * quad + i]);
    return v;
}

void store(uint row, uint quad, vec4 v) {
    const uint g = push.gamma + 4 * quad, b = g + CHANNELS, at = push.y + row * CHANNELS + 4 * quad;
    if (FOUR) {
        v = v * step_weight(v, g) + step_weight(v, b);
        slab4[at / 4] = element4(apply_steps(v, row, 4 * quad));
    } else {
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (4 * quad + i < CHANNELS)
                slab[at + i] =
                    element(apply_steps(v[i] * weights_float[g + i] + weights_float[b + i], row, 4 * quad + i));
    }
}

void main() {
    const uint thread = gl_LocalInvocationID.x;
    for (uint row = gl_WorkGroupID.x; row < push.rows; row += gl_NumWorkGroups.x) {
        vec4 v[EACH];
        vec4 sum = vec4(0), squares = vec4(0);
        [[unroll]] for (uint i = 0; i < EACH; i++) {
            const uint quad = thread + THREADS * i;
            v[i] = quad < QUADS ? load(row, quad) : vec4(0);
            sum += v[i];
        }
        const float mean = sum_all(sum.x + sum.y + sum.z + sum.w, 0) / CHANNELS;
        [[unroll]] for (uint i = 0; i < EACH; i++) {
            v[i] = mix(vec4(0), v[i] - mean, there(thread + THREADS * i));
            squares += v[i] * v[i];
        }
        const float variance = sum_all(squares.x + squares.y + squares.z + squares.w, 1) / CHANNELS;
        const float scale = inversesqrt(variance + 1e-5);
        [[unroll]] for (uint i = 0; i < EACH; i++)
            if (thread + THREADS * i < QUADS) store(row, thread + THREADS * i, v[i] * scale);
    }
}
