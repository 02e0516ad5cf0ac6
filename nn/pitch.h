/* pitch.h - from RMVPE's salience to Hz, and from Hz to the coarse pitch the synthesizer embeds.
 *
 * The classes are 20 cents apart, over 10 Hz: cents[i] = 20 i + 1997.3794084376191 (class 0 is C1, 32.70 Hz). A frame's
 * pitch is the salience-weighted mean of the classes around the largest, which resolves far below 20 cents; the method is
 * CREPE's (Kim et al. 2018, section 2.3), as RMVPE keeps it.
 *
 * All in double, for 0.01 cent is 6e-6 of a frequency. The reference takes the products in double too but adds the weights
 * up in float32, which moves its pitch by up to 0.001 cents; to repeat that would bring ours no nearer to a recorded one,
 * for the rounding is another as soon as a salience differs in its last bit. */
#ifndef NN_PITCH_H
#define NN_PITCH_H

#include <math.h>

enum { NN_PITCH_CLASSES = 360, NN_PITCH_REACH = 4 /* classes on either side of the largest */, NN_COARSE_BINS = 255 };

static inline double nn_pitch_cents(int i) { return 20.0 * i + 1997.3794084376191; }

/* Hz of saliences s [360]; 0 where none is above the threshold. */
static inline double nn_pitch_of(const float *s, double threshold) {
    int peak = 0; /* the first of equals, as numpy.argmax */
    for (int i = 1; i < NN_PITCH_CLASSES; i++)
        if (s[i] > s[peak]) peak = i;
    if (!((double)s[peak] > threshold)) return 0; /* a NaN is unvoiced as well */
    double weight = 0, sum = 0;
    for (int i = peak - NN_PITCH_REACH; i <= peak + NN_PITCH_REACH; i++) {
        if (i < 0 || i >= NN_PITCH_CLASSES) continue;
        weight += (double)s[i];
        sum += (double)s[i] * nn_pitch_cents(i);
    }
    return 10 * exp2(sum / weight / 1200);
}

/* m = 1127 ln(1 + f/700) */
static inline double nn_mel_of_hz(double hz) { return 1127 * log1p(hz / 700); }

/* Class 1..255, evenly on the mel scale between 50 and 1100 Hz; 1 where unvoiced. */
static inline int nn_coarse_of(double hz) {
    const double low = nn_mel_of_hz(50), high = nn_mel_of_hz(1100), scale = (NN_COARSE_BINS - 1) / (high - low);
    const double bin = hz > 0 ? (nn_mel_of_hz(hz) - low) * scale + 1 : 1;
    /* rint rounds half to even in the default rounding mode, as numpy.rint does */
    return (int)rint(fmin(fmax(bin, 1), NN_COARSE_BINS));
}

#endif
