#version 460
// edge.comp - values at a plan's edge: float32 in memory that the host sees <-> elements of the slab.
#include "common.glsl"

layout(local_size_x = 256) in;

layout(set = 0, binding = 2) buffer Staging { float staging[]; };
layout(set = 0, binding = 2) buffer StagingInt { int staging_int[]; };

layout(push_constant) uniform Push {
    uint at;            // offset in the slab: elements, or words where WORDS
    uint outside;       // offset in the staging memory: words
    uint count;
} push;

layout(constant_id = 8) const bool OUT = false;       // from the slab
layout(constant_id = 9) const bool WORDS = false;     // int32, not values

void main() {
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        if (WORDS) {
            if (OUT) staging_int[push.outside + i] = slab_int[push.at + i];
            else slab_int[push.at + i] = staging_int[push.outside + i];
        } else {
            if (OUT) staging[push.outside + i] = float(slab[push.at + i]);
            else slab[push.at + i] = element(staging[push.outside + i]);
        }
    }
}
