/* test_npz.c - NumPy archives: what is written is read back, what numpy writes is read, what is broken is
 * refused.
 *
 * Broken members are made with libzip directly, header text and data apart, so that each check is met on its
 * own. */
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <zip.h>

#include "../nn/npz.h"

/* ---- making archives ------------------------------------------------------------------------------------
 */

/* A .npy member of the given version: dict text, then data. */
typedef struct made {
    const char *name, *dict;
    const void *data;
    size_t bytes;
    int version; /* 1, 2 or 3 */
    bool deflated;
} made;

static void add_bytes(zip_t *z, const char *name, const void *data, size_t n, bool deflated) {
    void *copy = n ? malloc(n) : NULL; /* libzip takes it over */
    if (n) {
        assert_non_null(copy);
        memcpy(copy, data, n);
    }
    zip_source_t *s = zip_source_buffer(z, copy, n, 1);
    zip_int64_t i = s ? zip_file_add(z, name, s, 0) : -1;
    assert_true(i >= 0);
    assert_int_equal(
        zip_set_file_compression(z, (zip_uint64_t)i, deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0), 0);
}

static void add_made(zip_t *z, const made *m) {
    size_t length = strlen(m->dict), preamble = m->version == 1 ? 10 : 12;
    unsigned char *bytes = malloc(preamble + length + m->bytes);
    assert_non_null(bytes);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (unsigned char)m->version;
    bytes[7] = 0;
    for (size_t i = 8; i < preamble; i++) bytes[i] = (unsigned char)(length >> 8 * (i - 8));
    memcpy(bytes + preamble, m->dict, length);
    if (m->bytes) memcpy(bytes + preamble + length, m->data, m->bytes);
    add_bytes(z, m->name, bytes, preamble + length + m->bytes, m->deflated);
    free(bytes);
}

/* Writes the members to a scratch file; its path, which the caller frees. */
static char *make(const made *m, size_t count) {
    char *path = check_tmp("made.npz");
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(z);
    for (size_t i = 0; i < count; i++) add_made(z, &m[i]);
    assert_int_equal(zip_close(z), 0);
    return path;
}

static char *read_whole(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *n = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    return bytes;
}

static void write_whole(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* ---- what is right --------------------------------------------------------------------------------------
 */

static const uint16_t halves[6] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x83ff, 0x3555};
static const uint16_t brains[6] = {0x3f80, 0xc000, 0x0001, 0x7f7f, 0x8000, 0x3eab};
static const float floats[6] = {1, -2, 1e-30f, 3.5f, 0, 7};
static const double doubles[6] = {1, -2, 0.1, 3.5, 0, 7};
static const int8_t i8[6] = {1, -128, 127, 0, -1, 7};
static const uint8_t u8[6] = {1, 255, 127, 0, 128, 7}, bools[6] = {0, 1, 1, 0, 1, 0};
static const int16_t i16[6] = {1, -32768, 32767, 0, -1, 7};
static const uint16_t u16[6] = {1, 65535, 32768, 0, 255, 7};
static const int32_t i32[6] = {1, INT32_MIN, 16777217, 0, -1, 7};
static const uint32_t u32[6] = {1, UINT32_MAX, 16777217, 0, 5, 7};
static const int64_t i64[6] = {1, INT64_MIN, 1 << 24, 0, -1, 7};
static const uint64_t u64[6] = {1, UINT64_MAX, 1 << 24, 0, 5, 7};
static const float complexes[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

/* Each dtype, six values, and what they are as float32. */
static const struct {
    npz_dtype dtype;
    const char *name;
    const void *data;
    double value[6];
} all[] = {
    {NPZ_F16, "float16", halves, {1, -2, 0x1p-24, 65504, -1023 * 0x1p-24, 0.333251953125}},
    {NPZ_BF16, "bfloat16", brains, {1, -2, 0x1p-133, 0x1.fep127, -0.0, 0.333984375}},
    {NPZ_F32, "float32", floats, {1, -2, (double)1e-30f, 3.5, 0, 7}},
    {NPZ_F64, "float64", doubles, {1, -2, (double)0.1f, 3.5, 0, 7}},
    {NPZ_I8, "int8", i8, {1, -128, 127, 0, -1, 7}},
    {NPZ_U8, "uint8", u8, {1, 255, 127, 0, 128, 7}},
    {NPZ_BOOL, "bool", bools, {0, 1, 1, 0, 1, 0}},
    {NPZ_I16, "int16", i16, {1, -32768, 32767, 0, -1, 7}},
    {NPZ_U16, "uint16", u16, {1, 65535, 32768, 0, 255, 7}},
    {NPZ_I32, "int32", i32, {1, -0x1p31, 16777216, 0, -1, 7}},
    {NPZ_U32, "uint32", u32, {1, 0x1p32, 16777216, 0, 5, 7}},
    {NPZ_I64, "int64", i64, {1, -0x1p63, 16777216, 0, -1, 7}},
    {NPZ_U64, "uint64", u64, {1, 0x1p64, 16777216, 0, 5, 7}},
    {NPZ_C64, "complex64", complexes, {0}},
};
enum { ALL = sizeof all / sizeof all[0] };

static void test_every_dtype_round_trip(void **state) {
    (void)state;
    char *path = check_tmp("round.npz");
    npz_writer *w;
    nn_error e = {0};
    assert_int_equal(npz_create(&w, path, &e), 0);
    for (int i = 0; i < ALL; i++)
        assert_int_equal(npz_write(w, all[i].name, all[i].dtype, 2, (int64_t[]){2, 3}, all[i].data, &e), 0);
    assert_int_equal(npz_write_text(w, "config.json", "{\"a\": 1}", &e), 0);
    assert_int_equal(npz_finish(w, &e), 0);

    npz *z;
    assert_int_equal(npz_open(&z, path, &e), 0);
    assert_int_equal(npz_count(z), ALL);
    assert_string_equal(npz_path(z), path);
    for (int i = 0; i < ALL; i++) {
        const npz_array *a = npz_find(z, all[i].name);
        assert_ptr_equal(a, npz_at(z, (size_t)i));
        assert_int_equal(a->dtype, all[i].dtype);
        assert_string_equal(npz_dtype_name(a->dtype), all[i].name);
        assert_int_equal(a->rank, 2);
        assert_true(a->shape[0] == 2 && a->shape[1] == 3 && a->count == 6);
        assert_int_equal(a->bytes, 6 * npz_dtype_size(a->dtype));
        unsigned char raw[6 * 16];
        assert_int_equal(npz_read(z, a, raw, &e), 0);
        assert_memory_equal(raw, all[i].data, a->bytes);
        float f[6];
        if (a->dtype == NPZ_C64) {
            assert_int_equal(npz_read_f32(z, a, f, &e), NN_ERROR_FORMAT);
            continue;
        }
        assert_int_equal(npz_read_f32(z, a, f, &e), 0);
        for (int j = 0; j < 6; j++)
            if ((double)f[j] != all[i].value[j] || !signbit(f[j]) != !signbit(all[i].value[j]))
                fail_msg("%s [%d] is %g, not %g", all[i].name, j, (double)f[j], all[i].value[j]);
    }
    char *text;
    assert_int_equal(npz_read_text(z, "config.json", &text, NULL), 0);
    assert_string_equal(text, "{\"a\": 1}");
    free(text);
    assert_int_equal(npz_read_text(z, "absent.json", &text, NULL), 0);
    assert_null(text);
    assert_null(npz_find(z, "config.json"));
    npz_close(z);
    free(path);
}

/* numpy.savez(f, **numpy.load(g)) turns the text config.json into an array of one string: it is read as the text it was. */
static void test_config_kept_as_an_array(void **state) {
    (void)state;
    const made members[] = {
        {"config.json.npy", "{'descr': '|S8', 'fortran_order': False, 'shape': (), }", "{\"b\": 2}", 8, 1,
         false},
        {"x.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", floats, sizeof floats, 1,
         false},
    };
    char *path = make(members, 2), *text;
    npz *z;
    nn_error e = {0};
    npz_open(&z, path, &e);
    if (e.code) fail_msg("%s", e.text);
    assert_int_equal(npz_count(z), 1);
    assert_string_equal(npz_at(z, 0)->name, "x");
    assert_int_equal(npz_read_text(z, "config.json", &text, &e), 0);
    assert_string_equal(text, "{\"b\": 2}");
    free(text);
    npz_close(z);
    free(path);
}

static void test_infinities_and_nan_of_halves(void **state) {
    (void)state;
    const uint16_t h[4] = {0x7c00, 0xfc00, 0x7e01, 0x8000}, b[3] = {0x7f80, 0xff80, 0x7fc1};
    float f[4];
    npz_f16_to_f32(f, h, 4);
    assert_true(isinf(f[0]) && f[0] > 0 && isinf(f[1]) && f[1] < 0 && isnan(f[2]) && f[3] == 0 &&
                signbit(f[3]));
    npz_bf16_to_f32(f, b, 3);
    assert_true(isinf(f[0]) && f[0] > 0 && isinf(f[1]) && f[1] < 0 && isnan(f[2]));
    for (uint32_t i = 0; i < 0x7c00; i++) { /* every finite half against its definition */
        uint16_t one = (uint16_t)i;
        double want = i < 1024 ? ldexp(i, -24) : ldexp(1024 + (i & 1023), (int)(i >> 10) - 25);
        npz_f16_to_f32(f, &one, 1);
        assert_true((double)f[0] == want);
    }
}

/* Shapes from a single number to eight dimensions and to none at all, and more elements than are converted at
 * a time. */
static void test_shapes(void **state) {
    (void)state;
    enum { LONG = 100003 };
    char *path = check_tmp("shapes.npz");
    npz_writer *w;
    npz *z;
    const double one = 5;
    double *many = malloc(LONG * sizeof *many);
    float *back = malloc(LONG * sizeof *back);
    assert_true(many && back);
    for (int i = 0; i < LONG; i++) many[i] = i;
    assert_int_equal(npz_create(&w, path, NULL), 0);
    assert_int_equal(npz_write(w, "scalar", NPZ_F64, 0, NULL, &one, NULL), 0);
    assert_int_equal(npz_write(w, "long", NPZ_F64, 1, (int64_t[]){LONG}, many, NULL), 0);
    assert_int_equal(npz_write(w, "none", NPZ_F32, 2, (int64_t[]){0, 3}, NULL, NULL), 0);
    assert_int_equal(npz_write(w, "eight", NPZ_F64, 8, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 1}, &one, NULL), 0);
    nn_error twice = {0};
    assert_int_equal(npz_write(w, "long", NPZ_F64, 0, NULL, &one, &twice), NN_ERROR_ARGUMENT);
    assert_int_equal(npz_write(w, "bad", NPZ_F64, 1, (int64_t[]){-1}, &one, NULL), NN_ERROR_ARGUMENT);
    assert_int_equal(npz_finish(w, NULL), 0);
    nn_error e = {0};
    if (npz_open(&z, path, &e)) fail_msg("%s", e.text);
    assert_int_equal(npz_find(z, "scalar")->rank, 0);
    assert_int_equal(npz_find(z, "scalar")->count, 1);
    assert_int_equal(npz_find(z, "none")->count, 0);
    assert_int_equal(npz_find(z, "eight")->rank, 8);
    assert_int_equal(npz_read_f32(z, npz_find(z, "none"), back, NULL), 0);
    assert_int_equal(npz_read_f32(z, npz_find(z, "long"), back, NULL), 0);
    for (int i = 0; i < LONG; i++) assert_true(back[i] == (float)i);
    npz_close(z);
    free(many), free(back), free(path);
}

#define DICT(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }"

static void test_deflated_and_every_version(void **state) {
    (void)state;
    float data[500], back[500];
    for (int i = 0; i < 500; i++) data[i] = (float)(i % 7);
    made m[6];
    for (int i = 0; i < 6; i++)
        m[i] = (made){(const char *[]){"a.npy", "b.npy", "c.npy", "d.npy", "e/f.npy", "g.npy"}[i],
                      DICT("'<f4'", "False", "(5, 100)"),
                      data,
                      sizeof data,
                      i % 3 + 1,
                      i >= 3};
    m[5].dict = "{\"shape\": (5,100),\"fortran_order\":False, \"descr\":\"<f4\"}    \n"; /* other quotes,
                                                                                            order, no comma */
    char *path = make(m, 6);
    npz *z;
    nn_error e = {0};
    if (npz_open(&z, path, &e)) fail_msg("%s", e.text);
    assert_int_equal(npz_count(z), 6);
    assert_non_null(npz_find(z, "e/f"));
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(npz_read_f32(z, npz_at(z, i), back, &e), 0);
        assert_memory_equal(back, data, sizeof data);
    }
    npz_close(z);
    free(path);
}

enum { READERS = 4, LARGE = 300000 };

typedef struct reader {
    npz *z;
    const float *want;
    pthread_t thread;
    int good; /* arrays read right */
} reader;

static void *read_all(void *argument) {
    reader *r = argument;
    float *back = malloc(LARGE * sizeof *back);
    for (size_t i = 0; back && i < 3 * npz_count(r->z); i++) {
        const npz_array *a = npz_at(r->z, i % npz_count(r->z));
        r->good += npz_read(r->z, a, back, NULL) == NN_OK && memcmp(back, r->want, LARGE * sizeof *back) == 0;
    }
    free(back);
    return NULL;
}

/* Stored and deflated ones, larger than what is read at a time. */
static void test_read_by_threads(void **state) {
    (void)state;
    float *data = malloc(LARGE * sizeof *data);
    assert_non_null(data);
    for (int i = 0; i < LARGE; i++) data[i] = (float)(i % 1001);
    const char *dict = DICT("'<f4'", "False", "(300000,)");
    const made m[3] = {{"a.npy", dict, data, LARGE * sizeof *data, 1, false},
                       {"b.npy", dict, data, LARGE * sizeof *data, 1, true},
                       {"c.npy", dict, data, LARGE * sizeof *data, 2, false}};
    char *path = make(m, 3);
    npz *z;
    nn_error e = {0};
    if (npz_open(&z, path, &e)) fail_msg("%s", e.text);
    reader r[READERS];
    for (int i = 0; i < READERS; i++) {
        r[i] = (reader){.z = z, .want = data};
        assert_int_equal(pthread_create(&r[i].thread, NULL, read_all, &r[i]), 0);
    }
    for (int i = 0; i < READERS; i++) {
        pthread_join(r[i].thread, NULL);
        assert_int_equal(r[i].good, 9);
    }
    npz_close(z);
    free(path);
    free(data);
}

/* The recordings were written by numpy.savez. */
static void test_files_of_numpy(void **state) {
    (void)state;
    const char *path = check_shared("reference/stages_v2_40k.npz");
    if (!path) skip();
    npz *z;
    nn_error e = {0};
    if (npz_open(&z, path, &e)) fail_msg("%s", e.text);
    const npz_array *phone = npz_find(z, "phone"), *sid = npz_find(z, "sid"), *model = npz_find(z, "model");
    assert_true(phone && sid && model);
    assert_int_equal(phone->shape[1], 768);
    assert_true(sid->rank == 0 && sid->dtype == NPZ_I32);
    char name[7] = "";
    assert_int_equal(model->bytes, 6);
    assert_int_equal(npz_read(z, model, name, NULL), 0);
    assert_string_equal(name, "v2_40k");
    npz_close(z);
}

/* ---- what is wrong --------------------------------------------------------------------------------------
 */

/* Opening `path` fails with a line that names the file and `word`. */
static void refuse(const char *path, const char *word) {
    npz *z;
    nn_error e = {0};
    nn_code code = npz_open(&z, path, &e);
    if (!code) fail_msg("accepted where \"%s\" was expected", word);
    assert_null(z);
    assert_int_equal(code, NN_ERROR_FORMAT);
    if (!strstr(e.text, word) || !strstr(e.text, path)) fail_msg("\"%s\" does not say \"%s\"", e.text, word);
    assert_null(strchr(e.text, '\n'));
}

static void test_bad_headers(void **state) {
    (void)state;
    static const struct {
        const char *dict, *word;
    } bad[] = {
        {DICT("'<f4'", "True", "(2, 3)"), "Fortran"},
        {DICT("'>f4'", "False", "(2, 3)"), "big-endian"},
        {DICT("'|O'", "False", "(2, 3)"), "objects"},
        {DICT("'<U6'", "False", "(1,)"), "'<U6'"},
        {DICT("[('a', '<f4')]", "False", "(6,)"), "structured"},
        {DICT("'<f4'", "False", "(2, 4)"), "24 bytes of data where its shape asks for 32"},
        {DICT("'<f4'", "False", "(2,)"), "asks for 8"},
        {DICT("'<f4'", "False", "(4611686018427387904, 4)"), "impossible shape"},
        {DICT("'<f4'", "False", "(9223372036854775807, 9223372036854775807)"), "impossible shape"},
        {DICT("'<f4'", "False", "(0, 9223372036854775807, 9)"), "impossible shape"},
        {DICT("'<f4'", "False", "(100000000000,)"), "asks for 400000000000"},
        {DICT("'<f4'", "False", "(99999999999999999999,)"), "damaged .npy header"},
        {DICT("'<f4'", "False", "(-6,)"), "damaged .npy header"},
        {DICT("'<f4'", "False", "(6)"), "damaged .npy header"},
        {DICT("'<f4'", "False", "6"), "damaged .npy header"},
        {DICT("'<f4'", "False", "(2 3)"), "damaged .npy header"},
        {DICT("'<f4'", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 6)"), "damaged .npy header"},
        {DICT("'<f4'", "Maybe", "(6,)"), "damaged .npy header"},
        {DICT("'<f4", "False", "(6,)"), "damaged .npy header"},
        {DICT("'<f4'", "False", "(6,)") " x", "damaged .npy header"},
        {"{'descr': '<f4', 'shape': (6,)}", "damaged .npy header"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", "damaged .npy header"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'more': 1}", "damaged .npy header"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,)", "damaged .npy header"},
        {"{", "damaged .npy header"},
        {"", "damaged .npy header"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        made m = {"x.npy", bad[i].dict, floats, sizeof floats, (int)(i % 3) + 1, i % 2};
        char *path = make(&m, 1);
        refuse(path, bad[i].word);
        free(path);
    }
}

static void test_bad_members(void **state) {
    (void)state;
    static const unsigned char long_header[] = "\x93NUMPY\2\0\xff\xff\xff\xff{";
    static const struct {
        const char *bytes;
        size_t n;
        const char *word;
    } bad[] = {
        {"", 0, "not a NumPy array"},
        {"hello, world", 12, "not a NumPy array"},
        {"\x93NUMPY\4\0\0\0\0\0", 12, "not a NumPy array"},
        {"\x93NUMPY\1\0\x40\0{}", 12, "damaged .npy header"},
        {"\x93NUMPY\2\0\1\0", 10, "cannot be read"},
        {(const char *)long_header, sizeof long_header - 1, "damaged .npy header"},
    };
    char *path = check_tmp("member.npz");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
        assert_non_null(z);
        add_bytes(z, "x.npy", bad[i].bytes, bad[i].n, false);
        assert_int_equal(zip_close(z), 0);
        refuse(path, bad[i].word);
    }
    free(path);
}

static void test_files_that_are_no_archive(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *word;
    } bad[] = {
        {"", "empty"},
        {"<!DOCTYPE html><html>", "web page"},
        {"  \n<html>", "web page"},
        {"PK\3\4abc", "cut short"},
        {"version https://git-lfs.github.com/spec/v1", "LFS pointer"},
        {"\x80\2}q", "PyTorch"},
        {"\x93NUMPY\1", ".npy"},
        {"just some text", "not an .npz (zip) archive"},
    };
    char *path = check_tmp("other.npz");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_whole(path, bad[i].bytes, strlen(bad[i].bytes));
        refuse(path, bad[i].word);
    }
    free(path);
    const char *torch = check_shared("fixtures/pth/voice_zip.pth");
    if (torch) refuse(torch, "PyTorch checkpoint");
    npz *z;
    assert_int_equal(npz_open(&z, "build/no such file.npz", NULL), NN_ERROR_FILE);
    assert_int_equal(npz_open(&z, "/", NULL), NN_ERROR_FILE);
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    const made m[2] = {{"a.npy", DICT("'<f4'", "False", "(6,)"), floats, sizeof floats, 1, false},
                       {"b.npy", DICT("'<f8'", "False", "(2, 3)"), doubles, sizeof doubles, 2, true}};
    char *path = make(m, 2), *cut = check_tmp("cut.npz");
    size_t n;
    char *bytes = read_whole(path, &n);
    for (size_t i = 0; i < n; i++) {
        write_whole(cut, bytes, i);
        refuse(cut, "cut.npz");
    }
    free(bytes), free(path), free(cut);
}

/* Every byte inverted: refused when opened or read, or (dates, flags nobody reads) the values come out
 * unchanged. */
static void test_every_byte_broken(void **state) {
    (void)state;
    const made m[2] = {{"a.npy", DICT("'<f4'", "False", "(6,)"), floats, sizeof floats, 1, false},
                       {"b.npy", DICT("'<f4'", "False", "(2, 3)"), floats, sizeof floats, 2, true}};
    char *path = make(m, 2), *broken = check_tmp("broken.npz");
    size_t n, refused = 0;
    char *bytes = read_whole(path, &n);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (char)~bytes[i];
        write_whole(broken, bytes, n);
        bytes[i] = (char)~bytes[i];
        npz *z;
        nn_error e = {0};
        bool bad = npz_open(&z, broken, &e) != NN_OK;
        for (size_t k = 0; !bad && k < npz_count(z); k++) {
            float f[6];
            assert_int_equal(npz_at(z, k)->bytes, sizeof f);
            bad = npz_read(z, npz_at(z, k), f, &e) != NN_OK;
            if (!bad) assert_memory_equal(f, floats, sizeof f);
        }
        npz_close(z);
        if (bad) assert_true(e.code != 0 && e.text[0]);
        refused += bad;
    }
    print_message("%zu of %zu broken bytes noticed\n", refused, n);
    assert_true(refused > n / 2);
    free(bytes), free(path), free(broken);
}

/* ---- writing --------------------------------------------------------------------------------------------
 */

static size_t count_parts(const char *folder) {
    size_t n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) n += strstr(entry->d_name, "atomic.npz") != NULL;
    closedir(d);
    return n;
}

/* Until npz_finish the old file stays; abandoning leaves it and nothing else. The same members give the same
 * bytes. */
static void test_a_file_is_whole_or_not_there(void **state) {
    (void)state;
    char *path = check_tmp("atomic.npz"), *folder = check_tmp("");
    write_whole(path, "old", 3);
    npz_writer *w;
    size_t n, again;
    assert_int_equal(npz_create(&w, path, NULL), 0);
    assert_int_equal(npz_write(w, "a", NPZ_F32, 1, (int64_t[]){6}, floats, NULL), 0);
    npz_abandon(w);
    char *bytes = read_whole(path, &n);
    assert_true(n == 3 && memcmp(bytes, "old", 3) == 0);
    free(bytes);
    assert_int_equal(count_parts(folder), 1);

    char *first = NULL;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(npz_create(&w, path, NULL), 0);
        assert_int_equal(npz_write(w, "a", NPZ_F32, 1, (int64_t[]){6}, floats, NULL), 0);
        assert_int_equal(npz_finish(w, NULL), 0);
        bytes = read_whole(path, i ? &again : &n);
        if (i) {
            assert_int_equal(n, again);
            assert_memory_equal(first, bytes, n);
            free(first), free(bytes);
        } else {
            first = bytes;
        }
    }
    assert_int_equal(count_parts(folder), 1);
    nn_error e = {0};
    assert_int_equal(npz_create(&w, path, NULL), 0);
    assert_int_equal(npz_finish(w, &e), NN_ERROR_ARGUMENT); /* no members */
    assert_int_equal(npz_create(&w, "/no such folder/x.npz", &e), NN_ERROR_FILE);
    assert_int_equal(npz_create(&w, "/", NULL), NN_ERROR_FILE);
    npz_abandon(NULL);
    free(path), free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype_round_trip),
        cmocka_unit_test(test_config_kept_as_an_array),
        cmocka_unit_test(test_infinities_and_nan_of_halves),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_deflated_and_every_version),
        cmocka_unit_test(test_read_by_threads),
        cmocka_unit_test(test_files_of_numpy),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_members),
        cmocka_unit_test(test_files_that_are_no_archive),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_byte_broken),
        cmocka_unit_test(test_a_file_is_whole_or_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
