#version 460
// planar.comp - x [h][w][c] -> y [h][c][w]. Writes are in order; reads are not, but the channels are few where this is
// used (RMVPE's 3), so that they meet in the caches.
#include "common.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint x, y;          // offsets in elements
    uint count;         // elements
    uint width, channels;
} push;

void main() {
    const uint line = push.width * push.channels;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const uint within = i % line, channel = within / push.width, column = within % push.width;
        slab[push.y + i] = slab[push.x + i - within + column * push.channels + channel];
    }
}
