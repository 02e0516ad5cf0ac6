/* tile.h - the register tile of every matrix product here: up to NN_MR rows by 1 or 2 vectors of columns.
 *
 *   out[r][n] = bias[n] + sum_s sum_c x[r*row + segment[s] + c] * w[s][c][n]
 *
 * A row of x is any memory at a constant distance from the row before, a segment a run of `length` floats at some
 * offset from the row's start: a linear layer has one segment, a convolution one per tap, or one for all taps where
 * they lie side by side. The panel w holds the bias first and then one line of columns per (s, c).
 * Each output is summed in the same order whatever the tile's height, so splitting work changes no bit.
 *
 * Where the instruction set has bfloat16 products (NN_HAS_BF16), x and w may hold pairs of bfloat16 in place of floats: two
 * channels each, multiplied and summed in float. */
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
    const float *x;               /* first row */
    ptrdiff_t row;                /* floats from row to row */
    const ptrdiff_t *segment;     /* [segments] offsets in floats */
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

NN_TILE_INLINE void nn_tile_fixed(const nn_rows_of *a, const float *w, float *out, ptrdiff_t out_row, int rows, int vectors,
                                  int pairs) {
    nn_v sum[NN_MR][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = nn_load(w + v * NN_VW);
    w += vectors * NN_VW;
    const ptrdiff_t row = a->row;
    for (int s = 0; s < a->segments; s++) {
        const float *x = a->x + a->segment[s];
        for (int c = 0; c < a->length; c++, x++, w += vectors * NN_VW) {
            nn_v column[2];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) column[v] = nn_load(w + v * NN_VW);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) sum[r][v] = nn_tile_add(sum[r][v], x + r * row, column[v], pairs);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) nn_store(out + r * out_row + v * NN_VW, sum[r][v]);
}

/* One function per tile height in use; `rows` is split into them from the tallest down. */
typedef void nn_tile_function(const nn_rows_of *a, const float *w, float *out, ptrdiff_t out_row);
#define NN_TILE_HEIGHT(name, rows, vectors, pairs)                                                                   \
    static __attribute__((noinline)) void name(const nn_rows_of *a, const float *w, float *out, ptrdiff_t out_row) { \
        nn_tile_fixed(a, w, out, out_row, rows < NN_MR ? rows : NN_MR, vectors, pairs);                              \
    }
#define NN_TILE_HEIGHTS(name, pairs)                                                                                 \
    NN_TILE_HEIGHT(name##_14x1, 14, 1, pairs)                                                                        \
    NN_TILE_HEIGHT(name##_14x2, 14, 2, pairs)                                                                        \
    NN_TILE_HEIGHT(name##_4x1, 4, 1, pairs)                                                                          \
    NN_TILE_HEIGHT(name##_4x2, 4, 2, pairs)                                                                          \
    NN_TILE_HEIGHT(name##_1x1, 1, 1, pairs)                                                                          \
    NN_TILE_HEIGHT(name##_1x2, 1, 2, pairs)                                                                          \
    static nn_tile_function *const name[3][2] = {{name##_14x1, name##_14x2}, {name##_4x1, name##_4x2}, {name##_1x1, name##_1x2}};
NN_TILE_HEIGHTS(nn_tile_floats, 0)
#ifdef __AVX512BF16__
NN_TILE_HEIGHTS(nn_tile_pairs, 1)
#else
#define nn_tile_pairs nn_tile_floats
#endif

/* rows <= NN_MR rows of a times the panel w of `vectors` vectors, into out [rows][out_row]. */
static inline void nn_tile_product(nn_rows_of a, const float *w, float *out, ptrdiff_t out_row, int rows, int vectors, bool pairs) {
    static const int heights[3] = {NN_MR, 4, 1};
    nn_tile_function *const(*tiles)[2] = pairs ? nn_tile_pairs : nn_tile_floats;
    for (int h = 0; rows > 0; h++)
        for (; rows >= heights[h]; rows -= heights[h]) {
            tiles[h][vectors - 1](&a, w, out, out_row);
            a.x += heights[h] * a.row;
            out += heights[h] * out_row;
        }
}

#endif
