/* test_vulkan_chunk.c - the ops around the networks (spectrogram, pitch, noise, source, spread, frames), on
 * the CPU back end (each instruction set) and on Vulkan with float32 and float16, against the functions that
 * do the same outside a graph.
 *
 * Errors are the largest difference relative to the greatest value. What is float32 on every device is held
 * to float32's rounding there too; float16 values to 2^-11. Without a Vulkan device the CPU alone is tested,
 * and it is said. */
#include "check_vulkan.h"

#include <stdbool.h>

#include "../mel/mel.h"
#include "../nn/nn.h"
#include "../rmvpe/rmvpe.h"
#include "../rvc/index.h"
#include "../rvc/signal.h"

enum { CPU, AVX2, BASELINE, F32, F16, DEVICES, TRIALS = 6 };
static nn_device *device[DEVICES];
static const char *const labels[DEVICES] = {"cpu", "avx2", "baseline", "f32", "f16"};
static nn_weights *weights;

static uint64_t seed = 9;
static double uniform(void) {
    return (double)check_random_float(&seed);
}
static int between(int low, int high) {
    return low + (int)(check_random(&seed) % (uint64_t)(high - low + 1));
}

static float *floats(size_t n, double offset, double scale) {
    float *x = malloc((n ? n : 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (float)(offset + scale * uniform());
    return x;
}

static float *floats_of(size_t n) {
    return floats(n, 0, 1);
}

/* f0 with unvoiced stretches. */
static float *pitch_track(size_t n) {
    float *f0 = floats(n, 300, 240);
    for (size_t i = 0; i < n; i++)
        if (i / 7 % 3 == 1) f0[i] = i % 2 ? 0 : 0.5f;
    return f0;
}

typedef struct named {
    const char *name;
    const void *data;
} named;

/* Output "y" of the graph on device d, for free(); [*count]. */
static void *run(nn_graph *g, int d, const named *input, int inputs, size_t *count) {
    nn_error e = {0};
    nn_plan *p = NULL;
    if (nn_plan_new(&p, g, device[d], &e)) fail_msg("%s: %s", labels[d], e.text);
    const nn_shape s = nn_plan_shape(p, "y");
    *count = (size_t)s.h * (size_t)s.w * (size_t)s.c;
    float *out[2];
    for (int i = 0; i < 2; i++) {
        out[i] = malloc(*count * sizeof **out);
        assert_non_null(out[i]);
        memset(out[i], 0xff, *count * sizeof **out);
        for (int k = 0; k < inputs; k++) nn_plan_write(p, input[k].name, input[k].data);
        if (nn_plan_run(p, &e)) fail_msg("%s: %s", labels[d], e.text);
        nn_plan_read(p, "y", out[i]);
    }
    assert_memory_equal(out[0], out[1], *count * sizeof **out); /* runs repeat to the bit */
    free(out[1]);
    nn_plan_free(p);
    return out[0];
}

/* The largest difference relative to the greatest of `want` [count]; got is freed. */
static double error_of(float *got, size_t got_count, const float *want, size_t count) {
    assert_int_equal(got_count, count);
    double greatest = 1e-30;
    for (size_t i = 0; i < count; i++) greatest = fmax(greatest, fabs((double)want[i]));
    const double error = check_max_error(got, want, count) / greatest;
    free(got);
    return error;
}

/* most: for CPUs, for float32 and for float16 on Vulkan. */
static void report(const char *op, const double *worst, const double most[3]) {
    print_message("%-14s", op);
    for (int d = 0; d < DEVICES; d++)
        if (device[d]) print_message("  %s %.2e", labels[d], worst[d]);
    print_message("\n");
    for (int d = 0; d < DEVICES; d++) assert_true(worst[d] <= most[d < F32 ? 0 : d - F32 + 1]);
}

static void test_spectrogram(void **state) {
    (void)state;
    double worst[DEVICES] = {0};
    nn_weights *bank = NULL;
    mel *m = NULL;
    nn_error e = {0};
    assert_int_equal(mel_weights(&bank, &e), 0);
    assert_int_equal(mel_new(&m, &e), 0);
    static const int lengths[] = {1, 300, 1600, 5000, 9999, 16000};
    for (int trial = 0; trial < TRIALS; trial++) {
        const int n = lengths[trial], extra = trial % 2 ? 80 : 0, frames = (int)mel_frames((size_t)n);
        const int rows = (frames + 31) / 32 * 32;
        float *x = floats((size_t)(n + extra), 0.01, trial % 2 ? 0.9 : 1e-3);
        float *want = calloc((size_t)rows * MEL_BANDS, sizeof *want);
        assert_non_null(want);
        for (int i = n / 3; i < 2 * n / 3; i++) x[i] *= 1e-4f; /* a quiet stretch */
        assert_int_equal(mel_compute(m, x, (size_t)n, 0, (size_t)frames, want, &e), 0);
        for (int d = 0; d < DEVICES; d++) {
            if (!device[d]) continue;
            nn_graph *g = nn_graph_new(bank);
            nn_graph_use(g, bank, true);
            nn_tensor in = nn_input_wide(g, "x", 1, n + extra, 1);
            nn_output(g, nn_spectrogram(g, in, "mel", .samples = n, .frames = frames, .rows = rows), "y");
            size_t count;
            float *got = run(g, d, &(named){"x", x}, 1, &count);
            worst[d] = fmax(worst[d], error_of(got, count, want, (size_t)rows * MEL_BANDS));
        }
        free(x);
        free(want);
    }
    mel_free(m);
    nn_weights_free(bank);
    report("spectrogram", worst, (double[]){1e-6, 1e-5, 1e-3});
}

/* A window in the middle of a signal, whose neighbours come along instead of a reflection. */
static void test_spectrogram_window(void **state) {
    (void)state;
    enum {
        N = 8000,
        FROM = 10,
        FRAMES = 20,
        LEAD = MEL_WINDOW / 2,
        COUNT = (FRAMES - 1) * MEL_HOP + MEL_WINDOW
    };
    double worst[DEVICES] = {0};
    nn_weights *bank = NULL;
    mel *m = NULL;
    nn_error e = {0};
    assert_int_equal(mel_weights(&bank, &e), 0);
    assert_int_equal(mel_new(&m, &e), 0);
    float *x = floats(N, 0, 0.5), want[FRAMES * MEL_BANDS];
    assert_int_equal(mel_compute(m, x, N, FROM, FRAMES, want, &e), 0);
    for (int d = 0; d < DEVICES; d++) {
        if (!device[d]) continue;
        nn_graph *g = nn_graph_new(bank);
        nn_graph_use(g, bank, true);
        nn_tensor in = nn_input_wide(g, "x", 1, COUNT, 1);
        nn_output(
            g, nn_spectrogram(g, in, "mel", .samples = COUNT, .lead = LEAD, .frames = FRAMES, .rows = FRAMES),
            "y");
        size_t count;
        float *got = run(g, d, &(named){"x", x + FROM * MEL_HOP - LEAD}, 1, &count);
        worst[d] = error_of(got, count, want, FRAMES * MEL_BANDS);
    }
    free(x);
    mel_free(m);
    nn_weights_free(bank);
    report("its windows", worst, (double[]){1e-6, 1e-5, 1e-3});
}

static void test_pitch_decode(void **state) {
    (void)state;
    double worst[DEVICES] = {0};
    for (int trial = 0; trial < TRIALS; trial++) {
        const int frames = between(1, 300), more = trial % 2 ? 13 : 0;
        const double exact = trial % 3 ? exp2(uniform()) : 1;
        const float factor[2] = {(float)exact, (float)(exact - (double)(float)exact)};
        float *salience = floats((size_t)(frames + more) * RMVPE_CLASSES, 0.01, 0.01),
              *want = floats((size_t)frames, 0, 0);
        for (int t = 0; t < frames + more; t++) /* a peak somewhere, the edges too; some frames have none */
            for (int i = t * 7 % 364 - 4, k = 0; k < 5; k++, i++)
                if (t % 4 && i >= 0 && i < RMVPE_CLASSES)
                    salience[t * RMVPE_CLASSES + i] = (float)(0.9 - 0.2 * abs(k - 2) + 0.05 * uniform());
        rmvpe_decode(salience, (size_t)frames, RMVPE_THRESHOLD, want);
        for (int i = 0; i < frames; i++) want[i] = (float)((double)want[i] * exact);
        for (int d = 0; d < DEVICES; d++) {
            if (!device[d]) continue;
            nn_graph *g = nn_graph_new(weights);
            nn_graph_use(g, weights, true);
            nn_tensor s = nn_input(g, "s", 1, frames + more, RMVPE_CLASSES),
                      f = nn_input_wide(g, "f", 1, 2, 1);
            nn_output(g, nn_pitch_decode(g, s, f, frames, RMVPE_THRESHOLD), "y");
            size_t count;
            float *got = run(g, d, (named[]){{"s", salience}, {"f", factor}}, 2, &count);
            double error = 0;
            for (int i = 0; i < frames; i++) {
                assert_int_equal(got[i] > 0, want[i] > 0);
                if (want[i] > 0) error = fmax(error, fabs((double)got[i] / (double)want[i] - 1));
            }
            worst[d] = fmax(worst[d], error);
            free(got);
        }
        free(salience);
        free(want);
    }
    report("pitch_decode", worst, (double[]){2e-7, 5e-7, 1e-3});
}

static void test_coarse_pitch(void **state) {
    (void)state;
    enum { N = 4000 };
    float *f0 = floats(N, 600, 599);
    int32_t *want = malloc(N * sizeof *want);
    assert_non_null(want);
    f0[0] = 0;
    f0[1] = 1e-3f;
    f0[2] = 5000;
    f0[3] = 50;
    f0[4] = 1100;
    rmvpe_coarse_pitch(f0, N, want);
    for (int d = 0; d < DEVICES; d++) {
        if (!device[d]) continue;
        nn_graph *g = nn_graph_new(weights);
        nn_output(g, nn_coarse_pitch(g, nn_input_wide(g, "f0", 1, N + 5, 1), N), "y");
        float *padded = floats(N + 5, 0, 0);
        memcpy(padded, f0, N * sizeof *f0);
        size_t count;
        int32_t *got = run(g, d, &(named){"f0", padded}, 1, &count);
        assert_memory_equal(got, want, N * sizeof *got);
        free(padded);
        free(got);
    }
    free(f0);
    free(want);
}

static void test_normal(void **state) {
    (void)state;
    double worst[DEVICES] = {0};
    static const uint64_t firsts[] = {0, 1, 777, 0xfffffffe, 0x100000001, 3};
    for (int trial = 0; trial < TRIALS; trial++) {
        const int frames = between(1, 70), channels = trial % 2 ? 192 : between(1, 9), from = between(0, 40);
        const uint64_t key = check_random(&seed);
        const uint32_t place[4] = {(uint32_t)key, (uint32_t)(key >> 32), (uint32_t)firsts[trial],
                                   (uint32_t)(firsts[trial] >> 32)};
        const float factor = 0.66666f;
        const size_t n = (size_t)frames * (size_t)channels;
        float *want = floats(n, 0, 0);
        rvc_normal(key, 1, (firsts[trial] + (uint64_t)from) * (uint64_t)channels, n, want);
        for (size_t i = 0; i < n; i++) want[i] *= factor;
        for (int d = 0; d < DEVICES; d++) {
            if (!device[d]) continue;
            nn_graph *g = nn_graph_new(weights);
            nn_tensor p = nn_input_index(g, "place", 4), f = nn_input_wide(g, "factor", 1, 1, 1);
            nn_output(g, nn_normal(g, p, f, frames, channels, 1, from), "y");
            size_t count;
            float *got = run(g, d, (named[]){{"place", place}, {"factor", &factor}}, 2, &count);
            worst[d] = fmax(worst[d], error_of(got, count, want, n));
        }
        free(want);
    }
    report("normal", worst, (double[]){1e-6, 1e-6, 1e-3});
}

static void test_source(void **state) {
    (void)state;
    static const struct {
        int frames, from, count, upp, rate;
    } trials[] = {{1, 0, 1, 400, 40000},
                  {50, 7, 30, 480, 48000},
                  {31, 0, 31, 320, 32000},
                  {300, 290, 10, 400, 40000},
                  {6000, 5990, 10, 400, 40000}};
    double worst[DEVICES] = {0}, least = 999;
    for (size_t trial = 0; trial < sizeof trials / sizeof *trials; trial++) {
        const int frames = trials[trial].frames, from = trials[trial].from, kept = trials[trial].count;
        const int upp = trials[trial].upp, rate = trials[trial].rate;
        const size_t all = (size_t)frames * (size_t)upp, n = (size_t)kept * (size_t)upp;
        float *f0 = pitch_track((size_t)frames), *noise = floats(all, 0, 1), *want = floats(all, 0, 0);
        rvc_sine_source(f0, (size_t)frames, upp, rate, noise, NULL, want);
        for (int d = 0; d < DEVICES; d++) {
            if (!device[d]) continue;
            nn_graph *g = nn_graph_new(weights);
            nn_tensor f = nn_input_wide(g, "f0", 1, frames, 1), r = nn_input(g, "noise", 1, kept, upp);
            nn_output(g, nn_sine_source(g, f, r, from, kept, upp, rate), "y");
            size_t count;
            const float *own = noise + (size_t)from * (size_t)upp;
            float *got = run(g, d, (named[]){{"f0", f0}, {"noise", own}}, 2, &count);
            const float *expected = want + (size_t)from * (size_t)upp;
            if (d < F16) least = fmin(least, check_snr_db(got, expected, n));
            worst[d] = fmax(worst[d], error_of(got, count, expected, n));
        }
        free(f0);
        free(noise);
        free(want);
    }
    print_message("source, float32: %.1f dB\n", least);
    assert_true(least > 100);
    report("source", worst, (double[]){1e-6, 1e-5, 1e-3});
}

static void test_spread(void **state) {
    (void)state;
    double worst[DEVICES] = {0};
    for (int trial = 0; trial < TRIALS; trial++) {
        const int features = between(1, 40), frames = 2 * features - trial % 2,
                  c = trial % 3 ? 16 * between(1, 5) : between(1, 7);
        const bool protects = trial % 2;
        const float protect = 0.33f;
        const size_t n = (size_t)features * (size_t)c;
        float *x = floats(n, 0, 1), *own = floats(n, 0, 1), *f0 = pitch_track((size_t)frames + 3);
        float *want = floats((size_t)(frames * c), 0, 0);
        for (int t = 0; t < frames; t++)
            for (int i = 0; i < c; i++) {
                const float share = protects && f0[t] < 1 ? protect : 1;
                want[t * c + i] = x[t / 2 * c + i] * share + own[t / 2 * c + i] * (1 - share);
            }
        for (int d = 0; d < DEVICES; d++) {
            if (!device[d]) continue;
            nn_graph *g = nn_graph_new(weights);
            nn_tensor a = nn_input(g, "x", 1, features, c),
                      b = protects ? nn_input(g, "own", 1, features, c) : NULL;
            nn_tensor f = nn_input_wide(g, "f0", 1, frames + 3, 1), p = nn_input_wide(g, "protect", 1, 1, 1);
            nn_output(g, nn_spread(g, a, frames, b, f, p), "y");
            size_t count;
            const named inputs[] = {{"x", x}, {"own", own}, {"f0", f0}, {"protect", &protect}};
            float *got = run(g, d, inputs, 4, &count);
            worst[d] = fmax(worst[d], error_of(got, count, want, (size_t)(frames * c)));
        }
        free(x);
        free(own);
        free(f0);
        free(want);
    }
    report("spread", worst, (double[]){1e-7, 1e-6, 1e-3});
}

static void test_frames(void **state) {
    (void)state;
    for (int trial = 0; trial < TRIALS; trial++) {
        const int all = between(1, 60), c = trial % 2 ? 8 : 3, from = between(0, all - 1),
                  count = between(1, all - from);
        float *x = floats((size_t)(all * c), 0, 1);
        for (int i = 0; i < all * c; i++) x[i] = (float)(i % 1024); /* float16 has them exactly */
        for (int d = 0; d < DEVICES; d++) {
            if (!device[d]) continue;
            nn_graph *g = nn_graph_new(weights);
            nn_output(g, nn_frames(g, nn_input(g, "x", 1, all, c), from, count), "y");
            size_t n;
            float *got = run(g, d, &(named){"x", x}, 1, &n);
            assert_int_equal(n, count * c);
            assert_memory_equal(got, x + from * c, n * sizeof *got);
            free(got);
        }
        free(x);
    }
}

/* Vectors at an odd address, in lists of any length, some without an id and one that is not finite. */
typedef struct made_vectors {
    nn_vectors v;
    nn_vector_list list[40];
    char *memory;
} made_vectors;

static void make_vectors(made_vectors *m, int width, int lists, int probes, size_t count) {
    const int parts = lists ? lists : 1;
    const size_t floats = (count + (size_t)lists) * (size_t)width;
    m->memory = malloc(floats * sizeof(float) + count * sizeof(int64_t) + 1);
    assert_non_null(m->memory);
    float *x = floats_of(floats);
    memcpy(m->memory + 1, x, floats * sizeof(float));
    free(x);
    const nn_loose_float *at = (const void *)(m->memory + 1);
    char *ids = m->memory + 1 + floats * sizeof(float);
    for (size_t i = 0; i < count; i++) {
        const int64_t id = i % 11 == 5 ? -1 : (int64_t)(i * 3);
        memcpy(ids + i * sizeof id, &id, sizeof id);
    }
    m->v = (nn_vectors){"vectors", width, lists, probes, at, m->list};
    at += (size_t)lists * (size_t)width;
    size_t from = 0;
    for (int i = 0; i < parts; i++) {
        const size_t n = i + 1 == parts ? count - from : (size_t)between(0, (int)(2 * count) / parts);
        const size_t take = n < count - from ? n : count - from;
        m->list[i] =
            (nn_vector_list){at + from * (size_t)width, (const void *)(ids + from * sizeof(int64_t)), take};
        from += take;
    }
    const float none = NAN;
    memcpy(m->memory + 1 + (floats - 3) * sizeof none, &none, sizeof none);
}

/* The op on the CPU is held against rvc_index_retrieve's formula, done here in double over a sorted list. */
typedef struct find {
    double d;
    const nn_loose_float *row;
} find;
static int by_distance(const void *a, const void *b) {
    const find *x = a, *y = b;
    return x->d < y->d ? -1 : x->d > y->d;
}

static double squared(const float *f, const nn_loose_float *v, int width) {
    double sum = 0;
    for (int i = 0; i < width; i++) sum += ((double)f[i] - (double)v[i]) * ((double)f[i] - (double)v[i]);
    return sum;
}

static void retrieve_plainly(const nn_vectors *v, const float *f, double rate, float *out) {
    find near[4000], centre[40];
    size_t n = 0;
    for (int i = 0; i < v->lists; i++)
        centre[i] = (find){squared(f, v->centroids + i * v->width, v->width), v->centroids + i * v->width};
    qsort(centre, (size_t)v->lists, sizeof *centre, by_distance);
    for (int p = 0; p < (v->lists ? v->probes : 1); p++) {
        const nn_vector_list *l = v->lists ? &v->list[(centre[p].row - v->centroids) / v->width] : v->list;
        for (size_t i = 0; i < l->count; i++) {
            const nn_loose_float *row = l->rows + i * (size_t)v->width;
            const double d = squared(f, row, v->width);
            if (l->ids[i] >= 0 && isfinite(d)) near[n++] = (find){d, row};
        }
    }
    qsort(near, n, sizeof *near, by_distance);
    n = n > 8 ? 8 : n;
    if (n && near[0].d <= 0) n = 1;
    double total = 0;
    for (size_t j = 0; j < n; j++) total += near[j].d > 0 ? 1 / (near[j].d * near[j].d) : 1;
    for (int i = 0; i < v->width; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++)
            sum += (near[j].d > 0 ? 1 / (near[j].d * near[j].d) : 1) / total * (double)near[j].row[i];
        out[i] = n ? (float)(rate * sum + (1 - rate) * (double)f[i]) : f[i];
    }
}

static void test_retrieve(void **state) {
    (void)state;
    static const struct {
        int width, lists, probes, count;
    } trials[] = {{16, 0, 0, 5},     {33, 0, 0, 700},   {768, 0, 0, 100},
                  {256, 20, 1, 900}, {24, 40, 3, 2000}, {768, 9, 8, 60}};
    double worst[DEVICES] = {0};
    for (size_t trial = 0; trial < sizeof trials / sizeof *trials; trial++) {
        made_vectors m;
        const int width = trials[trial].width, rows = between(1, 21);
        make_vectors(&m, width, trials[trial].lists, trials[trial].probes, (size_t)trials[trial].count);
        const float rate = 0.75f;
        float *x = floats_of((size_t)(rows * width)), *want = floats_of((size_t)(rows * width));
        for (int i = 0; i < width; i++)
            x[i] = m.v.list[0].count ? m.v.list[0].rows[i] : x[i]; /* an exact hit */
        for (int t = 0; t < rows; t++) retrieve_plainly(&m.v, x + t * width, (double)rate, want + t * width);
        for (int d = 0; d < DEVICES; d++) {
            if (!device[d]) continue;
            nn_weights *own = NULL;
            nn_error e = {0};
            assert_int_equal(nn_weights_new(&own, "vectors", &e), 0);
            nn_graph *g = nn_graph_new(own);
            nn_tensor f = nn_input(g, "x", 1, rows, width), r = nn_input_wide(g, "rate", 1, 1, 1);
            nn_output(g, nn_retrieve(g, f, r, &m.v), "y");
            size_t count;
            float *got = run(g, d, (named[]){{"x", x}, {"rate", &rate}}, 2, &count);
            worst[d] = fmax(worst[d], error_of(got, count, want, (size_t)(rows * width)));
            nn_weights_free(own);
        }
        free(m.memory);
        free(x);
        free(want);
    }
    report("retrieve", worst, (double[]){1e-5, 1e-5, 0.05});
}

/* Indexes as FAISS writes them, against the host's own search. */
static void test_retrieve_from_files(void **state) {
    (void)state;
    static const char *const files[] = {"fixtures/index/added_IVF9_Flat_nprobe_1_demo_v2.index",
                                        "fixtures/index/added_IVF3_Flat_nprobe_1_demo_v1.index",
                                        "fixtures/index/flat_demo_v2.index"};
    enum { FILES = sizeof files / sizeof *files, ROWS = 60 };
    double worst[DEVICES] = {0};
    for (int i = 0; i < FILES; i++) {
        rvc_index *x = NULL;
        nn_error e = {0};
        const float rate = 0.75f;
        const char *path = check_shared(files[i]);
        if (!path) skip();
        if (rvc_index_open(&x, path, &e)) fail_msg("%s", e.text);
        const nn_vectors v = rvc_index_data(x);
        const size_t n = (size_t)(ROWS * v.width);
        float *f = floats(n, 0, 0.3), *want = floats(n, 0, 0);
        for (int k = 0; k < v.width; k++) f[k] = v.list[0].count ? v.list[0].rows[k] : f[k];
        memcpy(want, f, n * sizeof *f);
        assert_int_equal(rvc_index_retrieve(x, want, ROWS, rate, 1, &e), 0);
        for (int d = 0; d < DEVICES; d++) {
            if (!device[d]) continue;
            nn_weights *own = NULL;
            assert_int_equal(nn_weights_new(&own, "index", &e), 0);
            nn_graph *g = nn_graph_new(own);
            nn_tensor in = nn_input(g, "x", 1, ROWS, v.width), r = nn_input_wide(g, "rate", 1, 1, 1);
            nn_output(g, nn_retrieve(g, in, r, &v), "y");
            size_t count;
            float *got = run(g, d, (named[]){{"x", f}, {"rate", &rate}}, 2, &count);
            worst[d] = fmax(worst[d], error_of(got, count, want, n));
            nn_weights_free(own);
        }
        free(f);
        free(want);
        rvc_index_close(x);
    }
    report("its files", worst, (double[]){1e-5, 1e-5, 0.05});
}

/* What float32 everywhere or a branch may not be read by is said when the graph is built. */
static void test_refused(void **state) {
    (void)state;
    nn_graph *g = nn_graph_new(weights);
    nn_relu(g, nn_input_wide(g, "f0", 1, 10, 1));
    assert_non_null(strstr(nn_graph_error(g)->text, "\"f0\": only the second"));
    nn_graph_free(g);
    g = nn_graph_new(weights);
    nn_tensor x = nn_input(g, "x", 1, 10, 1);
    nn_branch(g, 1);
    nn_relu(g, x);
    assert_non_null(strstr(nn_graph_error(g)->text, "\"x\", which is not its own"));
    nn_graph_free(g);
}

static int close_all(void **state) {
    (void)state;
    for (int d = 0; d < DEVICES; d++) nn_device_close(device[d]);
    nn_weights_free(weights);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spectrogram),  cmocka_unit_test(test_spectrogram_window),
        cmocka_unit_test(test_pitch_decode), cmocka_unit_test(test_coarse_pitch),
        cmocka_unit_test(test_normal),       cmocka_unit_test(test_source),
        cmocka_unit_test(test_spread),       cmocka_unit_test(test_frames),
        cmocka_unit_test(test_retrieve),     cmocka_unit_test(test_retrieve_from_files),
        cmocka_unit_test(test_refused)};
    nn_error e = {0};
    check_vulkan_start();
    if (nn_device_open(&device[CPU], "cpu", 2, &e) || nn_weights_new(&weights, "test", &e)) {
        printf("%s\n", e.text);
        return 1;
    }
    for (int d = AVX2; d < DEVICES; d++) {
        e = (nn_error){0};
        if (d < F32) setenv("RVC_CPU", labels[d], 1);
        if (d < F32 ? nn_device_open(&device[d], "cpu", 1, &e)
                    : nn_vulkan_open(&device[d], "vulkan", d == F32 ? 32 : 16, &e))
            printf("%s skipped: %s\n", labels[d], e.text);
        unsetenv("RVC_CPU");
    }
    return cmocka_run_group_tests(tests, NULL, close_all);
}
