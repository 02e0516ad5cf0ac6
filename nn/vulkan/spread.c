/* spread.c - frame t is x[t/2]; where there is a second input and no pitch, protect x[t/2] + (1 - protect)
 * own[t/2]. */
#include "load.h"

static void spread_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const bool protects = c->node->n_in > 1, four = c->node->shape.c % 4 == 0;
    const struct {
        uint32_t x, own, f0, protect, y, count, channels;
    } push = {nn_vk_in(c, 0),
              protects ? nn_vk_in(c, 1) : 0,
              protects ? nn_vk_in(c, 2) : 0,
              protects ? nn_vk_in(c, 3) : 0,
              nn_vk_out(c),
              (uint32_t)(nn_elements(c->node->shape) / (four ? 4 : 1)),
              (uint32_t)c->node->shape.c};
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "spread",
                                   .constants = 2,
                                   .constant = {four, protects},
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = nn_vk_grid(push.count, 256)});
}

const nn_vk_op nn_vk_spread = {nn_vk_pack_nothing, spread_record};
