/* slice.c - of row u.slice.row and each after it, the channels u.slice.from and after. */
#include "load.h"

static void slice_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const uint32_t all = (uint32_t)c->node->in[0]->shape.c, kept = (uint32_t)c->node->shape.c;
    const uint32_t from = (uint32_t)c->node->u.slice.from;
    const bool four = all % 4 == 0 && kept % 4 == 0 && from % 4 == 0;
    const struct {
        uint32_t x, y, count, all, kept;
    } push = {nn_vk_in(c, 0) + (uint32_t)c->node->u.slice.row * all + from, nn_vk_out(c),
              (uint32_t)(nn_elements(c->node->shape) / (four ? 4 : 1)), all, kept};
    nn_vk_run_elements(r, c, "slice", four, &push, sizeof push);
}

const nn_vk_op nn_vk_slice = {nn_vk_pack_nothing, slice_record};
