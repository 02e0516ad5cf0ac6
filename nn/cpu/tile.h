/* tile.h - the register tile of every matrix product here: up to NN_MR rows by 1 or 2 vectors of columns.
 *
 *   out[r][n] = bias[n] + sum_s sum_c x[r*row + segment[s] + c] * w[s][c][n]
 *
 * A row of x is any memory at a constant distance from the row before, a segment a run of `length` floats at
 * some offset from the row's start: a linear layer has one segment, a convolution one per tap, or one for all
 * taps where they lie side by side. The panel w holds the bias first and then one line of columns per (s, c).
 * Each output is summed in the same order whatever the tile's height, so splitting work changes no bit.
 *
 * Where the instruction set has bfloat16 products (NN_HAS_BF16), x and w may hold pairs of bfloat16 in place
 * of floats: two channels each, multiplied and summed in float. */
#ifndef NN_CPU_TILE_H
#define NN_CPU_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include "vector.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
enum { NN_HAS_BF16 = 1 };
#else
enum { NN_HAS_BF16 = 0 };
#endif

typedef struct nn_rows_of {
    const float *x;           /* first row */
    ptrdiff_t row;            /* floats from row to row */
    const ptrdiff_t *segment; /* [segments] offsets in floats */
    int segments, length;
} nn_rows_of;

#define NN_TILE_INLINE static inline __attribute__((always_inline))

/* sum + *x times a line of columns: floats, or pairs. */
NN_TILE_INLINE nn_v nn_tile_add(nn_v sum, const float *x, nn_v column, int pairs) {
#ifdef __AVX512BF16__
    if (pairs) {
        int32_t pair;
        memcpy(&pair, x, sizeof pair);
        return (nn_v)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)column);
    }
#else
    (void)pairs;
#endif
    return sum + nn_splat(*x) * column;
}

/* Where the panel of weights comes from. */
typedef enum nn_tile_kind {
    NN_TILE_BIASED, /* w, whose first line is the bias: what the sums begin with */
    NN_TILE_ONTO,   /* w without one: the sums go on from what `out` holds, or from 0 */
    NN_TILE_MAKING, /* the same with w - minus, line by line, which `made` keeps for the next tiles */
} nn_tile_kind;
typedef struct nn_tile_panel {
    const float *w, *minus;
    float *made;
    bool fresh; /* ... from 0 */
} nn_tile_panel;

NN_TILE_INLINE void nn_tile_line(nn_v sum[NN_MR][2], const float *x, ptrdiff_t row, nn_tile_panel *p,
                                 int rows, int vectors, int pairs, nn_tile_kind kind) {
    nn_v column[2];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        column[v] = nn_load(p->w + v * NN_VW);
        if (kind == NN_TILE_MAKING) {
            column[v] -= nn_load(p->minus + v * NN_VW);
            nn_store(p->made + v * NN_VW, column[v]);
        }
    }
    p->w += vectors * NN_VW;
    if (kind == NN_TILE_MAKING) {
        p->minus += vectors * NN_VW;
        p->made += vectors * NN_VW;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = nn_tile_add(sum[r][v], x + r * row, column[v], pairs);
}

NN_TILE_INLINE void nn_tile_fixed(const nn_rows_of *a, nn_tile_panel p, float *out, ptrdiff_t out_row,
                                  int rows, int vectors, int pairs, nn_tile_kind kind) {
    nn_v sum[NN_MR][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = kind == NN_TILE_BIASED ? nn_load(p.w + v * NN_VW) : (nn_v){0};
    if (kind != NN_TILE_BIASED && !p.fresh) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[r][v] = nn_load(out + r * out_row + v * NN_VW);
    }
    if (kind == NN_TILE_BIASED) p.w += vectors * NN_VW;
    for (int s = 0; s < a->segments; s++) {
        const float *x = a->x + a->segment[s];
        for (int c = 0; c < a->length; c++, x++) nn_tile_line(sum, x, a->row, &p, rows, vectors, pairs, kind);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) nn_store(out + r * out_row + v * NN_VW, sum[r][v]);
}

/* One function per height, so that every sum is a register and no row is multiplied for nothing. */
typedef void nn_tile_function(const nn_rows_of *a, const nn_tile_panel *p, float *out, ptrdiff_t out_row);
#define NN_TILE_HEIGHT(name, rows, vectors, pairs, kind)                                                     \
    static __attribute__((noinline)) void name##_##rows##x##vectors(                                         \
        const nn_rows_of *a, const nn_tile_panel *p, float *out, ptrdiff_t out_row) {                        \
        nn_tile_fixed(a, *p, out, out_row, rows, vectors, pairs, kind);                                      \
    }
#if defined(__AVX512F__)
#define NN_TILE_EACH_HEIGHT(H, ...)                                                                          \
    H(1, __VA_ARGS__) H(2, __VA_ARGS__) H(3, __VA_ARGS__) H(4, __VA_ARGS__) H(5, __VA_ARGS__)                \
    H(6, __VA_ARGS__) H(7, __VA_ARGS__) H(8, __VA_ARGS__) H(9, __VA_ARGS__) H(10, __VA_ARGS__)               \
    H(11, __VA_ARGS__) H(12, __VA_ARGS__) H(13, __VA_ARGS__) H(14, __VA_ARGS__)
#else
#define NN_TILE_EACH_HEIGHT(H, ...)                                                                          \
    H(1, __VA_ARGS__) H(2, __VA_ARGS__) H(3, __VA_ARGS__) H(4, __VA_ARGS__) H(5, __VA_ARGS__) H(6, __VA_ARGS__)
#endif
#define NN_TILE_MAKE(rows, name, vectors, pairs, kind) NN_TILE_HEIGHT(name, rows, vectors, pairs, kind)
#define NN_TILE_NAME(rows, name, vectors) name##_##rows##x##vectors,
#define NN_TILE_LIST(name, vectors) {NULL, NN_TILE_EACH_HEIGHT(NN_TILE_NAME, name, vectors)}    /* by rows */

NN_TILE_EACH_HEIGHT(NN_TILE_MAKE, nn_tile_floats, 1, 0, NN_TILE_BIASED)
NN_TILE_EACH_HEIGHT(NN_TILE_MAKE, nn_tile_floats, 2, 0, NN_TILE_BIASED)
NN_TILE_EACH_HEIGHT(NN_TILE_MAKE, nn_tile_onto, 2, 0, NN_TILE_ONTO)
NN_TILE_EACH_HEIGHT(NN_TILE_MAKE, nn_tile_making, 2, 0, NN_TILE_MAKING)
static nn_tile_function *const nn_tile_floats[2][NN_MR + 1] = {NN_TILE_LIST(nn_tile_floats, 1), NN_TILE_LIST(nn_tile_floats, 2)};
static nn_tile_function *const nn_tile_onto[2][NN_MR + 1] = {NN_TILE_LIST(nn_tile_onto, 2), NN_TILE_LIST(nn_tile_making, 2)};
#ifdef __AVX512BF16__
NN_TILE_EACH_HEIGHT(NN_TILE_MAKE, nn_tile_pairs, 1, 1, NN_TILE_BIASED)
NN_TILE_EACH_HEIGHT(NN_TILE_MAKE, nn_tile_pairs, 2, 1, NN_TILE_BIASED)
static nn_tile_function *const nn_tile_pairs[2][NN_MR + 1] = {NN_TILE_LIST(nn_tile_pairs, 1), NN_TILE_LIST(nn_tile_pairs, 2)};
#else
#define nn_tile_pairs nn_tile_floats
#endif

/* 1 to NN_MR rows of a times the panel w of `vectors` vectors, into out [rows][out_row]. */
static inline void nn_tile_product(nn_rows_of a, const float *w, float *out, ptrdiff_t out_row, int rows, int vectors, bool pairs) {
    const nn_tile_panel p = {.w = w};
    (pairs ? nn_tile_pairs : nn_tile_floats)[vectors > 1][rows](&a, &p, out, out_row);
}

/* rows times a panel of two vectors without a bias, added to what out [rows][NN_NR] holds. */
static inline void nn_tile_product_onto(nn_rows_of a, nn_tile_panel p, float *out, int rows) {
    nn_tile_onto[p.made != NULL][rows](&a, &p, out, NN_NR);
}

#endif
