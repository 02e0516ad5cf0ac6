/* signal.h - what happens to the waveform around the networks: filter, resampling, chunk cuts, loudness, noise, sine source.
 * Plain functions on plain buffers; formulas are those of RVC-WebUI's vc/pipeline.py and lib/audio.py. */
#ifndef RVC_SIGNAL_H
#define RVC_SIGNAL_H

#include <stddef.h>
#include <stdint.h>
#include "../nn/error.h"

/* ---- filter.c ---- */
/* Zero-phase high-pass, Butterworth of order 5 at 48 Hz for 16 kHz, as scipy.signal.filtfilt(b, a, x) computes it: odd
 * extension by min(18, n-1) samples, initial state from lfilter_zi, double precision. x, y [n], may be the same. */
nn_code rvc_highpass(const float *x, size_t n, float *y, nn_error *e);

/* ---- resample.c ---- */
/* x [n] at rate `from` -> *out [m] at rate `to`, malloc'd, m exactly as given (0: round(n*to/from)); aligned with the
 * input, band-limited (libsamplerate, best sinc). from == to copies. Rates 1000..768000 Hz. */
nn_code rvc_resample(const float *x, size_t n, int from, int to, size_t m, float **out, nn_error *e);
size_t rvc_scaled_frames(size_t n, int from, int to);      /* round(n * to / from), half up, exact in integers */

/* ---- chunk.c ---- */
/* numpy.pad(x, (before, after), mode="reflect"), repeated where x is shorter; n == 1 repeats the sample.
 * x [n] -> y [before + n + after]. */
void rvc_reflect_pad(const float *x, size_t n, size_t before, size_t after, float *y);

typedef struct rvc_chunking {
    int x_pad, x_query, x_center, x_max;      /* seconds; the f32 preset is 1, 6, 38, 41 */
} rvc_chunking;
/* Where x [n] (16 kHz, filtered) is cut: cuts[0..*count-1], ascending, each a multiple of `multiple` (160 as WebUI, 320 for
 * exact alignment), malloc'd; *count may be 0. The quietest 160-sample window near every x_center. A cut equal to 0, to its
 * predecessor, or at or beyond n is left out. */
nn_code rvc_chunk_cuts(const float *x, size_t n, rvc_chunking p, int multiple, size_t **cuts, size_t *count, nn_error *e);

/* ---- loudness.c ---- */
/* y [m] at out_rate takes on the loudness of x [n] at in_rate: y *= rms_x^(1-rate) * max(rms_y, 1e-6)^(rate-1). RMS in 1 s
 * frames, hop 0.5 s, centred, zero padding (librosa.feature.rms(frame_length=sr//2*2, hop_length=sr//2)), interpolated
 * linearly to m values with half-pixel centres (torch F.interpolate(mode="linear")). rate 1 changes nothing. */
nn_code rvc_mix_loudness(const float *x, size_t n, int in_rate, float *y, size_t m, int out_rate, float rate, nn_error *e);

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
