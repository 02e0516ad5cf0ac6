/* verify.c - `rvc verify REFERENCE.npz`: does this build compute what the reference computed?
 *
 *   NAME  shape  max_abs_error  snr_db  correlation  PASS|FAIL          one line a tensor
 *   verify: PASS|FAIL                                                   exit status 0 or 1
 *
 * Invariant: every stage takes its inputs from the reference file where it has them, so an error shows in the
 * stage that makes it; what the file holds but cannot be checked for want of an option is a SKIP line; and a
 * file in which nothing could be checked does not pass. */
#include "verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../rvc/checkpoint.h"
#include "tools.h"

/* ---- the file ---- */

bool verify_has(const verify *v, const char *name) {
    return npz_find(v->z, name) != NULL;
}

int verify_axis(const verify *v, const char *name, int axis) {
    const npz_array *a = npz_find(v->z, name);
    return a && axis < a->rank && a->shape[axis] < 1 << 30 ? (int)a->shape[axis] : 0;
}

float *verify_array(verify *v, const char *name, size_t *count) {
    const npz_array *a = npz_find(v->z, name);
    *count = 0;
    if (!a) {
        nn_fail(&v->e, NN_ERROR_FORMAT, "%s: \"%s\" is missing", v->set.reference, name);
        return NULL;
    }
    float *x = malloc((size_t)(a->count + 1) * sizeof *x);
    if (!x) nn_fail_memory(&v->e, name);
    if (x && npz_read_f32(v->z, a, x, &v->e)) {
        free(x);
        return NULL;
    }
    *count = (size_t)a->count;
    return x;
}

float verify_scalar(verify *v, const char *name, float otherwise) {
    size_t count;
    float *x = verify_has(v, name) ? verify_array(v, name, &count) : NULL;
    float value = x && count == 1 ? x[0] : otherwise;
    free(x);
    return value;
}

float *verify_transposed(const float *x, size_t rows, size_t columns) {
    float *y = x ? malloc((rows * columns + 1) * sizeof *y) : NULL;
    for (size_t i = 0; y && i < rows; i++)
        for (size_t j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
    return y;
}

/* ---- lines ---- */

static void shape_text(const verify *v, const char *name, char out[64]) {
    const npz_array *a = npz_find(v->z, name);
    size_t used = 0;
    out[used++] = '[';
    for (int i = 0; a && i < a->rank && used < 50; i++)
        used += (size_t)snprintf(out + used, 64 - used, "%s%lld", i ? "," : "", (long long)a->shape[i]);
    snprintf(out + used, 64 - used, "]");
}

void verify_verdict(verify *v, const char *line, const char *name, double max_error, double snr,
                    double correlation, bool pass, const char *note) {
    char shape[64];
    shape_text(v, name, shape);
    printf("%-18s %-12s %-11.3g %8.2f  %.9f  %s\n", line, shape, max_error, snr, correlation,
           pass ? "PASS" : "FAIL");
    if (note && *note) printf("  # %s: %s\n", line, note);
    *(pass ? &v->passed : &v->failed) += 1;
}

void verify_fail(verify *v, const char *line, const char *name) {
    char shape[64];
    shape_text(v, name, shape);
    printf("%-18s %-12s %-11s %8s  %s  FAIL\n  # %s: %s\n", line, shape, "-", "-", "-", line,
           v->e.code ? v->e.text : "could not be computed");
    v->e = (nn_error){0};
    v->failed++;
}

void verify_skip(verify *v, const char *name, const char *reason) {
    char shape[64];
    if (!verify_has(v, name)) return;
    shape_text(v, name, shape);
    printf("%-18s %-12s %-11s %8s  %s  SKIP\n  # %s: %s\n", name, shape, "-", "-", "-", name, reason);
    v->skipped++;
}

typedef struct measure {
    double max_error, snr, correlation;
} measure;

/* Signal-to-noise ratio in dB (999: equal) and Pearson's correlation. A value that is not finite fails
 * everything. */
static measure compare(const float *got, const float *want, size_t n) {
    double signal = 0, error = 0, worst = 0, g = 0, w = 0, gg = 0, ww = 0, gw = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) return (measure){INFINITY, -999, 0};
        double x = got[i], y = want[i], d = x - y;
        signal += y * y;
        error += d * d;
        worst = fmax(worst, fabs(d));
        g += x;
        w += y;
        gg += x * x;
        ww += y * y;
        gw += x * y;
    }
    double count = (double)n, spread = sqrt((gg - g * g / count) * (ww - w * w / count));
    double snr = error <= 0 ? 999 : signal > 0 ? 10 * log10(signal / error) : -999;
    return (measure){worst, snr, spread > 0 ? (gw - g * w / count) / spread : error <= 0};
}

double verify_snr(const float *got, const float *want, size_t n) {
    return compare(got, want, n).snr;
}

void verify_compare(verify *v, const char *line, const char *name, const float *got, size_t count,
                    double wanted_db) {
    size_t n;
    float *want = verify_array(v, name, &n);
    if (got && want && n != count)
        nn_fail(&v->e, NN_ERROR_FORMAT, "%zu values, the reference has %zu: another model, or another rate?",
                count, n);
    if (!got || !want || n != count) {
        verify_fail(v, line, name);
    } else {
        measure m = compare(got, want, n);
        verify_verdict(v, line, name, m.max_error, m.snr, m.correlation, m.snr >= wanted_db, NULL);
    }
    free(want);
}

void verify_compare_f0(verify *v, const char *line, const char *name, const float *got, size_t count,
                       double cents) {
    size_t n, voicing = 0;
    double worst = 0;
    float *want = verify_array(v, name, &n);
    if (!got || !want || n != count) {
        nn_fail(&v->e, NN_ERROR_FORMAT, "%zu frames, the reference has %zu", count, n);
        verify_fail(v, line, name);
        free(want);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if ((got[i] > 0) != (want[i] > 0))
            voicing++;
        else if (want[i] > 0)
            worst = fmax(worst, fabs(1200 * log2((double)got[i] / (double)want[i])));
    }
    char note[96];
    snprintf(note, sizeof note, "%zu voicing errors, at most %.6f cents apart", voicing, worst);
    measure m = compare(got, want, n);
    verify_verdict(v, line, name, m.max_error, m.snr, m.correlation,
                   (double)voicing <= v->voicing * (double)n && worst <= cents + v->cents, note);
    free(want);
}

/* ---- command line ---- */

static const struct {
    const char *name, *alias;
    size_t offset;
} options[] = {
    {"--model", "-m", offsetof(verify_settings, model)},
    {"--hubert", NULL, offsetof(verify_settings, hubert)},
    {"--rmvpe", NULL, offsetof(verify_settings, rmvpe)},
    {"--index", "-i", offsetof(verify_settings, index)},
    {"--device", NULL, offsetof(verify_settings, device)},
    {"--precision", NULL, offsetof(verify_settings, precision)},
    {"--models", NULL, offsetof(verify_settings, models)},
};

static void usage(FILE *f) {
    fputs("usage: rvc verify REFERENCE.npz -m VOICE.npz [--hubert FILE] [--rmvpe FILE] [--index FILE]\n"
          "                  [--models DIR] [--device auto|cpu|vulkan:N|NAME] [--precision f32|f16|bf16]\n"
          "Runs every stage whose inputs the file holds and prints, a line a tensor,\n"
          "  NAME  shape  max_abs_error  snr_db  correlation  PASS|FAIL\n"
          "and \"verify: PASS\" (exit status 0) or \"verify: FAIL\" (1).\n",
          f);
}

/* Takes argv[i] and what follows it into *s; returns how many were taken, 0: wrong usage, told. */
static int take(verify_settings *s, int argc, char **argv, int i) {
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        size_t length = strlen(options[k].name);
        bool joined = strncmp(argv[i], options[k].name, length) == 0 && argv[i][length] == '=';
        if (!joined && strcmp(argv[i], options[k].name) != 0 &&
            (!options[k].alias || strcmp(argv[i], options[k].alias) != 0))
            continue;
        if (!joined && i + 1 == argc) {
            fprintf(stderr, "rvc: verify: %s needs a value\n", argv[i]);
            return 0;
        }
        const char *value = joined ? argv[i] + length + 1 : argv[i + 1];
        memcpy((char *)s + options[k].offset, &value, sizeof value);
        return joined ? 1 : 2;
    }
    if (argv[i][0] == '-' && argv[i][1]) {
        fprintf(stderr, "rvc: verify: unknown option %s\n", argv[i]);
        return 0;
    }
    if (s->reference) {
        fprintf(stderr, "rvc: verify: one reference file at a time, not %s too\n", argv[i]);
        return 0;
    }
    s->reference = argv[i];
    return 1;
}

/* DIR/NAME.npz or .pt in --models, $RVC_MODELS or ./models, malloc'd; NULL where it is in none. */
static char *find_network(const char *models, const char *name) {
    const char *folders[] = {models, getenv("RVC_MODELS"), "models"}, *endings[] = {".npz", ".pt"};
    for (size_t i = 0; i < 2 * sizeof folders / sizeof *folders; i++) {
        const char *folder = folders[i / 2];
        if (!folder || !*folder) continue;
        size_t size = strlen(folder) + strlen(name) + sizeof "/.npz";
        char *path = malloc(size);
        if (!path) return NULL;
        snprintf(path, size, "%s/%s%s", folder, name, endings[i % 2]);
        if (access(path, R_OK) == 0) return path;
        free(path);
    }
    return NULL;
}

static void set_tolerances(verify *v, bool reduced, bool gpu) {
    v->snr_db = reduced ? VERIFY_REDUCED_DB : gpu ? VERIFY_GPU_DB : VERIFY_SNR_DB;
    v->segment_db = reduced ? VERIFY_REDUCED_DB : VERIFY_SEGMENT_DB;
    v->voicing = reduced ? VERIFY_REDUCED_VOICING : 0;
    v->cents = reduced ? VERIFY_REDUCED_CENTS : 0;
}

static nn_code open_all(verify *v) {
    verify_settings *s = &v->set;
    if (!s->hubert) s->hubert = v->found[0] = find_network(s->models, "hubert_base");
    if (!s->rmvpe) s->rmvpe = v->found[1] = find_network(s->models, "rmvpe");
    const char *precision = s->precision ? s->precision : "f32";
    nn_precision parsed;
    if (!nn_precision_parse(precision, &parsed))
        return nn_fail(&v->e, NN_ERROR_ARGUMENT,
                       "there is no precision \"%.64s\"; there are f32, f16 and bf16", precision);
    nn_code code = npz_open(&v->z, s->reference, &v->e);
    if (!code) code = nn_device_open_precise(&v->device, s->device ? s->device : "auto", parsed, 0, &v->e);
    if (!code) printf("# on %s\n", nn_device_name(v->device));
    if (!code) set_tolerances(v, parsed != NN_F32, nn_device_is_gpu(v->device));
    if (!code && s->model) code = rvc_weights_open(&v->voice, s->model, RVC_KIND_VOICE, &v->e);
    if (!code && s->hubert) code = rvc_weights_open(&v->hubert, s->hubert, RVC_KIND_HUBERT, &v->e);
    if (!code && s->rmvpe) code = rvc_weights_open(&v->rmvpe, s->rmvpe, RVC_KIND_RMVPE, &v->e);
    return code;
}

static void close_all(verify *v) {
    nn_weights_free(v->voice);
    nn_weights_free(v->hubert);
    nn_weights_free(v->rmvpe);
    nn_device_close(v->device);
    npz_close(v->z);
    for (size_t i = 0; i < sizeof v->found / sizeof *v->found; i++) free(v->found[i]);
}

int rvc_verify_main(int argc, char **argv) {
    verify v = {0};
    for (int i = 1, taken; i < argc; i += taken) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            usage(stdout);
            return 0;
        }
        taken = take(&v.set, argc, argv, i);
        if (!taken) return 2;
    }
    if (!v.set.reference) {
        usage(stderr);
        return 2;
    }
    if (open_all(&v)) {
        fprintf(stderr, "rvc: %s\n", v.e.text);
        v.failed++;
    } else {
        verify_pitch(&v);
        verify_content(&v);
        verify_synthesizer(&v);
        verify_retrieval(&v);
        verify_pipeline(&v);
        if (v.passed + v.failed == 0)
            fprintf(stderr, "rvc: %s: nothing in it could be checked%s\n", v.set.reference,
                    v.skipped ? " with the files given" : "; it is no reference file");
    }
    close_all(&v);
    bool pass = v.passed > 0 && v.failed == 0;
    printf("verify: %s\n", pass ? "PASS" : "FAIL");
    return pass ? 0 : 1;
}
