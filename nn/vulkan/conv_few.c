/* conv_few.c - convolutions of a few factors and not many channels: the first of a network, which make channels out of one.
 * (Of more than MOST_OUT each invocation would wait for more weights than the plain shader, which shares them.) */
#include "conv_few.h"

#include "conv_weights.h"

enum { MOST_CHANNELS = 8, MOST_OUT = 64, MOST_FACTORS = 64, THREADS = 256, ENOUGH = 1024 };

/* Channels, rows of an invocation: more rows share weights, but there should be ENOUGH invocations for every
 * unit. */
static int channels_of(const nn_node *n) {
    return n->shape.c % 8 == 0 ? 8 : 4;
}
static uint32_t rows_of(const nn_node *n, const nn_vk_traits *traits) {
    return nn_elements(n->shape) / (size_t)(4 * channels_of(n)) >= (size_t)traits->units * ENOUGH ? 4 : 2;
}
static uint32_t blocks_of(const nn_node *n, const nn_vk_traits *traits) {
    return nn_vk_parts(nn_rows(n->shape), rows_of(n, traits));
}
static uint32_t groups_of(const nn_node *n, const nn_vk_traits *traits) {
    return nn_vk_parts((size_t)blocks_of(n, traits) * (size_t)(n->shape.c / channels_of(n)), THREADS);
}

bool nn_vk_conv_few_takes(const nn_node *n, const nn_vk_traits *traits) {
    const nn_conv_params *p = &n->u.conv;
    const int c = n->in[0]->shape.c;
    return !traits->conv && !p->transposed && p->groups == 1 && p->dilation == 1 && c < MOST_CHANNELS &&
           n->shape.c <= MOST_OUT && c * p->kernel_h * p->kernel_w <= MOST_FACTORS && n->shape.c % 4 == 0 &&
           (p->stride == 1 || n->in[0]->shape.h == 1) && groups_of(n, traits) <= NN_VK_MAX_GROUPS;
}

nn_code nn_vk_conv_few_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    return nn_vk_conv_pack(k, c, "conv", nn_vk_conv_make, e);
}

void nn_vk_conv_few_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const nn_conv_params *p = &n->u.conv;
    const nn_shape in = n->in[0]->shape;
    const nn_vk_conv_layout l = nn_vk_conv_layout_of(n, c->traits->f16);
    struct {
        uint32_t x, y, bias, weights, rows, blocks, h, w, out_w;
        float slope;
        uint32_t step[NN_MAX_STEPS];
    } push = {nn_vk_in(c, 0),
              nn_vk_out(c),
              nn_vk_word(c->blob[0] + l.bias_at),
              (uint32_t)((c->blob[0] + l.matrices_at) / (c->traits->f16 ? 2 : 4)),
              (uint32_t)nn_rows(n->shape),
              blocks_of(n, c->traits),
              (uint32_t)in.h,
              (uint32_t)in.w,
              (uint32_t)n->shape.w,
              p->pre.value,
              {0}};
    nn_vk_step_arguments(c, push.step);
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "conv_few",
                                   .steps = c,
                                   .constants = 10,
                                   .constant = {(uint32_t)in.c, (uint32_t)n->shape.c, (uint32_t)l.pitch,
                                                (uint32_t)p->kernel_h, (uint32_t)p->kernel_w,
                                                (uint32_t)p->stride, (uint32_t)p->pad_h, (uint32_t)p->pad_w,
                                                nn_vk_conv_pre(n), rows_of(n, c->traits)},
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = groups_of(n, c->traits)});
}
