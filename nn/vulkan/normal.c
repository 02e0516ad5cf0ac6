/* normal.c - elements of a stream of normal numbers (normal.h), times a factor: an invocation makes a block
 * of four. */
#include "load.h"

static void normal_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const bool scaled = c->node->n_in > 1;
    const uint32_t count = (uint32_t)nn_elements(c->node->shape);
    const struct {
        uint32_t place, factor, y, count, channels, row, stream;
    } push = {nn_vk_in(c, 0),
              scaled ? nn_vk_in(c, 1) : 0,
              nn_vk_out(c),
              count,
              (uint32_t)c->node->shape.c,
              (uint32_t)c->node->u.normal.row,
              c->node->u.normal.stream};
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "normal",
                                   .constants = 1,
                                   .constant = {scaled},
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = nn_vk_grid(count / 4 + 2, 256)});
}

const nn_vk_op nn_vk_normal = {nn_vk_pack_nothing, normal_record};
