#version 460
// source_phase.comp - start[t] = sum over frames before t of f0 upp/rate, in turns times 2^32: one workgroup.
//
// Each invocation sums its stretch of frames, the workgroup sums the stretches, and each walks its stretch again.
#include "common.glsl"
#include "turn.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint f0, noise, y, starts;      // f0, starts: offsets in words
    uint frames, row, upp;
    uint frame1, frame0;            // turns in a frame at 1 Hz, upp/rate, times 2^64: high and low word
    uint sample1, sample0;
} push;

uint advance(uint t) { return nn_turns(slab_float[push.f0 + t], push.frame1, push.frame0); }

shared uint sums[256];

void main() {
    const uint me = gl_LocalInvocationID.x, each = (push.frames + 255) / 256;
    const uint from = min(me * each, push.frames), to = min(from + each, push.frames);
    uint sum = 0;
    for (uint t = from; t < to; t++) sum += advance(t);
    sums[me] = sum;
    for (uint reach = 1; reach < 256; reach *= 2) {
        barrier();
        const uint before = me >= reach ? sums[me - reach] : 0;
        barrier();
        sums[me] += before;
    }
    uint start = sums[me] - sum;
    for (uint t = from; t < to; t++) {
        slab_int[push.starts + t] = int(start);
        start += advance(t);
    }
}
