/* math.h - exp, tanh, sigmoid and GELU on vectors, to a few units in the last place of float32.
 *
 * No table, no branch and no assumption of finite arguments: NaN gives NaN, the ends saturate, exp underflows
 * gradually. To keep NaN, bounds are written nn_min(bound, x) and nn_max(bound, x): a false comparison picks
 * x.
 *
 * exp: x = n ln 2 + r with |r| <= ln 2 / 2 (Cody & Waite 1980: ln 2 in two parts, so that n ln2_high is
 * exact), then e^x = 2^n (1 + r + r^2 P(r)). tanh: with t = e^(-2|x|) - 1, computed without cancellation,
 * tanh |x| = -t / (2 + t). GELU: x Phi(x), Phi the normal distribution. With R(a) = e^(a^2/2) Phi(-a), which
 * is smooth and falls from 1/2 as 1/a does, x Phi(x) is max(0, x) - |x| T, T = e^(-x^2/2) R(|x|): nothing
 * cancels, as 1 + erf would.
 *
 * The coefficients were fitted for this file by iteratively reweighted least squares (Lawson's algorithm) on
 * Chebyshev nodes in double: P of exp to 3.2e-9 of e^r; R = P/Q on [0, 14.5] to 2.4e-8 of R, less where T is
 * below 1e-5. */
#ifndef NN_CPU_MATH_H
#define NN_CPU_MATH_H

#include "vector.h"

/* e^x = 2^n (1 + tail). */
typedef struct nn_exp_parts {
    nn_v tail, n;
} nn_exp_parts;

/* v 2^n for an n from exp; two factors, as 2^n alone may be no float. */
static inline nn_v nn_vscale(nn_v v, nn_v n) {
#if defined(__AVX512F__)
    return (nn_v)_mm512_scalef_ps((__m512)v, (__m512)n);
#else
    nn_vi k = (nn_vi)(n + 12582912.0f) - (nn_vi)nn_splat(12582912.0f), half = k >> 1;
    return v * (nn_v)((half + 127) << 23) * (nn_v)((k - half + 127) << 23);
#endif
}

static inline nn_exp_parts nn_vexp_split(nn_v x) {
    /* Adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits of the sum. */
    const nn_v magic = nn_splat(12582912.0f);
    nn_v t = x * nn_splat(1.44269504f) + magic;
    nn_v n = t - magic;
    nn_v r = x - n * nn_splat(0.693359375f);
    r = r - n * nn_splat(-2.12194440e-4f);
    nn_v p = nn_splat(1.395072671584785e-3f);
    p = p * r + 8.369024842977524e-3f;
    p = p * r + 4.166620224714279e-2f;
    p = p * r + 1.666651815176010e-1f;
    p = p * r + 0.5f;
    return (nn_exp_parts){p * (r * r) + r, n};
}

/* 0 below -104, infinity above 88.73. */
static inline nn_v nn_vexp(nn_v x) {
    x = nn_min(nn_splat(89.0f), nn_max(nn_splat(-104.0f), x));
    nn_exp_parts e = nn_vexp_split(x);
    return nn_vscale(e.tail + 1.0f, e.n);
}

static inline nn_v nn_vabs(nn_v x) {
    return (nn_v)((nn_vi)x & 0x7fffffff);
}
static inline nn_v nn_vcopysign(nn_v magnitude, nn_v sign) {
    return (nn_v)((nn_vi)nn_vabs(magnitude) | ((nn_vi)sign & (int32_t)0x80000000u));
}

static inline nn_v nn_vtanh(nn_v x) {
    nn_exp_parts e = nn_vexp_split(nn_max(nn_splat(-40.0f), -2.0f * nn_vabs(x)));
    nn_v two = nn_vscale(nn_splat(1.0f), e.n);
    nn_v t = e.tail * two + (two - 1.0f);
    return nn_vcopysign(t / (t + 2.0f), x);
}

static inline nn_v nn_vsigmoid(nn_v x) {
    return 1.0f / (nn_vexp(-x) + 1.0f);
}

/* x/2 (1 + erf(x / sqrt 2)). */
static inline nn_v nn_vgelu(nn_v x) {
    nn_v a = nn_min(nn_splat(15.0f), nn_vabs(x));
    nn_v p = nn_splat(1.3240655386207785e-2f), q = nn_splat(3.3206099872636e-2f);
    p = p * a + 1.0290240168828624e-1f;
    q = q * a + 2.574132351134239e-1f;
    p = p * a + 3.321680676747862e-1f;
    q = q * a + 8.725049909080194e-1f;
    p = p * a + 0.5f;
    q = q * a + 1.4622190552017396f;
    q = q * a + 1.0f;
    nn_exp_parts e = nn_vexp_split(a * a * -0.5f);
    return nn_max(nn_splat(0.0f), x) - a * nn_vscale(e.tail + 1.0f, e.n) * (p / q);
}

#endif
