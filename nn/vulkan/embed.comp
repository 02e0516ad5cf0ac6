#version 460
// embed.comp - y [rows][channels]: rows of a table by index, one outside the table as its nearest row.
#include "common.glsl"

layout(local_size_x = 256) in;

layout(push_constant) uniform Push {
    uint index;         // offset in the slab, words
    uint y;             // offset in elements
    uint table;         // offset in the weights, floats
    uint count;         // elements of y
    uint channels, rows;    // of the table
} push;

void main() {
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const int row = clamp(slab_int[push.index + i / push.channels], 0, int(push.rows) - 1);
        slab[push.y + i] = element(weights_float[push.table + uint(row) * push.channels + i % push.channels]);
    }
}
