/* test_weights.c - a checkpoint's tensors: found, checked, loaded, packed once; and what is said when they
 * are not right. */
#include "check.h"

#include <pthread.h>
#include <stdbool.h>

#include "../nn/npz.h"
#include "../nn/weights.h"
#include "../tools/tools.h"

enum { ROWS = 3, COLUMNS = 300 };

/* An archive of "a" (float32), "half" (float16), "nan" (NaN at element 17), "inf" (infinity at the last),
 * with or without a config. */
static char *make(const char *name, const char *config) {
    char *path = check_tmp(name);
    float x[ROWS * COLUMNS];
    const uint16_t halves[2] = {0x3c00, 0xc000};
    const int64_t shape[2] = {ROWS, COLUMNS};
    npz_writer *w;
    for (int i = 0; i < ROWS * COLUMNS; i++) x[i] = (float)i;
    assert_int_equal(npz_create(&w, path, NULL), 0);
    assert_int_equal(npz_write(w, "a", NPZ_F32, 2, shape, x, NULL), 0);
    assert_int_equal(npz_write(w, "half", NPZ_F16, 1, (int64_t[]){2}, halves, NULL), 0);
    x[17] = NAN;
    assert_int_equal(npz_write(w, "nan", NPZ_F32, 2, shape, x, NULL), 0);
    x[17] = 0;
    x[ROWS * COLUMNS - 1] = -INFINITY;
    assert_int_equal(npz_write(w, "inf", NPZ_F32, 2, shape, x, NULL), 0);
    if (config) assert_int_equal(npz_write_text(w, "config.json", config, NULL), 0);
    assert_int_equal(npz_finish(w, NULL), 0);
    return path;
}

static nn_weights *open_made(const char *name, const char *config) {
    char *path = make(name, config);
    nn_weights *w;
    nn_error e = {0};
    if (nn_weights_open(&w, path, &e)) fail_msg("%s", e.text);
    free(path);
    return w;
}

static void test_tensors_are_listed_and_loaded(void **state) {
    (void)state;
    nn_weights *w = open_made("listed.npz", NULL);
    assert_int_equal(nn_weights_count(w), 4);
    const nn_weight *a = nn_weights_peek(w, "a"), *half = nn_weights_at(w, 1);
    assert_ptr_equal(a, nn_weights_at(w, 0));
    assert_null(nn_weights_peek(w, "b"));
    assert_true(a->rank == 2 && a->shape[0] == ROWS && a->shape[1] == COLUMNS && a->count == ROWS * COLUMNS);
    assert_string_equal(half->dtype, "float16");
    assert_false(a->used);
    float *x, *y;
    assert_int_equal(nn_weights_load(w, "a", 2, (int64_t[]){ROWS, COLUMNS}, &x, NULL), 0);
    assert_int_equal(nn_weights_load(w, "half", -1, NULL, &y, NULL), 0);
    assert_true(a->used && half->used);
    assert_int_equal((uintptr_t)x % 64, 0);
    for (int i = 0; i < ROWS * COLUMNS; i++) assert_true(x[i] == (float)i);
    assert_true(y[0] == 1 && y[1] == -2);
    free(x), free(y);
    nn_weights_free(w);
    nn_weights_free(NULL);
}

/* Loading fails with a message that holds every word. */
static void refuse(nn_weights *w, const char *name, int rank, const int64_t *shape,
                   const char *const *words) {
    nn_error e = {0};
    float *x;
    assert_int_equal(nn_weights_load(w, name, rank, shape, &x, &e), NN_ERROR_MODEL);
    assert_null(x);
    for (; *words; words++)
        if (!strstr(e.text, *words)) fail_msg("\"%s\" does not say \"%s\"", e.text, *words);
}

static void test_messages_name_file_tensor_and_shapes(void **state) {
    (void)state;
    nn_weights *w = open_made("voice.npz", NULL);
    refuse(w, "dec.conv_pre.weight", -1, NULL,
           (const char *[]){"voice.npz: tensor \"dec.conv_pre.weight\" is missing", "rvc info", NULL});
    refuse(w, "a", 2, (int64_t[]){ROWS, 768},
           (const char *[]){"voice.npz: tensor \"a\" has shape [3, 300], expected [3, 768]", NULL});
    refuse(w, "a", 1, (int64_t[]){ROWS}, (const char *[]){"has shape [3, 300], expected [3]", NULL});
    refuse(w, "half", 0, NULL, (const char *[]){"has shape [2], expected []", NULL});
    refuse(w, "nan", -1, NULL, (const char *[]){"voice.npz: tensor \"nan\" holds NaN", "element 17)", NULL});
    refuse(w, "inf", -1, NULL, (const char *[]){"tensor \"inf\" holds", "element 899)", NULL});
    nn_weights_free(w);
    nn_error e = {0};
    assert_int_equal(nn_weights_open(&w, "build/none.npz", &e), NN_ERROR_FILE);
    assert_null(w);
}

/* config.json inside the archive comes before NAME.json beside it. */
static void test_config(void **state) {
    (void)state;
    char *beside = check_tmp("beside.json");
    FILE *f = fopen(beside, "w");
    assert_non_null(f);
    fputs("{\"where\": \"beside\"}", f);
    fclose(f);
    nn_weights *w = open_made("beside.npz", "{\"where\": \"inside\"}");
    assert_string_equal(nn_weights_config(w), "{\"where\": \"inside\"}");
    nn_weights_free(w);
    w = open_made("beside.npz", NULL);
    assert_string_equal(nn_weights_config(w), "{\"where\": \"beside\"}");
    nn_weights_free(w);
    w = open_made("alone.npz", NULL);
    assert_null(nn_weights_config(w));
    nn_weights_set_config(w, "{}");
    assert_string_equal(nn_weights_config(w), "{}");
    nn_weights_free(w);
    free(beside);
}

static void test_added_tensors(void **state) {
    (void)state;
    nn_weights *w;
    nn_error e = {0};
    float x[6] = {1, 2, 3, 4, 5, 6}, *back;
    char name[16];
    assert_int_equal(nn_weights_new(&w, "made up", &e), 0);
    for (int i = 0; i < 300; i++) { /* more than any first allocation */
        snprintf(name, sizeof name, "t.%d", i);
        x[0] = (float)i;
        assert_int_equal(nn_weights_add(w, name, 2, (int64_t[]){2, 3}, x, &e), 0);
    }
    x[0] = -1; /* the set has a copy */
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "t.%d", i);
        assert_int_equal(nn_weights_load(w, name, 2, (int64_t[]){2, 3}, &back, &e), 0);
        assert_true(back[0] == (float)i && back[5] == 6);
        free(back);
    }
    assert_int_equal(nn_weights_add(w, "t.7", 1, (int64_t[]){6}, x, NULL), NN_ERROR_ARGUMENT);
    assert_int_equal(nn_weights_add(w, "n", 1, (int64_t[]){-6}, x, NULL), NN_ERROR_ARGUMENT);
    assert_int_equal(nn_weights_add(w, "one", 0, NULL, x, NULL), 0);
    refuse(w, "none", -1, NULL, (const char *[]){"made up: tensor \"none\"", NULL});
    assert_string_equal(nn_weights_path(w), "made up");
    nn_weights_free(w);
}

static void test_packed_store(void **state) {
    (void)state;
    nn_weights *w;
    assert_int_equal(nn_weights_new(&w, "packed", NULL), 0);
    char key[16];
    for (int i = 0; i < 200; i++) {
        int *blob = malloc(sizeof *blob);
        assert_non_null(blob);
        *blob = i;
        snprintf(key, sizeof key, "k%d", i);
        assert_null(nn_weights_packed(w, key));
        assert_ptr_equal(nn_weights_keep(w, key, blob, sizeof *blob), blob);
    }
    const int *kept = nn_weights_packed(w, "k123");
    assert_int_equal(*kept, 123);
    assert_ptr_equal(nn_weights_keep(w, "k123", malloc(4), 4), kept); /* the second one is freed */
    assert_int_equal(nn_weights_packed_bytes(w), 200 * sizeof(int));
    nn_weights_free(w);
}

/* ---- threads --------------------------------------------------------------------------------------------
 */

static void *load_many(void *argument) {
    nn_weights *w = argument;
    for (int i = 0; i < 50; i++) {
        float *x;
        nn_weights_lock(w); /* as a planner does: the mutex is recursive */
        bool bad = nn_weights_load(w, i % 2 ? "a" : "half", -1, NULL, &x, NULL) != NN_OK;
        nn_weights_unlock(w);
        if (bad || x[1] != (i % 2 ? 1.0f : -2.0f)) return w;
        if (!nn_weights_keep(w, i % 2 ? "pa" : "ph", x, 8)) return w;
    }
    return NULL;
}

static void test_threads_share_a_set(void **state) {
    (void)state;
    nn_weights *w = open_made("threads.npz", NULL);
    pthread_t thread[4];
    void *failed;
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, load_many, w), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(nn_weights_packed_bytes(w), 16);
    nn_weights_free(w);
}

/* ---- synthetic checkpoints ------------------------------------------------------------------------------
 */

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Values from the definition at the head of tools/synthesize.c, worked out apart from this program. */
static void test_synthetic_values(void **state) {
    (void)state;
    char *manifest = check_tmp("tiny.tsv"), *config = check_tmp("tiny.json"),
         *out = check_tmp("synthesized.npz");
    write_text(manifest,
               "# name\tshape\toffset\tscale\nemb_g.weight\t2,2\t0.5\t0.29999999999999999\nn\t\t3\t0\n");
    write_text(config, "{\"f0\": 1}");
    nn_error e = {0};
    if (rvc_synthesize(manifest, out, &e)) fail_msg("%s", e.text);
    nn_weights *w;
    float *x;
    assert_int_equal(nn_weights_open(&w, out, &e), 0);
    assert_string_equal(nn_weights_config(w), "{\"f0\": 1}");
    assert_int_equal(nn_weights_load(w, "emb_g.weight", 2, (int64_t[]){2, 2}, &x, &e), 0);
    const float want[4] = {0x1.3b5c4a0000000p-1f, 0x1.4d715e0000000p-1f, 0x1.3b1b000000000p-2f,
                           0x1.8ced360000000p-1f};
    for (int i = 0; i < 4; i++) assert_true(x[i] == want[i]);
    free(x);
    assert_int_equal(nn_weights_load(w, "n", 0, NULL, &x, &e), 0);
    assert_true(x[0] == 3);
    free(x);
    nn_weights_free(w);
    static const char *const bad[] = {
        "a\t2\t0\n",   "a\t2,x\t0\t1\n",           "a\t2\t0\tnan\n", "a\t2\t0\t1\t\n",
        "# nothing\n", "a\t2\t0\t1\na\t2\t0\t1\n", "a\t-2\t0\t1\n",  "a\t999999,999999\t0\t1\n"};
    assert_int_equal(unlink(out), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        nn_error refused = {0};
        write_text(manifest, bad[i]);
        assert_int_not_equal(rvc_synthesize(manifest, out, &refused), 0);
        assert_true(refused.text[0]);
        assert_int_not_equal(access(out, F_OK), 0);
    }
    free(manifest), free(config), free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors_are_listed_and_loaded),
        cmocka_unit_test(test_messages_name_file_tensor_and_shapes),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_added_tensors),
        cmocka_unit_test(test_packed_store),
        cmocka_unit_test(test_threads_share_a_set),
        cmocka_unit_test(test_synthetic_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
