/* test_vulkan_device.c - devices by name, and what a Vulkan device does when it is shared, small, short of memory or lost.
 *
 * What no machine does on demand is asked for through the environment (nn/vulkan/vulkan.h). Runs on any Vulkan device,
 * lavapipe among them, under the validation layer where it is installed; without one the tests that need it skip. */
#include "check_vulkan.h"

#include <pthread.h>
#include <stdbool.h>

#include "../nn/nn.h"

static int devices, real_devices;
static void count_device(void *user, const char *line) {
    (void)user;
    real_devices += !strstr(line, "llvmpipe");
    devices++;
}

static int find_devices(void **unused) {
    (void)unused;
    nn_error e = {0};
    if (nn_vulkan_list(count_device, NULL, &e)) fail_msg("%s", e.text);
    return 0;
}

static nn_device *open_vulkan(int precision) {
    nn_device *d = NULL;
    nn_error e = {0};
    if (!devices) {
        print_message("skipped: no Vulkan device (Debian: mesa-vulkan-drivers)\n");
        skip();
    }
    if (nn_vulkan_open(&d, "vulkan", precision, &e)) {
        if (precision == 32) fail_msg("%s", e.text);
        print_message("skipped: %s\n", e.text);
        skip();
    }
    return d;
}

/* ---- a network of three layers, some of whose work is a branch ---- */

enum { FRAMES = 90, CHANNELS = 128, TAPS = 9, VALUES = FRAMES * CHANNELS };

static nn_weights *make_weights(uint64_t seed) {
    static const char *const layers[] = {"a", "b", "c"};
    nn_weights *w = NULL;
    float *values = malloc(CHANNELS * CHANNELS * TAPS * sizeof *values);
    assert_non_null(values);
    assert_int_equal(nn_weights_new(&w, "test", NULL), 0);
    for (int i = 0; i < 3; i++) {
        char name[32];
        for (int k = 0; k < CHANNELS * CHANNELS * TAPS; k++) values[k] = 0.05f * check_random_float(&seed);
        snprintf(name, sizeof name, "%s.weight", layers[i]);
        assert_int_equal(nn_weights_add(w, name, 3, (int64_t[]){CHANNELS, CHANNELS, TAPS}, values, NULL), 0);
        snprintf(name, sizeof name, "%s.bias", layers[i]);
        assert_int_equal(nn_weights_add(w, name, 1, (int64_t[]){CHANNELS}, values, NULL), 0);
    }
    free(values);
    return w;
}

/* y = c(relu(a(x))) + tanh(b(s)), the second term as branch 1. */
static nn_graph *make_graph(nn_weights *w, int frames) {
    nn_graph *g = nn_graph_new(w);
    nn_branch(g, 1);
    nn_tensor side = nn_input(g, "s", 1, frames, CHANNELS);
    side = nn_tanh(g, nn_conv1d(g, side, "b", .pad = TAPS / 2));
    nn_output(g, side, "side");
    nn_branch(g, 0);
    nn_tensor x = nn_relu(g, nn_conv1d(g, nn_input(g, "x", 1, frames, CHANNELS), "a", .pad = TAPS / 2));
    x = nn_conv1d(g, x, "c", .pad = TAPS / 2);
    nn_output(g, nn_add(g, x, side), "y");
    return g;
}

static void fill(float *x, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) x[i] = check_random_float(&seed);
}

/* The graph's output on d, into y [VALUES]; with a profile its nodes run one after another. */
static nn_code run_as(nn_device *d, nn_weights *w, bool profile, float *y, nn_error *e) {
    static float x[VALUES], s[VALUES];
    fill(x, VALUES, 3);
    fill(s, VALUES, 4);
    nn_plan *p = NULL;
    nn_code code = nn_plan_new(&p, make_graph(w, FRAMES), d, e);
    if (!code) nn_plan_profile(p, profile);
    for (int turn = 0; turn < 3 && !code; turn++) {
        nn_plan_write(p, "x", x);
        nn_plan_write(p, "s", s);
        code = nn_plan_run(p, e);
    }
    if (!code) nn_plan_read(p, "y", y);
    nn_plan_free(p);
    return code;
}

static nn_code run(nn_device *d, nn_weights *w, float *y, nn_error *e) {
    return run_as(d, w, false, y, e);
}

static void run_well(nn_device *d, nn_weights *w, float *y) {
    nn_error e = {0};
    if (run(d, w, y, &e)) fail_msg("%s: %s", nn_device_name(d), e.text);
}

/* ---- names ---- */

static void refused(const char *name, nn_precision precision, nn_code code, const char *says) {
    nn_device *d = NULL;
    nn_error e = {0};
    assert_int_equal(nn_device_open_precise(&d, name, precision, 1, &e), code);
    assert_null(d);
    if (!strstr(e.text, says)) fail_msg("\"%s\" does not say \"%s\"", e.text, says);
}

static void test_names(void **state) {
    (void)state;
    nn_device *d = NULL;
    nn_error e = {0};
    refused("vulkan:99", NN_F32, NN_ERROR_DEVICE, devices ? "cpu; vulkan:0" : "");
    refused("\x01 no card has this name", NN_F32, NN_ERROR_DEVICE, devices ? "cpu; vulkan:0" : "");
    refused("vulkan", NN_BF16, NN_ERROR_ARGUMENT, "bf16");
    assert_int_equal(nn_vulkan_open(&d, "vulkan", 8, NULL), NN_ERROR_ARGUMENT);
    if (nn_device_open(&d, "auto", 1, &e)) fail_msg("%s", e.text);
    assert_int_equal(nn_device_is_gpu(d), real_devices > 0); /* never a CPU that plays a GPU */
    nn_device_close(d);
    setenv("RVC_DEVICE", "cpu", 1);
    if (nn_device_open(&d, "auto", 1, &e)) fail_msg("%s", e.text);
    assert_false(nn_device_is_gpu(d));
    assert_int_equal(nn_device_memory(d), 0);
    nn_device_close(d);
    unsetenv("RVC_DEVICE");
    if (!devices) return;
    if (nn_device_open(&d, "vulkan:0", 3, &e)) fail_msg("%s", e.text);
    assert_true(nn_device_is_gpu(d));
    assert_int_equal(nn_device_threads(d), 3);
    nn_device_close(d);
}

typedef struct lines {
    int count;
    char last[1200];
    bool cpu;
} lines;

static void take_line(void *user, const char *line) {
    lines *l = user;
    l->cpu |= l->count++ == 0 && !strncmp(line, "cpu", 3);
    snprintf(l->last, sizeof l->last, "%s", line);
}

static void test_list(void **state) {
    (void)state;
    lines l = {0};
    nn_error e = {0};
    if (nn_device_list(take_line, &l, &e)) fail_msg("%s", e.text);
    print_message("%s\n", l.last);
    assert_true(l.cpu);
    assert_int_equal(l.count, devices ? devices + 2 : 3); /* without a device, one line says why */
    assert_non_null(strstr(l.last, real_devices ? "auto takes" : "auto takes cpu"));
}

/* ---- sharing ---- */

static void test_beside(void **state) {
    (void)state;
    static float first[VALUES], other[VALUES], half[VALUES];
    nn_device *d = open_vulkan(32), *beside = NULL, *f16 = NULL;
    nn_weights *w = make_weights(1);
    nn_error e = {0};
    run_well(d, w, first);
    const size_t before = nn_device_memory(d);
    if (nn_device_open_beside(&beside, d, NN_F32, &e)) fail_msg("%s", e.text);
    run_well(beside, w, other);
    assert_memory_equal(first, other, sizeof first);
    const size_t weights = 3 * CHANNELS * CHANNELS * TAPS * sizeof(float);
    print_message("%zu bytes, and %zu with a second device; the weights alone are %zu\n", before,
                  nn_device_memory(beside), weights);
    assert_true(nn_device_memory(beside) - before <= before - weights); /* only the slab is there twice */
    nn_device_close(d);                                                 /* the other one goes on */
    run_well(beside, w, other);
    assert_memory_equal(first, other, sizeof first);
    if (!nn_device_open_beside(&f16, beside, NN_F16, &e)) {
        run_well(f16, w, half);
        const double db = check_snr_db(half, first, VALUES);
        print_message("f16 beside f32: %.1f dB\n", db);
        assert_true(db > 50 && db < 100);
        run_well(beside, w, other);
        assert_memory_equal(first, other, sizeof first);
        nn_device_close(f16);
    }
    assert_int_equal(nn_device_open_beside(&f16, beside, NN_BF16, &(nn_error){0}), NN_ERROR_ARGUMENT);
    nn_device_close(beside);
    nn_weights_free(w);
}

/* A plan whose branch has a queue of its own, then none while many devices are open, then one again. */
static void test_crowd(void **state) {
    (void)state;
    enum { CROWD = 20 };
    static float x[VALUES], s[VALUES], y[3][VALUES];
    nn_device *d = open_vulkan(32), *other[CROWD] = {NULL};
    nn_weights *w = make_weights(1);
    nn_plan *p = NULL;
    nn_error e = {0};
    assert_true(nn_device_abreast(d) >= 1 && nn_device_abreast(d) <= nn_device_threads(d));
    fill(x, VALUES, 3);
    fill(s, VALUES, 4);
    if (nn_plan_new(&p, make_graph(w, FRAMES), d, &e)) fail_msg("%s", e.text);
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < CROWD && turn == 1; i++)
            if (nn_device_open_beside(&other[i], d, NN_F32, &e)) fail_msg("%s", e.text);
        if (turn == 1) run_well(other[CROWD - 1], w, y[1]);
        for (int i = 0; i < CROWD && turn == 2; i++) nn_device_close(other[i]);
        nn_plan_write(p, "x", x);
        nn_plan_write(p, "s", s);
        if (nn_plan_run(p, &e)) fail_msg("turn %d: %s", turn, e.text);
        nn_plan_read(p, "y", y[turn]);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    assert_memory_equal(y[0], y[2], sizeof y[0]);
    nn_plan_free(p);
    nn_device_close(d);
    nn_weights_free(w);
}

typedef struct worker {
    pthread_t thread;
    nn_device *device;
    nn_weights *shared, *own;
    const float *want;
    nn_code code;
    nn_error error;
    bool same;
} worker;

/* Beside weights that all share, which others may be packing, each has its own, which make the store grow. */
static void *work(void *argument) {
    worker *k = argument;
    float *y = malloc(VALUES * sizeof *y);
    k->same = y != NULL;
    for (int i = 0; i < 4 && y && !k->code; i++) {
        k->code = run(k->device, k->shared, y, &k->error);
        k->same &= !k->code && !memcmp(y, k->want, VALUES * sizeof *y);
        if (!k->code) k->code = run(k->device, k->own, y, &k->error);
    }
    free(y);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    enum { THREADS = 3 };
    static float want[VALUES];
    nn_device *d = open_vulkan(32);
    nn_weights *w = make_weights(1), *again = make_weights(1);
    worker k[THREADS] = {0};
    run_well(d, w, want);
    for (int i = 0; i < THREADS; i++) {
        k[i] = (worker){.shared = again, .own = make_weights((uint64_t)(i + 2)), .want = want};
        assert_int_equal(nn_device_open_beside(&k[i].device, d, NN_F32, NULL), 0);
        assert_int_equal(pthread_create(&k[i].thread, NULL, work, &k[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(k[i].thread, NULL);
        if (k[i].code) fail_msg("%s", k[i].error.text);
        assert_true(k[i].same);
        nn_device_close(k[i].device);
        nn_weights_free(k[i].own);
    }
    nn_weights_free(w);
    nn_weights_free(again);
    nn_device_close(d);
}

/* ---- ways to run ---- */

/* The same bytes with the environment variable set as without. */
static void check_same(const char *variable, const char *value) {
    static float want[VALUES], got[VALUES];
    nn_device *d = open_vulkan(32);
    nn_weights *w = make_weights(1);
    run_well(d, w, want);
    nn_device_close(d);
    setenv(variable, value, 1);
    d = open_vulkan(32);
    unsetenv(variable);
    run_well(d, w, got);
    nn_device_close(d);
    nn_weights_free(w);
    assert_memory_equal(want, got, sizeof want);
}

/* Branches side by side, and one node after another as a profile wants it. */
static void test_profile(void **state) {
    (void)state;
    static float want[VALUES], got[VALUES];
    nn_error e = {0};
    nn_device *d = open_vulkan(32);
    nn_weights *w = make_weights(1);
    run_well(d, w, want);
    if (run_as(d, w, true, got, &e)) fail_msg("%s", e.text);
    assert_memory_equal(want, got, sizeof want);
    nn_weights_free(w);
    nn_device_close(d);
}
static void test_small_pages(void **state) { /* a layer's weights each */
    (void)state;
    check_same("RVC_VULKAN_PAGE", "700000");
}

static void test_staged(void **state) { /* as on cards whose memory the host does not see */
    (void)state;
    check_same("RVC_VULKAN_STAGED", "1");
}

/* ---- what can go wrong ---- */

static nn_device *open_small(size_t bytes) {
    char text[32];
    snprintf(text, sizeof text, "%zu", bytes);
    setenv("RVC_VULKAN_MEMORY", text, 1);
    nn_device *d = open_vulkan(32);
    unsetenv("RVC_VULKAN_MEMORY");
    return d;
}

static void test_out_of_memory(void **state) {
    (void)state;
    static float y[VALUES];
    nn_error e = {0};
    nn_weights *w = make_weights(1), *other = make_weights(2);
    nn_device *d = open_vulkan(32);
    run_well(d, w, y);
    const size_t wanted = nn_device_memory(d), least = wanted + wanted / 16;
    nn_device_close(d);
    d = open_small(wanted / 2);
    const nn_code code = run(d, w, y, &e);
    print_message("%s\n", e.text);
    assert_int_equal(code, NN_ERROR_MEMORY);
    assert_non_null(strstr(e.text, "out of device memory"));
    assert_non_null(strstr(e.text, "--device cpu"));
    nn_device_close(d);

    /* room for one checkpoint: the one that no plan uses makes room for the next */
    d = open_small(least);
    for (int i = 0; i < 4; i++) run_well(d, i % 2 ? other : w, y);
    assert_true(nn_device_memory(d) <= least);
    nn_plan *large = NULL;
    e = (nn_error){0};
    assert_int_equal(nn_plan_new(&large, make_graph(w, 100 * FRAMES), d, &e), NN_ERROR_MEMORY);
    run_well(d, w, y); /* a shorter one still fits */
    nn_device_close(d);
    nn_weights_free(w);
    nn_weights_free(other);
}

static void test_lost(void **state) {
    (void)state;
    static float y[VALUES];
    nn_weights *w = make_weights(1);
    for (int runs = 0; runs < 3; runs++) {
        char text[8];
        nn_error e = {0};
        snprintf(text, sizeof text, "%d", runs);
        setenv("RVC_VULKAN_LOSE", text, 1);
        nn_device *d = open_vulkan(32);
        unsetenv("RVC_VULKAN_LOSE");
        assert_int_equal(run(d, w, y, &e), NN_ERROR_DEVICE); /* three runs are more than that */
        if (runs == 2) print_message("%s\n", e.text);
        assert_non_null(strstr(e.text, "lost"));
        assert_int_equal(run(d, w, y, &(nn_error){0}), NN_ERROR_DEVICE);
        nn_device_close(d);
    }
    nn_weights_free(w);
}

/* Figures there are, and float16 is never the slower; how large they are is the machine's business. */
static void test_peak(void **state) {
    (void)state;
    for (int precision = 32; precision >= 16; precision -= 16) {
        nn_device *d = open_vulkan(precision);
        nn_error e = {0};
        nn_peak peak;
        if (nn_vulkan_peak(d, &peak, &e)) fail_msg("%s", e.text);
        print_message("%s: %.3g and %.3g operations, %.3g bytes a second\n", nn_device_name(d), peak.f16,
                      peak.f32, peak.bytes);
        assert_true(isfinite(peak.f16) && isfinite(peak.bytes));
        assert_true(peak.bytes > 0 && peak.f32 > 0 && peak.f16 >= peak.f32);
        nn_device_close(d);
    }
}

int main(void) {
    check_vulkan_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),         cmocka_unit_test(test_list),
        cmocka_unit_test(test_beside),        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_profile),
        cmocka_unit_test(test_small_pages),   cmocka_unit_test(test_staged),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_lost),
        cmocka_unit_test(test_peak),
    };
    return cmocka_run_group_tests(tests, find_devices, NULL);
}
