/* test_graph.c - the planner: random graphs must give what a plain interpreter gives, whatever was fused, folded, reordered
 * or put into the same bytes; errors stick and name the layer; the pool runs every task once; the cache keeps plans. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

#include "../nn/cpu/pool.h"
#include "../nn/plan.h"

static uint64_t state;
static double uniform(void) {
    return (double)check_random_float(&state);
}
static int between(int low, int high) {
    return low + (int)(check_random(&state) % (uint64_t)(high - low + 1));
}

/* ---- random graphs ---- */

enum { FRAMES = 37, CHANNELS = 24, VALUES = FRAMES * CHANNELS, NODES = 40, LAYERS = 4 };

typedef struct layer {
    float weight[CHANNELS * CHANNELS * 3], bias[CHANNELS], bn[4][CHANNELS];
} layer;

static nn_weights *make_layers(layer *l) {
    nn_weights *w;
    assert_int_equal(nn_weights_new(&w, "random", NULL), 0);
    for (int i = 0; i < LAYERS; i++) {
        static const char *const part[4] = {"weight", "bias", "running_mean", "running_var"};
        char name[64];
        for (int k = 0; k < CHANNELS * CHANNELS * 3; k++)
            l[i].weight[k] = (float)(uniform() / sqrt(CHANNELS));
        for (int k = 0; k < CHANNELS; k++) l[i].bias[k] = (float)uniform();
        snprintf(name, sizeof name, "conv%d.weight", i);
        nn_weights_add(w, name, 3, (int64_t[]){CHANNELS, CHANNELS, 3}, l[i].weight, NULL);
        snprintf(name, sizeof name, "conv%d.bias", i);
        nn_weights_add(w, name, 1, (int64_t[]){CHANNELS}, l[i].bias, NULL);
        for (int p = 0; p < 4; p++) {
            for (int k = 0; k < CHANNELS; k++) l[i].bn[p][k] = (float)((p == 3 ? 1 : 0) + 0.5 * uniform());
            snprintf(name, sizeof name, "bn%d.%s", i, part[p]);
            nn_weights_add(w, name, 1, (int64_t[]){CHANNELS}, l[i].bn[p], NULL);
        }
    }
    return w;
}

static void plain_conv(const layer *l, const double *x, double *y) {
    for (int t = 0; t < FRAMES; t++)
        for (int o = 0; o < CHANNELS; o++) {
            double sum = l->bias[o];
            for (int i = 0; i < CHANNELS; i++)
                for (int k = 0; k < 3; k++)
                    if (t + k - 1 >= 0 && t + k - 1 < FRAMES)
                        sum += (double)l->weight[(o * CHANNELS + i) * 3 + k] * x[(t + k - 1) * CHANNELS + i];
            y[t * CHANNELS + o] = sum;
        }
}

/* Appends one random node to the graph and computes the same plainly. */
static nn_tensor random_node(nn_graph *g, nn_tensor *x, double (*v)[VALUES], int n, const layer *l) {
    int a = between(n > 6 ? n - 6 : 0, n - 1), b = between(0, n - 1), k = between(0, LAYERS - 1),
        kind = between(0, 12);
    double *y = v[n];
    for (int i = 0; i < VALUES; i++) {
        double p = v[a][i], q = v[b][i];
        int c = i % CHANNELS;
        switch (kind) {
        case 0: y[i] = p + q; break;
        case 1: y[i] = p - q; break;
        case 2: y[i] = tanh(p) * tanh(q); break;
        case 3: y[i] = p * -0.75; break;
        case 4: y[i] = p > 0 ? p : 0; break;
        case 5: y[i] = p < 0 ? 0.1 * p : p; break;
        case 6: y[i] = tanh(p); break;
        case 7: y[i] = p / 2 * (1 + erf(p / sqrt(2))); break;
        case 8: y[i] = 1 / (1 + exp(-p)); break;
        case 9:
            y[i] = (p - (double)l[k].bn[2][c]) / sqrt((double)l[k].bn[3][c] + 1e-5) * (double)l[k].bn[0][c] +
                   (double)l[k].bn[1][c];
            break;
        default: break;
        }
    }
    char conv[32], bn[32];
    snprintf(conv, sizeof conv, "conv%d", k);
    snprintf(bn, sizeof bn, "bn%d", k);
    switch (kind) {
    case 0: return nn_add(g, x[a], x[b]);
    case 1: return nn_sub(g, x[a], x[b]);
    case 2: return nn_mul(g, nn_tanh(g, x[a]), nn_tanh(g, x[b]));
    case 3: return nn_scale(g, x[a], -0.75f);
    case 4: return nn_relu(g, x[a]);
    case 5: return nn_leaky_relu(g, x[a], 0.1f);
    case 6: return nn_tanh(g, x[a]);
    case 7: return nn_gelu(g, x[a]);
    case 8: return nn_sigmoid(g, x[a]);
    case 9: return nn_batch_norm(g, x[a], bn);
    default: plain_conv(&l[k], v[a], y); return nn_conv1d(g, x[a], conv, .pad = 1);
    }
}

static bool overlap(const nn_node *a, const nn_node *b) {
    return a->offset < b->offset + nn_elements(b->shape) * sizeof(float) &&
           b->offset < a->offset + nn_elements(a->shape) * sizeof(float);
}

/* Of two nodes side by side neither reads or overwrites what the other makes, nor overwrites what the other reads; and no node
 * stands before what it reads. Returns the pairs there are. */
static int check_ranks(const nn_plan *p) {
    int pairs = 0;
    for (int i = 0; i < p->count; i++) {
        const nn_node *n = p->node[i];
        assert_true(p->rank[i].first <= i && i <= p->rank[i].last);
        for (int k = 0; k < n->n_in; k++) {
            int at = 0;
            while (p->node[at] != n->in[k]) at++;
            assert_true(at < i);
            assert_true(at < p->rank[i].first || !nn_node_runs(n) || n->in[k]->view ||
                        n->in[k]->op == NN_OP_input);
        }
        for (int j = p->rank[i].first; j <= p->rank[i].last && nn_node_runs(n); j++) {
            const nn_node *m = p->node[j];
            if (j == i || !nn_node_runs(m)) continue;
            assert_false(overlap(n, m));
            for (int k = 0; k < m->n_in; k++) assert_false(overlap(n, m->in[k]));
            pairs++;
        }
    }
    return pairs;
}

/* Every third on a device that computes one value after another, the others on one that computes all it can at once. */
static void test_random_graphs(void **s) {
    (void)s;
    int pairs[2] = {0};
    static layer l[LAYERS];
    static double v[NODES][VALUES];
    static float in[2][VALUES], got[VALUES], want[VALUES];
    double least = 999;
    state = 7;
    for (int round = 0; round < 60; round++) {
        nn_weights *w = make_layers(l);
        nn_graph *g = nn_graph_new(w);
        nn_tensor x[NODES];
        bool read[NODES] = {false};
        for (int i = 0; i < 2; i++) {
            for (int k = 0; k < VALUES; k++) v[i][k] = in[i][k] = (float)uniform();
            x[i] = nn_input(g, i ? "b" : "a", 1, FRAMES, CHANNELS);
        }
        int n = between(4, NODES);
        for (int i = 2; i < n; i++) {
            x[i] = random_node(g, x, v, i, l);
            char name[16];
            snprintf(name, sizeof name, "out%d", i);
            read[i] = i == n - 1 || between(0, 4) == 0;
            if (read[i]) nn_output(g, x[i], name);
        }
        nn_device *d;
        nn_plan *p;
        nn_error e = {0};
        assert_int_equal(nn_device_open(&d, "cpu", between(1, 4), &e), 0);
        d->overlap_bytes = round % 3 ? sizeof want : 0;
        nn_plan_new(&p, g, d, &e);
        if (e.code) fail_msg("%s", e.text);
        pairs[round % 3 > 0] += check_ranks(p);
        for (int run = 0; run < 2; run++) {
            nn_plan_write(p, "a", in[0]);
            nn_plan_write(p, "b", in[1]);
            assert_int_equal(nn_plan_run(p, &e), 0);
        }
        for (int i = 2; i < n; i++) {
            if (!read[i]) continue;
            char name[16];
            snprintf(name, sizeof name, "out%d", i);
            nn_plan_read(p, name, got);
            for (int k = 0; k < VALUES; k++) want[k] = (float)v[i][k];
            double snr = check_snr_db(got, want, VALUES);
            if (snr < 100 && check_max_error(got, want, VALUES) > 1e-6)
                fail_msg("round %d node %d of %d: %g dB", round, i, n, snr);
            least = fmin(least, snr);
        }
        nn_plan_free(p);
        nn_device_close(d);
        nn_weights_free(w);
    }
    assert_int_equal(pairs[0], 0);
    assert_true(pairs[1] > 100);
    print_message("least accurate output: %.1f dB; %d nodes side by side\n", least, pairs[1]);
}

/* Long chains must not keep every value: the slab of n nodes that follow one another is a few values large. */
static void test_slab_is_shared(void **s) {
    (void)s;
    static layer l[LAYERS];
    nn_weights *w = make_layers(l);
    nn_graph *g = nn_graph_new(w);
    nn_tensor x = nn_input(g, "x", 1, 5000, CHANNELS);
    for (int i = 0; i < 30; i++)
        x = nn_add(g, x, nn_conv1d(g, nn_leaky_relu(g, x, 0.1f), nn_name(g, "conv%d", i % LAYERS), .pad = 1));
    nn_output(g, x, "y");
    nn_device *d;
    nn_plan *p;
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
    assert_int_equal(nn_plan_new(&p, g, d, NULL), 0);
    size_t value = 5000 * CHANNELS * sizeof(float);
    print_message("30 residual layers: %.2f values of memory\n", (double)nn_plan_bytes(p) / (double)value);
    assert_true(nn_plan_bytes(p) < 3 * value + value / 2);
    nn_plan_free(p);
    nn_device_close(d);
    nn_weights_free(w);
}

/* ---- linear layers, slices and flips ---- */

enum { HALF = CHANNELS / 2, FOLDS = 11 };

static nn_weights *make_linear_layers(void) {
    static const struct {
        const char *name;
        int out, in, taps;
    } layers[] = {{"square", CHANNELS, CHANNELS, 1},
                  {"wide", 2 * CHANNELS, CHANNELS, 1},
                  {"narrow", HALF, CHANNELS, 1},
                  {"up", 2 * CHANNELS, HALF, 1},
                  {"taps", CHANNELS, CHANNELS, 3}};
    static float v[2 * CHANNELS * CHANNELS * 3];
    nn_weights *w;
    assert_int_equal(nn_weights_new(&w, "linear", NULL), 0);
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        char name[32];
        for (int k = 0; k < layers[i].out * layers[i].in * layers[i].taps; k++)
            v[k] = (float)(uniform() / sqrt(CHANNELS));
        snprintf(name, sizeof name, "%s.weight", layers[i].name);
        nn_weights_add(w, name, 3, (int64_t[]){layers[i].out, layers[i].in, layers[i].taps}, v, NULL);
        for (int k = 0; k < layers[i].out; k++) v[k] = (float)uniform();
        snprintf(name, sizeof name, "%s.bias", layers[i].name);
        nn_weights_add(w, name, 1, (int64_t[]){layers[i].out}, v, NULL);
    }
    return w;
}

/* The value; where `kept` it can also be read, so that no two nodes become one. */
static nn_tensor value(nn_graph *g, nn_tensor x, bool kept) {
    static int number;
    if (kept) nn_output(g, x, nn_name(g, "value%d", number++));
    return x;
}

/* Returns the last value; *nodes: how many are computed on the way where nothing is kept. */
static nn_tensor build_fold(int number, nn_graph *g, bool kept, int *nodes) {
#define V(x) value(g, (x), kept)
    nn_tensor x = nn_input(g, "x", 1, FRAMES, CHANNELS), y, z;
    switch (number) {
    case 0: /* a layer's halves, one an operand of the other's step */
        *nodes = 2;
        y = V(nn_linear(g, x, "wide"));
        z = V(nn_tanh(g, V(nn_slice(g, y, CHANNELS, CHANNELS))));
        return nn_add(g, V(nn_slice(g, y, 0, CHANNELS)), z);
    case 1: /* parts that overlap would be computed twice */
        *nodes = 4;
        y = V(nn_linear(g, x, "wide"));
        z = V(nn_slice(g, y, 8, CHANNELS + 8));
        return nn_mul(g, V(nn_slice(g, y, 0, CHANNELS + 8)), z);
    case 2: /* all of it is read too */
        *nodes = 4;
        y = V(nn_linear(g, x, "square"));
        z = V(nn_relu(g, y));
        return nn_concat(g, V(nn_slice(g, y, 3, 5)), z);
    case 3: /* taps: the layer remains one */
        *nodes = 3;
        return nn_tanh(g, V(nn_slice(g, V(nn_conv1d(g, x, "taps", .pad = 1)), 4, 9)));
    case 4: /* two linear layers */
        *nodes = 1;
        return nn_sub(g, x, V(nn_linear(g, V(nn_linear(g, x, "square")), "square")));
    case 5: /* ... the first some channels of a layer, the second without its bias */
        *nodes = 1;
        y = V(nn_slice(g, V(nn_linear(g, x, "wide")), CHANNELS - 5, CHANNELS));
        return nn_conv1d(g, y, "narrow", .no_bias = true);
    case 6: /* their product would have more elements than they */
        *nodes = 2;
        return nn_linear(g, V(nn_linear(g, x, "narrow")), "up");
    case 7: /* an activation between them */
        *nodes = 2;
        return nn_linear(g, V(nn_relu(g, V(nn_linear(g, x, "square")))), "narrow");
    case 8: /* flips before and behind */
        *nodes = 1;
        return nn_flip(g, V(nn_conv1d(g, V(nn_flip(g, x)), "taps", .pad = 1)));
    case 9: /* ... of two layers that are one, and one that no layer reads */
        *nodes = 2;
        y = V(nn_linear(g, V(nn_linear(g, V(nn_flip(g, x)), "square")), "square"));
        y = V(nn_flip(g, y));
        return nn_sub(g, V(nn_flip(g, x)), y);
    default: /* a flip that not only layers read */
        *nodes = 2;
        y = V(nn_flip(g, x));
        return nn_add(g, y, V(nn_linear(g, y, "square")));
    }
#undef V
}

static int nodes_run(const nn_plan *p) {
    int n = 0;
    for (int i = 0; i < p->count; i++) n += nn_node_runs(p->node[i]);
    return n;
}

/* What becomes one gives what its parts give one by one. */
static void test_few_nodes_give_the_same(void **s) {
    (void)s;
    static float x[VALUES], y[2][2 * VALUES];
    nn_weights *w = make_linear_layers();
    nn_device *d;
    nn_error e = {0};
    assert_int_equal(nn_device_open(&d, "cpu", 2, NULL), 0);
    for (int i = 0; i < VALUES; i++) x[i] = (float)uniform();
    for (int number = 0; number < FOLDS; number++) {
        int nodes = 0, all = 0;
        for (int kept = 0; kept < 2; kept++) {
            nn_plan *p;
            nn_graph *g = nn_graph_new(w);
            nn_output(g, build_fold(number, g, kept, &nodes), "y");
            if (nn_plan_new(&p, g, d, &e)) fail_msg("%d: %s", number, e.text);
            all = nodes_run(p);
            if (!kept && all != nodes) fail_msg("%d: %d nodes, not %d", number, all, nodes);
            nn_plan_write(p, "x", x);
            assert_int_equal(nn_plan_run(p, &e), 0);
            nn_plan_read(p, "y", y[kept]);
            const nn_shape shape = nn_plan_shape(p, "y");
            const double snr = kept ? check_snr_db(y[0], y[1], nn_elements(shape)) : 999;
            if (snr < 120) fail_msg("%d: %g dB", number, snr);
            nn_plan_free(p);
        }
        assert_true(all >= nodes);
    }
    nn_device_close(d);
    nn_weights_free(w);
}

/* Parts of one row, and frames, are memory of what they are parts of: if they begin at 16 bytes; as outputs too; and nobody
 * writes over what they are a part of while they are read. */
static void test_views(void **s) {
    (void)s;
    enum { CASES = 4, PART = 8, LENGTH = 90, ROWS = 150, ALL = ROWS * CHANNELS };
    static const int nodes[CASES] = {4, 3, 2, 3};
    static float x[ALL], z[ALL], row[CHANNELS], got[ALL], want[ALL];
    nn_weights *w = make_linear_layers();
    nn_device *d;
    nn_error e = {0};
    assert_int_equal(nn_device_open(&d, "cpu", 2, NULL), 0);
    for (int i = 0; i < ALL; i++) x[i] = (float)uniform(), z[i] = (float)uniform();
    for (int i = 0; i < CHANNELS; i++) row[i] = (float)uniform();
    for (int number = 0; number < CASES; number++) {
        nn_plan *p;
        nn_graph *g = nn_graph_new(w);
        nn_tensor tx = nn_input(g, "x", 1, ROWS, CHANNELS), tz = nn_input(g, "z", 1, ROWS, CHANNELS),
                  y = NULL;
        if (number == 0) {
            nn_tensor t = nn_tanh(g, nn_input(g, "row", 1, 1, CHANNELS));
            y = nn_mul(g, nn_slice(g, tx, 0, PART), nn_slice(g, t, 12, PART));
            y = nn_add(g, y, nn_slice(g, t, 13, PART));
        } else {
            nn_tensor t = nn_tanh(g, tx);
            if (number == 1) {
                y = nn_frames(g, nn_frames(g, t, 2, LENGTH + 10), 4, LENGTH);
                y = nn_add(g, nn_add(g, y, nn_frames(g, nn_tanh(g, tz), 0, LENGTH)),
                           nn_frames(g, tz, 0, LENGTH));
            }
            if (number == 2) y = nn_mul(g, nn_add(g, t, tz), nn_frames(g, t, 0, 1));
            if (number == 3) y = nn_frames(g, t, 5, LENGTH);
        }
        nn_output(g, y, "y");
        if (number == 3)
            nn_output(g, nn_conv1d(g, nn_conv1d(g, tx, "taps", .pad = 1), "taps", .pad = 1), "later");
        if (nn_plan_new(&p, g, d, &e)) fail_msg("%d: %s", number, e.text);
        assert_int_equal(nodes_run(p), nodes[number]);
        const nn_shape shape = nn_plan_shape(p, "y");
        for (int i = 0; i < shape.w * shape.c; i++) {
            const int t = i / shape.c, c = i % shape.c;
            if (number == 0) want[i] = x[t * CHANNELS + c] * tanhf(row[12 + c]) + tanhf(row[13 + c]);
            if (number == 1) want[i] = tanhf(x[i + 6 * CHANNELS]) + tanhf(z[i]) + z[i];
            if (number == 2) want[i] = (tanhf(x[i]) + z[i]) * tanhf(x[c]);
            if (number == 3) want[i] = tanhf(x[i + 5 * CHANNELS]);
        }
        nn_plan_write(p, "x", x);
        nn_plan_write(p, "z", z);
        nn_plan_write(p, "row", row);
        assert_int_equal(nn_plan_run(p, &e), 0);
        nn_plan_read(p, "y", got);
        assert_true(check_max_error(got, want, nn_elements(shape)) < 1e-6);
        nn_plan_free(p);
    }
    nn_device_close(d);
    nn_weights_free(w);
}

/* ---- errors ---- */

static void test_errors_stick(void **s) {
    (void)s;
    static layer l[LAYERS];
    nn_weights *w = make_layers(l);
    nn_device *d;
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
    for (int kind = 0; kind < 5; kind++) {
        static const char *const says[5][2] = {{"no.such", "missing"},
                                               {"conv0", "24 channels"},
                                               {"concat", "differ"},
                                               {"bn9", "missing"},
                                               {"slice", "20..29 of 24"}};
        nn_graph *g = nn_graph_new(w);
        nn_tensor x = nn_input(g, "x", 1, 10, CHANNELS), narrow = nn_input(g, "n", 1, 9, 7), y = NULL;
        if (kind == 0) y = nn_conv1d(g, x, "no.such");
        if (kind == 1) y = nn_conv1d(g, narrow, "conv0", .pad = 1);
        if (kind == 2) y = nn_concat(g, x, narrow);
        if (kind == 3) y = nn_batch_norm(g, x, "bn9");
        if (kind == 4) y = nn_slice(g, x, 20, 10);
        assert_null(y);
        y = nn_relu(g, nn_add(g, y, nn_conv1d(g, y, "also.missing"))); /* harmless */
        nn_output(g, y, "y");
        assert_null(y);
        nn_plan *p;
        nn_error e = {0};
        assert_int_equal(nn_plan_new(&p, g, d, &e), NN_ERROR_MODEL);
        assert_null(p);
        if (!strstr(e.text, says[kind][0]) || !strstr(e.text, says[kind][1]) || strstr(e.text, "also"))
            fail_msg("not what was expected: %s", e.text);
    }
    nn_device_close(d);
    nn_weights_free(w);
}

static void test_bad_cpu_devices(void **s) { /* names: test_vulkan_device.c */
    (void)s;
    nn_device *d = NULL;
    nn_error e = {0};
    setenv("RVC_CPU", "avx9000", 1);
    assert_int_equal(nn_device_open(&d, "cpu", 1, &e), NN_ERROR_DEVICE);
    assert_non_null(strstr(e.text, "avx9000"));
    unsetenv("RVC_CPU");
    assert_int_equal(nn_device_open(&d, "cpu", -1, NULL), NN_ERROR_ARGUMENT);
}

/* ---- pool ---- */

typedef struct tally {
    atomic_int times[1000];
} tally;
static void count_task(void *context, int task, int thread) {
    (void)thread;
    atomic_fetch_add(&((tally *)context)->times[task], 1);
}

static void test_pool_runs_every_task_once(void **s) {
    (void)s;
    for (int threads = 1; threads <= 5; threads++) {
        nn_pool *p;
        assert_int_equal(nn_pool_new(&p, threads, NULL), 0);
        static tally t;
        memset(&t, 0, sizeof t);
        int jobs[1001] = {0};
        for (int job = 0; job < 3000; job++) {
            int tasks = job % 7 ? job % 13 : job % 1000;
            if (job % 500 == 0) usleep(2000); /* long enough for the threads to fall asleep */
            nn_pool_run(p, tasks, count_task, &t);
            jobs[tasks]++;
        }
        for (int i = 0; i < 1000; i++) {
            int want = 0;
            for (int tasks = i + 1; tasks <= 1000; tasks++) want += jobs[tasks];
            assert_int_equal(atomic_load(&t.times[i]), want);
        }
        nn_pool_free(p);
    }
}

/* ---- branches ---- */

enum { STEPS = 7 };

/* Convolutions whose results all differ in length of life. */
static nn_tensor chain(nn_graph *g, nn_tensor x) {
    nn_tensor early = x;
    for (int i = 0; i < STEPS; i++) {
        x = nn_conv1d(g, x, nn_name(g, "conv%d", i % LAYERS), .pad = 1);
        if (i == 1) early = x;
        x = i == STEPS - 2 ? nn_concat(g, x, early) : nn_relu(g, x);
        if (i == STEPS - 2) x = nn_slice(g, x, 3, CHANNELS);
    }
    return x;
}

/* Two chains, each on weights of its own, the second as a branch; added, and one convolution more. */
static nn_graph *two_chains(nn_weights *a, nn_weights *b, int branch) {
    nn_graph *g = nn_graph_new(a);
    nn_branch(g, branch);
    nn_graph_use(g, b, false);
    nn_tensor side = chain(g, nn_input(g, "side", 1, FRAMES, CHANNELS));
    nn_branch(g, 0);
    nn_graph_use(g, a, false);
    nn_tensor x = chain(g, nn_input(g, "x", 1, FRAMES, CHANNELS));
    nn_output(g, nn_conv1d(g, nn_add(g, x, side), "conv1", .pad = 1), "y");
    return g;
}

/* No value of branch 1 lies where branch 0 has one before it reads from branch 1: the two may run side by side. What comes
 * out does not depend on it, and each chain has used its own weights. */
static void test_branches_share_no_bytes(void **s) {
    (void)s;
    static layer la[LAYERS], lb[LAYERS];
    static float x[VALUES], side[VALUES], y[3][VALUES];
    nn_weights *a = make_layers(la), *b = make_layers(lb);
    nn_device *d;
    nn_error e = {0};
    size_t bytes[2];
    for (int i = 0; i < VALUES; i++) x[i] = (float)uniform(), side[i] = (float)uniform();
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
    for (int run = 0; run < 3; run++) { /* without a branch, with one, with the wrong weights */
        nn_plan *p = NULL;
        if (nn_plan_new(&p, two_chains(a, run == 2 ? a : b, run == 1), d, &e)) fail_msg("%s", e.text);
        if (run < 2) bytes[run] = p->slab_bytes;
        int join = 0, compared = 0;
        while (join < p->count) {
            const nn_node *n = p->node[join];
            bool reads = false;
            for (int k = 0; k < n->n_in; k++) reads |= !n->branch && n->in[k]->branch;
            if (reads) break;
            join++;
        }
        for (int i = 0; run == 1 && i < p->count; i++)
            for (int j = 0; j < join; j++) {
                const nn_node *m = p->node[i], *n = p->node[j];
                if (!m->branch || n->branch) continue;
                const size_t m_end = m->offset + nn_elements(m->shape) * sizeof(float);
                const size_t n_end = n->offset + nn_elements(n->shape) * sizeof(float);
                assert_true(m_end <= n->offset || n_end <= m->offset);
                compared++;
            }
        assert_true(run != 1 || compared > STEPS);
        nn_plan_write(p, "x", x);
        nn_plan_write(p, "side", side);
        assert_int_equal(nn_plan_run(p, &e), 0);
        nn_plan_read(p, "y", y[run]);
        nn_plan_free(p);
    }
    assert_true(bytes[1] > bytes[0]);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    assert_memory_not_equal(y[0], y[2], sizeof y[0]);
    nn_device_close(d);
    nn_weights_free(a);
    nn_weights_free(b);
}

/* ---- cache ---- */

typedef struct builder {
    nn_weights *w;
    nn_device *d;
    int built;
} builder;
static nn_code build(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    builder *b = context;
    b->built++;
    nn_graph *g = nn_graph_new(b->w);
    nn_output(g, nn_conv1d(g, nn_input(g, "x", 1, (int)key[0], CHANNELS), "conv0", .pad = 1), "y");
    return nn_plan_new(out, g, b->d, e);
}

static void test_cache_keeps_the_recent(void **s) {
    (void)s;
    static layer l[LAYERS];
    builder b = {.w = make_layers(l)};
    assert_int_equal(nn_device_open(&b.d, "cpu", 1, NULL), 0);
    nn_plan_cache *c = nn_plan_cache_new(3, build, &b);
    static const struct {
        int length, built;
    } asks[] = {{10, 1}, {20, 2}, {30, 3}, {10, 3}, {40, 4}, {10, 4}, {30, 4}, {20, 5}, {0, 6}, {20, 6}};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        nn_plan *p = NULL;
        nn_error e = {0};
        nn_code code = nn_plan_cache_get(c, (int64_t[2]){asks[i].length, 0}, &p, &e);
        assert_int_equal(code != 0, asks[i].length == 0);
        assert_int_equal(b.built, asks[i].built);
        if (!code) assert_int_equal(nn_plan_shape(p, "y").w, asks[i].length);
    }
    nn_plan_cache_free(c);
    nn_device_close(b.d);
    nn_weights_free(b.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_slab_is_shared),
        cmocka_unit_test(test_errors_stick),
        cmocka_unit_test(test_bad_cpu_devices),
        cmocka_unit_test(test_pool_runs_every_task_once),
        cmocka_unit_test(test_cache_keeps_the_recent),
        cmocka_unit_test(test_branches_share_no_bytes),
        cmocka_unit_test(test_few_nodes_give_the_same),
        cmocka_unit_test(test_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
