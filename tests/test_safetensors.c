/* test_safetensors.c - safetensors files: every dtype read back, metadata and config.json as JSON, broken
 * headers refused.
 *
 * Files are made by hand: the length of the header, its text, the data. */
#include "check_file.h"

#include <stdbool.h>
#include <cjson/cJSON.h>

#include "../nn/weights.h"

static void write_made(const char *path, const char *header, const void *data, size_t bytes) {
    uint64_t length = strlen(header);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&length, sizeof length, 1, f), 1);
    assert_int_equal(fwrite(header, 1, length, f), length);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* 1 and -2 (unsigned: 254, 65534, ...; bool: true, true) in every dtype; all begin on different offsets. */
static const struct {
    const char *name;
    npz_dtype dtype;
    unsigned char bytes[17];
    float want[2];
} all[] = {
    {"F16", NPZ_F16, {0, 0x3c, 0, 0xc0}, {1, -2}},
    {"BF16", NPZ_BF16, {0x80, 0x3f, 0, 0xc0}, {1, -2}},
    {"U8", NPZ_U8, {1, 0xfe}, {1, 254}},
    {"F32", NPZ_F32, {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}, {1, -2}},
    {"I8", NPZ_I8, {1, 0xfe}, {1, -2}},
    {"F64", NPZ_F64, {[6] = 0xf0, 0x3f, [15] = 0xc0}, {1, -2}},
    {"BOOL", NPZ_BOOL, {1, 1}, {1, 1}},
    {"I16", NPZ_I16, {1, 0, 0xfe, 255}, {1, -2}},
    {"U16", NPZ_U16, {1, 0, 0xfe, 255}, {1, 65534}},
    {"I32", NPZ_I32, {1, [4] = 0xfe, 255, 255, 255}, {1, -2}},
    {"U32", NPZ_U32, {1, [4] = 0, 0, 1, 0}, {1, 65536}},
    {"I64", NPZ_I64, {1, [8] = 0xfe, 255, 255, 255, 255, 255, 255, 255}, {1, -2}},
    {"U64", NPZ_U64, {1, [8] = 0, 1}, {1, 256}},
};
enum { ALL = sizeof all / sizeof all[0] };

static void test_every_dtype(void **state) {
    (void)state;
    char header[4096] = "{", *path = check_tmp("all.safetensors");
    unsigned char data[256];
    size_t n = 0, h = 1;
    for (int i = 0; i < ALL; i++) {
        size_t bytes = 2 * npz_dtype_size(all[i].dtype);
        h += (size_t)snprintf(header + h, sizeof header - h,
                              "%s\"t.%s\": {\"dtype\":\"%s\",\"shape\":[2,1],\"data_offsets\":[%zu,%zu]}",
                              i ? ", " : "", all[i].name, all[i].name, n, n + bytes);
        memcpy(data + n, all[i].bytes, bytes);
        n += bytes;
    }
    snprintf(header + h, sizeof header - h, "}   ");
    write_made(path, header, data, n);
    nn_archive *a = check_open(path);
    assert_string_equal(nn_archive_format(a), "safetensors");
    assert_int_equal(nn_archive_count(a), ALL);
    for (int i = 0; i < ALL; i++) {
        const npz_array *t = nn_archive_at(a, (size_t)i);
        unsigned char raw[16];
        float x[2];
        assert_string_equal(t->name + 2, all[i].name);
        assert_int_equal(t->dtype, all[i].dtype);
        assert_true(t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 1 && t->count == 2);
        assert_int_equal(nn_archive_read(a, t, raw, NULL), 0);
        assert_memory_equal(raw, all[i].bytes, t->bytes);
        assert_int_equal(nn_archive_read_f32(a, t, x, NULL), 0);
        assert_memory_equal(x, all[i].want, sizeof x);
    }
    nn_archive_close(a);
    free(path);
}

static const float six[6] = {0, 1, 2, 3, 4, 5};

static void test_shapes(void **state) {
    (void)state;
    char *path = check_tmp("shapes.safetensors");
    write_made(path,
               "{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]},"
               "\"none\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[24,24]},"
               "\"again\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
               "\"名\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}",
               six, sizeof six);
    nn_archive *a = check_open(path);
    float x[6];
    const npz_array *t = nn_archive_find(a, "s");
    assert_true(t->rank == 0 && t->count == 1);
    assert_int_equal(nn_archive_read_f32(a, t, x, NULL), 0);
    assert_memory_equal(x, six + 1, 4);
    t = nn_archive_find(a, "none");
    assert_true(t->rank == 2 && t->count == 0 && t->bytes == 0);
    assert_int_equal(nn_archive_read_f32(a, t, x, NULL), 0);
    assert_int_equal(nn_archive_read_f32(a, nn_archive_find(a, "again"), x, NULL), 0);
    assert_memory_equal(x, six, sizeof x);
    assert_int_equal(nn_archive_read_f32(a, nn_archive_find(a, "名"), x, NULL), 0);
    assert_memory_equal(x, six + 4, 8);
    nn_archive_close(a);
    free(path);
}

#define ONE "\"x\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"

/* The value of key.inner (inner NULL: of key) in the archive's JSON, as text; "" where there is none. */
static void expect_json(const char *path, const char *key, const char *inner, const char *want) {
    nn_archive *a = check_open(path);
    cJSON *json = nn_archive_json(a) ? cJSON_Parse(nn_archive_json(a)) : NULL;
    const cJSON *v = cJSON_GetObjectItem(json, key);
    if (inner) v = cJSON_GetObjectItem(v, inner);
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    assert_string_equal(text, want);
    cJSON_Delete(json);
    nn_archive_close(a);
}

/* In a folder of its own, so that config.json is no other test's. */
static void test_metadata_and_config(void **state) {
    (void)state;
    char *folder = check_tmp("transformers"), *path = check_tmp("transformers/model.safetensors");
    char *config = check_tmp("transformers/config.json");
    (void)mkdir(folder, 0777);
    (void)remove(config);
    write_made(path, "{" ONE "}", six, sizeof six);
    nn_archive *a = check_open(path);
    assert_null(nn_archive_json(a));
    nn_archive_close(a);

    write_made(path, "{\"__metadata__\":{\"format\":\"pt\"}," ONE "}", six, sizeof six);
    expect_json(path, "__metadata__", "format", "pt");
    const char *text = "{\"model_type\": \"hubert\"}";
    check_write_file(config, text, strlen(text));
    expect_json(path, "__metadata__", "format", "pt");
    expect_json(path, "model_type", NULL, "hubert");
    write_made(path, "{" ONE "}", six, sizeof six);
    expect_json(path, "model_type", NULL, "hubert");
    expect_json(path, "__metadata__", "format", "");
    check_write_file(config, "[1, 2", 5); /* broken: as if it were not there */
    a = check_open(path);
    assert_null(nn_archive_json(a));
    nn_archive_close(a);

    nn_weights *w;
    nn_error e = {0};
    if (nn_weights_open(&w, path, &e)) fail_msg("%s", e.text);
    float *x;
    assert_int_equal(nn_weights_load(w, "x", 2, (int64_t[]){2, 3}, &x, &e), 0);
    assert_memory_equal(x, six, sizeof six);
    free(x);
    nn_weights_free(w);
    (void)remove(config);
    free(folder), free(path), free(config);
}

static void test_bad_headers(void **state) {
    (void)state;
#define ENTRY(dtype, shape, offsets)                                                                         \
    "{\"x\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    static const struct {
        const char *header, *word;
    } bad[] = {
        {"{", "no JSON object"},
        {"{\"x\":", "no JSON object"},
        {"{}", "no tensors"},
        {"{\"__metadata__\":{}}", "no tensors"},
        {"{\"x\":1}", "without a dtype"},
        {"{\"x\":{}}", "without a dtype"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", "no text"},
        {"{\"a\\nb\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", "no text"},
        {"{" ONE "," ONE "}", "two tensors are named \"x\""},
        {ENTRY("\"F8_E4M3\"", "[24]", "[0,24]"), "F8_E4M3, which is not read"},
        {ENTRY("1", "[2,3]", "[0,24]"), "without a dtype"},
        {ENTRY("\"F32\"", "6", "[0,24]"), "shape that cannot be"},
        {ENTRY("\"F32\"", "[-1]", "[0,24]"), "shape that cannot be"},
        {ENTRY("\"F32\"", "[1.5]", "[0,24]"), "shape that cannot be"},
        {ENTRY("\"F32\"", "[\"6\"]", "[0,24]"), "shape that cannot be"},
        {ENTRY("\"F32\"", "[1e300]", "[0,24]"), "shape that cannot be"},
        {ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,0]"), "shape that cannot be"},
        {ENTRY("\"F32\"", "[9007199254740992,0,9007199254740992]", "[0,0]"), "shape that cannot be"},
        {ENTRY("\"F32\"", "[1,1,1,1,1,1,1,1,6]", "[0,24]"), "shape that cannot be"},
        {ENTRY("\"F32\"", "[6]", "[0,25]"), "outside the file"},
        {ENTRY("\"F32\"", "[6]", "[4,28]"), "outside the file"},
        {ENTRY("\"F32\"", "[6]", "[24,0]"), "outside the file"},
        {ENTRY("\"F32\"", "[6]", "[-24,0]"), "outside the file"},
        {ENTRY("\"F32\"", "[6]", "[0]"), "outside the file"},
        {ENTRY("\"F32\"", "[6]", "[0,24,24]"), "outside the file"},
        {ENTRY("\"F32\"", "[6]", "{\"a\":0,\"b\":true}"), "outside the file"},
        {ENTRY("\"F32\"", "[6]", "[0,1e17]"), "outside the file"},
        {ENTRY("\"F32\"", "[6]", "[0,20]"), "more or fewer bytes"},
        {ENTRY("\"F32\"", "[5]", "[0,24]"), "more or fewer bytes"},
        {ENTRY("\"F32\"", "[2147483647,16]", "[0,24]"), "more or fewer bytes"},
    };
    char *path = check_tmp("bad.safetensors");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_made(path, bad[i].header, six, sizeof six);
        check_refused(path, bad[i].word);
    }
    /* lengths of the header that the file does not have, or nobody needs */
    static const uint64_t lengths[] = {1000, 100, 1 << 30, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char bytes[100] = {0};
        memcpy(bytes, &lengths[i], 8);
        memcpy(bytes + 8, "{}", 2);
        check_write_file(path, bytes, sizeof bytes);
        check_refused(path, "header is cut short");
    }
    free(path);
}

/* A header of deeply nested lists is JSON that no recursion may follow to the end of the stack. */
static void test_deep_header(void **state) {
    (void)state;
    char *path = check_tmp("deep.safetensors"), *header = malloc(200001);
    assert_non_null(header);
    memset(header, '[', 200000);
    header[0] = '{', header[200000] = '\0';
    memcpy(header + 1, "\"x\":", 4);
    write_made(path, header, six, sizeof six);
    check_refused(path, "no JSON object");
    free(header), free(path);
}

static void test_every_truncation_and_change(void **state) {
    (void)state;
    char *path = check_tmp("whole.safetensors");
    write_made(path,
               "{\"__metadata__\":{\"format\":\"pt\"}," ONE
               ",\"y\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[24,26]}}",
               (float[7]){1, 2, 3}, 26);
    size_t n;
    unsigned char *bytes = check_read_file(path, &n);
    assert_int_equal(check_read_all(path), NN_OK);
    check_truncations(bytes, n, "cut.safetensors");
    size_t refused = check_changes(bytes, n, "changed.safetensors");
    print_message("%zu of %zu changes refused\n", refused, 2 * n);
    assert_true(refused > n); /* most of the header matters; the data does not */
    free(bytes), free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype),         cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_metadata_and_config), cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_deep_header),         cmocka_unit_test(test_every_truncation_and_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
