#version 460
// gru.comp - a bidirectional GRU's recurrence where the device is small: one workgroup per direction, a thread per unit,
// the hidden weights read from memory in every step. gru_spread.comp is the form for large devices.
//
// The state lies in shared memory, twice, so that one barrier a step is enough.
#include "gru.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const uint UNITS = 32;

shared float state[2][UNITS];

void main() {
    const uint direction = gl_WorkGroupID.x;
    for (uint u = gl_LocalInvocationID.x; u < UNITS; u += 256) state[0][u] = 0;
    barrier();
    for (uint t = 0; t < push.frames; t++) {
        const uint frame = direction == 0 ? t : push.frames - 1 - t, now = t % 2;
        for (uint u = gl_LocalInvocationID.x; u < UNITS; u += 256) {
            vec3 sum = vec3(0);
            uint w = push.hidden_weights + direction * 3 * UNITS * UNITS + u;
            for (uint j = 0; j < UNITS; j++, w += 3 * UNITS)
                sum += state[now][j] * vec3(weights_float[w], weights_float[w + UNITS], weights_float[w + 2 * UNITS]);
            const float bias = weights_float[push.hidden_bias + direction * UNITS + u];
            const float h = next_state(projected(direction, frame, u, UNITS), sum, bias, state[now][u]);
            state[1 - now][u] = h;
            store_state(direction, frame, u, h);
        }
        barrier();
    }
}
