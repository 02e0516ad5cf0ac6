/* benchmark_ops.c - single layers at the pipeline's own shapes: GFLOP/s, and the share of what the machine
 * can do.
 *
 *   benchmark_ops --num-warmup 1 --num-runs 5 --threads 0 --output FILE.json           (--help for the rest)
 *
 * The peak is measured, not looked up: on every thread at once, a loop of independent multiply-adds that live
 * in registers. Work is counted twice. "direct" is that of the direct form, two FLOPs per weight and output:
 * what a layer is worth, comparable between programs. "done" is what the kernel really multiplies and adds,
 * which in a fast form is less (Toom-Cook: 6 products for 4 outputs of 3 taps, 7 for each piece of 4 taps;
 * Strassen: 7 for 8), padding and transforms not counted; its share of the peak says how busy the multipliers
 * are and cannot exceed 100 %, while that of the direct form can. */
#include "../nn/nn.h"
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- the machine's peak ------------------------------------------------------------------------------ */

/* Twelve chains hide the latency of a multiply-add on every core of the last fifteen years; they start from
 * different values, or the compiler would see that they are one. */
#define PEAK_LOOP(vector, splat, fma)                                                                        \
    vector m = splat(0.999999f), a = splat(1e-6f);                                                           \
    vector x0 = a, x1 = splat(0.1f), x2 = splat(0.2f), x3 = splat(0.3f), x4 = splat(0.4f), x5 = splat(0.5f); \
    vector x6 = splat(0.6f), x7 = splat(0.7f), x8 = splat(0.8f), x9 = splat(0.9f), xa = splat(1.1f), xb = m; \
    for (long i = 0; i < rounds; i++) {                                                                      \
        x0 = fma(x0, m, a), x1 = fma(x1, m, a), x2 = fma(x2, m, a), x3 = fma(x3, m, a);                      \
        x4 = fma(x4, m, a), x5 = fma(x5, m, a), x6 = fma(x6, m, a), x7 = fma(x7, m, a);                      \
        x8 = fma(x8, m, a), x9 = fma(x9, m, a), xa = fma(xa, m, a), xb = fma(xb, m, a);                      \
    }                                                                                                        \
    vector sum = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + xa + xb;                                  \
    float lane;                                                                                              \
    memcpy(&lane, &sum, sizeof lane);                                                                        \
    return lane

typedef float four __attribute__((vector_size(16)));
#define SPLAT4(x) ((four){x, x, x, x})
#define MULTIPLY_ADD(x, m, a) ((x) * (m) + (a))
static float peak_baseline(long rounds) {
    PEAK_LOOP(four, SPLAT4, MULTIPLY_ADD);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float peak_avx2(long rounds) {
    PEAK_LOOP(__m256, _mm256_set1_ps, _mm256_fmadd_ps);
}
__attribute__((target("avx512f"))) static float peak_avx512(long rounds) {
    PEAK_LOOP(__m512, _mm512_set1_ps, _mm512_fmadd_ps);
}

/* Two products of bfloat16 each lane, summed in float. */
#define DOT_BF16(x, m, a) _mm512_dpbf16_ps((x), (__m512bh)(m), (__m512bh)(a))
__attribute__((target("avx512f,avx512bf16"))) static float peak_bf16(long rounds) {
    PEAK_LOOP(__m512, _mm512_set1_ps, DOT_BF16);
}
#endif

typedef struct peak_loop {
    const char *isa; /* as the device's name says it */
    int lanes;       /* multiply-adds of an instruction */
    float (*run)(long rounds);
} peak_loop;

static const peak_loop peak_loops[] = {
#if defined(__x86_64__)
    {"avx512bf16", 32, peak_bf16},
    {"avx512", 16, peak_avx512},
    {"avx2", 8, peak_avx2},
#endif
    {"", 4, peak_baseline},
};

typedef struct peak_thread {
    pthread_t thread;
    bool running;
    const peak_loop *loop;
    long rounds;
    volatile float sink; /* keeps the loop's result needed */
} peak_thread;

static void *peak_main(void *argument) {
    peak_thread *t = argument;
    t->sink = t->loop->run(t->rounds);
    return NULL;
}

/* GFLOP/s of `threads` threads together, the best of five tries. */
static double measure_peak(const nn_device *device) {
    enum { MAX_THREADS = 256 };
    static peak_thread thread[MAX_THREADS];
    const long rounds = 20000000;
    int n = nn_device_threads(device) < MAX_THREADS ? nn_device_threads(device) : MAX_THREADS;
    const peak_loop *loop = peak_loops;
    while (!strstr(nn_device_name(device), loop->isa)) loop++;
    double best = 0;
    for (int attempt = 0; attempt < 5; attempt++) {
        double start = bench_now();
        int started = 0;
        for (int i = 0; i < n; i++) {
            thread[i] = (peak_thread){.loop = loop, .rounds = rounds};
            thread[i].running = pthread_create(&thread[i].thread, NULL, peak_main, &thread[i]) == 0;
            started += thread[i].running;
        }
        for (int i = 0; i < n; i++)
            if (thread[i].running) pthread_join(thread[i].thread, NULL);
        double rate = 2.0 * 12 * loop->lanes * (double)rounds * started / (bench_now() - start) * 1e-9;
        if (rate > best) best = rate;
    }
    return best;
}

/* ---- cases ------------------------------------------------------------------------------------------- */

typedef enum layer_kind { LINEAR, CONV1D, CONV_TRANSPOSE1D, CONV2D, ATTENTION, BIGRU } layer_kind;

/* One layer: input [h][w][c_in], c_out channels, k taps (heads for ATTENTION; c_out is the hidden size for
 * BIGRU). */
typedef struct layer {
    layer_kind kind;
    const char *text;
    int h, w, c_in, c_out, k, stride, dilation, groups;
} layer;

static const layer cases[] = {
    {CONV1D, "generator, level 1", 1, 1000, 256, 256, 3, 1, 1, 1},
    {CONV1D, "", 1, 1000, 256, 256, 7, 1, 3, 1},
    {CONV1D, "", 1, 1000, 256, 256, 11, 1, 5, 1},
    {CONV1D, "generator, level 2", 1, 10000, 128, 128, 3, 1, 1, 1},
    {CONV1D, "", 1, 10000, 128, 128, 7, 1, 3, 1},
    {CONV1D, "", 1, 10000, 128, 128, 11, 1, 5, 1},
    {CONV1D, "generator, level 3", 1, 20000, 64, 64, 3, 1, 1, 1},
    {CONV1D, "", 1, 20000, 64, 64, 7, 1, 3, 1},
    {CONV1D, "", 1, 20000, 64, 64, 11, 1, 5, 1},
    {CONV1D, "generator, level 4", 1, 40000, 32, 32, 3, 1, 1, 1},
    {CONV1D, "", 1, 40000, 32, 32, 7, 1, 3, 1},
    {CONV1D, "", 1, 40000, 32, 32, 11, 1, 5, 1},
    {CONV_TRANSPOSE1D, "generator, up 1", 1, 500, 512, 256, 16, 10, 1, 1},
    {CONV_TRANSPOSE1D, "generator, up 3", 1, 10000, 128, 64, 4, 2, 1, 1},
    {CONV1D, "HuBERT, conv 2", 1, 16000, 512, 512, 3, 2, 1, 1},
    {CONV1D, "HuBERT, position", 1, 250, 768, 768, 128, 1, 1, 16},
    {LINEAR, "HuBERT, attention", 1, 250, 768, 768, 1, 1, 1, 1},
    {LINEAR, "HuBERT, FFN", 1, 250, 768, 3072, 1, 1, 1, 1},
    {LINEAR, "", 1, 250, 3072, 768, 1, 1, 1, 1},
    {CONV2D, "RMVPE, level 1", 512, 128, 16, 16, 3, 1, 1, 1},
    {CONV2D, "RMVPE, level 3", 128, 32, 64, 64, 3, 1, 1, 1},
    {CONV2D, "RMVPE, level 5", 32, 8, 256, 256, 3, 1, 1, 1},
    {CONV2D, "RMVPE, bottom", 16, 4, 512, 512, 3, 1, 1, 1},
    {ATTENTION, "HuBERT, 12 heads", 1, 250, 768, 768, 12, 1, 1, 1},
    {BIGRU, "RMVPE, 512 frames", 1, 512, 384, 256, 1, 1, 1, 1},
};

/* Random weights of one tensor, scaled so that values stay of order one. */
static bool add_tensor(nn_weights *w, const char *name, int rank, const int64_t *shape, nn_error *e) {
    int64_t n = 1, fan = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    for (int i = 1; i < rank; i++) fan *= shape[i];
    float *data = malloc((size_t)n * sizeof *data);
    uint32_t state = 7;
    for (int64_t i = 0; data && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (float)((state / 2147483648.0 - 1) / (double)fan);
    }
    bool ok =
        data ? nn_weights_add(w, name, rank, shape, data, e) == NN_OK : nn_fail_memory(e, name) == NN_OK;
    free(data);
    return ok;
}

static bool add_weights(nn_weights *w, const layer *l, nn_error *e) {
    const int64_t in = l->c_in, out = l->c_out, k = l->k;
    const int64_t linear[] = {out, in}, conv1d[] = {out, in / l->groups, k}, up[] = {in, out, k};
    const int64_t conv2d[] = {out, in, k, k}, ih[] = {3 * out, in}, hh[] = {3 * out, out};
    static const char *const direction[] = {"", "_reverse"};
    char name[64];
    bool ok = true;
    switch (l->kind) {
    case LINEAR: ok = add_tensor(w, "x.weight", 2, linear, e); break;
    case CONV1D: ok = add_tensor(w, "x.weight", 3, conv1d, e); break;
    case CONV_TRANSPOSE1D: ok = add_tensor(w, "x.weight", 3, up, e); break;
    case CONV2D: ok = add_tensor(w, "x.weight", 4, conv2d, e); break;
    case ATTENTION: return true;
    case BIGRU:
        for (int d = 0; d < 2 && ok; d++) {
            static const char *const part[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
            for (int p = 0; p < 4 && ok; p++) {
                snprintf(name, sizeof name, "x.%s_l0%s", part[p], direction[d]);
                ok = add_tensor(w, name, p < 2 ? 2 : 1, p == 1 ? hh : ih, e);
            }
        }
        return ok;
    }
    return ok && add_tensor(w, "x.bias", 1, &out, e);
}

static nn_tensor append(nn_graph *g, nn_tensor x, const layer *l) {
    int pad = l->stride == 1 ? l->dilation * (l->k - 1) / 2 : 0;
    switch (l->kind) {
    case LINEAR: return nn_linear(g, x, "x");
    case CONV1D:
        return nn_conv1d(g, x, "x", .stride = l->stride, .pad = pad, .dilation = l->dilation,
                         .groups = l->groups);
    case CONV_TRANSPOSE1D:
        return nn_conv_transpose1d(g, x, "x", .stride = l->stride, .pad = (l->k - l->stride) / 2);
    case CONV2D: return nn_conv2d(g, x, "x");
    case ATTENTION: return nn_attention(g, x, x, x, l->k, NULL);
    case BIGRU: return nn_bigru(g, x, "x");
    }
    return NULL;
}

/* Builds the one-layer graph and fills its input with a ramp of both signs. */
static bool prepare(const layer *l, nn_device *device, nn_weights **w, nn_plan **plan, nn_error *e) {
    if (nn_weights_new(w, "benchmark", e) != NN_OK || !add_weights(*w, l, e)) return false;
    nn_graph *g = nn_graph_new(*w);
    if (!g) return nn_fail_memory(e, "a graph") == NN_OK;
    nn_output(g, append(g, nn_input(g, "in", l->h, l->w, l->c_in), l), "out");
    if (nn_plan_new(plan, g, device, e) != NN_OK) return false;
    size_t n = (size_t)l->h * (size_t)l->w * (size_t)l->c_in;
    float *data = malloc(n * sizeof *data);
    if (!data) return nn_fail_memory(e, "an input") == NN_OK;
    for (size_t i = 0; i < n; i++) data[i] = (float)(i % 127) / 64.0f - 1;
    nn_plan_write(*plan, "in", data);
    free(data);
    return true;
}

/* Seconds of the layer once; each run repeats it for 50 ms at least, so that the clock's grain does not show.
 */
static bool measure(nn_plan *plan, const bench_options *o, bench_times *seconds, nn_error *e) {
    double run[BENCH_MAX_RUNS];
    for (int i = -o->num_warmup; i < o->num_runs; i++) {
        double start = bench_now(), spent = 0;
        int times = 0;
        while (spent < 0.05) {
            if (nn_plan_run(plan, e) != NN_OK) return false;
            spent = bench_now() - start;
            times++;
        }
        if (i >= 0) run[i] = spent / times;
    }
    *seconds = bench_times_of(run, o->num_runs);
    return true;
}

static void describe(const layer *l, char *text, size_t size) {
    static const char *const names[] = {"linear", "conv1d",    "conv_transpose1d",
                                        "conv2d", "attention", "bigru"};
    int n = snprintf(text, size, "%s %d->%d", names[l->kind], l->c_in, l->c_out);
    if (l->kind == ATTENTION)
        snprintf(text + n, size - (size_t)n, " T=%d", l->w);
    else if (l->kind == CONV2D)
        snprintf(text + n, size - (size_t)n, " 3x3 %dx%d", l->h, l->w);
    else if (l->kind == LINEAR || l->kind == BIGRU)
        snprintf(text + n, size - (size_t)n, " T=%d", l->w);
    else
        snprintf(text + n, size - (size_t)n, " k%d s%d d%d g%d T=%d", l->k, l->stride, l->dilation, l->groups,
                 l->w);
}

static bool run_case(const layer *l, nn_device *device, const bench_options *o, double peak, bench_json *json,
                     nn_error *e) {
    nn_weights *w = NULL;
    nn_plan *plan = NULL;
    bench_times seconds;
    char text[96];
    describe(l, text, sizeof text);
    bool ok = prepare(l, device, &w, &plan, e) && measure(plan, o, &seconds, e);
    if (ok) {
        double direct = nn_plan_flops(plan) / seconds.median * 1e-9,
               done = nn_plan_flops_done(plan) / seconds.median * 1e-9;
        const char *form = done < direct ? "fast" : "direct";
        printf("%-20s %-42s %9.3f ms (%.3f-%.3f) %8.1f %-9s %8.1f %5.1f %%\n", l->text, text,
               seconds.median * 1e3, seconds.min * 1e3, seconds.max * 1e3, direct, form, done,
               100 * done / peak);
        fflush(stdout);
        bench_json_row(
            json,
            "{\"layer\": \"%s\", \"milliseconds\": %.4f, \"milliseconds_min\": %.4f, "
            "\"milliseconds_max\": %.4f, \"gflops\": %.2f, \"form\": \"%s\", \"gflops_done\": %.2f, "
            "\"of_peak\": %.4f}",
            text, seconds.median * 1e3, seconds.min * 1e3, seconds.max * 1e3, direct, form, done,
            done / peak);
    }
    nn_plan_free(plan);
    nn_weights_free(w);
    return ok;
}

int main(int argc, char **argv) {
    bench_options o = {.num_warmup = 1, .num_runs = 5};
    nn_device *device = NULL;
    nn_error e = {0};
    bench_json json = {0};
    int status =
        bench_read_options(&o, "Single layers at the pipeline's shapes, and their share of the CPU's peak.",
                           "num-warmup num-runs threads device precision output ", argc, argv);
    if (status != BENCH_GO_ON) return status;
    bool ok = bench_open_device(&device, &o, &e) == NN_OK &&
              bench_json_open(&json, &o, "ops", nn_device_name(device));
    if (ok) {
        double peak = measure_peak(device);
        const char *precision = bench_precision_name(o.precision);
        printf("single layers on %s; %s; peak %.1f GFLOP/s (%s multiply-add, measured)\n"
               "of peak: the multiplications really done; direct: as many as the direct form takes\n"
               "%-20s %-42s %28s %8s %-9s %8s %7s\n",
               bench_machine(), nn_device_name(device), peak, precision, "", "layer", "median (min-max)",
               "direct", "form", "done", "of peak");
        bench_json_row(&json, "{\"layer\": \"peak\", \"gflops\": %.2f}", peak);
        for (size_t i = 0; i < sizeof cases / sizeof *cases && ok; i++)
            ok = run_case(&cases[i], device, &o, peak, &json, &e);
    }
    if (e.code != NN_OK) fprintf(stderr, "benchmark_ops: %s\n", e.text);
    nn_device_close(device);
    return bench_json_close(&json) && ok ? 0 : 1;
}
