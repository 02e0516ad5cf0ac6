/* source.c - the excitation: a sine whose phase runs on from frame to frame, and noise (Wang, Takaki,
 * Yamagishi 2019).
 *
 * First each frame's phase at its start, a sum over all frames before, then the samples. A phase is a
 * fraction of a turn in 32 bits: its sum wraps as it should, and is exact to 2^-32 a frame however long the
 * signal. */
#include "load.h"

typedef struct parameters {
    uint32_t f0, noise, y, starts, frames, row, upp, frame[2], sample[2];
} parameters;

static nn_code source_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    (void)k, (void)e;
    const int frames = c->node->shape.w / c->node->u.source.upp;
    c->node->workspace = (size_t)(c->node->u.source.row + frames) * sizeof(uint32_t);
    return NN_OK;
}

/* a/b * 2^64 for a < b, by long division: high word, low word. */
static void fraction(uint32_t out[2], uint64_t a, uint64_t b) {
    for (int bit = 63; bit >= 0; bit--) {
        a *= 2;
        out[1 - bit / 32] |= (uint32_t)(a >= b) << bit % 32;
        a -= a >= b ? b : 0;
    }
}

static void source_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const uint32_t upp = (uint32_t)n->u.source.upp, rate = (uint32_t)n->u.source.rate;
    parameters push = {.f0 = nn_vk_in(c, 0),
                       .noise = nn_vk_in(c, 1),
                       .y = nn_vk_out(c),
                       .starts = nn_vk_word(n->workspace_offset),
                       .frames = (uint32_t)(n->workspace / sizeof(uint32_t)),
                       .row = (uint32_t)n->u.source.row,
                       .upp = upp};
    fraction(push.frame, upp, rate);
    fraction(push.sample, 1, rate);
    nn_vk_reads(r, n->in[0]->offset, push.frames * sizeof(float));
    nn_vk_writes(r, n->workspace_offset, n->workspace);
    nn_vk_run(r,
              &(nn_vk_dispatch){.shader = "source_phase", .push = &push, .push_bytes = sizeof push, .x = 1});
    push.frames = (uint32_t)n->shape.w / upp;
    nn_vk_reads_inputs(r, c);
    nn_vk_reads(r, n->workspace_offset, n->workspace);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "source",
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = nn_vk_grid((size_t)push.frames * upp, 256)});
}

const nn_vk_op nn_vk_source = {source_pack, source_record};
