/* group_norm.c - over all rows and the channels of a group: y = (x - mean) / sqrt(var + 1e-5) gamma + beta,
 * then the node's steps. With as many groups as channels this is HuBERT's instance norm over time.
 *
 * Three dispatches: each channel's mean and M2 = sum (x - mean)^2 within blocks of BLOCK rows; their
 * combination per group; the result applied. The order of every sum is fixed by the shape. */
#include "load.h"

enum { BLOCK = 256, TILE = 32, THREADS = 64 }; /* as in the shaders */

static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                    nn_error *e) {
    static const char *const suffix[2] = {".weight", ".bias"};
    return nn_vk_load_pair(out, bytes, w, stem, suffix, c->node->shape.c, e);
}

static size_t blocks_of(const nn_node *n) {
    return nn_vk_parts(nn_rows(n->shape), BLOCK);
}

/* Workspace, floats: mean [channels][blocks], M2 [channels][blocks]; of each channel its group's mean
 * [channels] and gamma / sqrt(var + 1e-5) [channels]. */
static size_t block_floats(const nn_node *n) {
    return 2 * blocks_of(n) * (size_t)n->shape.c;
}
static size_t result_floats(const nn_node *n) {
    return 2 * (size_t)n->shape.c;
}

static nn_code group_norm_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    c->node->workspace = (block_floats(c->node) + result_floats(c->node)) * sizeof(float);
    const nn_code code = nn_vk_pack(k, c, c->node->name, "group_norm", make, e);
    return code ? code : nn_vk_pack_steps(k, c, e);
}

static void group_norm_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const uint32_t channels = (uint32_t)n->shape.c, groups = (uint32_t)n->u.group_norm.groups;
    const size_t at = n->workspace_offset, of_blocks = block_floats(n) * sizeof(float),
                 of_results = result_floats(n) * sizeof(float);
    const bool four = channels % 4 == 0;
    struct {
        uint32_t x, y, gamma, rows, channels, blocks, partial, result, groups, count, step[NN_MAX_STEPS];
    } push = {nn_vk_in(c, 0),
              nn_vk_out(c),
              nn_vk_word(c->blob[0]),
              (uint32_t)nn_rows(n->shape),
              channels,
              (uint32_t)blocks_of(n),
              nn_vk_word(at),
              nn_vk_word(at + of_blocks),
              groups,
              (uint32_t)(nn_elements(n->shape) / (four ? 4 : 1)),
              {0}};
    nn_vk_step_arguments(c, push.step);
    nn_vk_dispatch d = {.push = &push, .push_bytes = sizeof push};

    nn_vk_reads_inputs(r, c);
    nn_vk_writes(r, at, of_blocks);
    d.shader = "group_norm_blocks";
    d.x = nn_vk_parts(channels, TILE);
    d.y = nn_vk_grid(push.blocks, 1);
    nn_vk_run(r, &d);

    nn_vk_reads(r, at, of_blocks);
    nn_vk_writes(r, at + of_blocks, of_results);
    d.shader = "group_norm_combine";
    d.x = nn_vk_grid(groups, 1);
    d.y = 1;
    nn_vk_run(r, &d);

    nn_vk_reads(r, at + of_blocks, of_results);
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    d.shader = "group_norm";
    d.steps = c;
    d.constants = 1;
    d.constant[0] = four;
    d.x = nn_vk_grid(push.count, 256);
    nn_vk_run(r, &d);
}

const nn_vk_op nn_vk_group_norm = {group_norm_pack, group_norm_record};
