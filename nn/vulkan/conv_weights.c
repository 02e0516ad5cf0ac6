/* conv_weights.c - folds and lays out a convolution's weights for the shaders. */
#include "conv_weights.h"

#include <stdio.h>
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

uint32_t nn_vk_conv_pre(const nn_node *n) {
    const nn_step_kind kind = n->u.conv.pre.kind;
    return kind == NN_STEP_COUNT ? 255 : (uint32_t)kind;
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

/* A matrix of each group: its position in the kernel, and how many elements behind the first matrix group 0's
 * lies, and behind that of the group before any other's. */
typedef struct matrix {
    size_t position, at, step;
} matrix;

/* A tile of weights is a few rows of matrices, that is input channels, by so many output channels. */
enum { TILE_C = 16, TILE_N = 32 };

/* A row of a tile into n elements of a matrix, n a multiple of 8. Pairs: the float16 nearest to v and what
 * that lacks, times 2048 lest it be too small; eight of the first, then eight of the second. */
static void put_row(const float v[TILE_N], int n, nn_vk_conv_form form, char *to) {
    uint16_t near[TILE_N], rest[TILE_N];
    float back[TILE_N];
    if (form == NN_VK_CONV_F32) {
        memcpy(to, v, (size_t)n * sizeof *v);
        return;
    }
    nn_vk_halves(near, v, TILE_N);
    if (form == NN_VK_CONV_F16) {
        memcpy(to, near, (size_t)n * sizeof *near);
        return;
    }
    nn_vk_floats(back, near, TILE_N);
    for (int i = 0; i < TILE_N; i++) back[i] = (v[i] - back[i]) * 2048;
    nn_vk_halves(rest, back, TILE_N);
    for (int i = 0; i < n; i += 8) {
        memcpy(to + 4 * i, near + i, 8 * sizeof *near);
        memcpy(to + 4 * i + 16, rest + i, 8 * sizeof *rest);
    }
}

/* All matrices [c_in][pitch] of group g, tile by tile, so that what is read stays in the cache for all of
 * them. Columns beyond the last output channel are zero. */
static void place_group(const nn_conv_folded *s, int g, const matrix *m, size_t count, int pitch,
                        nn_vk_conv_form form, char *matrices) {
    const nn_conv_params *p = &s->node->u.conv;
    const int outs = s->c_out / p->groups;
    const size_t taps = (size_t)p->kernel_h * (size_t)p->kernel_w, size = form == NN_VK_CONV_F16 ? 2 : 4;
    const size_t per_in = p->transposed ? (size_t)s->c_out * taps : taps,
                 per_out = p->transposed ? taps : (size_t)s->c_in * taps;
    for (int c0 = 0; c0 < s->c_in; c0 += TILE_C)
        for (int n0 = 0; n0 < pitch; n0 += TILE_N) {
            const int columns = pitch - n0 < TILE_N ? pitch - n0 : TILE_N;
            const int there = outs - n0 < columns ? outs - n0 : columns;
            for (size_t i = 0; i < count; i++)
                for (int c = c0; c < s->c_in && c < c0 + TILE_C; c++) {
                    const size_t at =
                        m[i].at + (size_t)g * m[i].step + (size_t)c * (size_t)pitch + (size_t)n0;
                    const float *from =
                        s->weight + (size_t)(g * outs + n0) * per_out + (size_t)c * per_in + m[i].position;
                    float v[TILE_N];
                    for (int n = 0; n < there; n++) v[n] = from[(size_t)n * per_out];
                    for (int n = there; n < TILE_N; n++) v[n] = 0;
                    put_row(v, columns, form, matrices + at * size);
                }
        }
}

/* The table; and a group's matrices, as many as the kernel has positions. */
static void place_table(const nn_conv_folded *s, const nn_vk_conv_layout *l, char *blob, matrix *m) {
    const nn_conv_params *p = &s->node->u.conv;
    const size_t one = (size_t)s->c_in * (size_t)l->pitch;
    size_t at = 0; /* elements from the first matrix */
    for (int f = 0; f < l->phases_y * l->phases_x; f++) {
        const int y = f / l->phases_x, x = f % l->phases_x;
        const axis ay = axis_y(p, y), ax = axis_x(p, x);
        int32_t row[NN_VK_CONV_PHASE] = {y, x, ay.taps, ax.taps, ay.first, ax.first, (int32_t)at, 0};
        if (l->flat) {
            row[3] = 1;
            row[5] = -p->pad_w * s->c_in;
        }
        memcpy(blob + (size_t)f * sizeof row, row, sizeof row);
        const size_t step = (size_t)(ay.taps * ax.taps) * one;
        for (int i = 0; i < ay.taps; i++)
            for (int j = 0; j < ax.taps; j++) {
                const int ky = ay.position + i * ay.step, kx = ax.position + j * ax.step;
                *m++ = (matrix){(size_t)(ky * p->kernel_w + kx), at + (size_t)(i * ax.taps + j) * one, step};
            }
        at += (size_t)p->groups * step;
    }
}

static nn_code place(const nn_conv_folded *s, const nn_vk_conv_layout *l, nn_vk_conv_form form, char *blob,
                     nn_error *e) {
    const nn_conv_params *p = &s->node->u.conv;
    const size_t count = (size_t)p->kernel_h * (size_t)p->kernel_w;
    matrix *m = malloc(count * sizeof *m);
    if (!m) return nn_fail_memory(e, s->node->name);
    memcpy(blob + l->bias_at, s->bias, (size_t)s->c_out * sizeof(float));
    place_table(s, l, blob, m);
    for (int g = 0; g < p->groups; g++) place_group(s, g, m, count, l->pitch, form, blob + l->matrices_at);
    free(m);
    return NN_OK;
}

static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_vk_conv_form form,
                    nn_weights *w, nn_error *e) {
    const nn_vk_conv_layout l = nn_vk_conv_layout_of(c->node, form == NN_VK_CONV_F16);
    nn_conv_folded folded;
    nn_code code = nn_conv_fold(&folded, c->node, w, e);
    if (code) return code;
    char *blob = calloc(1, l.bytes);
    code = blob ? place(&folded, &l, form, blob, e) : nn_fail_memory(e, stem);
    nn_conv_unfold(&folded);
    if (code) free(blob);
    *out = code ? NULL : blob;
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

nn_code nn_vk_conv_pack(nn_vk_packer *k, nn_vk_call *c, const char *layout, nn_vk_make *maker, nn_error *e) {
    char folds[NN_CONV_FORM], kind[NN_CONV_FORM + 16];
    nn_conv_form(c->node, folds);
    snprintf(kind, sizeof kind, "%s%d|%s", layout, c->traits->f16 ? 16 : 32, folds);
    const nn_code code = nn_vk_pack(k, c, c->node->name, kind, maker, e);
    return code ? code : nn_vk_pack_steps(k, c, e);
}
