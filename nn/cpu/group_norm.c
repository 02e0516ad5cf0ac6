/* group_norm.c - over all rows and the channels of a group: y = (x - mean) / sqrt(var + 1e-5) * gamma + beta,
 * then the node's steps. With as many groups as channels this is HuBERT's instance norm over time.
 *
 * Stage 0 takes blocks of BLOCK rows, and of each channel its mean and M2 = sum (x - mean)^2 within the
 * block, while the block is in cache: x is read from memory once. Stage 1 combines blocks and channels in
 * double, in order: mean = sum n_b mean_b / n,   M2 = sum M2_b + n_b (mean_b - mean)^2        (Chan, Golub &
 * LeVeque 1983) Stage 2 applies the result. Blocks do not depend on the number of threads, so neither does
 * the sum's order. Wu & He 2018, arXiv:1803.08494. */
#include <math.h>
#include "pack.h"
#include "steps.h"

enum { BLOCK = 256, TILE_ROWS = 4 };

/* Channels that a task of stage 1 takes, about: a cache line of partial results. */
enum { COMBINE = 16 };

enum {
    EACH = 1,
    GROUPS = 2
}; /* plan[]: rows per task of stage 2 (nn_rows_split), groups per task of stage 1 */

static int rows_of(const nn_call *c) {
    return c->node->shape.h * c->node->shape.w;
}
static int blocks_of(const nn_call *c) {
    return nn_parts(rows_of(c), BLOCK);
}

/* Shared memory: double mean [blocks][channels], double M2 [blocks][channels]; of each channel's group, float
 * mean [channels], and float scale [channels], gamma / sqrt(var + 1e-5). */
static double *means_of(const nn_call *c) {
    return c->shared;
}
static double *squares_of(const nn_call *c) {
    return means_of(c) + (size_t)blocks_of(c) * (size_t)c->node->shape.c;
}
static float *combined_of(const nn_call *c) {
    return (float *)(squares_of(c) + (size_t)blocks_of(c) * (size_t)c->node->shape.c);
}

void NN_KERNEL(group_norm, setup)(nn_call *c) {
    const int channels = c->node->shape.c, groups = c->node->u.group_norm.groups;
    nn_rows_split(c, rows_of(c), channels);
    c->plan[GROUPS] = nn_most(1, COMBINE / (channels / groups));
    c->stages = 3;
    c->tasks[2] = c->tasks[0];
    c->tasks[0] = blocks_of(c);
    c->tasks[1] = nn_parts(groups, (int)c->plan[GROUPS]);
    c->scratch_bytes = (size_t)TILE_ROWS * (size_t)nn_round_up(channels, NN_VW) * sizeof(float);
    c->shared_bytes = (size_t)channels * (2 * (size_t)blocks_of(c) * sizeof(double) + 2 * sizeof(float));
}

/* One vector of channels, `lanes` of them real. The float mean is off by its rounding; the sum of differences
 * from it says by how much, and both results are corrected for it. */
static void block_statistics(const float *x, ptrdiff_t pitch, int rows, int lanes, double *mean,
                             double *squares) {
    nn_v sum = {0}, off = {0}, m2 = {0};
    for (int r = 0; r < rows; r++) sum += nn_load_most(x + r * pitch, lanes);
    const nn_v centre = sum / (float)rows;
    for (int r = 0; r < rows; r++) {
        const nn_v v = nn_load_most(x + r * pitch, lanes) - centre;
        off += v;
        m2 += v * v;
    }
    for (int i = 0; i < nn_least(lanes, NN_VW); i++) {
        const double d = (double)off[i] / rows;
        mean[i] = (double)centre[i] + d;
        squares[i] = (double)m2[i] - d * d * rows;
    }
}

static void run_block(const nn_call *c, int block) {
    const int channels = c->node->shape.c, rows = nn_least(BLOCK, rows_of(c) - block * BLOCK);
    const size_t at = (size_t)block * (size_t)channels;
    const float *x = c->in[0] + at * BLOCK;
    for (int j = 0; j < channels; j += NN_VW)
        block_statistics(x + j, channels, rows, channels - j, means_of(c) + at + j, squares_of(c) + at + j);
}

static void combine_group(const nn_call *c, int group) {
    const int channels = c->node->shape.c, width = channels / c->node->u.group_norm.groups;
    const int blocks = blocks_of(c), rows = rows_of(c), from = group * width;
    const double n = (double)rows * width;
    const float *gamma = c->node->blob[0];
    float *centre = combined_of(c), *scale = centre + channels;
    double mean = 0, m2 = 0;
    for (int b = 0; b < blocks; b++)
        for (int j = from; j < from + width; j++)
            mean +=
                means_of(c)[(size_t)b * (size_t)channels + (size_t)j] * nn_least(BLOCK, rows - b * BLOCK) / n;
    for (int b = 0; b < blocks; b++)
        for (int j = from; j < from + width; j++) {
            const size_t i = (size_t)b * (size_t)channels + (size_t)j;
            const double d = means_of(c)[i] - mean;
            m2 += squares_of(c)[i] + d * d * nn_least(BLOCK, rows - b * BLOCK);
        }
    const double inverse = 1.0 / sqrt(m2 / n + 1e-5);
    for (int j = from; j < from + width; j++) {
        centre[j] = (float)mean;
        scale[j] = (float)(gamma[j] * inverse);
    }
}

static void apply(const nn_call *c, int task, float *tile) {
    const int channels = c->node->shape.c, stride = nn_round_up(channels, NN_VW), to = nn_rows_to(c, task);
    const float *centre = combined_of(c), *scale = centre + channels,
                *beta = (const float *)c->node->blob[0] + channels;
    for (int row0 = nn_rows_from(c, task); row0 < to; row0 += TILE_ROWS) {
        const int rows = nn_least(TILE_ROWS, to - row0);
        ptrdiff_t row[TILE_ROWS];
        for (int r = 0; r < rows; r++) {
            row[r] = row0 + r;
            const float *x = c->in[0] + row[r] * channels;
            for (int j = 0; j < channels; j += NN_VW) {
                const int n = channels - j;
                const nn_v v = nn_load_most(x + j, n) - nn_load_most(centre + j, n);
                nn_store(tile + r * stride + j, v * nn_load_most(scale + j, n) + nn_load_most(beta + j, n));
            }
        }
        nn_steps_apply(c, tile, stride, row, rows, 0, channels);
        nn_tile_store(c, tile, stride, row, rows, 0, channels);
    }
}

void NN_KERNEL(group_norm, run)(const nn_call *c, int stage, int task, void *scratch) {
    const int groups = c->node->u.group_norm.groups, each = (int)c->plan[GROUPS];
    if (stage == 0)
        run_block(c, task);
    else if (stage == 1)
        for (int g = task * each; g < nn_least(groups, (task + 1) * each); g++) combine_group(c, g);
    else
        apply(c, task, scratch);
}

static nn_code make(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                    nn_error *e) {
    static const char *const suffix[2] = {".weight", ".bias"};
    return nn_pack_pair(out, bytes, w, stem, suffix, n->shape.c, n->shape.c, e);
}

nn_code NN_KERNEL(group_norm, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    nn_code code = nn_pack_once(n, w, n->name, "group_norm", make, e);
    return code ? code : NN_KERNEL(map, pack)(n, w, e);
}
