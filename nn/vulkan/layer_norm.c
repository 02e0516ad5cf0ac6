/* layer_norm.c - per row over channels: y = (x - mean) / sqrt(var + 1e-5) gamma + beta, then the node's
 * steps. */
#include "load.h"

enum { THREADS = 64 };

/* float32 gamma [channels], beta [channels]. Checkpoints call them weight and bias, VITS calls them gamma and
 * beta. */
static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                    nn_error *e) {
    static const char *const suffix[2][2] = {{".weight", ".bias"}, {".gamma", ".beta"}};
    char name[NN_VK_NAME];
    const nn_code code = nn_vk_join(name, stem, ".gamma", e);
    const int greek = !code && nn_weights_peek(w, name);
    return code ? code : nn_vk_load_pair(out, bytes, w, stem, suffix[greek], c->node->shape.c, e);
}

static nn_code layer_norm_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    const nn_code code = nn_vk_pack(k, c, c->node->name, "layer_norm", make, e);
    return code ? code : nn_vk_pack_steps(k, c, e);
}

static void layer_norm_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_shape s = c->node->shape;
    struct {
        uint32_t x, y, gamma, rows, step[NN_MAX_STEPS];
    } push = {nn_vk_in(c, 0), nn_vk_out(c), nn_vk_word(c->blob[0]), (uint32_t)nn_rows(s), {0}};
    nn_vk_step_arguments(c, push.step);
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "layer_norm",
                                   .steps = c,
                                   .constants = 2,
                                   .constant = {THREADS, (uint32_t)s.c},
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = nn_vk_grid(push.rows, 1)});
}

const nn_vk_op nn_vk_layer_norm = {layer_norm_pack, layer_norm_record};
