/* embed.c - rows of a table by int32 index. An index outside the table takes its nearest row: what a run is
 * given can never make it read outside. */
#include "pack.h"
#include "rows.h"

/* The blob: the number of rows as int64_t, then, TABLE floats from its start, the rows. */
enum { TABLE = 16 };

void NN_KERNEL(embed, setup)(nn_call *c) {
    nn_rows_split(c, c->node->shape.h * c->node->shape.w, c->node->shape.c);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(embed, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const size_t channels = (size_t)c->node->shape.c;
    const float *blob = c->node->blob[0];
    int64_t count;
    memcpy(&count, blob, sizeof count);
    for (int r = nn_rows_from(c, task); r < nn_rows_to(c, task); r++) {
        int32_t index;
        memcpy(&index, c->in[0] + r, sizeof index);
        const size_t at = index < 0 ? 0 : index < count ? (size_t)index : (size_t)(count - 1);
        memcpy(c->out + (size_t)r * channels, blob + TABLE + at * channels, channels * sizeof(float));
    }
}

static nn_code make(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                    nn_error *e) {
    char name[NN_PACK_NAME];
    nn_code code = nn_pack_join(name, stem, ".weight", e);
    if (code) return code;
    const nn_weight *weight = nn_weights_peek(w, name);
    const int64_t count = weight && weight->rank == 2 && weight->shape[0] > 0 ? weight->shape[0] : 1;
    float *table = NULL;
    code = nn_weights_load(w, name, 2, (int64_t[]){count, n->shape.c}, &table, e);
    const size_t floats = (size_t)count * (size_t)n->shape.c;
    if (!code && !(*out = nn_pack_new(TABLE + floats, bytes))) code = nn_fail_memory(e, stem);
    if (!code) {
        memcpy(*out, &count, sizeof count);
        memcpy(*out + TABLE, table, floats * sizeof(float));
    }
    free(table);
    return code;
}

nn_code NN_KERNEL(embed, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    return nn_pack_once(n, w, n->name, "embed", make, e);
}
