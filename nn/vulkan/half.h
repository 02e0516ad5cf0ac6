/* half.h - IEEE 754 float16 from and to float32, without branches, so that loops over them become vector code. */
#ifndef NN_VULKAN_HALF_H
#define NN_VULKAN_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t nn_vk_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float nn_vk_of_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* To nearest, ties to even; 65520 and above is infinity. A float16 below 2^-14 counts units of 2^-24, which is also what the
 * last bit of a float32 in 0.5 .. 1 counts: adding 0.5 rounds it there. Any other loses 13 bits of its fraction, and its
 * exponent's bias shrinks by 112. */
static inline uint16_t nn_vk_half(float x) {
    const uint32_t sign = nn_vk_bits(x) >> 16 & 0x8000, size = nn_vk_bits(x) & 0x7fffffff;
    const uint32_t small = nn_vk_bits(nn_vk_of_bits(size) + 0.5f) - nn_vk_bits(0.5f);
    const uint32_t normal = (size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13;
    const uint32_t large = size > 0x7f800000 ? 0x7e00 : 0x7c00;
    return (uint16_t)(sign | (size < 0x38800000 ? small : size < 0x477ff000 ? normal : large));
}

static inline float nn_vk_float(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, size = half & 0x7fff;
    const uint32_t small = nn_vk_bits((float)size * 0x1p-24f);
    const uint32_t other = (size << 13) + ((size < 0x7c00 ? 112u : 224u) << 23);
    return nn_vk_of_bits(sign | (size < 0x400 ? small : other));
}

/* The same of n numbers (half.c). */
void nn_vk_halves(uint16_t *to, const float *from, size_t n);
void nn_vk_floats(float *to, const uint16_t *from, size_t n);

#endif
