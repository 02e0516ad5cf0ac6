/* planar.c - [h][w][c] -> [h][c][w]: of each line, the transpose. */
#include "load.h"

static void planar_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_shape s = c->node->in[0]->shape;
    const struct {
        uint32_t x, y, count, width, channels;
    } push = {nn_vk_in(c, 0), nn_vk_out(c), (uint32_t)nn_elements(s), (uint32_t)s.w, (uint32_t)s.c};
    nn_vk_run_elements(r, c, "planar", false, &push, sizeof push);
}

const nn_vk_op nn_vk_planar = {nn_vk_pack_nothing, planar_record};
