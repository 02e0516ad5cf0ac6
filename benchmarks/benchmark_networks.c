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
 * open, plans made and inputs in memory before the first line is read. The synthesizer is the prior and then
 * the generator over every frame; what a conversion may skip is not skipped here, as the others cannot skip
 * it.
 *
 * Inputs, channels innermost: audio [n], mel [T][128] (T a multiple of 32), phone [T][width], noise
 * [T][inter] times its scale, speaker [1], and for voices with f0 pitch [T] and source [T*upp]. */
#include "../mel/mel.h"
#include "../nn/npz.h"
#include "../nn/nn.h"
#include "../rmvpe/rmvpe.h"
#include "../rvc/config.h"
#include "../rvc/hubert.h"
#include "../rvc/rvc.h"
#include "../rvc/synthesizer.h"
#include "bench.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NETWORKS = 3, INPUTS = 8 };

typedef struct options {
    const char *threads, *inputs, *hubert, *rmvpe, *voice;
} options;

/* One step of a network: a plan, what it is fed in every run, and what it gives. */
typedef struct step {
    nn_plan *plan;
    struct input {
        const char *name;
        void *data; /* owned */
    } input[INPUTS];
    int inputs;
    const char *output;
    float *result; /* [of the output's shape], owned */
} step;

/* A network that is ready to run. The synthesizer has two steps: z goes from the first into the second. */
typedef struct network {
    const char *name;
    nn_weights *weights;
    step step[2];
    int steps;
} network;

typedef struct race {
    nn_device *device;
    npz *inputs;
    network network[NETWORKS];
    nn_error e;
} race;

/* ---- inputs ------------------------------------------------------------------------------------------ */

/* Elements of a plan's input or output; 0 where it has none of that name. */
static size_t elements(const nn_plan *p, const char *name) {
    nn_shape s = nn_plan_shape(p, name);
    return (size_t)s.h * (size_t)s.w * (size_t)s.c;
}

/* Elements of input file's array `name`; 0, and an error, where there is none. */
static size_t input_count(race *r, const char *name) {
    const npz_array *a = npz_find(r->inputs, name);
    if (!a || a->count < 1 || a->count > INT32_MAX / 2) {
        nn_fail(&r->e, NN_ERROR_FORMAT, "%s: no array \"%s\", or of no usable length", npz_path(r->inputs),
                name);
        return 0;
    }
    return (size_t)a->count;
}

/* Array `name` for the plan's input of that name, if it has one. limit > 0: int32 numbers below it. */
static void feed(race *r, step *t, const char *name, int limit) {
    size_t want = elements(t->plan, name);
    if (r->e.code || want == 0) return;
    const npz_array *a = npz_find(r->inputs, name);
    if (!a || a->count != want || (limit > 0 && a->dtype != NPZ_I32)) {
        nn_fail(&r->e, NN_ERROR_FORMAT, "%s: array \"%s\" should be %s of %zu elements", npz_path(r->inputs),
                name, limit > 0 ? "int32" : "float32", want);
        return;
    }
    void *data = malloc(want * sizeof(float));
    if (!data) {
        nn_fail_memory(&r->e, name);
        return;
    }
    t->input[t->inputs++] = (struct input){name, data};
    if (limit > 0 ? npz_read(r->inputs, a, data, &r->e) : npz_read_f32(r->inputs, a, data, &r->e)) return;
    for (size_t i = 0; i < want && limit > 0; i++) {
        int32_t index = ((int32_t *)data)[i];
        if (index < 0 || index >= limit)
            nn_fail(&r->e, NN_ERROR_FORMAT, "%s: \"%s\" holds %d, which is not in 0..%d", npz_path(r->inputs),
                    name, index, limit - 1);
    }
}

/* ---- networks ---------------------------------------------------------------------------------------- */

/* The next step of `n`: plans g, which is this function's. NULL, and an error, where that fails. */
static step *add_step(race *r, network *n, nn_graph *g, const char *output) {
    step *t = &n->step[n->steps];
    if (nn_plan_new(&t->plan, g, r->device, &r->e)) return NULL;
    n->steps++;
    t->output = output;
    t->result = malloc(elements(t->plan, output) * sizeof *t->result + 1);
    if (!t->result) nn_fail_memory(&r->e, output);
    return t->result ? t : NULL;
}

static void open_hubert(race *r, network *n, const char *path) {
    size_t samples = input_count(r, "audio");
    if (!samples || nn_weights_open(&n->weights, path, &r->e)) return;
    step *t = add_step(r, n, rvc_hubert_graph(n->weights, (int)samples, RVC_HUBERT_V2), "v2");
    if (t) feed(r, t, "audio", 0);
}

static void open_rmvpe(race *r, network *n, const char *path) {
    size_t count = input_count(r, "mel");
    if (!count || nn_weights_open(&n->weights, path, &r->e)) return;
    step *t = add_step(r, n, rmvpe_graph(n->weights, (int)(count / MEL_BANDS)), "salience");
    if (t) feed(r, t, "mel", 0);
}

static void open_synthesizer(race *r, network *n, const char *path) {
    rvc_voice_config c;
    size_t count = input_count(r, "phone");
    if (!count || nn_weights_open(&n->weights, path, &r->e) || rvc_voice_config_read(&c, n->weights, &r->e))
        return;
    int frames = (int)(count / (size_t)c.feature_width);
    step *prior = add_step(r, n, rvc_prior_graph(n->weights, &c, frames, 0), "z");
    step *generator = prior ? add_step(r, n, rvc_generator_graph(n->weights, &c, frames, 0), "audio") : NULL;
    if (!generator) return;
    feed(r, prior, "phone", 0);
    feed(r, prior, "pitch", 256);
    feed(r, prior, "noise", 0);
    feed(r, prior, "speaker", c.speakers);
    feed(r, generator, "speaker", c.speakers);
    feed(r, generator, "source", 0);
}

/* Inputs in, networks, outputs out, as every competitor's run. */
static nn_code run_once(network *n, nn_error *e) {
    nn_code code = NN_OK;
    for (int i = 0; i < n->steps && !code; i++) {
        step *t = &n->step[i];
        for (int k = 0; k < t->inputs; k++) nn_plan_write(t->plan, t->input[k].name, t->input[k].data);
        if (i > 0) nn_plan_write(t->plan, t[-1].output, t[-1].result);
        code = nn_plan_run(t->plan, e);
        if (!code) nn_plan_read(t->plan, t->output, t->result);
    }
    return code;
}

static nn_code write_output(const network *n, const char *path, nn_error *e) {
    const step *t = &n->step[n->steps - 1];
    size_t count = elements(t->plan, t->output);
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(t->result, sizeof *t->result, count, file) == count;
    if (file && fclose(file) != 0) ok = false;
    return ok ? NN_OK : nn_fail(e, NN_ERROR_FILE, "%s: cannot be written: %s", path, strerror(errno));
}

static void close_network(network *n) {
    for (int i = 0; i < n->steps; i++) {
        for (int k = 0; k < n->step[i].inputs; k++) free(n->step[i].input[k].data);
        free(n->step[i].result);
        nn_plan_free(n->step[i].plan);
    }
    nn_weights_free(n->weights);
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
        nn_code code = run_once(n, &r->e);
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
    race r = {.network = {{.name = "hubert"}, {.name = "rmvpe"}, {.name = "synthesizer"}}};
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
