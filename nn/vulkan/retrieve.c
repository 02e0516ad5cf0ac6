/* retrieve.c - each row f becomes rate sum_j w_j v_j + (1 - rate) f over its 8 nearest vectors.
 *
 *   rows x centroids -> the nearest of each block of centroids -> the lists of each row
 *   rows x vectors of their lists -> the nearest of each list -> the nearest of each row -> blended
 *
 * Without lists, all vectors take the centroids' way and what it finds is blended. A find is two words: the
 * squared distance, and the number of centroid or vector, NONE where there are fewer. */
#include "load.h"

enum { K = 8, ROWS = 32 /* that a workgroup looks at together */, LEAST_SHARED = 16384, BLOB_HEAD = 4 };
enum { FIND = 2 * K /* words of one row's finds */ };

/* The blob, in words: lists + 1 starts of lists (in vectors), padded to 4; centroids; vectors. */
static size_t starts_words(const nn_vectors *v) {
    return ((size_t)v->lists + 1 + BLOB_HEAD - 1) / BLOB_HEAD * BLOB_HEAD;
}

static size_t copy_row(float *to, const nn_loose_float *from, int width) {
    bool finite = true;
    for (int i = 0; i < width; i++) {
        to[i] = from[i];
        finite = finite && to[i] - to[i] == 0;
    }
    return finite;
}

static size_t vectors_of(const nn_vectors *v) {
    size_t count = 0;
    for (int i = 0; i < (v->lists ? v->lists : 1); i++) count += v->list[i].count;
    return count;
}

/* Vectors that are none, or not finite, stay out. */
static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                    nn_error *e) {
    (void)w;
    const nn_vectors *v = c->node->u.retrieve.vectors;
    const size_t width = (size_t)v->width, lists = (size_t)v->lists, head = starts_words(v);
    const size_t words = head + (lists + vectors_of(v)) * width;
    if (words > UINT32_MAX / sizeof(float))
        return nn_fail(e, NN_ERROR_DEVICE,
                       "%s: an index of %.1f GB is more than a shader can see: take --device cpu", stem,
                       (double)words * 4e-9);
    *bytes = words * sizeof(float);
    float *blob = *out = calloc(words, sizeof *blob), *centroid = blob + head;
    if (!blob) return nn_fail_memory(e, stem);
    uint32_t *start = *out, count = 0;
    for (size_t i = 0; i < lists; i++) copy_row(centroid + i * width, v->centroids + i * width, v->width);
    float *vectors = centroid + lists * width;
    for (size_t i = 0; i < (lists ? lists : 1); i++) {
        const nn_vector_list *l = &v->list[i];
        start[i] = count;
        for (size_t k = 0; k < l->count; k++)
            if (!l->ids || l->ids[k] >= 0)
                count += (uint32_t)copy_row(vectors + count * width, l->rows + k * width, v->width);
    }
    start[lists ? lists : 0] = count;
    return NN_OK;
}

enum {
    BLOCKS,
    EACH,
    QUERIES,
    CANDIDATES,
    CHOSEN
}; /* plan[]: blocks of rows, their rows; queries a workgroup; words */

static nn_code retrieve_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    const nn_vectors *v = c->node->u.retrieve.vectors;
    nn_code code = nn_vk_pack(k, c, v->name, "vectors", make, e);
    const size_t rows = v->lists ? (size_t)v->lists : vectors_of(v), queries = (size_t)c->node->shape.w;
    /* queries in shared memory beside 8 partial sums for each of 32 rows; as many blocks as keep the device
     * busy */
    c->plan[QUERIES] =
        (intptr_t)((c->traits->shared_bytes < 2 * LEAST_SHARED ? LEAST_SHARED : 2 * LEAST_SHARED) - 2048) /
        (intptr_t)((size_t)v->width * sizeof(float) + 2 * K * sizeof(float));
    if (c->plan[QUERIES] > 8) c->plan[QUERIES] = 8;
    if (c->plan[QUERIES] < 1)
        return nn_fail(e, NN_ERROR_DEVICE, "%s: vectors of %d numbers do not fit", v->name, v->width);
    const size_t tiles = nn_vk_parts(queries, (size_t)c->plan[QUERIES]),
                 wanted = nn_vk_parts(8 * c->traits->units, tiles);
    const size_t most = nn_vk_parts(rows, ROWS), blocks = wanted < most ? wanted : most;
    c->plan[EACH] = (intptr_t)(nn_vk_parts(most ? most : 1, blocks ? blocks : 1) * ROWS);
    c->plan[BLOCKS] = (intptr_t)nn_vk_parts(rows ? rows : 1, (size_t)c->plan[EACH]);
    const size_t probes = v->lists ? (size_t)v->probes : 0;
    const size_t candidates = (size_t)c->plan[BLOCKS] > probes ? (size_t)c->plan[BLOCKS] : probes;
    c->plan[CANDIDATES] = (intptr_t)(queries * candidates * FIND);
    c->plan[CHOSEN] = (intptr_t)(queries * FIND);
    c->node->workspace = (size_t)(c->plan[CANDIDATES] + c->plan[CHOSEN]) * sizeof(float);
    return code;
}

/* Finds for every query among `blocks` blocks: of all rows, or of the lists that were chosen for it. Then the
 * nearest. */
static void search(nn_vk_recorder *r, const nn_vk_call *c, bool in_lists, uint32_t rows_at, uint32_t rows,
                   uint32_t blocks) {
    const nn_node *n = c->node;
    const uint32_t candidates = nn_vk_word(n->workspace_offset), queries = (uint32_t)n->shape.w;
    const uint32_t chosen = candidates + (uint32_t)c->plan[CANDIDATES],
                   tile = in_lists ? 1 : (uint32_t)c->plan[QUERIES];
    const struct {
        uint32_t x, rows_at, rows, each, starts, chosen, out, queries;
    } push = {nn_vk_in(c, 0),         rows_at, rows,       (uint32_t)c->plan[EACH],
              nn_vk_word(c->blob[0]), chosen,  candidates, queries};
    const struct { uint32_t candidates, out, queries, blocks; } merge = {candidates, chosen, queries, blocks};
    nn_vk_reads_inputs(r, c);
    nn_vk_writes(r, n->workspace_offset, n->workspace);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "retrieve_nearest",
                                   .constants = 3,
                                   .constant = {(uint32_t)n->shape.c, tile, in_lists},
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = blocks,
                                   .y = nn_vk_parts(queries, tile)});
    nn_vk_writes(r, n->workspace_offset, n->workspace);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "retrieve_merge",
                                   .push = &merge,
                                   .push_bytes = sizeof merge,
                                   .x = nn_vk_parts(queries, 64)});
}

static void retrieve_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const nn_vectors *v = n->u.retrieve.vectors;
    const uint32_t centroids = nn_vk_word(c->blob[0]) + (uint32_t)starts_words(v);
    const uint32_t vectors = centroids + (uint32_t)v->lists * (uint32_t)v->width;
    if (v->lists) search(r, c, false, centroids, (uint32_t)v->lists, (uint32_t)c->plan[BLOCKS]);
    search(r, c, v->lists > 0, vectors, 0, v->lists ? (uint32_t)v->probes : (uint32_t)c->plan[BLOCKS]);
    const struct {
        uint32_t x, rate, y, vectors, chosen, width;
    } push = {nn_vk_in(c, 0),
              nn_vk_in(c, 1),
              nn_vk_out(c),
              vectors,
              nn_vk_word(n->workspace_offset) + (uint32_t)c->plan[CANDIDATES],
              (uint32_t)v->width};
    nn_vk_reads_inputs(r, c);
    nn_vk_reads(r, n->workspace_offset, n->workspace);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "retrieve_blend",
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = (uint32_t)n->shape.w});
}

const nn_vk_op nn_vk_retrieve = {retrieve_pack, retrieve_record};
