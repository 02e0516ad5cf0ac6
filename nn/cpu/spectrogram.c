/* spectrogram.c - out[t][b] = ln(max(sum_k bank[b][k] |X_t[k]|, 1e-5)), X_t the Fourier transform of 1024
 * windowed samples.
 *
 * The transform is done in double, in place, decimated in time (Cooley and Tukey 1965): in the quiet bins,
 * whose logarithm is what counts, float rounding is what one would measure. Rows behind the frames are zeros.
 */
#include <math.h>
#include "pack.h"
#include "rows.h"

enum { SIZE = 1024, BITS = 10, BINS = SIZE / 2 + 1, HOP = 160 };
/* The blob, in floats: window, exp(-2 pi i j/1024) as doubles for j < 512, each band's first bin and count of
 * bins as int32_t, the bank. */
enum { TURNS = SIZE, RANGES = TURNS + 2 * SIZE };
static const double FLOOR = 1e-5, TWO_PI = 6.283185307179586477;

typedef struct complex_double {
    double re, im;
} complex_double;

void NN_KERNEL(spectrogram, setup)(nn_call *c) {
    nn_rows_split(c, c->node->shape.h, 8 * SIZE);
    c->scratch_bytes = SIZE * sizeof(complex_double);
    c->shared_bytes = 0;
}

/* Sample i of x [n], mirrored at both ends without repeating them. */
static float mirrored(const float *x, int n, int i) {
    if (n == 1) return x[0];
    const int period = 2 * (n - 1);
    i %= period;
    if (i < 0) i += period;
    return x[i < n ? i : period - i];
}

static int reversed(int i) {
    int r = 0;
    for (int bit = 0; bit < BITS; bit++) r |= (i >> bit & 1) << (BITS - 1 - bit);
    return r;
}

static void transform(complex_double *x, const complex_double *turn) {
    for (int half = 1; half < SIZE; half *= 2)
        for (int from = 0; from < SIZE; from += 2 * half)
            for (int j = 0; j < half; j++) {
                complex_double *a = &x[from + j], *b = a + half;
                const complex_double t = turn[j * (SIZE / 2 / half)];
                const double re = b->re * t.re - b->im * t.im, im = b->re * t.im + b->im * t.re;
                *b = (complex_double){a->re - re, a->im - im};
                *a = (complex_double){a->re + re, a->im + im};
            }
}

static void run_frame(const nn_call *c, int t, complex_double *x, float *out) {
    const nn_node *n = c->node;
    const float *blob = n->blob[0], *bank = blob + RANGES + 2 * n->shape.w;
    const int32_t *range = (const int32_t *)(const void *)(blob + RANGES);
    const int start = t * HOP + n->u.spectrogram.lead - SIZE / 2;
    for (int j = 0; j < SIZE; j++) {
        const float sample = mirrored(c->in[0], n->u.spectrogram.samples, start + j) * blob[j];
        x[reversed(j)] = (complex_double){(double)sample, 0};
    }
    transform(x, (const complex_double *)(const void *)(blob + TURNS));
    for (int k = 0; k < BINS; k++) x[k].re = sqrt(x[k].re * x[k].re + x[k].im * x[k].im);
    for (int b = 0; b < n->shape.w; b++, bank += BINS) {
        double sum = 0;
        for (int k = range[2 * b]; k < range[2 * b] + range[2 * b + 1]; k++) sum += (double)bank[k] * x[k].re;
        out[b] = (float)log(fmax(sum, FLOOR));
    }
}

void NN_KERNEL(spectrogram, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage;
    const int bands = c->node->shape.w;
    for (int t = nn_rows_from(c, task); t < nn_rows_to(c, task); t++) {
        float *out = c->out + (size_t)t * (size_t)bands;
        if (t < c->node->u.spectrogram.frames)
            run_frame(c, t, scratch, out);
        else
            memset(out, 0, (size_t)bands * sizeof *out);
    }
}

static nn_code make(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                    nn_error *e) {
    const int bands = n->shape.w;
    float *window = NULL, *bank = NULL;
    nn_code code = nn_pack_load(&window, w, stem, ".window", 1, (int64_t[]){SIZE}, e);
    if (!code) code = nn_pack_load(&bank, w, stem, ".bank", 2, (int64_t[]){bands, BINS}, e);
    if (!code && !(*out = nn_pack_new(RANGES + (size_t)bands * (2 + BINS), bytes)))
        code = nn_fail_memory(e, stem);
    if (!code) {
        complex_double *turn = (complex_double *)(void *)(*out + TURNS);
        int32_t *range = (int32_t *)(void *)(*out + RANGES);
        memcpy(*out, window, SIZE * sizeof *window);
        for (int j = 0; j < SIZE / 2; j++)
            turn[j] = (complex_double){cos(TWO_PI * j / SIZE), -sin(TWO_PI * j / SIZE)};
        for (int b = 0; b < bands; b++) {
            int last = -1;
            for (int k = BINS - 1; k >= 0; k--)
                if (bank[b * BINS + k] != 0) {
                    last = last < 0 ? k : last;
                    range[2 * b] = k;
                }
            range[2 * b + 1] = last < 0 ? 0 : last - range[2 * b] + 1;
        }
        memcpy(*out + RANGES + 2 * bands, bank, (size_t)bands * BINS * sizeof *bank);
    }
    free(window);
    free(bank);
    return code;
}

nn_code NN_KERNEL(spectrogram, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    return nn_pack_once(n, w, n->name, "spectrogram", make, e);
}
