#version 460
// gru_spread.comp - a bidirectional GRU's recurrence in one dispatch, UNITS LANES / 256 workgroups a direction, each with
// its share of the hidden weights in registers for the whole run.
//
// A unit belongs to LANES neighbouring lanes, each with the weights of UNITS / LANES columns for the three gates. The
// state is in shared memory, twice, so that one barrier a step is enough. Workgroups hand their part of it on through
// memory, one word per unit and frame. A word is value and signal at once: it holds EMPTY until one atomic store puts the
// whole state there, so neither flags nor fences are needed and a step costs one trip through the level-2 cache.
// gru_input.comp has set all words to EMPTY.
//
// All workgroups must be resident at once, so this form is taken where they are few beside the device's compute units.
// Waiting is bounded: if a word never comes, states become NaN and the kernel ends.
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "gru.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const uint UNITS = 32;
layout(constant_id = 9) const uint LANES = 8;
layout(constant_id = 10) const uint MOST_POLLS = 1;

const uint SHARE = 256 / LANES;           // units of a workgroup
const uint RUNS = UNITS / LANES / 4;      // of a lane; run k: columns 4 (lane + LANES k) .. + 3, without bank conflicts

shared vec4 state[2][UNITS / 4];

uint exchange(uint direction, uint frame, uint unit) {
    return push.exchange + (direction * push.frames + frame) * UNITS + unit;
}

// The state of `unit` at `frame`, once it is there; `polls`: how often this thread asks for one.
float wait_for(uint direction, uint frame, uint unit, inout uint polls) {
    uint word = EMPTY;
    for (uint i = 0; i < polls && word == EMPTY; i++)
        word = atomicLoad(slab_word[exchange(direction, frame, unit)], gl_ScopeDevice, gl_StorageSemanticsBuffer,
                          gl_SemanticsRelaxed);
    if (word == EMPTY) polls = 1;
    return uintBitsToFloat(word);
}

void publish(uint direction, uint frame, uint unit, float h) {
    atomicStore(slab_word[exchange(direction, frame, unit)], isnan(h) ? NOT_A_NUMBER : floatBitsToUint(h),
                gl_ScopeDevice, gl_StorageSemanticsBuffer, gl_SemanticsRelaxed);
}

void main() {
    const uint thread = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID, lane = thread % LANES;
    const uint direction = gl_WorkGroupID.y, unit = gl_WorkGroupID.x * SHARE + thread / LANES;

    vec4 wr[RUNS], wz[RUNS], wn[RUNS];
    [[unroll]] for (uint k = 0; k < RUNS; k++)
        [[unroll]] for (uint i = 0; i < 4; i++) {
            const uint column = 4 * (lane + LANES * k) + i;
            const uint w = push.hidden_weights + (direction * UNITS + column) * 3 * UNITS + unit;
            wr[k][i] = weights_float[w];
            wz[k][i] = weights_float[w + UNITS];
            wn[k][i] = weights_float[w + 2 * UNITS];
        }
    const float bias = weights_float[push.hidden_bias + direction * UNITS + unit];

    for (uint u = thread; u < UNITS; u += 256) state[0][u / 4][u % 4] = 0;
    float h = 0;
    uint polls = MOST_POLLS, frame = direction == 0 ? 0 : push.frames - 1, before = frame;
    for (uint t = 0; t < push.frames; t++) {
        const vec3 x = projected(direction, frame, unit, UNITS);      // asked for before the wait
        for (uint u = thread; u < UNITS && t > 0; u += 256)
            if (u / SHARE != gl_WorkGroupID.x) state[t % 2][u / 4][u % 4] = wait_for(direction, before, u, polls);
        barrier();
        vec4 r = vec4(0), z = vec4(0), n = vec4(0);
        [[unroll]] for (uint k = 0; k < RUNS; k++) {
            const vec4 s = state[t % 2][lane + LANES * k];
            r += wr[k] * s;
            z += wz[k] * s;
            n += wn[k] * s;
        }
        vec3 sum = vec3(r.x + r.y + (r.z + r.w), z.x + z.y + (z.z + z.w), n.x + n.y + (n.z + n.w));
        [[unroll]] for (uint i = 1; i < LANES; i *= 2)
            sum += vec3(subgroupShuffleXor(sum.x, i), subgroupShuffleXor(sum.y, i), subgroupShuffleXor(sum.z, i));
        h = next_state(x, sum, bias, h);
        if (lane == 0) {
            state[1 - t % 2][unit / 4][unit % 4] = h;
            publish(direction, frame, unit, h);
            store_state(direction, frame, unit, h);
        }
        before = frame;
        frame = direction == 0 ? frame + 1 : frame - 1;
    }
}
