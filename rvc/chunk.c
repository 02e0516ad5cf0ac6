/* chunk.c - where a long recording is cut, so that memory is bounded and no cut goes through a word.
 *
 * Near every x_center seconds the cut goes where 160 samples are quietest: with a the signal reflected by 80
 * at both ends, s[i] = sum_{j<160} |a[i+j]|, the cut is arg-min of s over [t - x_query, t + x_query), the
 * first where several are equal (digital silence), rounded down to a multiple. The sums are the reference's
 * to the last bit (double, j ascending), so that the arg-min is the same on any recording; but only where
 * they may be the least. That is found out by sums in an order that shares most of the work: of 2 terms from
 * two of 1, of 4 from two of 2, ... of 32, and five of those. */
#include "signal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vector.h"

enum { RATE = 16000, SPAN = 160, SHARED = 32, BLOCK = 1024, SECONDS_MAX = 1 << 24 };
static const double CLOSE = 1 + 1e-12; /* the two orders' sums differ by less */

/* Where index i of a signal mirrored without repeating its ends lies in [0, n): period 2(n-1). */
static size_t reflected(ptrdiff_t i, size_t n) {
    if (i >= 0 && i < (ptrdiff_t)n) return (size_t)i;
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
    if (x != y + before) memcpy(y + before, x, n * sizeof *y);
    float *first = y + before, *last = first + n - 1;
    const size_t period =
        n > 1 ? 2 * (n - 1) : 1; /* a pad longer than the signal repeats what is there by then */
    for (size_t i = 1; i <= before; i++) *(first - i) = i < n ? first[i] : *(first - i + period);
    for (size_t i = 1; i <= after; i++) last[i] = i < n ? *(last - i) : *(last + i - period);
}

/* |a[from + i]| for the sums of a block, count <= BLOCK of them; zeros behind. */
enum { LEVELS = BLOCK + SPAN + SHARED };
static void find_levels(const float *x, size_t n, size_t from, size_t count, double level[LEVELS]) {
    memset(level, 0, LEVELS * sizeof *level);
    if (from >= SPAN / 2 && from + count + SPAN / 2 <= n)
        for (size_t i = 0; i < count + SPAN; i++) level[i] = fabs((double)x[from + i - SPAN / 2]);
    else
        for (size_t i = 0; i < count + SPAN; i++)
            level[i] = fabs((double)x[reflected((ptrdiff_t)(from + i) - SPAN / 2, n)]);
}

/* The least of the sums level [i .. i+159], i < count, but for rounding. */
RVC_VECTOR static double least_sum(double level[LEVELS], size_t count) {
    double least = INFINITY;
    for (size_t span = 1; span < SHARED; span *= 2)
        for (size_t i = 0; i < BLOCK + SPAN; i += 4)
            *(rvc_d4 *)(level + i) += *(const rvc_d4 *)(level + i + span);
    for (size_t i = 0; i < count; i += 4) {
        rvc_d4 sum = *(const rvc_d4 *)(level + i);
        for (size_t j = SHARED; j < SPAN; j += SHARED) sum += *(const rvc_d4 *)(level + i + j);
        for (size_t lane = 0; lane < 4 && i + lane < count; lane++)
            least = sum[lane] < least ? sum[lane] : least;
    }
    return least;
}

/* The sums themselves. Each has its 160 terms in the order j = 0, 1, ... */
RVC_VECTOR static void find_sums(const double level[LEVELS], double s[BLOCK]) {
    for (size_t i = 0; i < BLOCK; i += 8) {
        rvc_d4 a = {0}, b = {0};
        for (size_t j = i; j < i + SPAN; j++) {
            a += *(const rvc_d4 *)(level + j);
            b += *(const rvc_d4 *)(level + j + 4);
        }
        *(rvc_d4 *)(s + i) = a;
        *(rvc_d4 *)(s + i + 4) = b;
    }
}

/* The first index of the smallest s in [from, to). least [(to - from)/BLOCK + 1] is scratch. */
static size_t quietest(const float *x, size_t n, size_t from, size_t to, double *least) {
    double level[LEVELS], s[BLOCK], near = INFINITY, found = INFINITY;
    size_t at = from;
    for (size_t i = from; i < to; i += BLOCK) {
        const size_t count = to - i < BLOCK ? to - i : BLOCK, b = (i - from) / BLOCK;
        find_levels(x, n, i, count, level);
        least[b] = least_sum(level, count);
        near = least[b] < near ? least[b] : near;
    }
    for (size_t i = from; i < to; i += BLOCK) {
        const size_t count = to - i < BLOCK ? to - i : BLOCK;
        if (least[(i - from) / BLOCK] > near * CLOSE) continue;
        find_levels(x, n, i, count, level);
        find_sums(level, s);
        for (size_t k = 0; k < count; k++) {
            if (!(s[k] < found)) continue;
            found = s[k];
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
    double *least = malloc((2 * query / BLOCK + 1) * sizeof *least);
    if (!found || !least) {
        free(found);
        free(least);
        return nn_fail_memory(e, "the list of cuts");
    }
    for (size_t t = center; t < n; t += center) {
        size_t end = t + query < n ? t + query : n;
        rvc_buffer_view(x, t - query, end - (t - query));
        size_t cut = quietest(x->at, n, t - query, end, least) / unit * unit;
        if (cut > (kept ? found[kept - 1] : 0)) found[kept++] = cut;
    }
    free(least);
    *cuts = found;
    *count = kept;
    return NN_OK;
}
