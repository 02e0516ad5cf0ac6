/* resample.c - sample rates, through spectra: that of a stretch of signal at one rate, without what the lower
 * of the two rates cannot carry, is that of the same stretch at the other.
 *
 *   in  |-pad-|--------- hop ---------|-pad-|      a window of whole units; a unit is the shortest time that
 * is out       |--------- hop ---------|            whole samples at both rates (10 ms for 44100 and 16000)
 *
 * A transform takes its window for periodic, so what its ends wrap around reaches into the pads, which are
 * thrown away, and no further: the cut in frequency is a step rounded by a Gaussian, whose answer in time is
 * a Gaussian times sin(t)/t, below 1e-8 a pad away. It passes 96.7 % of the band and is below 2e-8 at its
 * end.
 *
 * The invariant: output sample i is the input at time i/to, for exactly m samples; silence lies before the
 * input and after it. A second one: how the input is divided into blocks does not change a bit of the output.
 */
#include "signal.h"

#include <fftw3.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../mel/mel.h"

enum {
    RATE_MIN = 1000,
    RATE_MAX = 768000,
    RATIO_MAX = 256,
    BLOCK = 1 << 14,
    REACH = 512,  /* of the answer in time: samples at the lower rate */
    WINDOW = 8192 /* samples at the lower rate, at least */
};
/* The Gaussian's width in cycles per sample at the lower rate, and how many widths times sqrt(2) before half
 * a cycle the step is in the middle: erfc(3.9)/2 is 1.7e-8. */
static const double WIDTH = 0.763 / REACH, MARGIN = 3.9;

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

/* A window at one rate, in samples. */
typedef struct side {
    size_t window, pad, hop;
    double *v; /* [window] */
} side;

struct rvc_resampler {
    int from, to; /* equal rates: nothing below is used */
    side in, out;
    size_t filled, given;   /* samples of in's window that are there; of out's hop that are no longer */
    fftw_complex *spectrum; /* of either window */
    double *pass;           /* [passed]: what bins are multiplied by; the others' is 0 */
    size_t passed;
    fftw_plan forth, back;
};

/* ---- making one ---- */

static int common_divisor(int a, int b) {
    while (b) {
        const int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static side side_of(size_t unit, size_t units, size_t pads) {
    return (side){units * unit, pads * unit, (units - 2 * pads) * unit,
                  fftw_malloc(units * unit * sizeof(double))};
}

static nn_code make(rvc_resampler *r, nn_error *e) {
    const size_t divisor = (size_t)common_divisor(r->from, r->to), in = (size_t)r->from / divisor,
                 out = (size_t)r->to / divisor, low = in < out ? in : out, pads = (REACH + low - 1) / low;
    size_t units = 4;
    while (units * low < WINDOW || units < 4 * pads) units *= 2;
    const size_t longest = units * (in > out ? in : out);
    r->in = side_of(in, units, pads);
    r->out = side_of(out, units, pads);
    r->passed = units * low / 2;
    r->pass = malloc(r->passed * sizeof *r->pass);
    r->spectrum = fftw_malloc((longest / 2 + 1) * sizeof *r->spectrum);
    if (!r->in.v || !r->out.v || !r->pass || !r->spectrum) return nn_fail_memory(e, "the resampler");
    for (size_t k = 0; k < r->passed; k++) {
        const double cycles = (double)k / (double)(units * low) - 0.5;
        r->pass[k] = erfc(cycles / (sqrt(2) * WIDTH) + MARGIN) / 2 / (double)r->in.window;
    }
    /* FFTW_ESTIMATE chooses by rule, not by stopwatch: the same plan, thus the same bits, every time. */
    pthread_mutex_lock(&mel_planner);
    r->forth = fftw_plan_dft_r2c_1d((int)r->in.window, r->in.v, r->spectrum, FFTW_ESTIMATE);
    r->back = fftw_plan_dft_c2r_1d((int)r->out.window, r->spectrum, r->out.v, FFTW_ESTIMATE);
    pthread_mutex_unlock(&mel_planner);
    return r->forth && r->back ? NN_OK : nn_fail_memory(e, "the resampler");
}

static nn_code new_resampler(rvc_resampler **out, int from, int to, nn_error *e) {
    rvc_resampler *r = calloc(1, sizeof *r);
    if (!r) return nn_fail_memory(e, "the resampler");
    r->from = from;
    r->to = to;
    const nn_code code = from == to ? NN_OK : make(r, e);
    if (code)
        rvc_resampler_free(r);
    else
        *out = r;
    return code;
}

nn_code rvc_resampler_start(rvc_resampler **kept, int from, int to, nn_error *e) {
    rvc_resampler *r = *kept;
    nn_code code = check_rates(from, to, e);
    if (!code && !(r && r->from == from && r->to == to)) {
        rvc_resampler_free(r);
        *kept = NULL;
        code = new_resampler(kept, from, to, e);
    }
    if (code || from == to) return code;
    r = *kept;
    memset(r->in.v, 0, r->in.pad * sizeof *r->in.v); /* silence before the signal */
    r->filled = r->in.pad;
    r->given = r->out.hop;
    return NN_OK;
}

void rvc_resampler_free(rvc_resampler *r) {
    if (!r) return;
    pthread_mutex_lock(&mel_planner);
    if (r->forth) fftw_destroy_plan(r->forth);
    if (r->back) fftw_destroy_plan(r->back);
    pthread_mutex_unlock(&mel_planner);
    fftw_free(r->in.v);
    fftw_free(r->out.v);
    fftw_free(r->spectrum);
    free(r->pass);
    free(r);
}

/* ---- running ---- */

/* The window is full: its hop comes out, and what the next window has of it moves to its beginning. */
static void transform(rvc_resampler *r) {
    double(*bin)[2] = r->spectrum;
    fftw_execute(r->forth);
    for (size_t k = 0; k < r->passed; k++) {
        bin[k][0] *= r->pass[k];
        bin[k][1] *= r->pass[k];
    }
    memset(bin + r->passed, 0, (r->out.window / 2 + 1 - r->passed) * sizeof *bin);
    fftw_execute(r->back);
    memmove(r->in.v, r->in.v + r->in.hop, 2 * r->in.pad * sizeof *r->in.v);
    r->filled = 2 * r->in.pad;
    r->given = 0;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

void rvc_resampler_run(rvc_resampler *r, const float *x, size_t *n, float *y, size_t *m) {
    size_t taken = 0, made = 0, give = 0, take = 0;
    if (r->from == r->to) {
        *n = *m = least(*n, *m);
        memcpy(y, x, *n * sizeof *y);
        return;
    }
    do {
        if (r->filled == r->in.window && r->given == r->out.hop) transform(r);
        give = least(r->out.hop - r->given, *m - made);
        for (size_t i = 0; i < give; i++) y[made + i] = (float)r->out.v[r->out.pad + r->given + i];
        take = least(r->in.window - r->filled, *n - taken);
        for (size_t i = 0; i < take; i++) r->in.v[r->filled + i] = (double)x[taken + i];
        r->given += give;
        r->filled += take;
        made += give;
        taken += take;
    } while (give || take);
    *n = taken;
    *m = made;
}

void rvc_resampler_ring_out(rvc_resampler *r, float *y, size_t m) {
    static const float zeros[BLOCK];
    while (m > 0) {
        size_t taken = BLOCK, made = m;
        rvc_resampler_run(r, zeros, &taken, y, &made);
        y += made;
        m -= made;
    }
}

nn_code rvc_resample(rvc_resampler **kept, rvc_buffer *x, int from, int to, rvc_buffer *y, nn_error *e) {
    size_t done = 0, made = 0;
    const nn_code code = rvc_resampler_start(kept, from, to, e);
    if (code) return code;
    while (made < y->count && done < x->count) {
        size_t n = least(x->count - done, BLOCK), m = least(y->count - made, BLOCK);
        rvc_resampler_run(*kept, rvc_buffer_view(x, done, n), &n, rvc_buffer_view(y, made, m), &m);
        done += n;
        made += m;
    }
    const size_t rest = y->count - made;
    rvc_resampler_ring_out(*kept, rvc_buffer_view(y, made, rest), rest);
    return NN_OK;
}
