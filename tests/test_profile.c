/* test_profile.c - what a plan's nodes cost, on shapes whose operations and bytes are worked out here by
 * hand, and the table that sums them up by component. No clock is asked: the seconds are given. */
#include "check.h"

#include <stdbool.h>

#include "../nn/plan.h"
#include "../rvc/profile.h"

enum {
    FRAMES = 10,
    WIDE = 64,
    MIDDLE = 32,
    NARROW = 16,
    PART = 8,
    UNITS = 3,
    H = 4,
    W = 6,
    UP = 5,
    NODES = 9
};

static void add(nn_weights *w, const char *name, int rank, const int64_t *shape) {
    static const float values[MIDDLE * WIDE];
    assert_int_equal(nn_weights_add(w, name, rank, shape, values, NULL), 0);
}

static nn_weights *make_weights(void) {
    nn_weights *w = NULL;
    assert_int_equal(nn_weights_new(&w, "costs", NULL), 0);
    add(w, "enc_p.a.weight", 2, (int64_t[]){MIDDLE, WIDE});
    add(w, "enc_p.a.bias", 1, (int64_t[]){MIDDLE});
    add(w, "dec.b.weight", 3, (int64_t[]){NARROW, MIDDLE, 3});
    add(w, "dec.b.bias", 1, (int64_t[]){NARROW});
    add(w, "layer_norm.weight", 1, (int64_t[]){PART});
    add(w, "layer_norm.bias", 1, (int64_t[]){PART});
    add(w, "flow.c.weight", 2, (int64_t[]){PART, PART});
    add(w, "flow.c.bias", 1, (int64_t[]){PART});
    add(w, "unet.up.weight", 4, (int64_t[]){PART, UP, 3, 3});
    add(w, "unet.up.bias", 1, (int64_t[]){UP});
    for (int i = 0; i < 8; i++) {
        static const char *const part[4] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
        char name[64];
        snprintf(name, sizeof name, "fc.0.gru.%s_l0%s", part[i / 2], i % 2 ? "_reverse" : "");
        add(w, name, i < 4 ? 2 : 1, (int64_t[]){3 * UNITS, i < 2 ? PART : UNITS});
    }
    return w;
}

/* In this order. */
static const struct expected {
    const char *kind, *layer;
    rvc_component part;
    double flops, numbers; /* float32 numbers that are read and written */
} expected[NODES] = {
    {"linear", "enc_p.a", RVC_PART_TEXT, 2 * FRAMES *WIDE *MIDDLE,
     FRAMES *WIDE + FRAMES *MIDDLE + WIDE *MIDDLE + MIDDLE},
    /* with the sum of its result and another tensor */
    {"conv1d", "dec.b", RVC_PART_GENERATOR, 2 * FRAMES * 3 * MIDDLE *NARROW,
     FRAMES *MIDDLE + 2 * FRAMES *NARROW + 3 * MIDDLE *NARROW + NARROW},
    {"slice", "dec.b", RVC_PART_GENERATOR, 0, 2 * FRAMES *PART},
    {"layer_norm", "layer_norm", RVC_PART_CONTENT, 0, 2 * FRAMES *PART + 2 * PART},
    {"attention", "layer_norm", RVC_PART_CONTENT, 4 * FRAMES *FRAMES *PART, 4 * FRAMES *PART},
    {"gru", "fc.0.gru", RVC_PART_PITCH, 2 * FRAMES * 3 * 2 * UNITS *(PART + UNITS),
     FRAMES *PART + FRAMES * 2 * UNITS + 2 * 3 * UNITS *(PART + UNITS + 2)},
    {"linear", "flow.c", RVC_PART_FLOW, 2 * FRAMES *PART *PART, 2 * FRAMES *PART + PART *PART + PART},
    {"concat", "flow.c", RVC_PART_FLOW, 0, 4 * FRAMES *PART},
    /* a quarter of the taps at each of four times the places */
    {"conv_transpose2d", "unet.up", RVC_PART_PITCH, 2 * 9 * H *W *PART *UP,
     H *W *PART + 4 * H *W *UP + 9 * PART *UP + UP},
};

static nn_graph *make_graph(nn_weights *w) {
    nn_graph *g = nn_graph_new(w);
    nn_tensor x = nn_input(g, "x", 1, FRAMES, WIDE), r = nn_input(g, "r", 1, FRAMES, NARROW);
    x = nn_conv1d(g, nn_linear(g, x, "enc_p.a"), "dec.b", .pad = 1);
    x = nn_slice(g, nn_add(g, x, r), 4, PART);
    x = nn_layer_norm(g, x, "layer_norm");
    x = nn_attention(g, x, x, x, 2, NULL);
    nn_output(g, nn_bigru(g, x, "fc.0.gru"), "states");
    nn_output(g, nn_concat(g, x, nn_linear(g, x, "flow.c")), "both");
    nn_output(g, nn_conv_transpose2d(g, nn_input(g, "image", H, W, PART), "unet.up"), "large");
    return g;
}

static nn_plan *make_plan(nn_weights *w, nn_device *d) {
    nn_plan *p = NULL;
    nn_error e = {0};
    if (nn_plan_new(&p, make_graph(w), d, &e)) fail_msg("%s", e.text);
    return p;
}

static void test_nodes(void **state) {
    (void)state;
    nn_device *d = NULL;
    nn_weights *w = make_weights();
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
    nn_plan *p = make_plan(w, d);
    double flops = 0;
    assert_int_equal(nn_plan_nodes(p), NODES);
    for (int i = 0; i < NODES; i++) {
        const nn_cost c = nn_plan_cost(p, i);
        print_message("%s %s: %g operations, %g bytes\n", c.layer, c.kind, c.flops, c.bytes);
        assert_string_equal(c.kind, expected[i].kind);
        assert_string_equal(c.layer, expected[i].layer);
        assert_true(c.flops == expected[i].flops);
        assert_true(c.bytes == 4 * expected[i].numbers);
        assert_true(!c.f16 && c.seconds == 0);
        flops += c.flops;
    }
    assert_true(flops == nn_plan_flops(p));
    nn_plan_free(p);
    nn_device_close(d);
    nn_weights_free(w);
}

/* The seconds that node i is said to have taken. */
static double seconds_of(int i) {
    return (i + 1) * 0.25;
}

static nn_plan *make_timed(nn_weights *w, nn_device *d) {
    nn_plan *p = make_plan(w, d);
    nn_plan_profile(p, true);
    for (int i = 0, node = 0; i < p->count; i++)
        if (p->node[i]->op != NN_OP_input) p->seconds[i] = seconds_of(node++);
    return p;
}

static const rvc_profile_row *row_of(const rvc_profile *t, rvc_component part, const char *kind) {
    for (int i = 0; i < t->rows; i++)
        if (t->row[i].part == part && !strcmp(t->row[i].kind, kind)) return &t->row[i];
    fail_msg("no row of %s", kind);
    return NULL;
}

static void test_table(void **state) {
    (void)state;
    enum { RUNS = 3 };
    nn_device *d = NULL;
    nn_weights *w = make_weights();
    rvc_profile t = {0};
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
    nn_plan *p = make_timed(w, d);
    for (int run = 0; run < RUNS; run++) rvc_profile_add(&t, p);
    assert_int_equal(t.rows, NODES); /* no two are of one part and kind */
    for (int i = 0; i < NODES; i++) {
        const rvc_profile_row *r = row_of(&t, expected[i].part, expected[i].kind);
        assert_int_equal(r->nodes, RUNS);
        assert_true(r->seconds == RUNS * seconds_of(i));
        assert_true(r->flops[0] == RUNS * expected[i].flops && r->flops[1] == 0);
        assert_true(r->bytes == RUNS * 4 * expected[i].numbers);
    }
    nn_plan_free(p);
    nn_device_close(d);
    nn_weights_free(w);
}

static void test_share(void **state) {
    (void)state;
    const nn_peak peak = {.f16 = 400, .f32 = 100, .bytes = 10};
    const rvc_profile_row slow = {.seconds = 8, .flops = {200, 800}, .bytes = 10}, /* 2 + 2 s against 1 s */
        wide = {.seconds = 8, .flops = {100, 0}, .bytes = 60}, never = {.bytes = 60};
    assert_true(rvc_profile_share(&slow, &peak) == 0.5);
    assert_true(rvc_profile_share(&wide, &peak) == 0.75);
    assert_true(rvc_profile_share(&never, &peak) == 0);
}

/* Components in order, kinds by time, a sum of all; figures are those of one run. */
static void test_print(void **state) {
    (void)state;
    static const char *const lines[] = {
        "measured ceilings: 8 TFLOP/s on float16, 4 on float32, 2 TB/s\n",
        "component    operation          nodes         ms      GFLOP   TFLOP/s         MB      TB/s  of "
        "ceiling\n",
        "HuBERT                              2   1000.000    3000.00         3   500000.0       0.5        "
        "75 %\n",
        "             attention              1    750.000    3000.00         4   250000.0     0.333       "
        "100 %\n",
        "             layer_norm             1    250.000       0.00         0   250000.0         1        "
        "50 %\n",
        "generator                           4   2000.000    8000.00         4  1000000.0       0.5        "
        "50 %\n",
        "             conv1d                 4   2000.000    8000.00         4  1000000.0       0.5        "
        "50 %\n",
        "all                                 6   3000.000   11000.00      3.67  1500000.0       0.5        "
        "58 "
        "%\n",
    };
    const nn_peak peak = {.f16 = 8e12, .f32 = 4e12, .bytes = 2e12};
    const rvc_profile t = {
        .rows = 3,
        .row = {{RVC_PART_GENERATOR, "conv1d", 8, 4, 2e12, {0, 16e12}},
                {RVC_PART_CONTENT, "layer_norm", 2, 0.5, 0.5e12, {0}},
                {RVC_PART_CONTENT, "attention", 2, 1.5, 0.5e12, {6e12, 0}}},
    };
    char *path = check_tmp("profile.txt"), line[256];
    FILE *file = fopen(path, "w+");
    assert_non_null(file);
    rvc_profile_print(&t, 2, &peak, file);
    rewind(file);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_non_null(fgets(line, sizeof line, file));
        assert_string_equal(line, lines[i]);
    }
    assert_null(fgets(line, sizeof line, file));
    fclose(file);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nodes), cmocka_unit_test(test_table),
                                       cmocka_unit_test(test_share), cmocka_unit_test(test_print)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
