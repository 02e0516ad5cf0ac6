/* conv.c - chooses how a convolution runs on the device: the shader, its tile, how often the sum is split.
 *
 *   plain    ordinary multiplications in float32; every form, every device
 *   matrix   cooperative matrices; float16, input channels in eights
 *
 * Both do what conv.glsl says. A tile is chosen by the time it should take: tiles go over the device's units in waves, and a
 * large tile makes more of a unit's time than a small one. RVC_VULKAN_CONV=plain:3 forces path and tile, for measuring. */
#include <stdio.h>
#include <string.h>

#include "conv_weights.h"

enum { FETCH_VECTOR, FETCH_SINGLE, FETCH_FLAT };
enum { LEAST_STEPS = 8, MOST_SPLITS = 8, FEW_ROWS = 32 };    /* of a part of a split sum; parts */

typedef struct tile {
    int m, n, k;                     /* rows, channels, input channels of a step */
    int threads, part_m, part_n;     /* an invocation's (plain) or a subgroup's (matrix) share */
    float speed;                     /* of a full unit, relative to the best */
} tile;

typedef struct path {
    const char *name, *shader;
    int vector;                      /* channels that are fetched together */
    int x_row, w_row;                /* vectors beside the data in shared memory's rows, against bank conflicts */
    int vector_bytes;                /* in shared memory */
    const tile *tile;
    int tiles;
} path;

static const tile plain_tiles[] = {
    {128, 128, 16, 256, 8, 8, 1.00f}, {128, 64, 16, 256, 8, 4, 0.85f}, {64, 64, 16, 256, 4, 4, 0.65f},
    {256, 32, 16, 256, 8, 4, 0.75f},  {128, 32, 16, 256, 4, 4, 0.60f}, {32, 32, 16, 64, 4, 4, 0.45f},
    {256, 16, 16, 256, 4, 4, 0.50f},  {512, 4, 16, 256, 2, 4, 0.30f},  {64, 64, 16, 64, 8, 8, 0.75f},
};
static const path plain = {"plain", "conv", 4, 1, 0, 16, plain_tiles, sizeof plain_tiles / sizeof *plain_tiles};

static const tile matrix_tiles[] = {
    {128, 128, 32, 256, 64, 32, 1.00f}, {128, 128, 32, 128, 64, 64, 0.95f}, {128, 64, 32, 128, 64, 32, 0.85f},
    {64, 128, 32, 128, 32, 64, 0.85f},  {64, 64, 32, 128, 32, 32, 0.65f},   {256, 32, 32, 256, 32, 32, 0.70f},
    {128, 32, 32, 128, 32, 32, 0.60f},  {128, 16, 16, 128, 32, 16, 0.35f},  {256, 64, 32, 256, 64, 32, 0.95f},
    {32, 64, 32, 64, 32, 32, 0.45f},    {64, 64, 64, 128, 32, 32, 0.70f},   {32, 32, 32, 32, 32, 32, 0.30f},
};
static const path matrix = {"matrix", "conv_matrix", 8, 1, 1, 16, matrix_tiles, sizeof matrix_tiles / sizeof *matrix_tiles};

/* What a shader is given beside the node. */
typedef struct choice {
    const path *path;
    const tile *tile;
    bool resident, split_up;
    int buffers, rows, splits;
} choice;

enum { PLAN_PATH, PLAN_TILE, PLAN_RESIDENT, PLAN_BUFFERS, PLAN_ROWS, PLAN_SPLITS };

/* The product's size: rows of a phase's output, channels of a group's output, products side by side, steps of the sum. */
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

static size_t shared_bytes(const path *p, const tile *t, int rows, int buffers) {
    const size_t x = (size_t)rows * (size_t)(t->k / p->vector + p->x_row);
    const size_t w = (size_t)t->k * (size_t)(t->n / p->vector + p->w_row);
    size_t all = (size_t)buffers * (x + w) * (size_t)p->vector_bytes;
    if (p == &matrix) {                  /* sums leave through shared memory, 16 rows of a subgroup at a time */
        const size_t out = (size_t)(t->threads / 32) * 16 * (size_t)(t->part_n / 4 + 1) * 16;
        if (out > all) all = out;
    }
    return all;
}

/* Rows of a signal stay for all taps where that fits; two buffers where they fit. False: the tile does not fit at all. */
static bool place(choice *c, const nn_node *n, const nn_vk_traits *traits) {
    const nn_conv_params *p = &n->u.conv;
    const tile *t = c->tile;
    const int stride = p->transposed ? 1 : p->stride, span = nn_vk_conv_span(n);
    const bool signal = input_of(n).h == 1 && p->kernel_h == 1 && span > 0 && !nn_vk_conv_layout_of(n, true).flat;
    const int rows = (t->m - 1) * stride + 1 + (span + FEW_ROWS - 1) / FEW_ROWS * FEW_ROWS;   /* few kinds of shaders */
    if (t->threads > (int)traits->invocations) return false;
    for (int buffers = 2; buffers >= 1; buffers--)
        if (signal && rows < t->m * (span + 1) && shared_bytes(c->path, t, rows, buffers) <= traits->shared_bytes) {
            c->resident = true;
            c->rows = rows;
            c->buffers = buffers;
            return true;
        }
    c->resident = false;
    c->rows = t->m;
    for (c->buffers = 2; c->buffers >= 1; c->buffers--)
        if (shared_bytes(c->path, t, t->m, c->buffers) <= traits->shared_bytes) return true;
    return false;
}

static size_t groups_of(const product *q, const tile *t) {
    return nn_vk_parts(q->rows, (size_t)t->m) * (size_t)nn_vk_parts((size_t)q->channels, (size_t)t->n) * (size_t)q->across;
}

/* Time in multiply-adds of a unit at full speed: waves of tiles, each a tile's size times its steps. */
static double cost(const product *q, const tile *t, int splits, const nn_vk_traits *traits) {
    const double chunks = nn_vk_parts((size_t)q->c_in, (size_t)t->k), steps = chunks * q->taps / splits;
    const double one = (double)t->m * t->n * t->k * (steps + 4) / (double)t->speed;
    const double tiles = (double)groups_of(q, t) * splits, units = traits->units;
    const double waves = tiles <= units ? 1 : tiles / units + 0.5;
    const double sum = splits > 1 ? 3e5 + (double)q->rows * q->channels * splits * 16 / units : 0;
    return waves * one + sum;
}

static int splits_for(const product *q, const tile *t, const nn_vk_traits *traits) {
    const int steps = (int)nn_vk_parts((size_t)q->c_in, (size_t)t->k) * q->taps;
    const size_t tiles = groups_of(q, t);
    int splits = (int)((size_t)traits->units / (tiles ? tiles : 1));
    if (splits > steps / LEAST_STEPS) splits = steps / LEAST_STEPS;
    if (splits > MOST_SPLITS) splits = MOST_SPLITS;
    return q->across > 1 || splits < 2 ? 1 : splits;
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

static bool suits(const path *p, const nn_node *n, const nn_vk_conv_layout *l, const nn_vk_traits *traits) {
    if (p == &plain) return true;
    const int group = n->in[0]->shape.c / n->u.conv.groups;
    return traits->matrix && (l->flat || (group % 8 == 0 && n->in[0]->shape.c % 8 == 0));
}

/* The cheapest tile of a path; *best is the cost to beat. */
static void choose_tile(choice *out, double *best, const path *p, const nn_node *n, const product *q, const nn_vk_traits *traits,
                        bool obey) {
    for (int i = 0; i < p->tiles; i++) {
        choice c = {.path = p, .tile = &p->tile[i]};
        if ((obey && !forced(traits, p, i)) || !place(&c, n, traits)) continue;
        c.splits = splits_for(q, c.tile, traits);
        double time = cost(q, c.tile, c.splits, traits);
        if (c.splits > 1 && cost(q, c.tile, 1, traits) <= time) {
            c.splits = 1;
            time = cost(q, c.tile, 1, traits);
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
    for (int obey = 1; obey >= 0 && !c.path; obey--) {      /* what is forced but impossible is not obeyed */
        if (suits(&matrix, n, &l, traits)) choose_tile(&c, &best, &matrix, n, &q, traits, obey);
        if (!c.path) choose_tile(&c, &best, &plain, n, &q, traits, obey);
    }
    return c;
}

static nn_code conv_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    nn_node *n = c->node;
    const nn_conv_params *p = &n->u.conv;
    char kind[400];
    snprintf(kind, sizeof kind, "conv|%.380s", p->batch_norm ? p->batch_norm : "");
    nn_code code = nn_vk_pack(k, c, n->name, kind, nn_vk_conv_make, e);
    if (!code) code = nn_vk_pack_steps(k, c, e);
    if (code) return code;
    const choice h = choose(n, c->traits);
    if (!h.path)
        return nn_fail(e, NN_ERROR_DEVICE, "%s: this device's %u bytes of shared memory are too few for a convolution", n->name,
                       c->traits->shared_bytes);
    c->plan[PLAN_PATH] = h.path == &matrix;
    c->plan[PLAN_TILE] = h.tile - h.path->tile;
    c->plan[PLAN_RESIDENT] = h.resident;
    c->plan[PLAN_BUFFERS] = h.buffers;
    c->plan[PLAN_ROWS] = h.rows;
    c->plan[PLAN_SPLITS] = h.splits;
    n->workspace = h.splits > 1 ? (size_t)h.splits * nn_elements(n->shape) * sizeof(float) : 0;
    return NN_OK;
}

typedef struct push_constants {
    uint32_t x, y, table, bias, weights, rows, h, w, columns, out_w, c_in, group_in, c_out, group_out, pitch, stride, dilation,
        step_y, step_x, groups, splits, partial;
    float slope;
    uint32_t step[NN_MAX_STEPS];
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
        .columns = (uint32_t)(t ? in.w : is_pointwise(p) ? in.w : n->shape.w),
        .out_w = (uint32_t)n->shape.w,
        .c_in = (uint32_t)in.c,
        .group_in = (uint32_t)l->channels,
        .c_out = (uint32_t)n->shape.c,
        .group_out = (uint32_t)q->channels,
        .pitch = (uint32_t)l->pitch,
        .stride = (uint32_t)(t ? 1 : flat ? p->stride * in.c : p->stride),
        .dilation = (uint32_t)p->dilation,
        .step_y = (uint32_t)l->phases_y,
        .step_x = (uint32_t)l->phases_x,
        .groups = (uint32_t)p->groups,
        .splits = (uint32_t)c->plan[PLAN_SPLITS],
        .partial = nn_vk_word(n->workspace_offset),
        .slope = p->pre.value,
    };
    nn_vk_step_arguments(c, k.step);
    return k;
}

/* The parts become the output. */
static void record_sum(nn_vk_recorder *r, const nn_vk_call *c, const push_constants *k) {
    const nn_node *n = c->node;
    struct {
        uint32_t y, bias, partial, count, channels, splits, step[NN_MAX_STEPS];
    } push = {k->y, k->bias, k->partial, (uint32_t)nn_elements(n->shape), k->c_out, k->splits, {0}};
    memcpy(push.step, k->step, sizeof push.step);
    const uint32_t groups = nn_vk_parts(push.count, 256);
    nn_vk_reads(r, n->workspace_offset, n->workspace);
    for (int i = 1; i < n->n_in; i++)
        nn_vk_reads(r, n->in[i]->offset, nn_elements(n->in[i]->shape) * (c->traits->f16 ? 2 : 4));
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "conv_sum",
                                   .steps = c,
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = groups < NN_VK_MAX_GROUPS ? groups : NN_VK_MAX_GROUPS});
}

static void conv_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const nn_conv_params *p = &n->u.conv;
    const nn_vk_conv_layout l = nn_vk_conv_layout_of(n, c->traits->f16);
    const product q = product_of(n, &l);
    const path *way = c->plan[PLAN_PATH] ? &matrix : &plain;
    const tile *t = &way->tile[c->plan[PLAN_TILE]];
    const push_constants push = push_of(c, &l, &q);
    const bool split = push.splits > 1, vectors = (l.channels | n->in[0]->shape.c) % way->vector == 0;
    const bool image = input_of(n).h > 1 || l.phases_y > 1 || p->kernel_h > 1;
    const uint32_t constants[] = {
        (uint32_t)t->m, (uint32_t)t->n, (uint32_t)t->k, (uint32_t)c->plan[PLAN_ROWS], c->plan[PLAN_RESIDENT] != 0,
        (uint32_t)c->plan[PLAN_BUFFERS], p->pre.kind == NN_STEP_COUNT ? 255 : (uint32_t)p->pre.kind,
        l.flat ? FETCH_FLAT : vectors ? FETCH_VECTOR : FETCH_SINGLE, image, split,
        (n->shape.c | q.channels) % way->vector == 0, (uint32_t)t->threads, (uint32_t)t->part_m, (uint32_t)t->part_n};
    nn_vk_dispatch d = {.shader = way->shader,
                        .steps = split ? NULL : c,
                        .constants = sizeof constants / sizeof *constants,
                        .push = &push,
                        .push_bytes = sizeof push,
                        .x = nn_vk_parts(push.group_out, (size_t)t->n),
                        .y = nn_vk_parts(push.rows, (size_t)t->m),
                        .z = (uint32_t)q.across * push.splits};
    memcpy(d.constant, constants, sizeof constants);
    nn_vk_reads_inputs(r, c);
    if (split)
        nn_vk_writes(r, n->workspace_offset, n->workspace);
    else
        nn_vk_writes_output(r, c);
    nn_vk_run(r, &d);
    if (split) record_sum(r, c, &push);
}

const nn_vk_op nn_vk_conv = {conv_pack, conv_record};
