/* vector.h - float vectors as wide as the instruction set at hand, through GCC's and Clang's vector extensions, and the
 * elementary functions kernels need. Included by kernel sources only.
 *
 * NN_VW floats a vector: 16 (AVX-512), 8 (AVX2+FMA), 4 (anything else: SSE2, NEON, ...).
 * NN_MR x 2 vectors is the register tile of the matrix product. */
#ifndef NN_CPU_VECTOR_H
#define NN_CPU_VECTOR_H

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { NN_VW = 16, NN_MR = 14 };
#elif defined(__AVX2__)
enum { NN_VW = 8, NN_MR = 6 };
#else
enum { NN_VW = 4, NN_MR = 6 };
#endif
enum { NN_NR = 2 * NN_VW };

typedef float nn_v __attribute__((vector_size(NN_VW * 4)));
typedef float nn_vu __attribute__((vector_size(NN_VW * 4), aligned(4), may_alias));
typedef int32_t nn_vi __attribute__((vector_size(NN_VW * 4)));

static inline nn_v nn_load(const float *p) { return *(const nn_vu *)p; }
static inline void nn_store(float *p, nn_v v) { *(nn_vu *)p = v; }
static inline nn_v nn_splat(float x) { return x - (nn_v){0}; }

/* The first n < NN_VW floats of p, the rest 0; and their store. */
static inline nn_v nn_load_part(const float *p, int n) {
    nn_v v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
}
static inline void nn_store_part(float *p, nn_v v, int n) { memcpy(p, &v, (size_t)n * sizeof(float)); }

/* m's lanes are all ones or zero: a where one, b where zero. */
static inline nn_v nn_select(nn_vi m, nn_v a, nn_v b) { return (nn_v)((m & (nn_vi)a) | (~m & (nn_vi)b)); }
/* a < b ? a : b and a > b ? a : b, so b where one is NaN. */
#if defined(__AVX512F__)
static inline nn_v nn_min(nn_v a, nn_v b) { return (nn_v)_mm512_min_ps((__m512)a, (__m512)b); }
static inline nn_v nn_max(nn_v a, nn_v b) { return (nn_v)_mm512_max_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
static inline nn_v nn_min(nn_v a, nn_v b) { return (nn_v)_mm256_min_ps((__m256)a, (__m256)b); }
static inline nn_v nn_max(nn_v a, nn_v b) { return (nn_v)_mm256_max_ps((__m256)a, (__m256)b); }
#else
static inline nn_v nn_min(nn_v a, nn_v b) { return nn_select(a < b, a, b); }
static inline nn_v nn_max(nn_v a, nn_v b) { return nn_select(a > b, a, b); }
#endif

/* Sum and maximum of the lanes, pairwise: one fixed order. */
static inline float nn_sum(nn_v v) {
    float t[NN_VW];
    memcpy(t, &v, sizeof t);
    for (int n = NN_VW / 2; n; n /= 2)
        for (int i = 0; i < n; i++) t[i] += t[i + n];
    return t[0];
}
static inline float nn_peak(nn_v v) {
    float t[NN_VW], m;
    memcpy(t, &v, sizeof t);
    m = t[0];
    for (int i = 1; i < NN_VW; i++) m = t[i] > m ? t[i] : m;
    return m;
}

#endif
