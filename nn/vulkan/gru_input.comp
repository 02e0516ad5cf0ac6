#version 460
// gru_input.comp - what of a bidirectional GRU does not recur: W_i x + b for all frames, both directions and the three
// gates, one product [frames][channels] x [channels][6 UNITS] in tiles of 64 x 64, 4 x 4 a thread.
//
// It also sets the words through which gru_spread.comp's workgroups hand on states to EMPTY.
#include "gru.glsl"

layout(local_size_x = 16, local_size_y = 16) in;
layout(constant_id = 8) const uint UNITS = 32;
const uint DEPTH = 16, SIDE = 64;

shared float x[DEPTH][SIDE + 1];
shared vec4 w[DEPTH][SIDE / 4];

void load(uint frame0, uint column0, uint depth0) {
    const uint row = gl_LocalInvocationID.y, column = gl_LocalInvocationID.x;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        const uint frame = frame0 + row + 16 * i, j = depth0 + column;
        const bool there = frame < push.frames && j < push.channels;
        x[column][row + 16 * i] = there ? float(slab[push.x + frame * push.channels + j]) : 0.0;
    }
    const uint j = depth0 + row, at = (push.input_weights + j * 6 * UNITS + column0) / 4 + column;
    w[row][column] = j < push.channels ? weights_float4[at] : vec4(0);
}

void store(uint frame, uint column, vec4 v) {
    const uint direction = column / (3 * UNITS), within = column % (3 * UNITS);
    const uint row = direction * push.frames + frame;
    v += weights_float4[(push.input_bias + column) / 4];
    [[unroll]] for (uint i = 0; i < 4; i++) slab_float[push.projected + row * 3 * UNITS + within + i] = v[i];
    if (within < UNITS)
        [[unroll]] for (uint i = 0; i < 4; i++) slab_word[push.exchange + row * UNITS + within + i] = EMPTY;
}

void main() {
    const uint column0 = gl_WorkGroupID.x * SIDE, tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    for (uint frame0 = gl_WorkGroupID.y * SIDE; frame0 < push.frames; frame0 += gl_NumWorkGroups.y * SIDE) {
        vec4 sum[4] = vec4[4](vec4(0), vec4(0), vec4(0), vec4(0));
        for (uint depth0 = 0; depth0 < push.channels; depth0 += DEPTH) {
            load(frame0, column0, depth0);
            barrier();
            [[unroll]] for (uint j = 0; j < DEPTH; j++)
                [[unroll]] for (uint i = 0; i < 4; i++) sum[i] += x[j][ty + 16 * i] * w[j][tx];
            barrier();
        }
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (frame0 + ty + 16 * i < push.frames) store(frame0 + ty + 16 * i, column0 + 4 * tx, sum[i]);
    }
}
