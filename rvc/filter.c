/* filter.c - the zero-phase high-pass before everything else: what a voice does not use below 48 Hz only
 * disturbs.
 *
 * y = reverse(H(reverse(H(extended x)))), H a Butterworth filter of order 5: scipy.signal.filtfilt with its
 * defaults. The signal is mirrored through its end points (odd extension), and each pass starts in the state
 * a constant signal of the first value would have left, so neither end rings.
 *
 * The five poles lie within 0.02 of z = 1, so the polynomial form is ill-conditioned: changing the last bit
 * of a coefficient moves the output by 4e-8, and so does the exact start state instead of the one SciPy
 * solves for. Hence SciPy's own numbers below, printed with 17 digits, and its order of operations. */
#include "signal.h"

#include <stdlib.h>

enum { ORDER = 5, EDGE = 3 * (ORDER + 1) };

/* b, a = scipy.signal.butter(5, 48, btype="high", fs=16000) */
static const double B[ORDER + 1] = {0.96996064518384473, -4.8498032259192234, 9.6996064518384468,
                                    -9.6996064518384468, 4.8498032259192234,  -0.96996064518384473};
static const double A[ORDER + 1] = {1.0,
                                    -4.9390018191683636,
                                    9.757863526739543,
                                    -9.6395448494134577,
                                    4.7615067973562093,
                                    -0.94082365320546057};
/* scipy.signal.lfilter_zi(b, a): the state in which a constant 1 gives the steady output, here 0 */
static const double STEADY[ORDER] = {-0.96996047969958465, 3.8798419288925783, -5.8197629081730433,
                                     3.879841948472456, -0.96996048949233871};

/* One pass over v [n] in place, with the given stride (-1: from the end), transposed direct form II:
 *   y = b0 x + z0,  z_i = z_(i+1) + b_(i+1) x - a_(i+1) y */
static void filter_pass(double *v, size_t n, ptrdiff_t stride) {
    double z[ORDER + 1];
    for (int i = 0; i < ORDER; i++) z[i] = STEADY[i] * v[0];
    z[ORDER] = 0;
    for (size_t k = 0; k < n; k++, v += stride) {
        double x = *v, y = B[0] * x + z[0];
        for (int i = 0; i < ORDER; i++) z[i] = z[i + 1] + B[i + 1] * x - A[i + 1] * y;
        *v = y;
    }
}

nn_code rvc_highpass(const float *x, size_t n, float *y, nn_error *e) {
    if (n == 0) return NN_OK;
    size_t edge = n - 1 < EDGE ? n - 1 : EDGE, length = n + 2 * edge;
    double *v = calloc(length, sizeof *v);
    if (!v) return nn_fail_memory(e, "the high-pass filter's signal");
    const double first = (double)x[0], last = (double)x[n - 1];
    for (size_t i = 0; i < edge; i++) {
        v[i] = 2 * first - (double)x[edge - i];
        v[edge + n + i] = 2 * last - (double)x[n - 2 - i];
    }
    for (size_t i = 0; i < n; i++) v[edge + i] = (double)x[i];
    filter_pass(v, length, 1);
    filter_pass(v + length - 1, length, -1);
    for (size_t i = 0; i < n; i++) y[i] = (float)v[edge + i];
    free(v);
    return NN_OK;
}
