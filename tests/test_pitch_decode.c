/* test_pitch_decode.c - salience to Hz and Hz to coarse pitch, against real recorded tracks and at the edges.
 */
#include "../rmvpe/rmvpe.h"
#include "check.h"
#include "check_npz.h"
#include "npy.h"

/* Same voicing everywhere, and pitch within 0.01 cent. */
static void check_f0(const char *what, const float *got, const float *want, size_t n) {
    size_t voicing = 0, voiced = 0;
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        if ((got[i] > 0) != (want[i] > 0)) voicing++;
        if (!(got[i] > 0) || !(want[i] > 0)) continue;
        voiced++;
        worst = fmax(worst, fabs(1200 * log2((double)got[i] / (double)want[i])));
    }
    print_message("%s: %zu of %zu frames voiced, %zu with other voicing, at most %.4f cents off\n", what,
                  voiced, n, voicing, worst);
    assert_int_equal(voicing, 0);
    assert_true(voiced > 0);
    assert_true(worst <= 0.01);
}

static void test_real_salience(void **state) {
    (void)state;
    const char *hidden = check_shared("real/rmvpe_hidden.npy"), *track = check_shared("real/rmvpe_f0.npy");
    if (!hidden || !track) skip();
    size_t count, n = 0;
    float *salience = npy_read_f32(hidden, &count), *want = npy_read_f32(track, &n);
    assert_non_null(salience);
    assert_non_null(want);
    assert_int_equal(count, n * RMVPE_CLASSES);
    float *got = malloc(n * sizeof *got);
    assert_non_null(got);
    rmvpe_decode(salience, n, RMVPE_THRESHOLD, got);
    check_f0("real salience", got, want, n);
    free(salience);
    free(want);
    free(got);
}

static void test_reference_salience(void **state) {
    (void)state;
    const char *path = check_shared("reference/stages_v2_40k.npz");
    if (!path) skip();
    size_t count, n = 0;
    float *salience = check_array(path, "salience", &count), *want = check_array(path, "f0", &n);
    assert_int_equal(count, n * RMVPE_CLASSES);
    float *got = malloc(n * sizeof *got);
    assert_non_null(got);
    rmvpe_decode(salience, n, RMVPE_THRESHOLD, got);
    check_f0("reference salience", got, want, n);
    free(salience);
    free(want);
    free(got);
}

static double cents(int i) {
    return 20 * i + 1997.3794084376191;
}

static void assert_cents(float f0, double want) {
    double got = 1200 * log2((double)f0 / 10);
    if (!(fabs(got - want) < 1e-3)) fail_msg("%.6f cents, not %.6f", got, want);
}

static void test_decode_by_hand(void **state) {
    (void)state;
    float s[RMVPE_CLASSES] = {0}, f0;
    for (int i = 0; i < RMVPE_CLASSES; i += 359) { /* a lone class at either end decodes to itself */
        s[i] = 0.9f;
        rmvpe_decode(s, 1, RMVPE_THRESHOLD, &f0);
        assert_cents(f0, cents(i));
        s[i] = 0;
    }
    s[100] = 0.5f;
    s[104] = 0.25f; /* the last class that counts */
    s[105] = 0.49f; /* one too far */
    rmvpe_decode(s, 1, RMVPE_THRESHOLD, &f0);
    assert_cents(f0, (0.5 * cents(100) + 0.25 * cents(104)) / 0.75);
    s[104] = s[105] = 0;
    s[200] = 0.5f; /* of equals the first */
    rmvpe_decode(s, 1, RMVPE_THRESHOLD, &f0);
    assert_cents(f0, cents(100));
    s[2] = 0.75f; /* the window runs over the edge: classes -2 and -1 weigh nothing */
    s[0] = 0.25f;
    rmvpe_decode(s, 1, RMVPE_THRESHOLD, &f0);
    assert_cents(f0, (0.75 * cents(2) + 0.25 * cents(0)));
}

static void test_voicing(void **state) {
    (void)state;
    float s[3 * RMVPE_CLASSES] = {0}, f0[3];
    s[50] = RMVPE_THRESHOLD;                                /* not above the threshold */
    s[RMVPE_CLASSES + 50] = nextafterf(RMVPE_THRESHOLD, 1); /* just above */
    for (int i = 0; i < RMVPE_CLASSES; i++) s[2 * RMVPE_CLASSES + i] = NAN;
    rmvpe_decode(s, 3, RMVPE_THRESHOLD, f0);
    assert_true(f0[0] == 0);
    assert_cents(f0[1], cents(50));
    assert_true(f0[2] == 0);
}

static void check_coarse(const char *what, const float *f0, const int32_t *want, size_t n) {
    int32_t *got = malloc(n * sizeof *got);
    assert_non_null(got);
    rmvpe_coarse_pitch(f0, n, got);
    size_t wrong = 0, voiced = 0;
    for (size_t i = 0; i < n; i++) {
        wrong += got[i] != want[i];
        voiced += want[i] > 1;
    }
    print_message("%s: %zu of %zu coarse pitches differ, %zu voiced\n", what, wrong, n, voiced);
    assert_true(voiced > 0);
    assert_int_equal(wrong, 0);
    free(got);
}

static int32_t *as_int(const float *x, size_t n) {
    int32_t *y = malloc(n * sizeof *y);
    assert_non_null(y);
    for (size_t i = 0; i < n; i++) y[i] = (int32_t)x[i];
    return y;
}

static void test_coarse_real(void **state) {
    (void)state;
    const char *song = check_shared("real/lgdsng.npz"), *fine = check_shared("real/ref40000_f0f.npy");
    const char *coarse = check_shared("real/ref40000_f0c.npy");
    if (!song || !fine || !coarse) skip();
    size_t n, m;
    float *f0 = check_array(song, "pitchf", &n), *pitch = check_array(song, "pitch", &m);
    assert_int_equal(n, m);
    int32_t *want = as_int(pitch, n);
    check_coarse("lgdsng", f0, want, n);
    free(f0);
    free(pitch);
    free(want);
    f0 = npy_read_f32(fine, &n);
    pitch = npy_read_f32(coarse, &m);
    assert_non_null(f0);
    assert_non_null(pitch);
    assert_int_equal(n, m);
    want = as_int(pitch, n);
    check_coarse("ref40000", f0, want, n);
    free(f0);
    free(pitch);
    free(want);
}

static void test_coarse_edges(void **state) {
    (void)state;
    const float f0[] = {0, 1, 50, 1100, 1e6f, -5, NAN, INFINITY};
    const int32_t want[] = {1, 1, 1, 255, 255, 1, 1, 255};
    int32_t got[8];
    rmvpe_coarse_pitch(f0, 8, got);
    assert_memory_equal(got, want, sizeof want);
    /* the bins' centres come back as themselves, and pitch never falls as f0 rises */
    const double low = 1127 * log(1 + 50 / 700.0), high = 1127 * log(1 + 1100 / 700.0);
    for (int bin = 1; bin <= 255; bin++) {
        float hz = (float)(700 * (exp((low + (bin - 1) * (high - low) / 254) / 1127) - 1));
        rmvpe_coarse_pitch(&hz, 1, got);
        assert_int_equal(got[0], bin);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_salience),  cmocka_unit_test(test_reference_salience),
        cmocka_unit_test(test_decode_by_hand), cmocka_unit_test(test_voicing),
        cmocka_unit_test(test_coarse_real),    cmocka_unit_test(test_coarse_edges),
    };
    return cmocka_run_group_tests_name("pitch decode", tests, NULL, NULL);
}
