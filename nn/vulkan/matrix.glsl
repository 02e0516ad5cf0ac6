// matrix.glsl - cooperative matrices of 16 x 16 at subgroup scope, of 32 invocations: float16 factors, float32 sums; in
// NVIDIA's dialect, which every compiler knows; spirv/to_khr.c makes that of all makers from it.
//
// Memory is uvec4 arrays (8 float16 or 4 float32), so places and strides count 16 bytes.
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_shader_subgroup_vote : require

#extension GL_NV_cooperative_matrix : require
// The sides are constants of their own, so that spirv/to_khr.c can tell factors and sums apart.
layout(constant_id = 100) const uint SIDE_LEFT = 16;
layout(constant_id = 101) const uint SIDE_RIGHT = 16;
#define matrix_left fcoopmatNV<16, gl_ScopeSubgroup, 16, SIDE_LEFT>
#define matrix_right fcoopmatNV<16, gl_ScopeSubgroup, SIDE_RIGHT, 16>
#define matrix_sum fcoopmatNV<32, gl_ScopeSubgroup, 16, 16>
#define matrix_load(m, memory, at, stride) coopMatLoadNV(m, memory, at, stride, false)
#define matrix_load_columns(m, memory, at, stride) coopMatLoadNV(m, memory, at, stride, true)
#define matrix_store(m, memory, at, stride) coopMatStoreNV(m, memory, at, stride, false)
#define matrix_add_product(sum, a, b) sum = coopMatMulAddNV(a, b, sum)

#define matrix_zero(m) m = matrix_sum(0.0)
#define matrix_multiply(m, by)                                                                                         \
    for (int element_ = 0; element_ < m.length(); element_++) m[element_] *= by[element_]
#define subgroup_id gl_SubgroupID
#define lane_id gl_SubgroupInvocationID
#define subgroup_any(condition) subgroupAny(condition)

// What the subgroup's invocations wrote to shared memory is there for all of them.
void subgroup_wait() {
    subgroupMemoryBarrierShared();
    subgroupBarrier();
}
