/* bench.c - see bench.h. */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- options ----------------------------------------------------------------------------------------- */

static const char *const precisions[] = {[NN_F32] = "f32", [NN_F16] = "f16", [NN_BF16] = "bf16"};

static bool read_count(const char *text, int low, int high, int *value) {
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < low || n > high) return false;
    *value = (int)n;
    return true;
}

/* "5,60" into list [BENCH_MAX_LENGTHS], *count of them. */
static bool read_list(const char *text, double low, double high, double *list, int *count) {
    for (*count = 0; *count < BENCH_MAX_LENGTHS;) {
        char *end;
        double value = strtod(text, &end);
        if (end == text || !(value >= low && value <= high) || (*end && *end != ',')) return false;
        list[(*count)++] = value;
        if (!*end) return true;
        text = end + 1;
    }
    return false;
}

static bool read_seconds(bench_options *o, const char *text) {
    return read_list(text, 0.05, 36000, o->seconds, &o->lengths);
}
static bool read_batch_sizes(bench_options *o, const char *text) {
    double list[BENCH_MAX_LENGTHS];
    if (!read_list(text, 1, 1024, list, &o->batches)) return false;
    for (int i = 0; i < o->batches; i++) {
        o->batch_sizes[i] = (int)list[i];
        if (o->batch_sizes[i] != list[i]) return false;
    }
    return true;
}
static bool read_warmup(bench_options *o, const char *text) {
    return read_count(text, 0, BENCH_MAX_RUNS, &o->num_warmup);
}
static bool read_runs(bench_options *o, const char *text) {
    return read_count(text, 1, BENCH_MAX_RUNS, &o->num_runs);
}
static bool read_threads(bench_options *o, const char *text) {
    return read_count(text, 0, 256, &o->threads);
}
static bool read_device(bench_options *o, const char *text) {
    o->device = text;
    return *text;
}
static bool read_precision(bench_options *o, const char *text) {
    for (int i = 0; i < (int)(sizeof precisions / sizeof *precisions); i++)
        if (strcmp(text, precisions[i]) == 0) {
            o->precision = (nn_precision)i;
            return true;
        }
    return false;
}
static bool read_models(bench_options *o, const char *text) {
    o->models = text;
    return *text;
}
static bool read_voice(bench_options *o, const char *text) {
    o->voice = text;
    return *text;
}
static bool read_output(bench_options *o, const char *text) {
    o->output = text;
    return *text;
}
static bool read_large(bench_options *o, const char *text) {
    (void)text;
    o->large = true;
    return true;
}
static bool read_kernels(bench_options *o, const char *text) {
    (void)text;
    o->kernels = true;
    return true;
}

static const struct option {
    const char *name, *value, *help; /* value NULL: it has none */
    bool (*read)(bench_options *o, const char *text);
} known[] = {
    {"seconds", "LIST", "lengths of speech, in seconds: 5,60", read_seconds},
    {"batch-sizes", "LIST", "segments run together: 1,4,8,16", read_batch_sizes},
    {"num-warmup", "N", "runs that do not count", read_warmup},
    {"num-runs", "N", "runs that do, at most: none is begun after 15 s of them", read_runs},
    {"threads", "N", "0: one per core", read_threads},
    {"device", "NAME", "one of `rvc devices`", read_device},
    {"precision", "NAME", "f32, f16 or bf16, as the device can", read_precision},
    {"models", "DIR", "where hubert_base.npz and rmvpe.npz are", read_models},
    {"voice", "FILE.npz", "the voice; rvc_v2_40k.npz among the models if not given", read_voice},
    {"output", "FILE.json", "the figures again, for programs", read_output},
    {"large", NULL, "the large cases too", read_large},
    {"kernels", NULL,
     "instead: a GPU's time by component and operation, with its share of the measured ceilings",
     read_kernels},
};
enum { KNOWN = sizeof known / sizeof *known };

/* Whether `accepted` lists the name. */
static bool applies(const char *accepted, const char *name) {
    size_t n = strlen(name);
    for (const char *at = accepted; *at; at += strcspn(at, " ") + 1)
        if (strncmp(at, name, n) == 0 && at[n] == ' ') return true;
    return false;
}

static const struct option *find_option(const char *argument) {
    for (int i = 0; i < KNOWN && strncmp(argument, "--", 2) == 0; i++)
        if (strcmp(argument + 2, known[i].name) == 0) return &known[i];
    return NULL;
}

static void print_help(FILE *file, const char *program, const char *about, const char *accepted) {
    fprintf(file, "usage: %s [options]\n%s\n\n", program, about);
    for (int i = 0; i < KNOWN; i++)
        if (applies(accepted, known[i].name))
            fprintf(file, "  --%-12s %-10s %s\n", known[i].name, known[i].value ? known[i].value : "",
                    known[i].help);
    fprintf(file, "  --%-12s %-10s %s\n", "help", "", "this");
}

int bench_read_options(bench_options *o, const char *about, const char *accepted, int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    o->program = slash ? slash + 1 : argv[0];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(stdout, o->program, about, accepted);
            return 0;
        }
        const struct option *option = find_option(argv[i]);
        if (!option || !applies(accepted, option->name)) {
            fprintf(stderr, "%s: %s %s; it takes:", o->program, argv[i],
                    option ? "does not apply to this benchmark" : "is not an option");
            for (const char *at = accepted; *at; at += strcspn(at, " ") + 1)
                fprintf(stderr, " --%.*s", (int)strcspn(at, " "), at);
            fputs(" --help\n", stderr);
            return 2;
        }
        const char *value = option->value ? argv[++i] : "";
        if (!value || !option->read(o, value)) {
            fprintf(stderr, "%s: --%s %s: %s (%s)\n", o->program, option->name, value ? value : option->value,
                    value ? "not a value it can have" : "the value is missing", option->help);
            return 2;
        }
    }
    return BENCH_GO_ON;
}

/* ---- device ------------------------------------------------------------------------------------------ */

const char *bench_precision_name(nn_precision precision) {
    return precisions[precision];
}

nn_code bench_open_device(nn_device **out, const bench_options *o, nn_error *e) {
    return nn_device_open_precise(out, o->device ? o->device : "cpu", o->precision, o->threads, e);
}

int bench_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
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

bench_times bench_times_of(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return (bench_times){n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]), x[0], x[n - 1]};
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

double bench_memory(const char *figure) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    size_t n = strlen(figure);
    double kilobytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, figure, n) == 0 && line[n] == ':') kilobytes = strtod(line + n + 1, NULL);
    if (file) fclose(file);
    return kilobytes / 1024;
}

/* What of the instruction sets that matter here the processor has, each with a space before it. */
static void list_instruction_sets(char *text, size_t size) {
    size_t n = 0;
    text[0] = '\0';
#if defined(__x86_64__)
    __builtin_cpu_init();
    const struct {
        const char *name;
        bool has;
    } sets[] = {{"avx2", __builtin_cpu_supports("avx2")},
                {"fma", __builtin_cpu_supports("fma")},
                {"avx512", __builtin_cpu_supports("avx512f")},
                {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
                {"avx512bf16", __builtin_cpu_supports("avx512bf16")}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets && n < size; i++)
        if (sets[i].has) n += (size_t)snprintf(text + n, size - n, " %s", sets[i].name);
#endif
    if (n == 0) snprintf(text, size, " baseline");
}

const char *bench_machine(void) {
    static char text[320];
    char line[256], model[128] = "unknown processor", sets[96];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "model name : %127[^\n]", model) == 1) break;
    if (file) fclose(file);
    list_instruction_sets(sets, sizeof sets);
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    int cores = bench_cores();
    snprintf(text, sizeof text, "%s, %d core%s,%s, %.0f GiB", model, cores, cores == 1 ? "" : "s", sets,
             memory / (1 << 30));
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
    put_string(json->file, "precision", bench_precision_name(o->precision));
    char date[32];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    put_string(json->file, "date", date);
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
