/* product.h - the matrix product inside attention and GRU: one register tile, C [NN_MR][NN_NR] = A B (+ C).
 *
 * A is kept in blocks of the same form as C: block i holds columns i NN_NR .. of NN_MR rows, [NN_MR][NN_NR],
 * so a product's result is the next product's A, and every address is one base plus a constant. B is a panel
 * [k][NN_NR]. Each element is one sum over k in order: the result does not depend on how rows or columns are
 * split into tasks. */
#ifndef NN_CPU_PRODUCT_H
#define NN_CPU_PRODUCT_H

#include "vector.h"

enum { NN_TILE = NN_MR * NN_NR };

static inline int nn_panels(int columns) {
    return (columns + NN_NR - 1) / NN_NR;
}

static inline __attribute__((always_inline)) void nn_product_block(const float *a, const float *b, int k,
                                                                   nn_v acc[NN_MR][2]) {
    for (int j = 0; j < k; j++, a++, b += NN_NR) {
        const nn_v b0 = nn_load(b), b1 = nn_load(b + NN_VW);
#pragma GCC unroll 14
        for (int i = 0; i < NN_MR; i++) {
            const nn_v x = nn_splat(a[i * NN_NR]);
            acc[i][0] += x * b0;
            acc[i][1] += x * b1;
        }
    }
}

/* a [ceil(k / NN_NR)][NN_MR][NN_NR], b [k][NN_NR], c [NN_MR][NN_NR]; add: c is added to, else written. */
static inline void nn_product(const float *a, const float *b, int k, float *c, int add) {
    nn_v acc[NN_MR][2];
#pragma GCC unroll 14
    for (int i = 0; i < NN_MR; i++) {
        acc[i][0] = add ? nn_load(c + i * NN_NR) : (nn_v){0};
        acc[i][1] = add ? nn_load(c + i * NN_NR + NN_VW) : (nn_v){0};
    }
    for (; k > 0; k -= NN_NR, a += NN_TILE, b += NN_NR * NN_NR)
        nn_product_block(a, b, k < NN_NR ? k : NN_NR, acc);
#pragma GCC unroll 14
    for (int i = 0; i < NN_MR; i++) {
        nn_store(c + i * NN_NR, acc[i][0]);
        nn_store(c + i * NN_NR + NN_VW, acc[i][1]);
    }
}

/* Rows of x, `pitch` floats apart, as A's blocks, times `scale`; rows beyond `rows` and columns beyond k are
 * 0. */
static inline void nn_product_rows(float *a, const float *x, ptrdiff_t pitch, int rows, int k, float scale) {
    for (int p = 0; p < nn_panels(k); p++, a += NN_TILE, x += NN_NR)
        for (int i = 0; i < NN_MR; i++) {
            const int n = i >= rows ? 0 : k - p * NN_NR < NN_NR ? k - p * NN_NR : NN_NR;
            for (int j = 0; j < NN_NR; j++) a[i * NN_NR + j] = j < n ? scale * x[i * pitch + j] : 0.0f;
        }
}

#endif
