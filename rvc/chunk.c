/* chunk.c - where a long recording is cut, so that memory is bounded and no cut goes through a word.
 *
 * Near every x_center seconds the cut goes where 160 samples are quietest: with a the signal reflected by 80
 * at both ends, s[i] = sum_{j<160} |a[i+j]|, the cut is arg-min of s over [t - x_query, t + x_query), the
 * first where several are equal (digital silence), rounded down to a multiple. The sums are the reference's
 * to the last bit (double, j ascending), so that the arg-min is the same on any recording. */
#include "signal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 16000, SPAN = 160, BLOCK = 1024, SECONDS_MAX = 1 << 24 };

/* Where index i of a signal mirrored without repeating its ends lies in [0, n): period 2(n-1). */
static size_t reflected(ptrdiff_t i, size_t n) {
    if (n == 1) return 0;
    ptrdiff_t period = 2 * ((ptrdiff_t)n - 1);
    i %= period;
    if (i < 0) i += period;
    return (size_t)(i < (ptrdiff_t)n ? i : period - i);
}

void rvc_reflect_pad(const float *x, size_t n, size_t before, size_t after, float *y) {
    if (n == 0) { /* nothing to mirror: silence */
        memset(y, 0, (before + after) * sizeof *y);
        return;
    }
    for (size_t i = 0; i < before; i++) y[i] = x[reflected((ptrdiff_t)i - (ptrdiff_t)before, n)];
    if (x != y + before) memcpy(y + before, x, n * sizeof *y);
    for (size_t i = 0; i < after; i++) y[before + n + i] = x[reflected((ptrdiff_t)(n + i), n)];
}

/* s[from .. from+count-1], count <= BLOCK. Each s[i] sums its 160 terms in the order j = 0, 1, ...; working
 * on a block of i at a time keeps that order and lets the compiler use vectors. */
static void window_sums(const float *x, size_t n, size_t from, size_t count, double s[BLOCK]) {
    double level[BLOCK + SPAN];
    for (size_t i = 0; i < count + SPAN; i++)
        level[i] = fabs((double)x[reflected((ptrdiff_t)(from + i) - SPAN / 2, n)]);
    memset(s, 0, BLOCK * sizeof *s);
    for (size_t j = 0; j < SPAN; j++)
        for (size_t i = 0; i < count; i++) s[i] += level[i + j];
}

/* The first index of the smallest s in [from, to). */
static size_t quietest(const float *x, size_t n, size_t from, size_t to) {
    double s[BLOCK], least = INFINITY;
    size_t at = from;
    for (size_t i = from; i < to; i += BLOCK) {
        size_t count = to - i < BLOCK ? to - i : BLOCK;
        window_sums(x, n, i, count, s);
        for (size_t k = 0; k < count; k++) {
            if (!(s[k] < least)) continue;
            least = s[k];
            at = i + k;
        }
    }
    return at;
}

nn_code rvc_chunk_cuts(rvc_buffer *x, rvc_chunking p, int multiple, size_t **cuts, size_t *count,
                       nn_error *e) {
    const size_t n = x->count;
    *cuts = NULL;
    *count = 0;
    if (p.x_center < 1 || p.x_query < 1 || p.x_query > p.x_center || p.x_max < 1 || multiple < 1 ||
        p.x_center > SECONDS_MAX || p.x_max > SECONDS_MAX)
        return nn_fail(
            e, NN_ERROR_ARGUMENT,
            "chunks of x_query %d, x_center %d, x_max %d s, multiple %d: need 1 <= x_query <= x_center, "
            "x_max >= 1 and multiple >= 1",
            p.x_query, p.x_center, p.x_max, multiple);
    if (n + SPAN <= (size_t)p.x_max * RATE) return NN_OK;
    const size_t center = (size_t)p.x_center * RATE, query = (size_t)p.x_query * RATE,
                 unit = (size_t)multiple;
    size_t *found = calloc(n / center + 1, sizeof *found), kept = 0;
    if (!found) return nn_fail_memory(e, "the list of cuts");
    for (size_t t = center; t < n; t += center) {
        size_t end = t + query < n ? t + query : n;
        rvc_buffer_view(x, t - query, end - (t - query));
        size_t cut = quietest(x->at, n, t - query, end) / unit * unit;
        if (cut > (kept ? found[kept - 1] : 0)) found[kept++] = cut;
    }
    *cuts = found;
    *count = kept;
    return NN_OK;
}
