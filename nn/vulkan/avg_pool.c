/* avg_pool.c - the mean of each 2x2 square: [h][w][c] -> [h/2][w/2][c]. */
#include "load.h"

static void avg_pool_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_shape s = c->node->shape;
    const bool four = s.c % 4 == 0;
    const struct {
        uint32_t x, y, count, width, channels;
    } push = {nn_vk_in(c, 0), nn_vk_out(c), (uint32_t)(nn_elements(s) / (four ? 4 : 1)), (uint32_t)s.w,
              (uint32_t)s.c};
    nn_vk_run_elements(r, c, "avg_pool", four, &push, sizeof push);
}

const nn_vk_op nn_vk_avg_pool = {nn_vk_pack_nothing, avg_pool_record};
