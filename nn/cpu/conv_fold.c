/* conv_fold.c - weight norm and batch norm folded into a convolution's weights.
 *
 *   weight norm   w = v * g / |v|                      (Salimans & Kingma 2016)
 *   batch norm    w *= s, b = (b - mean) * s + beta,   s = gamma / sqrt(var + 1e-5)
 *
 * Both are computed in double, so that folding costs no accuracy. */
#include "conv_fold.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* v [shape of t] *= g / |v|, the norm over the axes where g has length 1. */
static nn_code fold_weight_norm(const char *path, const nn_weight *t, const nn_weight *gt, float *v, const float *g, nn_error *e) {
    if (gt->rank != t->rank)
        return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s\" has %d axes, expected %d", path, gt->name, gt->rank, t->rank);
    for (int i = 0; i < t->rank; i++)
        if (gt->shape[i] != 1 && gt->shape[i] != t->shape[i])
            return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s\" does not fit \"%s\" on axis %d", path, gt->name, t->name, i);
    double *sum = calloc((size_t)gt->count, sizeof *sum);
    if (!sum) return nn_fail_memory(e, t->name);
    for (int pass = 0; pass < 2; pass++) {
        int64_t index[NN_WEIGHT_RANK] = {0};
        for (int64_t i = 0; i < t->count; i++) {
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
            code = nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s.running_var\" is negative", nn_weights_path(w), p->batch_norm);
            break;
        }
        double scale = v[0][out] / sqrt((double)v[3][out] + 1e-5);
        f->bias[out] = (float)(((double)f->bias[out] - v[2][out]) * scale + v[1][out]);
        for (int in = 0; in < f->c_in; in++) {
            size_t row = p->transposed ? (size_t)in * (size_t)f->c_out + (size_t)out : (size_t)out * (size_t)f->c_in + (size_t)in;
            for (size_t k = 0; k < taps; k++) f->weight[row * taps + k] = (float)(f->weight[row * taps + k] * scale);
        }
    }
    for (int i = 0; i < 4; i++) free(v[i]);
    return code;
}

nn_code nn_conv_fold(nn_conv_folded *f, const nn_node *n, nn_weights *w, nn_error *e) {
    const nn_conv_params *p = &n->u.conv;
    *f = nn_conv_shape(n);
    nn_code code = load_weight(w, n->name, &f->weight, e);
    if (!code && p->bias) {
        char full[320];
        int64_t shape[1] = {f->c_out};
        snprintf(full, sizeof full, "%s.bias", n->name);
        code = nn_weights_load(w, full, 1, shape, &f->bias, e);
    } else if (!code && !(f->bias = calloc((size_t)f->c_out, sizeof *f->bias)))
        code = nn_fail_memory(e, n->name);
    if (!code && p->batch_norm) code = fold_batch_norm(f, w, e);
    if (code) nn_conv_unfold(f);
    return code;
}

void nn_conv_unfold(nn_conv_folded *f) {
    free(f->weight);
    free(f->bias);
    f->weight = f->bias = NULL;
}
