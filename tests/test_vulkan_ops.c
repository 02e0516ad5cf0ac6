/* test_vulkan_ops.c - every op but conv and map on the Vulkan back end against the CPU back end, which
 * test_ops.c holds against the plain formulas: the same graph on random shapes, odd sizes among them, with
 * float32 and float16.
 *
 * Errors are the largest difference relative to the greatest output. float32 is held to 1e-5; float16 to the
 * rounding of inputs and outputs (2^-11 each), which an op may amplify: 2e-3 where it is a copy or a mean,
 * 1e-2 behind sums. Each plan runs twice and must give the same bits.
 *
 * Without a Vulkan device, or one that lacks float16, the tests skip and say so. */
#include "check_vulkan.h"

#include <stdbool.h>

#include "../nn/nn.h"

enum { TRIALS = 12, MOST_INPUTS = 3 };

static nn_device *cpu, *vulkan[2]; /* float32, float16 */
static const double exact = 1e-5;

static uint64_t seed = 5;
static double uniform(void) {
    return (double)check_random_float(&seed);
}
static int between(int low, int high) {
    return low + (int)(check_random(&seed) % (uint64_t)(high - low + 1));
}
static int one_of(const int *choice, size_t n) {
    return choice[between(0, (int)n - 1)];
}
#define ONE_OF(...) one_of((const int[]){__VA_ARGS__}, sizeof(const int[]){__VA_ARGS__} / sizeof(int))

static bool is_lavapipe(void) {
    return strstr(nn_device_name(vulkan[0]), "llvmpipe") != NULL;
}
static int random_channels(void) {
    return ONE_OF(1, 2, 3, 4, 7, 8, 12, 16, 31, 32, 33, 64, 96, 130, 260);
}

/* ---- a trial: weights, inputs, and a function that makes the graph ---- */

typedef struct trial {
    nn_tensor (*build)(nn_graph *g, nn_tensor *x, const struct trial *t);
    nn_weights *weights;
    int inputs;
    nn_shape shape[MOST_INPUTS];
    bool index;              /* input 0 is int32 */
    void *data[MOST_INPUTS]; /* float or int32 [elements] */
    int a, b;                /* the op's own numbers */
    double half_tolerance;
    double worst[2]; /* of all its trials */
} trial;

static size_t elements(nn_shape s) {
    return (size_t)s.h * (size_t)s.w * (size_t)s.c;
}

static void trial_open(trial *t) {
    assert_int_equal(nn_weights_new(&t->weights, "test", NULL), 0);
}

static void trial_input(trial *t, int h, int w, int c, double offset, double scale) {
    const int i = t->inputs++;
    t->shape[i] = (nn_shape){h, w, c};
    float *data = malloc(elements(t->shape[i]) * sizeof *data);
    assert_non_null(data);
    for (size_t k = 0; k < elements(t->shape[i]); k++) data[k] = (float)(offset + scale * uniform());
    t->data[i] = data;
}

static void trial_weight(trial *t, const char *name, int rank, const int64_t *shape, double offset,
                         double scale) {
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= (size_t)shape[i];
    float *data = malloc(count * sizeof *data);
    assert_non_null(data);
    for (size_t k = 0; k < count; k++) data[k] = (float)(offset + scale * uniform());
    assert_int_equal(nn_weights_add(t->weights, name, rank, shape, data, NULL), 0);
    free(data);
}

static void trial_vector(trial *t, const char *name, int n, double offset, double scale) {
    trial_weight(t, name, 1, (int64_t[]){n}, offset, scale);
}

static void trial_close(trial *t) {
    for (int i = 0; i < t->inputs; i++) free(t->data[i]);
    nn_weights_free(t->weights);
    t->inputs = 0;
}

/* The trial's output on `d` [*count], for free(). */
static float *trial_run(const trial *t, nn_device *d, size_t *count) {
    static const char *const names[MOST_INPUTS] = {"x0", "x1", "x2"};
    nn_error e = {0};
    nn_graph *g = nn_graph_new(t->weights);
    nn_tensor x[MOST_INPUTS] = {NULL};
    for (int i = 0; i < t->inputs; i++) {
        const nn_shape s = t->shape[i];
        x[i] = t->index && i == 0 ? nn_input_index(g, names[i], s.w) : nn_input(g, names[i], s.h, s.w, s.c);
    }
    nn_output(g, t->build(g, x, t), "y");
    nn_plan *p = NULL;
    if (nn_plan_new(&p, g, d, &e)) fail_msg("%s: %s", nn_device_name(d), e.text);
    *count = elements(nn_plan_shape(p, "y"));
    float *out[2] = {NULL};
    for (int run = 0; run < 2; run++) {
        out[run] = malloc(*count * sizeof(float));
        assert_non_null(out[run]);
        memset(out[run], 0xff, *count * sizeof(float));
        for (int i = 0; i < t->inputs; i++) nn_plan_write(p, names[i], t->data[i]);
        if (nn_plan_run(p, &e)) fail_msg("%s: %s", nn_device_name(d), e.text);
        nn_plan_read(p, "y", out[run]);
    }
    assert_memory_equal(out[0], out[1], *count * sizeof(float));
    free(out[1]);
    nn_plan_free(p);
    return out[0];
}

static void trial_check(trial *t) {
    size_t count = 0;
    float *want = trial_run(t, cpu, &count);
    double greatest = 0;
    for (size_t i = 0; i < count; i++) greatest = fmax(greatest, fabs((double)want[i]));
    for (int half = 0; half < 2; half++) {
        if (!vulkan[half]) continue;
        size_t got_count = 0;
        float *got = trial_run(t, vulkan[half], &got_count);
        assert_int_equal(got_count, count);
        const double error = check_max_error(got, want, count) / (greatest > 0 ? greatest : 1);
        const double tolerance = half ? t->half_tolerance : exact;
        if (!(error <= tolerance)) {
            const nn_shape s = t->shape[0];
            fail_msg("%s: input [%d][%d][%d], a %d, b %d: error %.3g of the greatest output, over %.3g",
                     nn_device_name(vulkan[half]), s.h, s.w, s.c, t->a, t->b, error, tolerance);
        }
        t->worst[half] = fmax(t->worst[half], error);
        free(got);
    }
    free(want);
}

static void report(const char *op, const trial *t) {
    print_message("%-12s worst error f32 %.2e", op, t->worst[0]);
    if (vulkan[1]) print_message("   f16 %.2e", t->worst[1]);
    print_message("\n");
}

/* ---- copies and small ops ---- */

static nn_tensor build_gate(nn_graph *g, nn_tensor *x, const trial *t) {
    return (void)t, nn_gated_tanh(g, x[0]);
}
static nn_tensor build_pool(nn_graph *g, nn_tensor *x, const trial *t) {
    return (void)t, nn_avg_pool2x2(g, x[0]);
}
static nn_tensor build_concat(nn_graph *g, nn_tensor *x, const trial *t) {
    return (void)t, nn_concat(g, x[0], x[1]);
}
static nn_tensor build_slice(nn_graph *g, nn_tensor *x, const trial *t) {
    return nn_slice(g, x[0], t->a, t->b);
}
static nn_tensor build_flip(nn_graph *g, nn_tensor *x, const trial *t) {
    return (void)t, nn_flip(g, x[0]);
}
static nn_tensor build_planar(nn_graph *g, nn_tensor *x, const trial *t) {
    return (void)t, nn_planar(g, x[0]);
}
static nn_tensor build_embed(nn_graph *g, nn_tensor *x, const trial *t) {
    return (void)t, nn_embed(g, x[0], "table");
}

static void test_gate(void **state) {
    (void)state;
    trial t = {.build = build_gate, .half_tolerance = 2e-3};
    for (int i = 0; i < TRIALS; i++) {
        trial_open(&t);
        trial_input(&t, between(1, 2), between(1, 300), 2 * random_channels(), 0, i % 3 ? 4 : 200);
        trial_check(&t);
        trial_close(&t);
    }
    report("gate", &t);
}

static void test_avg_pool(void **state) {
    (void)state;
    trial t = {.build = build_pool, .half_tolerance = 2e-3};
    for (int i = 0; i < TRIALS; i++) {
        trial_open(&t);
        trial_input(&t, 2 * between(1, 12), 2 * between(1, 20), random_channels(), 0.3, 1);
        trial_check(&t);
        trial_close(&t);
    }
    report("avg_pool", &t);
}

static void test_concat(void **state) {
    (void)state;
    trial t = {.build = build_concat, .half_tolerance = 2e-3};
    for (int i = 0; i < TRIALS; i++) {
        const int h = between(1, 3), w = between(1, 60);
        trial_open(&t);
        for (int k = 0; k < 2; k++)
            trial_input(&t, h, w, i % 2 ? 4 * between(1, 40) : random_channels(), 0, 1);
        trial_check(&t);
        trial_close(&t);
    }
    report("concat", &t);
}

static void test_slice(void **state) {
    (void)state;
    trial t = {.build = build_slice, .half_tolerance = 2e-3};
    for (int i = 0; i < TRIALS; i++) {
        const int unit = i % 2 ? 4 : 1, all = between(1, 60);
        const int from = between(0, all - 1), count = between(1, all - from);
        t.a = unit * from;
        t.b = unit * count;
        trial_open(&t);
        trial_input(&t, between(1, 3), between(1, 60), unit * all, 0, 1);
        trial_check(&t);
        trial_close(&t);
    }
    report("slice", &t);
}

static void test_flip(void **state) {
    (void)state;
    trial t = {.build = build_flip, .half_tolerance = 2e-3};
    for (int i = 0; i < TRIALS; i++) {
        trial_open(&t);
        trial_input(&t, between(1, 3), between(1, 60), random_channels(), 0, 1);
        trial_check(&t);
        trial_close(&t);
    }
    report("flip", &t);
}

static void test_planar(void **state) {
    (void)state;
    trial t = {.build = build_planar, .half_tolerance = 2e-3};
    for (int i = 0; i < TRIALS; i++) {
        trial_open(&t);
        trial_input(&t, between(1, 20), between(1, 130), ONE_OF(1, 2, 3, 4, 16, 33), 0, 1);
        trial_check(&t);
        trial_close(&t);
    }
    report("planar", &t);
}

/* Indices beyond both ends of the table among them. */
static void test_embed(void **state) {
    (void)state;
    trial t = {.build = build_embed, .index = true, .half_tolerance = 2e-3};
    for (int i = 0; i < TRIALS; i++) {
        const int rows = between(1, 40), frames = between(1, 90);
        trial_open(&t);
        trial_weight(&t, "table.weight", 2, (int64_t[]){rows, random_channels()}, 0, 1);
        t.inputs = 1;
        t.shape[0] = (nn_shape){1, frames, 1};
        int32_t *index = t.data[0] = malloc((size_t)frames * sizeof *index);
        assert_non_null(index);
        for (int k = 0; k < frames; k++) index[k] = between(-3, rows + 2);
        trial_check(&t);
        trial_close(&t);
    }
    report("embed", &t);
}

/* ---- norms, and the steps behind them ---- */

static nn_tensor with_steps(nn_graph *g, nn_tensor y, nn_tensor *x, int kind) {
    switch (kind) {
    case 1: return nn_add(g, y, x[1]);
    case 2: return nn_gelu(g, y);
    case 3: return nn_leaky_relu(g, nn_batch_norm(g, nn_scale(g, y, 0.7f), "bn"), 0.1f);
    case 4: return nn_tanh(g, nn_mul(g, nn_sub(g, x[1], y), x[2]));
    default: return y;
    }
}

static nn_tensor build_layer_norm(nn_graph *g, nn_tensor *x, const trial *t) {
    return with_steps(g, nn_layer_norm(g, x[0], "norm"), x, t->a);
}
static nn_tensor build_group_norm(nn_graph *g, nn_tensor *x, const trial *t) {
    return with_steps(g, nn_group_norm(g, x[0], "norm", t->b), x, t->a);
}

/* x, operands of the same shape and of one row, weights of the norm and of a batch norm behind it. */
static void norm_trial(trial *t, int h, int w, int c, bool greek) {
    static const char *const parts[] = {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"};
    trial_open(t);
    trial_input(t, h, w, c, ONE_OF(0, 0, 3), 1);
    trial_input(t, h, w, c, 0, 1);
    trial_input(t, 1, 1, c, 0, 1);
    trial_vector(t, greek ? "norm.gamma" : "norm.weight", c, 0.2, 1);
    trial_vector(t, greek ? "norm.beta" : "norm.bias", c, 0, 1);
    for (int i = 0; i < 4; i++) trial_vector(t, parts[i], c, i == 3 ? 1 : 0, 0.7);
}

static void test_layer_norm(void **state) {
    (void)state;
    trial t = {.build = build_layer_norm, .half_tolerance = 1e-2};
    for (int i = 0; i < 2 * TRIALS; i++) {
        const int channels = i % 4 == 3 ? ONE_OF(192, 512, 768, 1030) : random_channels();
        t.a = i % 5;
        norm_trial(&t, between(1, 2), between(1, 70), channels, i % 2);
        trial_check(&t);
        trial_close(&t);
    }
    report("layer_norm", &t);
}

static void test_group_norm(void **state) {
    (void)state;
    trial t = {.build = build_group_norm, .half_tolerance = 1e-2};
    for (int i = 0; i < 2 * TRIALS; i++) {
        const int width = ONE_OF(1, 1, 2, 5), groups = between(1, 24);
        t.a = i % 5;
        t.b = groups;
        norm_trial(&t, 1, i % 3 ? between(9, 255) : between(256, 1100), width * groups, false);
        trial_check(&t);
        trial_close(&t);
    }
    report("group_norm", &t);
}

/* ---- what the planner makes one node of, or none ---- */

/* Layers of t->b channels: "square", "wide" makes twice as many. */
static nn_tensor build_folds(nn_graph *g, nn_tensor *x, const trial *t) {
    const int c = t->b, frames = nn_shape_of(x[0]).w;
    nn_tensor y;
    switch (t->a) {
    case 0: /* a layer's halves */
        y = nn_linear(g, x[0], "wide");
        return nn_add(g, nn_slice(g, y, 0, c), nn_tanh(g, nn_slice(g, y, c, c)));
    case 1: /* two layers, the first in part, between flips */
        y = nn_slice(g, nn_linear(g, nn_flip(g, x[0]), "wide"), c / 2, c);
        return nn_sub(g, x[1], nn_flip(g, nn_linear(g, y, "square")));
    case 2: /* parts of a row, as operands of a step */
        y = nn_relu(g, x[2]);
        x[0] = nn_mul(g, nn_linear(g, x[0], "square"), nn_slice(g, y, c, c));
        return nn_add(g, x[0], nn_slice(g, y, c - 1, c));
    default: /* frames, to be read by a layer and from outside */
        y = nn_frames(g, nn_tanh(g, x[0]), frames / 3, frames - frames / 3);
        return nn_frames(g, nn_linear(g, y, "square"), frames / 2, frames - frames / 3 - frames / 2);
    }
}

static void test_folds(void **state) {
    (void)state;
    trial t = {.build = build_folds, .half_tolerance = 1e-2};
    for (int i = 0; i < 2 * TRIALS; i++) {
        const int c = i % 3 ? 8 * between(1, 12) : random_channels() + 1, frames = between(6, 90);
        const double scale = 1 / sqrt((double)c);
        t.a = i % 4;
        t.b = c;
        trial_open(&t);
        for (int k = 0; k < 2; k++) trial_input(&t, 1, frames, c, 0, 1);
        trial_input(&t, 1, 1, 2 * c, 0, 1);
        for (int k = 1; k <= 2; k++) {
            trial_weight(&t, k == 1 ? "square.weight" : "wide.weight", 2, (int64_t[]){k * c, c}, 0,
                         2 * scale);
            trial_vector(&t, k == 1 ? "square.bias" : "wide.bias", k * c, 0, 1);
        }
        trial_check(&t);
        trial_close(&t);
    }
    report("folds", &t);
}

/* ---- attention ---- */

static nn_tensor build_attention(nn_graph *g, nn_tensor *x, const trial *t) {
    return nn_attention(g, x[0], x[1], x[2], t->a, t->b < 0 ? NULL : "att");
}

/* Scores of a size that grows with `keys`. Queries and keys are such that float16 holds them, so that what is
 * found is not their rounding, which great scores magnify. */
static void attention_trial(trial *t, int frames, int heads, int size, int window, double keys) {
    t->a = heads;
    t->b = window;
    trial_open(t);
    for (int i = 0; i < 3; i++) {
        trial_input(t, 1, frames, heads * size, 0, i == 0 ? 2 : i == 1 ? keys : 1);
        float *data = t->data[i];
        for (size_t k = 0; i < 2 && k < elements(t->shape[i]); k++) data[k] = roundf(data[k] * 32) / 32;
    }
    if (window >= 0) {
        const int64_t shape[] = {1, 2 * window + 1, size};
        trial_weight(t, "att.emb_rel_k", 3, shape, 0, 1);
        trial_weight(t, "att.emb_rel_v", 3, shape, 0, 1);
    }
    trial_check(t);
    trial_close(t);
}

static void test_attention(void **state) {
    (void)state;
    trial t = {.build = build_attention, .half_tolerance = 1e-2};
    attention_trial(&t, 333, 2, 64, -1, 2);
    attention_trial(&t, 260, 2, 96, 10, 2);
    attention_trial(&t, 299, 2, 64, -1, 10); /* a row's greatest score grows as its keys pass */
    attention_trial(&t, 150, 1, 96, 10, 10);
    if (!is_lavapipe()) { /* so many that a block's keys are split among few, or not at all */
        for (int i = 0; i < 8; i++)
            attention_trial(&t, ONE_OF(349, 500, 701, 1064, 1501, 2130, 3001, 4099), between(2, 12),
                            ONE_OF(16, 48, 64, 80, 96, 128), i % 2 ? ONE_OF(0, 4, 10, 16, 20) : -1,
                            i % 4 ? 2 : 8);
        attention_trial(&t, 349, 12, 64, -1, 2);
        attention_trial(&t, 1064, 12, 64, -1, 2);
        attention_trial(&t, 700, 2, 96, 10, 2);
        attention_trial(&t, 2131, 2, 96, 10, 2);
    }
    for (int i = 0; i < 2 * TRIALS; i++)
        attention_trial(&t, ONE_OF(1, 2, 5, 15, 16, 17, 31, 32, 33, 64, 65, 97, 130, 257), between(1, 3),
                        ONE_OF(1, 3, 16, 20, 33, 48, 64, 96), i % 2 ? ONE_OF(0, 1, 4, 10, 17) : -1, 2);
    report("attention", &t);
}

/* ---- gru ---- */

static nn_tensor build_gru(nn_graph *g, nn_tensor *x, const trial *t) {
    return (void)t, nn_bigru(g, x[0], "gru");
}

static void gru_trial(trial *t, int frames, int channels, int hidden) {
    trial_open(t);
    trial_input(t, 1, frames, channels, 0, 1);
    t->a = hidden;
    for (int reverse = 0; reverse < 2; reverse++) {
        static const char *const parts[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
        for (int i = 0; i < 4; i++) {
            char name[40];
            snprintf(name, sizeof name, "gru.%s_l0%s", parts[i], reverse ? "_reverse" : "");
            const int64_t shape[] = {3 * hidden, i ? hidden : channels};
            trial_weight(t, name, i < 2 ? 2 : 1, shape, 0, i < 2 ? 2 / sqrt((double)shape[1]) : 0.5);
        }
    }
    trial_check(t);
    trial_close(t);
}

/* As the device would, one workgroup a direction (also in several dispatches), and with 4 and 8 lanes per unit. The last two take several
 * workgroups that wait for each other where units * lanes > 256, which lavapipe cannot: it ends a loop after
 * 65535 rounds. */
static void test_gru(void **state) {
    (void)state;
    static const char *const ways[] = {"", "1", "1:7", "4", "8"};
    const bool waits = !is_lavapipe();
    if (!waits) print_message("lavapipe: no GRU over several workgroups\n");
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        const int lanes = atoi(ways[k]), most = waits || lanes < 4 ? 256 : 256 / lanes;
        trial t = {.build = build_gru, .half_tolerance = 1e-2};
        setenv("RVC_VULKAN_GRU", ways[k], 1);
        gru_trial(&t, 60, 48, most < 64 ? most : 64);
        if (waits) gru_trial(&t, 500, 384, 256);
        for (int i = 0; i < TRIALS / 2; i++) {
            const int hidden = ONE_OF(1, 5, 32, 40, 64);
            gru_trial(&t, ONE_OF(1, 2, 3, 17, 40), ONE_OF(1, 7, 16, 33), hidden < most ? hidden : most);
        }
        print_message("lanes %-6s ", *ways[k] ? ways[k] : "any");
        report("gru", &t);
    }
    unsetenv("RVC_VULKAN_GRU");
}

/* ---- devices ---- */

static int close_devices(void **state) {
    (void)state;
    nn_device_close(cpu);
    for (int i = 0; i < 2; i++) nn_device_close(vulkan[i]);
    return 0;
}

int main(void) {
    check_vulkan_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gate),       cmocka_unit_test(test_avg_pool),
        cmocka_unit_test(test_concat),     cmocka_unit_test(test_slice),
        cmocka_unit_test(test_flip),       cmocka_unit_test(test_planar),
        cmocka_unit_test(test_embed),      cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_group_norm), cmocka_unit_test(test_attention),
        cmocka_unit_test(test_gru),        cmocka_unit_test(test_folds),
    };
    nn_error e = {0};
    if (nn_vulkan_open(&vulkan[0], "vulkan", 32, &e)) {
        printf("skipped: %s\n", e.text);
        return 0;
    }
    e = (nn_error){0};
    if (nn_vulkan_open(&vulkan[1], "vulkan", 16, &e)) printf("float16 skipped: %s\n", e.text);
    e = (nn_error){0};
    if (nn_device_open(&cpu, "cpu", 1, &e)) {
        printf("%s\n", e.text);
        return 1;
    }
    printf("%s\n", nn_device_name(vulkan[0]));
    return cmocka_run_group_tests(tests, NULL, close_devices);
}
