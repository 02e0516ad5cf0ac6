/* filter.c - the zero-phase high-pass before everything else: what a voice does not use below 48 Hz only
 * disturbs.
 *
 * y = reverse(H(reverse(H(extended x)))), H a Butterworth filter of order 5: scipy.signal.filtfilt with its
 * defaults. The signal is mirrored through its end points (odd extension), and each pass starts in the state
 * a constant signal of the first value would have left, so neither end rings.
 *
 * The five poles lie within 0.02 of z = 1, so the polynomial form is ill-conditioned: the last bits of its
 * coefficients move the output by 4e-8, and its own rounding is 1e-8. So the filter is that of SciPy's
 * rounded coefficients, but as the sum of its partial fractions, which is exact to a few 1e-11:
 *
 *   y = D x + C w + (C0 u + C1 u') + (E0 v + E1 v')
 *   w = x + P w'      u = x - A1 u' - A2 u''      v = x - B1 v' - B2 v''
 *
 * A recursion is a chain, each sample waiting for the one before. Eight parts of the signal side by side are
 * eight chains: they run once from rest, which says in which state each part leaves off; the decay over a
 * part's length, a matrix, then gives the states they all begin in; and so they run again. The output of the
 * forward pass is not kept, only the states: going back, each group of parts is made anew and turned around
 * while it is in the first-level cache, once for the states and once for good. Threads share the groups. */
#include "signal.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../nn/share.h"
#include "vector.h"

enum { ORDER = 5, EDGE = 3 * (ORDER + 1), LANES = 8, SPAN = 256, GROUP = LANES * SPAN };

/* Of b, a = scipy.signal.butter(5, 48, btype="high", fs=16000), whose poles and residues were worked out with
 * 113 bits. */
static const double D = 1.0309696635273913;
static const double P = 0.9813258660302886, C = -0.035713387500749122;
static const double A1 = -1.9880652462957826, A2 = 0.98841848388198372;
static const double C0 = 0.0052088577711680564, C1 = -0.0048920152008702714;
static const double B1 = -1.9696107068422923, B2 = 0.96996066567185757;
static const double E0 = -0.030504488613965462, E1 = 0.030499069557481745;
/* Where scipy.signal.lfilter_zi(b, a) starts: the state in which a constant 1 gives the steady output, 0. */
static const double STEADY[ORDER] = {53.549996905114931, 2830.9553491658107, 2830.9553501421965,
                                     2857.4794556858292, 2857.4794547091797};
static const double NOTHING = 1e-30; /* a state that rings out becomes 0 before arithmetic on it gets slow */

/* Eight lanes are two vectors. A lane's state is w, u, u', v, v'. */
typedef struct states {
    struct half {
        rvc_d4 w, u, u1, v, v1;
    } half[2];
} states;

/* State number i of a lane, and what a lane has in v. */
static double *state_of(states *s, int i, int lane) {
    return (double *)&s->half[lane / 4] + 4 * i + lane % 4;
}
static double *sample_of(rvc_d4 v[2], int lane) {
    return (double *)v + lane;
}

typedef struct decay {
    double m[ORDER][ORDER]; /* of a state, over one part without input */
} decay;

/* ---- the recursion ---- */

RVC_INLINE void take(struct half *s, rvc_d4 *x, bool output) {
    const rvc_d4 in = *x, u2 = s->u1, v2 = s->v1;
    s->u1 = s->u;
    s->v1 = s->v;
    s->w = in + P * s->w;
    s->u = in - A2 * u2 - A1 * s->u1;
    s->v = in - B2 * v2 - B1 * s->v1;
    if (output) *x = (D * in + C * s->w) + (C0 * s->u + C1 * s->u1) + (E0 * s->v + E1 * s->v1);
}

RVC_INLINE void recur(states *s, rvc_d4 (*x)[2], ptrdiff_t step, size_t count, bool output) {
    struct half a = s->half[0], b = s->half[1];
    for (size_t k = 0; k < count; k++, x += step) {
        take(&a, &(*x)[0], output);
        take(&b, &(*x)[1], output);
    }
    *s = (states){{a, b}};
}

/* x [count] in place, or from its end with step -1. */
RVC_VECTOR static void filter(states *s, rvc_d4 (*x)[2], ptrdiff_t step, size_t count) {
    recur(s, x, step, count, true);
}

/* Only the states that are left. */
RVC_VECTOR static void settle(states *s, rvc_d4 (*x)[2], ptrdiff_t step, size_t count) {
    recur(s, x, step, count, false);
}

/* One signal, in the first lane; count is at most EDGE + LANES. */
static void filter_alone(double at[ORDER], double *x, size_t count, bool back) {
    rvc_d4 v[EDGE + LANES][2] = {0};
    states s = {0};
    if (!count) return;
    for (int i = 0; i < ORDER; i++) *state_of(&s, i, 0) = at[i];
    for (size_t i = 0; i < count; i++) *sample_of(v[i], 0) = x[i];
    filter(&s, back ? v + count - 1 : v, back ? -1 : 1, count);
    for (size_t i = 0; i < count; i++) x[i] = *sample_of(v[i], 0);
    for (int i = 0; i < ORDER; i++) at[i] = *state_of(&s, i, 0);
}

static void start(double at[ORDER], double first) {
    for (int i = 0; i < ORDER; i++) at[i] = STEADY[i] * first;
}

/* ---- parts side by side ---- */

/* 8 x 8 samples, rows to columns: blocks of 4, of 2 and of 1 change places across the diagonal. */
RVC_INLINE void transpose(rvc_f8 r[8]) {
    rvc_f8 t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        t[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const int a = i / 2 * 4 + i % 2;
        r[a] = __builtin_shufflevector(t[a], t[a + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        r[a + 2] = __builtin_shufflevector(t[a], t[a + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i] = t[i];
}

RVC_INLINE void widen(const rvc_f8 *f, rvc_d4 v[2]) {
    const rvc_f4 low = __builtin_shufflevector(*f, *f, 0, 1, 2, 3),
                 high = __builtin_shufflevector(*f, *f, 4, 5, 6, 7);
    rvc_widen(&low, &v[0]);
    rvc_widen(&high, &v[1]);
}

RVC_INLINE void narrow(const rvc_d4 v[2], rvc_f8 *f) {
    const rvc_f4 low = __builtin_convertvector(v[0], rvc_f4), high = __builtin_convertvector(v[1], rvc_f4);
    *f = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
}

/* x [lane][span] <-> v [span] */
RVC_VECTOR static void load(const float *x, size_t span, rvc_d4 (*v)[2]) {
    size_t k = 0;
    for (; k + 8 <= span; k += 8) {
        rvc_f8 r[8];
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) r[i] = *(const rvc_f8 *)(x + i * span + k);
        transpose(r);
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) widen(&r[i], v[k + i]);
    }
    for (; k < span; k++)
        for (int lane = 0; lane < LANES; lane++) *sample_of(v[k], lane) = (double)x[(size_t)lane * span + k];
}

RVC_VECTOR static void store(rvc_d4 (*v)[2], size_t span, float *x) {
    size_t k = 0;
    for (; k + 8 <= span; k += 8) {
        rvc_f8 r[8];
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) narrow(v[k + i], &r[i]);
        transpose(r);
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) *(rvc_f8 *)(x + i * span + k) = r[i];
    }
    for (; k < span; k++)
        for (int lane = 0; lane < LANES; lane++) x[(size_t)lane * span + k] = (float)*sample_of(v[k], lane);
}

/* What is left after a part of each of five states: one a lane. */
static decay decay_over(size_t span, rvc_d4 (*v)[2]) {
    decay d;
    states s = {0};
    memset(v, 0, span * sizeof *v);
    for (int i = 0; i < ORDER; i++) *state_of(&s, i, i) = 1;
    settle(&s, v, 1, span);
    for (int i = 0; i < ORDER; i++)
        for (int j = 0; j < ORDER; j++) d.m[i][j] = *state_of(&s, i, j);
    return d;
}

/* The states that parts leave which began at rest -> those in which they begin; at: that of the first part,
 * and then that behind the last. */
static void chain(states *s, const decay *d, double at[ORDER], bool back) {
    for (int i = 0; i < LANES; i++) {
        const int lane = back ? LANES - 1 - i : i;
        double next[ORDER];
        for (int j = 0; j < ORDER; j++) {
            next[j] = *state_of(s, j, lane);
            for (int k = 0; k < ORDER; k++) next[j] += d->m[j][k] * at[k];
        }
        for (int j = 0; j < ORDER; j++) {
            *state_of(s, j, lane) = at[j];
            at[j] = fabs(next[j]) < NOTHING ? 0 : next[j];
        }
    }
}

/* ---- a signal ---- */

/* Groups of eight parts; the last is shorter, and fewer than eight samples follow it. */
typedef struct layout {
    size_t groups, last_span;
} layout;

static size_t span_of(const layout *l, size_t group) {
    return group + 1 < l->groups ? SPAN : l->last_span;
}

static layout layout_of(size_t n) {
    const size_t whole = n / GROUP, span = n % GROUP / LANES;
    return span ? (layout){whole + 1, span} : (layout){whole, SPAN};
}

/* A sweep over all groups, each by itself, for it begins at rest or as the chain says by then. */
typedef struct sweep {
    enum { FORTH, TURN, BACK } kind;
    rvc_buffer *x;
    layout l;
    states *forth, *back; /* [groups]: what parts leave, and then what they begin in */
} sweep;

enum { SHARE = 64 }; /* groups of a task: 8 s */

static void sweep_group(const sweep *p, size_t g) {
    _Alignas(64) rvc_d4 v[SPAN][2];
    const size_t span = span_of(&p->l, g);
    float *samples = rvc_buffer_view(p->x, g * GROUP, span * LANES);
    states s = {0};
    load(samples, span, v);
    if (p->kind == FORTH) {
        settle(&s, v, 1, span);
        p->forth[g] = s;
        return;
    }
    s = p->forth[g];
    filter(&s, v, 1, span);
    if (p->kind == TURN) {
        s = (states){0};
        settle(&s, v + span - 1, -1, span);
        p->back[g] = s;
    } else {
        filter(&p->back[g], v + span - 1, -1, span);
        store(v, span, samples);
    }
}

static void sweep_share(void *context, size_t task) {
    const sweep *p = context;
    for (size_t g = task * SHARE; g < p->l.groups && g < (task + 1) * SHARE; g++) sweep_group(p, g);
}

static void run_sweep(sweep *p, int kind, int threads) {
    p->kind = kind;
    nn_share(rvc_buffer_threads(p->x, threads), (p->l.groups + SHARE - 1) / SHARE, sweep_share, p);
}

static const decay *decay_of(const sweep *p, const decay d[2], size_t g) {
    return &d[span_of(&p->l, g) != SPAN];
}

nn_code rvc_highpass(rvc_buffer *x, int threads, nn_error *e) {
    const size_t n = x->count;
    if (n == 0) return NN_OK;
    const size_t edge = n - 1 < EDGE ? n - 1 : EDGE;
    const layout l = layout_of(n);
    const size_t rest = n % LANES, end = rest + edge;
    _Alignas(64) rvc_d4 v[SPAN][2];
    const decay d[2] = {decay_over(SPAN, v), decay_over(l.last_span, v)};
    double at[ORDER], head[EDGE], tail[LANES + EDGE];
    states *of_parts = malloc((2 * l.groups + 1) * sizeof *of_parts);
    if (!of_parts) return nn_fail_memory(e, "the high-pass filter");
    sweep p = {.x = x, .l = l, .forth = of_parts, .back = of_parts + l.groups};

    const float *first = rvc_buffer_view(x, 0, edge + 1), *last = rvc_buffer_view(x, n - end, end) + end - 1;
    for (size_t i = 0; i < edge; i++) {
        head[i] = 2 * (double)first[0] - (double)first[edge - i];
        tail[rest + i] = 2 * (double)last[0] - (double)*(last - 1 - i);
    }
    start(at, edge ? head[0] : (double)first[0]);
    filter_alone(at, head, edge, false);
    run_sweep(&p, FORTH, threads);
    for (size_t g = 0; g < l.groups; g++) chain(&p.forth[g], decay_of(&p, d, g), at, false);

    float *y = rvc_buffer_view(x, n - rest, rest);
    for (size_t i = 0; i < rest; i++) tail[i] = (double)y[i];
    filter_alone(at, tail, end, false);
    start(at, tail[end - 1]);
    filter_alone(at, tail, end, true);
    for (size_t i = 0; i < rest; i++) y[i] = (float)tail[i];
    run_sweep(&p, TURN, threads);
    for (size_t g = l.groups; g-- > 0;) chain(&p.back[g], decay_of(&p, d, g), at, true);
    run_sweep(&p, BACK, threads);
    free(of_parts);
    return NN_OK;
}
