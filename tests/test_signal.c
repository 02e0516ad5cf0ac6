/* test_signal.c - filter, resampling, chunk cuts, loudness: against SciPy's numbers, plain formulas and known
 * signals. Noise and sine source: test_excitation.c. */
#include "../rvc/signal.h"
#include <float.h>
#include <samplerate.h>

#include "../rvc/pipeline.h"
#include "check.h"

static const double PI = 3.141592653589793;

/* ---- arrays lent as buffers ---- */

#define LEND(x, n) (&(rvc_buffer){.at = (x), .count = (n)})

static nn_code highpass(const float *x, size_t n, float *y, nn_error *e) {
    if (x != y) memcpy(y, x, n * sizeof *y);
    return rvc_highpass(LEND(y, n), 3, e);
}

static nn_code mix_loudness(float *x, size_t n, int in_rate, float *y, size_t m, int out_rate, float rate,
                            nn_error *e) {
    return rvc_mix_loudness(LEND(x, n), in_rate, LEND(y, m), out_rate, rate, 3, e);
}

/* *out [m], or [round(n*to/from)] where m is 0; free() it. NULL on failure. */
static nn_code resample(float *x, size_t n, int from, int to, size_t m, float **out, nn_error *e) {
    if (m == 0) m = rvc_scaled_frames(n, from, to);
    *out = calloc(m + 1, sizeof **out);
    assert_non_null(*out);
    nn_code code = rvc_resample(LEND(x, n), from, to, 1, LEND(*out, m), e);
    if (code) {
        free(*out);
        *out = NULL;
    }
    return code;
}

/* ---- high-pass ---- */

/* scipy.signal.filtfilt(*butter(5, 48, "high", fs=16000), x) of random numbers about 0.5, both ends and
 * between. */
static void test_highpass_is_scipy(void **state) {
    (void)state;
    const int at[] = {0, 1, 17, 18, 500, 1000, 1981, 1998, 1999};
    const double want[] = {0.1275060177,    0.4855279192, 0.6197450223,  0.3522615278, 0.1724196303,
                           -0.007877788087, 0.4786570797, 0.02449889783, 0.03178923843};
    const double want_short[] = {
        -0.3735743155, -0.0765766678, 0.3105400192, -0.8079902931,
        -0.8753765634, -0.307304647,  -0.1496104188}; /* the first 7 alone, padlen=6 */
    float x[2000], y[2000];
    uint64_t random = 1;
    for (int i = 0; i < 2000; i++) x[i] = check_random_float(&random) + 0.5f;
    assert_int_equal(highpass(x, 2000, y, NULL), NN_OK);
    double worst = 0;
    for (int i = 0; i < 9; i++) worst = fmax(worst, fabs((double)y[at[i]] - want[i]));
    assert_int_equal(highpass(x, 7, y, NULL), NN_OK);
    for (int i = 0; i < 7; i++) worst = fmax(worst, fabs((double)y[i] - want_short[i]));
    print_message("high-pass: at most %.2g from SciPy\n", worst);
    assert_true(worst < 6e-8); /* half a float32 step below 1 */
    assert_int_equal(highpass(x, 7, x, NULL), NN_OK);
    assert_memory_equal(x, y, 7 * sizeof *x); /* in place */
    assert_int_equal(highpass(x, 0, y, NULL), NN_OK);
    x[0] = 0.5f;
    assert_int_equal(highpass(x, 1, y, NULL), NN_OK);
    assert_true(fabsf(y[0]) < 1e-6f); /* one sample is a constant */
}

/* filtfilt as SciPy writes it, one sample after the other, in long double: in double its own rounding is
 * 1e-8. v [n + 36] is scratch; y [n]. */
static void plain_highpass(const float *x, size_t n, long double *v, long double *y) {
    const double b[] = {0.96996064518384473, -4.8498032259192234, 9.6996064518384468,
                        -9.6996064518384468, 4.8498032259192234,  -0.96996064518384473};
    const double a[] = {1.0,
                        -4.9390018191683636,
                        9.757863526739543,
                        -9.6395448494134577,
                        4.7615067973562093,
                        -0.94082365320546057};
    const double steady[] = {-0.96996047969958465, 3.8798419288925783,   -5.8197629081730433,
                             3.879841948472456,    -0.96996048949233871, 0};
    const size_t edge = n - 1 < 18 ? n - 1 : 18, length = n + 2 * edge;
    for (size_t i = 0; i < length; i++)
        v[i] = i < edge       ? 2 * (long double)x[0] - (long double)x[edge - i]
               : i < n + edge ? (long double)x[i - edge]
                              : 2 * (long double)x[n - 1] - (long double)x[n - 2 - (i - n - edge)];
    for (int pass = 0; pass < 2; pass++) {
        long double z[6];
        for (int j = 0; j < 6; j++) z[j] = (long double)steady[j] * v[pass ? length - 1 : 0];
        for (size_t i = 0; i < length; i++) {
            long double *at = pass ? v + length - 1 - i : v + i, in = *at;
            *at = (long double)b[0] * in + z[0];
            for (int j = 0; j < 5; j++)
                z[j] = z[j + 1] + (long double)b[j + 1] * in - (long double)a[j + 1] * *at;
        }
    }
    for (size_t i = 0; i < n; i++) y[i] = v[edge + i];
}

/* What is side by side in the filter is one signal: short ones, ends beside those of parts and groups, any
 * length; loud, with a constant, and with a long silence, which ends in nothing at all. */
static void test_highpass_is_plain(void **state) {
    (void)state;
    enum { MOST = 60000, FIXED = 22, RANDOM = 20 };
    static const size_t lengths[FIXED] = {1,  2,  3,  7,    8,    9,    15,   16,   17,    18,   19,
                                          20, 63, 64, 2047, 2048, 2049, 2055, 2056, 16384, 4104, 12 * 2048};
    const long double most = LDBL_MANT_DIG > 60 ? 1e-10L : 1e-7L;
    float *x = malloc(MOST * sizeof *x), *y = malloc(MOST * sizeof *y);
    long double *v = malloc((MOST + 36) * sizeof *v), *want = malloc(MOST * sizeof *want), worst = 0;
    uint64_t random = 31;
    assert_true(x && y && v && want);
    for (size_t k = 0; k < FIXED + RANDOM; k++) {
        const size_t n = k < FIXED ? lengths[k] : 1 + (size_t)(check_random(&random) % (k % 2 ? 3000 : MOST));
        const float constant = k % 3 ? 0.25f : 0;
        for (size_t i = 0; i < n; i++)
            x[i] = k % 4 == 3 && i > n / 3 ? 0 : check_random_float(&random) + constant;
        plain_highpass(x, n, v, want);
        assert_int_equal(highpass(x, n, y, NULL), NN_OK);
        for (size_t i = 0; i < n; i++) {
            const long double off = fabsl((long double)y[i] - want[i]) - fabsl(want[i]) * 0x1p-24L;
            if (!(off <= most))
                fail_msg("%zu samples: sample %zu is %.9g, not %.9Lg", n, i, (double)y[i], want[i]);
            worst = off > worst ? off : worst;
        }
        if (k % 4 == 3 && n > 30000)
            for (size_t i = n - 1000; i < n; i++) assert_true(fabsf(y[i]) < 1e-30f);
    }
    print_message("high-pass: beside rounding to float at most %.2Lg from plain sums\n", worst);
    free(x);
    free(y);
    free(v);
    free(want);
}

/* Twice through |H|^2: 1/2 at 48 Hz, 1 far above, nothing of a constant; and no phase. */
static void test_highpass_response(void **state) {
    (void)state;
    enum { N = 32000 };
    const struct {
        double hz, gain;
    } points[] = {
        {12, 0.25 * 0.25 * 0.25 * 0.25 * 0.25 * 0.25 * 0.25 * 0.25 * 0.25 * 0.25}, {48, 0.5}, {1000, 1}};
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    assert_non_null(x);
    assert_non_null(y);
    for (size_t p = 0; p < 3; p++) {
        for (int i = 0; i < N; i++) x[i] = (float)(0.5 + sin(2 * PI * points[p].hz * i / 16000));
        assert_int_equal(highpass(x, N, y, NULL), NN_OK);
        double in_phase = 0, quadrature = 0;
        for (int i = N / 4; i < N / 4 * 3; i++) { /* a whole number of periods, away from the ends */
            in_phase += (double)y[i] * sin(2 * PI * points[p].hz * i / 16000) * 4 / N;
            quadrature += (double)y[i] * cos(2 * PI * points[p].hz * i / 16000) * 4 / N;
        }
        if (!(fabs(in_phase - points[p].gain) < 1e-4 && fabs(quadrature) < 1e-4))
            fail_msg("%g Hz: gain %g, quadrature %g", points[p].hz, in_phase, quadrature);
    }
    free(x);
    free(y);
}

/* ---- level ---- */

static void test_peak(void **state) {
    (void)state;
    float x[40];
    uint64_t random = 8;
    assert_true(rvc_peak(NULL, 0) == 0);
    for (size_t n = 1; n < 40; n++) {
        for (size_t at = 0; at < n; at++) {
            for (size_t i = 0; i < n; i++) x[i] = 0.9f * check_random_float(&random);
            x[at] = at % 2 ? 0.95f : -0.95f;
            assert_true(rvc_peak(x, n) == 0.95f);
            x[at] = at % 2 ? NAN : at % 4 ? INFINITY : -INFINITY;
            assert_true(!isfinite(rvc_peak(x, n)));
        }
    }
}

static void test_divide(void **state) {
    (void)state;
    float x[40], y[40];
    uint64_t random = 9;
    for (size_t i = 0; i < 40; i++) x[i] = check_random_float(&random);
    for (size_t n = 0; n < 40; n++) {
        for (size_t i = 0; i < 40; i++) y[i] = 7;
        rvc_divide(x, n, 1.7f, y);
        for (size_t i = 0; i < 40; i++) assert_true(y[i] == (i < n ? x[i] / 1.7f : 7));
    }
    rvc_divide(x, 40, 1.7f, x);
    rvc_divide(y, 0, 1.7f, y);
    assert_memory_equal(x, y, 39 * sizeof *x); /* in place */
}

/* ---- silence ---- */

/* Runs as the definition has them: below 2e-5 for at least 1600 samples, or throughout. */
static void check_silence(float *x, size_t n) {
    rvc_silence s;
    size_t runs = 0;
    assert_int_equal(rvc_silence_find(&s, LEND(x, n), NULL), NN_OK);
    for (size_t from = 0, to; from < n; from = to + 1) {
        for (to = from; to < n && fabsf(x[to]) < 2e-5f;) to++;
        if (to - from < 1600 && (from > 0 || to < n)) continue;
        assert_true(runs < s.count);
        assert_int_equal(s.run[runs].from, from);
        assert_int_equal(s.run[runs].to, to);
        runs++;
    }
    assert_int_equal(s.count, runs);
    rvc_silence_free(&s);
}

static void test_silence_runs(void **state) {
    (void)state;
    enum { MOST = 60000 };
    float *x = calloc(MOST, sizeof *x);
    uint64_t random = 77;
    assert_non_null(x);
    check_silence(x, 1);
    check_silence(x, 1599);
    check_silence(x, 5000);
    for (int round = 0; round < 200; round++) { /* sounds with pauses around the shortest that counts */
        const size_t n = 1 + (size_t)(check_random(&random) % MOST);
        for (size_t i = 0; i < n;) {
            size_t quiet = round % 2 ? 1590 + (size_t)(check_random(&random) % 20)
                                     : (size_t)(check_random(&random) % 5000);
            size_t loud = 1 + (size_t)(check_random(&random) % (round % 3 ? 40 : 4000));
            for (; quiet > 0 && i < n; quiet--, i++) x[i] = 1.9e-5f * check_random_float(&random);
            for (; loud > 0 && i < n; loud--, i++) x[i] = loud % 2 ? 2e-5f : -1;
        }
        check_silence(x, n);
    }
    free(x);
}

/* ---- resampling ---- */

static void test_scaled_frames(void **state) {
    (void)state;
    assert_int_equal(rvc_scaled_frames(0, 44100, 16000), 0);
    assert_int_equal(rvc_scaled_frames(44100, 44100, 16000), 16000);
    assert_int_equal(rvc_scaled_frames(1, 32000, 16000), 1); /* a half goes up */
    assert_int_equal(rvc_scaled_frames(3, 32000, 16000), 2);
    assert_int_equal(rvc_scaled_frames(1, 48000, 16000), 0);
    assert_int_equal(rvc_scaled_frames(2, 48000, 16000), 1);
    const size_t large = (size_t)1 << 60;
    assert_int_equal(rvc_scaled_frames(large, 48000, 48000), large);
    assert_int_equal(rvc_scaled_frames(large / 48000 * 48000, 48000, 16000), large / 48000 * 16000);
}

/* A sine comes out the same sine, in place and in level, whatever the rates; the count is exact. */
static void test_resample_sine(void **state) {
    (void)state;
    const int rates[][2] = {{44100, 16000}, {48000, 16000}, {22050, 16000}, {16000, 44100}, {40000, 48000},
                            {96000, 16000}, {8000, 16000},  {1000, 256000}, {256000, 1000}};
    for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++) {
        int from = rates[r][0], to = rates[r][1];
        double hz = 0.2 * (from < to ? from : to);
        size_t n = (size_t)from, m = (size_t)to;
        float *x = malloc(n * sizeof *x), *want = malloc(m * sizeof *want), *y = NULL;
        assert_non_null(x);
        assert_non_null(want);
        for (size_t i = 0; i < n; i++) x[i] = (float)(0.5 * sin(2 * PI * fmod(hz * (double)i / from, 1)));
        for (size_t i = 0; i < m; i++) want[i] = (float)(0.5 * sin(2 * PI * fmod(hz * (double)i / to, 1)));
        assert_int_equal(resample(x, n, from, to, 0, &y, NULL), NN_OK);
        double snr = check_snr_db(y + m / 4, want + m / 4, m / 2);
        print_message("resample %d -> %d: %.1f dB\n", from, to, snr);
        assert_true(snr > 125);
        free(x);
        free(want);
        free(y);
    }
}

/* An impulse stays where it is, at the start, in the middle and beside the last sample. */
static void test_resample_is_aligned(void **state) {
    (void)state;
    const int rates[][2] = {{16000, 48000}, {48000, 16000}, {44100, 16000}};
    for (size_t r = 0; r < 3; r++) {
        int from = rates[r][0], to = rates[r][1];
        const size_t n = 4000, places[] = {0, 2000, n - 4};
        for (size_t p = 0; p < 3; p++) {
            float *x = calloc(n, sizeof *x), *y = NULL;
            assert_non_null(x);
            x[places[p]] = 1;
            assert_int_equal(resample(x, n, from, to, 0, &y, NULL), NN_OK);
            size_t m = rvc_scaled_frames(n, from, to), peak = 0;
            for (size_t i = 1; i < m; i++)
                if (y[i] > y[peak]) peak = i;
            double offset = (double)peak - (double)places[p] * to / from;
            if (!(fabs(offset) <= 0.67))
                fail_msg("%d -> %d: impulse at %zu is %g samples off", from, to, places[p], offset);
            free(x);
            free(y);
        }
    }
}

static void test_resample_counts(void **state) {
    (void)state;
    float x[1000], *y = NULL, *longer = NULL;
    uint64_t random = 3;
    for (int i = 0; i < 1000; i++) x[i] = check_random_float(&random);
    assert_int_equal(resample(x, 1000, 16000, 16000, 0, &y, NULL), NN_OK);
    assert_memory_equal(x, y, sizeof x); /* equal rates copy */
    free(y);
    assert_int_equal(resample(x, 1000, 16000, 16000, 1200, &y, NULL), NN_OK);
    assert_memory_equal(x, y, sizeof x);
    for (int i = 1000; i < 1200; i++) assert_true(y[i] == 0);
    free(y);
    assert_int_equal(resample(x, 1000, 16000, 40000, 1700, &y, NULL), NN_OK);
    assert_int_equal(resample(x, 1000, 16000, 40000, 9000, &longer, NULL), NN_OK);
    assert_memory_equal(y, longer, 1700 * sizeof *y); /* a crop and a tail of one signal */
    for (int i = 4000; i < 9000; i++) assert_true(fabsf(longer[i]) < 1e-6f);
    free(y);
    free(longer);
    assert_int_equal(resample(x, 0, 44100, 16000, 0, &y, NULL), NN_OK);
    assert_non_null(y);
    free(y);
    assert_int_equal(resample(x, 0, 44100, 16000, 50, &y, NULL), NN_OK);
    for (int i = 0; i < 50; i++) assert_true(y[i] == 0);
    free(y);
}

static float *random_floats(size_t n, uint64_t seed) {
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = check_random_float(&seed);
    return x;
}

/* x [n] -> y [m], taken and made in pieces of any length up to `longest`. */
static void resample_in_blocks(const float *x, size_t n, int from, int to, int threads, size_t longest,
                               float *y, size_t m) {
    uint64_t random = 21;
    size_t done = 0, made = 0;
    rvc_resampler *r;
    assert_int_equal(rvc_resampler_new(&r, from, to, threads, NULL), NN_OK);
    while (done < n) {
        size_t taken = 1 + check_random(&random) % longest, most = 1 + check_random(&random) % longest;
        if (taken > n - done) taken = n - done;
        if (most > m - made) most = m - made;
        assert_int_equal(rvc_resampler_run(r, x + done, &taken, y + made, &most, NULL), NN_OK);
        done += taken;
        made += most;
    }
    assert_true(made < m);
    assert_int_equal(rvc_resampler_ring_out(r, y + made, m - made, NULL), NN_OK);
    rvc_resampler_free(r);
}

/* Any division of input and output into blocks gives the same bits. */
static void test_resample_in_blocks(void **state) {
    (void)state;
    const int rates[][2] = {{44100, 16000}, {22050, 16000}, {8000, 16000}, {16000, 48000},
                            {48000, 44100}, {16000, 16000}, {1000, 250000}};
    enum { N = 50000, FEW = 200 };
    float *x = random_floats(N, 21), *whole = NULL;
    for (size_t k = 0; k < sizeof rates / sizeof rates[0]; k++) {
        const int from = rates[k][0], to = rates[k][1];
        const size_t n = from == 1000 ? FEW : N, m = rvc_scaled_frames(n, from, to) + 50;
        float *y = calloc(m, sizeof *y);
        assert_non_null(y);
        assert_int_equal(resample(x, n, from, to, m, &whole, NULL), NN_OK);
        resample_in_blocks(x, n, from, to, 2, 7001, y, m);
        assert_memory_equal(y, whole, m * sizeof *y);
        free(whole);
        free(y);
    }
    free(x);
}

/* y [m] as one run of libsamplerate's makes it, silence behind x [n]. */
static void one_long_run(const float *x, size_t n, double ratio, float *y, size_t m) {
    static const float zeros[4096];
    int status = 0;
    SRC_STATE *state = src_new(SRC_SINC_BEST_QUALITY, 1, &status);
    assert_non_null(state);
    while (m > 0) {
        SRC_DATA data = {.data_in = n ? x : zeros,
                         .input_frames = n ? (long)n : 4096,
                         .data_out = y,
                         .output_frames = (long)m,
                         .src_ratio = ratio};
        assert_int_equal(src_process(state, &data), 0);
        if (n) {
            x += data.input_frames_used;
            n -= (size_t)data.input_frames_used;
        }
        y += data.output_frames_gen;
        m -= (size_t)data.output_frames_gen;
    }
    src_delete(state);
}

/* Segments, wherever the signal ends in them, are together what one run makes: no sample beside its place, no
 * seam. The worst 100 samples count, for a seam would be short; noise moved by 1e-6 samples would be 115 dB.
 */
static void test_resample_is_one_run(void **state) {
    (void)state;
    const struct {
        int from, to;
        size_t segment; /* input in whole periods, 4096 frames of the higher rate or 8 margins at least */
    } pairs[] = {{44100, 16000, 4410}, {48000, 16000, 4098}, {22050, 16000, 4410}, {16000, 40000, 1640},
                 {40000, 48000, 3415}, {48000, 44100, 4160}, {96000, 8000, 14400}, {1999, 1000, 15992},
                 {44099, 16000, 2000}, {1000, 250000, 10}}; /* the last two: one run in any case */
    enum { WINDOW = 100 };
    for (size_t k = 0; k < sizeof pairs / sizeof pairs[0]; k++) {
        const int from = pairs[k].from, to = pairs[k].to;
        const size_t s = pairs[k].segment, most = 5 * s + 77, lengths[] = {1, s / 3, s, s + 1, 4 * s, most};
        float *x = random_floats(most, k + 5);
        double worst = 999;
        for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
            float *y = NULL;
            const size_t m = rvc_scaled_frames(lengths[l], from, to);
            float *want = malloc((m + 1) * sizeof *want);
            assert_non_null(want);
            one_long_run(x, lengths[l], (double)to / from, want, m);
            assert_int_equal(resample(x, lengths[l], from, to, 0, &y, NULL), NN_OK);
            for (size_t i = 0; i < m; i += WINDOW) {
                const size_t count = m - i < WINDOW ? m - i : WINDOW;
                worst = fmin(worst, check_snr_db(y + i, want + i, count));
            }
            free(want);
            free(y);
        }
        print_message("%d -> %d in segments: at worst %.1f dB\n", from, to, worst);
        assert_true(worst > 145);
        free(x);
    }
}

/* More than a group of segments: any number of threads and any division into blocks give the same bits, and
 * what stands where one group follows another is what one run makes, also where the input ends before the
 * first group has all that it looks ahead. */
static void test_resample_groups(void **state) {
    (void)state;
    enum { FROM = 48000, TO = 16000, GROUP = 252 * 4098, BEFORE = 6000, SKIPPED = 900 };
    const struct {
        size_t n;
        int threads;
    } cases[] = {{GROUP + 2000, 5}, {GROUP + 300, 2}};
    for (size_t k = 0; k < 2; k++) {
        const size_t n = cases[k].n, m = rvc_scaled_frames(n, FROM, TO), from = GROUP - BEFORE,
                     around = m - from / 3, skipped = SKIPPED / 3;
        float *x = random_floats(n, 33), *y = calloc(m, sizeof *y), *alone = calloc(m, sizeof *alone),
              *want = malloc(around * sizeof *want);
        assert_non_null(y);
        assert_non_null(alone);
        assert_non_null(want);
        resample_in_blocks(x, n, FROM, TO, cases[k].threads, 300000, y, m);
        resample_in_blocks(x, n, FROM, TO, 1, 70000, alone, m);
        assert_memory_equal(y, alone, m * sizeof *y);
        one_long_run(x + from, n - from, (double)TO / FROM, want, around);
        double snr = check_snr_db(y + from / 3 + skipped, want + skipped, around - skipped);
        print_message("where groups meet: %.1f dB\n", snr);
        assert_true(snr > 145);
        free(x);
        free(y);
        free(alone);
        free(want);
    }
}

static void test_resample_bad_rates(void **state) {
    (void)state;
    const int rates[][2] = {{999, 16000}, {16000, 768001},    {0, 16000},
                            {-1, 16000},  {16000, INT32_MAX}, {1000, 256001}};
    float x[4] = {0}, *y = x;
    for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++) {
        nn_error e = {0};
        assert_int_equal(resample(x, 4, rates[r][0], rates[r][1], 0, &y, &e), NN_ERROR_ARGUMENT);
        assert_null(y);
        assert_non_null(strstr(e.text, "resample"));
    }
}

/* ---- reflection and chunk cuts ---- */

static void test_reflect_pad(void **state) {
    (void)state;
    const float x[] = {1, 2, 3}, want[] = {1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2}, ones[] = {1, 1, 1, 1};
    float y[12];
    rvc_reflect_pad(x, 3, 4, 5, y);
    assert_memory_equal(y, want, sizeof want); /* numpy.pad([1, 2, 3], (4, 5), "reflect") */
    rvc_reflect_pad(x, 1, 2, 1, y);
    assert_memory_equal(y, ones, sizeof ones);
    uint64_t random = 14;
    for (int round = 0; round < 300; round++) {
        float in[20], out[120];
        const size_t n = 1 + (size_t)(check_random(&random) % 20),
                     before = (size_t)(check_random(&random) % 50),
                     after = (size_t)(check_random(&random) % 50);
        for (size_t i = 0; i < n; i++) in[i] = check_random_float(&random);
        rvc_reflect_pad(in, n, before, after, out);
        for (size_t i = 0, at = 0, forth = 1; i <= before; i++) { /* to and fro from the first sample */
            assert_true(out[before - i] == in[at]);
            if (n > 1 && at == (forth ? n - 1 : 0)) forth = !forth;
            at = n == 1 ? 0 : forth ? at + 1 : at - 1;
        }
        for (size_t i = 0, at = n - 1, forth = 0; i <= after; i++) {
            assert_true(out[before + n - 1 + i] == in[at]);
            if (n > 1 && at == (forth ? n - 1 : 0)) forth = !forth;
            at = n == 1 ? 0 : forth ? at + 1 : at - 1;
        }
        assert_memory_equal(out + before, in, n * sizeof *in);
    }
}

/* The cuts as NumPy finds them: every sum over the whole signal, then the windows. */
static size_t plain_cuts(const float *x, size_t n, rvc_chunking p, size_t multiple, size_t *cuts) {
    float *padded = malloc((n + 160) * sizeof *padded);
    double *s = calloc(n, sizeof *s);
    assert_non_null(padded);
    assert_non_null(s);
    rvc_reflect_pad(x, n, 80, 80, padded);
    for (size_t j = 0; j < 160; j++)
        for (size_t i = 0; i < n; i++) s[i] += fabs((double)padded[i + j]);
    size_t count = 0, center = (size_t)p.x_center * 16000, query = (size_t)p.x_query * 16000;
    for (size_t t = center; n + 160 > (size_t)p.x_max * 16000 && t < n; t += center) {
        size_t best = t - query;
        for (size_t i = best; i < n && i < t + query; i++)
            if (s[i] < s[best]) best = i;
        best -= best % multiple;
        if (best > (count ? cuts[count - 1] : 0)) cuts[count++] = best;
    }
    free(padded);
    free(s);
    return count;
}

static void check_cuts(float *x, size_t n, rvc_chunking p, int multiple) {
    size_t want[64], *got = NULL, count = 0, expected = plain_cuts(x, n, p, (size_t)multiple, want);
    assert_int_equal(rvc_chunk_cuts(LEND(x, n), p, multiple, &got, &count, NULL), NN_OK);
    assert_int_equal(count, expected);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(got[i], want[i]);
        assert_int_equal(got[i] % (size_t)multiple, 0);
        assert_in_range(got[i], i ? got[i - 1] + 1 : 1, n - 1);
    }
    free(got);
}

static void test_chunk_cuts(void **state) {
    (void)state;
    enum { N = 16000 * 9 + 77 };
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    uint64_t random = 5;
    for (size_t i = 0; i < N; i++) x[i] = check_random_float(&random) * (float)(1.1 + sin((double)i * 1e-3));
    check_cuts(x, N, (rvc_chunking){1, 1, 2, 3}, 160);
    check_cuts(x, N, (rvc_chunking){1, 1, 2, 3}, 320);
    check_cuts(x, N, (rvc_chunking){1, 2, 2, 3}, 160); /* windows that overlap: no cut twice, none at 0 */
    memset(x, 0, N * sizeof *x);                       /* all equal: the first */
    check_cuts(x, N, (rvc_chunking){1, 1, 3, 3}, 160);
    check_cuts(x, N, (rvc_chunking){1, 3, 3, 3}, 160);
    for (size_t i = 0; i < N; i++) x[i] = (float)(sin(PI / 8 * (double)(i % 16)) * exp(-1e-9 * (double)i));
    check_cuts(x, N, (rvc_chunking){1, 1, 2, 3},
               160); /* whole periods: sums apart by rounding, or hardly more */
    for (size_t i = 0; i < N; i++)
        x[i] = check_random_float(&random) * (float)exp(-1e-4 * (double)(i % 50000));
    check_cuts(x, N, (rvc_chunking){1, 1, 2, 3}, 160); /* fading out: ever new least sums */
    for (size_t i = 0; i < N; i++) x[i] = (float)(i < 33000 || i > 33500); /* one quiet place */
    size_t *cuts = NULL, count = 0;
    assert_int_equal(rvc_chunk_cuts(LEND(x, 40000), (rvc_chunking){1, 1, 2, 2}, 160, &cuts, &count, NULL),
                     NN_OK);
    assert_int_equal(count, 1);
    assert_int_equal(cuts[0], 33080 / 160 * 160); /* the first window that is silent is centred on 33 080 */
    free(cuts);
    free(x);
}

/* n + 160 must be above x_max seconds for a cut at all. */
static void test_chunk_threshold(void **state) {
    (void)state;
    float *x = calloc(48000, sizeof *x);
    assert_non_null(x);
    size_t *cuts = NULL, count = 9;
    assert_int_equal(
        rvc_chunk_cuts(LEND(x, 48000 - 160), (rvc_chunking){1, 1, 2, 3}, 160, &cuts, &count, NULL), NN_OK);
    assert_int_equal(count, 0);
    free(cuts);
    assert_int_equal(
        rvc_chunk_cuts(LEND(x, 48000 - 159), (rvc_chunking){1, 1, 2, 3}, 160, &cuts, &count, NULL), NN_OK);
    assert_int_equal(count, 1);
    free(cuts);
    const rvc_chunking bad[] = {{1, 1, 0, 3}, {1, 3, 2, 3}, {1, 0, 2, 3}, {1, 1, 2, -3}};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(rvc_chunk_cuts(LEND(x, 48000), bad[i], 160, &cuts, &count, NULL), NN_ERROR_ARGUMENT);
    free(x);
}

/* ---- loudness ---- */

/* RMS at output sample i of m, straight from the definitions of librosa and F.interpolate. */
static double plain_rms(const float *x, long n, long rate, size_t i, size_t m) {
    long hop = rate / 2, frames = n / hop + 1;
    double at = fmax(((double)i + 0.5) * (double)frames / (double)m - 0.5, 0), value[2];
    long left = (long)at, right = left + 1 < frames ? left + 1 : left;
    for (int side = 0; side < 2; side++) {
        double sum = 0;
        long f = side ? right : left;
        for (long k = (f - 1) * hop; k < (f + 1) * hop; k++)
            if (k >= 0 && k < n) sum += (double)x[k] * (double)x[k];
        value[side] = sqrt(sum / (double)(2 * hop));
    }
    return value[0] + (at - (double)left) * (value[1] - value[0]);
}

static void test_loudness(void **state) {
    (void)state;
    const struct {
        size_t n;
        int in;
        size_t m;
        int out;
        float rate;
    } cases[] = {{1600, 160, 4000, 400, 0.25f},
                 {1234, 161, 3000, 401, 0.5f},
                 {8000, 800, 20003, 2000, 0.25f}, /* runs that are straight, hardly so, and not */
                 {50, 160, 125, 400, 0.0f},
                 {0, 160, 10, 400, 0.5f}};
    uint64_t random = 11;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        size_t n = cases[c].n, m = cases[c].m;
        float *x = malloc(n * sizeof *x + 1), *y = malloc(m * sizeof *y), *want = malloc(m * sizeof *want);
        assert_true(x && y && want);
        for (size_t i = 0; i < n; i++) x[i] = check_random_float(&random) * (float)(i + 1) / (float)n;
        for (size_t i = 0; i < m; i++)
            y[i] = i < m / 3 ? 0 : check_random_float(&random); /* with silence: the floor */
        for (size_t i = 0; i < m; i++) {
            double in = plain_rms(x, (long)n, cases[c].in, i, m),
                   out = plain_rms(y, (long)m, cases[c].out, i, m);
            double r = (double)cases[c].rate;
            want[i] = (float)((double)y[i] * pow(in, 1 - r) * pow(fmax(out, 1e-6), r - 1));
        }
        assert_int_equal(mix_loudness(x, n, cases[c].in, y, m, cases[c].out, cases[c].rate, NULL), NN_OK);
        double snr = n ? check_snr_db(y, want, m) : 999;
        print_message("loudness %zu -> %zu, mix %g: %.1f dB\n", n, m, (double)cases[c].rate, snr);
        assert_true(snr > 130);
        if (n == 0) /* silence in, silence out */
            for (size_t i = 0; i < m; i++) assert_true(y[i] == 0);
        free(x);
        free(y);
        free(want);
    }
}

static void test_loudness_edges(void **state) {
    (void)state;
    float x[100], y[100], same[100];
    uint64_t random = 12;
    for (int i = 0; i < 100; i++) {
        x[i] = check_random_float(&random);
        y[i] = same[i] = check_random_float(&random);
    }
    assert_int_equal(mix_loudness(x, 100, 16000, y, 100, 16000, 1, NULL), NN_OK);
    assert_memory_equal(y, same, sizeof y);
    assert_int_equal(mix_loudness(x, 100, 16000, y, 0, 16000, 0, NULL), NN_OK);
    assert_int_equal(mix_loudness(x, 100, 16000, y, 100, 16000, NAN, NULL), NN_ERROR_ARGUMENT);
    assert_int_equal(mix_loudness(x, 100, 16000, y, 100, 16000, 1.5f, NULL), NN_ERROR_ARGUMENT);
    assert_int_equal(mix_loudness(x, 100, 1, y, 100, 16000, 0, NULL), NN_ERROR_ARGUMENT);
    assert_memory_equal(y, same, sizeof y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_highpass_is_scipy),
        cmocka_unit_test(test_highpass_is_plain),
        cmocka_unit_test(test_highpass_response),
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_divide),
        cmocka_unit_test(test_silence_runs),
        cmocka_unit_test(test_scaled_frames),
        cmocka_unit_test(test_resample_sine),
        cmocka_unit_test(test_resample_is_aligned),
        cmocka_unit_test(test_resample_counts),
        cmocka_unit_test(test_resample_in_blocks),
        cmocka_unit_test(test_resample_is_one_run),
        cmocka_unit_test(test_resample_groups),
        cmocka_unit_test(test_resample_bad_rates),
        cmocka_unit_test(test_reflect_pad),
        cmocka_unit_test(test_chunk_cuts),
        cmocka_unit_test(test_chunk_threshold),
        cmocka_unit_test(test_loudness),
        cmocka_unit_test(test_loudness_edges),
    };
    return cmocka_run_group_tests_name("signal", tests, NULL, NULL);
}
