/* concat.c - of each row, a's channels and then b's. */
#include "load.h"

static void concat_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const uint32_t a = (uint32_t)c->node->in[0]->shape.c, b = (uint32_t)c->node->in[1]->shape.c;
    const bool four = a % 4 == 0 && b % 4 == 0;
    const struct {
        uint32_t a, b, y, count, a_channels, b_channels;
    } push = {nn_vk_in(c, 0),
              nn_vk_in(c, 1),
              nn_vk_out(c),
              (uint32_t)(nn_elements(c->node->shape) / (four ? 4 : 1)),
              a,
              b};
    nn_vk_run_elements(r, c, "concat", four, &push, sizeof push);
}

const nn_vk_op nn_vk_concat = {nn_vk_pack_nothing, concat_record};
