/* filter.c - the zero-phase high-pass before everything else: what a voice does not use below 48 Hz only
 * disturbs.
 *
 * y = reverse(H(reverse(H(extended x)))), H a Butterworth filter of order 5: scipy.signal.filtfilt with its
 * defaults. The signal is mirrored through its end points (odd extension), and each pass starts in the state
 * a constant signal of the first value would have left, so neither end rings.
 *
 * The five poles lie within 0.02 of z = 1, so the polynomial form is ill-conditioned: changing the last bit
 * of a coefficient moves the output by 4e-8, and so does the exact start state instead of the one SciPy
 * solves for. Hence SciPy's own numbers below, printed with 17 digits, and its order of operations.
 *
 * The first pass in double over a long recording would be twice its size, so it is not kept: only the
 * filter's state at the start of every block is, and the pass back makes each block anew from there; only the
 * last is still at hand, which is all there is of a minute. Same operations on the same numbers, so the
 * same bits. */
#include "signal.h"

#include <stdbool.h>
#include <stdlib.h>

enum { ORDER = 5, EDGE = 3 * (ORDER + 1), BLOCK = 1 << 20 };

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

/* A pass under way, transposed direct form II:   y = b0 x + z0,  z_i = z_(i+1) + b_(i+1) x - a_(i+1) y */
typedef struct filter {
    double z[ORDER + 1];
} filter;

static filter filter_start(double first) {
    filter f;
    for (int i = 0; i < ORDER; i++) f.z[i] = STEADY[i] * first;
    f.z[ORDER] = 0;
    return f;
}

/* v [n] in place, with the given stride (-1: v is the last and the first is reached at the end). */
static void filter_pass(filter *f, double *v, size_t n, ptrdiff_t stride) {
    filter s = *f;
    for (size_t k = 0; k < n; k++, v += stride) {
        double x = *v, y = B[0] * x + s.z[0];
        for (int i = 0; i < ORDER; i++) s.z[i] = s.z[i + 1] + B[i + 1] * x - A[i + 1] * y;
        *v = y;
    }
    *f = s;
}

static void load(rvc_buffer *x, size_t from, size_t n, double *v) {
    const float *at = rvc_buffer_view(x, from, n);
    for (size_t i = 0; i < n; i++) v[i] = (double)at[i];
}

/* The way back: block after block from the end, each filtered forward once more from the state it began in
 * (start), which v holds of the last, and then backward; tail [edge] is the extension, already filtered
 * forward. */
static void go_back(rvc_buffer *x, const filter *start, double *tail, size_t edge, double *v) {
    filter back = filter_start(0);
    if (edge) {
        back = filter_start(tail[edge - 1]);
        filter_pass(&back, tail + edge - 1, edge, -1);
    }
    for (size_t b = (x->count + BLOCK - 1) / BLOCK; b-- > 0;) {
        const size_t from = b * BLOCK, n = x->count - from < BLOCK ? x->count - from : BLOCK;
        const bool last = from + n == x->count;
        filter forward = start[b];
        if (!last) {
            load(x, from, n, v);
            filter_pass(&forward, v, n, 1);
        }
        if (!edge && last) back = filter_start(v[n - 1]);
        filter_pass(&back, v + n - 1, n, -1);
        float *y = rvc_buffer_view(x, from, n);
        for (size_t i = 0; i < n; i++) y[i] = (float)v[i];
    }
}

nn_code rvc_highpass(rvc_buffer *x, nn_error *e) {
    const size_t n = x->count, blocks = (n + BLOCK - 1) / BLOCK;
    if (n == 0) return NN_OK;
    const size_t edge = n - 1 < EDGE ? n - 1 : EDGE;
    double head[EDGE], tail[EDGE], *v = malloc((n < BLOCK ? n : BLOCK) * sizeof *v);
    filter *start = malloc(blocks * sizeof *start);
    if (!v || !start) {
        free(v);
        free(start);
        return nn_fail_memory(e, "the high-pass filter");
    }
    const float *at = rvc_buffer_view(x, 0, edge + 1),
                *end = rvc_buffer_view(x, n - 1 - edge, edge + 1) + edge;
    for (size_t i = 0; i < edge; i++) {
        head[i] = 2 * (double)at[0] - (double)at[edge - i];
        tail[i] = 2 * (double)end[0] - (double)*(end - 1 - i);
    }
    filter f = filter_start(edge ? head[0] : (double)at[0]);
    filter_pass(&f, head, edge, 1);
    for (size_t b = 0; b < blocks; b++) {
        const size_t from = b * BLOCK, count = n - from < BLOCK ? n - from : BLOCK;
        start[b] = f;
        load(x, from, count, v);
        filter_pass(&f, v, count, 1);
    }
    filter_pass(&f, tail, edge, 1);
    go_back(x, start, tail, edge, v);
    free(v);
    free(start);
    return NN_OK;
}
