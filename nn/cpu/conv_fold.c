/* conv_fold.c - what is folded into a convolution's weights.
 *
 *   weight norm   w = v * g / |v|                      (Salimans & Kingma 2016)
 *   batch norm    w *= s, b = (b - mean) * s + beta,   s = gamma / sqrt(var + 1e-5)
 *   channels      some rows of w and b
 *   then          w = u w, b = u b + c                 u and c of the linear layer that follows
 *   flips         columns, or rows, of w and b in reverse order
 *
 * All is computed in double, so that folding costs no accuracy. */
#include "conv_fold.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* v [shape of t] *= g / |v|, the norm over the axes where g has length 1. */
static nn_code fold_weight_norm(const char *path, const nn_weight *t, const nn_weight *gt, float *v,
                                const float *g, nn_error *e) {
    if (gt->rank != t->rank)
        return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s\" has %d axes, expected %d", path, gt->name,
                       gt->rank, t->rank);
    for (int i = 0; i < t->rank; i++)
        if (gt->shape[i] != 1 && gt->shape[i] != t->shape[i])
            return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s\" does not fit \"%s\" on axis %d", path,
                           gt->name, t->name, i);
    double *sum = calloc((size_t)gt->count, sizeof *sum);
    if (!sum) return nn_fail_memory(e, t->name);
    const bool rows =
        gt->rank > 0 && gt->count == t->shape[0] && gt->shape[0] == t->shape[0]; /* the norm of whole rows */
    const int64_t row = rows && gt->count ? t->count / gt->count : 0;
    for (int pass = 0; pass < 2; pass++) {
        int64_t index[NN_WEIGHT_RANK] = {0};
        for (int64_t at = 0; rows && at < gt->count; at++)
            for (int64_t i = at * row; i < (at + 1) * row; i++) {
                if (pass == 0)
                    sum[at] += (double)v[i] * v[i];
                else
                    v[i] = (float)((double)v[i] * g[at] / sum[at]);
            }
        for (int64_t i = 0; !rows && i < t->count; i++) {
            int64_t at = 0;
            for (int a = 0; a < t->rank; a++) at = at * gt->shape[a] + (gt->shape[a] == 1 ? 0 : index[a]);
            if (pass == 0)
                sum[at] += (double)v[i] * v[i];
            else
                v[i] = (float)((double)v[i] * g[at] / sum[at]);
            for (int a = t->rank - 1; a >= 0 && ++index[a] == t->shape[a]; a--) index[a] = 0;
        }
        if (pass == 0)
            for (int64_t i = 0; i < gt->count; i++) sum[i] = sum[i] > 0 ? sqrt(sum[i]) : 1;
    }
    free(sum);
    return NN_OK;
}

/* The weight of stem `name`: plain, or direction and length in the older or the newer naming of PyTorch. */
static nn_code load_weight(nn_weights *w, const char *name, float **out, nn_error *e) {
    static const char *const direction[] = {"weight_v", "parametrizations.weight.original1"};
    static const char *const length[] = {"weight_g", "parametrizations.weight.original0"};
    char full[320], other[320];
    snprintf(full, sizeof full, "%s.weight", name);
    if (nn_weights_peek(w, full)) return nn_weights_load(w, full, -1, NULL, out, e);
    for (int i = 0; i < 2; i++) {
        snprintf(full, sizeof full, "%s.%s", name, direction[i]);
        snprintf(other, sizeof other, "%s.%s", name, length[i]);
        const nn_weight *v = nn_weights_peek(w, full);
        if (!v) continue;
        float *scale = NULL;
        nn_code code = nn_weights_load(w, other, -1, NULL, &scale, e);
        if (!code) code = nn_weights_load(w, full, -1, NULL, out, e);
        if (!code) code = fold_weight_norm(nn_weights_path(w), v, nn_weights_peek(w, other), *out, scale, e);
        free(scale);
        return code;
    }
    return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s.weight\" is missing", nn_weights_path(w), name);
}

static nn_code fold_batch_norm(nn_conv_folded *f, nn_weights *w, nn_error *e) {
    static const char *const part[4] = {"weight", "bias", "running_mean", "running_var"};
    const nn_conv_params *p = &f->node->u.conv;
    float *v[4] = {NULL};
    nn_code code = NN_OK;
    int64_t shape[1] = {f->c_out};
    for (int i = 0; i < 4 && !code; i++) {
        char full[320];
        snprintf(full, sizeof full, "%s.%s", p->batch_norm, part[i]);
        code = nn_weights_load(w, full, 1, shape, &v[i], e);
    }
    size_t taps = (size_t)p->kernel_h * (size_t)p->kernel_w;
    for (int out = 0; out < f->c_out && !code; out++) {
        if (v[3][out] < 0) {
            code = nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s.running_var\" is negative", nn_weights_path(w),
                           p->batch_norm);
            break;
        }
        double scale = v[0][out] / sqrt((double)v[3][out] + 1e-5);
        f->bias[out] = (float)(((double)f->bias[out] - v[2][out]) * scale + v[1][out]);
        for (int in = 0; in < f->c_in; in++) {
            size_t row = p->transposed ? (size_t)in * (size_t)f->c_out + (size_t)out
                                       : (size_t)out * (size_t)f->c_in + (size_t)in;
            for (size_t k = 0; k < taps; k++)
                f->weight[row * taps + k] = (float)(f->weight[row * taps + k] * scale);
        }
    }
    for (int i = 0; i < 4; i++) free(v[i]);
    return code;
}

/* The bias of stem `name` [count], or zeros. */
static nn_code load_bias(nn_weights *w, const char *name, bool there, int count, float **out, nn_error *e) {
    char full[320];
    int64_t shape[1] = {count};
    snprintf(full, sizeof full, "%s.bias", name);
    if (there) return nn_weights_load(w, full, 1, shape, out, e);
    *out = calloc((size_t)count, sizeof **out);
    return *out ? NN_OK : nn_fail_memory(e, name);
}

/* Elements of an output channel's weights. */
static size_t row_of(const nn_conv_folded *f) {
    return (size_t)f->c_in * (size_t)f->node->u.conv.kernel_h * (size_t)f->node->u.conv.kernel_w;
}

static void keep_rows(nn_conv_folded *f, int from, int count) {
    memmove(f->weight, f->weight + (size_t)from * row_of(f), (size_t)count * row_of(f) * sizeof(float));
    memmove(f->bias, f->bias + from, (size_t)count * sizeof(float));
    f->c_out = count;
}

/* Rows and bias become u times them, plus c. */
static nn_code fold_then(nn_conv_folded *f, nn_weights *w, nn_error *e) {
    const nn_conv_params *p = &f->node->u.conv;
    const size_t row = row_of(f), middle = (size_t)p->middle, outs = (size_t)f->node->shape.c;
    float *u = NULL, *c = NULL, *weight = malloc(outs * row * sizeof *weight);
    double *sum = malloc((row + 1) * sizeof *sum);
    nn_code code = weight && sum ? NN_OK : nn_fail_memory(e, p->then);
    if (!code) code = load_weight(w, p->then, &u, e);
    if (!code) code = load_bias(w, p->then, p->then_bias, f->node->shape.c, &c, e);
    for (size_t o = 0; o < outs && !code; o++) {
        memset(sum, 0, (row + 1) * sizeof *sum);
        for (size_t m = 0; m < middle; m++) {
            const double factor = (double)u[o * middle + m];
            for (size_t i = 0; i < row; i++) sum[i] += factor * (double)f->weight[m * row + i];
            sum[row] += factor * (double)f->bias[m];
        }
        for (size_t i = 0; i < row; i++) weight[o * row + i] = (float)sum[i];
        c[o] = (float)((double)c[o] + sum[row]);
    }
    free(u);
    free(sum);
    if (code) {
        free(weight);
        free(c);
        return code;
    }
    nn_conv_unfold(f);
    f->weight = weight;
    f->bias = c;
    f->c_out = (int)outs;
    return NN_OK;
}

static void swap(float *a, float *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const float t = a[i];
        a[i] = b[i];
        b[i] = t;
    }
}

/* `parts` parts of `each` elements, in reverse order. */
static void reverse(float *x, size_t parts, size_t each) {
    for (size_t i = 0; i < parts / 2; i++) swap(x + i * each, x + (parts - 1 - i) * each, each);
}

static void fold_flips(nn_conv_folded *f) {
    const nn_conv_params *p = &f->node->u.conv;
    const size_t row = row_of(f), outs = (size_t)f->c_out, ins = (size_t)f->c_in;
    for (size_t o = 0; o < outs && p->flip_in; o++) reverse(f->weight + o * row, ins, row / ins);
    if (!p->flip_out) return;
    reverse(f->weight, outs, row);
    reverse(f->bias, outs, 1);
}

void nn_conv_form(const nn_node *n, char form[NN_CONV_FORM]) {
    const nn_conv_params *p = &n->u.conv;
    char part[48] = "";
    if (p->of) snprintf(part, sizeof part, "[%d of %d]", p->from, p->of);
    snprintf(form, NN_CONV_FORM, "%s%s%s%s%s%s%s", p->batch_norm ? p->batch_norm : "", part,
             p->then ? "*" : "", p->then ? p->then : "", p->then_bias ? "+" : "", p->flip_in ? "<" : "",
             p->flip_out ? ">" : "");
}

nn_code nn_conv_fold(nn_conv_folded *f, const nn_node *n, nn_weights *w, nn_error *e) {
    const nn_conv_params *p = &n->u.conv;
    const int kept = p->then ? p->middle : n->shape.c;
    *f = nn_conv_shape(n);
    f->c_out = p->of ? p->of : kept;
    nn_code code = load_weight(w, n->name, &f->weight, e);
    if (!code) code = load_bias(w, n->name, p->bias, f->c_out, &f->bias, e);
    if (!code && p->batch_norm) code = fold_batch_norm(f, w, e);
    if (!code && p->of) keep_rows(f, p->from, kept);
    if (!code && p->then) code = fold_then(f, w, e);
    if (code)
        nn_conv_unfold(f);
    else
        fold_flips(f);
    return code;
}

void nn_conv_unfold(nn_conv_folded *f) {
    free(f->weight);
    free(f->bias);
    f->weight = f->bias = NULL;
}
