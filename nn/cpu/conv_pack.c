/* conv_pack.c - lays a convolution's folded weights out as the shifted-rows product reads them, once at load. */
#include "conv_pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv_fold.h"

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

/* The upper half of a float's bits, rounded to nearest, ties to even. */
static uint32_t bf16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* Two bfloat16 in the bits of a float, the first in the lower half. */
static float pair_of(float a, float b) {
    uint32_t bits = bf16_of(a) | bf16_of(b) << 16;
    float pair;
    memcpy(&pair, &bits, sizeof pair);
    return pair;
}

/* Fills one phase's panels and describes its taps. `to` NULL: only describes. Returns floats used. */
static size_t pack_phase(const nn_conv_folded *s, int vector, bool pairs, nn_conv_phase *phase, float *to) {
    const nn_conv_params *p = &s->node->u.conv;
    int ky[NN_CONV_TAPS], dy[NN_CONV_TAPS], kx[NN_CONV_TAPS], dx[NN_CONV_TAPS];
    int ny = axis_taps(p, p->kernel_h, p->pad_h, phase->y, ky, dy),
        nx = axis_taps(p, p->kernel_w, p->pad_w, phase->x, kx, dx);
    phase->merged = p->dilation == 1 ? nx : 1;
    phase->taps = 0;
    for (int i = 0; i < ny; i++)
        for (int j = 0; j < nx; j += phase->merged) phase->tap[phase->taps++] = (nn_conv_tap){dy[i], dx[j]};
    int group_out = s->c_out / p->groups, nr = 2 * vector, panels = (group_out + nr - 1) / nr;
    int last = group_out - (panels - 1) * nr;
    const int each = pairs ? 2 : 1; /* input channels in a line */
    size_t lines = 1 + (size_t)ny * (size_t)nx * (size_t)(s->c_in / each);
    phase->panel_floats = lines * (size_t)nr;
    phase->group_floats =
        (size_t)(panels - 1) * phase->panel_floats + lines * (size_t)(last > vector ? nr : vector);
    if (!to) return phase->group_floats * (size_t)p->groups;
    for (int g = 0; g < p->groups; g++)
        for (int panel = 0; panel < panels; panel++) {
            int columns = panel + 1 < panels || last > vector ? nr : vector,
                first = g * group_out + panel * nr;
            int real = group_out - panel * nr < columns ? group_out - panel * nr : columns;
            float *line = to + (size_t)g * phase->group_floats + (size_t)panel * phase->panel_floats;
            memset(line, 0, lines * (size_t)columns * sizeof *line);
            for (int n = 0; n < real; n++) line[n] = s->bias[first + n];
            line += columns;
            for (int i = 0; i < ny; i++)
                for (int j = 0; j < nx; j++)
                    for (int c = 0; c < s->c_in; c += each, line += columns)
                        for (int n = 0; n < real; n++) {
                            line[n] = nn_conv_weight_at(s, first + n, c, ky[i], kx[j]);
                            if (pairs)
                                line[n] =
                                    pair_of(line[n], nn_conv_weight_at(s, first + n, c + 1, ky[i], kx[j]));
                        }
        }
    return phase->group_floats * (size_t)p->groups;
}

/* The blob of conv node n without its panels: sizes and phases, as they must be; malloc'd. *bytes: of the whole blob. */
static nn_conv_pack *describe(const nn_conv_folded *s, int vector, bool pairs, size_t *header,
                              size_t *bytes) {
    const nn_conv_params *p = &s->node->u.conv;
    int sy = p->transposed && p->kernel_h > 1 ? p->stride : 1, sx = p->transposed ? p->stride : 1;
    *header = sizeof(nn_conv_pack) + (size_t)(sy * sx) * sizeof(nn_conv_phase);
    *header = (*header + 63) & ~(size_t)63;
    nn_conv_pack *k = calloc(1, *header);
    if (!k) return NULL;
    k->phases = sy * sx;
    k->pairs = pairs;
    k->panels = (s->c_out / p->groups + 2 * vector - 1) / (2 * vector);
    k->floats_at = *header;
    size_t at = 0;
    for (int f = 0; f < k->phases; f++) {
        nn_conv_phase *phase = &k->phase[f];
        phase->y = f / sx;
        phase->x = f % sx;
        phase->at = at;
        at += pack_phase(s, vector, pairs, phase, NULL);
    }
    *bytes = (*header + at * sizeof(float) + 63) & ~(size_t)63;
    return k;
}

static nn_code pack_all(const nn_conv_folded *s, int vector, const nn_conv_pack *head, size_t header,
                        size_t bytes, nn_weights *w, const char *key, nn_error *e) {
    char *blob = aligned_alloc(64, bytes);
    if (!blob) return nn_fail_memory(e, s->node->name);
    memset(blob + bytes - 64, 0, 64);
    memcpy(blob, head, header);
    nn_conv_pack *k = (nn_conv_pack *)(void *)blob;
    for (int f = 0; f < k->phases; f++)
        pack_phase(s, vector, k->pairs, &k->phase[f], (float *)(void *)(blob + header) + k->phase[f].at);
    return nn_weights_keep_lasting(w, key, k, bytes) ? NN_OK : nn_fail_memory(e, s->node->name);
}

nn_code nn_conv_pack_weights(nn_node *n, nn_weights *w, int vector, bool pairs, const char *isa,
                             nn_error *e) {
    const nn_conv_params *p = &n->u.conv;
    char folds[NN_CONV_FORM], key[NN_CONV_FORM + 320];
    nn_conv_form(n, folds);
    snprintf(key, sizeof key, "%s|%s|conv|%s", n->name, folds, isa);
    const void *have = nn_weights_packed(w, key);
    if (!have) {
        if (p->kernel_h * p->kernel_w > NN_CONV_TAPS)
            return nn_fail(e, NN_ERROR_MODEL, "%s: %s: %dx%d taps are more than this program's %d",
                           nn_weights_path(w), n->name, p->kernel_h, p->kernel_w, NN_CONV_TAPS);
        nn_conv_folded f = nn_conv_shape(n);
        size_t header, bytes, restored;
        nn_conv_pack *head = describe(&f, vector, pairs, &header, &bytes);
        if (!head) return nn_fail_memory(e, n->name);
        have = nn_weights_restored(w, key, &restored);
        if (!have || restored != bytes || memcmp(have, head, header) != 0) {
            nn_code code = nn_conv_fold(&f, n, w, e);
            if (!code) code = pack_all(&f, vector, head, header, bytes, w, key, e);
            nn_conv_unfold(&f);
            have = nn_weights_packed(w, key);
            if (code) {
                free(head);
                return code;
            }
        }
        free(head);
    }
    n->blob[n->n_blobs++] = have;
    return NN_OK;
}
