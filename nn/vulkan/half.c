/* half.c - see half.h: eight numbers at a time where the CPU can, which gives the same bits. */
#include "half.h"

static void plain_halves(uint16_t *to, const float *from, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = nn_vk_half(from[i]);
}

static void plain_floats(float *to, const uint16_t *from, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = nn_vk_float(from[i]);
}

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>

/* Whatever has AVX2 has F16C; compilers know the name of the first. */
static bool has_f16c(void) {
    return __builtin_cpu_supports("avx2");
}

__attribute__((target("avx,f16c"))) static void fast_halves(uint16_t *to, const float *from, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        const __m128i half =
            _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)(void *)(to + i), half);
    }
}

__attribute__((target("avx,f16c"))) static void fast_floats(float *to, const uint16_t *from, size_t n) {
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(from + i))));
}
#else
static bool has_f16c(void) {
    return false;
}
static void fast_halves(uint16_t *to, const float *from, size_t n) {
    plain_halves(to, from, n);
}
static void fast_floats(float *to, const uint16_t *from, size_t n) {
    plain_floats(to, from, n);
}
#endif

void nn_vk_halves(uint16_t *to, const float *from, size_t n) {
    const size_t eights = has_f16c() ? n & ~(size_t)7 : 0;
    fast_halves(to, from, eights);
    plain_halves(to + eights, from + eights, n - eights);
}

void nn_vk_floats(float *to, const uint16_t *from, size_t n) {
    const size_t eights = has_f16c() ? n & ~(size_t)7 : 0;
    fast_floats(to, from, eights);
    plain_floats(to + eights, from + eights, n - eights);
}
