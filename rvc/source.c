/* source.c - the excitation of the neural source-filter vocoder (Wang, Takaki, Yamagishi 2019), with one harmonic.
 *
 *   out[i] = 0.1 sin(2 pi phase[i]) + 0.003 noise[i]  where voiced,   0.1/3 noise[i]  where not
 *   phase[i] = phase[i-1] + f0/rate, f0 held over the frame's `upp` samples
 *
 * The invariant: the phase is continuous, in double, and reduced to [0, 1) once a frame, so an hour is as
 * exact as a second. Within a frame it is start + (j+1) f0/rate, not a sum of roundings.
 *
 * RVC-WebUI's SineGen sums the phase in float32 and subtracts 1 where a second, interpolated phase wraps.
 * While unvoiced that one stands still, and its rounding looks like wraps: the phase walks off by whole
 * turns, up to hundreds a second. Whole turns are harmless but for float32: at -60 turns the sine is 97 dB
 * from the true one. A recorded output is only met closer than that by the same roundings, so
 * rvc_sine_source_webui does them, in the order of PyTorch's x86-64 kernels. */
#include "signal.h"

#include <math.h>

static const double TWO_PI = 6.283185307179586477;
static const double AMPLITUDE = 0.1, NOISE_VOICED = 0.003, NOISE_UNVOICED = 0.1 / 3;

void rvc_sine_source(const float *f0, size_t frames, int upp, int rate, const float *noise, double *phase,
                     float *out) {
    double start = phase ? *phase : 0;
    for (size_t t = 0; t < frames; t++, out += upp) {
        const int voiced = f0[t] > 0;
        const double step = (double)f0[t] / rate, gain = voiced ? NOISE_VOICED : NOISE_UNVOICED;
        for (int j = 0; j < upp; j++) {
            double value = voiced ? AMPLITUDE * sin(TWO_PI * (start + (j + 1) * step)) : 0;
            if (noise) value += gain * (double)noise[t * (size_t)upp + (size_t)j];
            out[j] = (float)value;
        }
        start += upp * step;
        start -= floor(start);
    }
    if (phase) *phase = start;
}

/* The frame-rate phase, in turns, that SineGen interpolates to find the wraps: linear, align_corners=True. */
typedef struct wrap_finder {
    const float *f0;      /* [frames], borrowed */
    size_t frames, frame; /* frame: the left neighbour of the latest sample */
    float rate, upp, scale;
    double sum; /* of f0/rate up to and including `frame` */
    float left, right, last;
} wrap_finder;

static wrap_finder wrap_finder_start(const float *f0, size_t frames, int upp, int rate) {
    wrap_finder w = {.f0 = f0, .frames = frames, .rate = (float)rate, .upp = (float)upp};
    size_t n = frames * (size_t)upp;
    w.scale = n > 1 ? (float)(frames - 1) / (float)(n - 1) : 0;
    w.sum = (double)(f0[0] / w.rate);
    w.left = (float)w.sum * w.upp;
    w.right = frames > 1 ? (float)(w.sum + (double)(f0[1] / w.rate)) * w.upp : w.left;
    return w;
}

/* Whether the interpolated phase falls from sample i - 1 to sample i; called for i = 0, 1, ... The compiler
 * of PyTorch's kernel fused the weight's and the first product's additions (fmaf), not the others: that
 * decides what standing still looks like. */
static int wrap_finder_next(wrap_finder *w, size_t i) {
    size_t at = (size_t)(w->scale * (float)i);
    if (at > w->frames - 1) at = w->frames - 1;
    while (w->frame < at) {
        w->sum += (double)(w->f0[++w->frame] / w->rate);
        w->left = w->right;
        if (w->frame + 1 == w->frames) break; /* the last frame is its own right neighbour */
        w->right = (float)(w->sum + (double)(w->f0[w->frame + 1] / w->rate)) * w->upp;
    }
    float weight = fminf(fmaxf(fmaf(w->scale, (float)i, -(float)at), 0), 1);
    float phase = fmodf(fmaf(1 - weight, w->left, weight * w->right), 1);
    int fell = i > 0 && phase - w->last < 0;
    w->last = phase;
    return fell;
}

void rvc_sine_source_webui(const float *f0, size_t frames, int upp, int rate, const float *noise,
                           float *out) {
    if (frames == 0) return;
    wrap_finder wraps = wrap_finder_start(f0, frames, upp, rate);
    double turns = 0; /* PyTorch sums float32 in double and rounds each prefix */
    for (size_t t = 0; t < frames; t++) {
        const int voiced = f0[t] > 0;
        const float step = f0[t] / (float)rate, gain = (float)(voiced ? NOISE_VOICED : NOISE_UNVOICED);
        for (size_t i = t * (size_t)upp; i < (t + 1) * (size_t)upp; i++) {
            turns += (double)(step - (float)wrap_finder_next(&wraps, i));
            float angle = (float)turns * 2 * (float)(TWO_PI / 2);
            out[i] = (voiced ? (float)AMPLITUDE * sinf(angle) : 0) + (noise ? gain * noise[i] : 0);
        }
    }
}
