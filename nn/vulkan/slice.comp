#version 460
// slice.comp - y: some neighbouring channels of each row of x.
#include "common.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool FOUR = false;

layout(push_constant) uniform Push {
    uint x, y;          // offsets in elements; x: of the first channel that is kept
    uint count;         // of the output: elements, or groups of four where FOUR
    uint all, kept;     // channels of x and of y
} push;

void main() {
    const uint unit = FOUR ? 4 : 1, all = push.all / unit, kept = push.kept / unit;
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        const uint at = push.x / unit + i / kept * all + i % kept;
        if (FOUR)
            slab4[push.y / 4 + i] = slab4[at];
        else
            slab[push.y + i] = slab[at];
    }
}
