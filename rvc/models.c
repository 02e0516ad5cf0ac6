/* models.c - opening the networks, and finding everything that is wrong with them before any work is done.
 *
 * Invariant: after rvc_models_open every tensor the networks need has been found, checked for shape and
 * finite values, and packed for the device, which has been found able to do what was asked. */
#include "models.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../mel/mel.h"
#include "../nn/packed.h"
#include "../rmvpe/rmvpe.h"
#include "checkpoint.h"
#include "hubert.h"
#include "pipeline.h"
#include "synthesizer.h"

_Static_assert((int)NN_ERROR_FILE == (int)RVC_ERROR_FILE && (int)NN_ERROR_FORMAT == (int)RVC_ERROR_FORMAT &&
                   (int)NN_ERROR_MODEL == (int)RVC_ERROR_MODEL &&
                   (int)NN_ERROR_MEMORY == (int)RVC_ERROR_MEMORY &&
                   (int)NN_ERROR_DEVICE == (int)RVC_ERROR_DEVICE &&
                   (int)NN_ERROR_ARGUMENT == (int)RVC_ERROR_ARGUMENT,
               "a code inside is the same status outside");
_Static_assert(sizeof((rvc_error *)0)->text == sizeof((nn_error *)0)->text, "messages have room outside too");

rvc_status rvc_report(rvc_error *error, const nn_error *e) {
    if (error && !error->status) {
        error->status = (rvc_status)e->code;
        memcpy(error->text, e->text, sizeof error->text);
    }
    return (rvc_status)e->code;
}

double rvc_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- graphs ---- */

static nn_graph *extractor_graph(const rvc_models *m, int n) {
    return rvc_hubert_extractor_graph(m->hubert, n);
}

static nn_graph *encoder_graph(const rvc_models *m, int n) {
    unsigned layer = m->config.version == 1 ? RVC_HUBERT_V1 : RVC_HUBERT_V2;
    return rvc_hubert_encoder_graph(m->hubert, (int)rvc_hubert_frames((size_t)n), layer);
}

static nn_graph *prior_graph(const rvc_models *m, int n) {
    return rvc_prior_graph(m->voice, &m->config, n, 0);
}
static nn_graph *front_graph(const rvc_models *m, int n) {
    return rvc_generator_front_graph(m->voice, &m->config, n);
}
static nn_graph *back_graph(const rvc_models *m, int n) {
    return rvc_generator_back_graph(m->voice, &m->config, n);
}
static nn_graph *pitch_graph(const rvc_models *m, int n) {
    return rmvpe_graph(m->rmvpe, n);
}

/* A GPU takes HuBERT and the generator in one piece each. */
static nn_graph *hubert_graph(const rvc_models *m, int n) {
    return rvc_hubert_graph(m->hubert, n, m->config.version == 1 ? RVC_HUBERT_V1 : RVC_HUBERT_V2);
}
static nn_graph *generator_graph(const rvc_models *m, int n) {
    return rvc_generator_graph(m->voice, &m->config, n, 0);
}

nn_code rvc_plan_prior(const rvc_models *m, nn_device *d, int frames, nn_plan **out, nn_error *e) {
    return nn_plan_new(out, prior_graph(m, frames), d, e);
}

nn_code rvc_plan_generator(const rvc_models *m, nn_device *d, int frames, nn_plan **out, nn_error *e) {
    return nn_plan_new(out, generator_graph(m, frames), d, e);
}

/* ---- checks ---- */

static nn_code check_setup(const rvc_setup *s, nn_error *e) {
    const char *precision = s->precision ? s->precision : "f32";
    nn_precision parsed;
    if (!nn_precision_parse(precision, &parsed))
        return nn_fail(e, NN_ERROR_ARGUMENT, "there is no precision \"%.64s\"; there are f32, f16 and bf16",
                       precision);
    if (s->threads < 0 || s->threads > 1024)
        return nn_fail(e, NN_ERROR_ARGUMENT, "%d threads: expected 0 (one per core) to 1024", s->threads);
    return NN_OK;
}

/* What was asked for is there and can do it. A GPU stays open: converters share the weights on it. */
static nn_code choose_device(rvc_models *m, const rvc_setup *s, nn_error *e) {
    m->threads = s->threads;
    nn_precision_parse(s->precision ? s->precision : "f32", &m->precision);
    nn_code code =
        nn_device_open_precise(&m->gpu, s->device ? s->device : "auto", m->precision, m->threads, e);
    if (!code && !nn_device_is_gpu(m->gpu)) {
        nn_device_close(m->gpu);
        m->gpu = NULL;
    }
    return code;
}

nn_code rvc_models_device(const rvc_models *m, int threads, nn_device **out, nn_error *e) {
    return m->gpu ? nn_device_open_beside(out, m->gpu, m->precision, e)
                  : nn_device_open_precise(out, "cpu", m->precision, threads, e);
}

static nn_code check_voice(const rvc_models *m, const rvc_model_paths *p, nn_error *e) {
    const rvc_voice_config *c = &m->config;
    int width = rvc_hubert_width(m->hubert, c->version), other = rvc_hubert_width(m->hubert, 3 - c->version);
    if (width == 0)
        return nn_fail(e, NN_ERROR_MODEL,
                       "%s: tensor \"final_proj.weight\" is missing, which voices of version v1 need; take "
                       "hubert_base.pt or a ContentVec that has it",
                       p->hubert);
    if (width != c->feature_width)
        return nn_fail(e, NN_ERROR_MODEL,
                       "%s: config.json says version v%d, whose features have %d channels in %s, but tensor "
                       "\"enc_p.emb_phone.weight\" takes %d%s",
                       p->voice, c->version, width, p->hubert, c->feature_width,
                       other == c->feature_width ? ": the version must be the other one" : "");
    if (c->f0 && !m->rmvpe)
        return nn_fail(e, NN_ERROR_ARGUMENT,
                       "%s: this voice takes pitch, so an RMVPE checkpoint (rmvpe.npz) is needed too",
                       p->voice);
    return NN_OK;
}

typedef nn_graph *graph_function(const rvc_models *m, int length);

/* One checkpoint's share of the loading, on a thread of its own. */
typedef struct loading {
    const rvc_models *models;
    nn_weights *weights;      /* NULL: nothing to do */
    graph_function *graph[4]; /* until NULL */
    int length;
    nn_code code;
    nn_error error;
    pthread_t thread;
} loading;

/* Held by who packs for the CPU: beside the packed form, packing needs half as much again, and until that is saved and mapped
 * all of it is in memory. One checkpoint after another, that stays below what a conversion needs. For a GPU, what is packed
 * leaves this memory piece by piece. */
static pthread_mutex_t packers = PTHREAD_MUTEX_INITIALIZER;

/* The runner too: it reads the first layer's normalisation itself, outside any graph. */
static nn_code check_runner(const loading *l, nn_device *d, nn_error *e) {
    rvc_hubert *h = NULL;
    if (l->weights != l->models->hubert) return NN_OK;
    const nn_code code = rvc_hubert_new(&h, l->weights, d, e);
    rvc_hubert_free(h);
    return code;
}

/* Packs the weights of every network, so that each of them is found and checked; or maps what a run before this one
 * packed. */
static void *load(void *argument) {
    loading *l = argument;
    nn_device *d = NULL;
    l->code = rvc_models_device(l->models, 1, &d, &l->error);
    const char *layout = l->code ? NULL : nn_device_layout(d);
    const bool packing = layout && !nn_packed_restore(l->weights, layout);
    if (packing) pthread_mutex_lock(&packers);
    if (!l->code) l->code = check_runner(l, d, &l->error);
    for (int i = 0; l->graph[i] && !l->code; i++)
        l->code = nn_graph_pack(l->graph[i](l->models, l->length), d, &l->error);
    if (!l->code && layout) nn_packed_save(l->weights, layout);
    if (packing) pthread_mutex_unlock(&packers);
    nn_device_close(d);
    return NULL;
}

/* For a GPU as if for a chunk of some seconds, because how weights are laid out there depends on how many rows there are; for
 * the CPU the shortest there is. */
static nn_code prepare(const rvc_models *m, nn_error *e) {
    enum { SECONDS = 6 };
    bool pitch = m->rmvpe && (m->config.f0 || !m->voice); /* a voice without f0 leaves RMVPE where it is */
    const int multiple = pitch ? rmvpe_frame_multiple(m->rmvpe) : 1;
    const int rows = (SECONDS * RVC_FRAMES + multiple - 1) / multiple * multiple;
    loading part[] = {
        {.weights = m->voice,
         .graph = {prior_graph, m->gpu ? generator_graph : front_graph, m->gpu ? NULL : back_graph},
         .length = m->gpu ? SECONDS * RVC_FRAMES : 2},
        {.weights = m->hubert,
         .graph = {m->gpu ? hubert_graph : extractor_graph, m->gpu ? NULL : encoder_graph},
         .length = m->gpu ? SECONDS * RVC_RATE : 720},
        {.weights = pitch ? m->rmvpe : NULL, .graph = {pitch_graph}, .length = m->gpu ? rows : multiple},
    };
    enum { PARTS = sizeof part / sizeof *part };
    bool started[PARTS] = {false};
    for (int i = 0; i < PARTS; i++) {
        part[i].models = m;
        if (part[i].weights) started[i] = pthread_create(&part[i].thread, NULL, load, &part[i]) == 0;
        if (part[i].weights && !started[i]) load(&part[i]);
    }
    nn_code code = NN_OK;
    for (int i = 0; i < PARTS; i++) {
        if (started[i]) pthread_join(part[i].thread, NULL);
        if (part[i].code && !code) code = nn_fail(e, part[i].code, "%s", part[i].error.text);
    }
    return code;
}

/* ---- opening ---- */

/* One file, or the device, opened on a thread of its own: drivers take their time, and so do archives of many tensors. */
typedef struct opening {
    nn_code (*open)(struct opening *o, nn_error *e);
    rvc_models *models;
    const rvc_setup *setup; /* of the device */
    nn_weights **weights;   /* of a file */
    const char *path;
    rvc_kind kind;
    nn_code code;
    nn_error error;
    pthread_t thread;
    bool started;
} opening;

static nn_code open_device(opening *o, nn_error *e) {
    return choose_device(o->models, o->setup, e);
}
static nn_code open_weights(opening *o, nn_error *e) {
    return rvc_weights_open(o->weights, o->path, o->kind, e);
}

static void *open_one(void *argument) {
    opening *o = argument;
    o->code = o->open(o, &o->error);
    return NULL;
}

/* All of them; of several that fail, the first is told. */
static nn_code open_together(opening *o, int count, nn_error *e) {
    nn_code code = NN_OK;
    for (int i = 1; i < count; i++) o[i].started = pthread_create(&o[i].thread, NULL, open_one, &o[i]) == 0;
    for (int i = 0; i < count; i++)
        if (!o[i].started) open_one(&o[i]);
    for (int i = 0; i < count; i++) {
        if (o[i].started) pthread_join(o[i].thread, NULL);
        if (o[i].code && !code) code = nn_fail(e, o[i].code, "%s", o[i].error.text);
    }
    return code;
}

static nn_code open_all(rvc_models *m, const rvc_model_paths *p, const rvc_setup *s, nn_error *e) {
    if (!p->voice && !p->rmvpe)
        return nn_fail(e, NN_ERROR_ARGUMENT, "neither a voice nor an RMVPE checkpoint is given");
    if (p->voice && !p->hubert)
        return nn_fail(e, NN_ERROR_ARGUMENT,
                       "%s: a voice needs a HuBERT checkpoint (hubert_base.npz) beside it", p->voice);
    opening o[4] = {{.open = open_device, .setup = s}};
    int count = 1;
    if (p->voice) {
        o[count++] =
            (opening){.open = open_weights, .weights = &m->voice, .path = p->voice, .kind = RVC_KIND_VOICE};
        o[count++] = (opening){
            .open = open_weights, .weights = &m->hubert, .path = p->hubert, .kind = RVC_KIND_HUBERT};
    }
    if (p->rmvpe)
        o[count++] =
            (opening){.open = open_weights, .weights = &m->rmvpe, .path = p->rmvpe, .kind = RVC_KIND_RMVPE};
    for (int i = 0; i < count; i++) o[i].models = m;
    nn_code code = open_together(o, count, e);
    if (!code && p->voice) code = rvc_voice_config_read(&m->config, m->voice, e);
    if (!code && p->rmvpe) code = mel_weights(&m->mel, e);
    if (!code && p->voice) code = check_voice(m, p, e);
    if (!code && p->voice && p->index) {
        code = rvc_index_open(&m->index, p->index, e);
        if (!code) code = rvc_index_check(m->index, m->config.feature_width, e);
    }
    return code ? code : prepare(m, e);
}

rvc_status rvc_models_open(rvc_models **out, const rvc_model_paths *paths, const rvc_setup *setup,
                           rvc_error *error) {
    static const rvc_setup defaults = {0};
    nn_error e = {0};
    double start = rvc_seconds();
    *out = NULL;
    if (!setup) setup = &defaults;
    rvc_models *m = calloc(1, sizeof *m);
    nn_code code = m ? check_setup(setup, &e) : nn_fail_memory(&e, "the models");
    if (!code) code = open_all(m, paths, setup, &e);
    if (code) {
        rvc_models_close(m);
        return rvc_report(error, &e);
    }
    m->load_seconds = rvc_seconds() - start;
    *out = m;
    return RVC_OK;
}

void rvc_models_close(rvc_models *models) {
    if (!models) return;
    rvc_index_close(models->index);
    nn_weights_free(models->voice);
    nn_weights_free(models->hubert);
    nn_weights_free(models->rmvpe);
    nn_weights_free(models->mel);
    nn_device_close(models->gpu);
    free(models);
}

rvc_model_info rvc_models_info(const rvc_models *models) {
    const rvc_voice_config *c = &models->config;
    const char *wish = getenv("RVC_CONVERTERS");
    const int wanted = wish ? atoi(wish) : 0, abreast = models->gpu ? nn_device_abreast(models->gpu) : 1;
    return (rvc_model_info){.version = c->version,
                            .has_f0 = c->f0,
                            .sample_rate = c->rate,
                            .speakers = c->speakers,
                            .feature_width = c->feature_width,
                            .index_vectors = models->index ? rvc_index_vectors(models->index) : 0,
                            .converters = wanted > 0 ? wanted : abreast};
}

double rvc_models_load_seconds(const rvc_models *models) {
    return models->load_seconds;
}
