/* test_packed.c - packed weights on disk: they come back as they were, and whatever is not exactly that is
 * not taken. */
#include "check.h"

#include <sys/stat.h>

#include "../nn/nn.h"
#include "../nn/packed.h"
#include "../nn/npz.h"

enum { CHANNELS = 32, FRAMES = 50 };

static char *model_path, *packed_path;
static float input[FRAMES * CHANNELS], expected[FRAMES * CHANNELS];

static void write_model(uint64_t seed) {
    npz_writer *z;
    float w[CHANNELS * CHANNELS * 3], b[CHANNELS];
    for (int i = 0; i < CHANNELS * CHANNELS * 3; i++) w[i] = 0.1f * check_random_float(&seed);
    for (int i = 0; i < CHANNELS; i++) b[i] = check_random_float(&seed);
    assert_int_equal(npz_create(&z, model_path, NULL), 0);
    for (int i = 0; i < 2; i++) { /* "wide" takes the Toom-Cook form, "plain" the direct one, half by half */
        char name[32];
        snprintf(name, sizeof name, "%s.weight", i ? "plain" : "wide");
        assert_int_equal(npz_write(z, name, NPZ_F32, 3, (int64_t[]){CHANNELS, CHANNELS, i ? 1 : 3}, w, NULL),
                         0);
        snprintf(name, sizeof name, "%s.bias", i ? "plain" : "wide");
        assert_int_equal(npz_write(z, name, NPZ_F32, 1, (int64_t[]){CHANNELS}, b, NULL), 0);
    }
    assert_int_equal(npz_finish(z, NULL), 0);
}

static void run_plan(nn_plan *p, float *out) {
    nn_error e = {0};
    nn_plan_write(p, "x", input);
    assert_int_equal(nn_plan_run(p, &e), 0);
    nn_plan_read(p, "y", out);
}

static nn_plan *make_plan(nn_weights *w, nn_device *d) {
    nn_plan *p;
    nn_error e = {0};
    nn_graph *g = nn_graph_new(w);
    nn_tensor x = nn_conv1d(g, nn_input(g, "x", 1, FRAMES, CHANNELS), "wide", .pad = 1);
    x = nn_linear(g, x, "plain");
    nn_tensor first = nn_slice(g, x, 0, CHANNELS / 2), second = nn_slice(g, x, CHANNELS / 2, CHANNELS / 2);
    nn_output(g, nn_concat(g, second, first), "y");
    if (nn_plan_new(&p, g, d, &e)) fail_msg("%s", e.text);
    return p;
}

/* Runs the model as the pipeline does, and again after its weights have rested; returns whether its packed
 * weights came from disk. */
static bool run(float *out) {
    nn_weights *w;
    nn_device *d;
    nn_error e = {0};
    float rested[FRAMES * CHANNELS];
    assert_int_equal(nn_device_open(&d, "cpu", 1, &e), 0);
    assert_int_equal(nn_weights_open(&w, model_path, &e), 0);
    bool restored = nn_packed_restore(w, nn_device_layout(d));
    nn_plan_free(make_plan(w, d));
    nn_packed_save(w, nn_device_layout(d));
    nn_plan *p = make_plan(w, d);
    run_plan(p, out);
    nn_weights_rest(w);
    run_plan(p, rested);
    assert_memory_equal(out, rested, sizeof rested);
    nn_plan_free(p);
    nn_weights_free(w);
    nn_device_close(d);
    return restored;
}

static bool there(void) {
    return access(packed_path, F_OK) == 0;
}

static int set_up(void **s) {
    (void)s;
    uint64_t seed = 3;
    nn_device *d;
    char name[64];
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
    model_path = check_tmp("packed_model.npz");
    snprintf(name, sizeof name, "packed_model.npz.packed-%s", nn_device_layout(d));
    packed_path = check_tmp(name);
    nn_device_close(d);
    unlink(packed_path);
    for (int i = 0; i < FRAMES * CHANNELS; i++) input[i] = check_random_float(&seed);
    write_model(1);
    assert_false(run(expected));
    assert_true(there());
    return 0;
}

static int tear_down(void **s) {
    (void)s;
    unlink(model_path);
    unlink(packed_path);
    free(model_path);
    free(packed_path);
    return 0;
}

static void same_as_before(void) {
    static float got[FRAMES * CHANNELS];
    run(got);
    assert_memory_equal(got, expected, sizeof got);
}

static void test_comes_back(void **s) {
    (void)s;
    static float got[FRAMES * CHANNELS];
    assert_true(run(got));
    assert_memory_equal(got, expected, sizeof got);
}

static void test_another_checkpoint_is_packed_anew(void **s) {
    (void)s;
    static float got[FRAMES * CHANNELS];
    write_model(2);
    assert_false(run(got));
    assert_memory_not_equal(got, expected, sizeof got);
    assert_true(run(got)); /* and saved over the old file */
    write_model(1);
    assert_false(run(got));
    assert_memory_equal(got, expected, sizeof got);
}

/* Flips one byte at a time over the file's head and entries and some of its blobs, and cuts it short. */
static void test_damage_is_never_taken(void **s) {
    (void)s;
    assert_true(run((float[FRAMES *CHANNELS]){0}));
    FILE *f = fopen(packed_path, "rb");
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    char *whole = malloc(n);
    assert_int_equal(fread(whole, 1, n, f), n);
    fclose(f);
    int taken = 0, tried = 0;
    for (size_t i = 0; i < n; i += i < 1200 ? 13 : 3571) {
        whole[i] ^= 0x10;
        f = fopen(packed_path, "wb");
        fwrite(whole, 1, n, f);
        fclose(f);
        whole[i] ^= 0x10;
        float got[FRAMES * CHANNELS];
        bool restored = run(got); /* a rejected file is replaced by a good one */
        /* gaps between blobs are not read, so damage there is no damage */
        taken += restored;
        tried++;
        assert_memory_equal(got, expected, sizeof got);
    }
    for (size_t cut = 0; cut < n; cut += n / 17 + 1) {
        f = fopen(packed_path, "wb");
        fwrite(whole, 1, cut, f);
        fclose(f);
        same_as_before();
        tried++;
    }
    print_message("%d damaged files, %d with nothing but a gap damaged\n", tried, taken);
    assert_true(taken * 4 < tried);
    free(whole);
}

/* After saving, every lasting blob is in the file: nothing of it is in memory twice. */
static void test_saving_moves_the_blobs(void **s) {
    (void)s;
    nn_weights *w;
    nn_device *d;
    unlink(packed_path);
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL) | nn_weights_open(&w, model_path, NULL), 0);
    nn_plan_free(make_plan(w, d));
    size_t lasting = 0, bytes = nn_weights_packed_bytes(w);
    for (size_t i = 0; i < nn_weights_packed_count(w); i++) assert_false(nn_weights_packed_at(w, i).mapped);
    nn_packed_save(w, nn_device_layout(d));
    for (size_t i = 0; i < nn_weights_packed_count(w); i++) {
        nn_packed_blob b = nn_weights_packed_at(w, i);
        lasting += b.data != NULL;
        if (b.data) assert_true(b.mapped);
    }
    assert_true(lasting >= 2);
    nn_plan_free(make_plan(w, d)); /* takes them as restored: packs nothing */
    assert_int_equal(nn_weights_packed_bytes(w), bytes);
    for (size_t i = 0; i < nn_weights_packed_count(w); i++)
        if (nn_weights_packed_at(w, i).data) assert_true(nn_weights_packed_at(w, i).mapped);
    nn_weights_free(w);
    nn_device_close(d);
    nn_weights_rest(NULL);
}

static void test_can_be_turned_off(void **s) {
    (void)s;
    unlink(packed_path);
    setenv("RVC_PACKED", "off", 1);
    same_as_before();
    assert_false(there());
    unsetenv("RVC_PACKED");
    same_as_before();
    assert_true(there());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_another_checkpoint_is_packed_anew),
        cmocka_unit_test(test_damage_is_never_taken),
        cmocka_unit_test(test_saving_moves_the_blobs),
        cmocka_unit_test(test_can_be_turned_off),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
