// matrix.glsl - cooperative matrices of 16 x 16 at subgroup scope: float16 factors, float32 sums; in
// NVIDIA's dialect, which every compiler knows; spirv/to_khr.c makes that of all makers from it.
//
// Memory is uvec4 arrays (8 float16 or 4 float32), so places and strides count 16 bytes. Eight values of the slab are an
// `eight`; float32 ones become two float16 each, in two planes of factors: the nearest and LACKS times the rest.
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_shader_subgroup_vote : require

#extension GL_NV_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
layout(constant_id = 6) const uint LANES = 32;           // invocations of a subgroup
// The sides are constants of their own, so that spirv/to_khr.c can tell factors and sums apart.
layout(constant_id = 100) const uint SIDE_LEFT = 16;
layout(constant_id = 101) const uint SIDE_RIGHT = 16;
#define matrix_left fcoopmatNV<16, gl_ScopeSubgroup, 16, SIDE_LEFT>
#define matrix_right fcoopmatNV<16, gl_ScopeSubgroup, SIDE_RIGHT, 16>
#define matrix_sum fcoopmatNV<32, gl_ScopeSubgroup, 16, 16>
#define matrix_half fcoopmatNV<16, gl_ScopeSubgroup, 16, 16>
#define matrix_load(m, memory, at, stride) coopMatLoadNV(m, memory, at, stride, false)
#define matrix_load_columns(m, memory, at, stride) coopMatLoadNV(m, memory, at, stride, true)
#define matrix_store(m, memory, at, stride) coopMatStoreNV(m, memory, at, stride, false)
#define matrix_add_product(sum, a, b) sum = coopMatMulAddNV(a, b, sum)

#define matrix_zero(m) m = matrix_sum(0.0)
// The elements of a sum that an invocation has: each has as many.
#define matrix_each(i, m) [[unroll]] for (uint i = 0; i < 256 / LANES; i++)
#define matrix_multiply(m, by) matrix_each(element_, m) m[element_] *= by[element_]
#define subgroup_id gl_SubgroupID
#define lane_id gl_SubgroupInvocationID
#define subgroup_any(condition) subgroupAny(condition)

// What the subgroup's invocations wrote to shared memory is there for all of them.
void subgroup_wait() {
    controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
}

uvec2 halves(vec4 v) { return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw)); }

const float LACKS = 2048;                               // keeps the rest from being too small for float16
#ifdef NN_F16
const uint PARTS = 1, PER_VECTOR = 8;                   // planes of factors; values in 16 bytes of the slab
#define eight uvec4
eight eight_of(vec4 a, vec4 b) { return uvec4(halves(a), halves(b)); }
#else
const uint PARTS = 2, PER_VECTOR = 4;
struct eight { uvec4 a, b; };
eight eight_of(vec4 a, vec4 b) { return eight(floatBitsToUint(a), floatBitsToUint(b)); }

// What float16 can hold: the first 11 bits. (To float16 and back would do, but a compiler may leave that out.)
vec4 nearest(vec4 v) { return uintBitsToFloat(floatBitsToUint(v) & 0xffffe000u); }
float nearest(float v) { return uintBitsToFloat(floatBitsToUint(v) & 0xffffe000u); }

// Both planes' factors.
uvec4 nearest(eight v) { return uvec4(halves(nearest(uintBitsToFloat(v.a))), halves(nearest(uintBitsToFloat(v.b)))); }
uvec4 lack(eight v, float times) {
    const vec4 a = uintBitsToFloat(v.a), b = uintBitsToFloat(v.b);
    return uvec4(halves((a - nearest(a)) * times), halves((b - nearest(b)) * times));
}
#endif
