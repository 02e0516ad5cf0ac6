/* strassen.h - wide matrix products with seven eighths of the multiplications: one level of Strassen's method
 * in Winograd's form (Strassen 1969; Winograd 1971).
 *
 * C = A B is cut in halves along rows, columns and depth, and seven products take the place of eight:
 *
 *   S1 = A21 + A22   T1 = B12 - B11   M1 = A11 B11   M5 = S1 T1     C11 = M1 + M2
 *   S2 = S1 - A11    T2 = B22 - T1    M2 = A12 B21   M6 = S2 T2     C12 = M1 + M6 + M5 + M3
 *   S3 = A11 - A21   T3 = B22 - B12   M3 = S4  B22   M7 = S3 T3     C21 = M1 + M6 + M7 + M4
 *   S4 = A12 - S2    T4 = B21 - T2    M4 = A22 T4                   C22 = M1 + M6 + M7 + M5
 *
 * Rows of A are a layer's input read in place: `depth` floats from every step-th row, which of a convolution
 * without padding overlap. B is the same panels the direct form reads; its sums are made as they are needed,
 * in a buffer that stays in L2, and serve all rows of a block.
 *
 *   block    Rows that are halved together; a task takes a block and some pairs of panels.
 *   piece    At most PIECE lines of the depth's first half and as many of its second; the seven sums go on
 *            from piece to piece.
 *   left     A block's seven left factors, [piece][7][half][pitch]: made once for all columns. Where all blocks'
 *            are small they are a stage of their own and shared by all tasks, else each task makes its block's.
 *
 * The upper half is the even rows, the lower one the odd rows: neighbours carry about the same level, and so a
 * quiet frame does not take the rounding of a loud one. Blocks change no bit.
 *
 * Rounding: half a digit (docs/SPEED.md). Included once, by conv.c. */
#ifndef NN_CPU_STRASSEN_H
#define NN_CPU_STRASSEN_H

#include "conv_pack.h"
#include "steps.h"
#include "tile.h"

enum {
    STRASSEN_PRODUCTS = 7,
    STRASSEN_PIECE = 384,       /* lines: a panel's worth of them is 48 KB where a vector is 64 bytes */
    STRASSEN_ROWS = 18 * NN_MR, /* of a block, at most: the more, the less the columns' sums cost */
    STRASSEN_LEAST = 4 * NN_MR, /* rows for which it is worth it */
    STRASSEN_LEAST_WIDTH = 512, /* depth and columns likewise */
    STRASSEN_SHARED = 8 << 20,  /* bytes of left factors that may be shared */
    STRASSEN_SLICES = 8,        /* tasks that make those of one block */
};
enum { STRASSEN_HALF, STRASSEN_PARTS, STRASSEN_PIECES, STRASSEN_LINES, STRASSEN_PITCH };

/* One line of weights per float of a row, panels in pairs, and enough of all of them. */
static bool strassen_suits(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    const int depth = p->kernel_w * n->in[0]->shape.c;
    return p->kernel_h == 1 && !p->pad_w && !p->transposed && p->groups == 1 &&
           p->pre.kind == NN_STEP_COUNT && (p->dilation == 1 || p->kernel_w == 1) &&
           depth % (2 * NN_VW) == 0 && depth >= STRASSEN_LEAST_WIDTH && n->shape.c % (2 * NN_NR) == 0 &&
           n->shape.c >= STRASSEN_LEAST_WIDTH && nn_rows(n->shape) >= STRASSEN_LEAST;
}

/* Cuts `rows` into blocks of at most `most`, whose left factors are `planes` of `lines` each, and says who does what:
 * every thread the same number of blocks, or where they are few, of pairs. Returns half a block. */
static int strassen_split(nn_call *c, int rows, int most, int planes, int lines) {
    const int pairs = c->node->shape.c / (2 * NN_NR), enough = 2 * c->threads;
    const int pitch =
        (lines / NN_VW | 1) * NN_VW; /* rows an odd number of vectors apart fall into different sets */
    const size_t row = (size_t)(planes * STRASSEN_PRODUCTS) * (size_t)pitch * sizeof(float);
    const bool shared = row * (size_t)(nn_parts(rows, 2)) <= STRASSEN_SHARED;
    int blocks = nn_parts(rows, most);
    if (shared)
        blocks = nn_most(blocks, nn_least(nn_parts(enough, pairs), rows / (4 * NN_MR)));
    else if (blocks >= c->threads && blocks < 4 * c->threads)
        blocks = nn_round_up(blocks, c->threads);
    const int half = nn_parts(nn_parts(rows, blocks), 2);
    const size_t left = row * (size_t)half;
    c->plan[STRASSEN_HALF] = half;
    c->plan[STRASSEN_PARTS] = shared                 ? pairs
                              : blocks >= c->threads ? 1
                                                     : nn_least(pairs, nn_parts(enough, blocks));
    c->plan[STRASSEN_LINES] = lines;
    c->plan[STRASSEN_PITCH] = pitch;
    c->stages = shared ? 2 : 1;
    c->tasks[0] = blocks * STRASSEN_SLICES;
    c->tasks[c->stages - 1] = blocks * (int)c->plan[STRASSEN_PARTS];
    c->shared_bytes = shared ? left * (size_t)blocks : 0;
    c->scratch_bytes = shared ? 0 : left;
    return half;
}

static void strassen_setup(nn_call *c) {
    const nn_node *n = c->node;
    const int depth = n->u.conv.kernel_w * n->in[0]->shape.c / 2, pieces = nn_parts(depth, STRASSEN_PIECE);
    const int lines = nn_round_up(nn_parts(depth, pieces), NN_VW);
    const int half = strassen_split(c, (int)nn_rows(n->shape), STRASSEN_ROWS, pieces, lines);
    c->plan[STRASSEN_PIECES] = pieces;
    c->scratch_bytes += (size_t)(STRASSEN_PRODUCTS * half + lines + 4 * NN_MR) * NN_NR * sizeof(float);
}

/* The seven left factors of one vector of each quarter, `plane` floats apart. */
NN_TILE_INLINE void strassen_factors(nn_v a11, nn_v a12, nn_v a21, nn_v a22, float *to, ptrdiff_t plane) {
    const nn_v s1 = a21 + a22, s2 = s1 - a11;
    const nn_v factor[STRASSEN_PRODUCTS] = {a11, a12, a12 - s2, s1, s2, a22, a11 - a21};
#pragma GCC unroll 8
    for (int i = 0; i < STRASSEN_PRODUCTS; i++) nn_store(to + i * plane, factor[i]);
}

/* Rows from .. to-1 of the upper half, and the lower half's beside them, become left factors. */
static void strassen_left(const nn_call *c, int block, int from, int to, float *left) {
    const nn_node *n = c->node;
    const int half = (int)c->plan[STRASSEN_HALF], rows = (int)nn_rows(n->shape), first = 2 * half * block;
    const int pitch = (int)c->plan[STRASSEN_PITCH], lines = (int)c->plan[STRASSEN_LINES];
    const int depth = n->u.conv.kernel_w * n->in[0]->shape.c / 2;
    const ptrdiff_t step = (ptrdiff_t)n->u.conv.stride * n->in[0]->shape.c, plane = (ptrdiff_t)half * pitch;
    for (int r = from; r < to; r++) {
        const bool upper = first + 2 * r < rows, lower = first + 2 * r + 1 < rows;
        const float *x = c->in[0] + (first + 2 * r) * step, *y = x + step;
        for (int k = 0; k < depth; k += NN_VW) {
            const nn_v zero = {0};
            const nn_v a11 = upper ? nn_load(x + k) : zero, a12 = upper ? nn_load(x + depth + k) : zero;
            const nn_v a21 = lower ? nn_load(y + k) : zero, a22 = lower ? nn_load(y + depth + k) : zero;
            strassen_factors(a11, a12, a21, a22,
                             left + k / lines * STRASSEN_PRODUCTS * plane + (ptrdiff_t)r * pitch + k % lines,
                             plane);
        }
    }
}

/* Where a piece's lines of a pair of panels are. */
typedef struct strassen_panels {
    const float *b11, *b21, *b22, *b12;
} strassen_panels;

static strassen_panels strassen_at(const nn_call *c, const nn_conv_phase *phase, int pair, int from) {
    const nn_conv_pack *k = c->node->blob[0];
    const ptrdiff_t first = (ptrdiff_t)(1 + from) * NN_NR;
    const ptrdiff_t below = (ptrdiff_t)(c->node->u.conv.kernel_w * c->node->in[0]->shape.c / 2) * NN_NR;
    const float *b1 = nn_conv_panel(k, phase, 0, pair) + first,
                *b2 = nn_conv_panel(k, phase, 0, pair + k->panels / 2) + first;
    return (strassen_panels){b1, b1 + below, b2 + below, b2};
}

/* The seven products of a piece onto sum [7][half][NN_NR], or fresh into it, in the order of strassen_left's
 * factors: M1, M2, M3, M5, M6, M4, M7. The first tile of a product makes the difference of panels that it needs,
 * in t, for the others. */
static void strassen_piece(const nn_call *c, const float *left, strassen_panels b, int lines, bool fresh,
                           float *t, float *sum) {
    static const ptrdiff_t start[1] = {0};
    const int half = (int)c->plan[STRASSEN_HALF], tiles = nn_parts(half, NN_MR);
    const float *const factor[STRASSEN_PRODUCTS][2] = {{b.b11},    {b.b21},    {b.b22},       {b.b12, b.b11},
                                                       {b.b22, t}, {b.b21, t}, {b.b22, b.b12}};
    nn_rows_of a = {.row = c->plan[STRASSEN_PITCH], .segment = start, .segments = 1, .length = lines};
    for (int i = 0; i < STRASSEN_PRODUCTS; i++, left += half * a.row, sum += half * NN_NR) {
        nn_tile_panel p = {
            .w = factor[i][0], .minus = factor[i][1], .made = factor[i][1] ? t : NULL, .fresh = fresh};
        for (int tile = 0; tile < tiles; tile++) {
            const int from = half * tile / tiles, to = half * (tile + 1) / tiles;
            a.x = left + from * a.row;
            nn_tile_product_onto(a, p, sum + from * NN_NR, to - from);
            if (p.made) p.w = t, p.made = NULL;
        }
    }
}

/* `rows` rows of each quarter of C from the sums, y [4][..][NN_NR] `plane` floats apart: C11, C12, C21, C22.
 */
static void strassen_quarters(const float *sum, ptrdiff_t each, const float *bias1, const float *bias2,
                              int rows, float *y, ptrdiff_t plane) {
    for (int i = 0; i < rows * NN_NR; i += NN_VW) {
        const nn_v b1 = nn_load(bias1 + i % NN_NR), b2 = nn_load(bias2 + i % NN_NR), m1 = nn_load(sum + i);
        const nn_v m5 = nn_load(sum + 3 * each + i), u2 = m1 + nn_load(sum + 4 * each + i),
                   u3 = u2 + nn_load(sum + 6 * each + i);
        nn_store(y + i, m1 + nn_load(sum + each + i) + b1);
        nn_store(y + plane + i, u2 + m5 + nn_load(sum + 2 * each + i) + b2);
        nn_store(y + 2 * plane + i, u3 + nn_load(sum + 5 * each + i) + b1);
        nn_store(y + 3 * plane + i, u3 + m5 + b2);
    }
}

static void strassen_store(const nn_call *c, int block, int pair, const float *sum, const float *bias1,
                           const float *bias2, float *y) {
    const int half = (int)c->plan[STRASSEN_HALF], left = (int)nn_rows(c->node->shape) - 2 * half * block;
    for (int from = 0; from < half; from += NN_MR) {
        strassen_quarters(sum + from * NN_NR, (ptrdiff_t)half * NN_NR, bias1, bias2,
                          nn_least(NN_MR, half - from), y, NN_MR * NN_NR);
        for (int q = 0; q < 4; q++) {
            const int first = 2 * from + q / 2, channel = pair * NN_NR + q % 2 * (c->node->shape.c / 2);
            const int rows = nn_least(nn_least(NN_MR, half - from), nn_parts(left - first, 2));
            float *tile = y + q * NN_MR * NN_NR;
            ptrdiff_t row[NN_MR];
            for (int r = 0; r < rows; r++) row[r] = (ptrdiff_t)2 * half * block + first + 2 * r;
            nn_steps_apply(c, tile, NN_NR, row, rows, channel, NN_NR);
            nn_tile_store(c, tile, NN_NR, row, rows, channel, NN_NR);
        }
    }
}

static void strassen_run(const nn_call *c, int stage, int task, void *scratch) {
    const nn_conv_pack *k = c->node->blob[0];
    const nn_conv_phase *phase = nn_conv_phase_at(k, 0);
    const int half = (int)c->plan[STRASSEN_HALF], parts = (int)c->plan[STRASSEN_PARTS], pairs = k->panels / 2;
    const int lines = (int)c->plan[STRASSEN_LINES],
              depth = c->node->u.conv.kernel_w * c->node->in[0]->shape.c / 2;
    const ptrdiff_t block_floats =
        c->plan[STRASSEN_PIECES] * STRASSEN_PRODUCTS * half * c->plan[STRASSEN_PITCH];
    if (stage + 1 < c->stages) {
        const int block = task / STRASSEN_SLICES, slice = task % STRASSEN_SLICES;
        strassen_left(c, block, half * slice / STRASSEN_SLICES, half * (slice + 1) / STRASSEN_SLICES,
                      (float *)c->shared + block * block_floats);
        return;
    }
    const int block = task / parts, part = task % parts;
    float *sum = scratch, *t = sum + STRASSEN_PRODUCTS * half * NN_NR, *y = t + lines * NN_NR;
    float *left = y + 4 * NN_MR * NN_NR;
    if (c->stages == 2)
        left = (float *)c->shared + block * block_floats;
    else
        strassen_left(c, block, 0, half, left);
    for (int pair = pairs * part / parts; pair < pairs * (part + 1) / parts; pair++) {
        const float *piece = left;
        for (int from = 0; from < depth;
             from += lines, piece += STRASSEN_PRODUCTS * half * c->plan[STRASSEN_PITCH])
            strassen_piece(c, piece, strassen_at(c, phase, pair, from), nn_least(lines, depth - from),
                           from == 0, t, sum);
        strassen_store(c, block, pair, sum, nn_conv_panel(k, phase, 0, pair),
                       nn_conv_panel(k, phase, 0, pair + pairs), y);
    }
}

#endif
