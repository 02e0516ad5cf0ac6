/* loudness.c - the output takes on the input's loudness, wholly (rate 0), in part, or not at all (rate 1).
 *
 *   y *= rms_x^(1-rate) max(rms_y, 1e-6)^(rate-1)
 *
 * RMS as librosa.feature.rms(frame_length=h*2, hop_length=h), h = sr/2 (integer): frame f covers [(f-1) h,
 * (f+1) h), zeros outside the signal, frames = n/h + 1. Between frames linear with half-pixel centres, as
 * torch's F.interpolate(mode="linear", align_corners=False). A frame is two neighbouring half-second blocks,
 * so one sum per block is all that is kept; sums are double, since a second of samples in float32 would lose
 * the quiet ones. */
#include "signal.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK = 1 << 14 };
static const double RMS_FLOOR = 1e-6;

/* The RMS curve of x: *frames values, malloc'd. NULL: out of memory. */
static double *rms_frames(rvc_buffer *x, size_t hop, size_t *frames) {
    size_t n = x->count, count = n / hop + 1;
    double *rms = calloc(count, sizeof *rms);
    if (!rms) return NULL;
    double before = 0; /* energy of block f - 1; zero in front of the signal */
    for (size_t f = 0; f < count; f++) {
        size_t end = n - f * hop < hop ? n : (f + 1) * hop;
        double energy = 0;
        const float *block = rvc_buffer_view(x, f * hop, end - f * hop);
        for (size_t i = 0; i < end - f * hop; i++) energy += (double)block[i] * (double)block[i];
        rms[f] = sqrt((before + energy) / (double)(2 * hop));
        before = energy;
    }
    *frames = count;
    return rms;
}

/* The curve v [count] at sample i of m. */
static double interpolated(const double *v, size_t count, size_t i, double step) {
    double at = fmax(((double)i + 0.5) * step - 0.5, 0);
    size_t left = (size_t)at;
    if (left >= count - 1) return v[count - 1];
    return v[left] + (at - (double)left) * (v[left + 1] - v[left]);
}

nn_code rvc_mix_loudness(rvc_buffer *x, int in_rate, rvc_buffer *y, int out_rate, float rate, nn_error *e) {
    const size_t m = y->count;
    if (in_rate < 2 || out_rate < 2 || !(rate >= 0 && rate <= 1))
        return nn_fail(e, NN_ERROR_ARGUMENT,
                       "loudness mix of %g between %d and %d Hz: the mix must be 0 to 1", (double)rate,
                       in_rate, out_rate);
    if (rate >= 1 || m == 0) return NN_OK;
    size_t x_count = 0, y_count = 0;
    double *x_rms = rms_frames(x, (size_t)in_rate / 2, &x_count);
    double *y_rms = rms_frames(y, (size_t)out_rate / 2, &y_count);
    if (!x_rms || !y_rms) {
        free(x_rms);
        free(y_rms);
        return nn_fail_memory(e, "the loudness curves");
    }
    const double x_step = (double)x_count / (double)m, y_step = (double)y_count / (double)m;
    const double power = 1 - (double)rate;
    for (size_t from = 0; from < m; from += BLOCK) {
        const size_t count = m - from < BLOCK ? m - from : BLOCK;
        float *block = rvc_buffer_view(y, from, count);
        for (size_t i = 0; i < count; i++) {
            double ratio = interpolated(x_rms, x_count, from + i, x_step) /
                           fmax(interpolated(y_rms, y_count, from + i, y_step), RMS_FLOOR);
            block[i] = (float)((double)block[i] * pow(ratio, power));
        }
    }
    free(x_rms);
    free(y_rms);
    return NN_OK;
}
