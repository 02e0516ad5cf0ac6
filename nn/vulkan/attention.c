/* attention.c - multi-head attention over frames in one dispatch: a workgroup per block of queries and head.
 * Heads of 16, 32, ... channels take cooperative matrices where the device has them (attention_matrix.comp).
 */
#include "load.h"

#include <math.h>

enum {
    ROW = 16,     /* threads that share four queries, as in attention.comp */
    SUBGROUPS = 4 /* of a workgroup of attention_matrix.comp */
};

enum { SPLIT, KEYS }; /* plan[]: of attention_matrix.comp; SPLIT 0: attention.comp */

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

/* attention_matrix.comp's shared arrays, bytes. */
static size_t matrix_shared_bytes(size_t size, size_t band, size_t split, size_t keys) {
    const size_t memory = 2 * keys * (size / 8 + 1), work = SUBGROUPS * 16 * (keys / split / 4 + 2);
    const size_t factors = SUBGROUPS * 16 * 4, relative = 16 * SUBGROUPS / split * ((band + 15) / 16) * 4 + 1;
    return (memory + work + factors + relative) * 16 + SUBGROUPS * 16 * 8;
}

/* Keys of a block of queries are split among subgroups until there are workgroups for all of the device. */
static void choose_matrix(nn_vk_call *c) {
    static const int split[] = {1, 2, 4}, keys[] = {64, 32};
    const nn_node *n = c->node;
    const size_t size = size_of(n), band = band_of(n), frames = (size_t)n->shape.w;
    c->plan[SPLIT] = 0;
    if (!c->traits->f16 || !c->traits->matrix || size % 16) return;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 2; k++) {
            const size_t s = (size_t)split[i],
                         groups = nn_vk_parts(frames, 16 * SUBGROUPS / s) * (size_t)n->u.attention.heads;
            if (keys[k] % (16 * split[i]) ||
                matrix_shared_bytes(size, band, s, (size_t)keys[k]) > c->traits->shared_bytes ||
                (band + 15) / 16 * 2 > (size_t)keys[k] / s / 4 + 2)
                continue;
            c->plan[SPLIT] = split[i];
            c->plan[KEYS] = keys[k];
            if (groups >= c->traits->units) return;
            break;
        }
}

/* STEM + SUFFIX [1][2 window + 1][d] for attention.comp: float32, transposed to [d][2 window + 1] or as it
 * is; for attention_matrix.comp: float16, as it is, rows padded to a multiple of 16 with zeros. */
static nn_code make_band(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, const char *suffix,
                         bool transposed, nn_weights *w, nn_error *e) {
    const size_t size = size_of(c->node), band = band_of(c->node), rows = (band + 15) / 16 * 16;
    float *from = NULL, *to = NULL;
    nn_code code = nn_vk_load(&from, w, stem, suffix, 3, (int64_t[]){1, (int64_t)band, (int64_t)size}, e);
    *bytes = c->plan[SPLIT] ? rows * size * sizeof(uint16_t) : band * size * sizeof(float);
    if (!code && !(to = calloc(1, *bytes))) code = nn_fail_memory(e, stem);
    uint16_t *halves = (uint16_t *)(void *)to;
    for (size_t i = 0; i < band && !code; i++)
        for (size_t j = 0; j < size; j++) {
            const float x = from[i * size + j];
            if (c->plan[SPLIT])
                halves[i * size + j] = nn_vk_half(x);
            else
                to[transposed ? j * band + i : i * size + j] = x;
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
    const bool matrix = c->plan[SPLIT] != 0;
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

/* Offsets count elements, or, for cooperative matrices, eight of them. */
static void attention_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const bool matrix = c->plan[SPLIT] != 0;
    const struct tile *t = matrix ? NULL : choose_tile(c);
    const uint32_t unit = matrix ? 8 : 1, band_unit = matrix ? 16 : 4; /* elements; bytes */
    struct {
        uint32_t q, k, v, y, frames, channels, key_band, value_band;
        float scale;
    } push = {nn_vk_in(c, 0) / unit,
              nn_vk_in(c, 1) / unit,
              nn_vk_in(c, 2) / unit,
              nn_vk_out(c) / unit,
              (uint32_t)n->shape.w,
              (uint32_t)n->shape.c,
              0,
              0,
              (float)(1 / sqrt(size_of(n)))};
    if (n->u.attention.relative) {
        push.key_band = (uint32_t)(c->blob[0] / band_unit);
        push.value_band = (uint32_t)(c->blob[1] / band_unit);
    }
    nn_vk_dispatch d = {.push = &push, .push_bytes = sizeof push, .y = (uint32_t)n->u.attention.heads};
    if (matrix) {
        const uint32_t split = (uint32_t)c->plan[SPLIT],
                       constant[] = {size_of(n), split, (uint32_t)c->plan[KEYS], band_of(n)};
        d.shader = "attention_matrix";
        memcpy(d.constant, constant, sizeof constant);
        d.constants = 4;
        d.x = nn_vk_parts(push.frames, 16 * SUBGROUPS / split);
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
