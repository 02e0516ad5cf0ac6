/* synthesize.c - `rvc synthesize`: a checkpoint of made-up numbers, the same on every machine.
 *
 * Element i (row-major) of tensor NAME is float32(offset + scale * u), computed in double, where
 *     key = FNV-1a 64 of the bytes of NAME
 *     z   = splitmix64's finaliser of key + (i + 1) * 0x9E3779B97F4A7C15  (mod 2^64; Steele et al. 2014)
 *     u   = (z >> 40) * 2^-23 - 1                                          in [-1, 1)
 *
 * So no file of weights need travel: tests, demo and benchmarks make theirs from a manifest of a few
 * kilobytes. One tensor is in memory at a time. */
#include "tools.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../nn/names.h"
#include "../nn/npz.h"

enum { MAX_LINE = 4096, MAX_CONFIG = 1 << 20 };

/* One line of a manifest. */
typedef struct tensor {
    char *name; /* in the line's buffer */
    int rank;
    int64_t shape[NPZ_MAX_RANK];
    size_t count;
    double offset, scale;
} tensor;

typedef struct totals {
    size_t tensors, elements;
} totals;

/* Product and sum round one after the other, as they do everywhere else: this file is compiled without
 * contraction to fused multiply-adds, which would change the last bit. */
static void fill(const tensor *t, float *out) {
    uint64_t counter = nn_names_hash(t->name);
    for (size_t i = 0; i < t->count; i++) {
        uint64_t z = counter += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        double u = (double)(int64_t)(z >> 40) * 0x1p-23 - 1.0;
        double scaled = t->scale * u;
        out[i] = (float)(t->offset + scaled);
    }
}

/* "192,256" into t's rank, shape and count; "" is a single number. */
static bool parse_shape(tensor *t, const char *text) {
    t->count = 1;
    for (t->rank = 0; *text; t->rank++) {
        char *end;
        if (t->rank == NPZ_MAX_RANK || *text < '0' || *text > '9') return false;
        errno = 0;
        long long size = strtoll(text, &end, 10);
        if (errno || __builtin_mul_overflow(t->count, (size_t)size, &t->count) || t->count > (1u << 30))
            return false;
        t->shape[t->rank] = size;
        if (*end == ',' && end[1])
            end++;
        else if (*end)
            return false;
        text = end;
    }
    return true;
}

static bool parse_number(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out - *out == 0; /* finite */
}

/* Splits a line at its tabs; false where it is not NAME, SHAPE, OFFSET, SCALE. */
static bool parse_line(tensor *t, char *line) {
    char *field[4] = {line};
    int n = 1;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *c = line; *c; c++) {
        if (*c != '\t') continue;
        if (n == 4) return false;
        *c = '\0';
        field[n++] = c + 1;
    }
    t->name = field[0];
    return n == 4 && *t->name && parse_shape(t, field[1]) && parse_number(field[2], &t->offset) &&
           parse_number(field[3], &t->scale);
}

static nn_code write_tensor(npz_writer *w, const tensor *t, nn_error *e) {
    float *x = malloc(t->count * sizeof *x + 1);
    if (!x) return nn_fail_memory(e, t->name);
    fill(t, x);
    nn_code code = npz_write(w, t->name, NPZ_F32, t->rank, t->shape, x, e);
    free(x);
    return code;
}

static nn_code write_tensors(npz_writer *w, FILE *f, const char *manifest, totals *sum, nn_error *e) {
    char line[MAX_LINE];
    nn_code code = NN_OK;
    for (int number = 1; !code && fgets(line, sizeof line, f); number++) {
        tensor t;
        if (line[0] == '#' || line[0] == '\n') continue;
        if (!parse_line(&t, line))
            return nn_fail(
                e, NN_ERROR_FORMAT,
                "%s:%d: not a line of a manifest (NAME, SHAPE such as 192,256, OFFSET, SCALE, between tabs)",
                manifest, number);
        code = write_tensor(w, &t, e);
        sum->tensors++;
        sum->elements += t.count;
    }
    if (!code && ferror(f))
        code = nn_fail(e, NN_ERROR_FILE, "%s cannot be read: %s", manifest, strerror(errno));
    if (!code && sum->tensors == 0) code = nn_fail(e, NN_ERROR_FORMAT, "%s lists no tensor", manifest);
    return code;
}

/* The .json of the same name beside the manifest as config.json. Without one the checkpoint has no config. */
static nn_code write_config(npz_writer *w, const char *manifest, nn_error *e) {
    const char *dot = strrchr(manifest, '.'), *slash = strrchr(manifest, '/');
    size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - manifest) : strlen(manifest);
    size_t size = stem + sizeof ".json";
    char *path = malloc(size), *text = malloc(MAX_CONFIG);
    nn_code code = path && text ? NN_OK : nn_fail_memory(e, "the configuration");
    if (!code) {
        snprintf(path, size, "%.*s.json", (int)stem, manifest);
        FILE *f = fopen(path, "rb");
        size_t n = f ? fread(text, 1, MAX_CONFIG, f) : 0;
        if (n == MAX_CONFIG)
            code = nn_fail(e, NN_ERROR_FORMAT, "%s is too long for a configuration", path);
        else if (f && ferror(f))
            code = nn_fail(e, NN_ERROR_FILE, "%s cannot be read: %s", path, strerror(errno));
        else if (f)
            text[n] = '\0', code = npz_write_text(w, "config.json", text, e);
        if (f) fclose(f);
    }
    free(path);
    free(text);
    return code;
}

static nn_code synthesize(const char *manifest, const char *out, totals *sum, nn_error *e) {
    struct stat st;
    FILE *f = fopen(manifest, "r");
    if (!f) return nn_fail(e, NN_ERROR_FILE, "%s cannot be opened: %s", manifest, strerror(errno));
    npz_writer *w = NULL;
    nn_code code = NN_OK;
    if (fstat(fileno(f), &st) != 0 || S_ISDIR(st.st_mode))
        code = nn_fail(e, NN_ERROR_FILE, "%s is a folder; a manifest (.tsv) is needed", manifest);
    if (!code) code = npz_create(&w, out, e);
    if (!code) code = write_tensors(w, f, manifest, sum, e);
    if (!code) code = write_config(w, manifest, e);
    fclose(f);
    if (!code) return npz_finish(w, e);
    npz_abandon(w);
    return code;
}

nn_code rvc_synthesize(const char *manifest, const char *out, nn_error *e) {
    return synthesize(manifest, out, &(totals){0}, e);
}

static const char help[] =
    "usage: rvc synthesize MANIFEST.tsv -o MODEL.npz\n"
    "\n"
    "Makes a checkpoint of made-up numbers with the names, shapes and sizes of a real one.\n"
    "It is no voice: what it converts is noise with the right structure. It serves to try the\n"
    "program, to test it and to measure its speed without downloading anything.\n"
    "\n"
    "  MANIFEST.tsv       one tensor a line: name, shape (192,256), offset, scale, between tabs;\n"
    "                     element i is offset + scale * a hash of name and i in [-1, 1)\n"
    "                     MANIFEST.json beside it, if there is one, becomes the model's config\n"
    "  -o, --output FILE  the .npz to write\n"
    "\n"
    "The same manifest gives the same bytes on every machine. 'rvc info MODEL.npz' shows the result.\n";

int rvc_synthesize_main(int argc, char **argv) {
    const char *manifest = NULL, *out = NULL;
    bool usable = true;
    for (int i = 1; i < argc && usable; i++) {
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) return fputs(help, stdout) < 0;
        if ((!strcmp(argv[i], "-o") || !strcmp(argv[i], "--output")) && i + 1 < argc && !out)
            out = argv[++i];
        else if (argv[i][0] != '-' && !manifest)
            manifest = argv[i];
        else {
            fprintf(stderr, "rvc synthesize: %s is not expected here\n", argv[i]);
            usable = false;
        }
    }
    if (!usable || !manifest || !out) {
        fputs("usage: rvc synthesize MANIFEST.tsv -o MODEL.npz   (--help says more)\n", stderr);
        return 2;
    }
    nn_error e = {0};
    totals sum = {0};
    if (synthesize(manifest, out, &sum, &e)) {
        fprintf(stderr, "rvc synthesize: %s\n", e.text);
        return 1;
    }
    printf("%s: %zu tensors, %.1f million synthetic numbers (no voice, noise)\n", out, sum.tensors,
           (double)sum.elements / 1e6);
    return 0;
}
