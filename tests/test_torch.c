/* test_torch.c - PyTorch's checkpoints, zip and stream: views of every kind, and what must be refused.
 *
 * Files are made by hand: a pickle of {"x": tensor} around the arguments under test, and storage bytes, put
 * into either container. Files of PyTorch's own come from the shared fixtures. */
#include "check_file.h"

#include <stdbool.h>
#include <cjson/cJSON.h>
#include <zip.h>

#include "../nn/weights.h"

#define CODE(text) (text), sizeof(text) - 1

/* ---- making checkpoints -------------------------------------------------------------------------------- */

typedef struct buffer {
    unsigned char bytes[1 << 16];
    size_t n;
} buffer;

static void put(buffer *b, const void *bytes, size_t n) {
    assert_true(b->n + n <= sizeof b->bytes);
    if (n) memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}
static void put_code(buffer *b, const char *code) {
    put(b, code, strlen(code));
}
static void put_text(buffer *b, const char *text) {
    uint32_t n = (uint32_t)strlen(text);
    put_code(b, "X");
    put(b, &n, sizeof n);
    put(b, text, n);
}
static void put_number(buffer *b, int64_t x) {
    put(b, "\x8a\10", 2);
    put(b, &x, sizeof x);
}
static void put_tuple(buffer *b, int rank, const int64_t *x) {
    put_code(b, "(");
    for (int i = 0; i < rank; i++) put_number(b, x[i]);
    put_code(b, "t");
}

/* A tensor's description in the pickle. Zero or NULL is the usual thing. */
typedef struct made {
    const char *storage, *rebuild, *key; /* "FloatStorage", "_rebuild_tensor_v2", "0" */
    int rank;
    int64_t shape[9], stride[9], offset, count; /* count: elements of the storage */
    int strides;                                /* where their number is not the rank */
    const char *extra;                          /* code for more arguments than the first four */
} made;

static void put_persistent(buffer *b, const made *m, bool legacy) {
    put_code(b, "(");
    put_text(b, "storage");
    put_code(b, "ctorch\n");
    put_code(b, m->storage ? m->storage : "FloatStorage");
    put_code(b, "\n");
    put_text(b, m->key ? m->key : "0");
    put_text(b, "cpu");
    put_number(b, m->count);
    put_code(b, legacy ? "NtQ" : "tQ");
}

static void put_tensor(buffer *b, const made *m, bool legacy) {
    put_code(b, "ctorch._utils\n");
    put_code(b, m->rebuild ? m->rebuild : "_rebuild_tensor_v2");
    put_code(b, "\n(");
    put_persistent(b, m, legacy);
    put_number(b, m->offset);
    put_tuple(b, m->rank, m->shape);
    put_tuple(b, m->strides ? m->strides : m->rank, m->stride);
    put_code(b, m->extra ? m->extra : "\211ccollections\nOrderedDict\n)R");
    put_code(b, "tR");
}

/* {"x": tensor} */
static void put_pickle(buffer *b, const made *m, bool legacy) {
    put_code(b, "\x80\2}");
    put_text(b, "x");
    put_tensor(b, m, legacy);
    put_code(b, "s.");
}

static void add_member(zip_t *z, const char *name, const void *bytes, size_t n) {
    void *copy = malloc(n + 1); /* libzip takes it over */
    assert_non_null(copy);
    if (n) memcpy(copy, bytes, n);
    zip_source_t *s = zip_source_buffer(z, copy, n, 1);
    zip_int64_t i = s ? zip_file_add(z, name, s, 0) : -1;
    assert_true(i >= 0);
    assert_int_equal(zip_set_file_compression(z, (zip_uint64_t)i, ZIP_CM_STORE, 0), 0);
}

/* A zip of the pickle and one storage "0". */
static void write_zip(const char *path, const buffer *pickle, const void *storage, size_t bytes) {
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(z);
    add_member(z, "made/data.pkl", pickle->bytes, pickle->n);
    if (storage) add_member(z, "made/data/0", storage, bytes);
    add_member(z, "made/version", "3\n", 2);
    assert_int_equal(zip_close(z), 0);
}

static void put_preamble(buffer *b) {
    put(b, "\x80\2\x8a\12\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
    put(b, "\x80\2M\xe9\3.", 6);
    put_code(b, "\x80\2}X\r");
    put(b, "\0\0\0little_endian\x88s.", 19);
}

/* A stream of the pickle and storages [count] elements of `bytes` bytes under keys "0", "1", ... */
static void write_legacy(const char *path, const buffer *pickle, int storages, const void *storage,
                         int64_t count, size_t bytes) {
    buffer *b = calloc(1, sizeof *b);
    assert_non_null(b);
    put_preamble(b);
    put(b, pickle->bytes, pickle->n);
    put_code(b, "\x80\2](");
    for (int i = 0; i < storages; i++) put_text(b, (char[]){(char)('0' + i), '\0'});
    put_code(b, "e.");
    for (int i = 0; i < storages; i++) {
        put(b, &count, sizeof count);
        put(b, storage, bytes);
    }
    check_write_file(path, b->bytes, b->n);
    free(b);
}

/* Both containers of one tensor over `storage` [bytes]; frees nothing. */
static void write_both(const made *m, const void *storage, size_t bytes, const char *zip,
                       const char *legacy) {
    buffer *b = calloc(1, sizeof *b);
    assert_non_null(b);
    put_pickle(b, m, false);
    write_zip(zip, b, storage, bytes);
    b->n = 0;
    put_pickle(b, m, true);
    write_legacy(legacy, b, 1, storage, m->count, bytes);
    free(b);
}

/* ---- views --------------------------------------------------------------------------------------------- */

enum { STORED = 24 };

static const struct {
    made m;
    float want[24];
} views[] = {
    {{.rank = 2, .shape = {2, 3}, .stride = {3, 1}}, {0, 1, 2, 3, 4, 5}},
    {{.rank = 2, .shape = {2, 3}, .stride = {3, 1}, .offset = 18},
     {18, 19, 20, 21, 22, 23}},                                                            /* up to the end */
    {{.rank = 2, .shape = {3, 2}, .stride = {1, 3}}, {0, 3, 1, 4, 2, 5}},                  /* transposed */
    {{.rank = 2, .shape = {2, 3}, .stride = {12, 2}, .offset = 1}, {1, 3, 5, 13, 15, 17}}, /* strided */
    {{.rank = 3, .shape = {2, 2, 2}, .stride = {1, 12, 4}}, {0, 4, 12, 16, 1, 5, 13, 17}}, /* permuted */
    {{.rank = 2, .shape = {3, 2}, .stride = {0, 1}, .offset = 7}, {7, 8, 7, 8, 7, 8}},     /* expanded */
    {{.rank = 1, .shape = {4}, .stride = {0}, .offset = 23}, {23, 23, 23, 23}},
    {{.rank = 0, .offset = 5}, {5}},
    {{.rank = 1, .shape = {0}, .stride = {1}}, {0}},
    {{.rank = 2, .shape = {0, 5}, .stride = {5, 1}, .offset = 24}, {0}}, /* empty, behind the last */
    {{.rank = 3, .shape = {1, 2, 1}, .stride = {999, 1, 77}}, {0, 1}}, /* the stride of a 1 does not count */
    {{.rank = 2, .shape = {4, 6}, .stride = {6, 1}},
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}},
    {{.rank = 8, .shape = {1, 1, 1, 2, 1, 1, 1, 2}, .stride = {1, 1, 1, 1, 1, 1, 1, 8}}, {0, 8, 1, 9}},
    {{.rank = 1, .shape = {2}, .stride = {23}, .rebuild = "_rebuild_tensor", .extra = ""}, {0, 23}},
    {{.rank = 1, .shape = {2}, .stride = {2}, .extra = "\x89N}U\4conj\x89s"}, {0, 2}},
};

static void expect_view(const char *path, const made *m, const float *want) {
    nn_error e = {0};
    nn_archive *a = check_open(path);
    assert_int_equal(nn_archive_count(a), 1);
    const npz_array *t = nn_archive_find(a, "x");
    assert_ptr_equal(t, nn_archive_at(a, 0));
    assert_int_equal(t->rank, m->rank);
    size_t count = 1;
    for (int i = 0; i < m->rank; i++) {
        assert_int_equal(t->shape[i], m->shape[i]);
        count *= (size_t)m->shape[i];
    }
    assert_int_equal(t->count, count);
    assert_int_equal(t->bytes, count * npz_dtype_size(t->dtype));
    float *x = malloc(count * sizeof *x + 1); /* exact: writing beyond is seen */
    assert_non_null(x);
    if (nn_archive_read_f32(a, t, x, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < count; i++)
        if (x[i] < want[i] || x[i] > want[i])
            fail_msg("%s: element %zu is %g, not %g", path, i, (double)x[i], (double)want[i]);
    free(x);
    nn_archive_close(a);
}

static void test_views(void **state) {
    (void)state;
    float storage[STORED];
    char *zip = check_tmp("view.pth"), *legacy = check_tmp("view_legacy.pth");
    for (int i = 0; i < STORED; i++) storage[i] = (float)i;
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        made m = views[i].m;
        m.count = STORED;
        write_both(&m, storage, sizeof storage, zip, legacy);
        expect_view(zip, &m, views[i].want);
        expect_view(legacy, &m, views[i].want);
    }
    free(zip), free(legacy);
}

/* Every storage class, a strided view of it: elements 0 and 2. */
static void test_dtypes(void **state) {
    (void)state;
    static const struct {
        const char *storage;
        npz_dtype dtype;
        unsigned char bytes[24]; /* three elements */
        float want[2];
    } all[] = {
        {"HalfStorage", NPZ_F16, {0, 0x3c, 1, 1, 0, 0xc0}, {1, -2}},
        {"BFloat16Storage", NPZ_BF16, {0x80, 0x3f, 1, 1, 0, 0xc0}, {1, -2}},
        {"FloatStorage", NPZ_F32, {0, 0, 0x80, 0x3f, 1, 1, 1, 1, 0, 0, 0, 0xc0}, {1, -2}},
        {"DoubleStorage", NPZ_F64, {[6] = 0xf0, 0x3f, [15] = 1, [23] = 0xc0}, {1, -2}},
        {"LongStorage", NPZ_I64, {1, [8] = 9, [16] = 0xfe, 255, 255, 255, 255, 255, 255, 255}, {1, -2}},
        {"IntStorage", NPZ_I32, {1, [4] = 9, [8] = 0xfe, 255, 255, 255}, {1, -2}},
        {"ShortStorage", NPZ_I16, {1, 0, 9, 9, 0xfe, 255}, {1, -2}},
        {"CharStorage", NPZ_I8, {1, 9, 0xfe}, {1, -2}},
        {"ByteStorage", NPZ_U8, {1, 9, 0xfe}, {1, 254}},
        {"BoolStorage", NPZ_BOOL, {1, 0, 0}, {1, 0}},
    };
    char *zip = check_tmp("dtype.pth"), *legacy = check_tmp("dtype_legacy.pth");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        made m = {.storage = all[i].storage, .rank = 1, .shape = {2}, .stride = {2}, .count = 3};
        write_both(&m, all[i].bytes, 3 * npz_dtype_size(all[i].dtype), zip, legacy);
        expect_view(zip, &m, all[i].want);
        expect_view(legacy, &m, all[i].want);
        nn_archive *a = check_open(zip);
        assert_int_equal(nn_archive_at(a, 0)->dtype, all[i].dtype);
        nn_archive_close(a);
    }
    /* bytes of no type, and the type beside them: how newer types are kept */
    made m = {.storage = "UntypedStorage",
              .rebuild = "_rebuild_tensor_v3",
              .rank = 1,
              .shape = {2},
              .stride = {2},
              .offset = 1,
              .count = 8,
              .extra = "\x89Nctorch\nuint16\n"};
    const uint16_t shorts[4] = {1, 65535, 3, 4};
    write_both(&m, shorts, sizeof shorts, zip, legacy);
    expect_view(zip, &m, (float[]){65535, 4});
    expect_view(legacy, &m, (float[]){65535, 4});
    free(zip), free(legacy);
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

static void test_bad_views(void **state) {
    (void)state;
    static const struct {
        made m;
        const char *word;
    } bad[] = {
        {{.rank = 1, .shape = {25}, .stride = {1}}, "more elements than its storage"},
        {{.rank = 1, .shape = {24}, .stride = {1}, .offset = 1}, "more elements than its storage"},
        {{.rank = 1, .shape = {2}, .stride = {24}}, "more elements than its storage"},
        {{.rank = 1, .shape = {2}, .stride = {INT64_MAX}}, "more elements than its storage"},
        {{.rank = 2, .shape = {2, 2}, .stride = {INT64_MAX, INT64_MAX}}, "more elements than its storage"},
        {{.rank = 3, .shape = {3, 3, 3}, .stride = {INT64_MAX / 2, INT64_MAX / 2, 1}}, "more elements"},
        {{.rank = 1, .shape = {1}, .stride = {1}, .offset = 24}, "more elements than its storage"},
        {{.rank = 1, .shape = {1}, .stride = {1}, .offset = INT64_MAX}, "more elements than its storage"},
        {{.rank = 1, .shape = {0}, .stride = {1}, .offset = 25}, "more elements than its storage"},
        {{.rank = 0, .offset = 24}, "more elements than its storage"},
        {{.rank = 2, .shape = {2147483647, 16}, .stride = {16, 1}}, "more elements than its storage"},
        {{.rank = 2, .shape = {INT64_MAX, 16}, .stride = {0, 1}}, "more elements"},
        {{.rank = 3, .shape = {INT64_MAX, INT64_MAX, 0}, .stride = {0, 0, 1}}, "more elements"},
        {{.rank = 1, .shape = {1 << 28}, .stride = {0}}, "repeats"}, /* a gigabyte out of four bytes */
        {{.rank = 1, .shape = {-1}, .stride = {1}}, "cannot be"},
        {{.rank = 1, .shape = {2}, .stride = {-1}, .offset = 3}, "cannot be"},
        {{.rank = 1, .shape = {2}, .stride = {1}, .offset = -1}, "cannot be"},
        {{.rank = 2, .shape = {2, 2}, .stride = {1}, .strides = 1}, "cannot be"},
        {{.rank = 9, .shape = {1, 1, 1, 1, 1, 1, 1, 1, 1}, .stride = {1}}, "cannot be"},
        {{.rank = 1, .shape = {1}, .stride = {1}, .storage = "QInt8Storage"}, "torch.QInt8Storage"},
        {{.rank = 1, .shape = {1}, .stride = {1}, .rebuild = "_rebuild_sparse_tensor"},
         "_rebuild_sparse_tensor"},
        {{.rank = 1, .shape = {1}, .stride = {1}, .rebuild = "_rebuild_tensor_v3"}, "_rebuild_tensor_v3"},
        {{.rank = 1,
          .shape = {1},
          .stride = {1},
          .rebuild = "_rebuild_tensor_v3",
          .extra = "\x89Nctorch\nfloat8\n"},
         "type that is not read"},
        {{.rank = 1, .shape = {1}, .stride = {1}, .extra = "\x89N}U\4conj\x88s"}, "conjugated"},
        {{.rank = 1, .shape = {1}, .stride = {1}, .extra = "\x89N}U\3neg\x88s"}, "negated"},
        {{.rank = 1,
          .shape = {1},
          .stride = {1},
          .extra = "\211"
                   "cos\nsystem\n"},
         "os.system"},
    };
    float storage[STORED] = {0};
    char *zip = check_tmp("bad.pth"), *legacy = check_tmp("bad_legacy.pth");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        made m = bad[i].m;
        m.count = STORED;
        write_both(&m, storage, sizeof storage, zip, legacy);
        check_refused(zip, bad[i].word);
        check_refused(legacy, bad[i].word);
    }
    free(zip), free(legacy);
}

/* The storage is not as long as the pickle says, or not there. */
static void test_bad_storages(void **state) {
    (void)state;
    float storage[STORED] = {0};
    made m = {.rank = 1, .shape = {2}, .stride = {1}, .count = STORED};
    char *zip = check_tmp("bad.pth"), *legacy = check_tmp("bad_legacy.pth");
    buffer *b = calloc(1, sizeof *b);
    assert_non_null(b);
    put_pickle(b, &m, false);
    write_zip(zip, b, storage, sizeof storage - 1);
    check_refused(zip, "data of tensor \"x\" (storage \"0\") is shorter");
    write_zip(zip, b, NULL, 0);
    check_refused(zip, "data of tensor \"x\" (storage \"0\") is missing");

    b->n = 0;
    put_pickle(b, &m, true);
    write_legacy(legacy, b, 1, storage, STORED, sizeof storage - 1);
    check_refused(legacy, "data of tensor \"x\" (storage \"0\") is cut short");
    write_legacy(legacy, b, 1, storage, STORED - 1, sizeof storage);
    check_refused(legacy, "another length");
    write_legacy(legacy, b, 1, storage, -1, sizeof storage);
    check_refused(legacy, "another length");
    write_legacy(legacy, b, 0, storage, STORED, sizeof storage);
    check_refused(legacy, "is missing");
    write_legacy(legacy, b, 2, storage, STORED, sizeof storage);
    check_refused(legacy, "list of storages");

    m.count = -1;
    b->n = 0;
    put_pickle(b, &m, false);
    write_zip(zip, b, storage, sizeof storage);
    check_refused(zip, "contradicts itself");
    m.count = INT64_MAX / 2;
    b->n = 0;
    put_pickle(b, &m, false);
    write_zip(zip, b, storage, sizeof storage);
    check_refused(zip, "contradicts itself");
    free(b), free(zip), free(legacy);
}

/* The code of a pickle, a word of the refusal. {T} stands for a tensor. */
static void test_bad_trees(void **state) {
    (void)state;
    static const char tensor[] = "{T}";
    static const struct {
        const char *code;
        size_t n;
        const char *word;
    } bad[] = {
        {CODE("}."), "holds no tensors"},
        {CODE("cmy\nNet\n)R."), "an object of the class my.Net"},
        {CODE("}U\1xctorch._utils\n_rebuild_tensor_v2\n(cmy\nStorage\n)RK\0))tRs."), "depends on an object"},
        {CODE("}U\1xctorch._utils\n_rebuild_tensor_v2\n(U\1kQK\0))tRs."), "depends on an object"},
        {CODE("}U\1xctorch._utils\n_rebuild_parameter\n(cmy\nData\n)Rt\x81s."), "_rebuild_parameter"},
        {CODE("}U\1xctorch._utils\n_rebuild_tensor_v2\nNRs."), "not read"},
        {CODE("}(U\1a}U\1b{T}sU\3a.b{T}u."), "two tensors are named \"a.b\""},
        {CODE("}(U\1a{T}U\1a{T}u."), "two tensors are named \"a\""},
        {CODE("}U\3a\nb{T}s."), "no text"},
        {CODE("}U\2\xff\xfe{T}s."), "no text"},
        {CODE("}U\0{T}s."), "under a key"},
        {CODE("}N{T}s."), "under a key"},
        {CODE("}q\0U\1ah\0sU\1b{T}s."), "64 deep"}, /* a dict that holds itself */
    };
    char *zip = check_tmp("tree.pth");
    buffer *b = calloc(1, sizeof *b);
    float storage[STORED] = {0};
    assert_non_null(b);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        made m = {.rank = 1, .shape = {2}, .stride = {1}, .count = STORED};
        const char *code = bad[i].code, *end = code + bad[i].n;
        b->n = 0;
        for (const char *c = code; c < end;) {
            bool here = strncmp(c, tensor, 3) == 0;
            if (here)
                put_tensor(b, &m, false);
            else
                put(b, c, 1);
            c += here ? 3 : 1;
        }
        write_zip(zip, b, storage, sizeof storage);
        check_refused(zip, bad[i].word);
    }
    free(b), free(zip);
}

/* Twenty lists, each holding the one before ten times, and at the bottom a tensor. */
static void test_a_tree_that_never_ends(void **state) {
    (void)state;
    made m = {.rank = 1, .shape = {2}, .stride = {1}, .count = STORED};
    char *zip = check_tmp("laughs.pth");
    float storage[STORED] = {0};
    buffer *b = calloc(1, sizeof *b);
    assert_non_null(b);
    put_code(b, "}U\1a");
    put_tensor(b, &m, false);
    put(b, "q\0000", 3);
    for (int i = 0; i < 20; i++) put(b, "](h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0eq\0000", 26);
    put(b, "h\0s.", 4);
    write_zip(zip, b, storage, sizeof storage);
    check_refused(zip, "more than 16384 tensors");
    free(b), free(zip);
}

static void test_legacy_preamble(void **state) {
    (void)state;
    char *path = check_tmp("preamble.pth");
    buffer *b = calloc(1, sizeof *b);
    assert_non_null(b);
    put_preamble(b);
    size_t n = b->n;
    b->bytes[17] = 'M', b->bytes[18] = 1; /* protocol 769 */
    check_write_file(path, b->bytes, n);
    check_refused(path, "format that is not known");
    b->n = 0;
    put_preamble(b);
    b->bytes[n - 3] = 0x89; /* little_endian: False */
    check_write_file(path, b->bytes, n);
    check_refused(path, "big-endian");
    free(b), free(path);
}

static void test_zips_that_are_no_checkpoint(void **state) {
    (void)state;
    static const struct {
        const char *members[4], *word;
    } bad[] = {
        {{"my voice.pth", "readme.txt"}, "\"my voice.pth\" in it; unpack it first"},
        {{"a/data.pkl", "b/data.pkl"}, "two pickles"},
        {{"a/data.pkl", "a/constants.pkl"}, "TorchScript"},
        {{"a/data.pkl", "a/byteorder"}, "its pickle"},
    };
    char *path = check_tmp("other.zip");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
        assert_non_null(z);
        for (int k = 0; k < 4 && bad[i].members[k]; k++) add_member(z, bad[i].members[k], "xyz", 3);
        assert_int_equal(zip_close(z), 0);
        check_refused(path, bad[i].word);
    }
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(z);
    add_member(z, "a/data.pkl", "N.", 2);
    add_member(z, "a/byteorder", "big", 3);
    assert_int_equal(zip_close(z), 0);
    check_refused(path, "big-endian");
    free(path);
}

/* What people hand over instead of a model. */
static void test_other_files(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *word;
    } bad[] = {
        {"", 0, "is empty"},
        {"\n <html>", 8, "web page"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull"},
        {"no model\n", 9, "text file"},
        {"PK\3\4....", 8, "cut short"},
        {"PK\5\6", 4, "zip archive"},
        {"IwFl\0\3\0\0", 8, "FAISS index"},
        {"IxF2\0\3\0\0", 8, "FAISS index"},
        {"RIFF....WAVE", 12, "audio"},
        {"\x80\2}q\0.", 6, "not a PyTorch checkpoint"},
        {"\x1f\x8b\10\0", 4, "gzip"},
        {"\0\1\2\3", 4, "something else"},
    };
    char *path = check_tmp("other.pth");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        check_write_file(path, bad[i].bytes, bad[i].n);
        check_refused(path, bad[i].word);
    }
    char tar[512] = "pickle";
    memcpy(tar + 257, "ustar", 5);
    check_write_file(path, tar, sizeof tar);
    check_refused(path, "0.1.2");
    check_refused("no such file.pth", "cannot be opened");
    check_refused("/", "folder");
    free(path);
}

/* ---- PyTorch's own files ------------------------------------------------------------------------------- */

static void expect_tensors(const char *path, const cJSON *want) {
    nn_error e = {0};
    nn_archive *a = check_open(path);
    const cJSON *tensor;
    size_t i = 0, values = 0;
    assert_int_equal(nn_archive_count(a), cJSON_GetArraySize(want));
    cJSON_ArrayForEach(tensor, want) {
        const npz_array *t = nn_archive_at(a, i++);
        const cJSON *shape = cJSON_GetObjectItem(tensor, "shape"), *value;
        assert_string_equal(t->name, tensor->string);
        assert_string_equal(npz_dtype_name(t->dtype), cJSON_GetObjectItem(tensor, "dtype")->valuestring);
        assert_int_equal(t->rank, cJSON_GetArraySize(shape));
        for (int k = 0; k < t->rank; k++)
            assert_int_equal(t->shape[k], cJSON_GetArrayItem(shape, k)->valueint);
        assert_int_equal(t->count, cJSON_GetArraySize(cJSON_GetObjectItem(tensor, "values")));
        float *x = malloc((size_t)t->count * sizeof *x + 1), *next = x;
        double *d = malloc((size_t)t->bytes + 1);
        assert_true(x && d);
        if (nn_archive_read_f32(a, t, x, &e) || nn_archive_read(a, t, d, &e)) fail_msg("%s", e.text);
        cJSON_ArrayForEach(value, cJSON_GetObjectItem(tensor, "values")) {
            double v = t->dtype == NPZ_F64 ? d[next - x] : (double)*next;
            next++;
            if (v < value->valuedouble || v > value->valuedouble)
                fail_msg("%s: %s holds %.17g, not %.17g", path, t->name, v, value->valuedouble);
            values++;
        }
        free(x), free(d);
    }
    print_message("%s: %zu tensors, %zu values equal\n", nn_archive_format(a), i, values);
    nn_archive_close(a);
}

static void test_fixtures_have_the_expected_values(void **state) {
    (void)state;
    const char *json = check_shared("fixtures/pth/tensors_expected.json");
    if (!json) skip();
    size_t n;
    unsigned char *text = check_read_file(json, &n);
    cJSON *want = cJSON_ParseWithLength((char *)text, n);
    assert_non_null(want);
    expect_tensors(check_shared("fixtures/pth/tensors_zip.pt"), want);
    expect_tensors(check_shared("fixtures/pth/tensors_legacy.pt"), want);
    cJSON_Delete(want);
    free(text);
}

static void test_fixtures_are_listed(void **state) {
    (void)state;
    static const struct {
        const char *file, *format, *first;
        size_t count;
        const char *json; /* a part of it; NULL: none */
    } good_files[] = {
        {"fixtures/pth/voice_zip.pth", "torch zip", "enc_p.emb_phone.weight", 6, "\"version\":\"v2\""},
        {"fixtures/pth/voice_legacy.pth", "torch legacy", "enc_p.emb_phone.weight", 6,
         "\"config\":[1025,32,192,192,768,2,6,3,0,\"1\",[3,7,11],[[1,3,5],[1,3,5],[1,3,5]],[10,10,2,2],512,"
         "[16,16,4,4],109,256,40000],\"info\":\"200epoch\",\"sr\":\"40k\",\"f0\":1"},
        {"fixtures/pth/voice_fork_keys.pth", "torch zip", "enc_p.emb_phone.weight", 6,
         "\"vocoder\":\"HiFi-GAN\""},
        {"fixtures/pth/hubert_fairseq_zip.pt", "torch zip", "mask_emb", 3, "\"encoder_layers\":12"},
        {"fixtures/pth/hubert_fairseq_legacy.pt", "torch legacy", "mask_emb", 3, "\"num_updates\":400000"},
        {"fixtures/pth/state_dict_build.pt", "torch zip", "0.weight", 7, NULL},
        {"real/crepe_tiny_real.pth", "torch zip", "conv1.weight", 44, NULL},
    };
    for (size_t i = 0; i < sizeof good_files / sizeof good_files[0]; i++) {
        const char *path = check_shared(good_files[i].file);
        if (!path) skip();
        nn_archive *a = check_open(path);
        assert_string_equal(nn_archive_path(a), path);
        assert_string_equal(nn_archive_format(a), good_files[i].format);
        assert_string_equal(nn_archive_at(a, 0)->name, good_files[i].first);
        assert_int_equal(nn_archive_count(a), good_files[i].count);
        const char *json = nn_archive_json(a);
        if (good_files[i].json && (!json || !strstr(json, good_files[i].json)))
            fail_msg("%s: %s", path, json);
        if (!good_files[i].json) assert_null(json);
        cJSON *parsed = json ? cJSON_Parse(json) : NULL;
        assert_true(!json || parsed);
        cJSON_Delete(parsed);
        nn_archive_close(a);
        assert_int_equal(check_read_all(path), NN_OK);
    }
}

static void test_bad_fixtures_have_their_own_line(void **state) {
    (void)state;
    static const char *const lines[][2] = {
        {"bad_deep_pickle", "more than 65536 values"},
        {"bad_empty", "it is empty"},
        {"bad_eval",
         "wants to run code on the computer that opens it: its pickle calls for __builtin__.eval"},
        {"bad_html", "web page"},
        {"bad_huge_shape", "tensor \"enc_p.emb_phone.weight\" has a shape that asks for more elements"},
        {"bad_lfs_pointer", "git lfs pull"},
        {"bad_missing_storage", "tensor \"enc_p.emb_phone.bias\" (storage \"1\") is missing"},
        {"bad_os_system",
         "wants to run code on the computer that opens it: its pickle calls for posix.system"},
        {"bad_pickle_cut", "its pickle ends early"},
        {"bad_short_storage", "tensor \"enc_p.emb_phone.weight\" (storage \"0\") is shorter"},
        {"bad_text", "text file"},
        {"bad_truncated", "zip archive that is cut short"},
    };
    char file[64];
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        snprintf(file, sizeof file, "fixtures/pth/%s.pth", lines[i][0]);
        const char *path = check_shared(file);
        if (!path) skip();
        check_refused(path, lines[i][1]);
        assert_int_not_equal(access("PWNED", F_OK), 0);
    }
}

static void test_every_truncation_and_change(void **state) {
    (void)state;
    static const char *const files[] = {"fixtures/pth/voice_zip.pth", "fixtures/pth/voice_legacy.pth",
                                        "fixtures/pth/hubert_fairseq_legacy.pt"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *path = check_shared(files[i]);
        size_t n;
        if (!path) skip();
        unsigned char *bytes = check_read_file(path, &n);
        check_truncations(bytes, n, "cut.pth");
        print_message("%zu of %zu changes refused\n", check_changes(bytes, n, "changed.pth"), 2 * n);
        free(bytes);
    }
}

/* ---- under the names the networks ask for -------------------------------------------------------------- */

static nn_archive *open_grid(void) {
    float storage[STORED];
    char *path = check_tmp("grid.pth"), *legacy = check_tmp("grid_legacy.pth");
    made m = {.rank = 3, .shape = {2, 3, 4}, .stride = {12, 4, 1}, .count = STORED};
    for (int i = 0; i < STORED; i++) storage[i] = (float)i;
    write_both(&m, storage, sizeof storage, path, legacy);
    nn_archive *a = check_open(path);
    free(path), free(legacy);
    return a;
}

static void test_weights_under_other_names(void **state) {
    (void)state;
    nn_archive *a = open_grid();
    nn_weights *w;
    nn_error e = {0};
    const npz_array *x = nn_archive_at(a, 0);
    const nn_weight_alias aliases[2] = {{x, "turned", {3, {0, 2, 1}}}, {x, "same", {0}}};
    if (nn_weights_from(&w, a, aliases, 2, "{\"a\": 1}", &e)) fail_msg("%s", e.text);
    assert_int_equal(nn_weights_count(w), 2);
    assert_string_equal(nn_weights_config(w), "{\"a\": 1}");
    assert_null(nn_weights_peek(w, "x"));
    float *turned, *same;
    if (nn_weights_load(w, "turned", 3, (int64_t[]){2, 4, 3}, &turned, &e) ||
        nn_weights_load(w, "same", 3, (int64_t[]){2, 3, 4}, &same, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++) {
                float want = (float)(12 * i + 4 * j + k);
                assert_true(same[12 * i + 4 * j + k] >= want && same[12 * i + 4 * j + k] <= want);
                assert_true(turned[12 * i + 3 * k + j] >= want && turned[12 * i + 3 * k + j] <= want);
            }
    free(turned), free(same);
    nn_weights_free(w);
}

static void test_weights_with_wrong_names(void **state) {
    (void)state;
    static const nn_weight_transform wrong[] = {{2, {1, 0}}, {3, {0, 1, 1}}, {3, {0, 1, 3}}, {3, {0, 1, -1}}};
    nn_weights *w;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        nn_archive *a = open_grid();
        nn_error e = {0};
        nn_weight_alias alias = {nn_archive_at(a, 0), "turned", wrong[i]};
        assert_int_equal(nn_weights_from(&w, a, &alias, 1, NULL, &e), NN_ERROR_ARGUMENT);
        assert_non_null(strstr(e.text, "axes"));
        assert_null(w);
    }
    nn_archive *a = open_grid();
    nn_error e = {0};
    const nn_weight_alias twice[2] = {{nn_archive_at(a, 0), "y", {0}}, {nn_archive_at(a, 0), "y", {0}}};
    assert_int_equal(nn_weights_from(&w, a, twice, 2, NULL, &e), NN_ERROR_ARGUMENT);
    assert_non_null(strstr(e.text, "named twice"));
}

static void test_weights_open_reads_checkpoints(void **state) {
    (void)state;
    const char *path = check_shared("fixtures/pth/voice_zip.pth");
    if (!path) skip();
    nn_weights *w;
    nn_error e = {0};
    if (nn_weights_open(&w, path, &e)) fail_msg("%s", e.text);
    assert_string_equal(nn_weights_peek(w, "emb_g.weight")->dtype, "float16");
    assert_non_null(strstr(nn_weights_config(w), "\"sr\":\"40k\""));
    float *x;
    if (nn_weights_load(w, "emb_g.weight", 2, (int64_t[]){3, 5}, &x, &e)) fail_msg("%s", e.text);
    free(x);
    nn_weights_free(w);
    path = check_shared("fixtures/pth/bad_nan_weight.pth");
    if (!path) skip();
    if (nn_weights_open(&w, path, &e)) fail_msg("%s", e.text);
    nn_code code = NN_OK;
    for (size_t i = 0; !code && i < nn_weights_count(w); i++) {
        code = nn_weights_load(w, nn_weights_at(w, i)->name, -1, NULL, &x, &e);
        free(x);
    }
    assert_int_equal(code, NN_ERROR_MODEL);
    assert_non_null(strstr(e.text, "NaN"));
    nn_weights_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_bad_views),
        cmocka_unit_test(test_bad_storages),
        cmocka_unit_test(test_bad_trees),
        cmocka_unit_test(test_a_tree_that_never_ends),
        cmocka_unit_test(test_legacy_preamble),
        cmocka_unit_test(test_zips_that_are_no_checkpoint),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_fixtures_have_the_expected_values),
        cmocka_unit_test(test_fixtures_are_listed),
        cmocka_unit_test(test_bad_fixtures_have_their_own_line),
        cmocka_unit_test(test_every_truncation_and_change),
        cmocka_unit_test(test_weights_under_other_names),
        cmocka_unit_test(test_weights_with_wrong_names),
        cmocka_unit_test(test_weights_open_reads_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
