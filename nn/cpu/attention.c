/* attention.c - multi-head attention over frames, with the relative positions of Shaw et al. 2018
 * (arXiv:1803.02155): out_i = sum_j p_ij (v_j + v_rel[j-i]),   p_i = softmax_j(q_i (k_j + k_rel[j-i]) /
 * sqrt(d)), where k_rel and v_rel are 0 outside |j-i| <= window.
 *
 * Stage 0 lays out each head's K transposed and V as panels (product.h). Stage 1 takes some tiles of NN_MR
 * query rows of one head: scores [rows][T], softmax, product with V. The T x T scores never exist as a whole.
 * The relative terms are two more products with the 2 window + 1 relative keys and values, added to the
 * scores' band and taken from it.
 *
 * A row's arithmetic is the same whatever the number of tiles in a task, which may therefore suit the
 * threads. */
#include <math.h>
#include "pack.h"
#include "math.h"
#include "product.h"
#include "rows.h"

enum {
    MOST_TILES = 8,           /* of a task of stage 1 */
    SCORES_BYTES = 256 << 10, /* of its scores: they must stay in L2 */
    PACK_PANELS = 8,          /* of a task of stage 0 */
    DEPTH = 8 * NN_NR,        /* rows of V taken at a time, so that they stay in L1 for all tiles */
};

typedef struct attention {
    int frames, size, heads, window; /* T, d; window is -1 without relative positions */
    int key_panels, value_panels, band_panels;
    int tiles; /* of a task */
} attention;

enum { TILES }; /* plan[] */

static attention shape_of(const nn_call *c) {
    const nn_node *n = c->node;
    attention a = {
        .frames = n->shape.w, .heads = n->u.attention.heads, .window = -1, .tiles = (int)c->plan[TILES]};
    a.size = n->shape.c / a.heads;
    if (n->u.attention.relative) a.window = n->u.attention.window;
    a.key_panels = nn_panels(a.frames);
    a.value_panels = nn_panels(a.size);
    a.band_panels = nn_panels(2 * a.window + 1);
    return a;
}

/* Shared memory, per head: K [key_panels][size][NN_NR], then V [value_panels][frames][NN_NR]. */
static size_t head_floats(const attention *a) {
    return (size_t)NN_NR *
           ((size_t)a->key_panels * (size_t)a->size + (size_t)a->value_panels * (size_t)a->frames);
}
static float *keys_of(const nn_call *c, const attention *a, int head) {
    return (float *)c->shared + (size_t)head * head_floats(a);
}
static float *values_of(const nn_call *c, const attention *a, int head) {
    return keys_of(c, a, head) + (size_t)a->key_panels * (size_t)a->size * NN_NR;
}

/* Tiles a task takes: few enough for L2, and to give every thread some tasks. */
static int tiles_per_task(const attention *a, int threads) {
    const int all = nn_parts(a->frames, NN_MR);
    int tiles = MOST_TILES;
    while (tiles > 1 && ((size_t)tiles * (size_t)a->key_panels * NN_TILE * sizeof(float) > SCORES_BYTES ||
                         nn_parts(all, tiles) * a->heads < 4 * threads))
        tiles /= 2;
    return tiles;
}

void NN_KERNEL(attention, setup)(nn_call *c) {
    attention a = shape_of(c);
    a.tiles = tiles_per_task(&a, c->threads);
    c->plan[TILES] = a.tiles;
    c->stages = 2;
    c->tasks[0] = a.heads * nn_parts(a.key_panels, PACK_PANELS);
    c->tasks[1] = a.heads * nn_parts(nn_parts(a.frames, NN_MR), a.tiles);
    c->shared_bytes = (size_t)a.heads * head_floats(&a) * sizeof(float);
    const int blocks = a.tiles * (2 * a.value_panels + a.key_panels) + a.band_panels;
    c->scratch_bytes = (size_t)blocks * NN_TILE * sizeof(float);
}

/* ---- stage 0 ---- */

static void pack_frames(const nn_call *c, const attention *a, int head, int panel) {
    const int channels = c->node->shape.c, from = panel * NN_NR, count = nn_least(NN_NR, a->frames - from);
    const float *k = c->in[1] + (ptrdiff_t)from * channels + head * a->size;
    const float *v = c->in[2] + (ptrdiff_t)from * channels + head * a->size;
    float *keys = keys_of(c, a, head) + (ptrdiff_t)panel * a->size * NN_NR;
    for (int j = 0; j < a->size; j++)
        for (int i = 0; i < NN_NR; i++)
            keys[j * NN_NR + i] = i < count ? k[(ptrdiff_t)i * channels + j] : 0.0f;
    for (int p = 0; p < a->value_panels; p++) {
        float *values = values_of(c, a, head) + ((ptrdiff_t)p * a->frames + from) * NN_NR;
        const int columns = nn_least(NN_NR, a->size - p * NN_NR);
        for (int i = 0; i < count; i++)
            for (int j = 0; j < NN_NR; j++)
                values[i * NN_NR + j] = j < columns ? v[(ptrdiff_t)i * channels + p * NN_NR + j] : 0.0f;
    }
}

/* ---- stage 1 ---- */

/* Where (row, column) stands in a row of blocks (product.h). */
static ptrdiff_t block_at(int row, int column) {
    return (ptrdiff_t)(column / NN_NR) * NN_TILE + row * NN_NR + column % NN_NR;
}

static void add_relative_keys(const nn_call *c, const attention *a, const float *q, float *scores,
                              float *band, int row0) {
    const float *keys = c->node->blob[0];
    for (int p = 0; p < a->band_panels; p++)
        nn_product(q, keys + (ptrdiff_t)p * a->size * NN_NR, a->size, band + p * NN_TILE, 0);
    for (int r = 0; r < nn_least(NN_MR, a->frames - row0); r++) {
        const int i = row0 + r, last = nn_least(a->frames - 1, i + a->window);
        for (int j = nn_most(0, i - a->window); j <= last; j++)
            scores[block_at(r, j)] += band[block_at(r, j - i + a->window)];
    }
}

static void add_relative_values(const nn_call *c, const attention *a, const float *scores, float *out,
                                float *band, int row0) {
    const int width = 2 * a->window + 1;
    const float *values = c->node->blob[1];
    memset(band, 0, (size_t)a->band_panels * NN_TILE * sizeof(float));
    for (int r = 0; r < nn_least(NN_MR, a->frames - row0); r++) {
        const int i = row0 + r, last = nn_least(a->frames - 1, i + a->window);
        for (int j = nn_most(0, i - a->window); j <= last; j++)
            band[block_at(r, j - i + a->window)] = scores[block_at(r, j)];
    }
    for (int p = 0; p < a->value_panels; p++)
        nn_product(band, values + (ptrdiff_t)p * width * NN_NR, width, out + p * NN_TILE, 1);
}

/* Scores become e^(score - greatest), 0 beyond the last frame; returns 1 / their sum. */
static float soften(const attention *a, float *row) {
    for (int j = a->frames; j < a->key_panels * NN_NR; j++) row[block_at(0, j)] = -INFINITY;
    nn_v m0 = nn_load(row), m1 = nn_load(row + NN_VW), s0 = {0}, s1 = {0};
    for (int p = 1; p < a->key_panels; p++) {
        m0 = nn_max(m0, nn_load(row + p * NN_TILE));
        m1 = nn_max(m1, nn_load(row + p * NN_TILE + NN_VW));
    }
    const float greatest = nn_peak(nn_max(m0, m1));
    for (int p = 0; p < a->key_panels; p++) {
        float *at = row + p * NN_TILE;
        const nn_v e0 = nn_vexp(nn_load(at) - greatest), e1 = nn_vexp(nn_load(at + NN_VW) - greatest);
        nn_store(at, e0);
        nn_store(at + NN_VW, e1);
        s0 += e0;
        s1 += e1;
    }
    return 1.0f / nn_sum(s0 + s1);
}

/* out [value_panels] blocks, times each row's factor, to the output. */
static void store_tile(const nn_call *c, const attention *a, const float *out, const float *factor, int head,
                       int row0) {
    for (int r = 0; r < nn_least(NN_MR, a->frames - row0); r++) {
        float *to = c->out + (ptrdiff_t)(row0 + r) * c->node->shape.c + head * a->size;
        for (int j = 0; j < a->size; j += NN_VW)
            nn_store_most(to + j, nn_load(out + block_at(r, j)) * factor[r], a->size - j);
    }
}

static void attend(const nn_call *c, const attention *a, int head, int tile0, float *scratch) {
    const int tiles = nn_least(a->tiles, nn_parts(a->frames, NN_MR) - tile0);
    const ptrdiff_t wide = (ptrdiff_t)a->key_panels * NN_TILE, narrow = (ptrdiff_t)a->value_panels * NN_TILE;
    float *q = scratch, *out = q + a->tiles * narrow, *scores = out + a->tiles * narrow,
          *band = scores + a->tiles * wide;
    const float *keys = keys_of(c, a, head), *values = values_of(c, a, head);
    const float scale = (float)(1.0 / sqrt(a->size));

    for (int t = 0; t < tiles; t++) {
        const int row0 = (tile0 + t) * NN_MR;
        const float *from = c->in[0] + (ptrdiff_t)row0 * c->node->shape.c + head * a->size;
        nn_product_rows(q + t * narrow, from, c->node->shape.c, a->frames - row0, a->size, scale);
    }
    for (int p = 0; p < a->key_panels; p++)
        for (int t = 0; t < tiles; t++)
            nn_product(q + t * narrow, keys + (ptrdiff_t)p * a->size * NN_NR, a->size,
                       scores + t * wide + p * NN_TILE, 0);
    float factor[MOST_TILES][NN_MR];
    for (int t = 0; t < tiles; t++) {
        if (a->window >= 0)
            add_relative_keys(c, a, q + t * narrow, scores + t * wide, band, (tile0 + t) * NN_MR);
        for (int r = 0; r < NN_MR; r++) factor[t][r] = soften(a, scores + t * wide + r * NN_NR);
    }
    for (int p = 0; p < a->value_panels; p++)
        for (int j = 0; j < a->frames; j += DEPTH)
            for (int t = 0; t < tiles; t++)
                nn_product(scores + t * wide + block_at(0, j),
                           values + ((ptrdiff_t)p * a->frames + j) * NN_NR, nn_least(DEPTH, a->frames - j),
                           out + t * narrow + p * NN_TILE, j > 0);
    for (int t = 0; t < tiles; t++) {
        const int row0 = (tile0 + t) * NN_MR;
        if (a->window >= 0) add_relative_values(c, a, scores + t * wide, out + t * narrow, band, row0);
        store_tile(c, a, out + t * narrow, factor[t], head, row0);
    }
}

void NN_KERNEL(attention, run)(const nn_call *c, int stage, int task, void *scratch) {
    const attention a = shape_of(c);
    const int head = task % a.heads, part = task / a.heads;
    if (stage == 0)
        for (int p = part * PACK_PANELS; p < nn_least(a.key_panels, (part + 1) * PACK_PANELS); p++)
            pack_frames(c, &a, head, p);
    else
        attend(c, &a, head, part * a.tiles, scratch);
}

/* ---- weights ---- */

/* emb_rel_k [1][2 window + 1][d], transposed, in panels [..][d][NN_NR]. */
static nn_code make_keys(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                         nn_error *e) {
    const int size = n->shape.c / n->u.attention.heads, width = 2 * n->u.attention.window + 1;
    float *from = NULL;
    nn_code code = nn_pack_load(&from, w, stem, ".emb_rel_k", 3, (int64_t[]){1, width, size}, e);
    if (!code && !(*out = nn_pack_new((size_t)nn_panels(width) * (size_t)size * NN_NR, bytes)))
        code = nn_fail_memory(e, stem);
    for (int i = 0; i < width && !code; i++)
        for (int j = 0; j < size; j++)
            (*out)[(i / NN_NR * size + j) * NN_NR + i % NN_NR] = from[i * size + j];
    free(from);
    return code;
}

/* emb_rel_v [1][2 window + 1][d] in panels [..][2 window + 1][NN_NR]. */
static nn_code make_values(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                           nn_error *e) {
    const int size = n->shape.c / n->u.attention.heads, width = 2 * n->u.attention.window + 1;
    float *from = NULL;
    nn_code code = nn_pack_load(&from, w, stem, ".emb_rel_v", 3, (int64_t[]){1, width, size}, e);
    if (!code && !(*out = nn_pack_new((size_t)nn_panels(size) * (size_t)width * NN_NR, bytes)))
        code = nn_fail_memory(e, stem);
    for (int i = 0; i < width && !code; i++)
        for (int j = 0; j < size; j++)
            (*out)[(j / NN_NR * width + i) * NN_NR + j % NN_NR] = from[i * size + j];
    free(from);
    return code;
}

nn_code NN_KERNEL(attention, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    if (!n->u.attention.relative) return NN_OK;
    nn_code code = nn_pack_once(n, w, n->name, NN_PACK_KIND("rel_k"), make_keys, e);
    return code ? code : nn_pack_once(n, w, n->name, NN_PACK_KIND("rel_v"), make_values, e);
}
