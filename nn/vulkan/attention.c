/* attention.c - multi-head attention over frames in one dispatch: a workgroup per block of queries and head.
 * Heads of 16, 32, ... channels take cooperative matrices where the device has them (attention_matrix.comp).
 */
#include "load.h"

#include <math.h>

enum { ROW = 16 }; /* threads that share four queries, as in attention.comp */

static const double LOG2_E = 1.4426950408889634; /* attention_matrix.comp's powers are of 2 */

enum { TILE, SPLIT };  /* plan[] */
enum { NO_TILE = -1 }; /* TILE where attention.comp runs */

/* Queries and keys of a tile, best first: a device's shared memory decides. */
static const struct tile {
    uint32_t queries, keys;
} tiles[] = {{32, 64}, {32, 32}, {16, 32}, {16, 16}, {8, 16}, {4, 16}};

static uint32_t size_of(const nn_node *n) {
    return (uint32_t)(n->shape.c / n->u.attention.heads);
}
static uint32_t band_of(const nn_node *n) {
    return n->u.attention.relative ? 2 * (uint32_t)n->u.attention.window + 1 : 0;
}

/* attention.comp's shared arrays, bytes. */
static size_t shared_bytes(size_t size, size_t band, struct tile t) {
    const size_t q = size * t.queries, kv = size * (t.keys + 1), p = t.keys * (t.queries + 4);
    return ((q + kv + 3) / 4 * 4 + p + t.queries * band + 1) * sizeof(float);
}

/* The largest tile that the device has room for, or NULL. */
static const struct tile *choose_tile(const nn_vk_call *c) {
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++)
        if (shared_bytes(size_of(c->node), band_of(c->node), tiles[i]) <= c->traits->shared_bytes &&
            tiles[i].queries / 4 * ROW <= c->traits->invocations)
            return &tiles[i];
    return NULL;
}

/* Of attention_matrix.comp, best first: subgroups; keys of a tile; most blocks of queries in a workgroup;
 * blocks of keys that a subgroup takes at once. */
typedef struct matrix_tile {
    int subgroups, keys, most, step;
} matrix_tile;
static const matrix_tile matrix_tiles[] = {{8, 128, 8, 2}, {8, 64, 8, 1}, {8, 64, 4, 1}, {4, 64, 4, 1},
                                           {4, 32, 4, 1},  {2, 32, 2, 1}, {2, 16, 2, 1}};

/* attention_matrix.comp's WORK. */
static size_t work_of(size_t parts, size_t step) {
    const size_t p = 16 * (2 * parts * step + 1);
    return p > 64 ? p : 64;
}

/* Whether the device has room for attention_matrix.comp's shared arrays. */
static bool fits(const nn_vk_call *c, matrix_tile t) {
    const size_t size = size_of(c->node), band = band_of(c->node), parts = c->traits->f16 ? 1 : 2;
    const size_t subgroups = (size_t)t.subgroups, keys = (size_t)t.keys,
                 near = 2 * ((band / 2 + 15) / 16) + 1;
    const size_t factors = parts * 2 * keys * (size / 8 + 1),
                 out = 16 * subgroups * ((size / 16 + 1) / 2 * 4 + 1);
    const size_t relative = band ? 16 * (size_t)t.most * 4 * near : 1;
    const size_t vectors =
        (factors > out ? factors : out) + subgroups * work_of(parts, (size_t)t.step) + relative + 12;
    return vectors * 16 + 16 * subgroups * 8 <= c->traits->shared_bytes && (band + 15) / 16 * 16 <= keys &&
           32 * subgroups <= c->traits->invocations;
}

/* How long it takes when `split` subgroups share a block of queries, in blocks of keys: workgroups side by
 * side, one a unit, each with its blocks and what it costs to start and end. */
static size_t matrix_time(const nn_vk_call *c, matrix_tile t, int split) {
    enum { START_AND_END = 10 };
    const size_t frames = (size_t)c->node->shape.w, blocks = nn_vk_parts(frames, 16);
    const size_t groups =
        nn_vk_parts(blocks, (size_t)(t.subgroups / split)) * (size_t)c->node->u.attention.heads;
    return nn_vk_parts(groups, c->traits->units) * (START_AND_END + nn_vk_parts(blocks, (size_t)split));
}

/* The tile depends on nothing but heads and device, so that all lengths share their pipelines. */
static void choose_matrix(nn_vk_call *c) {
    const int count = (int)(sizeof matrix_tiles / sizeof *matrix_tiles);
    int i = 0;
    while (i < count && !fits(c, matrix_tiles[i])) i++;
    c->plan[TILE] = NO_TILE;
    if (!c->traits->matrix || c->traits->subgroup != 32 || size_of(c->node) % 16 || i == count)
        return; /* two lanes a row */
    const matrix_tile t = matrix_tiles[i];
    int best = t.subgroups / t.most;
    for (int split = 2 * best; split <= t.subgroups && 16 * t.step * split <= t.keys; split *= 2)
        if (matrix_time(c, t, split) < matrix_time(c, t, best)) best = split;
    c->plan[TILE] = i;
    c->plan[SPLIT] = best;
}

static bool is_matrix(const nn_vk_call *c) {
    return c->plan[TILE] != NO_TILE;
}

/* STEM + SUFFIX [1][2 window + 1][d] for attention.comp: float32, transposed to [d][2 window + 1] or as it
 * is; for attention_matrix.comp: as it is, rows padded to a multiple of 16 with zeros, as float16 and, on a
 * device of float32, 2048 times what that lacks behind it. */
static nn_code make_band(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, const char *suffix,
                         bool transposed, nn_weights *w, nn_error *e) {
    const size_t size = size_of(c->node), band = band_of(c->node), rows = (band + 15) / 16 * 16;
    const bool matrix = is_matrix(c), pairs = !c->traits->f16;
    float *from = NULL, *to = NULL;
    nn_code code = nn_vk_load(&from, w, stem, suffix, 3, (int64_t[]){1, (int64_t)band, (int64_t)size}, e);
    *bytes = matrix ? (pairs ? 2 : 1) * rows * size * sizeof(uint16_t) : band * size * sizeof(float);
    if (!code && !(to = calloc(1, *bytes))) code = nn_fail_memory(e, stem);
    uint16_t *halves = (uint16_t *)(void *)to;
    for (size_t i = 0; i < band && !code; i++)
        for (size_t j = 0; j < size; j++) {
            const float x = from[i * size + j];
            const size_t at = i * size + j;
            if (!matrix)
                to[transposed ? j * band + i : at] = x;
            else
                halves[at] = nn_vk_half(x);
            if (matrix && pairs) halves[rows * size + at] = nn_vk_half((x - nn_vk_float(halves[at])) * 2048);
        }
    free(from);
    *out = to;
    return code;
}
static nn_code make_keys(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                         nn_error *e) {
    return make_band(out, bytes, c, stem, ".emb_rel_k", true, w, e);
}
static nn_code make_values(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                           nn_error *e) {
    return make_band(out, bytes, c, stem, ".emb_rel_v", false, w, e);
}

static nn_code attention_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    const nn_node *n = c->node;
    choose_matrix(c);
    const bool matrix = is_matrix(c);
    if (!matrix && !choose_tile(c))
        return nn_fail(
            e, NN_ERROR_DEVICE,
            "%s: attention heads of %u channels need %zu bytes of shared memory, and this device has %u; "
            "run on the CPU (--device cpu)",
            n->name, size_of(n),
            shared_bytes(size_of(n), band_of(n), tiles[sizeof tiles / sizeof *tiles - 1]),
            c->traits->shared_bytes);
    if (!n->u.attention.relative) return NN_OK;
    const nn_code code = nn_vk_pack(k, c, n->name, matrix ? "rel_k|matrix" : "rel_k", make_keys, e);
    return code ? code : nn_vk_pack(k, c, n->name, matrix ? "rel_v|matrix" : "rel_v", make_values, e);
}

/* Offsets count elements and floats, or, for cooperative matrices, 16 bytes. */
static void attention_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const bool matrix = is_matrix(c);
    const struct tile *t = matrix ? NULL : choose_tile(c);
    const uint32_t vector = c->traits->f16 ? 8 : 4, unit = matrix ? vector : 1; /* elements */
    const uint32_t band_unit = matrix ? 16 : 4;                                 /* bytes */
    struct {
        uint32_t q, k, v, y, frames, channels, key_band, value_band;
        float scale;
        uint32_t split;
    } push = {nn_vk_in(c, 0) / unit,
              nn_vk_in(c, 1) / unit,
              nn_vk_in(c, 2) / unit,
              nn_vk_out(c) / unit,
              (uint32_t)n->shape.w,
              (uint32_t)n->shape.c,
              0,
              0,
              (float)((matrix ? LOG2_E : 1) / sqrt(size_of(n))),
              (uint32_t)c->plan[SPLIT]};
    if (n->u.attention.relative) {
        push.key_band = (uint32_t)(c->blob[0] / band_unit);
        push.value_band = (uint32_t)(c->blob[1] / band_unit);
    }
    nn_vk_dispatch d = {.push = &push, .push_bytes = sizeof push, .y = (uint32_t)n->u.attention.heads};
    if (matrix) {
        const matrix_tile m = matrix_tiles[c->plan[TILE]];
        const uint32_t subgroups = (uint32_t)m.subgroups, most = (uint32_t)m.most, step = (uint32_t)m.step;
        const uint32_t constant[] = {32 * subgroups, size_of(n), (uint32_t)m.keys, band_of(n), most, step};
        d.shader = "attention_matrix";
        memcpy(d.constant, constant, sizeof constant);
        d.constants = 6;
        d.x = nn_vk_parts(push.frames, 16 * (subgroups / push.split));
    } else {
        const uint32_t constant[] = {t->queries / 4, size_of(n), t->queries, t->keys, band_of(n)};
        d.shader = "attention";
        memcpy(d.constant, constant, sizeof constant);
        d.constants = 5;
        d.x = nn_vk_parts(push.frames, t->queries);
    }
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &d);
}

const nn_vk_op nn_vk_attention = {attention_pack, attention_record};
