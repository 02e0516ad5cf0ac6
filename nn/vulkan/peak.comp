#version 460
// peak.comp - nothing but copies, or nothing but multiply-adds: what a device can do at most (peak.c).
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool COPY = false;

layout(set = 0, binding = 0) buffer Slab { uvec4 slab[]; };
layout(set = 0, binding = 0) buffer SlabFloat { vec4 slab_float[]; };

layout(push_constant) uniform Push {
    uint count;         // COPY: vectors, that far from where they are read; else rounds of SUMS multiply-adds of vectors
    float factor;
} push;

const uint SUMS = 8, TOGETHER = 4;      // multiply-adds, loads of an invocation that do not wait for each other

void main() {
    const uint at = gl_GlobalInvocationID.x;
    if (COPY) {
        const uint all = gl_NumWorkGroups.x * 256;
        for (uint i = at; i < push.count; i += TOGETHER * all) {
            uvec4 v[TOGETHER];
            [[unroll]] for (uint j = 0; j < TOGETHER; j++) v[j] = slab[min(i + j * all, push.count - 1)];
            [[unroll]] for (uint j = 0; j < TOGETHER; j++)
                if (i + j * all < push.count) slab[push.count + i + j * all] = v[j];
        }
        return;
    }
    vec4 sum[SUMS];
    [[unroll]] for (uint j = 0; j < SUMS; j++) sum[j] = vec4(at, at + 1, at + 2, at + 3) + float(j);
    for (uint i = 0; i < push.count; i++)
        [[unroll]] for (uint j = 0; j < SUMS; j++) sum[j] = fma(sum[j], vec4(push.factor), vec4(push.factor));
    [[unroll]] for (uint j = 1; j < SUMS; j++) sum[0] += sum[j];
    slab_float[at] = sum[0];
}
