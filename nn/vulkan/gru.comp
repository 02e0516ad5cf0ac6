#version 460
// gru.comp - a bidirectional GRU's recurrence where the device is small: one workgroup per direction, a thread per unit,
// the hidden weights read from memory in every step. gru_spread.comp is the form for large devices.
//
// The state lies in shared memory, twice, so that one barrier a step is enough. A dispatch takes some of the steps, push.first
// and push.count of them, and the next one the state from where the last one left it: a device's watchdog ends what runs for
// seconds, and lavapipe ends loops after 65535 rounds.
#include "gru.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const uint UNITS = 32;

const uint TOGETHER = 8;        // columns; UNITS is a multiple of 32

shared float state[2][UNITS];

uint kept(uint direction, uint u) { return push.exchange + direction * UNITS + u; }

void main() {
    const uint direction = gl_WorkGroupID.x;
    for (uint u = gl_LocalInvocationID.x; u < UNITS; u += 256)
        state[0][u] = push.first == 0 ? 0.0 : slab_float[kept(direction, u)];
    barrier();
    for (uint t = 0; t < push.count; t++) {
        const uint step = push.first + t, frame = direction == 0 ? step : push.frames - 1 - step, now = t % 2;
        for (uint u = gl_LocalInvocationID.x; u < UNITS; u += 256) {
            vec3 sum = vec3(0);
            uint w = push.hidden_weights + direction * 3 * UNITS * UNITS + u;
            for (uint j = 0; j < UNITS; j += TOGETHER)
                [[unroll]] for (uint i = 0; i < TOGETHER; i++, w += 3 * UNITS)
                    sum += state[now][j + i] *
                           vec3(weights_float[w], weights_float[w + UNITS], weights_float[w + 2 * UNITS]);
            const float bias = weights_float[push.hidden_bias + direction * UNITS + u];
            const float h = next_state(projected(direction, frame, u, UNITS), sum, bias, state[now][u]);
            state[1 - now][u] = h;
            store_state(direction, frame, u, h);
        }
        barrier();
    }
    for (uint u = gl_LocalInvocationID.x; u < UNITS; u += 256)
        slab_float[kept(direction, u)] = state[push.count % 2][u];
}
