/* test_index.c - FAISS index files: what FAISS wrote is read and searched as FAISS does; what is damaged is
 * refused.
 *
 * Small indexes are built here byte by byte from the layout in rvc/index.c, so each field can be broken on
 * its own. */
#include "check.h"

#include <stdbool.h>

#include "../nn/npz.h"
#include "../rvc/index.h"

/* ---- building an index --------------------------------------------------------------------------------- */

enum { WIDTH = 5, LISTS = 3, VECTORS = 7 };

typedef struct bytes {
    unsigned char data[4096];
    size_t n;
} bytes;

static void put(bytes *b, const void *p, size_t n) {
    assert_true(b->n + n <= sizeof b->data);
    memcpy(b->data + b->n, p, n);
    b->n += n;
}
static void put_u64(bytes *b, uint64_t v) {
    put(b, &v, sizeof v);
}
static void put_header(bytes *b, const char *fourcc, int32_t width, int64_t vectors, int32_t metric) {
    put(b, fourcc, 4);
    put(b, &width, 4);
    put(b, &vectors, 8);
    put_u64(b, 1 << 20);
    put_u64(b, 1 << 20);
    put(b, "\1", 1);
    put(b, &metric, 4);
}

/* Vector i is (i, i/2, 0, 1, -i): list 0 holds 0..2, list 1 nothing, list 2 holds 3..6; centroids at 1, 100
 * and 5. */
static void vector_of(float v[WIDTH], float i) {
    const float values[WIDTH] = {i, i / 2, 0, 1, -i};
    memcpy(v, values, sizeof values);
}

static void put_vectors(bytes *b, int from, int to) {
    for (int i = from; i < to; i++) {
        float v[WIDTH];
        vector_of(v, (float)i);
        put(b, v, sizeof v);
    }
}

static void put_ids(bytes *b, int from, int to) {
    for (int i = from; i < to; i++) put_u64(b, (uint64_t)i);
}

static void build_flat(bytes *b, int32_t metric) {
    put_header(b, "IxF2", WIDTH, VECTORS, metric);
    put_u64(b, WIDTH * VECTORS);
    put_vectors(b, 0, VECTORS);
}

static void build_ivf(bytes *b, const char *fourcc, uint64_t nprobe, bool sparse, bool hashed) {
    put_header(b, fourcc, WIDTH, VECTORS, 1);
    put_u64(b, LISTS);
    put_u64(b, nprobe);
    put_header(b, "IxF2", WIDTH, LISTS, 1);
    put_u64(b, WIDTH * LISTS);
    const float centre[LISTS] = {1, 100, 5};
    for (int l = 0; l < LISTS; l++) {
        float v[WIDTH];
        vector_of(v, centre[l]);
        put(b, v, sizeof v);
    }
    put(b, hashed ? "\2" : "\0", 1);
    put_u64(b, 0);
    if (hashed) {
        put_u64(b, 1);
        put_u64(b, 6);
        put_u64(b, 2);
    }
    put(b, "ilar", 4);
    put_u64(b, LISTS);
    put_u64(b, WIDTH * sizeof(float));
    const uint64_t full[] = {3, 3, 0, 4}, pairs[] = {4, 0, 3, 2, 4};
    put(b, sparse ? "sprs" : "full", 4);
    if (sparse)
        put(b, pairs, sizeof pairs);
    else
        put(b, full, sizeof full);
    put_vectors(b, 0, 3);
    put_ids(b, 0, 3);
    put_vectors(b, 3, VECTORS);
    put_ids(b, 3, VECTORS);
}

/* Writes b's first n bytes to a file and opens it. */
static nn_code open_bytes(const bytes *b, size_t n, rvc_index **x, nn_error *e) {
    char *path = check_tmp("made.index");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->data, 1, n, f), n);
    fclose(f);
    nn_code code = rvc_index_open(x, path, e);
    free(path);
    return code;
}

/* ---- parity -------------------------------------------------------------------------------------------- */

static void *read_array(npz *z, const char *name) {
    const npz_array *a = npz_find(z, name);
    assert_non_null(a);
    void *p = malloc(a->bytes + 1);
    assert_non_null(p);
    assert_int_equal(npz_read(z, a, p, NULL), 0);
    return p;
}

/* Ids equal, scores and blended vectors within 1e-5; row 7, NaN in the recording, is the vector it hits. */
static void compare_with_faiss(rvc_index *x, npz *z, int threads) {
    size_t n = (size_t)npz_find(z, "features")->shape[0], width = (size_t)npz_find(z, "features")->shape[1];
    float *features = read_array(z, "features"), *scores = read_array(z, "scores"),
          *want = read_array(z, "retrieved");
    int64_t *ids = read_array(z, "ids");
    float *got_scores = malloc(n * 8 * sizeof(float)), *exact = malloc(width * sizeof(float));
    int64_t *got_ids = malloc(n * 8 * sizeof(int64_t));
    const rvc_index_float **vectors = malloc(n * 8 * sizeof *vectors);
    assert_int_equal(rvc_index_search(x, features, n, 8, got_scores, got_ids, vectors, threads, NULL), 0);
    double worst = 0;
    for (size_t i = 0; i < n * 8; i++) {
        assert_int_equal(got_ids[i], ids[i]);
        worst = fmax(worst, fabs((double)got_scores[i] - (double)scores[i]) / fmax(1e-30, (double)scores[i]));
    }
    assert_true(got_scores[7 * 8] <= 0);
    memcpy(exact, vectors[7 * 8], width * sizeof(float));
    memcpy(want + 7 * width, exact, width * sizeof(float));
    assert_int_equal(rvc_index_retrieve(x, features, n, 1.0f, threads, NULL), 0);
    double error = check_max_error(features, want, n * width);
    print_message("%d threads: scores within %.2g (relative), retrieved within %.2g, %.1f dB\n", threads,
                  worst, error, check_snr_db(features, want, n * width));
    assert_true(worst < 1e-5);
    assert_true(error < 1e-5);
    assert_memory_equal(features + 7 * width, exact, width * sizeof(float));
    free(features), free(scores), free(want), free(ids), free(got_scores), free(got_ids), free(exact);
    free((void *)vectors);
}

static void test_parity_with_faiss(void **state) {
    (void)state;
    const char *index = check_shared("fixtures/index/added_IVF9_Flat_nprobe_1_demo_v2.index");
    const char *expected = check_shared("fixtures/index/retrieval_v2.npz");
    if (!index || !expected) skip();
    rvc_index *x;
    npz *z;
    assert_int_equal(rvc_index_open(&x, index, NULL), 0);
    assert_int_equal(npz_open(&z, expected, NULL), 0);
    for (int threads = 1; threads <= 3; threads++) compare_with_faiss(x, z, threads);
    npz_close(z);
    rvc_index_close(x);
}

static void test_files_of_faiss_open(void **state) {
    (void)state;
    static const struct {
        const char *path, *type;
        int width, lists, nprobe;
        int64_t vectors;
    } known[] = {
        {"fixtures/index/added_IVF3_Flat_nprobe_1_demo_v1.index", "IVF-Flat", 256, 3, 1, 150},
        {"fixtures/index/added_IVF9_Flat_nprobe_1_demo_v2.index", "IVF-Flat", 768, 9, 1, 459},
        {"fixtures/index/flat_demo_v2.index", "flat", 768, 0, 0, 200},
        {"fixtures/index/trained_IVF9_Flat_nprobe_1_demo_v2.index", "IVF-Flat", 768, 9, 1, 0},
        {"real/added_IVF6_Flat_nprobe_1_v2.index", "IVF-Flat", 768, 6, 1, 244},
        {"real/one_list_v2.index", "IVF-Flat", 768, 1, 1, 48},
        {"real/trained_IVF9_Flat_nprobe_1_v2.index", "IVF-Flat", 768, 9, 1, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const char *path = check_shared(known[i].path);
        if (!path) skip();
        rvc_index *x;
        nn_error e = {0};
        if (rvc_index_open(&x, path, &e)) fail_msg("%s", e.text);
        assert_string_equal(rvc_index_type(x), known[i].type);
        assert_int_equal(rvc_index_width(x), known[i].width);
        assert_int_equal(rvc_index_lists(x), known[i].lists);
        assert_int_equal(rvc_index_nprobe(x), known[i].nprobe);
        assert_int_equal(rvc_index_vectors(x), known[i].vectors);
        rvc_index_close(x);
    }
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

static void test_check_names_the_mistake(void **state) {
    (void)state;
    const char *trained = check_shared("fixtures/index/trained_IVF9_Flat_nprobe_1_demo_v2.index");
    if (!trained) skip();
    rvc_index *x;
    nn_error empty = {0}, width = {0};
    assert_int_equal(rvc_index_open(&x, trained, NULL), 0);
    assert_int_equal(rvc_index_check(x, 768, &empty), NN_ERROR_MODEL);
    assert_non_null(strstr(empty.text, "trained_"));
    assert_non_null(strstr(empty.text, "added_"));
    assert_int_equal(rvc_index_check(x, 256, &width), NN_ERROR_MODEL);
    assert_non_null(strstr(width.text, "768 wide (v2)"));
    assert_non_null(strstr(width.text, "256 (v1)"));
    float q[768] = {0}; /* nothing to find: left alone */
    assert_int_equal(rvc_index_retrieve(x, q, 1, 1, 1, NULL), 0);
    for (int i = 0; i < 768; i++) assert_true(q[i] == 0);
    rvc_index_close(x);
}

static void test_unsupported_type_is_named(void **state) {
    (void)state;
    const char *path = check_shared("fixtures/index/unsupported_IVF4_SQ8.index");
    if (!path) skip();
    rvc_index *x;
    nn_error e = {0};
    assert_int_equal(rvc_index_open(&x, path, &e), NN_ERROR_FORMAT);
    assert_null(x);
    assert_non_null(strstr(e.text, "IwSq"));
    assert_non_null(strstr(e.text, "scalar quantizer"));
    assert_non_null(strstr(e.text, "unsupported_IVF4_SQ8.index"));
}

static void test_other_files_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"<html>not found</html>", "PK\3\4 zip", "I", "", "IwFl"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        bytes b = {.n = 0};
        put(&b, texts[i], strlen(texts[i]));
        rvc_index *x;
        nn_error e = {0};
        assert_int_equal(open_bytes(&b, b.n, &x, &e), NN_ERROR_FORMAT);
        assert_non_null(strstr(e.text, "made.index"));
    }
    rvc_index *x;
    assert_int_equal(rvc_index_open(&x, "build/nothing.index", NULL), NN_ERROR_FILE);
    assert_int_equal(rvc_index_open(&x, "/", NULL), NN_ERROR_FILE);
    bytes inner = {.n = 0};
    build_flat(&inner, 0);
    nn_error e = {0};
    assert_int_equal(open_bytes(&inner, inner.n, &x, &e), NN_ERROR_FORMAT);
    assert_non_null(strstr(e.text, "inner product"));
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    bytes made[4] = {{.n = 0}};
    build_flat(&made[0], 1);
    build_ivf(&made[1], "IwFl", 1, false, false);
    build_ivf(&made[2], "IwFl", 1, true, false);
    build_ivf(&made[3], "IwFl", 1, false, true);
    for (size_t m = 0; m < 4; m++) {
        rvc_index *x;
        for (size_t n = 0; n < made[m].n; n++)
            assert_int_equal(open_bytes(&made[m], n, &x, NULL), NN_ERROR_FORMAT);
        assert_int_equal(open_bytes(&made[m], made[m].n, &x, NULL), 0);
        assert_int_equal(rvc_index_vectors(x), VECTORS);
        rvc_index_close(x);
    }
}

/* Every byte set to 0xff, 0x7f and 0x00: refused, or opened and searched without harm (what ASan sees to). */
static void test_every_byte_broken(void **state) {
    (void)state;
    static const unsigned char values[] = {0xff, 0x7f, 0};
    bytes good = {.n = 0};
    build_ivf(&good, "IwFl", 2, true, false);
    size_t refused = 0, opened = 0;
    for (size_t i = 0; i < good.n; i++)
        for (size_t v = 0; v < sizeof values; v++) {
            bytes b = good;
            b.data[i] = values[v];
            rvc_index *x;
            if (open_bytes(&b, b.n, &x, NULL)) {
                refused++;
                continue;
            }
            opened++;
            float *q = calloc((size_t)rvc_index_width(x), sizeof *q);
            assert_non_null(q);
            assert_int_equal(rvc_index_retrieve(x, q, 1, 0.5f, 1, NULL), 0);
            for (int j = 0; j < rvc_index_width(x); j++) assert_true(isfinite(q[j]));
            free(q);
            rvc_index_close(x);
        }
    print_message("%zu refused, %zu harmless\n", refused, opened);
    assert_true(refused > 100);
}

/* ---- searching ----------------------------------------------------------------------------------------- */

static void test_probes_and_missing_neighbours(void **state) {
    (void)state;
    for (uint64_t nprobe = 1; nprobe <= 99; nprobe += 49) {
        bytes b = {.n = 0};
        rvc_index *x;
        build_ivf(&b, "IwFl", nprobe, nprobe > 1, false);
        assert_int_equal(open_bytes(&b, b.n, &x, NULL), 0);
        assert_int_equal(rvc_index_nprobe(x), nprobe < LISTS ? nprobe : LISTS);
        float q[WIDTH], scores[8];
        int64_t ids[8];
        const rvc_index_float *vectors[8];
        vector_of(q, 2.25f); /* nearest centroid: list 0 */
        assert_int_equal(rvc_index_search(x, q, 1, 8, scores, ids, vectors, 1, NULL), 0);
        const int64_t one_list[8] = {2, 1, 0, -1, -1, -1, -1, -1}, all[8] = {2, 3, 1, 4, 0, 5, 6, -1};
        for (int j = 0; j < 8; j++) assert_int_equal(ids[j], nprobe == 1 ? one_list[j] : all[j]);
        assert_true(fabsf(scores[0] - 0.25f * 0.25f * 2.25f) < 1e-6f); /* (1 + 1/4 + 1) * 0.25^2 */
        assert_true(isinf(scores[7]) && !vectors[7]);
        assert_true(vectors[0][0] == 2);
        rvc_index_close(x);
    }
}

static void test_blending(void **state) {
    (void)state;
    bytes b = {.n = 0};
    rvc_index *x;
    build_ivf(&b, "IwFl", 1, false, false);
    assert_int_equal(open_bytes(&b, b.n, &x, NULL), 0);
    float q[3][WIDTH];
    vector_of(q[0], 2);    /* an exact hit */
    vector_of(q[1], 1.5f); /* 1 and 2 at equal distance, 0 at three times that: weights 1, 1, 1/81 */
    for (int i = 0; i < WIDTH; i++) q[2][i] = NAN;
    assert_int_equal(rvc_index_retrieve(x, &q[0][0], 3, 0.5f, 2, NULL), 0);
    assert_true(q[0][0] == 2);
    assert_true(fabs((double)q[1][0] - (0.5 * 1.5 + 0.5 * (1 + 2 + 0 / 81.0) / (2 + 1 / 81.0))) < 1e-6);
    assert_true(isnan(q[2][0])); /* no neighbour: left alone */
    float kept[WIDTH], same[WIDTH];
    vector_of(kept, 1.25f);
    memcpy(same, kept, sizeof same);
    assert_int_equal(rvc_index_retrieve(x, kept, 1, 0, 1, NULL), 0);
    assert_memory_equal(kept, same, sizeof same);
    nn_error e = {0};
    assert_int_equal(rvc_index_retrieve(x, kept, 1, 1.5f, 1, &e), NN_ERROR_ARGUMENT);
    assert_int_equal(rvc_index_retrieve(x, kept, 1, NAN, 1, NULL), NN_ERROR_ARGUMENT);
    assert_int_equal(rvc_index_search(x, kept, 1, 0, NULL, NULL, NULL, 1, NULL), NN_ERROR_ARGUMENT);
    rvc_index_close(x);
}

/* A vector whose id is -1 and one that is NaN are never found. */
static void test_ids_and_vectors_that_cannot_be(void **state) {
    (void)state;
    bytes b = {.n = 0};
    rvc_index *x;
    build_ivf(&b, "IwFl", 1, false, false);
    size_t second_list = VECTORS * WIDTH * 4 + VECTORS * 8 - 3 * (WIDTH * 4 + 8);
    size_t ids = b.n - second_list - 3 * 8, vectors = ids - 3 * WIDTH * 4;
    const int64_t none = -1;
    const float nan = NAN;
    memcpy(b.data + ids, &none, sizeof none);               /* vector 0 */
    memcpy(b.data + vectors + WIDTH * 4, &nan, sizeof nan); /* vector 1 */
    assert_int_equal(open_bytes(&b, b.n, &x, NULL), 0);
    float q[WIDTH], scores[3];
    int64_t found[3];
    vector_of(q, 0);
    assert_int_equal(rvc_index_search(x, q, 1, 3, scores, found, NULL, 1, NULL), 0);
    assert_int_equal(found[0], 2);
    assert_int_equal(found[1], -1);
    rvc_index_close(x);
}

/* Searched together, list by list and by several threads, queries find what each finds alone. */
static void test_groups_change_nothing(void **state) {
    (void)state;
    enum { N = 601, K = 3, LAST = LISTS };
    for (uint64_t nprobe = 1; nprobe <= LAST; nprobe++) {
        bytes b = {.n = 0};
        rvc_index *x;
        build_ivf(&b, "IwFl", nprobe, false, false);
        assert_int_equal(open_bytes(&b, b.n, &x, NULL), 0);
        float q[N][WIDTH], blended[N][WIDTH], scores[N][K], one_score[K];
        int64_t ids[N][K], one_id[K];
        uint64_t random = nprobe;
        for (int i = 0; i < N; i++) vector_of(q[i], 8 * check_random_float(&random));
        for (int threads = 1; threads <= 4; threads++) {
            memcpy(blended, q, sizeof q);
            assert_int_equal(
                rvc_index_search(x, &q[0][0], N, K, &scores[0][0], &ids[0][0], NULL, threads, NULL), 0);
            assert_int_equal(rvc_index_retrieve(x, &blended[0][0], N, 0.5f, threads, NULL), 0);
            for (int i = 0; i < N; i++) {
                float one[WIDTH];
                memcpy(one, q[i], sizeof one);
                assert_int_equal(rvc_index_search(x, one, 1, K, one_score, one_id, NULL, 1, NULL), 0);
                assert_int_equal(rvc_index_retrieve(x, one, 1, 0.5f, 1, NULL), 0);
                assert_memory_equal(scores[i], one_score, sizeof one_score);
                assert_memory_equal(ids[i], one_id, sizeof one_id);
                assert_memory_equal(blended[i], one, sizeof one);
            }
        }
        rvc_index_close(x);
    }
}

/* A flat index of the fixtures against distances in double, over more queries than a tile, with any number of
 * threads. */
static void test_flat_against_brute_force(void **state) {
    (void)state;
    enum { N = 70, K = 5, W = 768 };
    const char *path = check_shared("fixtures/index/flat_demo_v2.index");
    if (!path) skip();
    rvc_index *x;
    assert_int_equal(rvc_index_open(&x, path, NULL), 0);
    float *q = malloc(N * W * sizeof *q), scores[2][N * K];
    int64_t ids[2][N * K];
    assert_non_null(q);
    uint64_t random = 5;
    for (size_t i = 0; i < N * W; i++) q[i] = check_random_float(&random) / 4;
    int total = (int)rvc_index_vectors(x);
    const rvc_index_float **row = malloc((size_t)total * sizeof *row);
    float *one = malloc((size_t)total * sizeof *one);
    int64_t *order = malloc((size_t)total * sizeof *order);
    assert_true(row && one && order);
    assert_int_equal(rvc_index_search(x, q, N, K, scores[0], ids[0], NULL, 1, NULL), 0);
    static const char *const kernels[] = {"baseline", "avx2"}; /* the same bits as the widest */
    for (int i = 0; i < 2; i++) {
        setenv("RVC_CPU", kernels[i], 1);
        assert_int_equal(rvc_index_search(x, q, N, K, scores[1], ids[1], NULL, 9, NULL), 0);
        unsetenv("RVC_CPU");
        assert_memory_equal(scores[0], scores[1], sizeof scores[0]);
        assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(rvc_index_search(x, q + i * W, 1, total, one, order, row, 1, NULL), 0);
        for (int j = 0; j < total; j++) {
            double d = 0;
            for (size_t c = 0; c < W; c++) d += pow((double)q[i * W + c] - (double)row[j][c], 2);
            assert_true(fabs((double)one[j] - d) <= 2e-6 * d);
            if (j) assert_true(one[j] >= one[j - 1]);
        }
        assert_memory_equal(order, ids[0] + i * K, K * sizeof *order);
    }
    free(q), free(one), free(order);
    free((void *)row);
    rvc_index_close(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parity_with_faiss),
        cmocka_unit_test(test_files_of_faiss_open),
        cmocka_unit_test(test_check_names_the_mistake),
        cmocka_unit_test(test_unsupported_type_is_named),
        cmocka_unit_test(test_other_files_are_refused),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_byte_broken),
        cmocka_unit_test(test_probes_and_missing_neighbours),
        cmocka_unit_test(test_blending),
        cmocka_unit_test(test_ids_and_vectors_that_cannot_be),
        cmocka_unit_test(test_groups_change_nothing),
        cmocka_unit_test(test_flat_against_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
