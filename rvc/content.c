/* content.c - HuBERT over any number of samples.
 *
 * The extractor's first layer makes 512 channels of every fifth sample: for 40 s that alone is 260 MB. Only its
 * normalisation looks at more than a few samples, and that can be had without it. A convolution without bias has, over all
 * its outputs y_c[t] = sum_k w_ck x[5t+k],
 *
 *   mean_c = sum_k w_ck m_k            m_k  = mean_t x[5t+k]
 *   var_c  = sum_kl w_ck w_cl S_kl     S_kl = mean_t (x[5t+k] - m_k)(x[5t+l] - m_l)
 *
 * so ten means and a 10x10 covariance of the audio, in double, give every channel's statistics; then the extractor runs
 * tile by tile, each frame from the 400 samples it depends on. The encoder attends over all frames at once. */
#include "hubert.h"

#include <math.h>
#include <stdlib.h>

enum { HOP = 320, WINDOW = 400, STRIDE = 5, MOST_TAPS = 32, TILE = 80 /* frames, at most */, PLANS = 4 };

struct rvc_hubert {
    nn_weights *weights;
    nn_device *device;
    nn_plan_cache *extractor, *encoder; /* by samples; by frames and output */
    int channels, taps, width;          /* of the first layer; channels of the features */
    float *weight, *gamma, *beta;       /* [channels][taps], [channels], [channels] */
    float *scale, *shift;               /* [channels], of the audio at hand */
    float *features;                    /* [capacity][width] */
    size_t capacity;                    /* frames */
};

static nn_code build_extractor(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    rvc_hubert *h = context;
    return nn_plan_new(out, rvc_hubert_extractor_graph(h->weights, (int)key[0]), h->device, e);
}

static nn_code build_encoder(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    rvc_hubert *h = context;
    return nn_plan_new(out, rvc_hubert_encoder_graph(h->weights, (int)key[0], (unsigned)key[1]), h->device,
                       e);
}

static nn_code set_up(rvc_hubert *h, nn_error *e) {
    const char *name = "feature_extractor.conv_layers.0.0.weight";
    const nn_weight *t = nn_weights_peek(h->weights, name);
    if (!t || t->rank != 3 || t->shape[1] != 1 || t->shape[2] < 1 || t->shape[2] > MOST_TAPS)
        return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s\" is missing or not [channels][1][taps]",
                       nn_weights_path(h->weights), name);
    const nn_weight *norm = nn_weights_peek(h->weights, "layer_norm.weight");
    int64_t shape[1] = {t->shape[0]};
    h->width = norm && norm->rank == 1 ? (int)norm->shape[0] : 0;
    h->channels = (int)t->shape[0];
    h->taps = (int)t->shape[2];
    nn_code code = nn_weights_load(h->weights, name, -1, NULL, &h->weight, e);
    if (!code)
        code =
            nn_weights_load(h->weights, "feature_extractor.conv_layers.0.2.weight", 1, shape, &h->gamma, e);
    if (!code)
        code = nn_weights_load(h->weights, "feature_extractor.conv_layers.0.2.bias", 1, shape, &h->beta, e);
    if (code) return code;
    size_t c = (size_t)h->channels;
    h->scale = malloc(c * sizeof *h->scale);
    h->shift = malloc(c * sizeof *h->shift);
    h->extractor = nn_plan_cache_new(PLANS, build_extractor, h);
    h->encoder = nn_plan_cache_new(PLANS, build_encoder, h);
    return h->scale && h->shift && h->extractor && h->encoder ? NN_OK : nn_fail_memory(e, "HuBERT");
}

nn_code rvc_hubert_new(rvc_hubert **out, nn_weights *w, nn_device *d, nn_error *e) {
    *out = NULL;
    rvc_hubert *h = calloc(1, sizeof *h);
    if (!h) return nn_fail_memory(e, "HuBERT");
    h->weights = w;
    h->device = d;
    nn_code code = set_up(h, e);
    if (code)
        rvc_hubert_free(h);
    else
        *out = h;
    return code;
}

void rvc_hubert_free(rvc_hubert *h) {
    if (!h) return;
    nn_plan_cache_free(h->extractor);
    nn_plan_cache_free(h->encoder);
    free(h->weight);
    free(h->gamma);
    free(h->beta);
    free(h->scale);
    free(h->shift);
    free(h->features);
    free(h);
}

/* The first layer's group norm for this audio as one factor and one term a channel. */
static void normalisation(rvc_hubert *h, const float *x, size_t n) {
    const int taps = h->taps;
    const size_t outputs = (n - (size_t)taps) / STRIDE + 1;
    double mean[MOST_TAPS] = {0}, covariance[MOST_TAPS][MOST_TAPS] = {{0}};
    for (size_t t = 0; t < outputs; t++)
        for (int k = 0; k < taps; k++) mean[k] += (double)x[t * STRIDE + (size_t)k];
    for (int k = 0; k < taps; k++) mean[k] /= (double)outputs;
    for (size_t t = 0; t < outputs; t++) {
        double centred[MOST_TAPS];
        for (int k = 0; k < taps; k++) centred[k] = (double)x[t * STRIDE + (size_t)k] - mean[k];
        for (int k = 0; k < taps; k++)
            for (int l = 0; l <= k; l++) covariance[k][l] += centred[k] * centred[l];
    }
    for (int c = 0; c < h->channels; c++) {
        const float *w = h->weight + (size_t)c * (size_t)taps;
        double centre = 0, variance = 0;
        for (int k = 0; k < taps; k++) {
            centre += (double)w[k] * mean[k];
            for (int l = 0; l <= k; l++)
                variance +=
                    (k == l ? 1 : 2) * (double)w[k] * (double)w[l] * covariance[k][l] / (double)outputs;
        }
        double scale = (double)h->gamma[c] / sqrt(fmax(variance, 0) + 1e-5);
        h->scale[c] = (float)scale;
        h->shift[c] = (float)((double)h->beta[c] - centre * scale);
    }
}

/* Frames in tiles of one length, the last one shifted back, so that one plan serves all. */
static nn_code extract(rvc_hubert *h, const float *audio, size_t frames, nn_error *e) {
    const size_t width = (size_t)h->width, tiles = (frames + TILE - 1) / TILE,
                 core = (frames + tiles - 1) / tiles;
    nn_plan *plan;
    nn_code code =
        nn_plan_cache_get(h->extractor, (int64_t[2]){(int64_t)((core - 1) * HOP + WINDOW), 0}, &plan, e);
    for (size_t done = 0; done < frames && !code; done += core) {
        size_t from = done + core > frames ? frames - core : done;
        nn_plan_write(plan, "audio", audio + from * HOP);
        nn_plan_write(plan, "scale", h->scale);
        nn_plan_write(plan, "shift", h->shift);
        code = nn_plan_run(plan, e);
        if (!code) nn_plan_read(plan, "features", h->features + from * width);
    }
    return code;
}

nn_code rvc_hubert_run(rvc_hubert *h, const float *audio, size_t n, unsigned output, float *features,
                       nn_error *e) {
    const size_t frames = rvc_hubert_frames(n);
    if (!frames)
        return nn_fail(e, NN_ERROR_ARGUMENT, "%zu samples are too few for HuBERT, which needs %d", n, WINDOW);
    if (frames > h->capacity) {
        free(h->features);
        h->capacity = 0;
        h->features = malloc(frames * (size_t)h->width * sizeof *h->features);
        if (!h->features) return nn_fail_memory(e, "HuBERT's features");
        h->capacity = frames;
    }
    normalisation(h, audio, n);
    nn_plan *plan;
    nn_code code = extract(h, audio, frames, e);
    if (!code) code = nn_plan_cache_get(h->encoder, (int64_t[2]){(int64_t)frames, output}, &plan, e);
    if (code) return code;
    nn_plan_write(plan, "features", h->features);
    code = nn_plan_run(plan, e);
    if (!code)
        nn_plan_read(plan, output == RVC_HUBERT_L0 ? "l0" : output == RVC_HUBERT_V1 ? "v1" : "v2", features);
    return code;
}
