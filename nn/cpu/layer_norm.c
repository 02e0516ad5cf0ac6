/* layer_norm.c - per row over channels: y = (x - mean) / sqrt(var + 1e-5) * gamma + beta, then the node's
 * steps.
 *
 * Two passes over a row that lies in L1: the mean, then the mean of squared differences from it, which loses
 * nothing where the mean is large. Ba, Kiros & Hinton 2016, arXiv:1607.06450. */
#include <math.h>
#include "pack.h"
#include "steps.h"

/* The blob: gamma, then beta, each padded to a multiple of PAD floats so that whole vectors can be read. */
enum { PAD = 16 };

void NN_KERNEL(layer_norm, setup)(nn_call *c) {
    const nn_shape s = c->node->shape;
    nn_rows_split(c, s.h * s.w, s.c);
    c->scratch_bytes = (size_t)nn_round_up(s.c, NN_VW) * sizeof(float);
    c->shared_bytes = 0;
}

/* Sum over the row's whole vectors and what is left; the rest of the last vector is 0 and counts nothing. */
static float row_mean(float *row, const float *x, int channels) {
    nn_v sum = {0};
    for (int j = 0; j < channels; j += NN_VW) {
        const nn_v v = nn_load_most(x + j, channels - j);
        nn_store(row + j, v);
        sum += v;
    }
    return nn_sum(sum) / (float)channels;
}

static float row_variance(const float *row, float mean, int channels) {
    nn_v sum = {0};
    int j = 0;
    for (; j + NN_VW <= channels; j += NN_VW) {
        const nn_v v = nn_load(row + j) - mean;
        sum += v * v;
    }
    float rest = 0;
    for (; j < channels; j++) rest += (row[j] - mean) * (row[j] - mean);
    return (nn_sum(sum) + rest) / (float)channels;
}

void NN_KERNEL(layer_norm, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage;
    const int channels = c->node->shape.c, stride = nn_round_up(channels, NN_VW);
    const float *gamma = c->node->blob[0], *beta = gamma + nn_round_up(channels, PAD);
    float *row = scratch;
    for (ptrdiff_t r = nn_rows_from(c, task); r < nn_rows_to(c, task); r++) {
        const float mean = row_mean(row, c->in[0] + r * channels, channels);
        const float scale = 1.0f / sqrtf(row_variance(row, mean, channels) + 1e-5f);
        for (int j = 0; j < channels; j += NN_VW)
            nn_store(row + j, (nn_load(row + j) - mean) * scale * nn_load(gamma + j) + nn_load(beta + j));
        nn_steps_apply(c, row, stride, &r, 1, 0, channels);
        nn_tile_store(c, row, stride, &r, 1, 0, channels);
    }
}

/* Checkpoints call them weight and bias, VITS calls them gamma and beta. */
static nn_code make(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                    nn_error *e) {
    static const char *const suffix[2][2] = {{".weight", ".bias"}, {".gamma", ".beta"}};
    const int channels = n->shape.c, greek = nn_pack_has(w, stem, ".gamma");
    return nn_pack_pair(out, bytes, w, stem, suffix[greek], channels, nn_round_up(channels, PAD), e);
}

nn_code NN_KERNEL(layer_norm, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    nn_code code = nn_pack_once(n, w, n->name, "layer_norm", make, e);
    return code ? code : NN_KERNEL(map, pack)(n, w, e);
}
