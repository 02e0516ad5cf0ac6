/* conv_pack.c - folds and packs convolution weights, once at load.
 *
 *   weight norm   w = v * g / |v|                      (Salimans & Kingma 2016)
 *   batch norm    w *= s, b = (b - mean) * s + beta,   s = gamma / sqrt(var + 1e-5)
 *
 * Both are computed in double, so that folding costs no accuracy. */
#include "conv_pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- folding ---- */

/* v [shape of t] *= g / |v|, the norm over the axes where g has length 1. */
static nn_code fold_weight_norm(const nn_weight *t, const nn_weight *gt, float *v, const float *g, nn_error *e) {
    int64_t g_count = gt->count;
    if (gt->rank != t->rank) return nn_fail(e, NN_ERROR_MODEL, "tensor \"%s\" has %d axes, expected %d", gt->name, gt->rank, t->rank);
    for (int i = 0; i < t->rank; i++)
        if (gt->shape[i] != 1 && gt->shape[i] != t->shape[i])
            return nn_fail(e, NN_ERROR_MODEL, "tensor \"%s\" does not fit \"%s\" on axis %d", gt->name, t->name, i);
    double *sum = calloc((size_t)g_count, sizeof *sum);
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
            for (int64_t i = 0; i < g_count; i++) sum[i] = sum[i] > 0 ? sqrt(sum[i]) : 1;
    }
    free(sum);
    return NN_OK;
}

nn_code nn_conv_weight(nn_weights *w, const char *name, float **out, nn_error *e) {
    static const char *const direction[] = {"weight_v", "parametrizations.weight.original1"};
    static const char *const length[] = {"weight_g", "parametrizations.weight.original0"};
    char full[320], other[320];
    snprintf(full, sizeof full, "%s.weight", name);
    if (nn_weights_peek(w, full)) return nn_weights_load(w, full, -1, NULL, out, e);
    for (int i = 0; i < 2; i++) {
        snprintf(full, sizeof full, "%s.%s", name, direction[i]);
        snprintf(other, sizeof other, "%s.%s", name, length[i]);
        const nn_weight *v = nn_weights_peek(w, full), *g = nn_weights_peek(w, other);
        if (!v) continue;
        float *scale = NULL;
        nn_code code = nn_weights_load(w, full, -1, NULL, out, e);
        if (!code) code = nn_weights_load(w, other, -1, NULL, &scale, e);
        if (!code) code = fold_weight_norm(v, g, *out, scale, e);
        free(scale);
        if (code) {
            free(*out);
            *out = NULL;
        }
        return code;
    }
    return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s.weight\" is missing", nn_weights_path(w), name);
}

static nn_code fold_batch_norm(nn_weights *w, const char *name, int channels, double *scale, double *bias, nn_error *e) {
    static const char *const part[4] = {"weight", "bias", "running_mean", "running_var"};
    float *v[4] = {NULL};
    nn_code code = NN_OK;
    int64_t shape[1] = {channels};
    for (int i = 0; i < 4 && !code; i++) {
        char full[320];
        snprintf(full, sizeof full, "%s.%s", name, part[i]);
        code = nn_weights_load(w, full, 1, shape, &v[i], e);
    }
    for (int c = 0; c < channels && !code; c++) {
        if (v[3][c] < 0)
            code = nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s.running_var\" is negative", nn_weights_path(w), name);
        scale[c] = v[0][c] / sqrt((double)v[3][c] + 1e-5);
        bias[c] = (bias[c] - v[2][c]) * scale[c] + v[1][c];
    }
    for (int i = 0; i < 4; i++) free(v[i]);
    return code;
}

/* ---- phases ---- */

/* Kernel positions that reach outputs of phase f on an axis, in ascending order of their offset: position[i] reads
 * offset[i]. Returns how many. */
static int axis_taps(const nn_conv_params *p, int kernel, int pad, int f, int *position, int *offset) {
    int n = 0;
    if (!p->transposed) {
        for (; n < kernel; n++) {
            position[n] = n;
            offset[n] = n * p->dilation - pad;
        }
        return n;
    }
    for (int j = kernel - 1; j >= 0; j--)
        if ((f + pad - j) % p->stride == 0) {
            position[n] = j;
            offset[n++] = (f + pad - j) / p->stride;
        }
    return n;
}

typedef struct source {
    const float *weight;
    const double *scale, *bias;       /* [c_out] */
    int c_out, c_in, vector;          /* channels of a group, but c_out of all */
    const nn_node *node;
} source;

static float weight_at(const source *s, int out, int in, int ky, int kx) {
    const nn_conv_params *p = &s->node->u.conv;
    size_t row = p->transposed ? (size_t)in * (size_t)s->c_out + (size_t)out : (size_t)out * (size_t)s->c_in + (size_t)in;
    double v = s->weight[(row * (size_t)p->kernel_h + (size_t)ky) * (size_t)p->kernel_w + (size_t)kx];
    return (float)(v * s->scale[out]);
}

/* Fills one phase's panels and describes its taps. `to` NULL: only describes. Returns floats used. */
static size_t pack_phase(const source *s, nn_conv_phase *phase, float *to) {
    const nn_conv_params *p = &s->node->u.conv;
    int ky[NN_CONV_TAPS], dy[NN_CONV_TAPS], kx[NN_CONV_TAPS], dx[NN_CONV_TAPS];
    int ny = axis_taps(p, p->kernel_h, p->pad_h, phase->y, ky, dy), nx = axis_taps(p, p->kernel_w, p->pad_w, phase->x, kx, dx);
    phase->merged = p->dilation == 1 ? nx : 1;
    phase->taps = 0;
    for (int i = 0; i < ny; i++)
        for (int j = 0; j < nx; j += phase->merged) phase->tap[phase->taps++] = (nn_conv_tap){dy[i], dx[j]};
    int group_out = s->c_out / p->groups, nr = 2 * s->vector, panels = (group_out + nr - 1) / nr;
    int last = group_out - (panels - 1) * nr;
    size_t lines = 1 + (size_t)ny * (size_t)nx * (size_t)s->c_in;
    phase->panel_floats = lines * (size_t)nr;
    phase->group_floats = (size_t)(panels - 1) * phase->panel_floats + lines * (size_t)(last > s->vector ? nr : s->vector);
    if (!to) return phase->group_floats * (size_t)p->groups;
    for (int g = 0; g < p->groups; g++)
        for (int panel = 0; panel < panels; panel++) {
            int columns = panel + 1 < panels || last > s->vector ? nr : s->vector, first = g * group_out + panel * nr;
            int real = group_out - panel * nr < columns ? group_out - panel * nr : columns;
            float *line = to + (size_t)g * phase->group_floats + (size_t)panel * phase->panel_floats;
            memset(line, 0, lines * (size_t)columns * sizeof *line);
            for (int n = 0; n < real; n++) line[n] = (float)s->bias[first + n];
            line += columns;
            for (int i = 0; i < ny; i++)
                for (int j = 0; j < nx; j++)
                    for (int c = 0; c < s->c_in; c++, line += columns)
                        for (int n = 0; n < real; n++) line[n] = weight_at(s, first + n, c, ky[i], kx[j]);
        }
    return phase->group_floats * (size_t)p->groups;
}

static nn_code pack_all(const source *s, nn_weights *w, const char *key, nn_error *e) {
    const nn_conv_params *p = &s->node->u.conv;
    int sy = p->transposed && p->kernel_h > 1 ? p->stride : 1, sx = p->transposed ? p->stride : 1;
    if (p->kernel_h * (p->dilation > 1 ? p->kernel_w : 1) > NN_CONV_TAPS || p->kernel_w > NN_CONV_TAPS)
        return nn_fail(e, NN_ERROR_MODEL, "%s: %s: %dx%d taps are more than this program's %d", nn_weights_path(w),
                       s->node->name, p->kernel_h, p->kernel_w, NN_CONV_TAPS);
    size_t header = sizeof(nn_conv_pack) + (size_t)(sy * sx) * sizeof(nn_conv_phase);
    header = (header + 63) & ~(size_t)63;
    nn_conv_phase probe = {0};
    size_t floats = 0;
    for (int f = 0; f < sy * sx; f++) {
        probe.y = f / sx;
        probe.x = f % sx;
        floats += pack_phase(s, &probe, NULL);
    }
    size_t bytes = (header + floats * sizeof(float) + 63) & ~(size_t)63;
    nn_conv_pack *k = aligned_alloc(64, bytes);
    if (!k) return nn_fail_memory(e, s->node->name);
    memset(k, 0, header);
    int group_out = s->c_out / p->groups;
    k->phases = sy * sx;
    k->panels = (group_out + 2 * s->vector - 1) / (2 * s->vector);
    k->floats_at = header;
    size_t at = 0;
    for (int f = 0; f < k->phases; f++) {
        nn_conv_phase *phase = &k->phase[f];
        phase->y = f / sx;
        phase->x = f % sx;
        phase->at = at;
        at += pack_phase(s, phase, (float *)(void *)((char *)k + header) + at);
    }
    nn_weights_keep(w, key, k, bytes);
    return NN_OK;
}

nn_code nn_conv_pack_weights(nn_node *n, nn_weights *w, int vector, const char *isa, nn_error *e) {
    const nn_conv_params *p = &n->u.conv;
    char key[700];
    snprintf(key, sizeof key, "%s|%s|conv|%s", n->name, p->batch_norm ? p->batch_norm : "", isa);
    const void *have = nn_weights_packed(w, key);
    if (!have) {
        int c_out = n->shape.c, c_in = n->in[0]->shape.c / p->groups;
        float *weight = NULL, *given = NULL;
        double *scale = malloc(2 * (size_t)c_out * sizeof *scale), *bias = scale + c_out;
        nn_code code = scale ? nn_conv_weight(w, n->name, &weight, e) : nn_fail_memory(e, n->name);
        if (!code && p->bias) {
            char full[320];
            int64_t shape[1] = {c_out};
            snprintf(full, sizeof full, "%s.bias", n->name);
            code = nn_weights_load(w, full, 1, shape, &given, e);
        }
        for (int c = 0; c < c_out && !code; c++) {
            scale[c] = 1;
            bias[c] = given ? (double)given[c] : 0.0;
        }
        if (!code && p->batch_norm) code = fold_batch_norm(w, p->batch_norm, c_out, scale, bias, e);
        if (!code) code = pack_all(&(source){weight, scale, bias, c_out, c_in, vector, n}, w, key, e);
        free(weight);
        free(given);
        free(scale);
        if (code) return code;
        have = nn_weights_packed(w, key);
    }
    n->blob[n->n_blobs++] = have;
    return NN_OK;
}
