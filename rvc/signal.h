/* signal.h - what happens to the waveform around the networks: filter, resampling, chunk cuts, loudness, noise, sine source.
 * Whatever goes over a whole recording does so block by block (buffer.h), with the same bits as at once; formulas are those of RVC-WebUI's vc/pipeline.py and lib/audio.py. */
#ifndef RVC_SIGNAL_H
#define RVC_SIGNAL_H

#include <stddef.h>
#include <stdint.h>
#include "../nn/error.h"
#include "buffer.h"

/* ---- filter.c ---- */
/* Zero-phase high-pass, Butterworth of order 5 at 48 Hz for 16 kHz, as scipy.signal.filtfilt(b, a, x) computes it: odd
 * extension by min(18, n-1) samples, initial state from lfilter_zi, double precision. In place. */
nn_code rvc_highpass(rvc_buffer *x, int threads, nn_error *e);

/* ---- level.c ---- */
float rvc_peak(const float *x, size_t n);                       /* largest |x|; not finite where a sample is not */
void rvc_divide(const float *x, size_t n, float by, float *y);  /* y [n] = x / by; y may be x */

/* ---- resample.c ---- */
/* One signal on its way from one rate to another: aligned with the input, band-limited (libsamplerate, best sinc); equal
 * rates copy. Rates 1000..768000 Hz. Up to `threads` threads (16 at most) work for long signals; the output is the same bits
 * with any number, and however the input is divided. */
typedef struct rvc_resampler rvc_resampler;
nn_code rvc_resampler_new(rvc_resampler **out, int from, int to, int threads, nn_error *e);
void rvc_resampler_free(rvc_resampler *r);               /* NULL is fine */
/* Takes the next of x [*n] and makes the next of y [*m]; *n and *m become how many were taken and made. Input that is not
 * taken must come again. Up to 2^20 frames may be taken before any is made. */
nn_code rvc_resampler_run(rvc_resampler *r, const float *x, size_t *n, float *y, size_t *m, nn_error *e);
/* The last y [m], after all input: as if silence followed. */
nn_code rvc_resampler_ring_out(rvc_resampler *r, float *y, size_t m, nn_error *e);
/* All of x -> all of y, whose count says how much is wanted. */
nn_code rvc_resample(rvc_buffer *x, int from, int to, int threads, rvc_buffer *y, nn_error *e);
size_t rvc_scaled_frames(size_t n, int from, int to);      /* round(n * to / from), half up, exact in integers */

/* ---- chunk.c ---- */
/* numpy.pad(x, (before, after), mode="reflect"), repeated where x is shorter; n == 1 repeats the sample.
 * x [n] -> y [before + n + after]; x may be y + before, where it stays. */
void rvc_reflect_pad(const float *x, size_t n, size_t before, size_t after, float *y);

typedef struct rvc_chunking {
    int x_pad, x_query, x_center, x_max;      /* seconds; the f32 preset is 1, 6, 38, 41 */
} rvc_chunking;
/* Where x (16 kHz, filtered) is cut: cuts[0..*count-1], ascending, each a multiple of `multiple` (160 as WebUI, 320 for
 * exact alignment), malloc'd; *count may be 0. The quietest 160-sample window near every x_center. A cut equal to 0, to its
 * predecessor, or at or beyond its end is left out. */
nn_code rvc_chunk_cuts(rvc_buffer *x, rvc_chunking p, int multiple, size_t **cuts, size_t *count, nn_error *e);

/* ---- loudness.c ---- */
/* y at out_rate takes on the loudness of x at in_rate: y *= rms_x^(1-rate) * max(rms_y, 1e-6)^(rate-1). RMS in 1 s
 * frames, hop 0.5 s, centred, zero padding (librosa.feature.rms(frame_length=sr//2*2, hop_length=sr//2)), interpolated
 * linearly to y's samples with half-pixel centres (torch F.interpolate(mode="linear")). rate 1 changes nothing. */
nn_code rvc_mix_loudness(rvc_buffer *x, int in_rate, rvc_buffer *y, int out_rate, float rate, int threads, nn_error *e);

/* ---- noise.c ---- */
/* Standard normal numbers from a counter: element i of stream `stream` under `seed` is the same wherever it is asked for
 * (Philox 4x32-10, Salmon et al. 2011, and Box-Muller), so a file sounds the same alone, in a batch, on any thread.
 * out [count] = elements first .. first+count-1. */
void rvc_normal(uint64_t seed, uint64_t stream, uint64_t first, size_t count, float *out);

/* ---- source.c ---- */
/* The sine source of NSF-HiFiGAN with one harmonic, before l_linear and tanh.
 * f0 [frames] in Hz (0: unvoiced), held over `upp` samples each at `rate`; noise [frames*upp] standard normal or NULL for none;
 * out [frames*upp] = 0.1 sin(2 pi phase) + 0.003 noise where voiced, 0.1/3 noise where not. phase in cycles, in double;
 * *phase (NULL: starts at 0) is the phase before the first sample and is left after the last, so pieces continue. The first
 * sample's phase is *phase + f0/rate. */
void rvc_sine_source(const float *f0, size_t frames, int upp, int rate, const float *noise, double *phase, float *out);

/* The same as PyTorch computes it for RVC-WebUI, float32 accidents included (source.c says which): what the recorded
 * references and --compat webui need to agree to rounding. Each call starts at phase 0. */
void rvc_sine_source_webui(const float *f0, size_t frames, int upp, int rate, const float *noise, float *out);

#endif
