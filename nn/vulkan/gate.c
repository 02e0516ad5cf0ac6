/* gate.c - of 2 C channels in, tanh(the first C) * sigmoid(the last C). */
#include "load.h"

static void gate_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const bool four = c->node->shape.c % 4 == 0;
    const struct {
        uint32_t x, y, count, channels;
    } push = {nn_vk_in(c, 0), nn_vk_out(c), (uint32_t)(nn_elements(c->node->shape) / (four ? 4 : 1)),
              (uint32_t)c->node->shape.c};
    nn_vk_run_elements(r, c, "gate", four, &push, sizeof push);
}

const nn_vk_op nn_vk_gate = {nn_vk_pack_nothing, gate_record};
