/* test_mel.c - the spectrogram against PyTorch's recorded one and against the formula summed directly. */
#include "../mel/mel.h"
#include "check.h"
#include "check_npz.h"

#include <pthread.h>

static const double PI = 3.141592653589793;

static mel *new_mel(void) {
    nn_error e = {0};
    mel *m = NULL;
    if (mel_new(&m, &e)) fail_msg("%s", e.text);
    return m;
}

static float *random_signal(size_t n) {
    uint64_t state = n;
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = 0.3f * check_random_float(&state);
    return x;
}

static void test_reference(void **state) {
    (void)state;
    const char *path = check_shared("reference/stages_v2_40k.npz");
    if (!path) skip();
    size_t n, count;
    float *x = check_array(path, "audio16k", &n), *want = check_array(path, "mel", &count);
    size_t frames = mel_frames(n);
    assert_int_equal(count, frames * MEL_BANDS);
    float *got = malloc(count * sizeof *got), *turned = malloc(count * sizeof *turned);
    assert_non_null(got);
    assert_non_null(turned);
    mel *m = new_mel();
    assert_int_equal(mel_compute(m, x, n, 0, frames, got, NULL), NN_OK);
    for (size_t t = 0; t < frames; t++) /* the file is [bands][frames] */
        for (size_t b = 0; b < MEL_BANDS; b++) turned[b * frames + t] = got[t * MEL_BANDS + b];
    double snr = check_snr_db(turned, want, count);
    print_message("mel: %.2f dB against PyTorch, largest error %.2g\n", snr,
                  check_max_error(turned, want, count));
    assert_true(snr >= 100);
    mel_free(m);
    free(x);
    free(want);
    free(got);
    free(turned);
}

/* Sample i of x mirrored at both ends, one reflection at a time. */
static double mirrored(const float *x, long n, long i) {
    while (n > 1 && (i < 0 || i >= n)) i = i < 0 ? -i : 2 * (n - 1) - i;
    return (double)x[n > 1 ? i : 0];
}

/* Frame t by the definition: a DFT summed term by term, every band over every bin. */
static void direct_frame(const float *x, long n, long t, float out[MEL_BANDS]) {
    double magnitude[513], hz[MEL_BANDS + 2];
    for (int k = 0; k <= 512; k++) {
        double re = 0, im = 0;
        for (int j = 0; j < 1024; j++) {
            double v = (0.5 - 0.5 * cos(2 * PI * j / 1024)) * mirrored(x, n, 160 * t + j - 512);
            re += v * cos(2 * PI * (j * k % 1024) / 1024);
            im -= v * sin(2 * PI * (j * k % 1024) / 1024);
        }
        magnitude[k] = hypot(re, im);
    }
    double low = 2595 * log10(1 + 30 / 700.0), high = 2595 * log10(1 + 8000 / 700.0);
    for (int i = 0; i < MEL_BANDS + 2; i++)
        hz[i] = 700 * (pow(10, (low + (high - low) * i / (MEL_BANDS + 1)) / 2595) - 1);
    for (int b = 0; b < MEL_BANDS; b++) {
        double sum = 0;
        for (int k = 0; k <= 512; k++) {
            double f = k * 16000.0 / 1024, up = (f - hz[b]) / (hz[b + 1] - hz[b]);
            double down = (hz[b + 2] - f) / (hz[b + 2] - hz[b + 1]);
            sum += fmax(0, fmin(up, down)) * 2 / (hz[b + 2] - hz[b]) * magnitude[k];
        }
        out[b] = (float)log(fmax(sum, 1e-5));
    }
}

/* Lengths below, at and above the padding and the window: the reflection at both ends, repeated where it must
 * be. */
static void test_direct(void **state) {
    (void)state;
    const size_t lengths[] = {1, 2, 159, 160, 400, 513, 1023, 1500};
    mel *m = new_mel();
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t n = lengths[i], frames = mel_frames(n);
        assert_int_equal(frames, n / 160 + 1);
        float *x = random_signal(n), got[10 * MEL_BANDS], want[MEL_BANDS];
        assert_int_equal(mel_compute(m, x, n, 0, frames, got, NULL), NN_OK);
        for (size_t t = 0; t<frames; t += frames> 1 ? frames - 1 : 1) {
            direct_frame(x, (long)n, (long)t, want);
            double error = check_max_error(got + t * MEL_BANDS, want, MEL_BANDS);
            if (!(error < 2e-4)) fail_msg("n = %zu, frame %zu: error %g", n, t, error);
        }
        free(x);
    }
    mel_free(m);
}

static void test_any_split_gives_the_same_bits(void **state) {
    (void)state;
    size_t n = 5000, frames = mel_frames(n);
    float *x = random_signal(n), *whole = malloc(2 * frames * MEL_BANDS * sizeof *whole);
    assert_non_null(whole);
    float *parts = whole + frames * MEL_BANDS;
    mel *m = new_mel();
    assert_int_equal(mel_compute(m, x, n, 0, frames, whole, NULL), NN_OK);
    for (size_t first = 0, count = 1; first < frames; first += count, count = count % 7 + 1) {
        if (count > frames - first) count = frames - first;
        assert_int_equal(mel_compute(m, x, n, first, count, parts + first * MEL_BANDS, NULL), NN_OK);
    }
    assert_memory_equal(parts, whole, frames * MEL_BANDS * sizeof *whole);
    mel_free(m);
    free(x);
    free(whole);
}

static void test_silence_is_the_floor(void **state) {
    (void)state;
    float x[1600] = {0}, out[11 * MEL_BANDS];
    mel *m = new_mel();
    assert_int_equal(mel_compute(m, x, 1600, 0, 11, out, NULL), NN_OK);
    for (size_t i = 0; i < 11 * MEL_BANDS; i++) assert_true(out[i] == (float)log(1e-5));
    mel_free(m);
}

static void test_bad_arguments(void **state) {
    (void)state;
    float x[320] = {0}, out[4 * MEL_BANDS];
    mel *m = new_mel();
    nn_error e = {0};
    assert_int_equal(mel_compute(m, x, 0, 0, 1, out, &e), NN_ERROR_ARGUMENT);
    assert_int_equal(e.code, NN_ERROR_ARGUMENT);
    assert_int_equal(mel_compute(m, x, 320, 2, 2, out, NULL), NN_ERROR_ARGUMENT);
    assert_int_equal(mel_compute(m, x, 320, SIZE_MAX, 2, out, NULL), NN_ERROR_ARGUMENT);
    assert_int_equal(mel_compute(m, x, 320, 2, 1, out, NULL), NN_OK);
    mel_free(m);
    mel_free(NULL);
}

typedef struct job {
    const mel *m;
    const float *x;
    float *out;
} job;

enum { JOB_SAMPLES = 16000, JOB_FRAMES = JOB_SAMPLES / 160 + 1, JOBS = 4 };

static void *run_job(void *argument) {
    job *j = argument;
    mel *own = NULL; /* planning while others execute */
    if (mel_new(&own, NULL) == NN_OK) mel_compute(j->m, j->x, JOB_SAMPLES, 0, JOB_FRAMES, j->out, NULL);
    mel_free(own);
    return NULL;
}

static void test_threads_share_one_mel(void **state) {
    (void)state;
    float *x = random_signal(JOB_SAMPLES), *out = calloc((size_t)JOBS * JOB_FRAMES * MEL_BANDS, sizeof *out);
    assert_non_null(out);
    mel *m = new_mel();
    pthread_t threads[JOBS];
    job jobs[JOBS];
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (job){m, x, out + (size_t)i * JOB_FRAMES * MEL_BANDS};
        assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    }
    for (int i = 0; i < JOBS; i++) pthread_join(threads[i], NULL);
    assert_true(out[0] != 0);
    for (int i = 1; i < JOBS; i++)
        assert_memory_equal(jobs[i].out, out, JOB_FRAMES * MEL_BANDS * sizeof *out);
    mel_free(m);
    free(x);
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_any_split_gives_the_same_bits),
        cmocka_unit_test(test_silence_is_the_floor),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_threads_share_one_mel),
    };
    return cmocka_run_group_tests_name("mel", tests, NULL, NULL);
}
