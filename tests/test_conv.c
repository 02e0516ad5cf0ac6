/* test_conv.c - every form of convolution against the plain sum, on random shapes, for every instruction set, together
 * with what the planner fuses into it: pre-activation, batch norm, activation, residual. */
#include "check.h"

#include "../nn/cpu/kernel.h"
#include "../nn/nn.h"

static uint64_t state;
static double uniform(void) {
    return (double)check_random_float(&state);
}
static int between(int low, int high) {
    return low + (int)((uniform() + 1) / 2 * (high - low + 1));
}

static float *add_random(nn_weights *w, const char *name, int rank, const int64_t *shape, double offset,
                         double scale) {
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)shape[i];
    float *v = malloc(n * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = (float)(offset + scale * uniform());
    assert_int_equal(nn_weights_add(w, name, rank, shape, v, NULL), 0);
    return v;
}

/* One convolution in its most general form. */
typedef struct form {
    int h, w, c_in, c_out, kh, kw, stride, pad_h, pad_w, dilation, groups, drop;
    bool transposed, bias, weight_norm, batch_norm, relu, residual;
    float slope; /* of a leaky ReLU before it; 1: none */
} form;

static size_t at3(int y, int x, int c, int w, int channels) {
    return ((size_t)y * (size_t)w + (size_t)x) * (size_t)channels + (size_t)c;
}

/* Adds input row x [c_in] times tap (ky, kx) to output row y [c_out]; weight in PyTorch's layout. */
static void add_tap(const form *f, const float *x, const double *weight, int ky, int kx, double *y) {
    int gi = f->c_in / f->groups, go = f->c_out / f->groups, taps = f->kh * f->kw, tap = ky * f->kw + kx;
    for (int co = 0; co < f->c_out; co++) {
        size_t step = (size_t)taps * (size_t)(f->transposed ? f->c_out : 1),
               first = f->transposed ? (size_t)co : (size_t)co * (size_t)gi;
        const double *w = weight + first * (size_t)taps + tap;
        double sum = 0;
        for (int ci = 0; ci < gi; ci++, w += step) {
            double v = x[co / go * gi + ci];
            sum += *w * (v < 0 ? v * (double)f->slope : v);
        }
        y[co] += sum;
    }
}

/* The plain sum in double: y [oh][ow][c_out] from x [h][w][c_in]. */
static void reference(const form *f, const float *x, const double *weight, const double *bias, int oh, int ow,
                      double *y) {
    for (size_t i = 0; i < (size_t)oh * (size_t)ow * (size_t)f->c_out; i++) y[i] = bias[i % (size_t)f->c_out];
    for (int ky = 0; ky < f->kh; ky++)
        for (int kx = 0; kx < f->kw; kx++)
            for (int a = 0; a < (f->transposed ? f->h : oh); a++)
                for (int b = 0; b < (f->transposed ? f->w : ow); b++) {
                    int iy = a, ix = b, oy = a, ox = b;
                    if (f->transposed) {
                        oy = f->kh > 1 ? a * f->stride + ky - f->pad_h : a;
                        ox = b * f->stride + kx - f->pad_w;
                    } else {
                        iy = a + ky - f->pad_h;
                        ix = b * f->stride + kx * f->dilation - f->pad_w;
                    }
                    if (iy < 0 || iy >= f->h || ix < 0 || ix >= f->w || oy < 0 || oy >= oh || ox < 0 ||
                        ox >= ow)
                        continue;
                    add_tap(f, x + at3(iy, ix, 0, f->w, f->c_in), weight, ky, kx,
                            y + at3(oy, ox, 0, ow, f->c_out));
                }
}

static void normalise(const form *f, double *weight, const float *g, bool over_taps) {
    int a = f->transposed ? f->c_in : f->c_out, b = (f->transposed ? f->c_out : f->c_in) / f->groups;
    for (int i = 0; i < (over_taps ? f->kw : a); i++) {
        double sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int p = 0; p < a; p++)
                for (int q = 0; q < b; q++)
                    for (int k = 0; k < f->kw; k++) {
                        if ((over_taps ? k : p) != i) continue;
                        double *v = &weight[((size_t)p * (size_t)b + (size_t)q) * (size_t)f->kw + (size_t)k];
                        if (pass == 0)
                            sum += *v * *v;
                        else
                            *v *= (double)g[i] / sqrt(sum);
                    }
    }
}

/* Of the largest error to the outputs' level: rounding of the products, which bfloat16 has 2^-9 of each. */
static double tolerance = 3e-5;

static void check(const form *f, int threads) {
    nn_weights *w;
    nn_error e = {0};
    assert_int_equal(nn_weights_new(&w, "test", &e), 0);
    int64_t shape[4] = {f->transposed ? f->c_in : f->c_out, (f->transposed ? f->c_out : f->c_in) / f->groups,
                        f->kh, f->kw};
    bool image = f->kh > 1;
    if (!image) shape[2] = f->kw;
    int rank = image ? 4 : 3;
    size_t count = (size_t)(shape[0] * shape[1]) * (size_t)(f->kh * f->kw), outs = (size_t)f->c_out;
    double *weight = malloc(count * sizeof *weight), *bias = calloc(outs, sizeof *bias);
    float *v = add_random(w, f->weight_norm ? "layer.weight_v" : "layer.weight", rank, shape, 0,
                          1 / sqrt((double)f->c_in * f->kw / f->groups));
    for (size_t i = 0; i < count; i++) weight[i] = v[i];
    free(v);
    if (f->weight_norm) {
        bool over_taps = f->groups > 1; /* as HuBERT's positional convolution has it */
        int64_t g_shape[3] = {over_taps ? 1 : shape[0], 1, over_taps ? f->kw : 1};
        v = add_random(w, "layer.weight_g", 3, g_shape, 1, 0.5);
        normalise(f, weight, v, over_taps);
        free(v);
    }
    int64_t vector[1] = {f->c_out};
    if (f->bias) {
        v = add_random(w, "layer.bias", 1, vector, 0, 1);
        for (size_t i = 0; i < outs; i++) bias[i] = v[i];
        free(v);
    }
    float *bn[4] = {NULL};
    if (f->batch_norm) {
        static const char *const part[4] = {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"};
        for (int i = 0; i < 4; i++) bn[i] = add_random(w, part[i], 1, vector, i == 3 ? 1 : 0, 0.7);
    }

    nn_graph *g = nn_graph_new(w);
    nn_tensor x = nn_input(g, "x", f->h, f->w, f->c_in), y = x;
    if (f->slope != 1) y = nn_leaky_relu(g, y, f->slope);
    if (image && f->transposed)
        y = nn_conv_transpose2d(g, y, "layer", .no_bias = !f->bias);
    else if (image)
        y = nn_conv2d(g, y, "layer", .no_bias = !f->bias);
    else if (f->transposed)
        y = nn_conv_transpose1d(g, y, "layer", .stride = f->stride, .pad = f->pad_w);
    else
        y = nn_conv1d(g, y, "layer", .stride = f->stride, .pad = f->pad_w, .dilation = f->dilation,
                      .groups = f->groups, .drop_last = f->drop, .no_bias = !f->bias);
    if (f->batch_norm) y = nn_batch_norm(g, y, "bn");
    if (f->relu) y = nn_relu(g, y);
    nn_shape s = nn_shape_of(y);
    nn_tensor r = NULL;
    if (f->residual) {
        r = nn_input(g, "r", s.h, s.w, s.c);
        y = nn_add(g, r, y); /* the operand first: the planner must swap */
    }
    nn_output(g, y, "y");

    size_t n_in = (size_t)f->h * (size_t)f->w * (size_t)f->c_in,
           n_out = (size_t)s.h * (size_t)s.w * (size_t)s.c;
    float *input = malloc(n_in * sizeof *input), *extra = malloc((n_out + 1) * sizeof *extra),
          *got = malloc((n_out + 1) * sizeof *got);
    double *want = malloc((n_out + 1) * sizeof *want), worst = 0, power = 0;
    for (size_t i = 0; i < n_in; i++) input[i] = (float)uniform();
    for (size_t i = 0; i < n_out; i++) extra[i] = (float)uniform();
    reference(f, input, weight, bias, s.h, s.w, want);
    for (size_t i = 0; i < n_out; i++) {
        size_t c = i % outs;
        if (f->batch_norm)
            want[i] = (want[i] - (double)bn[2][c]) / sqrt((double)bn[3][c] + 1e-5) * (double)bn[0][c] +
                      (double)bn[1][c];
        if (f->relu && want[i] < 0) want[i] = 0;
        if (f->residual) want[i] += (double)extra[i];
    }

    nn_device *d;
    nn_plan *p;
    assert_int_equal(nn_device_open(&d, "cpu", threads, &e), 0);
    nn_plan_new(&p, g, d, &e);
    if (e.code) fail_msg("%s", e.text);
    for (int run = 0; run < 2; run++) { /* twice: nothing may be left over from the first */
        nn_plan_write(p, "x", input);
        if (f->residual) nn_plan_write(p, "r", extra);
        assert_int_equal(nn_plan_run(p, &e), 0);
        memset(got, 0xff, n_out * sizeof *got);
        nn_plan_read(p, "y", got);
        for (size_t i = 0; i < n_out; i++) {
            double d1 = fabs((double)got[i] - want[i]);
            if (!(d1 <= worst)) worst = d1;
            power += want[i] * want[i];
        }
    }
    if (!(worst <= tolerance * sqrt(power / (double)(2 * n_out) + 1e-3)))
        fail_msg(
            "%s: h %d w %d c %d->%d k %dx%d s %d p %d,%d d %d g %d t%d bn%d relu%d res%d slope %g: error %g",
            nn_device_name(d), f->h, f->w, f->c_in, f->c_out, f->kh, f->kw, f->stride, f->pad_h, f->pad_w,
            f->dilation, f->groups, f->transposed, f->batch_norm, f->relu, f->residual, (double)f->slope,
            worst);
    nn_plan_free(p);
    nn_device_close(d);
    nn_weights_free(w);
    for (int i = 0; i < 4; i++) free(bn[i]);
    free(weight), free(bias), free(input), free(extra), free(got), free(want);
}

static void for_every_table(void (*random_form)(form *f), int rounds) {
    int n;
    const nn_kernel_table *const *tables = nn_kernel_tables(&n);
    for (int t = 0; t < n; t++) {
        setenv("RVC_CPU", tables[t]->name, 1);
        tolerance = tables[t]->precision == NN_BF16 ? 2e-2 : 3e-5;
        state = 42;
        for (int i = 0; i < rounds; i++) {
            form f = {.h = 1, .kh = 1, .stride = 1, .dilation = 1, .groups = 1, .slope = 1, .bias = true};
            random_form(&f);
            f.relu = between(0, 1), f.residual = between(0, 1);
            check(&f, between(1, 3));
        }
    }
    unsetenv("RVC_CPU");
}

static void conv1d_form(form *f) {
    f->w = between(1, 300), f->c_in = between(1, 70), f->c_out = between(1, 100);
    f->kw = between(1, 11), f->dilation = between(1, 5);
    f->pad_w = f->dilation * (f->kw - 1) / 2 + between(0, 2);
    f->stride = between(0, 2) ? 1 : between(2, 6);
    if (f->w + 2 * f->pad_w < f->dilation * (f->kw - 1) + 1) f->w += f->dilation * f->kw;
    f->bias = between(0, 3) > 0, f->weight_norm = between(0, 1), f->batch_norm = between(0, 3) == 0;
    f->slope = between(0, 1) ? 1.0f : 0.1f;
}
static void no_pad_form(form *f) {
    conv1d_form(f);
    f->pad_w = 0, f->slope = 1;
    f->w += f->dilation * f->kw;
}
static void grouped_form(form *f) {
    f->groups = between(2, 8), f->c_in = f->groups * between(1, 24), f->c_out = f->groups * between(1, 40);
    f->w = between(1, 120), f->kw = 2 * between(1, 64), f->pad_w = f->kw / 2, f->drop = 1,
    f->weight_norm = true;
}
static void grouped_vectors_form(form *f) { /* whole vectors of channels in a group */
    grouped_form(f);
    f->groups = between(2, 4), f->c_in = f->groups * 16 * between(1, 3),
    f->c_out = f->groups * (16 * between(1, 3) + between(0, 5));
}
static void transposed_form(form *f) {
    f->transposed = true, f->stride = between(1, 12);
    f->pad_w = between(0, 6), f->kw = f->stride + 2 * f->pad_w;
    f->w = between(1, 90), f->c_in = between(1, 64), f->c_out = between(1, 64),
    f->weight_norm = between(0, 1);
    f->slope = between(0, 1) ? 1.0f : 0.1f;
}
static void conv2d_form(form *f) {
    f->h = between(1, 40), f->w = between(1, 40), f->kh = f->kw = 2 * between(1, 2) + 1,
    f->pad_h = f->pad_w = f->kw / 2;
    f->c_in = between(1, 40), f->c_out = between(1, 70), f->bias = between(0, 1),
    f->batch_norm = between(0, 1);
}
static void transposed2d_form(form *f) {
    f->h = between(1, 20), f->w = between(1, 20), f->kh = f->kw = 3, f->pad_h = f->pad_w = 1, f->stride = 2,
    f->transposed = true;
    f->c_in = between(1, 40), f->c_out = between(1, 70), f->bias = between(0, 1),
    f->batch_norm = between(0, 1);
}
static void
wide_form(form *f) { /* the shapes of the generator's residual blocks, where other kernels may be chosen */
    static const int channels[] = {32, 64, 128, 256}, taps[] = {3, 7, 11}, dilations[] = {1, 3, 5};
    f->c_in = f->c_out = channels[between(0, 3)], f->kw = taps[between(0, 2)],
    f->dilation = dilations[between(0, 2)];
    f->pad_w = f->dilation * (f->kw - 1) / 2, f->w = between(1, 400), f->weight_norm = true, f->slope = 0.1f;
}
static void
halves_form(form *f) { /* wide enough for products by halves: linear layers, and convolutions read in place */
    static const int channels[] = {512, 576, 1600};
    f->kw = between(1, 2), f->stride = f->kw, f->c_in = channels[between(0, 2)] / f->kw / 32 * 32,
    f->c_out = between(0, 1) ? 512 : 576;
    if (f->c_in * f->kw < 512) f->c_in += 32;
    f->w = f->stride * between(50, 300) + between(0, f->stride - 1);
}
static void strided_form(form *f) { /* 3 taps of stride 2, as the feature extractor has them */
    f->kw = 3, f->stride = 2, f->c_in = between(0, 1) ? 256 : 320, f->c_out = between(0, 1) ? 256 : 320,
    f->w = between(3, 600);
}
/* So long that tasks share no left factors. */
static void long_halves_form(form *f) {
    f->kw = 1, f->c_in = 1600, f->c_out = 512, f->w = 801;
}
static void long_strided_form(form *f) {
    f->kw = 3, f->stride = 2, f->c_in = f->c_out = 256, f->w = 4100;
}

static void test_conv1d(void **s) {
    (void)s;
    for_every_table(conv1d_form, 120);
}
static void test_conv1d_without_padding(void **s) {
    (void)s;
    for_every_table(no_pad_form, 60);
}
static void test_grouped(void **s) {
    (void)s;
    for_every_table(grouped_form, 30);
    for_every_table(grouped_vectors_form, 15);
}
static void test_conv_transpose1d(void **s) {
    (void)s;
    for_every_table(transposed_form, 80);
}
static void test_conv2d(void **s) {
    (void)s;
    for_every_table(conv2d_form, 60);
}
static void test_conv_transpose2d(void **s) {
    (void)s;
    for_every_table(transposed2d_form, 40);
}
static void test_wide(void **s) {
    (void)s;
    for_every_table(wide_form, 16);
}
static void test_halves(void **s) {
    (void)s;
    for_every_table(halves_form, 8);
    for_every_table(long_halves_form, 1);
}
static void test_strided(void **s) {
    (void)s;
    for_every_table(strided_form, 8);
    for_every_table(long_strided_form, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv1d),  cmocka_unit_test(test_conv1d_without_padding),
        cmocka_unit_test(test_grouped), cmocka_unit_test(test_conv_transpose1d),
        cmocka_unit_test(test_conv2d),  cmocka_unit_test(test_conv_transpose2d),
        cmocka_unit_test(test_wide),    cmocka_unit_test(test_halves),
        cmocka_unit_test(test_strided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
