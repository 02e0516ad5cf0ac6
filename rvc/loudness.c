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
 * Over a run of samples both curves are straight lines, a (1 + s t) and b (1 + u t) with t from -1 to 1, so
 * the gain is (a/b)^p (1 + s t)^p (1 + u t)^-p: a power series, of which a few terms are good to 1e-12 where
 * s and u are small. Runs are halved until they are. A division and a pow() for every sample would take
 * longer than a GPU takes for the voice. */
#include "signal.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../nn/share.h"
#include "vector.h"

static const double RMS_FLOOR = 1e-6;

/* The square of four samples more. */
RVC_INLINE void add_square(rvc_d4 *sum, const float *x) {
    rvc_d4 v;
    rvc_widen((const rvc_f4 *)x, &v);
    *sum += v * v;
}

/* Sixteen sums, and then one. */
RVC_VECTOR static double energy(const float *x, size_t n) {
    rvc_d4 a = {0}, b = {0}, c = {0}, d = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        add_square(&a, x + i);
        add_square(&b, x + i + 4);
        add_square(&c, x + i + 8);
        add_square(&d, x + i + 12);
    }
    a = (a + b) + (c + d);
    double sum = (a[0] + a[1]) + (a[2] + a[3]);
    for (; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* The RMS curve of x: *frames values, malloc'd. NULL: out of memory. */
static double *rms_frames(rvc_buffer *x, size_t hop, size_t *frames) {
    size_t n = x->count, count = n / hop + 1;
    double *rms = calloc(count, sizeof *rms);
    if (!rms) return NULL;
    double before = 0; /* energy of block f - 1; zero in front of the signal */
    for (size_t f = 0; f < count; f++) {
        size_t end = n - f * hop < hop ? n : (f + 1) * hop;
        const double here = energy(rvc_buffer_view(x, f * hop, end - f * hop), end - f * hop);
        rms[f] = sqrt((before + here) / (double)(2 * hop));
        before = here;
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

/* Samples of a run at most; terms of the series; slope below which what is left out is under 1e-12. */
enum { RUN = 2048, TERMS = 7 };
static const double SMALL = 1.0 / 64;

static double place(const curve *c, size_t i) {
    const double at = ((double)i + 0.5) * c->step - 0.5;
    return at > 0 ? at : 0;
}

static double interpolated(const curve *c, double at) {
    const size_t left = (size_t)at;
    if (left >= c->count - 1) return c->v[c->count - 1];
    return c->v[left] + (at - (double)left) * (c->v[left + 1] - c->v[left]);
}

/* middle (1 + slope t), t from -1 at the first sample of a run to 1 at the last. */
typedef struct line {
    double middle, slope;
} line;

/* The curve, nowhere below `least`, over `count` samples; false where it is no line there, or a steep one. */
static bool find_line(const curve *c, double least, size_t from, size_t count, line *out) {
    const double a = place(c, from), b = place(c, from + count - 1);
    double first = interpolated(c, a), last = interpolated(c, b);
    const bool corner = (a <= 0 && b > 0) || (size_t)a != (size_t)b || (first < least) != (last < least);
    first = first > least ? first : least;
    last = last > least ? last : least;
    *out = (line){(first + last) / 2, first + last > 0 ? (last - first) / (first + last) : 0};
    return count == 1 || (!corner && fabs(out->slope) <= SMALL);
}

/* c [TERMS] of (1 + s t)^p (1 + u t)^-p = f, from (1 + s t) (1 + u t) f' = p (s - u) f. */
static void series(double p, double s, double u, double value, double *c) {
    double before = 0;
    c[0] = value;
    for (int k = 0; k + 1 < TERMS; k++) {
        c[k + 1] = (p * (s - u) * c[k] - (s + u) * k * c[k] - s * u * (k - 1) * before) / (k + 1);
        before = c[k];
    }
}

RVC_INLINE void amplify4(rvc_f4 *y, const rvc_d4 *t, const double *c) {
    rvc_d4 gain = c[TERMS - 1] + (rvc_d4){0};
#pragma GCC unroll 8
    for (int k = TERMS - 1; k-- > 0;) gain = gain * *t + c[k];
    rvc_d4 v;
    rvc_widen(y, &v);
    *y = __builtin_convertvector(v * gain, rvc_f4);
}

/* y [count] times the series in t, which goes from -1 to 1. */
RVC_VECTOR static void amplify(float *y, size_t count, const double *c) {
    const double step = count > 1 ? 2 / (double)(count - 1) : 0, middle = (double)(count - 1) / 2;
    rvc_d4 at = (rvc_d4){0, 1, 2, 3} - middle;
    size_t i = 0;
    for (; i + 4 <= count; i += 4, at += 4) {
        const rvc_d4 t = at * step;
        amplify4((rvc_f4 *)(y + i), &t, c);
    }
    if (i < count) {
        const rvc_d4 t = at * step;
        rvc_f4 rest = {0};
        memcpy(&rest, y + i, (count - i) * sizeof *y);
        amplify4(&rest, &t, c);
        memcpy(y + i, &rest, (count - i) * sizeof *y);
    }
}

typedef struct mix {
    curve wanted, had;
    double p;
} mix;

/* Samples from .. from+count-1, which lie at y. */
static void mix_run(const mix *m, size_t from, size_t count, float *y) {
    line wanted, had;
    double c[TERMS];
    if (find_line(&m->wanted, 0, from, count, &wanted) && find_line(&m->had, RMS_FLOOR, from, count, &had)) {
        series(m->p, wanted.slope, had.slope, pow(wanted.middle / had.middle, m->p), c);
        amplify(y, count, c);
    } else {
        const size_t half = count > 8 ? count / 8 * 4 : count / 2;
        mix_run(m, from, half, y);
        mix_run(m, from + half, count - half, y + half);
    }
}

/* The samples of a task: few enough for the parts of a mapped buffer that are in memory, and for the cache. */
enum { SHARE = 64 * RUN };

typedef struct mixing {
    mix mix;
    rvc_buffer *y;
} mixing;

static void mix_share(void *context, size_t task) {
    const mixing *m = context;
    const size_t first = task * SHARE, end = m->y->count - first < SHARE ? m->y->count : first + SHARE;
    for (size_t from = first; from < end; from += RUN) {
        const size_t count = end - from < RUN ? end - from : RUN;
        mix_run(&m->mix, from, count, rvc_buffer_view(m->y, from, count));
    }
}

nn_code rvc_mix_loudness(rvc_buffer *x, int in_rate, rvc_buffer *y, int out_rate, float rate, int threads,
                         nn_error *e) {
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
    mixing all = {{{x_rms, x_count, (double)x_count / (double)m},
                   {y_rms, y_count, (double)y_count / (double)m},
                   1 - (double)rate},
                  y};
    nn_share(rvc_buffer_threads(y, threads), (m + SHARE - 1) / SHARE, mix_share, &all);
    free(x_rms);
    free(y_rms);
    return NN_OK;
}
