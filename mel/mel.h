/* mel.h - RMVPE's log-mel spectrogram.
 *
 *   mel[t][b] = ln(max(sum_k F[b][k] |STFT(x)[t][k]|, 1e-5))
 *
 * STFT at 16 kHz: 1024-point periodic Hann window, hop 160, centred, reflect padding of 512; magnitude, not power.
 * F: 128 triangular bands on the HTK mel scale from 30 to 8000 Hz with Slaney's area normalisation
 * (librosa.filters.mel(sr=16000, n_fft=1024, n_mels=128, fmin=30, fmax=8000, htk=True)). */
#ifndef MEL_MEL_H
#define MEL_MEL_H

#include <stddef.h>
#include "../nn/weights.h"

enum { MEL_BANDS = 128, MEL_HOP = 160, MEL_WINDOW = 1024, MEL_RATE = 16000 };

typedef struct mel mel;    /* window, filter bank and FFT plan: immutable after mel_new, shared by threads */

nn_code mel_new(mel **out, nn_error *e);
void mel_free(mel *m);                              /* NULL is fine */

size_t mel_frames(size_t n);                        /* n/160 + 1 frames for n samples */

/* Frames first .. first+count-1 of the spectrogram of x [n] (16 kHz) into out [count][MEL_BANDS]. Any n >= 1: where
 * the signal is shorter than the padding the reflection repeats. Thread-safe on one mel. */
nn_code mel_compute(const mel *m, const float *x, size_t n, size_t first, size_t count, float *out, nn_error *e);

/* The window and the filter bank as tensors "mel.window" [1024] and "mel.bank" [128][513], for nn_spectrogram. */
nn_code mel_weights(nn_weights **out, nn_error *e);

#endif
