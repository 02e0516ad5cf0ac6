/* bench.c - see bench.h. */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- options ----------------------------------------------------------------------------------------- */

static bool read_count(const char *text, int low, int high, int *value) {
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < low || n > high) return false;
    *value = (int)n;
    return true;
}

/* "5,60" into o->seconds. */
static bool read_lengths(const char *text, bench_options *o) {
    o->lengths = 0;
    while (o->lengths < BENCH_MAX_LENGTHS) {
        char *end;
        double s = strtod(text, &end);
        if (end == text || !(s >= 0.05 && s <= 36000) || (*end && *end != ',')) return false;
        o->seconds[o->lengths++] = s;
        if (!*end) return true;
        text = end + 1;
    }
    return false;
}

static bool read_option(bench_options *o, const char *name, const char *value) {
    if (strcmp(name, "seconds") == 0) return read_lengths(value, o);
    if (strcmp(name, "num-warmup") == 0) return read_count(value, 0, BENCH_MAX_RUNS, &o->num_warmup);
    if (strcmp(name, "num-runs") == 0) return read_count(value, 1, BENCH_MAX_RUNS, &o->num_runs);
    if (strcmp(name, "threads") == 0) return read_count(value, 0, 1024, &o->threads);
    const char **text = strcmp(name, "models") == 0  ? &o->models
                        : strcmp(name, "voice") == 0 ? &o->voice
                                                     : &o->output;
    *text = value;
    return true;
}

bool bench_read_options(bench_options *o, const char *accepted, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        char word[64];
        const char *name = strncmp(argv[i], "--", 2) == 0 ? argv[i] + 2 : "";
        snprintf(word, sizeof word, "%s ", name);
        const char *at = *name ? strstr(accepted, word) : NULL;
        if (!at || (at != accepted && at[-1] != ' ')) {
            fprintf(stderr, "%s: unknown option %s; options, each with a value: %s\n", argv[0], argv[i],
                    accepted);
            return false;
        }
        if (i + 1 == argc || !read_option(o, name, argv[i + 1])) {
            fprintf(stderr, "%s: %s: bad or missing value%s%s\n", argv[0], argv[i], i + 1 < argc ? " " : "",
                    i + 1 < argc ? argv[i + 1] : "");
            return false;
        }
    }
    return true;
}

/* ---- clock and input --------------------------------------------------------------------------------- */

double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

float *bench_speech(double seconds, int rate, size_t *frames) {
    const double tau = 6.283185307179586;
    size_t n = (size_t)llround(seconds * rate);
    float *x = malloc((n ? n : 1) * sizeof *x);
    uint32_t noise = 1;
    double phase = 0;
    *frames = n;
    for (size_t i = 0; x && i < n; i++) {
        double t = (double)i / rate, loud = fmax(0, sin(tau * 2.3 * t)), voiced = 0;
        phase += (150 + 50 * sin(tau * 0.31 * t) + 4 * sin(tau * 5.5 * t)) / rate;
        phase -= floor(phase);
        for (int k = 1; k <= 16; k++) voiced += sin(tau * phase * k) / k;
        noise = noise * 1664525u + 1013904223u;
        x[i] = (float)(0.25 * loud * voiced + 0.01 * ((double)noise / 2147483648.0 - 1));
    }
    return x;
}

/* ---- processes and memory ---------------------------------------------------------------------------- */

bool bench_in_child(bool (*work)(const void *context, void *result), const void *context, void *result,
                    size_t bytes) {
    int ends[2], status = 1;
    if (pipe(ends) != 0) return false;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        bool ok = work(context, result) && write(ends[1], result, bytes) == (ssize_t)bytes;
        fflush(NULL);
        _exit(ok ? 0 : 1);
    }
    close(ends[1]);
    size_t got = 0;
    for (ssize_t n = 1; child > 0 && got < bytes && n > 0; got += n > 0 ? (size_t)n : 0)
        n = read(ends[0], (char *)result + got, bytes - got);
    close(ends[0]);
    if (child > 0) waitpid(child, &status, 0);
    return child > 0 && status == 0 && got == bytes;
}

double bench_peak_megabytes(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kilobytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lf", &kilobytes) == 1) break;
    if (file) fclose(file);
    return kilobytes / 1024;
}

const char *bench_machine(void) {
    static char text[192];
    char line[256], model[128] = "unknown processor";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "model name : %127[^\n]", model) == 1) break;
    if (file) fclose(file);
    snprintf(text, sizeof text, "%s (%ld cores)", model, sysconf(_SC_NPROCESSORS_ONLN));
    return text;
}

/* ---- JSON -------------------------------------------------------------------------------------------- */

/* A string with what JSON wants escaped left out: names of machines and devices need nothing of it. */
static void put_string(FILE *file, const char *name, const char *text) {
    fprintf(file, "\"%s\": \"", name);
    for (; *text; text++)
        if (*text != '"' && *text != '\\' && (unsigned char)*text >= ' ') fputc(*text, file);
    fputs("\", ", file);
}

bool bench_json_open(bench_json *json, const bench_options *o, const char *benchmark, const char *device) {
    *json = (bench_json){.path = o->output};
    if (!o->output) return true;
    json->file = fopen(o->output, "w");
    if (!json->file) {
        fprintf(stderr, "%s: cannot be written: %s\n", o->output, strerror(errno));
        return false;
    }
    fputc('{', json->file);
    put_string(json->file, "benchmark", benchmark);
    put_string(json->file, "machine", bench_machine());
    put_string(json->file, "device", device);
    fprintf(json->file, "\"num_warmup\": %d, \"num_runs\": %d, \"results\": [", o->num_warmup, o->num_runs);
    return true;
}

void bench_json_row(bench_json *json, const char *format, ...) {
    if (!json->file) return;
    fputs(json->rows++ ? ",\n  " : "\n  ", json->file);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(json->file, format, arguments);
    va_end(arguments);
}

bool bench_json_close(bench_json *json) {
    if (!json->file) return true;
    fputs("\n]}\n", json->file);
    bool ok = !ferror(json->file);
    ok = fclose(json->file) == 0 && ok;
    if (!ok) fprintf(stderr, "%s: could not be written\n", json->path);
    json->file = NULL;
    return ok;
}
