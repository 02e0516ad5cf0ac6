/* test_vulkan.c - the Vulkan back end against the CPU's: every form of convolution on random shapes with what is fused
 * into it, each path and tile in turn; small networks through the whole graph; plans that share a device.
 *
 * Runs on any Vulkan device, lavapipe among them, under the validation layer where it is installed. Without a device every
 * test says so and skips. */
#include "check.h"

#include "../rmvpe/rmvpe.h"
#include "../rvc/config.h"
#include "../rvc/hubert.h"
#include "../rvc/synthesizer.h"
#include "check_models.h"
#include "check_vulkan.h"

static uint64_t state;
static double uniform(void) {
    return (double)check_random_float(&state);
}
static int between(int low, int high) {
    return low + (int)((uniform() + 1) / 2 * (high - low + 1));
}

/* ---- devices ---- */

static int devices;
static bool has_matrices;
static void count_device(void *user, const char *line) {
    (void)user;
    print_message("%s\n", line);
    has_matrices |= strstr(line, "cooperative matrices") != NULL;
    devices++;
}

static int list_devices(void **unused) {
    (void)unused;
    nn_error e = {0};
    if (nn_vulkan_list(count_device, NULL, &e)) fail_msg("%s", e.text);
    return 0;
}

/* The device of $RVC_TEST_VULKAN, or the best; NULL, after a line, where it cannot compute in that precision. */
static nn_device *open_device(int precision) {
    const char *selector = getenv("RVC_TEST_VULKAN");
    nn_device *d = NULL;
    nn_error e = {0};
    if (!devices) {
        print_message("skipped: no Vulkan device (Debian: mesa-vulkan-drivers)\n");
        skip();
    }
    if (nn_vulkan_open(&d, selector ? selector : "vulkan", precision, &e)) {
        if (precision == 32) fail_msg("%s", e.text);
        print_message("skipped: %s\n", e.text);
        skip();
    }
    return d;
}

/* ---- one graph on two devices ---- */

typedef struct pair {
    nn_device *device[2]; /* CPU, Vulkan */
    double least_db;
    const char *what;
} pair;

enum { MOST_INPUTS = 6 };
typedef struct input {
    const char *name;
    const void *data;
} input;

static size_t elements(const nn_plan *p, const char *name) {
    nn_shape s = nn_plan_shape(p, name);
    return (size_t)s.h * (size_t)s.w * (size_t)s.c;
}

/* The output `name` of graph g, twice run; free with free(). */
static float *run(nn_device *d, nn_graph *g, const input *in, const char *name) {
    nn_plan *p = NULL;
    nn_error e = {0};
    if (nn_plan_new(&p, g, d, &e)) fail_msg("%s: %s", nn_device_name(d), e.text);
    const size_t n = elements(p, name);
    float *first = malloc(n * sizeof *first), *second = malloc(n * sizeof *second);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < MOST_INPUTS && in[i].name; i++) nn_plan_write(p, in[i].name, in[i].data);
        if (nn_plan_run(p, &e)) fail_msg("%s: %s", nn_device_name(d), e.text);
        nn_plan_read(p, name, turn ? second : first);
    }
    assert_memory_equal(first, second,
                        n * sizeof *first); /* nothing is left over, nothing is left to chance */
    nn_plan_free(p);
    free(second);
    return first;
}

/* ---- convolutions ---- */

/* One convolution in its most general form. */
typedef struct form {
    int h, w, c_in, c_out, kh, kw, stride, pad, dilation, groups, drop;
    bool transposed, bias, batch_norm, relu, gelu, residual, row, scale;
    float slope; /* of a leaky ReLU before it; 1: none */
} form;

static void add_random(nn_weights *w, const char *name, int rank, const int64_t *shape, double offset,
                       double scale) {
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)shape[i];
    float *v = malloc(n * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = (float)(offset + scale * uniform());
    assert_int_equal(nn_weights_add(w, name, rank, shape, v, NULL), 0);
    free(v);
}

static nn_weights *form_weights(const form *f) {
    nn_weights *w;
    assert_int_equal(nn_weights_new(&w, "test", NULL), 0);
    int64_t shape[4] = {f->transposed ? f->c_in : f->c_out, (f->transposed ? f->c_out : f->c_in) / f->groups,
                        f->kh, f->kw};
    if (f->kh == 1 && f->h == 1) shape[2] = f->kw;
    add_random(w, "layer.weight", f->kh == 1 && f->h == 1 ? 3 : 4, shape, 0,
               1 / sqrt((double)f->c_in * f->kw * f->kh / f->groups));
    const int64_t vector[1] = {f->c_out};
    if (f->bias) add_random(w, "layer.bias", 1, vector, 0, 1);
    static const char *const part[4] = {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"};
    for (int i = 0; i < 4 && f->batch_norm; i++) add_random(w, part[i], 1, vector, i == 3 ? 1 : 0, 0.7);
    return w;
}

static nn_graph *form_graph(const form *f, nn_weights *w) {
    nn_graph *g = nn_graph_new(w);
    nn_tensor x = nn_input(g, "x", f->h, f->w, f->c_in), y = x;
    if (f->slope != 1) y = nn_leaky_relu(g, y, f->slope);
    if (f->h > 1 && f->transposed)
        y = nn_conv_transpose2d(g, y, "layer", .no_bias = !f->bias);
    else if (f->h > 1)
        y = nn_conv2d(g, y, "layer", .no_bias = !f->bias);
    else if (f->transposed)
        y = nn_conv_transpose1d(g, y, "layer", .stride = f->stride, .pad = f->pad);
    else
        y = nn_conv1d(g, y, "layer", .stride = f->stride, .pad = f->pad, .dilation = f->dilation,
                      .groups = f->groups, .drop_last = f->drop, .no_bias = !f->bias);
    if (f->batch_norm) y = nn_batch_norm(g, y, "bn");
    if (f->relu) y = nn_relu(g, y);
    if (f->gelu) y = nn_gelu(g, y);
    nn_shape s = nn_shape_of(y);
    if (f->residual) y = nn_add(g, nn_input(g, "r", s.h, s.w, s.c), y);
    if (f->row) y = nn_mul(g, y, nn_input(g, "b", 1, 1, s.c));
    if (f->scale) y = nn_scale(g, y, 0.75f);
    nn_output(g, y, "y");
    return g;
}

static float *random_values(size_t n) {
    float *v = malloc((n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = (float)uniform();
    return v;
}

/* The worst SNR over all rows would be too strict for rows that are nearly zero: it is taken over the whole output. */
static void check_form(const form *f, const pair *p) {
    nn_weights *w = form_weights(f);
    nn_graph *g = form_graph(f, w), *h = form_graph(f, w);
    if (nn_graph_error(g)->code) fail_msg("%s", nn_graph_error(g)->text);
    const size_t n_in = (size_t)f->h * (size_t)f->w * (size_t)f->c_in;
    /* the output is at most this large: k - stride = 2 pad in transposed forms */
    const size_t n_out =
        ((size_t)f->h * 2 * (size_t)(f->w + 2 * f->pad) * (size_t)(f->transposed ? f->stride : 1) + 1) *
        (size_t)f->c_out * 2;
    float *x = random_values(n_in), *r = random_values(n_out), *b = random_values((size_t)f->c_out);
    const input in[MOST_INPUTS] = {{"x", x}, {"r", r}, {"b", b}};
    nn_plan *sizes = NULL;
    assert_int_equal(nn_plan_new(&sizes, form_graph(f, w), p->device[0], NULL), 0);
    const size_t n = elements(sizes, "y");
    assert_true(n <= n_out);
    nn_plan_free(sizes);
    float *want = run(p->device[0], g, in, "y"), *got = run(p->device[1], h, in, "y");
    const double db = check_snr_db(got, want, n);
    if (!(db >= p->least_db))
        fail_msg("%s %s: %.1f dB: h %d w %d c %d->%d k %dx%d s %d p %d d %d g %d t%d bias%d bn%d relu%d "
                 "res%d row%d slope %g",
                 nn_device_name(p->device[1]), p->what, db, f->h, f->w, f->c_in, f->c_out, f->kh, f->kw,
                 f->stride, f->pad, f->dilation, f->groups, f->transposed, f->bias, f->batch_norm, f->relu,
                 f->residual, f->row, (double)f->slope);
    free(want), free(got), free(x), free(r), free(b);
    nn_weights_free(w);
}

static void conv1d_form(form *f) {
    f->w = between(1, 300), f->c_in = between(1, 70), f->c_out = between(1, 100);
    f->kw = between(1, 11), f->dilation = between(1, 5);
    f->pad = f->dilation * (f->kw - 1) / 2 + between(0, 2);
    f->stride = between(0, 2) ? 1 : between(2, 6);
    if (f->w + 2 * f->pad < f->dilation * (f->kw - 1) + 1) f->w += f->dilation * f->kw;
    f->bias = between(0, 3) > 0;
    f->slope = between(0, 1) ? 1.0f : 0.1f;
}
static void aligned_form(form *f) { /* channels that vectors and matrices like */
    conv1d_form(f);
    f->c_in = 8 * between(1, 24), f->c_out = 8 * between(1, 24);
}
static void deep_form(form *f) { /* few outputs, long sums: split */
    f->w = between(1, 40), f->c_in = 64 * between(4, 8),
    f->c_out = between(0, 1) ? 8 * between(1, 8) : between(1, 64);
    f->kw = 2 * between(0, 2) + 1, f->pad = f->kw / 2;
}
static void narrow_form(form *f) { /* few input channels: flat */
    conv1d_form(f);
    f->dilation = 1, f->c_in = between(1, 7), f->kw = between(2, 40), f->pad = between(0, f->kw / 2),
    f->w += f->kw;
}
static void grouped_form(form *f) {
    f->groups = between(2, 8), f->c_in = f->groups * 4 * between(1, 6), f->c_out = f->groups * between(1, 40);
    f->w = between(1, 120), f->kw = 2 * between(1, 64), f->pad = f->kw / 2, f->drop = 1;
}
static void transposed_form(form *f) {
    f->transposed = true, f->stride = between(1, 12), f->pad = between(0, 6), f->kw = f->stride + 2 * f->pad;
    f->w = between(1, 90), f->c_in = between(1, 64), f->c_out = between(1, 64);
    f->slope = between(0, 1) ? 1.0f : 0.1f;
}
static void image_form(form *f) {
    f->h = between(2, 40), f->w = between(1, 40), f->kh = f->kw = 2 * between(0, 2) + 1, f->pad = f->kw / 2;
    f->c_in = between(0, 1) ? between(1, 40) : 8 * between(1, 8), f->c_out = between(1, 70),
    f->bias = between(0, 1);
}
static void transposed_image_form(form *f) {
    image_form(f);
    f->h = between(2, 20), f->w = between(1, 20), f->kh = f->kw = 3, f->pad = 1, f->stride = 2,
    f->transposed = true;
}
static void block_form(form *f) { /* the pitch network's, whose products are pairs on matrices */
    f->h = between(2, 50), f->w = between(0, 1) ? 4 << between(0, 4) : between(1, 40), f->kh = f->kw = 3,
    f->pad = 1;
    f->c_in = 16 * between(1, 8), f->c_out = between(0, 3) ? 16 * between(1, 8) : between(1, 40),
    f->bias = between(0, 1);
    if (between(0, 3) == 0) f->kh = f->kw = 1, f->pad = 0;
}
static void up_form(form *f) {
    block_form(f);
    f->kh = f->kw = 3, f->pad = 1, f->stride = 2, f->transposed = true, f->c_out = 16 * between(1, 4);
}
static void linear_form(form *f) {
    f->w = between(1, 500), f->c_in = between(1, 200), f->c_out = between(1, 300);
}

typedef void random_form(form *f);
static random_form *const forms[] = {conv1d_form,  aligned_form,    deep_form,  narrow_form,
                                     grouped_form, transposed_form, image_form, transposed_image_form,
                                     linear_form,  block_form,      up_form};
enum { FORMS = sizeof forms / sizeof *forms };

/* `rounds` of every form; 0: the few that try a tile. */
static void check_forms(int precision, const char *path, int rounds, int seed) {
    static const int few_forms[FORMS] = {[1] = 1, [5] = 1, [6] = 1}, few_images[FORMS] = {[9] = 4, [10] = 2};
    const int *fewest = path && !strncmp(path, "image", 5) ? few_images : few_forms;
    const bool few = rounds == 0;
    nn_error e = {0};
    pair p = {.least_db = precision == 32 ? 110 : 55, .what = path ? path : "chosen"};
    if (path) setenv("RVC_VULKAN_CONV", path, 1);
    p.device[1] = open_device(precision);
    unsetenv("RVC_VULKAN_CONV");
    assert_int_equal(nn_device_open(&p.device[0], "cpu", 1, &e), 0);
    state = (uint64_t)seed;
    for (size_t k = 0; k < FORMS; k++)
        for (int i = 0; i < (few ? fewest[k] : rounds); i++) {
            form f = {
                .h = 1, .kh = 1, .kw = 1, .stride = 1, .dilation = 1, .groups = 1, .slope = 1, .bias = true};
            forms[k](&f);
            f.relu = between(0, 1), f.residual = between(0, 1);
            if (!few) {
                f.gelu = between(0, 3) == 0, f.row = between(0, 2) == 0;
                f.batch_norm = between(0, 3) == 0, f.scale = between(0, 2) == 0;
            }
            check_form(&f, &p);
        }
    nn_device_close(p.device[0]);
    nn_device_close(p.device[1]);
}

static void test_conv_f32(void **s) {
    (void)s;
    check_forms(32, NULL, 5, 1);
}
static void test_conv_f16(void **s) {
    (void)s;
    check_forms(16, NULL, 3, 2);
}

/* Every tile, on a few forms of its kind: a driver takes long for each. */
static void check_tiles(int precision, const char *kind, int tiles) {
    for (int i = 0; i < tiles; i++) {
        char path[32];
        snprintf(path, sizeof path, "%s:%d", kind, i);
        check_forms(precision, path, 0, 10 + i);
    }
}
static void test_plain_tiles(void **s) {
    (void)s;
    check_tiles(32, "plain", 9);
}
/* Where the device has no matrices, nothing but the plain path runs, which is tested already. */
static void test_matrix_tiles(void **s) {
    (void)s;
    if (!has_matrices) {
        print_message("skipped: no Vulkan device with cooperative matrices\n");
        skip();
    }
    check_tiles(16, "matrix", 14);
    check_tiles(32, "image", 6);
}

/* ---- networks ---- */

/* Inputs of a network, each as long as its plan says: noise, a pitch that moves, speaker 0. */
static float *network_input(const char *name, size_t n) {
    float *v = random_values(n);
    for (size_t i = 0; i < n; i++) {
        const int32_t index = strcmp(name, "pitch") ? 0 : 1 + (int32_t)(i * 7 % 255);
        if (!strcmp(name, "pitch") || !strcmp(name, "speaker")) memcpy(&v[i], &index, sizeof index);
        if (!strcmp(name, "source")) v[i] *= 0.1f;
        if (!strcmp(name, "mel")) v[i] = 3 * v[i] - 4;
    }
    return v;
}

typedef nn_graph *build(nn_weights *w, const rvc_voice_config *c, int length);
static nn_graph *build_hubert(nn_weights *w, const rvc_voice_config *c, int length) {
    (void)c;
    return rvc_hubert_graph(w, length, RVC_HUBERT_V1 | RVC_HUBERT_V2);
}
static nn_graph *build_rmvpe(nn_weights *w, const rvc_voice_config *c, int length) {
    (void)c;
    return rmvpe_graph(w, length);
}
static nn_graph *build_prior(nn_weights *w, const rvc_voice_config *c, int length) {
    return rvc_prior_graph(w, c, length, RVC_PRIOR_STATS);
}
static nn_graph *build_generator(nn_weights *w, const rvc_voice_config *c, int length) {
    return rvc_generator_graph(w, c, length, 0);
}

typedef struct network {
    const char *model, *output;
    build *build;
    int length;
    double least_db[2]; /* f32, f16 */
} network;

static const network networks[] = {
    {"hubert", "v2", build_hubert, 4321, {90, 45}},
    {"rmvpe", "salience", build_rmvpe, 64, {90, 45}},
    {"voice_v2_40k", "z", build_prior, 77, {90, 45}},
    {"voice_v2_40k", "audio", build_generator, 23, {90, 45}},
    {"voice_v1_32k", "audio", build_generator, 17, {90, 45}},
    {"voice_v2_48k_nof0", "audio", build_generator, 12, {90, 45}},
};
enum { NETWORKS = sizeof networks / sizeof *networks };

typedef struct open_network {
    nn_weights *weights;
    rvc_voice_config config;
    input in[MOST_INPUTS + 1];
    float *data[MOST_INPUTS];
} open_network;

static void open_weights(open_network *o, const network *k) {
    nn_error e = {0};
    *o = (open_network){0};
    if (nn_weights_open(&o->weights, check_small("vulkan", k->model), &e)) fail_msg("%s", e.text);
    if (!strncmp(k->model, "voice", 5) && rvc_voice_config_read(&o->config, o->weights, &e))
        fail_msg("%s", e.text);
}

static void make_inputs(open_network *o, const network *k, nn_device *cpu) {
    static const char *const names[] = {"audio", "mel", "phone", "pitch", "noise", "speaker", "z", "source"};
    nn_plan *p = NULL;
    int n = 0;
    assert_int_equal(nn_plan_new(&p, k->build(o->weights, &o->config, k->length), cpu, NULL), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t count = elements(p, names[i]);
        if (!count || !strcmp(names[i], k->output)) continue;
        assert_in_range(n, 0, MOST_INPUTS - 1);
        o->data[n] = network_input(names[i], count);
        o->in[n] = (input){names[i], o->data[n]};
        n++;
    }
    nn_plan_free(p);
}

static void close_network(open_network *o) {
    for (int i = 0; i < MOST_INPUTS; i++) free(o->data[i]);
    nn_weights_free(o->weights);
}

static size_t output_count(const network *k, open_network *o, nn_device *cpu) {
    nn_plan *p = NULL;
    assert_int_equal(nn_plan_new(&p, k->build(o->weights, &o->config, k->length), cpu, NULL), 0);
    const size_t n = elements(p, k->output);
    nn_plan_free(p);
    return n;
}

static void check_networks(int precision) {
    nn_device *cpu = NULL, *d = open_device(precision);
    assert_int_equal(nn_device_open(&cpu, "cpu", 1, NULL), 0);
    state = 7;
    for (int i = 0; i < NETWORKS; i++) {
        const network *k = &networks[i];
        open_network o;
        open_weights(&o, k);
        make_inputs(&o, k, cpu);
        const size_t n = output_count(k, &o, cpu);
        float *want = run(cpu, k->build(o.weights, &o.config, k->length), o.in, k->output);
        float *got = run(d, k->build(o.weights, &o.config, k->length), o.in, k->output);
        const double db = check_snr_db(got, want, n), least = k->least_db[precision == 16];
        print_message("f%d %-18s %-8s %6.1f dB\n", precision, k->model, k->output, db);
        if (!(db >= least))
            fail_msg("f%d %s %s: %.1f dB, at least %.0f expected", precision, k->model, k->output, db, least);
        free(want), free(got);
        close_network(&o);
    }
    nn_device_close(d);
    nn_device_close(cpu);
}

static void test_networks_f32(void **s) {
    (void)s;
    check_networks(32);
}
static void test_networks_f16(void **s) {
    (void)s;
    check_networks(16);
}

/* ---- plans that share a device ---- */

/* A plan gives the same after a larger one has made the slab and the weights' buffer grow, and after others have used them. */
static void test_shared_device(void **s) {
    (void)s;
    const network *k = &networks[2];
    nn_device *d = open_device(32);
    nn_device *cpu = NULL;
    assert_int_equal(nn_device_open(&cpu, "cpu", 1, NULL), 0);
    open_network o;
    open_weights(&o, k);
    state = 11;
    make_inputs(&o, k, cpu);
    const size_t n = output_count(k, &o, cpu);
    float *first = malloc(n * sizeof *first), *later = malloc(n * sizeof *later);
    nn_plan *small = NULL, *large = NULL, *other = NULL;
    nn_error e = {0};
    if (nn_plan_new(&small, k->build(o.weights, &o.config, k->length), d, &e)) fail_msg("%s", e.text);
    for (int i = 0; o.in[i].name; i++) nn_plan_write(small, o.in[i].name, o.in[i].data);
    if (nn_plan_run(small, &e)) fail_msg("%s", e.text);
    nn_plan_read(small, k->output, first);
    if (nn_plan_new(&large, k->build(o.weights, &o.config, 4 * k->length), d, &e)) fail_msg("%s", e.text);
    if (nn_plan_new(&other, build_generator(o.weights, &o.config, 9), d, &e)) fail_msg("%s", e.text);
    if (nn_plan_run(large, &e) || nn_plan_run(other, &e) || nn_plan_run(small, &e)) fail_msg("%s", e.text);
    nn_plan_read(small, k->output, later);
    assert_memory_equal(first, later, n * sizeof *first);
    nn_plan_free(large);
    nn_plan_profile(small, true);
    if (nn_plan_run(small, &e)) fail_msg("%s", e.text);
    nn_plan_read(small, k->output, later);
    assert_memory_equal(first, later, n * sizeof *first);
    nn_plan_free(other);
    nn_plan_free(small);
    free(first), free(later);
    close_network(&o);
    nn_device_close(cpu);
    nn_device_close(d);
}

/* More than any device shows a shader at once: an error that says so, and the device goes on. */
static void test_too_large(void **s) {
    (void)s;
    nn_device *d = open_device(32);
    nn_weights *w = NULL;
    assert_int_equal(nn_weights_new(&w, "none", NULL), 0);
    for (int i = 0; i < 2; i++) {
        nn_graph *g = nn_graph_new(w);
        nn_plan *p = NULL;
        nn_error e = {0};
        nn_output(g, nn_relu(g, nn_input(g, "x", 1, i ? 100 : 1 << 27, 16)), "y");
        const nn_code code = nn_plan_new(&p, g, d, &e);
        if (i == 0) {
            assert_int_equal(code, NN_ERROR_MEMORY);
            assert_non_null(strstr(e.text, "MB"));
        } else {
            float x[1600], y[1600];
            for (int k = 0; k < 1600; k++) x[k] = (float)(k - 800);
            assert_int_equal(code, NN_OK);
            nn_plan_write(p, "x", x);
            assert_int_equal(nn_plan_run(p, &e), NN_OK);
            nn_plan_read(p, "y", y);
            for (int k = 0; k < 1600; k++) assert_true(y[k] == (k < 800 ? 0.0f : x[k]));
        }
        nn_plan_free(p);
    }
    nn_weights_free(w);
    nn_device_close(d);
}

int main(void) {
    check_vulkan_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_f32),      cmocka_unit_test(test_conv_f16),
        cmocka_unit_test(test_plain_tiles),   cmocka_unit_test(test_matrix_tiles),
        cmocka_unit_test(test_networks_f32),  cmocka_unit_test(test_networks_f16),
        cmocka_unit_test(test_shared_device), cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, list_devices, NULL);
}
