/* resample.c - sample rates, by libsamplerate's best sinc (145 dB, 97 % of the band; J. O. Smith's
 * band-limited interpolation).
 *
 * The invariant: output sample i is the input at time i/to, for exactly m samples. libsamplerate removes its
 * filter's delay at the start; at the end it would stop with the input, so zeros are fed after it until m
 * samples are there: the filter rings out as it should, and rounding never costs the last sample. */
#include "signal.h"

#include <limits.h>
#include <samplerate.h>
#include <stdlib.h>
#include <string.h>

enum { RATE_MIN = 1000, RATE_MAX = 768000, RATIO_MAX = 256 }; /* the last is libsamplerate's limit */

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

/* Runs the converter over x [n] and then over zeros until y [m] is full. */
static int convert_all(SRC_STATE *state, const float *x, size_t n, double ratio, float *y, size_t m) {
    static const float zeros[4096];
    const size_t most = LONG_MAX / 2;
    while (m > 0) {
        const float *in = n > 0 ? x : zeros;
        size_t left = n > 0 ? n : sizeof zeros / sizeof zeros[0];
        SRC_DATA data = {.data_in = in,
                         .input_frames = (long)(left < most ? left : most),
                         .data_out = y,
                         .output_frames = (long)(m < most ? m : most),
                         .src_ratio = ratio};
        int status = src_process(state, &data);
        if (status) return status;
        if (n > 0) {
            x += data.input_frames_used;
            n -= (size_t)data.input_frames_used;
        }
        y += data.output_frames_gen;
        m -= (size_t)data.output_frames_gen;
    }
    return 0;
}

nn_code rvc_resample(const float *x, size_t n, int from, int to, size_t m, float **out, nn_error *e) {
    *out = NULL;
    nn_code code = check_rates(from, to, e);
    if (code) return code;
    if (m == 0) m = rvc_scaled_frames(n, from, to);
    float *y = calloc(m ? m : 1, sizeof *y);
    if (!y) return nn_fail_memory(e, "the resampled signal");
    if (from == to) {
        if (n) memcpy(y, x, (n < m ? n : m) * sizeof *y);
        *out = y;
        return NN_OK;
    }
    int status = 0;
    SRC_STATE *state = src_new(SRC_SINC_BEST_QUALITY, 1, &status);
    if (!state) {
        free(y);
        return nn_fail_memory(e, "the resampler");
    }
    status = convert_all(state, x, n, (double)to / from, y, m);
    src_delete(state);
    if (status) {
        free(y);
        return nn_fail(e, NN_ERROR_ARGUMENT, "cannot resample from %d to %d Hz: %s", from, to,
                       src_strerror(status));
    }
    *out = y;
    return NN_OK;
}
