/* test_math.c - exp, tanh, sigmoid and GELU of every instruction set against libm in double, through map
 * nodes: over every kind of float (a stride over all bit patterns) and densely where the functions bend. */
#include "kernel_driver.h"

enum { PATTERNS = 1 << 18, DENSE = 1 << 18, POINTS = PATTERNS + 3 * DENSE, SPECIAL = 8 };

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double gelu(double x) {
    return x / 2 * erfc(-x / sqrt(2));
}

typedef struct function {
    const char *name;
    nn_step_kind kind;
    double (*exact)(double);
    double ulps, absolute; /* an error may be one or the other */
    float at[SPECIAL];     /* wanted at -infinity, infinity, -0, 0, -3e38, 3e38, -1e-40, 1e-40 */
} function;

static const float special[SPECIAL] = {-INFINITY, INFINITY, -0.0f, 0.0f, -3e38f, 3e38f, -1e-40f, 1e-40f};

static const function functions[] = {
    {"exp", NN_STEP_EXP, exp, 2, 0, {0, INFINITY, 1, 1, 0, INFINITY, 1, 1}},
    {"tanh", NN_STEP_TANH, tanh, 3, 0, {-1, 1, -0.0f, 0, -1, 1, -1e-40f, 1e-40f}},
    {"sigmoid", NN_STEP_SIGMOID, sigmoid, 3, 1e-37, {0, 1, 0.5f, 0.5f, 0, 1, 0.5f, 0.5f}},
    {"gelu", NN_STEP_GELU, gelu, 4, 1e-7, {0, INFINITY, 0, 0, 0, 3e38f, -0.5e-40f, 0.5e-40f}},
};

/* All bit patterns at even steps, then the intervals +-0.7, +-12 and +-110. */
static float *make_points(void) {
    float *x = malloc(POINTS * sizeof *x);
    assert_non_null(x);
    for (uint32_t i = 0; i < PATTERNS; i++) {
        const uint32_t bits = i * (uint32_t)(0x100000000u / PATTERNS) + i % 9973;
        memcpy(&x[i], &bits, sizeof bits);
    }
    const double reach[3] = {0.7, 12, 110};
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < DENSE; i++)
            x[PATTERNS + k * DENSE + i] = (float)(reach[k] * (2 * ((double)i + 0.37) / DENSE - 1));
    return x;
}

/* The distance between floats around `want`. */
static double ulp(double want) {
    int exponent;
    frexp(want, &exponent);
    return ldexp(1, exponent < -125 ? -149 : exponent - 24);
}

static void check_points(const nn_kernel_table *t, const function *f, nn_node *n, float *x, nn_weights *w) {
    float *y = driver_run(t, n, &x, w, (driver_way){.threads = 1, .alias = -1});
    double worst_ulps = 0, worst = 0;
    float worst_at = 0;
    for (int i = 0; i < POINTS; i++) {
        if (isnan(x[i])) {
            if (!isnan(y[i])) fail_msg("%s: %s of NaN is %g", t->name, f->name, (double)y[i]);
            continue;
        }
        const double want = f->exact(x[i]), error = fabs(y[i] - want);
        if (isinf((float)want) || isinf(x[i])) {
            if (y[i] != (float)want && want > 0)
                fail_msg("%s: %s(%a) = %g", t->name, f->name, (double)x[i], (double)y[i]);
            continue;
        }
        if (!(error <= f->ulps * ulp(want)) && !(error <= f->absolute))
            fail_msg("%s: %s(%a) = %a, not %a: %.2f ulp", t->name, f->name, (double)x[i], (double)y[i], want,
                     error / ulp(want));
        if (error > f->absolute && error / ulp(want) > worst_ulps) {
            worst_ulps = error / ulp(want);
            worst_at = x[i];
        }
        if (error > worst && fabs(want) <= 1) worst = error;
    }
    print_message("%-9s%-8s %.2f ulp at %g; %.2g where values are within 1\n", t->name, f->name, worst_ulps,
                  (double)worst_at, worst);
    free(y);
}

static void check_special(const nn_kernel_table *t, const function *f, nn_node *n, nn_weights *w) {
    float x[SPECIAL], *in = x;
    memcpy(x, special, sizeof x);
    n->shape = n->in[0]->shape = (nn_shape){1, 1, SPECIAL};
    float *y = driver_run(t, n, &in, w, (driver_way){.threads = 1, .alias = -1});
    for (int i = 0; i < SPECIAL; i++)
        if (!(y[i] == f->at[i] || fabs((double)y[i] - (double)f->at[i]) < 2e-45))
            fail_msg("%s: %s(%g) = %g, not %g", t->name, f->name, (double)x[i], (double)y[i],
                     (double)f->at[i]);
    free(y);
}

static void test_accuracy(void **state) {
    (void)state;
    int tables;
    const nn_kernel_table *const *table = nn_kernel_tables(&tables);
    nn_weights *w;
    assert_int_equal(nn_weights_new(&w, "test", NULL), 0);
    float *x = make_points();
    for (int t = 0; t < tables; t++)
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
            nn_node in = {.op = NN_OP_input, .shape = {1, 1, POINTS}};
            nn_node n = {
                .op = NN_OP_map, .name = "", .shape = in.shape, .n_in = 1, .in = {&in}, .n_steps = 1};
            n.steps[0] = (nn_step){.kind = functions[i].kind, .operand = -1};
            check_points(table[t], &functions[i], &n, x, w);
            check_special(table[t], &functions[i], &n, w);
        }
    free(x);
    nn_weights_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
