/* toom_pack.c - transforms a convolution's weights for the Toom-Cook form, in double, once at load.
 *
 * With points p_0 .. p_(n-2) and infinity, the transform of r taps g is
 *   U_i = f_i * sum_j g_j p_i^j / prod_(q != i) (p_i - p_q),   U_inf = f_inf * g_(r-1)
 * where f_i are the powers of two that toom_cook.h divides its input transform by. */
#include "toom_pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv_fold.h"

typedef struct form {
    int points, taps,
        stride; /* every stride-th tap; those between follow as points of their own, as they are */
    double point[NN_TOOM_POINTS - 1], factor[NN_TOOM_POINTS];
} form;
static const form three = {6, 3, 1, {0, 0.625, -0.625, 1.5, -1.5}, {4, 4, 4, 2, 2, 4}};
static const form four = {7, 4, 1, {0, 1, -1, 2, -2, 0.5}, {8, 4, 8, 4, 4, 8, 8}};

static const form strided = {5, 2, 2, {0, 0.5, -1, 2}, {1, 1, 1, 1, 1}};

static const form *form_of(const nn_node *n) {
    return n->u.conv.stride == 2 ? &strided : n->u.conv.kernel_w == 3 ? &three : &four;
}

bool nn_toom_suits(const nn_node *n, int vector) {
    const nn_conv_params *p = &n->u.conv;
    int c_in = n->in[0]->shape.c / p->groups, c_out = n->shape.c / p->groups;
    bool image = p->kernel_h > 1;
    if (p->transposed || p->stride != 1 || p->kernel_w < 3 || p->kernel_w > (p->groups > 1 ? 128 : 16))
        return false;
    if (p->pre.kind != NN_STEP_COUNT && p->pre.kind != NN_STEP_RELU && p->pre.kind != NN_STEP_LEAKY_RELU)
        return false;
    if (p->pre.kind == NN_STEP_LEAKY_RELU && !(p->pre.value >= 0 && p->pre.value <= 1)) return false;
    if (image && (p->kernel_w != 3 || c_in * c_out > 128 * 256)) return false;
    return c_in % vector == 0 && c_out >= vector;
}

bool nn_toom_suits_strided(const nn_node *n, int vector) {
    enum { LEAST = 256, MOST = 768 }; /* channels */
    const nn_conv_params *p = &n->u.conv;
    const int c_in = n->in[0]->shape.c, c_out = n->shape.c;
    return !p->transposed && p->kernel_h == 1 && p->kernel_w == 3 && p->stride == 2 && p->dilation == 1 &&
           !p->pad_w && p->groups == 1 && p->pre.kind == NN_STEP_COUNT && c_in % (2 * vector) == 0 &&
           c_in >= LEAST && c_in <= MOST && c_out % (4 * vector) == 0 && c_out >= LEAST;
}

/* What tap j counts at a point: U_i = sum_j matrix[i][j] g_j. */
static void transform_matrix(const form *f, double matrix[NN_TOOM_POINTS][4]) {
    memset(matrix, 0, NN_TOOM_POINTS * sizeof *matrix);
    for (int i = 0; i + 1 < f->points; i++) {
        double power = f->factor[i];
        for (int q = 0; q + 1 < f->points; q++)
            if (q != i) power /= f->point[i] - f->point[q];
        for (int j = 0; j < f->taps; j++, power *= f->point[i]) matrix[i][j] = power;
    }
    matrix[f->points - 1][f->taps - 1] = f->factor[f->points - 1];
}

/* The output channel of a panel's column; -1 beyond its group's last. */
static int output_at(const nn_node *n, const nn_toom_pack *k, int panel, int column) {
    const int groups = n->u.conv.groups, panels = k->panels / groups, channels = n->shape.c / groups;
    const int inner = panel % panels * k->columns + column;
    return inner < channels ? panel / panels * channels + inner : -1;
}

static void pack_panel(const nn_conv_folded *s, const form *f, const nn_toom_pack *k, int panel, int columns,
                       float *to) {
    const int taps = s->node->u.conv.kernel_w;
    double matrix[NN_TOOM_POINTS][4];
    transform_matrix(f, matrix);
    for (int point = 0; point < k->points; point++) {
        memset(to, 0, (size_t)columns * sizeof *to);
        to += columns;
        for (int y = 0; y < k->segments; y++)
            for (int piece = 0; piece < k->pieces; piece++)
                for (int c = 0; c < s->c_in; c++, to += columns)
                    for (int n = 0; n < columns; n++) {
                        const int out = output_at(s->node, k, panel, n), first = piece * f->taps;
                        double sum = 0;
                        if (out < 0) {
                            to[n] = 0;
                            continue;
                        }
                        if (point >= f->points)
                            sum = (double)nn_conv_weight_at(s, out, c, y, 1 + point - f->points);
                        for (int j = 0; point < f->points && j < f->taps && first + j < taps; j++)
                            sum += matrix[point][j] *
                                   (double)nn_conv_weight_at(s, out, c, y, first + j * f->stride);
                        to[n] = (float)sum;
                    }
    }
}

/* The head of conv node n's blob, as it must be. */
static nn_toom_pack describe(const nn_node *n, int vector, size_t *bytes) {
    const nn_conv_params *p = &n->u.conv;
    const form *f = form_of(n);
    const int c_out = n->shape.c / p->groups, over = c_out % (2 * vector);
    /* many groups of few channels: rather narrow panels than half empty ones */
    const int columns =
        c_out <= vector || (p->groups > 1 && over > 0 && over <= vector) ? vector : 2 * vector;
    nn_toom_pack head;
    memset(&head, 0, sizeof head); /* the padding too: heads are compared as bytes */
    head.points = f->points + f->stride - 1;
    head.pieces = f->stride > 1 ? 1 : (p->kernel_w + f->taps - 1) / f->taps;
    head.segments = p->kernel_h;
    head.panels = p->groups * ((c_out + columns - 1) / columns);
    head.columns = columns;
    size_t lines = 1 + (size_t)head.segments * (size_t)head.pieces * (size_t)(n->in[0]->shape.c / p->groups);
    head.panel_floats = lines * (size_t)columns * (size_t)head.points;
    head.bias_at = (sizeof head + 63) & ~(size_t)63;
    head.floats_at = (head.bias_at + (size_t)(head.panels * columns) * sizeof(float) + 63) & ~(size_t)63;
    *bytes = (head.floats_at + head.panel_floats * (size_t)head.panels * sizeof(float) + 63) & ~(size_t)63;
    return head;
}

static nn_code pack_all(const nn_conv_folded *s, const nn_toom_pack *head, size_t bytes, nn_weights *w,
                        const char *key, nn_error *e) {
    char *blob = aligned_alloc(64, bytes);
    if (!blob) return nn_fail_memory(e, s->node->name);
    memset(blob, 0, head->floats_at);
    memset(blob + bytes - 64, 0, 64);
    memcpy(blob, head, sizeof *head);
    float *bias = (float *)(void *)(blob + head->bias_at);
    for (int i = 0; i < head->panels * head->columns; i++) {
        const int out = output_at(s->node, head, i / head->columns, i % head->columns);
        bias[i] = out < 0 ? 0 : s->bias[out];
    }
    float *to = (float *)(void *)(blob + head->floats_at);
    for (int i = 0; i < head->panels; i++)
        pack_panel(s, form_of(s->node), head, i, head->columns, to + (size_t)i * head->panel_floats);
    return nn_weights_keep_lasting(w, key, blob, bytes) ? NN_OK : nn_fail_memory(e, s->node->name);
}

nn_code nn_toom_pack_weights(nn_node *n, nn_weights *w, int vector, const char *isa, nn_error *e) {
    const nn_conv_params *p = &n->u.conv;
    char folds[NN_CONV_FORM], key[NN_CONV_FORM + 320];
    nn_conv_form(n, folds);
    snprintf(key, sizeof key, "%s|%s|toom|%s", n->name, folds, isa);
    const void *have = nn_weights_packed(w, key);
    if (!have) {
        size_t bytes, restored;
        nn_toom_pack head = describe(n, vector, &bytes);
        have = nn_weights_restored(w, key, &restored);
        if (!have || restored != bytes || memcmp(have, &head, sizeof head) != 0) {
            nn_conv_folded f;
            nn_code code = nn_conv_fold(&f, n, w, e);
            if (!code) code = pack_all(&f, &head, bytes, w, key, e);
            nn_conv_unfold(&f);
            if (code) return code;
            have = nn_weights_packed(w, key);
        }
    }
    const nn_toom_pack *head = have;
    const int products = head->points * head->pieces +
                         (p->stride > 1 ? NN_TOOM_TILE - 1 : 0); /* the middle tap: one an output */
    n->share = (double)products / (NN_TOOM_TILE * p->kernel_w);
    n->blob[n->n_blobs++] = have;
    return NN_OK;
}
