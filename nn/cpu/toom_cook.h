/* toom_cook.h - convolutions of stride 1 with about half the multiplications: Toom-Cook F(4, r) along w.
 *
 *   y = A [ sum over pieces and input channels of (G g) * (B d) ]          (Toom 1963, Cook 1966; Winograd 1980)
 *
 * A tile is 4 outputs, d apart where the dilation is d. 3 taps take 6 products per tile (points 0, +-5/8, +-3/2, inf)
 * instead of 12; more taps are cut into pieces of 4 with 7 products each (0, +-1, +-2, 1/2, inf). Because a piece is as
 * long as a tile, the transform of piece i at tile t is that of piece 0 at tile t+i: the input is transformed once, and
 * at every point the sum over pieces and channels is a convolution again, over tiles: the shifted-rows product of
 * tile.h. Image rows (2-D kernels) are its segments.
 *
 *   run      Tiles that follow one another: of a dilated signal one run for each of the d interleaved phases, of an
 *            image one run over all tiles of its rows.
 *   block    What one task takes: `tiles` tiles of every run of a signal, or `tiles` rows of an image.
 *
 * Rounding: points and scaling were chosen by measurement (docs/SPEED.md); one convolution is within 124 dB where the
 * direct form is within 133 dB. Included once, by conv.c. */
#ifndef NN_CPU_TOOM_COOK_H
#define NN_CPU_TOOM_COOK_H

#include "steps.h"
#include "tile.h"
#include "toom_pack.h"

enum { TOOM_BYTES = 448 * 1024 };        /* transformed input of a block: stays in L2 beside a panel's weights */
enum { TOOM_BLOCK, TOOM_BLOCKS, TOOM_PARTS, TOOM_ROW_TILES, TOOM_RUN_ROWS, TOOM_RUNS };

/* ---- the transforms of one vector of channels ----
 *
 * Points +p and -p share their even and odd parts, so each pair costs little more than one of them. */

/* u = B x for 3 taps: rows 0 and inf, then the pairs +-5/8 and +-3/2. */
NN_TILE_INLINE void toom_b3(const nn_v *x, nn_v *u) {
    const nn_v even1 = x[4] * 0.25f - x[2] * 0.5625f, odd1 = x[3] * 0.15625f - x[1] * 0.3515625f;
    const nn_v even2 = x[4] * 0.5f - x[2] * 0.1953125f, odd2 = x[3] * 0.75f - x[1] * 0.29296875f;
    u[0] = x[0] * 0.2197265625f - x[2] * 0.66015625f + x[4] * 0.25f;
    u[1] = even1 + odd1;
    u[2] = even1 - odd1;
    u[3] = even2 + odd2;
    u[4] = even2 - odd2;
    u[5] = x[1] * 0.2197265625f - x[3] * 0.66015625f + x[5] * 0.25f;
}
NN_TILE_INLINE void toom_a3(const nn_v *x, nn_v *y) {
    const nn_v even1 = x[1] + x[2], odd1 = x[1] - x[2], even2 = x[3] + x[4], odd2 = x[3] - x[4];
    y[0] = x[0] + even1 + even2;
    y[1] = odd1 * 0.625f + odd2 * 1.5f;
    y[2] = even1 * 0.390625f + even2 * 2.25f;
    y[3] = x[5] + odd1 * 0.244140625f + odd2 * 3.375f;
}

/* The same for pieces of 4 taps: rows 0, the pairs +-1 and +-2 (which 1/2 keeps from being symmetric), 1/2 and inf. */
NN_TILE_INLINE void toom_b4(const nn_v *x, nn_v *u) {
    u[0] = x[1] * 0.5f - x[0] * 0.25f + x[2] * 0.3125f - x[3] * 0.625f - x[4] * 0.0625f + x[5] * 0.125f;
    u[1] = x[1] * 0.5f - x[2] * 0.5f - x[3] * 1.125f + x[4] * 0.125f + x[5] * 0.25f;
    u[2] = x[2] * 0.75f - x[1] * 0.25f - x[3] * 0.4375f - x[4] * 0.1875f + x[5] * 0.125f;
    u[3] = x[1] * 0.25f - x[2] * 0.375f - x[3] * 0.5f + x[4] * 0.375f + x[5] * 0.25f;
    u[4] = x[2] * 0.625f - x[1] * 0.25f - x[4] * 0.625f + x[5] * 0.25f;
    u[5] = x[1] * 0.5f - x[3] * 0.625f + x[5] * 0.125f;
    u[6] = x[2] * 0.5f - x[1] * 0.25f + x[3] * 0.3125f - x[4] * 0.625f - x[5] * 0.0625f + x[6] * 0.125f;
}
NN_TILE_INLINE void toom_a4(const nn_v *x, nn_v *y) {
    const nn_v even1 = x[1] + x[2], odd1 = x[1] - x[2], even2 = x[3] + x[4], odd2 = x[3] - x[4];
    y[0] = x[0] + even1 + even2 + x[5];
    y[1] = odd1 + odd2 * 2.0f + x[5] * 0.5f;
    y[2] = even1 + even2 * 4.0f + x[5] * 0.25f;
    y[3] = odd1 + odd2 * 8.0f + x[5] * 0.125f + x[6];
}

/* Input rows row[0..points-1] (channels at from) -> transformed rows, `plane` floats apart. */
NN_TILE_INLINE void toom_in(const float *const *row, int channels, float slope, int points, float *to, ptrdiff_t plane) {
    for (int c = 0; c < channels; c += NN_VW) {
        nn_v x[NN_TOOM_POINTS], u[NN_TOOM_POINTS];
#pragma GCC unroll 8
        for (int j = 0; j < points; j++) {
            const nn_v v = nn_load(row[j] + c);
            x[j] = slope == 1 ? v : nn_max(v * slope, v);
        }
        if (points == 6)
            toom_b3(x, u);
        else
            toom_b4(x, u);
#pragma GCC unroll 8
        for (int j = 0; j < points; j++) nn_store(to + j * plane + c, u[j]);
    }
}
typedef void toom_input(const float *const *row, int channels, float slope, float *to, ptrdiff_t plane);
static void toom_in3(const float *const *row, int channels, float slope, float *to, ptrdiff_t plane) {
    (void)slope;
    toom_in(row, channels, 1, 6, to, plane);
}
static void toom_in3_leaky(const float *const *row, int channels, float slope, float *to, ptrdiff_t plane) {
    toom_in(row, channels, slope, 6, to, plane);
}
static void toom_in4(const float *const *row, int channels, float slope, float *to, ptrdiff_t plane) {
    (void)slope;
    toom_in(row, channels, 1, 7, to, plane);
}
static void toom_in4_leaky(const float *const *row, int channels, float slope, float *to, ptrdiff_t plane) {
    toom_in(row, channels, slope, 7, to, plane);
}

/* Products m [points][NN_MR][NN_NR] -> outputs y [4*rows][NN_NR] plus bias, for `vectors` vectors of columns. */
NN_TILE_INLINE void toom_out(const float *m, int rows, int vectors, int points, const float *bias, float *y) {
    for (int v = 0; v < vectors; v++) {
        const nn_v b = nn_load(bias + v * NN_VW);
        for (int r = 0; r < rows; r++) {
            nn_v x[NN_TOOM_POINTS], u[NN_TOOM_TILE];
#pragma GCC unroll 8
            for (int j = 0; j < points; j++) x[j] = nn_load(m + (j * NN_MR + r) * NN_NR + v * NN_VW);
            if (points == 6)
                toom_a3(x, u);
            else
                toom_a4(x, u);
#pragma GCC unroll 4
            for (int j = 0; j < NN_TOOM_TILE; j++) nn_store(y + (r * NN_TOOM_TILE + j) * NN_NR + v * NN_VW, u[j] + b);
        }
    }
}

/* ---- setup and run ---- */

static int toom_tiles(int w) { return (w + NN_TOOM_TILE - 1) / NN_TOOM_TILE; }

static void toom_setup(nn_call *c) {
    const nn_node *n = c->node;
    const nn_conv_params *p = &n->u.conv;
    const nn_toom_pack *k = n->blob[0];
    const int channels = n->in[0]->shape.c / p->groups, image = p->kernel_h > 1, row_tiles = toom_tiles(n->shape.w);
    const int runs = image ? 1 : p->dilation, unit = image ? row_tiles : runs;    /* tiles gained by one more of a block */
    const int all = image ? n->shape.h : toom_tiles((n->shape.w + p->dilation - 1) / p->dilation);
    int block = (int)(TOOM_BYTES / ((size_t)(k->points * channels * unit) * sizeof(float)));
    const int fair = all / (4 * c->threads) + 1;
    if (block > fair) block = fair;
    const int step = image && row_tiles > 1 ? NN_MR / 2 : NN_MR;                  /* whole register tiles */
    block = block < step ? step : block / step * step;
    const int blocks = (all + block - 1) / block;
    int parts = nn_least(nn_parts(2 * c->threads, blocks * p->groups), k->panels / p->groups);
    const int run_rows = image ? (block + p->kernel_h - 1) * row_tiles : block + k->pieces - 1;
    c->plan[TOOM_BLOCK] = block;
    c->plan[TOOM_BLOCKS] = blocks;
    c->plan[TOOM_PARTS] = parts;
    c->plan[TOOM_ROW_TILES] = row_tiles;
    c->plan[TOOM_RUN_ROWS] = run_rows;
    c->plan[TOOM_RUNS] = runs;
    c->stages = 1;
    c->tasks[0] = blocks * parts * p->groups;
    size_t plane = (size_t)(run_rows * runs) * (size_t)channels;
    c->scratch_bytes = (plane * (size_t)k->points + (size_t)channels + (size_t)(NN_MR * NN_NR * (k->points + NN_TOOM_TILE))) *
                       sizeof(float);
}

/* Where transformed row i of a run starts: image row *y and column *x. */
static void toom_place(const nn_call *c, int block, int run, int i, int *y, int *x) {
    const nn_conv_params *p = &c->node->u.conv;
    const int row_tiles = (int)c->plan[TOOM_ROW_TILES], from = block * (int)c->plan[TOOM_BLOCK];
    if (p->kernel_h > 1) {
        *y = from + i / row_tiles;
        *x = i % row_tiles * NN_TOOM_TILE;
    } else {
        *y = 0;
        *x = run + (from + i) * NN_TOOM_TILE * p->dilation;
    }
}

static void toom_transform_block(const nn_call *c, int block, int group, float *v, ptrdiff_t plane, float *zeros) {
    const nn_node *n = c->node;
    const nn_conv_params *p = &n->u.conv;
    const nn_toom_pack *k = n->blob[0];
    const nn_shape in = n->in[0]->shape;
    const float slope = p->pre.kind == NN_STEP_LEAKY_RELU ? p->pre.value : p->pre.kind == NN_STEP_RELU ? 0 : 1;
    toom_input *const transform = k->points == 6 ? (slope == 1 ? toom_in3 : toom_in3_leaky)
                                                 : (slope == 1 ? toom_in4 : toom_in4_leaky);
    const int channels = in.c / p->groups;
    memset(zeros, 0, (size_t)channels * sizeof *zeros);
    for (int run = 0; run < c->plan[TOOM_RUNS]; run++)
        for (int i = 0; i < c->plan[TOOM_RUN_ROWS]; i++, v += channels) {
            const float *row[NN_TOOM_POINTS];
            int y, x;
            toom_place(c, block, run, i, &y, &x);
            y -= p->pad_h;
            x -= p->pad_w;
            const bool row_inside = y >= 0 && y < in.h;
            const float *from = c->in[0] + ((ptrdiff_t)y * in.w + x) * in.c + group * channels;
            const ptrdiff_t step = (ptrdiff_t)p->dilation * in.c;
            for (int j = 0; j < k->points; j++, x += p->dilation, from += step)
                row[j] = row_inside && x >= 0 && x < in.w ? from : zeros;
            transform(row, channels, slope, v, plane);
        }
}

/* Output rows of tiles i .. i+rows-1 of a run: row [rows*4], -1 for what lies outside. */
static void toom_rows(const nn_call *c, int block, int run, int i, int rows, ptrdiff_t *row) {
    const nn_shape out = c->node->shape;
    const int step = c->node->u.conv.dilation;
    for (int r = 0; r < rows; r++) {
        int y, x;
        toom_place(c, block, run, i + r, &y, &x);
        for (int j = 0; j < NN_TOOM_TILE; j++, x += step)
            row[r * NN_TOOM_TILE + j] = y < out.h && x < out.w ? (ptrdiff_t)y * out.w + x : -1;
    }
}

static void toom_run(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage;
    const nn_node *n = c->node;
    const nn_conv_params *p = &n->u.conv;
    const nn_toom_pack *k = n->blob[0];
    const int parts = (int)c->plan[TOOM_PARTS], part = task % parts, block = task / parts % (int)c->plan[TOOM_BLOCKS];
    const int group = task / parts / (int)c->plan[TOOM_BLOCKS], channels = n->in[0]->shape.c / p->groups;
    const int run_rows = (int)c->plan[TOOM_RUN_ROWS], runs = (int)c->plan[TOOM_RUNS];
    const int row_tiles = (int)c->plan[TOOM_ROW_TILES], image = p->kernel_h > 1;
    const int left = image ? n->shape.h - block * (int)c->plan[TOOM_BLOCK]
                           : toom_tiles((n->shape.w + p->dilation - 1) / p->dilation) - block * (int)c->plan[TOOM_BLOCK];
    const int length = nn_least((int)c->plan[TOOM_BLOCK], left) * (image ? row_tiles : 1);
    const ptrdiff_t plane = (ptrdiff_t)run_rows * runs * channels;
    float *m = scratch, *y = m + NN_MR * NN_NR * k->points, *v = y + NN_MR * NN_NR * NN_TOOM_TILE, *zeros = v + plane * k->points;
    toom_transform_block(c, block, group, v, plane, zeros);

    ptrdiff_t segment[16];
    for (int s = 0; s < k->segments; s++) segment[s] = (ptrdiff_t)s * row_tiles * channels;
    nn_rows_of a = {.row = channels, .segment = segment, .segments = k->segments, .length = k->pieces * channels};
    const int vectors = k->columns / NN_VW;
    const size_t point_floats = k->panel_floats / (size_t)k->points;
    const int panels = k->panels / p->groups, out_channels = n->shape.c / p->groups, first = group * panels;
    for (int panel = first + panels * part / parts; panel < first + panels * (part + 1) / parts; panel++) {
        const int inner = (panel - first) * k->columns, channel = group * out_channels + inner;
        const int count = nn_least(k->columns, out_channels - inner);
        const float *bias = nn_toom_bias(k) + panel * k->columns;
        for (int run = 0; run < runs; run++)
            for (int i = 0; i < length; i += NN_MR) {
                const int rows = nn_least(NN_MR, length - i);
                for (int q = 0; q < k->points; q++) {
                    a.x = v + q * plane + (ptrdiff_t)(run * run_rows + i) * channels;
                    nn_tile_product(a, nn_toom_panel(k, panel, q, point_floats), m + q * NN_MR * NN_NR, NN_NR, rows, vectors, false);
                }
                ptrdiff_t row[NN_MR * NN_TOOM_TILE];
                if (k->points == 6)
                    toom_out(m, rows, vectors, 6, bias, y);
                else
                    toom_out(m, rows, vectors, 7, bias, y);
                toom_rows(c, block, run, i, rows, row);
                nn_steps_apply(c, y, NN_NR, row, rows * NN_TOOM_TILE, channel, count);
                nn_tile_store(c, y, NN_NR, row, rows * NN_TOOM_TILE, channel, count);
            }
    }
}

#endif
