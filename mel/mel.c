/* mel.c - log-mel spectrogram for RMVPE on the CPU, by FFTW.
 *
 *   mel[t][b]     = ln(max(sum_k F[b][k] |STFT(x)[t][k]|, 1e-5))
 *   STFT(x)[t][k] = sum_j w[j] x[160 t + j - 512] e^(-2 pi i jk/1024)
 *
 * The invariant: a frame depends on its 1024 samples alone, so any split of the frames into calls gives the
 * same bits.
 *
 * The transform is done in double. In the quiet bins, whose logarithm is what the network sees, the rounding
 * of a float32 transform is what one would measure: FFTW in float32 is within 98 dB of PyTorch on a recording
 * with pauses, in double it is as close as PyTorch's own rounding allows. The window and the windowed
 * samples, on the other hand, are rounded to float32, because torch.hann_window is, and that rounding leaks
 * into the same bins. */
#include "mel.h"

#include <fftw3.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { BINS = MEL_WINDOW / 2 + 1, PAD = MEL_WINDOW / 2 };

static const double MEL_FLOOR = 1e-5, LOW_HZ = 30, HIGH_HZ = 8000, TWO_PI = 6.283185307179586477;

/* A band is a short run of non-zero weights: about 8 of 513 on average. */
typedef struct band {
    int first, count;     /* bins first .. first+count-1 */
    const double *weight; /* [count], inside mel.weights */
} band;

struct mel {
    fftw_plan plan;           /* 1024 real -> 513 complex, executed on each call's own buffers */
    float window[MEL_WINDOW]; /* periodic Hann */
    band bands[MEL_BANDS];
    double weights[2 * BINS]; /* each bin lies in at most two triangles */
};

/* FFTW's planner is not thread-safe (its manual, 4.8 "Thread safety"); executing a plan is. */
static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER;

/* torch.hann_window(1024): 0.5 - 0.5 cos(2 pi j/1024), argument and cosine in float32. */
static void fill_window(float w[MEL_WINDOW]) {
    const float step = (float)(TWO_PI / MEL_WINDOW);
    for (int j = 0; j < MEL_WINDOW; j++) {
        float angle = (float)j * step;
        w[j] = 0.5f - 0.5f * (float)cos((double)angle);
    }
}

/* The HTK mel scale, m = 2595 log10(1 + f/700), and its inverse. */
static double mel_of_hz(double hz) {
    return 2595 * log10(1 + hz / 700);
}
static double hz_of_mel(double m) {
    return 700 * (pow(10, m / 2595) - 1);
}

/* Triangles between neighbouring points of an even division of the mel scale, each of area 1 over Hz
 * (Slaney): height 2 / (upper corner - lower corner). */
static void fill_bands(mel *m) {
    const double low = mel_of_hz(LOW_HZ), step = (mel_of_hz(HIGH_HZ) - low) / (MEL_BANDS + 1);
    double *next = m->weights;
    for (int b = 0; b < MEL_BANDS; b++) {
        double left = hz_of_mel(low + step * b), top = hz_of_mel(low + step * (b + 1));
        double right = hz_of_mel(low + step * (b + 2));
        band *t = &m->bands[b];
        t->weight = next;
        for (int k = 0; k < BINS; k++) {
            double hz = (double)k * MEL_RATE / MEL_WINDOW;
            double height = fmin((hz - left) / (top - left), (right - hz) / (right - top));
            if (height <= 0) continue;
            if (t->count++ == 0) t->first = k;
            *next++ = height * 2 / (right - left);
        }
    }
}

/* One call's buffers. FFTW plans for the alignment fftw_malloc gives, so every pair must come from it. */
typedef struct buffers {
    double *frame;          /* [1024] */
    fftw_complex *spectrum; /* [513] */
} buffers;

static void buffers_free(buffers *b) {
    fftw_free(b->frame);
    fftw_free(b->spectrum);
}

static nn_code buffers_new(buffers *b, nn_error *e) {
    b->frame = fftw_malloc(MEL_WINDOW * sizeof *b->frame);
    b->spectrum = fftw_malloc(BINS * sizeof *b->spectrum);
    if (b->frame && b->spectrum) return NN_OK;
    buffers_free(b);
    return nn_fail_memory(e, "the mel spectrogram's buffers");
}

nn_code mel_new(mel **out, nn_error *e) {
    *out = NULL;
    mel *m = calloc(1, sizeof *m);
    if (!m) return nn_fail_memory(e, "the mel filter bank");
    buffers b;
    nn_code code = buffers_new(&b, e);
    if (code) {
        free(m);
        return code;
    }
    /* FFTW_ESTIMATE chooses by rule, not by stopwatch: the same plan, thus the same bits, every time. */
    pthread_mutex_lock(&planner);
    m->plan = fftw_plan_dft_r2c_1d(MEL_WINDOW, b.frame, b.spectrum, FFTW_ESTIMATE);
    pthread_mutex_unlock(&planner);
    buffers_free(&b);
    if (!m->plan) {
        free(m);
        return nn_fail_memory(e, "the FFT plan of the mel spectrogram");
    }
    fill_window(m->window);
    fill_bands(m);
    *out = m;
    return NN_OK;
}

void mel_free(mel *m) {
    if (!m) return;
    pthread_mutex_lock(&planner);
    fftw_destroy_plan(m->plan);
    pthread_mutex_unlock(&planner);
    free(m);
}

size_t mel_frames(size_t n) {
    return n / MEL_HOP + 1;
}

/* Sample `i` of x [n] mirrored at both ends, without repeating the end samples: period 2(n-1). */
static float reflected(const float *x, ptrdiff_t n, ptrdiff_t i) {
    if (n == 1) return x[0];
    ptrdiff_t period = 2 * (n - 1);
    i %= period;
    if (i < 0) i += period;
    return x[i < n ? i : period - i];
}

/* The windowed samples of frame t. Only frames near the ends touch the reflection. */
static void load_frame(const mel *m, const float *x, size_t n, size_t t, double *frame) {
    ptrdiff_t start = (ptrdiff_t)(t * MEL_HOP) - PAD;
    if (start >= 0 && start + MEL_WINDOW <= (ptrdiff_t)n) {
        for (int j = 0; j < MEL_WINDOW; j++) frame[j] = (double)(x[start + j] * m->window[j]);
        return;
    }
    for (int j = 0; j < MEL_WINDOW; j++)
        frame[j] = (double)(reflected(x, (ptrdiff_t)n, start + j) * m->window[j]);
}

nn_code mel_compute(const mel *m, const float *x, size_t n, size_t first, size_t count, float *out,
                    nn_error *e) {
    if (n == 0) return nn_fail(e, NN_ERROR_ARGUMENT, "mel spectrogram of an empty signal");
    if (first > mel_frames(n) || count > mel_frames(n) - first)
        return nn_fail(e, NN_ERROR_ARGUMENT, "mel frames %zu to %zu asked of a signal with %zu", first,
                       first + count, mel_frames(n));
    buffers b;
    nn_code code = buffers_new(&b, e);
    if (code) return code;
    for (size_t t = 0; t < count; t++, out += MEL_BANDS) {
        load_frame(m, x, n, first + t, b.frame);
        fftw_execute_dft_r2c(m->plan, b.frame, b.spectrum);
        double *magnitude = b.frame; /* the samples are no longer needed: 513 values fit in their place */
        for (int k = 0; k < BINS; k++) {
            double re = b.spectrum[k][0], im = b.spectrum[k][1];
            magnitude[k] = sqrt(re * re + im * im);
        }
        for (int i = 0; i < MEL_BANDS; i++) {
            const band *t_band = &m->bands[i];
            double sum = 0;
            for (int k = 0; k < t_band->count; k++) sum += t_band->weight[k] * magnitude[t_band->first + k];
            out[i] = (float)log(fmax(sum, MEL_FLOOR));
        }
    }
    buffers_free(&b);
    return NN_OK;
}

nn_code mel_weights(nn_weights **out, nn_error *e) {
    *out = NULL;
    mel *m = calloc(1, sizeof *m);
    float *bank = calloc((size_t)MEL_BANDS * BINS, sizeof *bank);
    nn_weights *w = NULL;
    nn_code code = m && bank ? nn_weights_new(&w, "mel", e) : nn_fail_memory(e, "the mel filter bank");
    if (!code) {
        fill_window(m->window);
        fill_bands(m);
        for (int b = 0; b < MEL_BANDS; b++)
            for (int k = 0; k < m->bands[b].count; k++)
                bank[b * BINS + m->bands[b].first + k] = (float)m->bands[b].weight[k];
        code = nn_weights_add(w, "mel.window", 1, (int64_t[]){MEL_WINDOW}, m->window, e);
    }
    if (!code) code = nn_weights_add(w, "mel.bank", 2, (int64_t[]){MEL_BANDS, BINS}, bank, e);
    free(bank);
    free(m);
    if (code)
        nn_weights_free(w);
    else
        *out = w;
    return code;
}
