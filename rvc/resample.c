/* resample.c - sample rates, by libsamplerate's best sinc (145 dB, 97 % of the band; J. O. Smith's
 * band-limited interpolation).
 *
 * The invariant: output sample i is the input at time i/to, for exactly m samples. libsamplerate removes its
 * filter's delay at the start; at the end it would stop with the input, so zeros are fed after it until m
 * samples are there: the filter rings out as it should, and rounding never costs the last sample. A second
 * one: how the input is divided into blocks does not change a bit of the output. */
#include "signal.h"

#include <samplerate.h>
#include <stdlib.h>
#include <string.h>

enum { RATE_MIN = 1000, RATE_MAX = 768000, RATIO_MAX = 256 /* libsamplerate's limit */, BLOCK = 1 << 14 };

size_t rvc_scaled_frames(size_t n, int from, int to) {
    if (from <= 0 || to <= 0) return 0;
    /* n = whole*from + rest, so that the product in the rounded part cannot overflow */
    size_t f = (size_t)from, t = (size_t)to, whole = n / f, rest = n % f;
    return whole * t + (2 * rest * t + f) / (2 * f);
}

static nn_code check_rates(int from, int to, nn_error *e) {
    if (from < RATE_MIN || from > RATE_MAX || to < RATE_MIN || to > RATE_MAX)
        return nn_fail(e, NN_ERROR_ARGUMENT, "cannot resample from %d to %d Hz: rates must be %d to %d Hz",
                       from, to, RATE_MIN, RATE_MAX);
    if (from > RATIO_MAX * to || to > RATIO_MAX * from)
        return nn_fail(e, NN_ERROR_ARGUMENT, "cannot resample from %d to %d Hz: the ratio is above %d", from,
                       to, RATIO_MAX);
    return NN_OK;
}

struct rvc_resampler {
    SRC_STATE *state; /* NULL: the rates are equal */
    double ratio;
    int from, to;
};

nn_code rvc_resampler_new(rvc_resampler **out, int from, int to, nn_error *e) {
    int status = 0;
    *out = NULL;
    nn_code code = check_rates(from, to, e);
    if (code) return code;
    rvc_resampler *r = calloc(1, sizeof *r);
    if (!r) return nn_fail_memory(e, "the resampler");
    *r = (rvc_resampler){.ratio = (double)to / from, .from = from, .to = to};
    if (from != to && !(r->state = src_new(SRC_SINC_BEST_QUALITY, 1, &status))) {
        free(r);
        return nn_fail_memory(e, "the resampler");
    }
    *out = r;
    return NN_OK;
}

void rvc_resampler_free(rvc_resampler *r) {
    if (!r) return;
    if (r->state) src_delete(r->state);
    free(r);
}

nn_code rvc_resampler_run(rvc_resampler *r, const float *x, size_t *n, float *y, size_t *m, nn_error *e) {
    if (!r->state) {
        *n = *m = *n < *m ? *n : *m;
        memcpy(y, x, *n * sizeof *y);
        return NN_OK;
    }
    SRC_DATA data = {.data_in = x,
                     .input_frames = (long)*n,
                     .data_out = y,
                     .output_frames = (long)*m,
                     .src_ratio = r->ratio};
    int status = src_process(r->state, &data);
    if (status)
        return nn_fail(e, NN_ERROR_ARGUMENT, "cannot resample from %d to %d Hz: %s", r->from, r->to,
                       src_strerror(status));
    *n = (size_t)data.input_frames_used;
    *m = (size_t)data.output_frames_gen;
    return NN_OK;
}

nn_code rvc_resampler_ring_out(rvc_resampler *r, float *y, size_t m, nn_error *e) {
    static const float zeros[BLOCK];
    nn_code code = NN_OK;
    while (m > 0 && !code) {
        size_t taken = BLOCK, made = m;
        code = rvc_resampler_run(r, zeros, &taken, y, &made, e);
        if (code) break;
        y += made;
        m -= made;
    }
    return code;
}

nn_code rvc_resample(rvc_buffer *x, int from, int to, rvc_buffer *y, nn_error *e) {
    rvc_resampler *r;
    size_t done = 0, made = 0;
    nn_code code = rvc_resampler_new(&r, from, to, e);
    while (!code && made < y->count && done < x->count) {
        size_t n = x->count - done < BLOCK ? x->count - done : BLOCK,
               m = y->count - made < BLOCK ? y->count - made : BLOCK;
        code = rvc_resampler_run(r, rvc_buffer_view(x, done, n), &n, rvc_buffer_view(y, made, m), &m, e);
        if (code) break;
        done += n;
        made += m;
    }
    size_t rest = y->count - made;
    if (!code) code = rvc_resampler_ring_out(r, rvc_buffer_view(y, made, rest), rest, e);
    rvc_resampler_free(r);
    return code;
}
