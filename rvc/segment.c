/* segment.c - one chunk of the signal becomes one piece of the new voice.
 *
 *   samples - HuBERT -> features - retrieval -> each twice -> protect -+
 *   f0 -------------- coarse pitch ------------------------------------+- prior -> z
 *   f0 -------------- sine source ------------------------------- generator <---- z
 *                                                                   |
 *                                                                 audio, kept frames only
 *
 * The prior attends over all frames of the chunk; the generator runs in tiles over the frames that are kept
 * (generator.c). */
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "hubert.h"
#include "signal.h"
#include "synthesizer.h"
#include "whole.h"

typedef struct buffers {
    float *features;     /* [feature frames][width] from HuBERT, then retrieved */
    float *own;          /* the same before retrieval, where protect asks for it */
    float *phone;        /* [frames][width] */
    float *noise;        /* [frames][inter] */
    int32_t *coarse;     /* [frames] */
    float *z;            /* [frames][inter] */
    float *source;       /* [frames*upp] */
    float *source_noise; /* [frames*upp] */
    float *whole;        /* [frames*upp], where a probe asks for it */
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
    free(b->whole);
}

static float *floats(size_t n, nn_error *e) {
    float *p = malloc((n ? n : 1) * sizeof *p);
    if (!p) nn_fail_memory(e, "a chunk");
    return p;
}

/* ---- features ---- */

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
    unsigned output = m->config.version == 1 ? RVC_HUBERT_V1 : RVC_HUBERT_V2;
    nn_code code = rvc_hubert_run(job->converter->hubert, s->samples, s->count, output, b->features, job->e);
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
        rvc_normal(job->options->seed, RVC_NOISE_LATENT, s->first * inter, n, b->noise);
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
        rvc_normal(job->options->seed, RVC_NOISE_SOURCE, s->first * upp, n, b->source_noise);
        noise = b->source_noise;
    }
    if (job->options->compat == RVC_WEBUI)
        rvc_sine_source_webui(s->f0, s->frames, config->upp, config->rate, noise, b->source);
    else
        rvc_sine_source(s->f0, s->frames, config->upp, config->rate, noise, NULL, b->source);
    return NN_OK;
}

static nn_code generated(void *context, size_t frames) {
    return rvc_job_advance(context, (double)frames / RVC_FRAMES, RVC_WORK_VOICE);
}

/* All frames in one piece, for what wants to compare. */
static nn_code generate_whole(rvc_job *job, const rvc_segment *s, buffers *b) {
    const rvc_models *m = job->converter->models;
    size_t upp = (size_t)m->config.upp;
    nn_plan *plan;
    if (!(b->whole = floats(s->frames * upp, job->e))) return NN_ERROR_MEMORY;
    nn_code code = rvc_plan_generator(m, job->converter->device, (int)s->frames, &plan, job->e);
    if (code) return code;
    int32_t speaker = job->options->speaker;
    nn_plan_write(plan, "speaker", &speaker);
    nn_plan_write(plan, "z", b->z);
    if (b->source) nn_plan_write(plan, "source", b->source);
    code = nn_plan_run(plan, job->e);
    if (!code) nn_plan_read(plan, "audio", b->whole);
    nn_plan_free(plan);
    memcpy(s->out, b->whole + s->keep * upp, s->kept * upp * sizeof *s->out);
    return code;
}

static nn_code generate(rvc_job *job, const rvc_segment *s, buffers *b) {
    if (job->probe->whole) return generate_whole(job, s, b);
    return rvc_generator_run(job->converter->generator, b->z, b->source, s->frames, job->options->speaker,
                             s->keep, s->kept, s->out, generated, job, job->e);
}

bool rvc_job_is_whole(const rvc_job *job) {
    return job->converter->whole && rvc_whole_takes(job->converter->whole, job->options);
}

nn_code rvc_job_segment(rvc_job *job, const rvc_segment *s) {
    buffers b = {0};
    if (s->index < job->probe->chunks && job->probe->frames[s->index] != s->frames)
        return nn_fail(job->e, NN_ERROR_FORMAT, "chunk %zu has %zu frames, its recorded noise %zu", s->index,
                       s->frames, job->probe->frames[s->index]);
    if (rvc_job_is_whole(job)) return rvc_whole_segment(job->converter->whole, job, s);
    nn_code code = make_features(job, s, &b);
    rvc_job_rest(job, 0, RVC_REST_CONTENT);
    double start = rvc_seconds();
    if (!code) code = make_latent(job, s, &b);
    if (!code && s->f0) code = make_source(job, s, &b);
    if (!code && s->kept) code = generate(job, s, &b);
    job->timing.synthesis += rvc_seconds() - start;
    rvc_job_rest(job, 0, RVC_REST_VOICE);
    buffers_free(&b);
    return code;
}
