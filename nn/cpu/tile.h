/* tile.h - the register tile of every matrix product here: up to NN_MR rows by 1 or 2 vectors of columns.
 *
 *   out[r][n] = bias[n] + sum_s sum_c x[r*row + segment[s] + c] * w[s][c][n]
 *
 * A row of x is any memory at a constant distance from the row before, a segment a run of `length` floats at some
 * offset from the row's start: a linear layer has one segment, a convolution one per tap, or one for all taps where
 * they lie side by side. The panel w holds the bias first and then one line of columns per (s, c).
 * Each output is summed in the same order whatever the tile's height, so splitting work changes no bit. */
#ifndef NN_CPU_TILE_H
#define NN_CPU_TILE_H

#include <stddef.h>
#include "vector.h"

typedef struct nn_rows_of {
    const float *x;               /* first row */
    ptrdiff_t row;                /* floats from row to row */
    const ptrdiff_t *segment;     /* [segments] offsets in floats */
    int segments, length;
} nn_rows_of;

#define NN_TILE_INLINE static inline __attribute__((always_inline))

NN_TILE_INLINE void nn_tile_fixed(const nn_rows_of *a, const float *w, float *out, ptrdiff_t out_row, int rows, int vectors) {
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
            for (int r = 0; r < rows; r++) {
                const nn_v value = nn_splat(x[r * row]);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) sum[r][v] += value * column[v];
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) nn_store(out + r * out_row + v * NN_VW, sum[r][v]);
}

/* One function per tile height in use; `rows` is split into them from the tallest down. */
#define NN_TILE_HEIGHT(rows, vectors)                                                                                \
    static __attribute__((noinline)) void nn_tile_##rows##x##vectors(const nn_rows_of *a, const float *w, float *out, \
                                                                     ptrdiff_t out_row) {                            \
        nn_tile_fixed(a, w, out, out_row, rows < NN_MR ? rows : NN_MR, vectors);                                     \
    }
NN_TILE_HEIGHT(14, 1)
NN_TILE_HEIGHT(14, 2)
NN_TILE_HEIGHT(4, 1)
NN_TILE_HEIGHT(4, 2)
NN_TILE_HEIGHT(1, 1)
NN_TILE_HEIGHT(1, 2)

/* rows <= NN_MR rows of a times the panel w of `vectors` vectors, into out [rows][out_row]. */
static inline void nn_tile_product(nn_rows_of a, const float *w, float *out, ptrdiff_t out_row, int rows, int vectors) {
    typedef void tile(const nn_rows_of *, const float *, float *, ptrdiff_t);
    static tile *const tiles[3][2] = {{nn_tile_14x1, nn_tile_14x2}, {nn_tile_4x1, nn_tile_4x2}, {nn_tile_1x1, nn_tile_1x2}};
    static const int heights[3] = {NN_MR, 4, 1};
    for (int h = 0; rows > 0; h++)
        for (; rows >= heights[h]; rows -= heights[h]) {
            tiles[h][vectors - 1](&a, w, out, out_row);
            a.x += heights[h] * a.row;
            out += heights[h] * out_row;
        }
}

#endif
