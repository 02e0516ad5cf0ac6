/* decode.c - pitch.h's formulas over all frames. */
#include "../nn/pitch.h"
#include "rmvpe.h"

_Static_assert((int)RMVPE_CLASSES == (int)NN_PITCH_CLASSES && (int)RMVPE_COARSE_BINS == (int)NN_COARSE_BINS,
               "the same classes");

void rmvpe_decode(const float *salience, size_t frames, float threshold, float *f0) {
    for (size_t t = 0; t < frames; t++)
        f0[t] = (float)nn_pitch_of(salience + t * RMVPE_CLASSES, (double)threshold);
}

void rmvpe_coarse_pitch(const float *f0, size_t n, int32_t *coarse) {
    for (size_t i = 0; i < n; i++) coarse[i] = nn_coarse_of((double)f0[i]);
}
