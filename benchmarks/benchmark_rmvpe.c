/* benchmark_rmvpe.c - the pitch alone: spectrogram, network, decoding, for several lengths.
 *
 *   benchmark_rmvpe --seconds 5,30,60,180,300 --models DIR --output FILE.json           (--help for the rest)
 *
 * The signal is at 16 kHz already. Peak memory is that of a process which does nothing else, weights
 * included. On a GPU all of it is one graph: there is a total only, from samples to pitch. */
#include "../mel/mel.h"
#include "../rmvpe/rmvpe.h"
#include "../rvc/rvc.h"
#include "bench.h"

#include <stdlib.h>

enum { PARTS = 3 };

typedef struct job {
    const bench_options *options;
    double seconds;
    char weights[1024];
} job;

typedef struct outcome {
    char device[128];
    double part[PARTS]; /* mel, network, decoding: medians, seconds */
    bench_times total;
    double peak, device_peak; /* MiB of the program's memory; of the device's own */
    int runs;
} outcome;

/* What one length needs; freed by drop(). */
typedef struct bench_state {
    nn_weights *weights;
    nn_device *device;
    mel *mel;
    rmvpe *rmvpe;
    rvc_models *models; /* on a GPU, instead of those above */
    rvc_converter *converter;
    size_t n, frames;
    float *speech;        /* [n] */
    float *spectrogram;   /* [frames][128] */
    float *salience, *f0; /* [frames][360], [frames] */
} bench_state;

static void drop(bench_state *s) {
    rvc_converter_free(s->converter);
    rvc_models_close(s->models);
    rmvpe_free(s->rmvpe);
    mel_free(s->mel);
    nn_device_close(s->device);
    nn_weights_free(s->weights);
    free(s->speech);
    free(s->spectrogram);
    free(s->salience);
    free(s->f0);
}

static bool is_good(rvc_status status, const rvc_error *error, nn_error *e) {
    if (status) nn_fail(e, (nn_code)status, "%s", error->text);
    return !status;
}

static bool prepare_gpu(bench_state *s, const job *j, nn_error *e) {
    rvc_error error = {0};
    rvc_model_paths paths = {.rmvpe = j->weights};
    rvc_setup setup = {.device = j->options->device,
                       .precision = bench_precision_name(j->options->precision),
                       .threads = j->options->threads};
    rvc_status status = rvc_models_open(&s->models, &paths, &setup, &error);
    if (!status) status = rvc_converter_new(&s->converter, s->models, &error);
    return is_good(status, &error, e);
}

static bool prepare(bench_state *s, const job *j, nn_error *e) {
    s->speech = bench_speech(j->seconds, MEL_RATE, &s->n);
    s->frames = mel_frames(s->n);
    s->spectrogram = malloc(s->frames * MEL_BANDS * sizeof(float));
    s->salience = malloc(s->frames * RMVPE_CLASSES * sizeof(float));
    s->f0 = malloc(s->frames * sizeof(float));
    if (!s->speech || !s->spectrogram || !s->salience || !s->f0)
        return nn_fail_memory(e, "the signal") == NN_OK;
    if (bench_open_device(&s->device, j->options, e)) return false;
    if (nn_device_is_gpu(s->device)) return prepare_gpu(s, j, e);
    return nn_weights_open(&s->weights, j->weights, e) == NN_OK && mel_new(&s->mel, e) == NN_OK &&
           rmvpe_new(&s->rmvpe, s->weights, s->device, e) == NN_OK;
}

static bool pass_gpu(bench_state *s, double *time, nn_error *e) {
    rvc_error error = {0};
    float *f0 = NULL;
    size_t count;
    time[0] = time[1] = bench_now();
    const rvc_status status = rvc_pitch(s->converter, s->speech, s->n, MEL_RATE, &f0, &count, &error);
    time[2] = time[3] = bench_now();
    free(f0);
    return is_good(status, &error, e);
}

/* One pass; time [4] at its start and after each part. */
static bool pass(bench_state *s, double *time, nn_error *e) {
    if (s->converter) return pass_gpu(s, time, e);
    time[0] = bench_now();
    if (mel_compute(s->mel, s->speech, s->n, 0, s->frames, s->spectrogram, e) != NN_OK) return false;
    time[1] = bench_now();
    if (rmvpe_salience(s->rmvpe, s->spectrogram, s->frames, s->salience, e) != NN_OK) return false;
    time[2] = bench_now();
    rmvpe_decode(s->salience, s->frames, RMVPE_THRESHOLD, s->f0);
    time[3] = bench_now();
    return true;
}

/* In a child process: one length. */
static bool run_length(const void *context, void *result) {
    const job *j = context;
    outcome *out = result;
    bench_state s = {0};
    nn_error e = {0};
    double part[PARTS][BENCH_MAX_RUNS], total[BENCH_MAX_RUNS], time[PARTS + 1];
    bool ok = prepare(&s, j, &e);
    double spent = 0;
    for (int i = -j->options->num_warmup; i < j->options->num_runs && spent < BENCH_PATIENCE && ok; i++) {
        ok = pass(&s, time, &e);
        for (int p = 0; p < PARTS && i >= 0; p++) part[p][i] = time[p + 1] - time[p];
        if (i >= 0) spent += total[i] = time[PARTS] - time[0];
        out->runs = i + 1;
    }
    if (ok) {
        snprintf(out->device, sizeof out->device, "%s", nn_device_name(s.device));
        for (int p = 0; p < PARTS; p++) out->part[p] = bench_times_of(part[p], out->runs).median;
        out->total = bench_times_of(total, out->runs);
        out->peak = bench_memory("VmHWM");
        out->device_peak = s.converter ? (double)rvc_converter_device_memory(s.converter) / 1048576.0 : 0;
    } else {
        fprintf(stderr, "benchmark_rmvpe: %s\n", e.text);
    }
    drop(&s);
    return ok;
}

static void print_row(double seconds, const outcome *r, bench_json *json) {
    double factor = r->total.median / seconds;
    printf("%6.4g s %9.4f %9.4f %9.4f %9.4f (%.4f-%.4f) %9.5f %9.0f %5d\n", seconds, r->part[0], r->part[1],
           r->part[2], r->total.median, r->total.min, r->total.max, factor, r->peak, r->runs);
    fflush(stdout);
    bench_json_row(json,
                   "{\"seconds\": %g, \"runs\": %d, \"mel\": %.5f, \"network\": %.5f, \"decode\": %.5f, "
                   "\"total\": %.5f, \"total_min\": %.5f, \"total_max\": %.5f, "
                   "\"real_time_factor\": %.6f, \"peak_mib\": %.1f, \"device_peak_mib\": %.1f}",
                   seconds, r->runs, r->part[0], r->part[1], r->part[2], r->total.median, r->total.min,
                   r->total.max, factor, r->peak, r->device_peak);
}

int main(int argc, char **argv) {
    bench_options o = {
        .seconds = {5, 30, 60, 180, 300}, .lengths = 5, .num_warmup = 1, .num_runs = 3, .models = "models"};
    bench_json json = {0};
    int status =
        bench_read_options(&o, "The pitch alone: spectrogram, network, decoding.",
                           "seconds num-warmup num-runs threads device precision models output ", argc, argv);
    if (status != BENCH_GO_ON) return status;
    bool ok = true;
    for (int i = 0; i < o.lengths && ok; i++) {
        job j = {.options = &o, .seconds = o.seconds[i]};
        outcome r;
        snprintf(j.weights, sizeof j.weights, "%s/rmvpe.npz", o.models);
        ok = bench_in_child(run_length, &j, &r, sizeof r);
        if (ok && i == 0) {
            ok = bench_json_open(&json, &o, "rmvpe", r.device);
            printf("rmvpe on %s; %s, %s; medians (and spread of the total), seconds\n"
                   "%8s %9s %9s %9s %25s %9s %9s %5s\n",
                   bench_machine(), r.device, bench_precision_name(o.precision), "audio", "mel", "network",
                   "decode", "total", "rtf", "peak MiB", "runs");
        }
        if (ok) print_row(o.seconds[i], &r, &json);
    }
    return bench_json_close(&json) && ok ? 0 : 1;
}
