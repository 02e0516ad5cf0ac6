/* decode.c - from pitch classes to Hz, and from Hz to the coarse pitch the synthesizer embeds.
 *
 * The classes are 20 cents apart, over 10 Hz: cents[i] = 20 i + 1997.3794084376191 (class 0 is C1, 32.70 Hz).
 * A frame's pitch is the salience-weighted mean of the classes around the largest, which resolves far below
 * 20 cents; the method is CREPE's (Kim et al. 2018, section 2.3), as RMVPE keeps it.
 *
 * All in double: the reference computes this in NumPy's float64, and 0.01 cent is 6e-6 of a frequency. */
#include "rmvpe.h"

#include <math.h>

enum { REACH = 4 }; /* classes on either side of the largest */

static const double CENTS_STEP = 20, CENTS_FIRST = 1997.3794084376191;

static double decode_frame(const float *s, double threshold) {
    int peak = 0; /* the first of equals, as numpy.argmax */
    for (int i = 1; i < RMVPE_CLASSES; i++)
        if (s[i] > s[peak]) peak = i;
    if (!((double)s[peak] > threshold)) return 0; /* a NaN is unvoiced as well */
    double weight = 0, sum = 0;
    for (int i = peak - REACH; i <= peak + REACH; i++) {
        if (i < 0 || i >= RMVPE_CLASSES) continue;
        weight += (double)s[i];
        sum += (double)s[i] * (CENTS_STEP * i + CENTS_FIRST);
    }
    return 10 * exp2(sum / weight / 1200);
}

void rmvpe_decode(const float *salience, size_t frames, float threshold, float *f0) {
    for (size_t t = 0; t < frames; t++)
        f0[t] = (float)decode_frame(salience + t * RMVPE_CLASSES, (double)threshold);
}

/* m = 1127 ln(1 + f/700) */
static double mel_of_hz(double hz) {
    return 1127 * log1p(hz / 700);
}

void rmvpe_coarse_pitch(const float *f0, size_t n, int32_t *coarse) {
    const double low = mel_of_hz(50), high = mel_of_hz(1100);
    const double scale = (RMVPE_COARSE_BINS - 1) / (high - low);
    for (size_t i = 0; i < n; i++) {
        double bin = f0[i] > 0 ? (mel_of_hz((double)f0[i]) - low) * scale + 1 : 1;
        /* rint rounds half to even in the default rounding mode, as numpy.rint does */
        coarse[i] = (int32_t)rint(fmin(fmax(bin, 1), RMVPE_COARSE_BINS));
    }
}
