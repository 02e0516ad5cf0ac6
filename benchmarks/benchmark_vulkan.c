/* benchmark_vulkan.c - the Vulkan back end on one device: convolutions of the real shapes by every path and tile, then the
 * networks, node by node.
 *
 *   benchmark_vulkan [--device NAME] [--models DIR] [--only tiles|chosen|networks] [--precision 32|16] [--shrink N]
 *
 *   tiles      every tile of every path on all shapes: which is fastest where
 *   chosen     what the back end chooses by itself: ms, TFLOP/s, error against the CPU
 *   networks   HuBERT, RMVPE, prior and generator for 5 s: error against the CPU, time of a run, of its ops and nodes
 *
 * A convolution's time is that of its node on the device (timestamps), the median of several runs; nodes do not overlap.
 * A network's time is from input to output in the host's memory. --shrink divides rows, for slow devices. Models are made
 * by `make demo-models`. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../mel/mel.h"
#include "../nn/plan.h"
#include "../nn/vulkan/vulkan.h"
#include "../rmvpe/rmvpe.h"
#include "../rvc/config.h"
#include "../rvc/hubert.h"
#include "../rvc/synthesizer.h"

enum { RUNS = 10, NETWORK_RUNS = 30, MOST_TILES = 20 };

typedef struct options {
    const char *device, *models, *only;
    int precision, shrink;
} options;

typedef struct shape {
    const char *name;
    int h, w, c_in, c_out, kh, kw, stride, pad, dilation, groups;
    bool transposed, leaky, residual, gelu;
} shape;

static const shape shapes[] = {
    {"generator 256 k3 d1", 1, 5260, 256, 256, 1, 3, 1, 1, 1, 1, false, true, false, false},
    {"generator 256 k11 d5", 1, 5260, 256, 256, 1, 11, 1, 25, 5, 1, false, true, true, false},
    {"generator 128 k3 d1", 1, 52600, 128, 128, 1, 3, 1, 1, 1, 1, false, true, false, false},
    {"generator 128 k7 d3", 1, 52600, 128, 128, 1, 7, 1, 9, 3, 1, false, true, true, false},
    {"generator 128 k11 d5", 1, 52600, 128, 128, 1, 11, 1, 25, 5, 1, false, true, false, false},
    {"generator 64 k3 d1", 1, 105200, 64, 64, 1, 3, 1, 1, 1, 1, false, true, true, false},
    {"generator 64 k11 d5", 1, 105200, 64, 64, 1, 11, 1, 25, 5, 1, false, true, false, false},
    {"generator 32 k3 d1", 1, 210400, 32, 32, 1, 3, 1, 1, 1, 1, false, true, true, false},
    {"generator 32 k11 d5", 1, 210400, 32, 32, 1, 11, 1, 25, 5, 1, false, true, false, false},
    {"generator 256 k7 d3 long", 1, 19540, 256, 256, 1, 7, 1, 9, 3, 1, false, true, true, false},
    {"generator 128 k3 d1 long", 1, 195400, 128, 128, 1, 3, 1, 1, 1, 1, false, true, true, false},
    {"generator 64 k7 d3 long", 1, 390800, 64, 64, 1, 7, 1, 9, 3, 1, false, true, true, false},
    {"generator 32 k7 d3 long", 1, 781600, 32, 32, 1, 7, 1, 9, 3, 1, false, true, true, false},
    {"generator last", 1, 210400, 32, 1, 1, 7, 1, 3, 1, 1, false, true, false, false},
    {"up 512->256 x10", 1, 526, 512, 256, 1, 16, 10, 3, 1, 1, true, true, false, false},
    {"up 256->128 x10", 1, 5260, 256, 128, 1, 16, 10, 3, 1, 1, true, true, true, false},
    {"up 64->32 x2", 1, 105200, 64, 32, 1, 4, 2, 1, 1, 1, true, true, true, false},
    {"noise 1->128 k8 s4", 1, 210400, 1, 128, 1, 8, 4, 2, 1, 1, false, false, false, false},
    {"hubert conv0 1->512 k10 s5", 1, 112000, 1, 512, 1, 10, 5, 0, 1, 1, false, false, false, false},
    {"hubert conv1 512 k3 s2", 1, 22399, 512, 512, 1, 3, 2, 0, 1, 1, false, false, false, true},
    {"hubert conv4 512 k3 s2", 1, 2799, 512, 512, 1, 3, 2, 0, 1, 1, false, false, false, true},
    {"hubert conv6 512 k2 s2", 1, 699, 512, 512, 1, 2, 2, 0, 1, 1, false, false, false, true},
    {"hubert positions k128 g16", 1, 349, 768, 768, 1, 128, 1, 64, 1, 16, false, false, true, true},
    {"hubert 768->768", 1, 349, 768, 768, 1, 1, 1, 0, 1, 1, false, false, true, false},
    {"hubert 768->3072", 1, 349, 768, 3072, 1, 1, 1, 0, 1, 1, false, false, false, true},
    {"hubert 3072->768", 1, 349, 3072, 768, 1, 1, 1, 0, 1, 1, false, false, true, false},
    {"hubert 768->768 long", 1, 1064, 768, 768, 1, 1, 1, 0, 1, 1, false, false, true, false},
    {"hubert 768->3072 long", 1, 1064, 768, 3072, 1, 1, 1, 0, 1, 1, false, false, false, true},
    {"prior 192->768 k3", 1, 700, 192, 768, 1, 3, 1, 1, 1, 1, false, false, false, false},
    {"prior 192->384 k5", 1, 700, 192, 384, 1, 5, 1, 2, 1, 1, false, false, false, false},
    {"rmvpe 1->16", 704, 128, 1, 16, 3, 3, 1, 1, 1, 1, false, false, false, false},
    {"rmvpe 16", 704, 128, 16, 16, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 32", 352, 64, 32, 32, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 64", 176, 32, 64, 64, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 128", 88, 16, 128, 128, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 256", 44, 8, 256, 256, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 512", 22, 4, 512, 512, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe up 512->256", 22, 4, 512, 256, 3, 3, 2, 1, 1, 1, true, false, false, false},
    {"rmvpe 512->256", 44, 8, 512, 256, 3, 3, 1, 1, 1, 1, false, false, false, false},
    {"rmvpe 256->128", 88, 16, 256, 128, 3, 3, 1, 1, 1, 1, false, false, false, false},
    {"rmvpe 128->64", 176, 32, 128, 64, 3, 3, 1, 1, 1, 1, false, false, false, false},
    {"rmvpe 64->32", 352, 64, 64, 32, 3, 3, 1, 1, 1, 1, false, false, false, false},
    {"rmvpe 512->256 k1", 44, 8, 512, 256, 1, 1, 1, 0, 1, 1, false, false, false, false},
    {"rmvpe 128->64 k1", 176, 32, 128, 64, 1, 1, 1, 0, 1, 1, false, false, false, false},
    {"rmvpe 16 long", 2816, 128, 16, 16, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 32 long", 1408, 64, 32, 32, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 64 long", 704, 32, 64, 64, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 128 long", 352, 16, 128, 128, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 256 long", 176, 8, 256, 256, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe 512 long", 88, 4, 512, 512, 3, 3, 1, 1, 1, 1, false, false, true, false},
    {"rmvpe head 16->3", 704, 128, 16, 3, 3, 3, 1, 1, 1, 1, false, false, false, false},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static int fail(const nn_error *e) {
    fprintf(stderr, "benchmark_vulkan: %s\n", e->text);
    return 1;
}

/* Numbers in [-1, 1): splitmix64. */
static void fill(float *v, size_t n, uint64_t seed, float scale) {
    for (size_t i = 0; i < n; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        v[i] = scale * (float)((double)((z ^ (z >> 31)) >> 40) * 0x1p-23 - 1.0);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

static double snr_db(const float *got, const float *want, size_t n) {
    double signal = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)got[i] - (double)want[i];
        signal += (double)want[i] * (double)want[i];
        error += d * d;
    }
    return error > 0 ? 10 * log10(signal / error) : isfinite(error) ? 999 : -999;
}

static float largest_error(const float *got, const float *want, size_t n) {
    float worst = 0;
    for (size_t i = 0; i < n; i++) {
        const float d = fabsf(got[i] - want[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

/* ---- convolutions ---- */

static nn_code add_weights(nn_weights *w, nn_error *e) {
    nn_code code = NN_OK;
    for (int i = 0; i < SHAPES && !code; i++) {
        const shape *s = &shapes[i];
        char name[64];
        int64_t dims[4] = {s->transposed ? s->c_in : s->c_out,
                           (s->transposed ? s->c_out : s->c_in) / s->groups, s->kh, s->kw};
        const size_t n = (size_t)(dims[0] * dims[1] * dims[2] * dims[3]);
        float *v = malloc((n + (size_t)s->c_out) * sizeof *v);
        if (!v) return nn_fail_memory(e, "weights");
        fill(v, n, (uint64_t)i + 1, sqrtf(3.0f / (float)(s->c_in / s->groups * s->kh * s->kw)));
        if (s->h == 1) dims[2] = s->kw;
        snprintf(name, sizeof name, "layer%d.weight", i);
        code = nn_weights_add(w, name, s->h == 1 ? 3 : 4, dims, v, e);
        fill(v, (size_t)s->c_out, (uint64_t)i + 100, 0.5f);
        snprintf(name, sizeof name, "layer%d.bias", i);
        if (!code) code = nn_weights_add(w, name, 1, (int64_t[]){s->c_out}, v, e);
        free(v);
    }
    return code;
}

/* One graph of all shapes side by side: their shaders are then compiled side by side. Input xI, residual rI, output yI. */
static nn_graph *shapes_graph(nn_weights *w, int shrink) {
    nn_graph *g = nn_graph_new(w);
    for (int i = 0; i < SHAPES; i++) {
        const shape *s = &shapes[i];
        const char *layer = nn_name(g, "layer%d", i);
        int h = s->h, width = s->w;
        if (h > 1)
            h = h / shrink < 2 ? 2 : h / shrink;
        else
            width = width / shrink < 2 * s->kw * s->dilation ? 2 * s->kw * s->dilation : width / shrink;
        nn_tensor y = nn_input(g, nn_name(g, "x%d", i), h, width, s->c_in);
        if (s->leaky) y = nn_leaky_relu(g, y, 0.1f);
        if (s->h > 1)
            y = s->transposed ? nn_conv_transpose2d(g, y, layer) : nn_conv2d(g, y, layer);
        else if (s->transposed)
            y = nn_conv_transpose1d(g, y, layer, .stride = s->stride, .pad = s->pad);
        else
            y = nn_conv1d(g, y, layer, .stride = s->stride, .pad = s->pad, .dilation = s->dilation,
                          .groups = s->groups, .drop_last = s->kw > 1 && s->kw % 2 == 0 && s->groups > 1);
        if (s->gelu) y = nn_gelu(g, y);
        nn_shape o = nn_shape_of(y);
        if (s->residual) y = nn_add(g, nn_input(g, nn_name(g, "r%d", i), o.h, o.w, o.c), y);
        nn_output(g, y, nn_name(g, "y%d", i));
    }
    return g;
}

static size_t elements(const nn_plan *p, const char *name) {
    const nn_shape s = nn_plan_shape(p, name);
    return (size_t)s.h * (size_t)s.w * (size_t)s.c;
}

static nn_code write_shapes(nn_plan *p, nn_error *e) {
    for (int i = 0; i < 2 * SHAPES; i++) {
        char name[16];
        snprintf(name, sizeof name, "%c%d", "xr"[i % 2], i / 2);
        const size_t n = elements(p, name);
        if (!n) continue;
        float *v = malloc(n * sizeof *v);
        if (!v) return nn_fail_memory(e, "inputs");
        fill(v, n, (uint64_t)i + 1000, 1);
        nn_plan_write(p, name, v);
        free(v);
    }
    return NN_OK;
}

static const nn_node *node_of(const nn_plan *p, int shape_index, int *position) {
    char name[16];
    snprintf(name, sizeof name, "y%d", shape_index);
    for (int i = 0; i < p->count; i++)
        if (p->node[i]->output && !strcmp(p->node[i]->output, name)) {
            *position = i;
            return p->node[i];
        }
    return NULL;
}

/* Seconds of every shape's node, medians, under RVC_VULKAN_CONV=path (NULL: as chosen). outputs: NULL, or [SHAPES] for free(). */
static nn_code time_shapes(const options *o, nn_weights *w, int precision, const char *path,
                           double seconds[SHAPES], float **outputs, nn_error *e) {
    nn_device *d = NULL;
    nn_plan *p = NULL;
    double times[SHAPES][RUNS];
    if (path) setenv("RVC_VULKAN_CONV", path, 1);
    nn_code code = nn_vulkan_open(&d, o->device, precision, e);
    unsetenv("RVC_VULKAN_CONV");
    if (!code) code = nn_plan_new(&p, shapes_graph(w, o->shrink), d, e);
    if (!code) code = write_shapes(p, e);
    if (!code) nn_plan_profile(p, true);
    for (int r = -2; r < RUNS && !code; r++) {
        code = nn_plan_run(p, e);
        for (int i = 0; i < SHAPES && r >= 0 && !code; i++) {
            int at = 0;
            if (node_of(p, i, &at)) times[i][r] = p->seconds[at];
        }
    }
    for (int i = 0; i < SHAPES && !code; i++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", i);
        seconds[i] = median(times[i], RUNS);
        if (!outputs) continue;
        outputs[i] = malloc(elements(p, name) * sizeof(float));
        if (outputs[i])
            nn_plan_read(p, name, outputs[i]);
        else
            code = nn_fail_memory(e, "outputs");
    }
    nn_plan_free(p);
    nn_device_close(d);
    return code;
}

/* The CPU's outputs and each shape's operations. */
static nn_code reference(const options *o, nn_weights *w, float **outputs, double *flops, size_t *counts,
                         nn_error *e) {
    nn_device *d = NULL;
    nn_plan *p = NULL;
    nn_code code = nn_device_open(&d, "cpu", 0, e);
    if (!code) code = nn_plan_new(&p, shapes_graph(w, o->shrink), d, e);
    if (!code) code = write_shapes(p, e);
    if (!code) code = nn_plan_run(p, e);
    for (int i = 0; i < SHAPES && !code; i++) {
        char name[16];
        int at;
        snprintf(name, sizeof name, "y%d", i);
        counts[i] = elements(p, name);
        flops[i] = nn_node_flops(node_of(p, i, &at));
        outputs[i] = malloc(counts[i] * sizeof(float));
        if (!outputs[i]) code = nn_fail_memory(e, "outputs");
        if (!code) nn_plan_read(p, name, outputs[i]);
    }
    nn_plan_free(p);
    nn_device_close(d);
    return code;
}

static nn_code run_chosen(const options *o, nn_weights *w, int precision, const char *path, float **want,
                          const double *flops, const size_t *counts, nn_error *e) {
    double seconds[SHAPES], total = 0;
    float *got[SHAPES] = {NULL};
    nn_code code = time_shapes(o, w, precision, path, seconds, got, e);
    if (!code)
        printf("\nf%d, %s\n%-28s %9s %9s %10s %8s\n", precision, path ? path : "as chosen", "", "ms",
               "TFLOP/s", "max error", "dB");
    for (int i = 0; i < SHAPES && !code; i++) {
        printf("%-28s %9.4f %9.2f %10.2e %8.1f\n", shapes[i].name, seconds[i] * 1e3,
               flops[i] / seconds[i] * 1e-12, (double)largest_error(got[i], want[i], counts[i]),
               snr_db(got[i], want[i], counts[i]));
        total += seconds[i];
    }
    if (!code) printf("%-28s %9.4f\n", "all", total * 1e3);
    fflush(stdout);
    for (int i = 0; i < SHAPES; i++) free(got[i]);
    return code;
}

/* One column per tile, in microseconds; the fastest of each row again at its end. A device that has fewer tiles than are
 * asked for takes its own choice, so columns beyond the last are alike. */
static nn_code run_tiles(const options *o, nn_weights *w, int precision, const char *path, int tiles,
                         float **want, const size_t *counts, nn_error *e) {
    static double seconds[MOST_TILES][SHAPES];
    double worst[MOST_TILES] = {0};
    nn_code code = NN_OK;
    for (int t = 0; t < tiles && !code; t++) {
        char name[32];
        float *got[SHAPES] = {NULL};
        snprintf(name, sizeof name, "%s:%d", path, t);
        code = time_shapes(o, w, precision, name, seconds[t], got, e);
        worst[t] = 999;
        for (int i = 0; i < SHAPES && !code; i++)
            worst[t] = fmin(worst[t], snr_db(got[i], want[i], counts[i]));
        for (int i = 0; i < SHAPES; i++) free(got[i]);
    }
    if (code) return code;
    printf("\nf%d, %s tiles, us\n%-28s", precision, path, "");
    for (int t = 0; t < tiles; t++) printf(" %7d", t);
    for (int i = 0; i < SHAPES; i++) {
        int best = 0;
        printf("\n%-28s", shapes[i].name);
        for (int t = 0; t < tiles; t++) {
            printf(" %7.1f", seconds[t][i] * 1e6);
            if (seconds[t][i] < seconds[best][i]) best = t;
        }
        printf("   %d", best);
    }
    printf("\n%-28s", "worst dB");
    for (int t = 0; t < tiles; t++) printf(" %7.1f", worst[t]);
    printf("\n");
    fflush(stdout);
    return NN_OK;
}

static nn_code run_shapes(const options *o, bool tiles, nn_error *e) {
    nn_weights *w = NULL;
    float *want[SHAPES] = {NULL};
    double flops[SHAPES];
    size_t counts[SHAPES];
    nn_code code = nn_weights_new(&w, "shapes", e);
    if (!code) code = add_weights(w, e);
    if (!code) code = reference(o, w, want, flops, counts, e);
    for (int precision = 32; precision >= 16 && !code; precision -= 16) {
        if (o->precision && o->precision != precision) continue;
        if (tiles) {
            code = run_tiles(o, w, precision, "matrix", precision == 16 ? 14 : 9, want, counts, e);
            if (!code && precision == 32) code = run_tiles(o, w, precision, "image", 6, want, counts, e);
            if (!code && precision == 32) code = run_tiles(o, w, precision, "plain", 9, want, counts, e);
        } else {
            code = run_chosen(o, w, precision, NULL, want, flops, counts, e);
            if (!code) code = run_chosen(o, w, precision, "plain", want, flops, counts, e);
        }
    }
    for (int i = 0; i < SHAPES; i++) free(want[i]);
    nn_weights_free(w);
    return code;
}

/* ---- networks ---- */

enum { HUBERT, RMVPE, PRIOR, GENERATOR, NETWORKS };
static const struct network {
    const char *name, *file, *output;
    int length; /* samples, mel frames, frames */
} networks[NETWORKS] = {{"hubert", "hubert_base.npz", "v2", 112000},
                        {"rmvpe", "rmvpe.npz", "salience", 704},
                        {"prior", "rvc_v2_40k.npz", "z", 700},
                        {"generator", "rvc_v2_40k.npz", "audio", 526}};

static nn_graph *network_graph(int which, nn_weights *w, int length, nn_error *e) {
    rvc_voice_config c;
    if (which == HUBERT) return rvc_hubert_graph(w, length, RVC_HUBERT_V2);
    if (which == RMVPE) return rmvpe_graph(w, length);
    if (rvc_voice_config_read(&c, w, e)) return NULL;
    return which == PRIOR ? rvc_prior_graph(w, &c, length, 0) : rvc_generator_graph(w, &c, length, 0);
}

/* Every input of the plan: noise, a plausible pitch, speaker 0. */
static nn_code write_network(nn_plan *p, nn_error *e) {
    for (int i = 0; i < p->count; i++) {
        const nn_node *n = p->node[i];
        if (n->op != NN_OP_input) continue;
        const size_t count = nn_elements(n->shape);
        float *v = malloc(count * sizeof *v);
        int32_t *index = (int32_t *)(void *)v;
        if (!v) return nn_fail_memory(e, "inputs");
        fill(v, count, (uint64_t)n->index + 7, strcmp(n->name, "source") ? 0.5f : 0.1f);
        for (size_t k = 0; k < count && n->is_index; k++)
            index[k] = strcmp(n->name, "pitch") ? 0 : 1 + (int32_t)(k % 255);
        nn_plan_write(p, n->name, v);
        free(v);
    }
    return NN_OK;
}

static void print_profile(const nn_plan *p) {
    double by_op[NN_OP_COUNT] = {0}, total = 0;
    int count[NN_OP_COUNT] = {0};
    bool shown[4096] = {false};
    for (int i = 0; i < p->count; i++) {
        if (!nn_node_runs(p->node[i])) continue;
        by_op[p->node[i]->op] += p->seconds[i];
        count[p->node[i]->op]++;
        total += p->seconds[i];
    }
    printf("  nodes one after another: %.3f ms;", total * 1e3);
    for (int k = 0; k < NN_OP_COUNT; k++)
        if (by_op[k] > 0) printf(" %s %.3f (%d)", nn_op_names[k], by_op[k] * 1e3, count[k]);
    printf("\n");
    for (int line = 0; line < 16 && line < p->count; line++) {
        int best = -1;
        for (int i = 0; i < p->count && i < 4096; i++)
            if (!shown[i] && (best < 0 || p->seconds[i] > p->seconds[best])) best = i;
        if (best < 0) break;
        const nn_node *n = p->node[best];
        shown[best] = true;
        printf("    %8.1f us %7.2f TFLOP/s  %-10s %4d x %6d x %4d  from %4d  %s\n", p->seconds[best] * 1e6,
               nn_node_flops(n) / p->seconds[best] * 1e-12, nn_op_names[n->op], n->shape.h, n->shape.w,
               n->shape.c, n->n_in ? n->in[0]->shape.c : 0, n->name);
    }
}

static nn_code run_plan(nn_plan *p, const char *output, float *result, int runs, double *seconds,
                        nn_error *e) {
    double times[NETWORK_RUNS];
    nn_code code = NN_OK;
    for (int r = runs > 1 ? -3 : 0; r < runs && !code; r++) {
        code = write_network(p, e);
        const double start = now();
        if (!code) code = nn_plan_run(p, e);
        if (!code) nn_plan_read(p, output, result);
        if (r >= 0) times[r] = now() - start;
    }
    if (!code) *seconds = median(times, runs);
    return code;
}

static nn_code run_network(const options *o, int which, int precision, nn_error *e) {
    const struct network *k = &networks[which];
    char path[1024];
    nn_weights *w = NULL;
    nn_device *d[2] = {NULL, NULL};
    nn_plan *p[2] = {NULL, NULL};
    float *result[2] = {NULL, NULL};
    double seconds[2] = {0, 0}, opened, planned;
    const int length = which == RMVPE ? (k->length / o->shrink + 31) / 32 * 32 : k->length / o->shrink;
    snprintf(path, sizeof path, "%s/%s", o->models, k->file);
    nn_code code = nn_weights_open(&w, path, e);
    if (!code) code = nn_device_open(&d[0], "cpu", 0, e);
    opened = now();
    if (!code) code = nn_vulkan_open(&d[1], o->device, precision, e);
    opened = now() - opened;
    planned = now();
    for (int i = 1; i >= 0 && !code; i--) {
        nn_graph *g = network_graph(which, w, length, e);
        code = g ? nn_plan_new(&p[i], g, d[i], e) : e->code ? e->code : nn_fail_memory(e, "a graph");
        if (i == 1) planned = now() - planned;
        const size_t n = code ? 0 : elements(p[i], k->output);
        if (!code && !(result[i] = malloc(n * sizeof(float)))) code = nn_fail_memory(e, "outputs");
        if (!code) code = run_plan(p[i], k->output, result[i], i ? NETWORK_RUNS : 1, &seconds[i], e);
    }
    if (!code) {
        const size_t n = elements(p[1], k->output);
        printf("\n%s, f%d: %.3f ms (run and read, median of %d), %.1f dB against the CPU (%.0f ms), %d "
               "nodes, %.1f GFLOP, slab %.0f "
               "MB; device opened in %.0f ms, planned in %.0f ms\n",
               k->name, precision, seconds[1] * 1e3, NETWORK_RUNS, snr_db(result[1], result[0], n),
               seconds[0] * 1e3, p[1]->count, nn_plan_flops(p[1]) * 1e-9, (double)p[1]->slab_bytes * 1e-6,
               opened * 1e3, planned * 1e3);
        nn_plan_profile(p[1], true);
        for (int r = 0; r < 3 && !code; r++) code = nn_plan_run(p[1], e);
        if (!code) print_profile(p[1]);
        fflush(stdout);
    }
    for (int i = 0; i < 2; i++) {
        free(result[i]);
        nn_plan_free(p[i]);
        nn_device_close(d[i]);
    }
    nn_weights_free(w);
    return code;
}

static nn_code run_networks(const options *o, nn_error *e) {
    for (int precision = 32; precision >= 16; precision -= 16)
        for (int i = 0; i < NETWORKS && (!o->precision || o->precision == precision); i++)
            if (run_network(o, i, precision, e)) return e->code;
    return NN_OK;
}

/* ---- */

static bool read_options(options *o, int argc, char **argv) {
    const char *precision = "0", *shrink = "1";
    const struct {
        const char *name, **value;
    } known[] = {{"--device", &o->device},
                 {"--models", &o->models},
                 {"--only", &o->only},
                 {"--precision", &precision},
                 {"--shrink", &shrink}};
    for (int i = 1; i < argc; i += 2) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(argv[i], known[k].name)) k++;
        if (k == sizeof known / sizeof *known || i + 1 == argc) {
            fprintf(stderr, "usage: benchmark_vulkan [--device NAME] [--models DIR] [--only "
                            "tiles|chosen|networks] [--precision 32|16] "
                            "[--shrink N]\n");
            return false;
        }
        *known[k].value = argv[i + 1];
    }
    o->precision = atoi(precision);
    o->shrink = atoi(shrink) < 1 ? 1 : atoi(shrink);
    return true;
}

static void print_line(void *user, const char *line) {
    (void)user;
    printf("%s\n", line);
}

int main(int argc, char **argv) {
    options o = {.device = "vulkan", .models = "build/demo/models", .only = ""};
    nn_error e = {0};
    if (!read_options(&o, argc, argv)) return 2;
    if (nn_vulkan_list(print_line, NULL, &e)) return fail(&e);
    if ((!*o.only || !strcmp(o.only, "chosen")) && run_shapes(&o, false, &e)) return fail(&e);
    if ((!*o.only || !strcmp(o.only, "networks")) && run_networks(&o, &e)) return fail(&e);
    if (!strcmp(o.only, "tiles") && run_shapes(&o, true, &e)) return fail(&e);
    return 0;
}
