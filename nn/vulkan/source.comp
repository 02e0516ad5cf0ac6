#version 460
// source.comp - y[t upp + j] = 0.1 sin(2 pi (start[t] + (j + 1) f0/rate)) + 0.003 noise where voiced, 0.1/3 noise where not.
#include "common.glsl"
#include "turn.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint f0;            // offset in words
    uint noise, y;      // offsets in elements
    uint starts;        // offset in words
    uint frames;        // of the output
    uint row;           // its first among all
    uint upp;
    uint frame1, frame0;
    uint sample1, sample0;      // turns in a sample at 1 Hz, 1/rate, times 2^64: high and low word
} push;

void main() {
    const uint count = push.frames * push.upp;
    for (uint i = gl_GlobalInvocationID.x; i < count; i += gl_NumWorkGroups.x * 256) {
        const uint t = i / push.upp + push.row, j = i % push.upp;
        const float f0 = slab_float[push.f0 + t], noise = float(slab[push.noise + i]);
        float v = 0.1 / 3 * noise;
        if (f0 > 0) {
            const uint start = uint(slab_int[push.starts + t]), step = nn_turns(f0, push.sample1, push.sample0);
            v = 0.1 * nn_turn(start + (j + 1) * step).y + 0.003 * noise;
        }
        slab[push.y + i] = element(v);
    }
}
