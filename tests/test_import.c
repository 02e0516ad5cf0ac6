/* test_import.c - `rvc import` and `rvc info` from outside: exit status, the one line, the file that is or is
 * not there.
 *
 * Each run is a child process of this program that calls the subcommand's main(), so its memory can be
 * measured and a leak in it (under the sanitizer) is its exit status. */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cjson/cJSON.h>

#include "../nn/npz.h"
#include "../tools/tools.h"
#include "check.h"
#include "check_models.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

static struct {
    int status;
    long kilobytes; /* of memory at most */
    char out[1 << 16], err[4096];
} last;

static char *out_path, *err_path, *model; /* in the scratch folder */

static void slurp(const char *path, char *text, size_t size) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    text[fread(text, 1, size - 1, f)] = '\0';
    fclose(f);
}

static int run(int (*entry)(int, char **), const char *const *words) {
    char *argv[16] = {NULL};
    int argc = 0;
    struct rusage used;
    while (words[argc]) argv[argc] = strdup(words[argc]), argc++;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int out = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0666),
            err = open(err_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(99);
        int status = entry(argc, argv);
        fflush(NULL);
        _exit(status);
    }
    int status;
    assert_int_equal(wait4(child, &status, 0, &used), child);
    last.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    last.kilobytes = used.ru_maxrss;
    slurp(out_path, last.out, sizeof last.out);
    slurp(err_path, last.err, sizeof last.err);
    while (argc) free(argv[--argc]);
    return last.status;
}
#define IMPORT(...) run(rvc_import_main, (const char *const[]){"import", __VA_ARGS__, NULL})
#define INFO(...) run(rvc_info_main, (const char *const[]){"info", __VA_ARGS__, NULL})

static void failed_saying(const char *a, const char *b) {
    const char *newline = strchr(last.err, '\n');
    print_message("%s", last.err);
    assert_int_equal(last.status, 1);
    assert_string_equal(last.out, "");
    assert_true(newline && newline[1] == '\0'); /* one line */
    assert_true(strncmp(last.err, "rvc import: ", 12) == 0);
    if (!strstr(last.err, a) || !strstr(last.err, b)) fail_msg("%s lacks \"%s\" or \"%s\"", last.err, a, b);
}

static void worked(void) {
    if (last.status) fail_msg("exit status %d: %s", last.status, last.err);
}

static bool is_there(const char *path) {
    return access(path, F_OK) == 0;
}

static int set_up(void **state) {
    (void)state;
    out_path = check_tmp("import.out");
    err_path = check_tmp("import.err");
    model = check_tmp("imported.npz");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(out_path), free(err_path), free(model);
    return 0;
}

/* ---- recorded checkpoints ---- */

/* Every tensor of expected.json is in the archive with that dtype, shape and values, and nothing else. */
static void assert_expected(const char *path, const cJSON *expected) {
    npz *z;
    nn_error e = {0};
    if (npz_open(&z, path, &e)) fail_msg("%s", e.text);
    assert_int_equal(npz_count(z), cJSON_GetArraySize(expected));
    for (const cJSON *t = expected->child; t; t = t->next) {
        const npz_array *a = npz_find(z, t->string);
        if (!a) fail_msg("no tensor %s", t->string);
        const char *dtype = cJSON_GetObjectItem(t, "dtype")->valuestring;
        const cJSON *shape = cJSON_GetObjectItem(t, "shape"), *values = cJSON_GetObjectItem(t, "values");
        assert_string_equal(npz_dtype_name(a->dtype), strcmp(dtype, "bfloat16") == 0 ? "float32" : dtype);
        assert_int_equal(a->rank, cJSON_GetArraySize(shape));
        for (int d = 0; d < a->rank; d++)
            assert_int_equal(a->shape[d], cJSON_GetArrayItem(shape, d)->valueint);
        assert_int_equal(a->count, cJSON_GetArraySize(values));
        float *x = malloc(a->count * sizeof *x + 1);
        assert_true(x && !npz_read_f32(z, a, x, &e));
        size_t i = 0;
        for (const cJSON *v = values->child; v; v = v->next, i++) {
            double want = cJSON_IsBool(v) ? cJSON_IsTrue(v) : v->valuedouble;
            if (x[i] != (float)want) fail_msg("%s[%zu] is %g, not %g", t->string, i, (double)x[i], want);
        }
        free(x);
    }
    npz_close(z);
}

static void test_good_fixtures(void **state) {
    (void)state;
    const char *expected = check_shared("fixtures/pth/tensors_expected.json");
    if (!expected) skip();
    static char text[1 << 16];
    slurp(expected, text, sizeof text);
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    const char *tensors[] = {"fixtures/pth/tensors_zip.pt", "fixtures/pth/tensors_legacy.pt"};
    for (size_t i = 0; i < 2; i++) {
        IMPORT(check_shared(tensors[i]), "-o", model, "--force");
        worked();
        assert_expected(model, json);
    }
    cJSON_Delete(json);
    const char *others[] = {"voice_zip.pth",         "voice_legacy.pth",         "voice_fork_keys.pth",
                            "hubert_fairseq_zip.pt", "hubert_fairseq_legacy.pt", "state_dict_build.pt"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char relative[128];
        snprintf(relative, sizeof relative, "fixtures/pth/%s", others[i]);
        IMPORT(check_shared(relative), "-o", model, "--force");
        worked();
        print_message("%s", last.out);
        INFO(model);
        worked();
        assert_non_null(strstr(last.out, strncmp(others[i], "voice", 5) == 0 ? "kind                voice"
                                         : strncmp(others[i], "hubert", 6) == 0
                                             ? "kind                HuBERT"
                                             : "kind                other"));
        assert_true(!strstr(others[i], "fork_keys") || strstr(last.out, "\"embedder_model\":\"contentvec\""));
    }
}

/* A memory limit says what no count of instructions can: a lie about a size never becomes an allocation. */
static void test_bad_fixtures(void **state) {
    (void)state;
    const struct {
        const char *name, *told;
    } files[] = {
        {"bad_deep_pickle.pth", "pickle"},
        {"bad_empty.pth", "empty"},
        {"bad_eval.pth", "eval"},
        {"bad_html.pth", "web page"},
        {"bad_huge_shape.pth", "emb_phone"},
        {"bad_lfs_pointer.pth", "Git LFS"},
        {"bad_missing_storage.pth", "missing"},
        {"bad_nan_weight.pth", "NaN"},
        {"bad_os_system.pth", "system"},
        {"bad_pickle_cut.pth", "ends early"},
        {"bad_short_storage.pth", "shorter"},
        {"bad_text.pth", "text"},
        {"bad_truncated.pth", "cut short"},
        {"voice_refinegan.pth", "RefineGAN"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char relative[128];
        snprintf(relative, sizeof relative, "fixtures/pth/%s", files[i].name);
        const char *path = check_shared(relative);
        if (!path) skip();
        remove(model);
        IMPORT(path, "-o", model);
        failed_saying(files[i].name, files[i].told);
        assert_false(is_there(model));
        assert_false(is_there("PWNED"));
        if (!SANITIZED) assert_true(last.kilobytes < 64 << 10);
    }
    IMPORT(check_shared("fixtures/pth/bad_nan_weight.pth"), "-o", model, "--allow-nonfinite");
    worked();
    assert_true(is_there(model));
}

/* ---- types ---- */

static void write_model(const char *path, const char *name, npz_dtype dtype, int64_t count,
                        const void *data) {
    npz_writer *w;
    nn_error e = {0};
    if (npz_create(&w, path, &e) || npz_write(w, name, dtype, 1, &count, data, &e) || npz_finish(w, &e))
        fail_msg("%s", e.text);
}

static void *read_model(const char *path, const char *name, npz_dtype dtype, size_t count) {
    npz *z;
    nn_error e = {0};
    if (npz_open(&z, path, &e)) fail_msg("%s", e.text);
    const npz_array *a = npz_find(z, name);
    assert_true(a && a->dtype == dtype && a->count == count);
    void *data = malloc((size_t)a->bytes + 1);
    assert_true(data && !npz_read(z, a, data, &e));
    npz_close(z);
    return data;
}

/* Of all halves the nearest to x; of two equally near the even one. */
static uint16_t nearest_half(float x, const float *value) {
    uint16_t best = 0;
    double least = INFINITY;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double d = fabs((double)value[h] - fabs((double)x));
        if (d < least || (d == least && h % 2 == 0)) best = (uint16_t)h, least = d;
    }
    if (fabs((double)x) >= 65520) best = 0x7c00;
    return (uint16_t)(best | (signbit(x) ? 0x8000u : 0u));
}

static void test_float16(void **state) {
    (void)state;
    enum { HALVES = 1 << 16, TRIES = 300 };
    char *source = check_tmp("import-floats.npz");
    uint16_t *all = malloc(HALVES * sizeof *all);
    float *values = malloc(HALVES * sizeof *values);
    assert_true(all && values);
    for (uint32_t i = 0; i < HALVES; i++) all[i] = (uint16_t)i;
    npz_f16_to_f32(values, all, HALVES);
    write_model(source, "x", NPZ_F32, HALVES, values);
    IMPORT(source, "-o", model, "--force", "--dtype", "f16");
    failed_saying("\"x\"", "31744"); /* the first infinity */
    IMPORT(source, "-o", model, "--force", "--dtype", "f16", "--allow-nonfinite");
    worked();
    uint16_t *got = read_model(model, "x", NPZ_F16, HALVES);
    for (uint32_t i = 0; i < HALVES; i++) {
        bool nan = (i & 0x7c00) == 0x7c00 && (i & 0x3ff) != 0;
        if (nan ? (got[i] & 0x7c00) != 0x7c00 || (got[i] & 0x3ff) == 0 : got[i] != i)
            fail_msg("%x became %x", i, got[i]);
    }
    free(got);
    float tries[TRIES];
    uint64_t seed = 1;
    for (int i = 0; i < TRIES; i++) {
        uint32_t at = (uint32_t)(check_random(&seed) % 0x7bff);
        float middle = (values[at] + values[at + 1]) / 2;
        tries[i] = i % 3 == 0   ? middle
                   : i % 3 == 1 ? nextafterf(middle, 1e9f)
                                : values[at] * check_random_float(&seed);
        if (i % 2) tries[i] = -tries[i];
    }
    tries[0] = 65519.996f, tries[1] = 1e-9f, tries[2] = 0x1p-25f, tries[3] = 0x1.8p-25f;
    write_model(source, "x", NPZ_F32, TRIES, tries);
    IMPORT(source, "-o", model, "--force", "--dtype", "f16");
    worked();
    got = read_model(model, "x", NPZ_F16, TRIES);
    for (int i = 0; i < TRIES; i++)
        if (got[i] != nearest_half(tries[i], values))
            fail_msg("%a became %x, not %x", (double)tries[i], got[i], nearest_half(tries[i], values));
    free(got);
    tries[7] = -65520; /* finite, and too large */
    write_model(source, "x", NPZ_F32, TRIES, tries);
    IMPORT(source, "-o", model, "--force", "--dtype", "f16");
    failed_saying("element 7", "float16");
    free(all), free(values), free(source);
}

static void test_other_types(void **state) {
    (void)state;
    char *source = check_tmp("import-types.npz");
    uint16_t bf16[] = {0x3f80, 0xc049, 0x0001};
    write_model(source, "x", NPZ_BF16, 3, bf16);
    IMPORT(source, "-o", model, "--force");
    worked();
    uint32_t *bits = read_model(model, "x", NPZ_F32, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(bits[i], (uint32_t)bf16[i] << 16);
    free(bits);
    int64_t big[] = {INT64_MAX, INT64_MIN, 1};
    write_model(source, "x", NPZ_I64, 3, big);
    IMPORT(source, "-o", model, "--force", "--dtype", "f16");
    worked();
    int64_t *kept = read_model(model, "x", NPZ_I64, 3);
    assert_memory_equal(kept, big, sizeof big);
    free(kept);
    double f64[] = {1.0 / 3, -2, 1e300};
    write_model(source, "x", NPZ_F64, 3, f64);
    IMPORT(source, "-o", model, "--force");
    worked();
    double *doubles = read_model(model, "x", NPZ_F64, 3);
    assert_memory_equal(doubles, f64, sizeof f64);
    free(doubles);
    const struct {
        npz_dtype dtype;
        uint64_t nan;
    } types[] = {{NPZ_F16, 0x7e00}, {NPZ_BF16, 0xff80}, {NPZ_F32, 0x7f800000}, {NPZ_F64, 0xfff8000000000000}};
    for (size_t i = 0; i < 4; i++) {
        unsigned char *x = calloc(5000, 8);
        assert_non_null(x);
        memcpy(x + 4321 * npz_dtype_size(types[i].dtype), &types[i].nan, npz_dtype_size(types[i].dtype));
        write_model(source, "some.weight", types[i].dtype, 5000, x);
        IMPORT(source, "-o", model, "--force");
        failed_saying("some.weight", "element 4321");
        free(x);
    }
    free(source);
}

/* ---- files ---- */

static void test_output(void **state) {
    (void)state;
    const char *voice = check_small("import", "voice_v2_40k");
    char *old = check_tmp("import-old.npz"), text[16];
    FILE *f = fopen(old, "w");
    assert_non_null(f);
    fputs("precious", f);
    fclose(f);
    IMPORT(voice, "-o", old);
    failed_saying("import-old.npz", "--force");
    slurp(old, text, sizeof text);
    assert_string_equal(text, "precious");
    IMPORT(check_shared("fixtures/pth/bad_nan_weight.pth") ? check_shared("fixtures/pth/bad_nan_weight.pth")
                                                           : old,
           "-o", old, "--force");
    assert_int_equal(last.status, 1);
    slurp(old, text, sizeof text);
    assert_string_equal(text, "precious");
    IMPORT(voice, "-o", old, "--force");
    worked();
    print_message("%s", last.out);
    assert_string_equal(last.err, "");
    const char *told[] = {"voice v2",    "with pitch", "40000 Hz", "4 speakers",
                          "385 tensors", "float32",    "bytes",    " s"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) assert_non_null(strstr(last.out, told[i]));
    IMPORT(old, "-o", old, "--force"); /* onto itself */
    worked();
    IMPORT(voice, "-o", "/no such folder/x.npz");
    failed_saying("/no such folder/x.npz", "No such file");
    IMPORT("no such file.pth", "-o", old, "--force");
    failed_saying("no such file.pth", "No such file");
    free(old);
}

static void test_usage(void **state) {
    (void)state;
    const char *voice = check_small("import", "voice_v2_40k");
    assert_int_equal(IMPORT("--help"), 0);
    assert_non_null(strstr(last.out, "--dtype"));
    assert_int_equal(IMPORT(voice), 2);
    assert_int_equal(IMPORT("-o", model), 2);
    assert_int_equal(IMPORT(voice, "-o", model, "--dtype", "f8"), 2);
    assert_non_null(strstr(last.err, "f16 or f32"));
    assert_int_equal(IMPORT(voice, voice, "-o", model), 2);
    assert_int_equal(IMPORT(voice, "-o", model, "--fast"), 2);
    assert_int_equal(IMPORT(voice, "-o"), 2);
    assert_int_equal(INFO("--help"), 0);
    assert_int_equal(INFO("--json"), 2);
    assert_int_equal(INFO("--odd", voice), 2);
}

/* ---- info ---- */

static void test_info(void **state) {
    (void)state;
    const char *voice = check_small("import", "voice_v1_32k"), *hubert = check_small("import", "hubert"),
               *other_voice = check_small("import", "voice_v2_48k_nof0");
    assert_int_equal(INFO("--json", voice, "no such file", hubert), 1);
    assert_non_null(strstr(last.err, "no such file"));
    const char *line = last.out, *kinds[] = {"voice", NULL, "HuBERT"};
    for (int i = 0; i < 3; i++) {
        const char *end;
        cJSON *json = cJSON_ParseWithOpts(line, &end, false);
        assert_non_null(json);
        const cJSON *kind = cJSON_GetObjectItem(json, "kind");
        if (kinds[i])
            assert_string_equal(kind->valuestring, kinds[i]);
        else
            assert_non_null(cJSON_GetObjectItem(json, "error"));
        if (i == 0) {
            assert_string_equal(cJSON_GetObjectItem(json, "version")->valuestring, "v1");
            assert_string_equal(cJSON_GetObjectItem(json, "format")->valuestring, "npz");
            assert_int_equal(cJSON_GetObjectItem(json, "sample_rate")->valueint, 32000);
            assert_int_equal(cJSON_GetObjectItem(json, "feature_width")->valueint, 32);
            assert_true(cJSON_IsTrue(cJSON_GetObjectItem(json, "f0")));
            assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "unknown_tensors")), 0);
        }
        cJSON_Delete(json);
        assert_int_equal(*end, '\n');
        line = end + 1;
    }
    assert_string_equal(line, "");
    INFO("--voice", voice, hubert);
    worked();
    assert_non_null(strstr(last.out, "fits the voice      yes"));
    INFO(other_voice);
    worked();
    assert_non_null(strstr(last.out, "f0                  no"));
    const char *index = check_shared("fixtures/index/added_IVF9_Flat_nprobe_1_demo_v2.index");
    if (!index) skip();
    INFO("--voice", voice, index);
    worked();
    assert_non_null(strstr(last.out, "fits the voice      no: the voice takes features of 32"));
    IMPORT(index, "-o", model, "--force");
    failed_saying("index", "--index");
    assert_int_equal(INFO("--voice", index, index), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_fixtures), cmocka_unit_test(test_bad_fixtures),
        cmocka_unit_test(test_float16),       cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_output),        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_info),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
