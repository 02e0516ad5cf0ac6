/* toom_strided.h - convolutions of 3 taps and stride 2 with 66 % of the multiplications.
 *
 * Even and odd inputs apart, e[t] = x[2t] and o[t] = x[2t+1], the layer is a convolution of 2 taps and stride
 * 1 and a matrix product:
 *
 *   y[t] = w0 e[t] + w2 e[t+1]  +  w1 o[t]
 *
 * The first takes the Toom-Cook form F(4, 2): 5 products (points 0, 1/2, -1, 2, inf) for 4 outputs in place
 * of 8, the second 4. So a tile is 4 outputs, read from 9 input rows, and 9 matrix products over all tiles,
 * each of which goes through Strassen's halves (strassen.h): 9/12 * 7/8.
 *
 *   plane    One of the 9: a row per tile. The last four are the odd inputs of a tile's four outputs.
 *   block    Tiles that are halved together; a task takes all planes of a block and some pairs of panels.
 *
 * Rounding: 3 dB more than the direct form (points chosen by simulation) besides Strassen's. Included once,
 * by conv.c. */
#ifndef NN_CPU_TOOM_STRIDED_H
#define NN_CPU_TOOM_STRIDED_H

#include "strassen.h"
#include "toom_pack.h"

enum {
    STRIDED_EVEN = 5,
    STRIDED_PLANES = STRIDED_EVEN + NN_TOOM_TILE,
    STRIDED_SPAN = 2 * NN_TOOM_TILE, /* input rows from tile to tile; a tile reads one more */
    STRIDED_TILES = 8 * NN_MR,       /* of a block, at most: what its planes give stays in L2 */
};

static void strided_setup(nn_call *c) {
    const nn_node *n = c->node;
    const int lines = n->in[0]->shape.c / 2, half = strassen_split(c, nn_parts(n->shape.w, NN_TOOM_TILE),
                                                                   STRIDED_TILES, STRIDED_PLANES, lines);
    const int rows = (STRASSEN_PRODUCTS + 4 * STRIDED_PLANES) * half + lines + NN_TOOM_TILE * NN_MR;
    c->scratch_bytes += (size_t)rows * NN_NR * sizeof(float);
}

/* The planes' values for one vector of channels of a tile, from its rows of input. */
NN_TILE_INLINE void strided_transform(const float *const *row, int at, nn_v *u) {
    nn_v e[STRIDED_EVEN];
#pragma GCC unroll 5
    for (int i = 0; i < STRIDED_EVEN; i++) e[i] = nn_load(row[2 * i] + at);
    const nn_v inner = e[1] + e[2], outer = e[2] + e[3];
    u[0] = e[0] + e[3] - 1.5f * inner;
    u[1] = e[3] - e[2] - 2.0f * e[1];
    u[2] = e[1] + e[3] - 2.5f * e[2];
    u[3] = e[3] + 0.5f * (e[2] - e[1]);
    u[4] = e[1] + e[4] - 1.5f * outer;
#pragma GCC unroll 4
    for (int i = 0; i < NN_TOOM_TILE; i++) u[STRIDED_EVEN + i] = nn_load(row[2 * i + 1] + at);
}

/* Left factors of tiles from .. to-1 of a block's upper half and the lower half's beside them,
 * [plane][7][half][pitch]. What lies beyond the input counts as 0. */
static void strided_left(const nn_call *c, int block, int from, int to, float *left) {
    static const float zeros[768];
    const nn_shape in = c->node->in[0]->shape;
    const int half = (int)c->plan[STRASSEN_HALF], lines = (int)c->plan[STRASSEN_LINES],
              pitch = (int)c->plan[STRASSEN_PITCH];
    const ptrdiff_t plane = (ptrdiff_t)half * pitch;
    for (int r = from; r < to; r++) {
        const float *row[2][STRIDED_SPAN + 1];
        for (int lower = 0; lower < 2; lower++)
            for (int i = 0; i <= STRIDED_SPAN; i++) {
                const int t = (2 * (half * block + r) + lower) * STRIDED_SPAN + i;
                row[lower][i] = t < in.w ? c->in[0] + (ptrdiff_t)t * in.c : zeros;
            }
        for (int k = 0; k < lines; k += NN_VW) {
            nn_v u[4][STRIDED_PLANES];
            for (int q = 0; q < 4; q++) strided_transform(row[q / 2], q % 2 * lines + k, u[q]);
            float *to_row = left + (ptrdiff_t)r * pitch + k;
            for (int i = 0; i < STRIDED_PLANES; i++, to_row += STRASSEN_PRODUCTS * plane)
                strassen_factors(u[0][i], u[1][i], u[2][i], u[3][i], to_row, plane);
        }
    }
}

/* A plane's weights for a pair of panels: those of the odd planes are the same. */
static strassen_panels strided_at(const nn_call *c, int pair, int plane) {
    const nn_toom_pack *k = c->node->blob[0];
    const size_t point_floats = k->panel_floats / (size_t)k->points;
    const ptrdiff_t below = c->plan[STRASSEN_LINES] * NN_NR;
    const int point = nn_least(plane, STRIDED_EVEN);
    const float *b1 = nn_toom_panel(k, pair, point, point_floats) + NN_NR;
    const float *b2 = nn_toom_panel(k, pair + k->panels / 2, point, point_floats) + NN_NR;
    return (strassen_panels){b1, b1 + below, b2 + below, b2};
}

/* Outputs of `rows` tiles from planes m, `next` floats apart, to y [rows * 4][NN_NR]. */
static void strided_out(const float *m, ptrdiff_t next, int rows, const float *bias, float *y) {
    for (int i = 0; i < rows * NN_NR; i += NN_VW) {
        nn_v x[STRIDED_PLANES];
#pragma GCC unroll 9
        for (int q = 0; q < STRIDED_PLANES; q++) x[q] = nn_load(m + q * next + i);
        const nn_v b = nn_load(bias + i % NN_NR);
        float *to = y + i / NN_NR * NN_TOOM_TILE * NN_NR + i % NN_NR;
        nn_store(to, x[0] + x[1] + x[2] + x[3] + x[5] + b);
        nn_store(to + NN_NR, 0.5f * x[1] - x[2] + 2.0f * x[3] + x[6] + b);
        nn_store(to + 2 * NN_NR, 0.25f * x[1] + x[2] + 4.0f * x[3] + x[7] + b);
        nn_store(to + 3 * NN_NR, 0.125f * x[1] - x[2] + 8.0f * x[3] + x[4] + x[8] + b);
    }
}

static void strided_store(const nn_call *c, int block, int pair, const float *quarters, float *y) {
    const nn_shape out = c->node->shape;
    const int half = (int)c->plan[STRASSEN_HALF];
    const ptrdiff_t each = (ptrdiff_t)half * NN_NR;
    for (int q = 0; q < 4; q++)
        for (int from = 0; from < half; from += NN_MR) {
            const int channel = pair * NN_NR + q % 2 * (out.c / 2),
                      first = (2 * (half * block + from) + q / 2) * NN_TOOM_TILE;
            const int tiles = nn_least(NN_MR, half - from);
            ptrdiff_t row[NN_MR * NN_TOOM_TILE];
            strided_out(quarters + q * each + from * NN_NR, 4 * each, tiles,
                        nn_toom_bias(c->node->blob[0]) + channel, y);
            for (int r = 0; r < tiles * NN_TOOM_TILE; r++) {
                const int t = first + r / NN_TOOM_TILE * 2 * NN_TOOM_TILE + r % NN_TOOM_TILE;
                row[r] = t < out.w ? t : -1;
            }
            nn_steps_apply(c, y, NN_NR, row, tiles * NN_TOOM_TILE, channel, NN_NR);
            nn_tile_store(c, y, NN_NR, row, tiles * NN_TOOM_TILE, channel, NN_NR);
        }
}

static void strided_run(const nn_call *c, int stage, int task, void *scratch) {
    static const float no_bias[NN_NR];
    const int half = (int)c->plan[STRASSEN_HALF], parts = (int)c->plan[STRASSEN_PARTS],
              lines = (int)c->plan[STRASSEN_LINES];
    const int pairs = c->node->shape.c / (2 * NN_NR);
    const ptrdiff_t factors = STRASSEN_PRODUCTS * half * c->plan[STRASSEN_PITCH],
                    each = (ptrdiff_t)half * NN_NR;
    if (stage + 1 < c->stages) {
        const int block = task / STRASSEN_SLICES, slice = task % STRASSEN_SLICES;
        strided_left(c, block, half * slice / STRASSEN_SLICES, half * (slice + 1) / STRASSEN_SLICES,
                     (float *)c->shared + block * STRIDED_PLANES * factors);
        return;
    }
    const int block = task / parts, part = task % parts;
    float *sum = scratch, *quarters = sum + STRASSEN_PRODUCTS * each,
          *t = quarters + 4 * STRIDED_PLANES * each;
    float *y = t + lines * NN_NR, *left = y + NN_TOOM_TILE * NN_MR * NN_NR;
    if (c->stages == 2)
        left = (float *)c->shared + block * STRIDED_PLANES * factors;
    else
        strided_left(c, block, 0, half, left);
    for (int pair = pairs * part / parts; pair < pairs * (part + 1) / parts; pair++) {
        for (int q = 0; q < STRIDED_PLANES; q++) {
            strassen_piece(c, left + q * factors, strided_at(c, pair, q), lines, true, t, sum);
            strassen_quarters(sum, each, no_bias, no_bias, half, quarters + 4 * q * each, each);
        }
        strided_store(c, block, pair, quarters, y);
    }
}

#endif
