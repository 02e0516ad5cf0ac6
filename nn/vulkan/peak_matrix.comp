#version 460
// peak_matrix.comp - nothing but products of cooperative matrices, 16 sums a subgroup: what a device can do at most (peak.c).
//
// Factors come from memory, so that the compiler does not know one to be another. Written out, for an array of matrices lies
// in registers only where every index is a constant.
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "matrix.glsl"

layout(local_size_x = 256) in;

layout(set = 0, binding = 0) buffer Slab { uvec4 slab[]; };

layout(push_constant) uniform Push {
    uint count;         // rounds of 16 products
} push;

matrix_sum sums[16];
matrix_left left[4];
matrix_right right[4];

#define EACH(DO) DO(0) DO(1) DO(2) DO(3)
#define FACTORS(i)                                                                                                     \
    matrix_load(left[i], slab, 32 * i, 2);                                                                             \
    matrix_load(right[i], slab, 128 + 32 * i, 2);
#define ZERO(i)                                                                                                        \
    matrix_zero(sums[4 * i]);                                                                                          \
    matrix_zero(sums[4 * i + 1]);                                                                                      \
    matrix_zero(sums[4 * i + 2]);                                                                                      \
    matrix_zero(sums[4 * i + 3]);
#define MULTIPLY(i)                                                                                                    \
    matrix_add_product(sums[4 * i], left[i], right[0]);                                                                \
    matrix_add_product(sums[4 * i + 1], left[i], right[1]);                                                            \
    matrix_add_product(sums[4 * i + 2], left[i], right[2]);                                                            \
    matrix_add_product(sums[4 * i + 3], left[i], right[3]);
#define STORE(i)                                                                                                       \
    matrix_store(sums[4 * i], slab, at + 256 * i, 4);                                                                  \
    matrix_store(sums[4 * i + 1], slab, at + 256 * i + 64, 4);                                                         \
    matrix_store(sums[4 * i + 2], slab, at + 256 * i + 128, 4);                                                        \
    matrix_store(sums[4 * i + 3], slab, at + 256 * i + 192, 4);

void main() {
    const uint at = 256 + (gl_WorkGroupID.x * gl_NumSubgroups + subgroup_id) * 1024;
    EACH(FACTORS)
    EACH(ZERO)
    [[dont_unroll]] for (uint k = 0; k < push.count; k++) {
        EACH(MULTIPLY)
    }
    EACH(STORE)
}
