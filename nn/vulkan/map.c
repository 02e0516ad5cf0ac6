/* map.c - element-wise steps that found no op to be fused into: out = steps(in[0]). */
#include "op.h"

static nn_code map_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    return nn_vk_pack_steps(k, c, e);
}

static void map_record(nn_vk_recorder *r, const nn_vk_call *c) {
    struct {
        uint32_t x, y, count, channels, step[NN_MAX_STEPS];
    } push = {nn_vk_in(c, 0), nn_vk_out(c), 0, (uint32_t)c->node->shape.c, {0}};
    const bool four = push.channels % 4 == 0;
    push.count = (uint32_t)(nn_elements(c->node->shape) / (four ? 4 : 1));
    nn_vk_step_arguments(c, push.step);
    const uint32_t groups = nn_vk_parts(push.count, 256);
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "map",
                                   .steps = c,
                                   .constants = 1,
                                   .constant = {four},
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = groups < NN_VK_MAX_GROUPS ? groups : NN_VK_MAX_GROUPS});
}

const nn_vk_op nn_vk_map = {map_pack, map_record};
