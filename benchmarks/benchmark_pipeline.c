/* benchmark_pipeline.c - the whole way from samples to a converted voice, per component, for several lengths.
 *
 *   benchmark_pipeline --seconds 5,60 --num-warmup 1 --num-runs 3 --threads 0 --models DIR --voice FILE
 * --output FILE.json
 *
 * Compute is what rvc_convert spends on samples that are in memory: models are loaded and the machinery is
 * warm before the clock starts, files are neither read nor written. Real-time factor is compute over seconds
 * of audio: below 1 is faster than the recording. Peak memory is that of a process which does nothing else.
 */
#include "../rvc/rvc.h"
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum { RATE = 16000, PARTS = 8 };

static const char *const part_names[PARTS] = {"resample",  "mel",       "rmvpe", "hubert",
                                              "retrieval", "synthesis", "other", "total"};

typedef struct job {
    const bench_options *options;
    double seconds;
    char hubert[1024], rmvpe[1024], voice[1024];
} job;

typedef struct outcome {
    char device[128];
    double load, part[PARTS]; /* medians over the runs, seconds */
    double peak;              /* MiB */
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
    rvc_model_paths paths = {.voice = j->voice, .hubert = j->hubert, .rmvpe = j->rmvpe};
    rvc_setup setup = {.device = "cpu", .threads = j->options->threads};
    double run[PARTS][BENCH_MAX_RUNS];
    size_t frames;
    float *speech = bench_speech(j->seconds, RATE, &frames);
    bool ok = speech && rvc_models_open(&models, &paths, &setup, &error) == RVC_OK &&
              rvc_converter_new(&converter, models, &error) == RVC_OK &&
              measure(converter, speech, frames, j->options, run, &out->runs, &error) == RVC_OK;
    if (ok) {
        snprintf(out->device, sizeof out->device, "%s", rvc_converter_device(converter));
        out->load = rvc_models_load_seconds(models);
        for (int p = 0; p < PARTS; p++) out->part[p] = bench_median(run[p], out->runs);
        out->peak = bench_peak_megabytes();
    } else {
        fprintf(stderr, "benchmark_pipeline: %s\n", speech ? error.text : "out of memory");
    }
    rvc_converter_free(converter);
    rvc_models_close(models);
    free(speech);
    return ok;
}

static void print_row(double seconds, const outcome *r, bench_json *json) {
    double total = r->part[PARTS - 1];
    printf("%6.4g s", seconds);
    for (int p = 0; p < PARTS - 1; p++) printf(" %9.3f", r->part[p]);
    printf("  compute %8.3f s  real-time factor %.3f  peak %5.0f MiB  (load %.2f s, %d runs)\n", total,
           total / seconds, r->peak, r->load, r->runs);
    bench_json_row(
        json,
        "{\"seconds\": %g, \"runs\": %d, \"load\": %.4f, \"peak_mib\": %.1f, \"real_time_factor\": %.5f",
        seconds, r->runs, r->load, r->peak, total / seconds);
    for (int p = 0; p < PARTS && json->file; p++)
        fprintf(json->file, ", \"%s\": %.5f", part_names[p], r->part[p]);
    if (json->file) fputc('}', json->file);
    fflush(stdout);
}

int main(int argc, char **argv) {
    bench_options o = {.seconds = {5, 60}, .lengths = 2, .num_warmup = 1, .num_runs = 3, .models = "models"};
    bench_json json = {0};
    if (!bench_read_options(&o, "seconds num-warmup num-runs threads models voice output ", argc, argv))
        return 2;
    bool ok = true;
    for (int i = 0; i < o.lengths && ok; i++) {
        job j = {.options = &o, .seconds = o.seconds[i]};
        outcome r;
        snprintf(j.hubert, sizeof j.hubert, "%s/hubert_base.npz", o.models);
        snprintf(j.rmvpe, sizeof j.rmvpe, "%s/rmvpe.npz", o.models);
        if (o.voice)
            snprintf(j.voice, sizeof j.voice, "%s", o.voice);
        else
            snprintf(j.voice, sizeof j.voice, "%s/rvc_v2_40k.npz", o.models);
        ok = bench_in_child(run_length, &j, &r, sizeof r);
        if (ok && i == 0) {
            ok = bench_json_open(&json, &o, "pipeline", r.device);
            printf("pipeline on %s, %s; medians, seconds\n%8s", bench_machine(), r.device, "audio");
            for (int p = 0; p < PARTS - 1; p++) printf(" %9s", part_names[p]);
            printf("\n");
        }
        if (ok) print_row(o.seconds[i], &r, &json);
    }
    return bench_json_close(&json) && ok ? 0 : 1;
}
