/* rmvpe.h - the pitch: RMVPE (Wei et al. 2023, "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music"),
 * a U-Net over the log-mel spectrogram, a bidirectional GRU, 360 pitch classes of 20 cents, and their decoding. */
#ifndef RMVPE_RMVPE_H
#define RMVPE_RMVPE_H

#include <stddef.h>
#include <stdint.h>
#include "../nn/nn.h"

enum { RMVPE_CLASSES = 360 };

/* ---- network (network.c) ---- */

/* The graph for `frames` mel frames (a multiple of 2^levels): input "mel" [1 image: h = frames, w = 128, c = 1], output
 * "salience" [1][frames][360]. Levels, blocks and channels are read off the weights. */
nn_graph *rmvpe_graph(nn_weights *w, int frames);

/* The same as a part of another graph, which is exact (nn_graph_use) already: mel [frames][128][1] -> salience
 * [1][frames][360]. */
nn_tensor rmvpe_network(nn_graph *g, nn_weights *w, nn_tensor mel);
int rmvpe_frame_multiple(const nn_weights *w);      /* 2^levels: 32 for the published network */
int rmvpe_receptive_frames(const nn_weights *w);    /* frames to each side that the U-Net sees (not the GRU) */

/* ---- windows over a signal of any length (windows.c) ---- */

typedef struct rmvpe rmvpe;     /* one thread's runner: plans by length; weights are shared, device is borrowed */
nn_code rmvpe_new(rmvpe **out, nn_weights *w, nn_device *d, nn_error *e);
void rmvpe_free(rmvpe *r);

/* The windows of a signal of `frames` mel frames: mel frames from .. from+count-1 go in, and of the salience that comes
 * out the frames keep .. keep+kept-1 (counted from the window's first) are final. Windows follow each other without a
 * gap: a signal's salience is the kept parts, one after another. At most RMVPE_WINDOW frames go in at a time. */
enum { RMVPE_WINDOW = 12288 };
typedef struct rmvpe_window {
    size_t from, count, keep, kept;
} rmvpe_window;
size_t rmvpe_window_count(const rmvpe *r, size_t frames);
rmvpe_window rmvpe_window_at(const rmvpe *r, size_t frames, size_t i);

/* One window: mel [count][128] -> salience [count][360], 1 <= count <= RMVPE_WINDOW. */
nn_code rmvpe_run(rmvpe *r, const float *mel, size_t count, float *salience, nn_error *e);

/* mel [frames][128] -> salience [frames][360]: all windows. Frames are padded to the network's multiple with 0.0 (log domain). Long
 * signals go in windows with a halo wider than the U-Net's receptive field, so that memory is bounded. */
nn_code rmvpe_salience(rmvpe *r, const float *mel, size_t frames, float *salience, nn_error *e);

/* ---- decoding (decode.c) ---- */

enum { RMVPE_COARSE_BINS = 255 };
#define RMVPE_THRESHOLD 0.03f

/* salience [frames][360] -> f0 [frames] in Hz, 0 where the largest salience is not above `threshold`.
 * f0 = 10 * 2^(a/1200), a the salience-weighted mean of cents[i] = 20 i + 1997.3794084376191 over the 9 classes around the
 * first largest (classes outside 0..359 weigh nothing). */
void rmvpe_decode(const float *salience, size_t frames, float threshold, float *f0);

/* f0 [n] in Hz -> coarse pitch [n] in 1..255 on the mel scale between 50 and 1100 Hz; unvoiced is 1. Rounds half to even. */
void rmvpe_coarse_pitch(const float *f0, size_t n, int32_t *coarse);

#endif
