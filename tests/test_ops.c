/* test_ops.c - every op but conv (test_conv.c) against the plain formula in double, on random shapes, for
 * every instruction set; the same bytes for any number of threads and any order of tasks; nothing touched
 * outside the output.
 *
 * A trial is one node made by hand with its inputs and weights; `want` is filled by the formula, then the
 * node's steps are applied to it, and trial_check drives the kernels. Errors are relative to the greatest
 * output. */
#include "kernel_driver.h"

typedef struct trial {
    nn_node node, in[NN_MAX_IN];
    float *data[NN_MAX_IN]; /* [elements of in[i].shape] */
    nn_weights *weights;
    float *weight[12]; /* copies of what is in `weights`, in the order of trial_weight calls */
    int n_weights;
    char names[NN_MAX_STEPS][8];
    double *want; /* [elements of node.shape] */
    double tolerance;
    int alias; /* also run with the output in this input's memory; -1: no */
} trial;

static uint64_t seed = 20;
static double uniform(void) {
    return (double)check_random_float(&seed);
}
static int between(int low, int high) {
    return low + (int)(check_random(&seed) % (uint64_t)(high - low + 1));
}
static int one_of(const int *choice, int n) {
    return choice[between(0, n - 1)];
}

/* Sizes around every vector's width, and 1. */
static int random_channels(void) {
    static const int sizes[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 96, 130};
    return one_of(sizes, sizeof sizes / sizeof *sizes);
}

static trial trial_new(nn_op op, int h, int w, int c) {
    trial t = {.node = {.op = op, .name = "layer", .shape = {h, w, c}}, .tolerance = 1e-5, .alias = -1};
    assert_int_equal(nn_weights_new(&t.weights, "test", NULL), 0);
    t.want = malloc((size_t)h * (size_t)w * (size_t)c * sizeof *t.want);
    assert_non_null(t.want);
    return t;
}

/* One more input, of values offset +- scale. Pointers between nodes are set by trial_check, as a trial may
 * move. */
static float *trial_input(trial *t, int h, int w, int c, double offset, double scale) {
    const int i = t->node.n_in++;
    t->in[i] = (nn_node){.op = NN_OP_input, .name = "", .shape = {h, w, c}};
    const size_t count = nn_elements(t->in[i].shape);
    t->data[i] = malloc(count * sizeof(float));
    assert_non_null(t->data[i]);
    for (size_t k = 0; k < count; k++) t->data[i][k] = (float)(offset + scale * uniform());
    return t->data[i];
}

static const float *trial_weight(trial *t, const char *name, int rank, const int64_t *shape, double offset,
                                 double scale) {
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= (size_t)shape[i];
    float *data = t->weight[t->n_weights++] = malloc(count * sizeof(float));
    assert_non_null(data);
    for (size_t k = 0; k < count; k++) data[k] = (float)(offset + scale * uniform());
    assert_int_equal(nn_weights_add(t->weights, name, rank, shape, data, NULL), 0);
    return data;
}

static void trial_free(trial *t) {
    for (int i = 0; i < t->node.n_in; i++) free(t->data[i]);
    for (int i = 0; i < t->n_weights; i++) free(t->weight[i]);
    nn_weights_free(t->weights);
    free(t->want);
}

/* ---- steps ---- */

/* One step on v: o is the operand's value there, bn[] the batch norm's weight, bias, mean and variance. */
static double step_exact(const nn_step *s, double v, double o, const double bn[4]) {
    switch (s->kind) {
    case NN_STEP_ADD: return v + o;
    case NN_STEP_SUB: return v - o;
    case NN_STEP_RSUB: return o - v;
    case NN_STEP_MUL: return v * o;
    case NN_STEP_SCALE: return v * (double)s->value;
    case NN_STEP_AFFINE: return (v - bn[2]) / sqrt(bn[3] + 1e-5) * bn[0] + bn[1];
    case NN_STEP_RELU: return v > 0 ? v : 0;
    case NN_STEP_LEAKY_RELU: return v < 0 ? v * (double)s->value : v;
    case NN_STEP_GELU: return v / 2 * (1 + erf(v / sqrt(2)));
    case NN_STEP_TANH: return tanh(v);
    case NN_STEP_SIGMOID: return 1 / (1 + exp(-v));
    case NN_STEP_EXP: return exp(v);
    case NN_STEP_COUNT: break;
    }
    return NAN;
}

/* Appends a step of that kind, with its operand or weights, and applies it to want. */
static void trial_step(trial *t, nn_step_kind kind) {
    nn_node *n = &t->node;
    const size_t channels = (size_t)n->shape.c, count = nn_elements(n->shape);
    nn_step *s = &n->steps[n->n_steps];
    *s = (nn_step){.kind = kind, .value = (float)uniform(), .operand = -1};
    const float *operand = NULL, *part[4] = {NULL};
    bool one_row = false;
    if (kind <= NN_STEP_MUL) {
        one_row = between(0, 1);
        s->operand = n->n_in;
        operand = trial_input(t, one_row ? 1 : n->shape.h, one_row ? 1 : n->shape.w, n->shape.c, 0, 1);
    }
    if (kind == NN_STEP_AFFINE) {
        static const char *const suffix[4] = {".weight", ".bias", ".running_mean", ".running_var"};
        s->name = t->names[n->n_steps];
        snprintf(t->names[n->n_steps], sizeof *t->names, "bn%d", n->n_steps);
        for (int i = 0; i < 4; i++) {
            char name[32];
            snprintf(name, sizeof name, "%s%s", s->name, suffix[i]);
            part[i] = trial_weight(t, name, 1, (int64_t[]){n->shape.c}, i == 3 ? 1 : 0, 0.8);
        }
    }
    for (size_t i = 0; i < count; i++) {
        double bn[4] = {0};
        for (int k = 0; k < 4; k++) bn[k] = part[k] ? part[k][i % channels] : 0;
        t->want[i] = step_exact(s, t->want[i], operand ? operand[one_row ? i % channels : i] : 0, bn);
    }
    n->n_steps++;
}

/* Up to `most` random steps; exp only as the last, as what follows it would magnify its rounding. */
static void trial_random_steps(trial *t, int most) {
    for (int left = between(0, most); left > 0; left--) {
        const nn_step_kind kind = (nn_step_kind)between(0, NN_STEP_EXP);
        if (t->node.n_in == NN_MAX_IN || t->n_weights > 8) return;
        trial_step(t, kind);
        if (kind == NN_STEP_EXP) return;
    }
}

/* ---- checking ---- */

static void trial_compare(const trial *t, const char *table, const float *got) {
    const size_t count = nn_elements(t->node.shape);
    double worst = 0, greatest = 0;
    for (size_t i = 0; i < count; i++) {
        const double error = fabs((double)got[i] - t->want[i]);
        if (!(error <= worst)) worst = error;
        greatest = fmax(greatest, fabs(t->want[i]));
    }
    if (!(worst <= t->tolerance * fmax(greatest, 1e-3)))
        fail_msg("%s %s [%d][%d][%d], %d steps: error %g of %g", table, nn_op_names[t->node.op],
                 t->node.shape.h, t->node.shape.w, t->node.shape.c, t->node.n_steps, worst, greatest);
}

/* Drives the node in several ways on every table, compares, and frees the trial. */
static void trial_check(trial *t) {
    static const driver_way ways[] = {{1, -1, false}, {1, -1, true}, {3, -1, false}, {64, -1, true}};
    int tables;
    const nn_kernel_table *const *table = nn_kernel_tables(&tables);
    for (int i = 0; i < t->node.n_in; i++) t->node.in[i] = &t->in[i];
    const size_t bytes = nn_elements(t->node.shape) * sizeof(float);
    for (int k = 0; k < tables; k++) {
        float *first = driver_run(table[k], &t->node, t->data, t->weights, ways[0]);
        trial_compare(t, table[k]->name, first);
        for (size_t i = 1; i < sizeof ways / sizeof *ways; i++) {
            float *again = driver_run(table[k], &t->node, t->data, t->weights, ways[i]);
            assert_memory_equal(first, again, bytes);
            free(again);
        }
        if (t->alias >= 0) {
            float *again =
                driver_run(table[k], &t->node, t->data, t->weights, (driver_way){2, t->alias, true});
            assert_memory_equal(first, again, bytes);
            free(again);
        }
        free(first);
    }
    trial_free(t);
}

/* ---- element-wise ---- */

static void test_map(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        const int h = between(1, 3), w = between(1, i % 10 ? 70 : 1500), c = random_channels();
        trial t = trial_new(NN_OP_map, h, w, c);
        const float *x = trial_input(&t, h, w, c, 0, 3);
        for (size_t k = 0; k < nn_elements(t.node.shape); k++) t.want[k] = x[k];
        if (i < NN_STEP_COUNT)
            trial_step(&t, (nn_step_kind)i); /* each alone */
        else
            trial_random_steps(&t, 4);
        t.alias = 0;
        if (t.node.n_in > 1 && nn_elements(t.in[1].shape) == nn_elements(t.node.shape))
            t.alias = between(0, 1);
        trial_check(&t);
    }
}

static void test_map_wide_rows(void **state) { /* rows longer than a tile and than a task */
    (void)state;
    static const int widths[] = {2047, 2049, 5000, 16385, 40001};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        trial t = trial_new(NN_OP_map, 1, 3, widths[i]);
        const float *x = trial_input(&t, 1, 3, widths[i], 0, 3);
        for (size_t k = 0; k < nn_elements(t.node.shape); k++) t.want[k] = x[k];
        trial_step(&t, NN_STEP_AFFINE);
        trial_step(&t, NN_STEP_ADD);
        trial_step(&t, NN_STEP_TANH);
        t.alias = 0;
        trial_check(&t);
    }
}

static void test_gate(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        const int w = between(1, 300), c = random_channels();
        trial t = trial_new(NN_OP_gate, 1, w, c);
        const float *x = trial_input(&t, 1, w, 2 * c, 0, 6);
        for (int r = 0; r < w; r++)
            for (int j = 0; j < c; j++) {
                const double a = x[r * 2 * c + j], b = x[r * 2 * c + c + j];
                t.want[r * c + j] = tanh(a) / (1 + exp(-b));
            }
        trial_check(&t);
    }
}

/* ---- norms ---- */

static void check_layer_norm(int h, int w, int c, double offset, bool greek, double tolerance) {
    trial t = trial_new(NN_OP_layer_norm, h, w, c);
    const float *x = trial_input(&t, h, w, c, offset, 2);
    const float *gamma = trial_weight(&t, greek ? "layer.gamma" : "layer.weight", 1, (int64_t[]){c}, 1, 0.5);
    const float *beta = trial_weight(&t, greek ? "layer.beta" : "layer.bias", 1, (int64_t[]){c}, 0, 1);
    for (int r = 0; r < h * w; r++) {
        double mean = 0, variance = 0;
        for (int j = 0; j < c; j++) mean += (double)x[r * c + j] / c;
        for (int j = 0; j < c; j++) variance += pow((double)x[r * c + j] - mean, 2) / c;
        for (int j = 0; j < c; j++)
            t.want[r * c + j] =
                ((double)x[r * c + j] - mean) / sqrt(variance + 1e-5) * (double)gamma[j] + (double)beta[j];
    }
    t.tolerance = tolerance;
    trial_random_steps(&t, 2);
    trial_check(&t);
}

static void test_layer_norm(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++)
        check_layer_norm(between(1, 2), between(1, 60), random_channels(), 0, i % 2, 2e-5);
    check_layer_norm(1, 50, 768, 0, false, 1e-5);
    check_layer_norm(1, 50, 192, 0, true, 1e-5);
    check_layer_norm(1, 20, 513, 1000, false, 5e-4); /* E[x^2] - mean^2 in float32 would be off by 0.1 */
}

static void check_group_norm(int w, int c, int groups, double offset, double tolerance) {
    trial t = trial_new(NN_OP_group_norm, 1, w, c);
    t.node.u.group_norm.groups = groups;
    const float *x = trial_input(&t, 1, w, c, offset, 2);
    const float *gamma = trial_weight(&t, "layer.weight", 1, (int64_t[]){c}, 1, 0.5);
    const float *beta = trial_weight(&t, "layer.bias", 1, (int64_t[]){c}, 0, 1);
    const int width = c / groups;
    for (int g = 0; g < groups; g++) {
        double mean = 0, variance = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int r = 0; r < w; r++)
                for (int j = g * width; j < (g + 1) * width; j++) {
                    const double v = x[r * c + j];
                    if (pass == 0)
                        mean += v / ((double)w * width);
                    else
                        variance += (v - mean) * (v - mean) / ((double)w * width);
                }
        for (int r = 0; r < w; r++)
            for (int j = g * width; j < (g + 1) * width; j++)
                t.want[r * c + j] = ((double)x[r * c + j] - mean) / sqrt(variance + 1e-5) * (double)gamma[j] +
                                    (double)beta[j];
    }
    t.tolerance = tolerance;
    trial_random_steps(&t, 2);
    trial_check(&t);
}

static void test_group_norm(void **state) {
    (void)state;
    static const int frames[] = {1, 2, 255, 256, 257, 700, 1300};
    for (int i = 0; i < 21; i++) {
        const int width = i % 3 ? 1 : between(2, 40), groups = between(1, width > 1 ? 5 : 70);
        check_group_norm(frames[i % 7], width * groups, groups, 0, 2e-5);
    }
    check_group_norm(20000, 17, 17, 0, 1e-5);
    check_group_norm(3000, 20, 20, 1000, 5e-4);
}

/* ---- attention ---- */

static void attend(const trial *t, int frames, int size, int head, const float *rel_k, const float *rel_v,
                   int window) {
    const int channels = t->node.shape.c, at = head * size;
    const float *q = t->data[0] + at, *k = t->data[1] + at, *v = t->data[2] + at;
    double *p = malloc((size_t)frames * sizeof *p);
    assert_non_null(p);
    for (int i = 0; i < frames; i++) {
        double greatest = -INFINITY, sum = 0;
        for (int j = 0; j < frames; j++) {
            const bool near = rel_k && abs(j - i) <= window;
            p[j] = 0;
            for (int d = 0; d < size; d++) {
                const double key =
                    (double)k[j * channels + d] + (near ? (double)rel_k[(j - i + window) * size + d] : 0);
                p[j] += (double)q[i * channels + d] * key / sqrt(size);
            }
            greatest = fmax(greatest, p[j]);
        }
        for (int j = 0; j < frames; j++) sum += p[j] = exp(p[j] - greatest);
        double *out = t->want + i * channels + at;
        for (int d = 0; d < size; d++) out[d] = 0;
        for (int j = 0; j < frames; j++)
            for (int d = 0; d < size; d++) {
                const bool near = rel_v && abs(j - i) <= window;
                out[d] +=
                    p[j] / sum *
                    ((double)v[j * channels + d] + (near ? (double)rel_v[(j - i + window) * size + d] : 0));
            }
    }
    free(p);
}

static void check_attention(int frames, int size, int heads, int window, double scale, double tolerance) {
    trial t = trial_new(NN_OP_attention, 1, frames, heads * size);
    for (int i = 0; i < 3; i++) trial_input(&t, 1, frames, heads * size, 0, scale);
    const float *rel_k = NULL, *rel_v = NULL;
    t.node.u.attention.heads = heads;
    if (window >= 0) {
        t.node.u.attention.relative = true;
        t.node.u.attention.window = window;
        rel_k = trial_weight(&t, "layer.emb_rel_k", 3, (int64_t[]){1, 2 * window + 1, size}, 0, 1);
        rel_v = trial_weight(&t, "layer.emb_rel_v", 3, (int64_t[]){1, 2 * window + 1, size}, 0, 1);
    }
    t.tolerance = tolerance;
    for (int h = 0; h < heads; h++) attend(&t, frames, size, h, rel_k, rel_v, window);
    trial_check(&t);
}

static void test_attention(void **state) {
    (void)state;
    static const int frames[] = {1, 2, 5, 6, 7, 13, 14, 15, 31, 32, 33, 90, 113},
                     sizes[] = {1, 3, 8, 16, 33, 64, 96, 128};
    for (int i = 0; i < 26; i++)
        check_attention(frames[i % 13], one_of(sizes, 8), between(1, 3), i % 2 ? between(0, 20) : -1, 1.5,
                        1e-5);
    check_attention(350, 64, 12, -1, 1, 1e-5);
    check_attention(200, 96, 2, 10, 1, 1e-5);
    check_attention(700, 40, 1, 10, 1, 1e-5); /* several blocks of V's rows, several tiles a task */
    check_attention(40, 16, 2, -1, 15, 5e-5); /* scores of hundreds: the greatest must be subtracted */
}

/* ---- recurrence ---- */

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static void recur(trial *t, int frames, int channels, int hidden, int direction, const float *const w[4]) {
    double *h = calloc((size_t)hidden, sizeof *h), *next = calloc((size_t)hidden, sizeof *next);
    assert_true(h && next);
    for (int i = 0; i < frames; i++) {
        const int f = direction ? frames - 1 - i : i;
        for (int u = 0; u < hidden; u++) {
            double x[3], s[3]; /* of r, z, n: from the input, from the state */
            for (int g = 0; g < 3; g++) {
                const int row = g * hidden + u;
                x[g] = w[2][row];
                s[g] = w[3][row];
                for (int j = 0; j < channels; j++)
                    x[g] += (double)w[0][row * channels + j] * (double)t->data[0][f * channels + j];
                for (int j = 0; j < hidden; j++) s[g] += (double)w[1][row * hidden + j] * h[j];
            }
            const double r = sigmoid(x[0] + s[0]), z = sigmoid(x[1] + s[1]), n = tanh(x[2] + r * s[2]);
            next[u] = (1 - z) * n + z * h[u];
        }
        memcpy(h, next, (size_t)hidden * sizeof *h);
        for (int u = 0; u < hidden; u++) t->want[(f * 2 + direction) * hidden + u] = h[u];
    }
    free(h);
    free(next);
}

static void check_gru(int frames, int channels, int hidden) {
    static const char *const name[2][4] = {
        {"layer.weight_ih_l0", "layer.weight_hh_l0", "layer.bias_ih_l0", "layer.bias_hh_l0"},
        {"layer.weight_ih_l0_reverse", "layer.weight_hh_l0_reverse", "layer.bias_ih_l0_reverse",
         "layer.bias_hh_l0_reverse"}};
    trial t = trial_new(NN_OP_gru, 1, frames, 2 * hidden);
    t.node.u.gru.hidden = hidden;
    trial_input(&t, 1, frames, channels, 0, 1);
    for (int d = 0; d < 2; d++) {
        const float *w[4];
        for (int i = 0; i < 4; i++) {
            const int64_t shape[2] = {3 * hidden, i == 0 ? channels : hidden};
            w[i] =
                trial_weight(&t, name[d][i], i < 2 ? 2 : 1, shape, 0, i < 2 ? 2 / sqrt((double)shape[1]) : 1);
        }
        recur(&t, frames, channels, hidden, d, w);
    }
    trial_check(&t);
}

static void test_gru(void **state) {
    (void)state;
    static const int frames[] = {1, 2, 6, 14, 23, 56, 57, 80}, sizes[] = {1, 3, 8, 15, 16, 32, 33, 70};
    for (int i = 0; i < 16; i++) check_gru(frames[i % 8], random_channels(), sizes[between(0, 7)]);
    check_gru(64, 384, 256);
}

/* ---- moving values ---- */

static void test_avg_pool(void **state) {
    (void)state;
    for (int i = 0; i < 15; i++) {
        const int h = between(1, 20), w = between(1, 20), c = random_channels();
        trial t = trial_new(NN_OP_avg_pool, h, w, c);
        const float *x = trial_input(&t, 2 * h, 2 * w, c, 0, 1);
        for (int k = 0; k < h * w * c; k++) {
            const int y = k / c / w, at = (2 * y * 2 * w + 2 * (k / c % w)) * c + k % c;
            t.want[k] = ((double)x[at] + (double)x[at + c] + (double)x[at + 2 * w * c] +
                         (double)x[at + 2 * w * c + c]) /
                        4;
        }
        trial_check(&t);
    }
}

static void test_embed(void **state) {
    (void)state;
    for (int i = 0; i < 15; i++) {
        const int w = between(1, 500), c = random_channels(), rows = between(1, 40);
        trial t = trial_new(NN_OP_embed, 1, w, c);
        float *index = trial_input(&t, 1, w, 1, 0, 1);
        t.in[0].is_index = true;
        const float *table = trial_weight(&t, "layer.weight", 2, (int64_t[]){rows, c}, 0, 1);
        for (int r = 0; r < w; r++) {
            static const int wild[] = {-1, INT32_MIN, INT32_MAX};
            const int32_t at = r % 7 == 6 ? wild[r % 3] : between(0, rows); /* `rows` itself is one too far */
            memcpy(&index[r], &at, sizeof at);
            const int row = at < 0 ? 0 : at < rows ? at : rows - 1;
            for (int j = 0; j < c; j++) t.want[r * c + j] = table[row * c + j];
        }
        t.tolerance = 0;
        trial_check(&t);
    }
}

static void test_concat_slice_flip(void **state) {
    (void)state;
    for (int i = 0; i < 15; i++) {
        const int h = between(1, 9), w = between(1, 90), a = random_channels(), b = random_channels(),
                  c = a + b;
        trial t[3] = {trial_new(NN_OP_concat, h, w, c), trial_new(NN_OP_slice, h, w, b),
                      trial_new(NN_OP_flip, h, w, a)};
        const float *left = trial_input(&t[0], h, w, a, 0, 1), *right = trial_input(&t[0], h, w, b, 0, 1);
        const int from = between(0, a);
        const float *sliced = trial_input(&t[1], h, w, c, 0, 1), *flipped = trial_input(&t[2], h, w, a, 0, 1);
        t[1].node.u.slice.from = from;
        for (int r = 0; r < h * w; r++) {
            for (int j = 0; j < c; j++) t[0].want[r * c + j] = j < a ? left[r * a + j] : right[r * b + j - a];
            for (int j = 0; j < b; j++) t[1].want[r * b + j] = sliced[r * c + from + j];
            for (int j = 0; j < a; j++) t[2].want[r * a + j] = flipped[r * a + a - 1 - j];
        }
        for (int k = 0; k < 3; k++) {
            t[k].tolerance = 0;
            trial_check(&t[k]);
        }
    }
}

static void test_planar(void **state) {
    (void)state;
    for (int i = 0; i < 15; i++) {
        const int h = between(1, 200), w = between(1, 70), c = i % 2 ? 3 : random_channels();
        trial t = trial_new(NN_OP_planar, 1, h, c * w);
        const float *x = trial_input(&t, h, w, c, 0, 1);
        for (int k = 0; k < h * w * c; k++) t.want[k / (w * c) * w * c + k % c * w + k / c % w] = x[k];
        t.tolerance = 0;
        trial_check(&t);
    }
}

/* ---- what checkpoints get wrong ---- */

/* Packs a layer_norm of 4 channels whose .weight has `channels`, and, if variance is not 0, a batch norm
 * step. */
static nn_code pack_damaged(int channels, float variance, nn_error *e) {
    int tables;
    const nn_kernel_table *const *table = nn_kernel_tables(&tables);
    trial t = trial_new(NN_OP_layer_norm, 1, 1, 4);
    trial_weight(&t, "layer.weight", 1, (int64_t[]){channels}, 1, 0);
    trial_weight(&t, "layer.bias", 1, (int64_t[]){4}, 0, 0);
    static const char *const part[4] = {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"};
    for (int i = 0; i < 4; i++)
        trial_weight(&t, part[i], 1, (int64_t[]){4}, i == 3 ? (double)variance : 1, 0);
    t.node.n_steps = 1;
    t.node.steps[0] = (nn_step){.kind = NN_STEP_AFFINE, .operand = -1, .name = "bn"};
    const nn_code code = table[0]->kernel[NN_OP_layer_norm].pack(&t.node, t.weights, e);
    trial_free(&t);
    return code;
}

static void test_damaged_weights(void **state) {
    (void)state;
    nn_error shape = {0}, variance = {0};
    assert_int_equal(pack_damaged(4, 1, NULL), NN_OK);
    assert_int_equal(pack_damaged(5, 1, &shape), NN_ERROR_MODEL);
    assert_non_null(strstr(shape.text, "layer.weight"));
    assert_int_equal(pack_damaged(4, -1, &variance), NN_ERROR_MODEL);
    assert_non_null(strstr(variance.text, "bn.running_var"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),        cmocka_unit_test(test_map_wide_rows),
        cmocka_unit_test(test_gate),       cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_group_norm), cmocka_unit_test(test_attention),
        cmocka_unit_test(test_gru),        cmocka_unit_test(test_avg_pool),
        cmocka_unit_test(test_embed),      cmocka_unit_test(test_concat_slice_flip),
        cmocka_unit_test(test_planar),     cmocka_unit_test(test_damaged_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
