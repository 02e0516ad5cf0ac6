/* segment.c - one chunk of the signal becomes one piece of the new voice.
 *
 *   samples - HuBERT -> features - retrieval -> each twice -> protect -+
 *   f0 -------------- coarse pitch ------------------------------------+- prior -> z
 *   f0 -------------- sine source ------------------------------- generator <---- z
 *                                                                   |
 *                                                                 audio, kept frames only
 *
 * The prior attends over all frames of the chunk. The generator sees `reach` frames to each side and nothing
 * else, so it runs over the kept frames in tiles, each with that much of its neighbours:
 *
 *   z        |..........|=====kept=====================|..........|
 *   tile 0        |reach|====core=====|reach|
 *   tile 1                      |reach|====core=====|reach|
 *   tile 2                         |   shifted back   ==core|reach|
 *
 * Invariant: every kept sample is the one that running over the whole chunk would give; all tiles are equally
 * long and share one plan, whose memory does not depend on the chunk. */
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "hubert.h"
#include "signal.h"
#include "synthesizer.h"

/* Frames in a tile's core, at most; core lengths are multiples of TILE_STEP, so that few plans serve files of
 * all lengths. */
enum { TILE = 600, TILE_STEP = 8 };

/* Streams of random numbers. */
enum { LATENT, SOURCE };

typedef struct buffers {
    float *features;     /* [feature frames][width] from HuBERT, then retrieved */
    float *own;          /* the same before retrieval, where protect asks for it */
    float *phone;        /* [frames][width] */
    float *noise;        /* [frames][inter] */
    int32_t *coarse;     /* [frames] */
    float *z;            /* [frames][inter] */
    float *source;       /* [frames*upp] */
    float *source_noise; /* [frames*upp] */
    float *tile;         /* [tile frames*upp] */
} buffers;

static void buffers_free(buffers *b) {
    free(b->features);
    free(b->own);
    free(b->phone);
    free(b->noise);
    free(b->coarse);
    free(b->z);
    free(b->source);
    free(b->source_noise);
    free(b->tile);
}

static float *floats(size_t n, nn_error *e) {
    float *p = malloc((n ? n : 1) * sizeof *p);
    if (!p) nn_fail_memory(e, "a chunk");
    return p;
}

/* ---- features ---- */

static nn_code run_hubert(rvc_job *job, const rvc_segment *s, float *features) {
    rvc_converter *c = job->converter;
    nn_plan *plan;
    nn_code code = nn_plan_cache_get(c->hubert, (int64_t[2]){(int64_t)s->count, 0}, &plan, job->e);
    if (code) return code;
    nn_plan_write(plan, "audio", s->samples);
    code = nn_plan_run(plan, job->e);
    if (!code) nn_plan_read(plan, c->models->config.version == 1 ? "v1" : "v2", features);
    return code;
}

/* Every feature twice, and where there is no pitch, `protect` of the retrieved and the rest of the speaker's
 * own. */
static void spread(const rvc_job *job, const rvc_segment *s, const buffers *b, size_t width) {
    float protect = job->options->protect;
    for (size_t t = 0; t < s->frames; t++) {
        const float *feature = b->features + t / 2 * width;
        float *phone = b->phone + t * width;
        memcpy(phone, feature, width * sizeof *phone);
        if (!b->own || s->f0[t] >= 1) continue;
        const float *own = b->own + t / 2 * width;
        for (size_t i = 0; i < width; i++) phone[i] = feature[i] * protect + own[i] * (1 - protect);
    }
}

static nn_code make_features(rvc_job *job, const rvc_segment *s, buffers *b) {
    const rvc_models *m = job->converter->models;
    size_t width = (size_t)m->config.feature_width, frames = rvc_hubert_frames(s->count);
    double start = rvc_seconds();
    if (!(b->features = floats(frames * width, job->e)) || !(b->phone = floats(s->frames * width, job->e)))
        return NN_ERROR_MEMORY;
    nn_code code = run_hubert(job, s, b->features);
    double middle = rvc_seconds();
    job->timing.hubert += middle - start;
    bool retrieve = m->index && job->options->index_rate > 0;
    if (!code && retrieve && s->f0 && job->options->protect < 0.5f) {
        if (!(b->own = floats(frames * width, job->e))) return NN_ERROR_MEMORY;
        memcpy(b->own, b->features, frames * width * sizeof *b->own);
    }
    if (!code && retrieve)
        code = rvc_index_retrieve(m->index, b->features, frames, job->options->index_rate,
                                  nn_device_threads(job->converter->device), job->e);
    if (!code) spread(job, s, b, width);
    job->timing.retrieval += rvc_seconds() - middle;
    return code ? code : rvc_job_advance(job, (double)s->frames / RVC_FRAMES, RVC_WORK_CONTENT);
}

/* ---- prior ---- */

static nn_code make_latent(rvc_job *job, const rvc_segment *s, buffers *b) {
    rvc_converter *c = job->converter;
    const rvc_probe *probe = job->probe;
    size_t inter = (size_t)c->models->config.inter, n = s->frames * inter;
    if (!(b->noise = floats(n, job->e)) || !(b->z = floats(n, job->e))) return NN_ERROR_MEMORY;
    if (s->index < probe->chunks)
        memcpy(b->noise, probe->latent_noise[s->index], n * sizeof *b->noise);
    else
        rvc_normal(job->options->seed, LATENT, s->first * inter, n, b->noise);
    for (size_t i = 0; i < n; i++) b->noise[i] *= job->options->noise_scale;

    nn_plan *plan;
    nn_code code = nn_plan_cache_get(c->prior, (int64_t[2]){(int64_t)s->frames, 0}, &plan, job->e);
    if (code) return code;
    if (s->f0) {
        b->coarse = malloc(s->frames * sizeof *b->coarse);
        if (!b->coarse) return nn_fail_memory(job->e, "a chunk");
        rmvpe_coarse_pitch(s->f0, s->frames, b->coarse);
        nn_plan_write(plan, "pitch", b->coarse);
    }
    int32_t speaker = job->options->speaker;
    nn_plan_write(plan, "speaker", &speaker);
    nn_plan_write(plan, "phone", b->phone);
    nn_plan_write(plan, "noise", b->noise);
    code = nn_plan_run(plan, job->e);
    if (!code) nn_plan_read(plan, "z", b->z);
    return code;
}

/* ---- generator ---- */

/* The sine over the whole chunk: its phase starts with the chunk, and a tile takes its part. */
static nn_code make_source(rvc_job *job, const rvc_segment *s, buffers *b) {
    const rvc_voice_config *config = &job->converter->models->config;
    size_t upp = (size_t)config->upp, n = s->frames * upp;
    const float *noise;
    if (!(b->source = floats(n, job->e))) return NN_ERROR_MEMORY;
    if (s->index < job->probe->chunks) {
        noise = job->probe->source_noise[s->index];
    } else {
        if (!(b->source_noise = floats(n, job->e))) return NN_ERROR_MEMORY;
        rvc_normal(job->options->seed, SOURCE, s->first * upp, n, b->source_noise);
        noise = b->source_noise;
    }
    if (job->options->compat == RVC_WEBUI)
        rvc_sine_source_webui(s->f0, s->frames, config->upp, config->rate, noise, b->source);
    else
        rvc_sine_source(s->f0, s->frames, config->upp, config->rate, noise, NULL, b->source);
    return NN_OK;
}

/* One tile: `span` frames from `start` on; the kept ones among them go to out. */
static nn_code run_tile(rvc_job *job, const buffers *b, size_t start, size_t span) {
    rvc_converter *c = job->converter;
    const rvc_voice_config *config = &c->models->config;
    nn_plan *plan;
    nn_code code = nn_plan_cache_get(c->generator, (int64_t[2]){(int64_t)span, 0}, &plan, job->e);
    if (code) return code;
    int32_t speaker = job->options->speaker;
    nn_plan_write(plan, "speaker", &speaker);
    nn_plan_write(plan, "z", b->z + start * (size_t)config->inter);
    if (config->f0) nn_plan_write(plan, "source", b->source + start * (size_t)config->upp);
    code = nn_plan_run(plan, job->e);
    if (!code) nn_plan_read(plan, "audio", b->tile);
    return code;
}

static nn_code generate(rvc_job *job, const rvc_segment *s, buffers *b) {
    const rvc_voice_config *config = &job->converter->models->config;
    size_t upp = (size_t)config->upp, reach = (size_t)rvc_receptive_frames(config);
    size_t tiles = (s->kept + TILE - 1) / TILE;
    size_t core = ((s->kept + tiles - 1) / tiles + TILE_STEP - 1) / TILE_STEP * TILE_STEP;
    if (job->probe->whole) core = s->kept;
    size_t span = core + 2 * reach < s->frames ? core + 2 * reach : s->frames;
    if (!(b->tile = floats(span * upp, job->e))) return NN_ERROR_MEMORY;

    for (size_t from = s->keep, end = s->keep + s->kept; from < end; from += core) {
        size_t start = from > reach ? from - reach : 0, kept = end - from < core ? end - from : core;
        if (start > s->frames - span) start = s->frames - span;
        nn_code code = run_tile(job, b, start, span);
        if (code) return code;
        memcpy(s->out + (from - s->keep) * upp, b->tile + (from - start) * upp, kept * upp * sizeof *s->out);
        code = rvc_job_advance(job, (double)kept / RVC_FRAMES, RVC_WORK_VOICE);
        if (code) return code;
    }
    return NN_OK;
}

nn_code rvc_job_segment(rvc_job *job, const rvc_segment *s) {
    buffers b = {0};
    if (s->index < job->probe->chunks && job->probe->frames[s->index] != s->frames)
        return nn_fail(job->e, NN_ERROR_FORMAT, "chunk %zu has %zu frames, its recorded noise %zu", s->index,
                       s->frames, job->probe->frames[s->index]);
    nn_code code = make_features(job, s, &b);
    double start = rvc_seconds();
    if (!code) code = make_latent(job, s, &b);
    if (!code && s->f0) code = make_source(job, s, &b);
    if (!code && s->kept) code = generate(job, s, &b);
    job->timing.synthesis += rvc_seconds() - start;
    buffers_free(&b);
    return code;
}
