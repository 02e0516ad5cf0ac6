/* loudness.c - the output takes on the input's loudness, wholly (rate 0), in part, or not at all (rate 1).
 *
 *   y *= rms_x^(1-rate) max(rms_y, 1e-6)^(rate-1)
 *
 * RMS as librosa.feature.rms(frame_length=h*2, hop_length=h), h = sr/2 (integer): frame f covers [(f-1) h,
 * (f+1) h), zeros outside the signal, frames = n/h + 1. Between frames linear with half-pixel centres, as
 * torch's F.interpolate(mode="linear", align_corners=False). A frame is two neighbouring half-second blocks,
 * so one sum per block is all that is kept; sums are double, since a second of samples in float32 would lose
 * the quiet ones.
 *
 * From sample to sample the ratio hardly changes, so its power comes from one near by and the binomial
 * series, r^p = r0^p (1 + t)^p, to the last bit of a double: pow() for every sample would take longer than a
 * GPU takes for the voice. */
#include "signal.h"

#include <math.h>
#include <stdlib.h>

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

/* An RMS curve over the samples of a signal: sample i lies at (i + 1/2) step - 1/2 among the values. */
typedef struct curve {
    const double *v; /* [count] */
    size_t count;
    double step;
} curve;

/* Samples are worked on in runs whose length the compiler knows. */
enum { RUN = 256 };

static double place(const curve *c, double i) {
    const double at = (i + 0.5) * c->step - 0.5;
    return at > 0 ? at : 0;
}

static double interpolated(const curve *c, double at) {
    const size_t left = (size_t)at;
    if (left >= c->count - 1) return c->v[c->count - 1];
    return c->v[left] + (at - (double)left) * (c->v[left + 1] - c->v[left]);
}

/* The curve at samples from .. from+RUN-1; nearly always between the same two values. */
static void curve_run(const curve *c, size_t from, double out[RUN]) {
    const double first = (double)from;
    const size_t left = (size_t)place(c, first), right = (size_t)place(c, first + RUN - 1);
    if (left == right && right < c->count - 1) {
        const double base = c->v[left], rise = c->v[left + 1] - base, start = (double)left;
        for (int i = 0; i < RUN; i++) out[i] = base + (place(c, first + i) - start) * rise;
    } else {
        for (int i = 0; i < RUN; i++) out[i] = interpolated(c, place(c, first + i));
    }
}

enum { TERMS = 5 };
static const double NEAR = 1e-3; /* |t|: what the series leaves out is below 1e-16 */

/* r^p for ratios r that change slowly. */
typedef struct power {
    double p, inverse, value; /* value = inverse^-p */
    double binomial[TERMS];   /* p over k */
} power;

static power power_start(double p) {
    power w = {.p = p, .inverse = 1, .value = 1, .binomial = {1}};
    for (int k = 1; k < TERMS; k++) w.binomial[k] = w.binomial[k - 1] * (p - k + 1) / k;
    return w;
}

/* r^p in place. The base is the run's first; where the run goes too far from it, each sample is its own. */
static void power_run(power *w, double r[RUN]) {
    double t[RUN];
    int far = 0; /* a ratio of 0 is, too, and its t no number */
    if (!(fabs(r[0] * w->inverse - 1) < NEAR / 4)) {
        w->inverse = 1 / r[0];
        w->value = pow(r[0], w->p);
    }
    for (int i = 0; i < RUN; i++) t[i] = r[i] * w->inverse - 1;
    for (int i = 0; i < RUN; i++) far |= !(fabs(t[i]) < NEAR);
    if (!far) {
        const double *b = w->binomial, value = w->value;
        for (int i = 0; i < RUN; i++)
            r[i] = value * (b[0] + t[i] * (b[1] + t[i] * (b[2] + t[i] * (b[3] + t[i] * b[4]))));
    } else {
        for (int i = 0; i < RUN; i++) r[i] = pow(r[i], w->p);
    }
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
    const curve wanted = {x_rms, x_count, (double)x_count / (double)m};
    const curve had = {y_rms, y_count, (double)y_count / (double)m};
    power gain = power_start(1 - (double)rate);
    for (size_t from = 0; from < m; from += RUN) {
        const size_t count = m - from < RUN ? m - from : RUN;
        double ratio[RUN], own[RUN];
        float *block = rvc_buffer_view(y, from, count);
        curve_run(&wanted, from, ratio);
        curve_run(&had, from, own);
        for (int i = 0; i < RUN; i++) ratio[i] /= own[i] > RMS_FLOOR ? own[i] : RMS_FLOOR;
        power_run(&gain, ratio);
        for (size_t i = 0; i < count; i++) block[i] = (float)((double)block[i] * ratio[i]);
    }
    free(x_rms);
    free(y_rms);
    return NN_OK;
}
