/* conv.c - chooses how a convolution runs on the device: the shader, its tile, how often the sum is split.
 *
 *   plain    ordinary multiplications in float32; every form, every device
 *   matrix   cooperative matrices, of float16 or of pairs of float16 (conv_matrix.comp); input channels in eights
 *   few      few input channels and taps (conv_few.c)
 *   image    convolutions of images in pairs of float16 (conv_image.c)
 *
 * A tile is chosen by the time it should take, as measured: what one takes alone and what each further one
 * takes a unit, both with a part for every 16 factors of its sum. RVC_VULKAN_CONV=plain:3 forces path and
 * tile, for measuring. */
#include <stdio.h>
#include <string.h>

#include "conv_few.h"
#include "conv_image.h"
#include "conv_weights.h"

enum { FETCH_VECTOR, FETCH_SINGLE, FETCH_FLAT };
static const uint32_t TAPS_TABLE = 0, TAPS_SIGNAL = UINT32_MAX;
enum { LEAST_STEPS = 8, MOST_SPLITS = 8, FEW_ROWS = 16 }; /* of a part of a split sum; parts */

typedef struct tile {
    int m, n, k; /* rows, channels, input channels of a step */
    int threads, part_m,
        part_n; /* where a subgroup is 32; an invocation's (plain) or a subgroup's (matrix) share */
    float first,
        first_16; /* microseconds until a tile is done, and for each 16 factors of its sums (one H200) */
    float next, next_16; /* ... and for one that a unit does besides */
    int rows, buffers;   /* matrix: rows of weights in a step, several taps' or of one long row */
} tile;

typedef struct path {
    const char *name, *shader;
    int vector; /* channels that are fetched together */
    const tile *tile;
    int tiles;
} path;

#define PATH(name, shader, vector, tiles)                                                                    \
    { name, shader, vector, tiles, sizeof(tiles) / sizeof *(tiles) }

static const tile plain_tiles[] = {
    {128, 128, 16, 256, 8, 8, 43.4f, 1.910f, 0.00f, 2.348f, 0, 0},
    {128, 64, 16, 256, 8, 4, 20.2f, 1.833f, 4.35f, 1.298f, 0, 0},
    {64, 64, 16, 256, 4, 4, 18.1f, 0.772f, 0.06f, 0.649f, 0, 0},
    {256, 32, 16, 256, 8, 4, 17.2f, 1.829f, 5.59f, 1.431f, 0, 0},
    {128, 32, 16, 256, 4, 4, 12.0f, 0.865f, 2.29f, 0.757f, 0, 0},
    {32, 32, 16, 64, 4, 4, 5.0f, 0.815f, 0.75f, 0.176f, 0, 0},
    {256, 16, 16, 256, 4, 4, 9.0f, 0.790f, 2.30f, 0.700f, 0, 0},
    {512, 4, 16, 256, 2, 4, 7.2f, 0.730f, 1.80f, 0.650f, 0, 0},
    {64, 64, 16, 64, 8, 8, 23.7f, 1.194f, 0.65f, 0.778f, 0, 0},
};
static const tile half_tiles[] = {
    {128, 128, 32, 128, 64, 64, 9.37f, 0.555f, 1.99f, 0.278f, 32, 1},
    {64, 128, 32, 128, 32, 64, 16.28f, 0.361f, 0.17f, 0.191f, 32, 1},
    {128, 64, 32, 128, 32, 64, 18.57f, 0.323f, 0.07f, 0.159f, 32, 1},
    {64, 64, 32, 128, 32, 32, 12.31f, 0.255f, 0.19f, 0.102f, 32, 1},
    {256, 32, 32, 256, 32, 32, 13.75f, 0.316f, 0.53f, 0.193f, 32, 1},
    {128, 32, 32, 128, 32, 32, 10.78f, 0.254f, 0.31f, 0.093f, 32, 2},
    {64, 32, 32, 128, 16, 32, 6.36f, 0.294f, 0.39f, 0.060f, 32, 1},
    {64, 64, 64, 256, 16, 32, 5.46f, 0.237f, 0.88f, 0.110f, 64, 2},
    {64, 64, 64, 128, 32, 32, 6.97f, 0.178f, 0.87f, 0.091f, 128, 1},
    {128, 128, 32, 256, 64, 32, 13.57f, 0.487f, 2.37f, 0.345f, 64, 2},
    {64, 128, 64, 256, 32, 32, 6.80f, 0.315f, 1.87f, 0.222f, 64, 2},
    {128, 64, 64, 256, 32, 32, 11.85f, 0.189f, 0.72f, 0.154f, 64, 2},
    {32, 64, 64, 128, 16, 32, 6.56f, 0.185f, 0.35f, 0.064f, 64, 2},
    {64, 32, 64, 128, 16, 32, 5.67f, 0.197f, 0.42f, 0.060f, 64, 2},
};
static const tile pair_tiles[] = {
    {64, 64, 64, 256, 16, 32, 1.07f, 0.663f, 1.18f, 0.218f, 64, 2},
    {128, 64, 32, 256, 32, 32, 17.19f, 0.743f, 1.05f, 0.495f, 32, 2},
    {128, 128, 32, 512, 32, 32, 29.44f, 0.907f, 0.00f, 0.912f, 32, 2},
    {64, 128, 32, 256, 32, 32, 25.58f, 0.546f, 0.00f, 0.621f, 32, 2},
    {128, 32, 32, 128, 32, 32, 12.06f, 0.442f, 0.74f, 0.232f, 32, 2},
    {64, 32, 64, 128, 16, 32, 0.00f, 0.468f, 0.91f, 0.137f, 64, 2},
    {256, 32, 32, 256, 32, 32, 14.49f, 0.797f, 4.93f, 0.412f, 32, 2},
    {64, 64, 32, 128, 32, 32, 10.01f, 0.442f, 0.29f, 0.227f, 32, 2},
    {32, 64, 64, 128, 16, 32, 0.00f, 0.468f, 0.56f, 0.151f, 64, 2},
};
static const path plain = PATH("plain", "conv", 4, plain_tiles),
                  half = PATH("matrix", "conv_matrix", 8, half_tiles),
                  pairs = PATH("matrix", "conv_matrix", 8, pair_tiles);

static const path *matrix_path(const nn_vk_traits *t) {
    return t->f16 ? &half : &pairs;
}

/* What a shader is given beside the node. */
typedef struct choice {
    const path *path;
    const tile *tile;
    bool resident;
    int buffers, rows, splits, k, taps;
} choice;

enum { PLAN_PATH, PLAN_TILE, PLAN_RESIDENT, PLAN_BUFFERS, PLAN_ROWS, PLAN_SPLITS, PLAN_K, PLAN_TAPS };

/* The product's size: rows of a phase's output, channels of a group's output, products side by side, steps of
 * the sum. */
typedef struct product {
    size_t rows;
    int channels, across, taps, c_in;
} product;

static bool is_pointwise(const nn_conv_params *p) {
    return !p->transposed && p->kernel_h == 1 && p->kernel_w == 1 && p->stride == 1 && !p->pad_w && !p->pad_h;
}

/* Rows and columns of the input; where nothing looks beside itself, an image is one long row. */
static nn_shape input_of(const nn_node *n) {
    nn_shape s = n->in[0]->shape;
    if (is_pointwise(&n->u.conv)) s = (nn_shape){1, s.h * s.w, s.c};
    return s;
}

static product product_of(const nn_node *n, const nn_vk_conv_layout *l) {
    const nn_conv_params *p = &n->u.conv;
    return (product){p->transposed ? nn_rows(n->in[0]->shape) : nn_rows(n->shape), n->shape.c / p->groups,
                     p->groups * l->phases_y * l->phases_x, l->taps, l->channels};
}

static size_t plain_bytes(const tile *t, int rows, int buffers) {
    return (size_t)buffers * ((size_t)rows * (size_t)(t->k / 4 + 1) + (size_t)t->k * (size_t)(t->n / 4)) * 16;
}

static bool is_signal(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    return input_of(n).h == 1 && p->kernel_h == 1 && nn_vk_conv_span(n) > 0 &&
           !nn_vk_conv_layout_of(n, true).flat;
}

static int stride_of(const nn_node *n) {
    return n->u.conv.transposed ? 1 : n->u.conv.stride;
}
static int rounded(int x, int to) {
    return (x + to - 1) / to * to;
}

/* Rows of the input that a tile's outputs reach under `span` rows of taps; few different numbers, so few
 * kinds of shaders. */
static int reached_rows(const nn_node *n, const tile *t, int span) {
    return rounded(t->m * stride_of(n) + rounded(span, FEW_ROWS), stride_of(n));
}

/* Channels of a step: what divides all of them evenly, if that is not too few. */
static int even_step(int most, int all) {
    for (int k = most; k >= 32; k -= 16)
        if (all % k == 0) return k;
    return most;
}

static bool place_matrix(choice *c, const nn_node *n, const nn_vk_conv_layout *l,
                         const nn_vk_traits *traits) {
    const tile *t = c->tile;
    const size_t parts = traits->f16 ? 1 : 2, value = traits->f16 ? 8 : 4,
                 subgroups = (size_t)t->threads / 32;
    const int lanes = (int)traits->subgroup;
    if (2 * t->part_n < lanes || t->threads / 32 * lanes > (int)traits->invocations) return false;
    c->resident = is_signal(n);
    const int all = rounded(c->resident ? l->channels : l->channels * l->taps, 16),
              most = c->resident ? t->k : t->rows;
    c->k = most > all ? all : c->resident ? even_step(most, all) : most;
    c->taps = c->resident && t->rows > c->k ? t->rows / c->k : 1;
    if (c->taps > l->taps) c->taps = l->taps;
    const int more = rounded(l->taps, c->taps) - l->taps; /* taps that the last step reads in vain */
    c->rows = c->resident ? reached_rows(n, t, nn_vk_conv_span(n) + more * n->u.conv.dilation) : t->m;
    const bool once = c->resident && c->k >= all && c->taps >= l->taps;
    for (c->buffers = once ? 1 : t->buffers; c->buffers >= 1; c->buffers--) {
        const size_t x = (size_t)(c->resident ? 1 : c->buffers) * (size_t)c->rows * (size_t)(c->k / 8 + 1);
        const size_t w = (size_t)c->buffers * (size_t)(c->taps * c->k) * (size_t)(t->n / 8 + 1);
        const size_t out = subgroups * 16 * ((size_t)t->part_n / value + 1);
        const size_t vectors = parts * (x + w) > out ? parts * (x + w) : out;
        if (vectors * 16 <= traits->shared_bytes) return true;
    }
    return false;
}

/* Rows of a signal stay for all taps where that fits; two buffers where they fit. False: the tile does not
 * fit at all. */
static bool place(choice *c, const nn_node *n, const nn_vk_conv_layout *l, const nn_vk_traits *traits) {
    if (c->path != &plain) return place_matrix(c, n, l, traits);
    const tile *t = c->tile;
    const int span = nn_vk_conv_span(n), rows = reached_rows(n, t, span);
    if (t->threads > (int)traits->invocations) return false;
    for (int buffers = 2; buffers >= 1 && is_signal(n); buffers--)
        if (rows < t->m * (span + 1) && plain_bytes(t, rows, buffers) <= traits->shared_bytes) {
            c->resident = true;
            c->rows = rows;
            c->buffers = buffers;
            return true;
        }
    c->resident = false;
    c->rows = t->m;
    for (c->buffers = 2; c->buffers >= 1; c->buffers--)
        if (plain_bytes(t, t->m, c->buffers) <= traits->shared_bytes) return true;
    return false;
}

static size_t groups_of(const product *q, const tile *t) {
    return nn_vk_parts(q->rows, (size_t)t->m) * (size_t)nn_vk_parts((size_t)q->channels, (size_t)t->n) *
           (size_t)q->across;
}

/* Steps of 16 factors in a tile's sum. */
static double units_of(const product *q, const choice *c) {
    if (c->path == &plain) return (double)nn_vk_parts((size_t)q->c_in, 16) * q->taps;
    const size_t k = (size_t)c->k, taps = (size_t)q->taps, c_in = (size_t)q->c_in;
    if (!c->resident) return (double)(nn_vk_parts(c_in * taps, k) * k) / 16;
    return (double)(nn_vk_parts(c_in, k) * k * nn_vk_parts(taps, (size_t)c->taps) * (size_t)c->taps) / 16;
}

/* Microseconds. A unit works on several tiles at a time: the first takes its time, each further one less. */
static double cost(const product *q, const choice *c, int splits, const nn_vk_traits *traits) {
    const tile *t = c->tile;
    const double each = (double)groups_of(q, t) * splits / traits->units, steps = units_of(q, c) / splits;
    const double first = (double)t->first + (double)t->first_16 * steps,
                 next = (double)t->next + (double)t->next_16 * steps;
    const double sum = splits > 1 ? 5 + (double)q->rows * q->channels * splits * 2e-6 : 0;
    return first + (each > 1 ? (each - 1) * next : 0) + sum;
}

/* Parts that fill the device, each long enough to be worth it. A resident signal is split by steps of its
 * channels. */
static int splits_for(const product *q, const choice *c, const nn_vk_traits *traits) {
    const int steps = (int)(c->resident && c->path != &plain ? nn_vk_parts((size_t)q->c_in, (size_t)c->k) * 4
                                                             : units_of(q, c));
    const size_t tiles = groups_of(q, c->tile);
    int splits = (int)((size_t)traits->units / (tiles ? tiles : 1));
    if (splits > steps / LEAST_STEPS) splits = steps / LEAST_STEPS;
    if (splits > MOST_SPLITS) splits = MOST_SPLITS;
    return q->across > 1 || splits < 2 || (c->path != &plain && q->channels % 16) ? 1 : splits;
}

/* The environment's "plain", "matrix:4", ... */
static bool forced(const nn_vk_traits *traits, const path *p, int tile_index) {
    if (!traits->conv) return true;
    const size_t n = strlen(p->name);
    int index = -1;
    if (strncmp(traits->conv, p->name, n) != 0) return false;
    if (traits->conv[n] == ':') sscanf(traits->conv + n + 1, "%d", &index);
    return index < 0 || index == tile_index;
}

static bool suits_matrices(const nn_node *n, const nn_vk_conv_layout *l, const nn_vk_traits *traits) {
    const int groups = n->u.conv.groups, group = n->in[0]->shape.c / groups;
    return traits->matrix && !l->flat && group % 8 == 0 && (groups == 1 || n->shape.c / groups % 8 == 0);
}

/* The cheapest tile of a path, if it is cheaper than *out. */
static void choose_tile(choice *out, double *best, const path *p, const nn_node *n,
                        const nn_vk_conv_layout *l, const product *q, const nn_vk_traits *traits, bool obey) {
    for (int i = 0; i < p->tiles; i++) {
        choice c = {.path = p, .tile = &p->tile[i]};
        if ((obey && !forced(traits, p, i)) || !place(&c, n, l, traits)) continue;
        c.splits = splits_for(q, &c, traits);
        double time = cost(q, &c, c.splits, traits);
        if (c.splits > 1 && cost(q, &c, 1, traits) <= time) {
            c.splits = 1;
            time = cost(q, &c, 1, traits);
        }
        if (time >= *best && out->path) continue;
        *best = time;
        *out = c;
    }
}

static choice choose(const nn_node *n, const nn_vk_traits *traits) {
    const nn_vk_conv_layout l = nn_vk_conv_layout_of(n, traits->f16);
    const product q = product_of(n, &l);
    choice c = {0};
    double best = 0;
    for (int obey = 1; obey >= 0 && !c.path; obey--) { /* what is forced but impossible is not obeyed */
        if (suits_matrices(n, &l, traits))
            choose_tile(&c, &best, matrix_path(traits), n, &l, &q, traits, obey);
        if (!c.path || !traits->f16) choose_tile(&c, &best, &plain, n, &l, &q, traits, obey);
    }
    return c;
}

/* Rows of a part of a split sum: cooperative matrices leave 16 at a time. */
static size_t part_rows(const nn_node *n, bool in_matrices) {
    const size_t rows = nn_rows(n->shape);
    return in_matrices ? (rows + 15) & ~(size_t)15 : rows;
}

static nn_code conv_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    nn_node *n = c->node;
    if (nn_vk_conv_few_takes(n, c->traits)) return nn_vk_conv_few_pack(k, c, e);
    if (nn_vk_conv_image_takes(n, c->traits)) return nn_vk_conv_image_pack(k, c, e);
    const choice h = choose(n, c->traits);
    if (!h.path)
        return nn_fail(e, NN_ERROR_DEVICE,
                       "%s: this device's %u bytes of shared memory are too few for a convolution", n->name,
                       c->traits->shared_bytes);
    const bool paired = h.path == &pairs;
    const nn_code code =
        nn_vk_conv_pack(k, c, paired ? "pairs" : "conv", paired ? nn_vk_conv_make_pairs : nn_vk_conv_make, e);
    if (code) return code;
    c->plan[PLAN_PATH] = h.path != &plain;
    c->plan[PLAN_TILE] = h.tile - h.path->tile;
    c->plan[PLAN_RESIDENT] = h.resident;
    c->plan[PLAN_BUFFERS] = h.buffers;
    c->plan[PLAN_ROWS] = h.rows;
    c->plan[PLAN_SPLITS] = h.splits;
    c->plan[PLAN_K] = h.k;
    c->plan[PLAN_TAPS] = h.taps;
    n->workspace =
        h.splits > 1 ? (size_t)h.splits * part_rows(n, h.path != &plain) * (size_t)n->shape.c * sizeof(float)
                     : 0;
    return NN_OK;
}

typedef struct push_constants {
    uint32_t x, y, table, bias, weights, rows, h, w, columns, out_w, c_in, group_in, c_out, group_out, pitch,
        stride, dilation, step_y, step_x, groups, splits, partial;
    float slope;
    uint32_t step[NN_MAX_STEPS];
    uint32_t padded_rows, taps;
    int32_t first_x;
} push_constants;
_Static_assert(sizeof(push_constants) <= NN_VK_PUSH_BYTES, "push constants");

static push_constants push_of(const nn_vk_call *c, const nn_vk_conv_layout *l, const product *q) {
    const nn_node *n = c->node;
    const nn_conv_params *p = &n->u.conv;
    const nn_shape in = input_of(n);
    const bool t = p->transposed, flat = l->flat;
    push_constants k = {
        .x = nn_vk_in(c, 0),
        .y = nn_vk_out(c),
        .table = nn_vk_word(c->blob[0]),
        .bias = nn_vk_word(c->blob[0] + l->bias_at),
        .weights = (uint32_t)((c->blob[0] + l->matrices_at) / (c->traits->f16 ? 2 : 4)),
        .rows = (uint32_t)q->rows,
        .h = (uint32_t)in.h,
        .w = (uint32_t)(flat ? in.w * in.c : in.w),
        .columns = (uint32_t)(t                 ? in.w
                              : is_pointwise(p) ? in.w
                                                : n->shape.w),
        .out_w = (uint32_t)n->shape.w,
        .c_in = (uint32_t)in.c,
        .group_in = (uint32_t)l->channels,
        .c_out = (uint32_t)n->shape.c,
        .group_out = (uint32_t)q->channels,
        .pitch = (uint32_t)l->pitch,
        .stride = (uint32_t)(t      ? 1
                             : flat ? p->stride * in.c
                                    : p->stride),
        .dilation = (uint32_t)p->dilation,
        .step_y = (uint32_t)l->phases_y,
        .step_x = (uint32_t)l->phases_x,
        .groups = (uint32_t)p->groups,
        .splits = (uint32_t)c->plan[PLAN_SPLITS],
        .partial = nn_vk_word(n->workspace_offset),
        .slope = p->pre.value,
        .padded_rows = (uint32_t)part_rows(n, c->plan[PLAN_PATH]),
        .taps = (uint32_t)p->kernel_w,
        .first_x = -p->pad_w,
    };
    nn_vk_step_arguments(c, k.step);
    return k;
}

void nn_vk_conv_add_parts(nn_vk_recorder *r, const nn_vk_call *c, uint32_t bias, uint32_t rows,
                          uint32_t splits) {
    const nn_node *n = c->node;
    struct {
        uint32_t y, bias, partial, count, part, channels, step[NN_MAX_STEPS];
    } push = {nn_vk_out(c),
              bias,
              nn_vk_word(n->workspace_offset),
              (uint32_t)nn_elements(n->shape),
              rows * (uint32_t)n->shape.c,
              (uint32_t)n->shape.c,
              {0}};
    nn_vk_step_arguments(c, push.step);
    const uint32_t groups = nn_vk_parts(push.count, 256);
    nn_vk_reads(r, n->workspace_offset, n->workspace);
    for (int i = 1; i < n->n_in; i++)
        nn_vk_reads(r, n->in[i]->offset, nn_elements(n->in[i]->shape) * (c->traits->f16 ? 2 : 4));
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "conv_sum",
                                   .steps = c,
                                   .constants = 1,
                                   .constant = {splits},
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = groups < NN_VK_MAX_GROUPS ? groups : NN_VK_MAX_GROUPS});
}

/* Steps that come first and add a tensor, at most as many as conv_matrix.comp fetches ahead. */
static uint32_t leading_adds(const nn_node *n) {
    enum { MOST = 3 };
    uint32_t count = 0;
    while (count < MOST && (int)count < n->n_steps && n->steps[count].kind == NN_STEP_ADD) count++;
    return count;
}

static void conv_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const nn_conv_params *p = &n->u.conv;
    if (nn_vk_conv_few_takes(n, c->traits)) {
        nn_vk_conv_few_record(r, c);
        return;
    }
    if (nn_vk_conv_image_takes(n, c->traits)) {
        nn_vk_conv_image_record(r, c);
        return;
    }
    const nn_vk_conv_layout l = nn_vk_conv_layout_of(n, c->traits->f16);
    const product q = product_of(n, &l);
    const path *way = c->plan[PLAN_PATH] ? matrix_path(c->traits) : &plain;
    const tile *t = &way->tile[c->plan[PLAN_TILE]];
    const push_constants push = push_of(c, &l, &q);
    const bool split = push.splits > 1, vectors = (l.channels | n->in[0]->shape.c) % way->vector == 0;
    const bool image = input_of(n).h > 1 || l.phases_y > 1 || p->kernel_h > 1;
    const uint32_t pre = nn_vk_conv_pre(n);
    const uint32_t plain_constants[] = {(uint32_t)t->m,
                                        (uint32_t)t->n,
                                        (uint32_t)t->k,
                                        (uint32_t)c->plan[PLAN_ROWS],
                                        c->plan[PLAN_RESIDENT] != 0,
                                        (uint32_t)c->plan[PLAN_BUFFERS],
                                        pre,
                                        l.flat    ? FETCH_FLAT
                                        : vectors ? FETCH_VECTOR
                                                  : FETCH_SINGLE,
                                        image,
                                        split,
                                        (n->shape.c | q.channels) % way->vector == 0,
                                        (uint32_t)t->threads,
                                        (uint32_t)t->part_m,
                                        (uint32_t)t->part_n};
    const bool eights = n->shape.c % 8 == 0 && q.channels % 8 == 0,
               signal = c->plan[PLAN_RESIDENT] && !p->transposed; /* one shader for all taps and dilations */
    const uint32_t matrix_constants[] = {(uint32_t)t->m,
                                         (uint32_t)t->n,
                                         (uint32_t)c->plan[PLAN_K],
                                         (uint32_t)c->plan[PLAN_ROWS],
                                         c->plan[PLAN_RESIDENT] != 0,
                                         (uint32_t)c->plan[PLAN_TAPS],
                                         pre,
                                         signal ? 0 : (uint32_t)p->kernel_w,
                                         image,
                                         split,
                                         eights,
                                         (uint32_t)t->threads / 32 * c->traits->subgroup,
                                         (uint32_t)t->part_m,
                                         (uint32_t)t->part_n,
                                         push.group_in,
                                         push.pitch,
                                         push.stride,
                                         push.c_in,
                                         push.c_out,
                                         (uint32_t)c->plan[PLAN_BUFFERS],
                                         p->transposed ? TAPS_TABLE
                                         : signal      ? TAPS_SIGNAL
                                                       : (uint32_t)(p->kernel_h * p->kernel_w),
                                         signal ? 0 : (uint32_t)-p->pad_h,
                                         signal ? 0 : (uint32_t)-p->pad_w,
                                         eights && !split ? leading_adds(n) : 0};
    nn_vk_dispatch d = {.shader = way->shader,
                        .steps = split ? NULL : c,
                        .push = &push,
                        .push_bytes = sizeof push,
                        .x = nn_vk_parts(push.group_out, (size_t)t->n),
                        .y = nn_vk_parts(push.rows, (size_t)t->m),
                        .z = (uint32_t)q.across * push.splits};
    if (way != &plain) {
        memcpy(d.constant, matrix_constants, sizeof matrix_constants);
        d.constants = sizeof matrix_constants / sizeof *matrix_constants;
    } else {
        memcpy(d.constant, plain_constants, sizeof plain_constants);
        d.constants = sizeof plain_constants / sizeof *plain_constants;
    }
    nn_vk_reads_inputs(r, c);
    if (split)
        nn_vk_writes(r, n->workspace_offset, n->workspace);
    else
        nn_vk_writes_output(r, c);
    nn_vk_run(r, &d);
    if (split) nn_vk_conv_add_parts(r, c, push.bias, push.padded_rows, push.splits);
}

const nn_vk_op nn_vk_conv = {conv_pack, conv_record};
