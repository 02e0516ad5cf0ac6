/* conv_weights.c - folds and lays out a convolution's weights for the shaders. */
#include "conv_weights.h"

#include <stdlib.h>
#include <string.h>

#include "../cpu/conv_fold.h"

enum { FEW_CHANNELS = 8, ALIGN = 256 };

/* Kernel positions that reach the outputs of phase f on an axis: position[i] reads input first + i *
 * dilation. */
typedef struct axis {
    int taps, first, position, step; /* first tap's position in the kernel, and from tap to tap */
} axis;

static axis axis_of(const nn_conv_params *p, int kernel, int pad, int f) {
    if (!p->transposed) return (axis){kernel, -pad, 0, 1};
    axis a = {0, 0, 0, -p->stride};
    for (int j = kernel - 1; j >= 0; j--)
        if ((f + pad - j) % p->stride == 0) {
            if (!a.taps++) {
                a.position = j;
                a.first = (f + pad - j) / p->stride;
            }
        }
    return a;
}

static axis axis_y(const nn_conv_params *p, int f) {
    return axis_of(p, p->kernel_h, p->pad_h, f);
}
static axis axis_x(const nn_conv_params *p, int f) {
    return axis_of(p, p->kernel_w, p->pad_w, f);
}

nn_vk_conv_layout nn_vk_conv_layout_of(const nn_node *n, bool f16) {
    const nn_conv_params *p = &n->u.conv;
    const int c_in = n->in[0]->shape.c / p->groups, c_out = n->shape.c / p->groups;
    nn_vk_conv_layout l = {.phases_y = p->transposed && p->kernel_h > 1 ? p->stride : 1,
                           .phases_x = p->transposed ? p->stride : 1,
                           .channels = c_in,
                           .pitch = (c_out + 7) & ~7};
    l.flat = !p->transposed && p->groups == 1 && p->dilation == 1 && p->kernel_h == 1 &&
             n->in[0]->shape.h == 1 && c_in < FEW_CHANNELS && p->kernel_w > 1;
    size_t matrices = 0;
    for (int f = 0; f < l.phases_y * l.phases_x; f++) {
        const int taps = axis_y(p, f / l.phases_x).taps * axis_x(p, f % l.phases_x).taps;
        if (taps > l.taps) l.taps = taps;
        matrices += (size_t)taps * (size_t)p->groups;
    }
    const size_t table = (size_t)(l.phases_y * l.phases_x) * NN_VK_CONV_PHASE * 4;
    l.bias_at = (table + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    l.matrices_at = l.bias_at + (((size_t)n->shape.c * 4 + ALIGN - 1) & ~(size_t)(ALIGN - 1));
    l.bytes = l.matrices_at + matrices * (size_t)c_in * (size_t)l.pitch * (f16 ? 2 : 4);
    l.bytes = (l.bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (l.flat) {
        l.channels = c_in * p->kernel_w;
        l.taps = 1;
    }
    return l;
}

int nn_vk_conv_span(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    if (!p->transposed) return (p->kernel_w - 1) * p->dilation;
    int most = 0;
    for (int f = 0; f < p->stride; f++) {
        const int taps = axis_x(p, f).taps;
        if (taps > most) most = taps;
    }
    return most - 1;
}

/* v as the float16 nearest to it and what that lacks, times 2048 lest it be too small; 8 of the first, then 8
 * of the second. */
static void put_pair(uint16_t *matrix, size_t at, float v) {
    uint16_t *to = matrix + (at & ~(size_t)7) * 2 + (at & 7);
    to[0] = nn_vk_half(v);
    to[8] = nn_vk_half((v - nn_vk_float(to[0])) * 2048);
}

/* One matrix [c_in][pitch]: kernel position (ky, kx) of group g. Walks the output channels in the inner loop,
 * in blocks of input channels that stay in cache, so that both sides are read and written in runs. */
static void place_matrix(const nn_conv_folded *s, int g, int ky, int kx, int pitch, nn_vk_conv_form form,
                         void *to) {
    const nn_conv_params *p = &s->node->u.conv;
    const int outs = s->c_out / p->groups;
    enum { BLOCK = 16 };
    for (int c0 = 0; c0 < s->c_in; c0 += BLOCK)
        for (int n = 0; n < outs; n++)
            for (int c = c0; c < s->c_in && c < c0 + BLOCK; c++) {
                const float v = nn_conv_weight_at(s, g * outs + n, c, ky, kx);
                const size_t at = (size_t)c * (size_t)pitch + (size_t)n;
                if (form == NN_VK_CONV_F16)
                    ((uint16_t *)to)[at] = nn_vk_half(v);
                else if (form == NN_VK_CONV_PAIRS)
                    put_pair(to, at, v);
                else
                    ((float *)to)[at] = v;
            }
}

static void place(const nn_conv_folded *s, const nn_vk_conv_layout *l, nn_vk_conv_form form, char *blob) {
    const nn_conv_params *p = &s->node->u.conv;
    const size_t one = (size_t)s->c_in * (size_t)l->pitch, size = form == NN_VK_CONV_F16 ? 2 : 4;
    size_t at = 0; /* elements from the first matrix */
    memcpy(blob + l->bias_at, s->bias, (size_t)s->c_out * sizeof(float));
    for (int f = 0; f < l->phases_y * l->phases_x; f++) {
        const int y = f / l->phases_x, x = f % l->phases_x;
        const axis ay = axis_y(p, y), ax = axis_x(p, x);
        int32_t row[NN_VK_CONV_PHASE] = {y, x, ay.taps, ax.taps, ay.first, ax.first, (int32_t)at, 0};
        if (l->flat) {
            row[3] = 1;
            row[5] = -p->pad_w * s->c_in;
        }
        memcpy(blob + (size_t)f * sizeof row, row, sizeof row);
        for (int g = 0; g < p->groups; g++)
            for (int i = 0; i < ay.taps; i++)
                for (int j = 0; j < ax.taps; j++, at += one)
                    place_matrix(s, g, ay.position + i * ay.step, ax.position + j * ax.step, l->pitch, form,
                                 blob + l->matrices_at + at * size);
    }
}

static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_vk_conv_form form,
                    nn_weights *w, nn_error *e) {
    const nn_vk_conv_layout l = nn_vk_conv_layout_of(c->node, form == NN_VK_CONV_F16);
    nn_conv_folded folded;
    nn_code code = nn_conv_fold(&folded, c->node, w, e);
    if (code) return code;
    char *blob = calloc(1, l.bytes);
    if (blob)
        place(&folded, &l, form, blob);
    else
        code = nn_fail_memory(e, stem);
    nn_conv_unfold(&folded);
    *out = blob;
    *bytes = l.bytes;
    return code;
}

nn_code nn_vk_conv_make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                        nn_error *e) {
    return make(out, bytes, c, stem, c->traits->f16 ? NN_VK_CONV_F16 : NN_VK_CONV_F32, w, e);
}

nn_code nn_vk_conv_make_pairs(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                              nn_error *e) {
    return make(out, bytes, c, stem, NN_VK_CONV_PAIRS, w, e);
}
