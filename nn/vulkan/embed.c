/* embed.c - rows of a table by int32 index. An index outside the table takes its nearest row: what a run is
 * given can never make it read outside. */
#include "load.h"

enum { ROWS }; /* plan[]: of the table */

/* The table as it is: float32 [rows][channels]. */
static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                    nn_error *e) {
    float *table = NULL;
    const nn_code code =
        nn_vk_load(&table, w, stem, ".weight", 2, (int64_t[]){c->plan[ROWS], c->node->shape.c}, e);
    *out = table;
    *bytes = (size_t)c->plan[ROWS] * (size_t)c->node->shape.c * sizeof(float);
    return code;
}

static nn_code embed_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    char name[NN_VK_NAME];
    const nn_code code = nn_vk_join(name, c->node->name, ".weight", e);
    if (code) return code;
    const nn_weight *weight = nn_weights_peek(nn_vk_weights(k), name);
    c->plan[ROWS] = weight && weight->rank == 2 && weight->shape[0] > 0 ? (intptr_t)weight->shape[0] : 1;
    return nn_vk_pack(k, c, c->node->name, "embed", make, e);
}

static void embed_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const struct {
        uint32_t index, y, table, count, channels, rows;
    } push = {nn_vk_in(c, 0),         nn_vk_out(c),
              nn_vk_word(c->blob[0]), (uint32_t)nn_elements(n->shape),
              (uint32_t)n->shape.c,   (uint32_t)c->plan[ROWS]};
    nn_vk_run_elements(r, c, "embed", false, &push, sizeof push);
}

const nn_vk_op nn_vk_embed = {embed_pack, embed_record};
