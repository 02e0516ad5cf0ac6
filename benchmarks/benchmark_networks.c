/* benchmark_networks.c - our side of a race: runs one network at a time, whenever it is told to.
 *
 *   benchmark_networks --threads N --inputs FILE.npz --hubert FILE --rmvpe FILE --voice FILE
 *
 * benchmarks/peers/bench.py starts one such program per competitor and has them run in turn, so that all of
 * them meet the same noise of the machine. First comes one line of JSON that says who this is. Then every
 * line of standard input is obeyed: "NETWORK" runs hubert, rmvpe or synthesizer once, "NETWORK PATH" also
 * writes its output there (raw float32); the answer is the run's seconds on a line of its own.
 *
 * Invariant: a timed run is the whole work of the network on the file's arrays and nothing else. Models are
 * open, plans made and inputs in memory before the first line is read. Each network runs as a conversion runs it
 * (rvc_hubert_run, rmvpe_salience, the prior's plan and rvc_generator_run), but over every frame: what a
 * conversion may skip is not skipped here, as the others cannot skip it.
 *
 * Inputs, channels innermost: audio [n], mel [T][128] (T a multiple of 32), phone [T][width], noise
 * [T][inter] times its scale, speaker [1], and for voices with f0 pitch [T] and source [T*upp]. */
#include "../mel/mel.h"
#include "../nn/npz.h"
#include "../nn/nn.h"
#include "../rmvpe/rmvpe.h"
#include "../rvc/config.h"
#include "../rvc/generator.h"
#include "../rvc/hubert.h"
#include "../rvc/rvc.h"
#include "../rvc/synthesizer.h"
#include "bench.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NETWORKS = 3 };

typedef struct options {
    const char *threads, *inputs, *hubert, *rmvpe, *voice;
} options;

typedef struct race race;

/* A network that is ready to run: its runner, inputs and output. */
typedef struct network {
    const char *name;
    nn_code (*run)(struct network *n, nn_error *e);
    nn_weights *weights;
    rvc_hubert *hubert;
    rmvpe *rmvpe;
    rvc_voice_config config;
    nn_plan *prior;
    rvc_generator *generator;
    float *x, *noise, *source, *z; /* audio, mel or phone; the synthesizer's other inputs */
    int32_t *pitch, *speaker;
    size_t count, frames; /* of x; of the synthesizer */
    float *out;           /* [out_count] */
    size_t out_count;
} network;

struct race {
    nn_device *device;
    npz *inputs;
    network network[NETWORKS];
    nn_error e;
};

/* ---- inputs ------------------------------------------------------------------------------------------ */

/* Array `name` of `want` elements (0: as many as there are), as float32 or, limit > 0, int32 below it; malloc'd. NULL, and an
 * error, where that fails. */
static void *input(race *r, const char *name, size_t want, size_t *count, int limit) {
    if (r->e.code) return NULL;
    const npz_array *a = npz_find(r->inputs, name);
    if (!a || a->count < 1 || (want && a->count != want) || (limit > 0 && a->dtype != NPZ_I32)) {
        nn_fail(&r->e, NN_ERROR_FORMAT, "%s: array \"%s\" should be %s of %zu elements", npz_path(r->inputs),
                name, limit > 0 ? "int32" : "float32", want);
        return NULL;
    }
    void *data = malloc((size_t)a->count * sizeof(float));
    if (!data) {
        nn_fail_memory(&r->e, name);
        return NULL;
    }
    if (limit > 0)
        npz_read(r->inputs, a, data, &r->e);
    else
        npz_read_f32(r->inputs, a, data, &r->e);
    for (size_t i = 0; i < a->count && limit > 0 && !r->e.code; i++)
        if (((int32_t *)data)[i] < 0 || ((int32_t *)data)[i] >= limit)
            nn_fail(&r->e, NN_ERROR_FORMAT, "%s: \"%s\" holds a number that is not in 0..%d",
                    npz_path(r->inputs), name, limit - 1);
    if (count) *count = (size_t)a->count;
    return data;
}

static void output_room(race *r, network *n, size_t count) {
    n->out_count = count;
    n->out = malloc(count * sizeof *n->out + 1);
    if (!n->out) nn_fail_memory(&r->e, n->name);
}

/* ---- networks ---------------------------------------------------------------------------------------- */

static nn_code run_hubert(network *n, nn_error *e) {
    return rvc_hubert_run(n->hubert, n->x, n->count, RVC_HUBERT_V2, n->out, e);
}

static nn_code run_rmvpe(network *n, nn_error *e) {
    return rmvpe_salience(n->rmvpe, n->x, n->count / MEL_BANDS, n->out, e);
}

static nn_code run_synthesizer(network *n, nn_error *e) {
    nn_plan_write(n->prior, "phone", n->x);
    if (n->pitch) nn_plan_write(n->prior, "pitch", n->pitch);
    nn_plan_write(n->prior, "noise", n->noise);
    nn_plan_write(n->prior, "speaker", n->speaker);
    nn_code code = nn_plan_run(n->prior, e);
    if (code) return code;
    nn_plan_read(n->prior, "z", n->z);
    return rvc_generator_run(n->generator, n->z, n->source, n->frames, *n->speaker, 0, n->frames, n->out,
                             NULL, NULL, e);
}

static void open_hubert(race *r, network *n, const char *path) {
    n->x = input(r, "audio", 0, &n->count, 0);
    if (r->e.code || nn_weights_open(&n->weights, path, &r->e) ||
        rvc_hubert_new(&n->hubert, n->weights, r->device, &r->e))
        return;
    output_room(r, n, rvc_hubert_frames(n->count) * (size_t)rvc_hubert_width(n->weights, 2));
}

static void open_rmvpe(race *r, network *n, const char *path) {
    n->x = input(r, "mel", 0, &n->count, 0);
    if (r->e.code || nn_weights_open(&n->weights, path, &r->e) ||
        rmvpe_new(&n->rmvpe, n->weights, r->device, &r->e))
        return;
    output_room(r, n, n->count / MEL_BANDS * RMVPE_CLASSES);
}

static void open_synthesizer(race *r, network *n, const char *path) {
    rvc_voice_config *c = &n->config;
    n->x = input(r, "phone", 0, &n->count, 0);
    if (r->e.code || nn_weights_open(&n->weights, path, &r->e) || rvc_voice_config_read(c, n->weights, &r->e))
        return;
    size_t frames = n->frames = n->count / (size_t)c->feature_width, inter = (size_t)c->inter;
    n->noise = input(r, "noise", frames * inter, NULL, 0);
    n->speaker = input(r, "speaker", 1, NULL, c->speakers);
    if (c->f0) n->pitch = input(r, "pitch", frames, NULL, 256);
    if (c->f0) n->source = input(r, "source", frames * (size_t)c->upp, NULL, 0);
    n->z = malloc(frames * inter * sizeof *n->z + 1);
    if (!n->z) nn_fail_memory(&r->e, n->name);
    if (r->e.code ||
        nn_plan_new(&n->prior, rvc_prior_graph(n->weights, c, (int)frames, 0), r->device, &r->e) ||
        rvc_generator_new(&n->generator, n->weights, c, r->device, &r->e))
        return;
    output_room(r, n, frames * (size_t)c->upp);
}

static nn_code write_output(const network *n, const char *path, nn_error *e) {
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(n->out, sizeof *n->out, n->out_count, file) == n->out_count;
    if (file && fclose(file) != 0) ok = false;
    return ok ? NN_OK : nn_fail(e, NN_ERROR_FILE, "%s: cannot be written: %s", path, strerror(errno));
}

static void close_network(network *n) {
    rvc_hubert_free(n->hubert);
    rmvpe_free(n->rmvpe);
    nn_plan_free(n->prior);
    rvc_generator_free(n->generator);
    nn_weights_free(n->weights);
    free(n->x);
    free(n->noise);
    free(n->source);
    free(n->z);
    free(n->pitch);
    free(n->speaker);
    free(n->out);
}

/* ---- the race ---------------------------------------------------------------------------------------- */

/* "NETWORK" or "NETWORK PATH". */
static nn_code obey(race *r, char *line) {
    line[strcspn(line, "\r\n")] = '\0';
    char *space = strchr(line, ' '), *path = space ? space + 1 : NULL;
    if (space) *space = '\0';
    for (int i = 0; i < NETWORKS; i++) {
        network *n = &r->network[i];
        if (strcmp(line, n->name) != 0) continue;
        double start = bench_now();
        nn_code code = n->run(n, &r->e);
        double seconds = bench_now() - start;
        if (!code && path) code = write_output(n, path, &r->e);
        if (!code) printf("%.6f\n", seconds);
        return code;
    }
    return nn_fail(&r->e, NN_ERROR_ARGUMENT, "no network \"%s\": hubert, rmvpe or synthesizer", line);
}

static bool read_options(options *o, int argc, char **argv) {
    const struct {
        const char *name, **value;
    } known[] = {{"--threads", &o->threads},
                 {"--inputs", &o->inputs},
                 {"--hubert", &o->hubert},
                 {"--rmvpe", &o->rmvpe},
                 {"--voice", &o->voice}};
    enum { KNOWN = sizeof known / sizeof *known };
    for (int i = 1; i + 1 < argc; i += 2)
        for (int k = 0; k < KNOWN; k++)
            if (strcmp(argv[i], known[k].name) == 0) *known[k].value = argv[i + 1];
    for (int k = 0; k < KNOWN; k++)
        if (!*known[k].value) {
            fprintf(stderr,
                    "benchmark_networks: %s VALUE is missing; it takes --threads N --inputs FILE.npz "
                    "--hubert FILE --rmvpe FILE --voice FILE\n",
                    known[k].name);
            return false;
        }
    return true;
}

int main(int argc, char **argv) {
    options o = {0};
    race r = {.network = {{.name = "hubert", .run = run_hubert},
                          {.name = "rmvpe", .run = run_rmvpe},
                          {.name = "synthesizer", .run = run_synthesizer}}};
    char line[4096];
    if (!read_options(&o, argc, argv)) return 2;
    if (!nn_device_open(&r.device, "cpu", atoi(o.threads), &r.e) && !npz_open(&r.inputs, o.inputs, &r.e)) {
        open_hubert(&r, &r.network[0], o.hubert);
        open_rmvpe(&r, &r.network[1], o.rmvpe);
        open_synthesizer(&r, &r.network[2], o.voice);
    }
    if (!r.e.code)
        printf("{\"name\": \"rvc\", \"version\": \"%s\", \"device\": \"%s\", \"threads\": %d}\n", RVC_VERSION,
               nn_device_name(r.device), nn_device_threads(r.device));
    fflush(stdout);
    while (!r.e.code && fgets(line, sizeof line, stdin)) {
        obey(&r, line);
        fflush(stdout);
    }
    if (r.e.code) fprintf(stderr, "benchmark_networks: %s\n", r.e.text);
    for (int i = 0; i < NETWORKS; i++) close_network(&r.network[i]);
    npz_close(r.inputs);
    nn_device_close(r.device);
    return r.e.code ? 1 : 0;
}
