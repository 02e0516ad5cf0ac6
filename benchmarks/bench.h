/* bench.h - what the benchmarks share: options, clock, input, memory, the machine's name, tables and JSON.
 *
 * Every measurement of memory is made in a child process of its own, so that a peak is that length's peak and
 * not the largest of all that ran before. Times are medians over --num-runs runs after --num-warmup that do
 * not count. */
#ifndef BENCHMARKS_BENCH_H
#define BENCHMARKS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "../nn/nn.h"

enum { BENCH_MAX_LENGTHS = 16, BENCH_MAX_RUNS = 64 };

/* After this many seconds of counted runs no further one is begun: a long file needs no median of three. */
#define BENCH_PATIENCE 15.0

typedef struct bench_options {
    const char *program;               /* "benchmark_ops" */
    double seconds[BENCH_MAX_LENGTHS]; /* lengths of input to measure */
    int lengths;
    int batch_sizes[BENCH_MAX_LENGTHS]; /* segments run together */
    int batches;
    int num_warmup, num_runs;
    int threads;        /* 0: one per core */
    const char *device; /* "cpu" where not set */
    nn_precision precision;
    const char *models; /* folder of hubert_base.npz and rmvpe.npz */
    const char *voice;  /* .npz */
    const char *output; /* JSON file, or NULL */
    bool large, kernels;
} bench_options;

enum { BENCH_GO_ON = -1 };

/* Reads options over the defaults in *o; `accepted` lists the names this program takes, each followed by a
 * space. BENCH_GO_ON, or the exit status: 0 after --help, which prints `about` and the options; 2 after a
 * line on stderr about an unknown name, one that does not apply to this program, or a bad value. */
int bench_read_options(bench_options *o, const char *about, const char *accepted, int argc, char **argv);

const char *bench_precision_name(nn_precision precision); /* "f32" */

/* Opens the device the options name. */
nn_code bench_open_device(nn_device **out, const bench_options *o, nn_error *e);

int bench_cores(void);  /* that this process may use */
double bench_now(void); /* seconds, monotonic */

typedef struct bench_times {
    double median, min, max; /* of the runs, seconds */
} bench_times;
bench_times bench_times_of(double *x, int n); /* sorts x [n], n >= 1 */

/* A signal that keeps every stage busy as speech does: [seconds * rate] samples, malloc'd, NULL when out of
 * memory. Harmonics of a gliding fundamental in syllables, breath noise between them; the same samples every
 * time. */
float *bench_speech(double seconds, int rate, size_t *frames);

/* Runs work(context, result) in a child process and brings back result [bytes]. False when the child failed.
 */
bool bench_in_child(bool (*work)(const void *context, void *result), const void *context, void *result,
                    size_t bytes);

/* A figure of /proc/self/status, MiB; 0 where there is none. "VmHWM": the largest resident size of this
 * process so far. "RssAnon": what is resident and no file's. */
double bench_memory(const char *figure);

/* "AMD EPYC, 2 cores, avx2 avx512, 23 GiB"; the string is this module's. */
const char *bench_machine(void);

/* A JSON file of one object: benchmark, machine, device, date, runs and the array "results". Where no
 * --output is asked for, file is NULL and every function does nothing. open and close are false, after a line
 * on stderr, when the file cannot be written. */
typedef struct bench_json {
    FILE *file;
    const char *path; /* borrowed from the options */
    int rows;         /* written so far */
} bench_json;
bool bench_json_open(bench_json *json, const bench_options *o, const char *benchmark, const char *device);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void bench_json_row(bench_json *json, const char *format, ...); /* one whole JSON object */
bool bench_json_close(bench_json *json);

#endif
