#version 460
// coarse_pitch.comp - class of f0: 1 and how many of the classes' lower edges (ascending) it reaches.
#include "common.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint f0, y;         // offsets in the slab, words
    uint count;
    uint edges;         // offset in the weights, floats: [254]
} push;

void main() {
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const float hz = slab_float[push.f0 + i];
        uint reached = 0;                           // edges 0 .. reached-1 are
        for (uint step = 128; step > 0; step /= 2)
            if (reached + step <= 254 && hz >= weights_float[push.edges + reached + step - 1]) reached += step;
        slab_int[push.y + i] = int(1 + reached);
    }
}
