/* benchmark_pipeline.c - the whole way from samples to a converted voice: per component, for several lengths;
 * and for several segments together.
 *
 *   benchmark_pipeline --seconds 5,60 --batch-sizes 1,4,8,16 --models DIR --output FILE.json      (--help for
 * the rest)
 *
 * Compute is what rvc_convert spends on samples that are in memory: models are loaded and the machinery is
 * warm before the clock starts, files are neither read nor written. Real-time factor is compute over seconds
 * of audio: below 1 is faster than the recording. Peak memory is that of a process which does nothing else.
 *
 * A batch of n is n different segments of the first length. Threads that work on segments of their own need
 * not wait for each other, so a batch is shared out over as many converters as there are threads, or segments
 * if those are fewer; each has its part of the threads, and takes the next segment when it has done one. On a GPU,
 * whose weights they share, there is one for each segment, up to 16.
 *
 * With --kernels none of this, but what each node of a chunk takes on a GPU, by component and operation: they run one
 * after another there, so the sum is more than a conversion takes; ceilings are measured in the same process.
 *
 * "first" is what a user waits for once: from opening the models to the first result, on a GPU with all shaders compiled on
 * the way, or read from the cache that an earlier run has left. */
#include "../nn/vulkan/vulkan.h"
#include "../rvc/pipeline.h"
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 16000, PARTS = 8, MAX_CONVERTERS = 256, GPU_CONVERTERS = 16 };

static const char *const part_names[PARTS] = {"resample",  "mel",       "rmvpe", "hubert",
                                              "retrieval", "synthesis", "other", "total"};

typedef struct job {
    const bench_options *options;
    double seconds;
    int segments;
    char hubert[1024], rmvpe[1024], voice[1024];
} job;

static rvc_status open_models(rvc_models **models, const job *j, int threads, rvc_error *error) {
    rvc_model_paths paths = {.voice = j->voice, .hubert = j->hubert, .rmvpe = j->rmvpe};
    rvc_setup setup = {.device = j->options->device ? j->options->device : "cpu",
                       .precision = bench_precision_name(j->options->precision),
                       .threads = threads};
    return rvc_models_open(models, &paths, &setup, error);
}

/* ---- one after another, per component ------------------------------------------------------------------ */

typedef struct outcome {
    char device[128];
    double load, first, part[PARTS]; /* medians over the runs, seconds */
    bench_times total;
    double peak, device_peak; /* MiB of the program's memory; of the device's own */
    int runs;
} outcome;

/* Warm-up and runs; run [part][i] is run i's time in a part, *runs how many there were. */
static rvc_status measure(rvc_converter *converter, const float *speech, size_t frames,
                          const bench_options *o, double run[PARTS][BENCH_MAX_RUNS], int *runs,
                          rvc_error *error) {
    rvc_options options = rvc_default_options();
    rvc_status status = RVC_OK;
    double spent = 0;
    for (int i = -o->num_warmup; i < o->num_runs && spent < BENCH_PATIENCE && status == RVC_OK; i++) {
        rvc_audio audio = {0};
        status = rvc_convert(converter, speech, frames, RATE, &options, &audio, error);
        const rvc_timing *t = &audio.timing;
        const double part[PARTS] = {t->resample,  t->mel,       t->rmvpe, t->hubert,
                                    t->retrieval, t->synthesis, t->other, t->total};
        for (int p = 0; p < PARTS && i >= 0; p++) run[p][i] = part[p];
        spent += i >= 0 ? t->total : 0;
        *runs = i + 1;
        rvc_audio_free(&audio);
    }
    return status;
}

/* In a child process: one length, from opening the models to the peak of memory. */
static bool run_length(const void *context, void *result) {
    const job *j = context;
    outcome *out = result;
    rvc_error error = {0};
    rvc_models *models = NULL;
    rvc_converter *converter = NULL;
    double run[PARTS][BENCH_MAX_RUNS];
    size_t frames;
    rvc_audio once = {0};
    float *speech = bench_speech(j->seconds, RATE, &frames);
    const double start = bench_now();
    bool ok = speech && open_models(&models, j, j->options->threads, &error) == RVC_OK &&
              rvc_converter_new(&converter, models, &error) == RVC_OK &&
              rvc_convert(converter, speech, frames, RATE, NULL, &once, &error) == RVC_OK;
    out->first = bench_now() - start;
    rvc_audio_free(&once);
    ok = ok && measure(converter, speech, frames, j->options, run, &out->runs, &error) == RVC_OK;
    if (ok) {
        snprintf(out->device, sizeof out->device, "%s", rvc_converter_device(converter));
        out->load = rvc_models_load_seconds(models);
        for (int p = 0; p < PARTS; p++) out->part[p] = bench_times_of(run[p], out->runs).median;
        out->total = bench_times_of(run[PARTS - 1], out->runs);
        out->peak = bench_memory("VmHWM");
        out->device_peak = (double)rvc_converter_device_memory(converter) / 1048576.0;
    } else {
        fprintf(stderr, "benchmark_pipeline: %s\n", speech ? error.text : "out of memory");
    }
    rvc_converter_free(converter);
    rvc_models_close(models);
    free(speech);
    return ok;
}

static void print_row(double seconds, const outcome *r, bench_json *json) {
    const bench_times *total = &r->total;
    printf("%6.4g s", seconds);
    for (int p = 0; p < PARTS - 1; p++) printf(" %9.4f", r->part[p]);
    printf("  compute %9.4f s (%.4f-%.4f)  real-time factor %.5f  peak %5.0f MiB", total->median, total->min,
           total->max, total->median / seconds, r->peak);
    if (r->device_peak > 0) printf(" + %.0f MiB of the device's", r->device_peak);
    printf("  (load %.2f s, first %.2f s, %d runs)\n", r->load, r->first, r->runs);
    bench_json_row(json,
                   "{\"seconds\": %g, \"runs\": %d, \"load\": %.4f, \"first\": %.4f, \"peak_mib\": %.1f, "
                   "\"device_peak_mib\": %.1f, "
                   "\"real_time_factor\": %.6f",
                   seconds, r->runs, r->load, r->first, r->peak, r->device_peak, total->median / seconds);
    for (int p = 0; p < PARTS && json->file; p++)
        fprintf(json->file, ", \"%s\": %.6f", part_names[p], r->part[p]);
    if (json->file)
        fprintf(json->file, ", \"total_min\": %.6f, \"total_max\": %.6f}", total->min, total->max);
    fflush(stdout);
}

/* ---- together ------------------------------------------------------------------------------------------ */

typedef struct batch_outcome {
    int converters, threads; /* threads of each */
    bench_times all;         /* from the first segment's start to the last one's end */
    double segment;          /* what one segment takes its converter, median */
    double peak;             /* MiB */
    int runs;
} batch_outcome;

/* Segments that wait, under a lock, and how long those that are done took. */
typedef struct batch {
    pthread_mutex_t lock;
    const float *speech; /* [segments][frames] */
    size_t frames;
    int segments, next;
    double *took; /* [segments] */
} batch;

typedef struct worker {
    batch *batch;
    rvc_converter *converter;
    rvc_status status;
    rvc_error error;
    pthread_t thread;
    bool started;
} worker;

static void *work(void *argument) {
    worker *w = argument;
    batch *b = w->batch;
    rvc_options options = rvc_default_options();
    while (w->status == RVC_OK) {
        pthread_mutex_lock(&b->lock);
        int i = b->next < b->segments ? b->next++ : -1;
        pthread_mutex_unlock(&b->lock);
        if (i < 0) break;
        rvc_audio audio = {0};
        double start = bench_now();
        w->status = rvc_convert(w->converter, b->speech + (size_t)i * b->frames, b->frames, RATE, &options,
                                &audio, &w->error);
        b->took[i] = bench_now() - start;
        rvc_audio_free(&audio);
    }
    return NULL;
}

/* The batch once, by n workers. */
static rvc_status run_once(batch *b, worker *workers, int n, rvc_error *error) {
    rvc_status status = RVC_OK;
    b->next = 0;
    for (int i = 1; i < n; i++)
        workers[i].started = pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0;
    work(&workers[0]);
    for (int i = 0; i < n; i++) {
        if (workers[i].started) pthread_join(workers[i].thread, NULL);
        if (workers[i].status != RVC_OK && status == RVC_OK) {
            status = workers[i].status;
            *error = workers[i].error;
        }
    }
    return status;
}

static rvc_status measure_batch(batch *b, worker *workers, const bench_options *o, batch_outcome *out,
                                rvc_error *error) {
    double all[BENCH_MAX_RUNS], segment[BENCH_MAX_RUNS], spent = 0;
    rvc_status status = RVC_OK;
    for (int i = -o->num_warmup; i < o->num_runs && spent < BENCH_PATIENCE && status == RVC_OK; i++) {
        double start = bench_now();
        status = run_once(b, workers, out->converters, error);
        double time = bench_now() - start;
        out->runs = i + 1;
        if (i < 0) continue;
        spent += all[i] = time;
        segment[i] = bench_times_of(b->took, b->segments).median;
    }
    if (status == RVC_OK) {
        out->all = bench_times_of(all, out->runs);
        out->segment = bench_times_of(segment, out->runs).median;
    }
    return status;
}

static bool is_gpu(const bench_options *o) {
    nn_device *d = NULL;
    const bool gpu = !bench_open_device(&d, o, NULL) && nn_device_is_gpu(d);
    nn_device_close(d);
    return gpu;
}

/* In a child process: one batch size. */
static bool run_batch(const void *context, void *result) {
    const job *j = context;
    batch_outcome *out = result;
    const int threads = j->options->threads ? j->options->threads : bench_cores();
    static worker workers[MAX_CONVERTERS];
    rvc_error error = {0};
    rvc_models *models = NULL;
    batch b = {.lock = PTHREAD_MUTEX_INITIALIZER, .segments = j->segments};
    size_t frames;
    float *speech = bench_speech(j->seconds * j->segments, RATE, &frames);
    b.speech = speech;
    b.frames = frames / (size_t)j->segments;
    b.took = calloc((size_t)j->segments, sizeof *b.took);
    bool ok = speech && b.took;
    if (!ok) snprintf(error.text, sizeof error.text, "out of memory");
    const int most = is_gpu(j->options)         ? GPU_CONVERTERS
                     : threads < MAX_CONVERTERS ? threads
                                                : MAX_CONVERTERS;
    out->converters = j->segments < most ? j->segments : most;
    out->threads = threads > out->converters ? threads / out->converters : 1;
    ok = ok && open_models(&models, j, out->threads, &error) == RVC_OK;
    for (int i = 0; i < out->converters && ok; i++) {
        workers[i].batch = &b;
        ok = rvc_converter_new(&workers[i].converter, models, &error) == RVC_OK;
    }
    ok = ok && measure_batch(&b, workers, j->options, out, &error) == RVC_OK;
    out->peak = bench_memory("VmHWM");
    if (!ok) fprintf(stderr, "benchmark_pipeline: %s\n", error.text);
    for (int i = 0; i < out->converters; i++) rvc_converter_free(workers[i].converter);
    rvc_models_close(models);
    free(speech);
    free(b.took);
    return ok;
}

/* `one`: audio per second of a batch of one; 0 where it was not measured. */
static void print_batch(const job *j, const batch_outcome *r, double one, bench_json *json) {
    double rate = j->segments * j->seconds / r->all.median;
    char gain[32] = "-";
    if (one > 0) snprintf(gain, sizeof gain, "%.2f", rate / one);
    printf("%4d x %-4.4g %4d x %-4d %9.3f (%.3f-%.3f) %9.3f %14.2f %6s %9.0f %5d\n", j->segments, j->seconds,
           r->converters, r->threads, r->all.median, r->all.min, r->all.max, r->segment, rate, gain, r->peak,
           r->runs);
    fflush(stdout);
    bench_json_row(
        json,
        "{\"batch_size\": %d, \"seconds\": %g, \"runs\": %d, \"converters\": %d, \"threads_each\": %d, "
        "\"all_done\": %.5f, \"all_done_min\": %.5f, \"all_done_max\": %.5f, \"segment\": %.5f, "
        "\"audio_per_second\": %.4f, \"gain\": %.4f, \"peak_mib\": %.1f}",
        j->segments, j->seconds, r->runs, r->converters, r->threads, r->all.median, r->all.min, r->all.max,
        r->segment, rate, one > 0 ? rate / one : 0, r->peak);
}

/* ---- operations ---------------------------------------------------------------------------------------- */

static rvc_status profile_runs(rvc_converter *converter, const float *speech, size_t frames,
                               const bench_options *o, rvc_profile *profile, rvc_error *error) {
    rvc_profile warm_up;
    rvc_status status = RVC_OK;
    for (int i = -o->num_warmup; i < o->num_runs && status == RVC_OK; i++) {
        rvc_audio audio = {0};
        if (i <= 0) {
            memset(&warm_up, 0, sizeof warm_up);
            rvc_converter_profile(converter, i < 0 ? &warm_up : profile);
        }
        status = rvc_convert(converter, speech, frames, RATE, NULL, &audio, error);
        rvc_audio_free(&audio);
    }
    return status;
}

/* In a child process: one length, operation by operation. */
static bool run_kernels(const void *context, void *result) {
    const job *j = context;
    nn_error e = {0};
    rvc_error error = {0};
    rvc_models *models = NULL;
    rvc_converter *converter = NULL;
    rvc_profile profile = {0};
    nn_device *device = NULL;
    nn_peak peak;
    size_t frames;
    float *speech = bench_speech(j->seconds, RATE, &frames);
    bool ok = speech && open_models(&models, j, j->options->threads, &error) == RVC_OK &&
              rvc_converter_new(&converter, models, &error) == RVC_OK;
    if (ok && !rvc_converter_profile(converter, NULL)) {
        snprintf(error.text, sizeof error.text, "--kernels needs a GPU: name one with --device");
        ok = false;
    }
    ok = ok && profile_runs(converter, speech, frames, j->options, &profile, &error) == RVC_OK;
    if (ok && (bench_open_device(&device, j->options, &e) || nn_vulkan_peak(device, &peak, &e))) {
        snprintf(error.text, sizeof error.text, "%s", e.text);
        ok = false;
    }
    if (ok) {
        printf("%g s on %s, nodes one after another; mean of %d runs\n", j->seconds,
               rvc_converter_device(converter), j->options->num_runs);
        rvc_profile_print(&profile, j->options->num_runs, &peak, stdout);
        fflush(stdout);
    } else {
        fprintf(stderr, "benchmark_pipeline: %s\n", speech ? error.text : "out of memory");
    }
    nn_device_close(device);
    rvc_converter_free(converter);
    rvc_models_close(models);
    free(speech);
    *(bool *)result = ok;
    return ok;
}

/* ---- the program --------------------------------------------------------------------------------------- */

static bool run_lengths(job *j, const bench_options *o, bench_json *json) {
    bool ok = true;
    for (int i = 0; i < o->lengths && ok; i++) {
        outcome r;
        j->seconds = o->seconds[i];
        ok = bench_in_child(run_length, j, &r, sizeof r);
        if (ok && i == 0) {
            ok = bench_json_open(json, o, "pipeline", r.device);
            printf("pipeline on %s; %s, %s; medians (and spread), seconds\n%8s", bench_machine(), r.device,
                   bench_precision_name(o->precision), "audio");
            for (int p = 0; p < PARTS - 1; p++) printf(" %9s", part_names[p]);
            printf("\n");
        }
        if (ok) print_row(j->seconds, &r, json);
    }
    return ok;
}

static bool run_batches(job *j, const bench_options *o, bench_json *json) {
    bool ok = true;
    double one = 0;
    j->seconds = o->seconds[0];
    if (o->batches)
        printf("together: latency, seconds, and throughput, seconds of audio a second\n%11s %11s %25s %9s "
               "%14s %6s %9s %5s\n",
               "segments", "converters", "all done", "segment", "audio/second", "gain", "peak MiB", "runs");
    for (int i = 0; i < o->batches && ok; i++) {
        batch_outcome r = {0};
        j->segments = o->batch_sizes[i];
        ok = bench_in_child(run_batch, j, &r, sizeof r);
        if (ok && j->segments == 1) one = j->seconds / r.all.median;
        if (ok) print_batch(j, &r, one, json);
    }
    return ok;
}

static bool run_all_kernels(job *j, const bench_options *o) {
    bool ok = true, done;
    for (int i = 0; i < o->lengths && ok; i++) {
        j->seconds = o->seconds[i];
        ok = bench_in_child(run_kernels, j, &done, sizeof done);
    }
    return ok;
}

int main(int argc, char **argv) {
    bench_options o = {.seconds = {5, 60}, .lengths = 2, .num_warmup = 1, .num_runs = 3, .models = "models"};
    bench_json json = {0};
    o.batches = 2;
    o.batch_sizes[0] = 1;
    o.batch_sizes[1] = 4;
    int status = bench_read_options(
        &o, "From samples to the converted voice: per component, and segments of the first length together.",
        "seconds batch-sizes num-warmup num-runs threads device precision models voice output kernels ", argc,
        argv);
    if (status != BENCH_GO_ON) return status;
    job j = {.options = &o};
    snprintf(j.hubert, sizeof j.hubert, "%s/hubert_base.npz", o.models);
    snprintf(j.rmvpe, sizeof j.rmvpe, "%s/rmvpe.npz", o.models);
    if (o.voice)
        snprintf(j.voice, sizeof j.voice, "%s", o.voice);
    else
        snprintf(j.voice, sizeof j.voice, "%s/rvc_v2_40k.npz", o.models);
    if (o.kernels) return run_all_kernels(&j, &o) ? 0 : 1;
    bool ok = run_lengths(&j, &o, &json) && run_batches(&j, &o, &json);
    return bench_json_close(&json) && ok ? 0 : 1;
}
