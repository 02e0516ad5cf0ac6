/* test_excitation.c - the two inputs a voice is excited by: normal noise by position, and the sine source. */
#include "../rvc/signal.h"
#include "check.h"
#include "check_npz.h"

static const double TWO_PI = 6.283185307179586;

/* ---- noise ---- */

/* Philox 4x32-10 written out from the paper, checked with the known answers Random123 publishes
 * (kat_vectors). */
static void plain_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t k[2] = {key[0], key[1]};
    memcpy(out, counter, 4 * sizeof *out);
    for (int round = 0; round < 10; round++) {
        uint64_t left = (uint64_t)out[0] * 0xD2511F53u, right = (uint64_t)out[2] * 0xCD9E8D57u;
        uint32_t next[4] = {(uint32_t)(right >> 32) ^ out[1] ^ k[0], (uint32_t)right,
                            (uint32_t)(left >> 32) ^ out[3] ^ k[1], (uint32_t)left};
        memcpy(out, next, sizeof next);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
}

static void test_philox_known_answers(void **state) {
    (void)state;
    const struct {
        uint32_t counter[4], key[2], want[4];
    } known[] = {{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                 {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                  {0xffffffff, 0xffffffff},
                  {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                 {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                  {0xa4093822, 0x299f31d0},
                  {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (size_t i = 0; i < 3; i++) {
        uint32_t got[4];
        plain_philox(known[i].counter, known[i].key, got);
        assert_memory_equal(got, known[i].want, sizeof got);
    }
}

/* Every element is Box and Muller's, in double, of the block its position names. */
static void test_normal_is_philox_and_box_muller(void **state) {
    (void)state;
    uint64_t random = 21;
    double worst = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t seed = i ? check_random(&random) : 0, stream = i ? check_random(&random) : 0;
        uint64_t block = i ? check_random(&random) >> (2 + check_random(&random) % 60) : 0;
        uint32_t w[4];
        plain_philox((uint32_t[]){(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream,
                                  (uint32_t)(stream >> 32)},
                     (uint32_t[]){(uint32_t)seed, (uint32_t)(seed >> 32)}, w);
        float got[4], want[4];
        for (int pair = 0; pair < 4; pair += 2) {
            double r = sqrt(-2 * log((w[pair] + 1.0) * 0x1p-32)), angle = TWO_PI * (w[pair + 1] * 0x1p-32);
            want[pair] = (float)(r * cos(angle));
            want[pair + 1] = (float)(r * sin(angle));
        }
        rvc_normal(seed, stream, block * 4, 4, got);
        worst = fmax(worst, check_max_error(got, want, 4));
    }
    print_message("normal: at most %.2g from Box-Muller in double\n", worst);
    assert_true(worst < 5e-6); /* where r is near 0, by 6e-8 / r: u = 1 - r^2/2 is a float */
}

enum { MANY = 1 << 20 };

static void test_normal_moments(void **state) {
    (void)state;
    float *x = malloc(MANY * sizeof *x);
    assert_non_null(x);
    rvc_normal(1, 2, 3, MANY, x);
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, neighbour[4] = {0};
    size_t beyond3 = 0;
    for (size_t i = 0; i < MANY; i++) {
        double v = (double)x[i];
        m1 += v / MANY, m2 += v * v / MANY, m3 += v * v * v / MANY, m4 += v * v * v * v / MANY;
        beyond3 += fabs(v) > 3;
        for (size_t lag = 1; lag <= 4 && i >= lag; lag++) neighbour[lag - 1] += v * (double)x[i - lag] / MANY;
    }
    print_message("normal: mean %.5f, variance %.5f, skewness %.5f, kurtosis %.5f\n", m1, m2, m3, m4);
    const double sigma = 1 / sqrt(MANY); /* limits are five standard errors */
    assert_true(fabs(m1) < 5 * sigma);
    assert_true(fabs(m2 - 1) < 5 * sigma * sqrt(2));
    assert_true(fabs(m3) < 5 * sigma * sqrt(15));
    assert_true(fabs(m4 - 3) < 5 * sigma * sqrt(96));
    for (int lag = 0; lag < 4; lag++) assert_true(fabs(neighbour[lag]) < 5 * sigma);
    assert_true(fabs((double)beyond3 / MANY - 0.0026998) < 5 * sigma * 0.052);
    free(x);
}

static void test_normal_depends_on_position_alone(void **state) {
    (void)state;
    enum { N = 1000 };
    float whole[N], parts[N], other[N];
    const uint64_t base = ((uint64_t)1 << 34) - 500; /* the block number passes 2^32 within */
    rvc_normal(7, 8, base, N, whole);
    for (size_t first = 0, count = 1; first < N; first += count, count = count % 11 + 1) {
        if (count > N - first) count = N - first;
        rvc_normal(7, 8, base + first, count, parts + first);
    }
    assert_memory_equal(parts, whole, sizeof whole);
    const uint64_t others[][3] = {{6, 8, base},
                                  {7, 9, base},
                                  {7, 8, base + 4},
                                  {7 + ((uint64_t)1 << 32), 8, base},
                                  {7, 8 + ((uint64_t)1 << 32), base}};
    for (size_t i = 0; i < 5; i++) { /* another seed, stream or place shares nothing */
        rvc_normal(others[i][0], others[i][1], others[i][2], N, other);
        size_t equal = 0;
        for (size_t k = 0; k < N; k++) equal += other[k] == whole[k];
        assert_in_range(equal, 0, 2);
    }
}

/* ---- sine source ---- */

/* The numbers of the synthetic checkpoints: splitmix64 of FNV-1a of the tensor's name, element 0. */
static double synthetic(const char *name, double offset, double scale) {
    uint64_t key = 0xcbf29ce484222325u;
    for (; *name; name++) key = (key ^ (unsigned char)*name) * 0x100000001b3u;
    return offset + scale * ((double)(check_random(&key) >> 40) * 0x1p-23 - 1);
}

/* har_source = tanh(w source + b) with the recorded noise, as RVC-WebUI rounds it and as it ought to be. */
static void check_reference(const char *relative, int rate) {
    const char *path = check_shared(relative);
    if (!path) skip();
    size_t frames, n;
    float *f0 = check_array(path, "pitchf", &frames), *noise = check_array(path, "noise_source", &n);
    float *want = check_array(path, "har_source", &n);
    float *out[2] = {malloc(n * sizeof(float)), malloc(n * sizeof(float))};
    assert_true(out[0] && out[1]);
    int upp = (int)(n / frames);
    rvc_sine_source_webui(f0, frames, upp, rate, noise, out[0]);
    rvc_sine_source(f0, frames, upp, rate, noise, NULL, out[1]);
    const float weight = (float)synthetic("dec.m_source.l_linear.weight", 4, 1);
    const float bias = (float)synthetic("dec.m_source.l_linear.bias", 0, 0.05);
    double snr[2];
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < n; i++) out[k][i] = tanhf(weight * out[k][i] + bias);
        snr[k] = check_snr_db(out[k], want, n);
        free(out[k]);
    }
    print_message("%s: %.1f dB with the reference's roundings, %.1f dB with the exact phase\n", relative,
                  snr[0], snr[1]);
    assert_true(snr[0] >= 130);
    assert_true(snr[1] >= 95);
    free(f0);
    free(noise);
    free(want);
}

static void test_source_reference_40k(void **state) {
    (void)state;
    check_reference("reference/stages_v2_40k.npz", 40000);
}

static void test_source_reference_32k(void **state) {
    (void)state;
    check_reference("reference/stages_v1_32k.npz", 32000);
}

static void test_source_by_hand(void **state) {
    (void)state;
    const float f0[] = {100, 0, 250};
    const float noise[] = {1, -1, 2, 0, 1, -1, 2, 0, 1, -1, 2, 0};
    double phase = 0.25;
    float out[12];
    rvc_sine_source(f0, 3, 4, 1000, noise, &phase, out);
    double turns = 0.25;
    for (int i = 0; i < 12; i++) {
        double hz = (double)f0[i / 4];
        turns += hz / 1000; /* the first sample has moved already */
        double want =
            hz > 0 ? 0.1 * sin(TWO_PI * turns) + 0.003 * (double)noise[i] : 0.1 / 3 * (double)noise[i];
        assert_true(fabs((double)out[i] - want) < 1e-7);
    }
    assert_true(fabs(phase - 0.65) < 1e-12); /* 0.25 + 0.4 + 0 + 1, without whole turns */
    rvc_sine_source(f0 + 1, 1, 4, 1000, NULL, NULL, out);
    for (int i = 0; i < 4; i++) assert_true(out[i] == 0); /* unvoiced and no noise */
    rvc_sine_source_webui(f0, 0, 4, 1000, NULL, out);     /* nothing to do */
    rvc_sine_source_webui(f0, 1, 1, 1000, NULL, out);
    assert_true(fabs((double)out[0] - 0.1 * sin(TWO_PI * 0.1)) < 1e-7);
}

/* Ten minutes in one call, in pieces, and by arithmetic: the same, to the end. */
static void test_source_does_not_drift(void **state) {
    (void)state;
    enum { FRAMES = 60000, UPP = 8, RATE = 800 };
    float *f0 = malloc(FRAMES * sizeof *f0), *whole = malloc(FRAMES * UPP * sizeof *whole);
    float *parts = malloc(FRAMES * UPP * sizeof *parts);
    assert_true(f0 && whole && parts);
    for (int t = 0; t < FRAMES; t++) f0[t] = 110.3f;
    rvc_sine_source(f0, FRAMES, UPP, RATE, NULL, NULL, whole);
    double phase = 0;
    for (size_t t = 0; t < FRAMES; t += 600)
        rvc_sine_source(f0 + t, 600, UPP, RATE, NULL, &phase, parts + t * UPP);
    assert_memory_equal(whole, parts, FRAMES * UPP * sizeof *whole);
    double worst = 0;
    for (int i = FRAMES * UPP - 1000; i < FRAMES * UPP; i++) {
        long double turns = (long double)f0[0] / RATE * (i + 1);
        worst = fmax(worst, fabs((double)whole[i] - 0.1 * sin(TWO_PI * (double)(turns - floorl(turns)))));
    }
    print_message("source: at most %.2g off after ten minutes\n", worst);
    assert_true(worst < 2e-8);
    free(f0);
    free(whole);
    free(parts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers), cmocka_unit_test(test_normal_is_philox_and_box_muller),
        cmocka_unit_test(test_normal_moments),       cmocka_unit_test(test_normal_depends_on_position_alone),
        cmocka_unit_test(test_source_reference_40k), cmocka_unit_test(test_source_reference_32k),
        cmocka_unit_test(test_source_by_hand),       cmocka_unit_test(test_source_does_not_drift),
    };
    return cmocka_run_group_tests_name("excitation", tests, NULL, NULL);
}
