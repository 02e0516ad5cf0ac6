/* whole.c - a chunk as one graph (whole.h).
 *
 *   samples - HuBERT --------- [retrieval] - each twice, protect -+
 *   samples - mel - RMVPE - f0 -+- voicing -----------------------+
 *                               +- coarse pitch ------------------+- prior -> z - kept frames -+
 *                               +- sine source, kept frames -----------------------------------+- generator -> audio
 *
 * RMVPE is a branch that a device may run beside HuBERT. It is in the graph where the signal is one chunk;
 * else f0 is found before, window by window, by a graph of that branch alone.
 *
 * Invariant: the numbers are those of segment.c. A plan is for one length exactly: what attends, and the
 * first layer's normalisation over time, depend on all frames there are. */
#include "whole.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../mel/mel.h"
#include "hubert.h"
#include "signal.h"
#include "synthesizer.h"

enum { PLANS = 4 };

/* What makes one graph differ from another of the same lengths. */
enum {
    FIND_PITCH = 1,   /* f0 is worked out in the graph */
    GIVEN_NOISE = 2,  /* inputs "noise" and "source_noise" instead of a seed */
    GIVEN_SOURCE = 4, /* input "source" instead of the sine */
    PROTECT = 8,
    RETRIEVE = 16,
};

struct rvc_whole {
    const rvc_models *models;
    nn_device *device;
    nn_vectors index;
    nn_plan_cache *chunks, *pitches;
    rvc_whole *exact; /* the same in plain float32, made when first needed; owns its device */
    float *buffer;    /* [capacity], for what the host prepares */
    size_t capacity;
    rvc_profile *profile; /* where what runs is added up; or NULL */
};

/* ---- graphs ---- */

/* mel frames of `signal`, wide samples, and their pitch as output "f0". */
static nn_tensor pitch_branch(const rvc_whole *w, nn_graph *g, int samples, int lead, int frames) {
    const int multiple = rmvpe_frame_multiple(w->models->rmvpe);
    nn_branch(g, 1);
    nn_graph_use(g, w->models->mel, true);
    nn_tensor x = nn_input_wide(g, "signal", 1, samples, 1),
              transpose = nn_input_wide(g, "transpose", 1, 2, 1);
    x = nn_spectrogram(g, x, "mel", .samples = samples, .lead = lead, .frames = frames,
                       .rows = (frames + multiple - 1) / multiple * multiple);
    x = rmvpe_network(g, w->models->rmvpe, x);
    x = nn_pitch_decode(g, x, transpose, frames, RMVPE_THRESHOLD);
    nn_output(g, x, "f0");
    nn_branch(g, 0);
    nn_graph_use(g, w->models->hubert, false);
    return x;
}

/* Lengths of a chunk's graph: samples for HuBERT; frames of all, before the first that is kept, kept. */
typedef struct lengths {
    int count, frames, keep, kept;
    unsigned flags;
} lengths;

static void to_key(const lengths *l, int64_t key[2]) {
    key[0] = (int64_t)l->count | (int64_t)l->frames << 32;
    key[1] = (int64_t)l->keep | (int64_t)l->kept << 24 | (int64_t)l->flags << 48;
}

static lengths from_key(const int64_t key[2]) {
    return (lengths){.count = (int)(key[0] & 0xffffffff),
                     .frames = (int)(key[0] >> 32),
                     .keep = (int)(key[1] & 0xffffff),
                     .kept = (int)(key[1] >> 24 & 0xffffff),
                     .flags = (unsigned)(key[1] >> 48)};
}

/* The frames that the generator runs over: those kept and what they depend on. */
typedef struct span {
    int from, count;
} span;

static span generated_span(const rvc_models *m, const lengths *l) {
    const int reach = rvc_receptive_frames(&m->config);
    const int from = l->keep > reach ? l->keep - reach : 0, to = l->keep + l->kept + reach;
    return (span){from, (to < l->frames ? to : l->frames) - from};
}

/* Features, each twice, as the prior takes them. */
static nn_tensor content(const rvc_whole *w, nn_graph *g, const lengths *l, nn_tensor f0) {
    const rvc_models *m = w->models;
    const unsigned output = m->config.version == 1 ? RVC_HUBERT_V1 : RVC_HUBERT_V2;
    nn_tensor x = rvc_hubert_network(g, m->hubert, nn_input(g, "audio", 1, l->count, 1), output);
    nn_tensor own = l->flags & PROTECT ? x : NULL;
    if (l->flags & RETRIEVE) x = nn_retrieve(g, x, nn_input_wide(g, "index_rate", 1, 1, 1), &w->index);
    return nn_spread(g, x, l->frames, own, f0, own ? nn_input_wide(g, "protect", 1, 1, 1) : NULL);
}

static nn_tensor excitation(const rvc_whole *w, nn_graph *g, const lengths *l, nn_tensor f0,
                            nn_tensor place) {
    const rvc_voice_config *c = &w->models->config;
    const span s = generated_span(w->models, l);
    if (!c->f0) return NULL;
    if (l->flags & GIVEN_SOURCE) return nn_input(g, "source", 1, s.count * c->upp, 1);
    nn_tensor noise = l->flags & GIVEN_NOISE
                          ? nn_input(g, "source_noise", 1, s.count, c->upp)
                          : nn_normal(g, place, NULL, s.count, c->upp, RVC_NOISE_SOURCE, s.from);
    return nn_sine_source(g, f0, noise, s.from, s.count, c->upp, c->rate);
}

static nn_graph *chunk_graph(const rvc_whole *w, const lengths *l) {
    const rvc_models *m = w->models;
    const rvc_voice_config *c = &m->config;
    const span s = generated_span(m, l);
    nn_graph *g = nn_graph_new(m->hubert);
    if (!g) return NULL;
    nn_tensor f0 = NULL;
    if (c->f0 && l->flags & FIND_PITCH)
        f0 = pitch_branch(w, g, l->frames * RVC_HOP, 0, (int)mel_frames((size_t)l->frames * RVC_HOP));
    else if (c->f0)
        f0 = nn_input_wide(g, "f0", 1, l->frames, 1);
    nn_tensor phone = content(w, g, l, f0);
    nn_graph_use(g, m->voice, false);
    nn_tensor place = l->flags & GIVEN_NOISE ? NULL : nn_input_index(g, "place", 4), speaker = rvc_speaker(g);
    rvc_prior_inputs in = {.phone = phone, .speaker = speaker};
    if (c->f0) in.pitch = nn_coarse_pitch(g, f0, l->frames);
    in.noise = place ? nn_normal(g, place, nn_input_wide(g, "noise_scale", 1, 1, 1), l->frames, c->inter,
                                 RVC_NOISE_LATENT, 0)
                     : nn_input(g, "noise", 1, l->frames, c->inter);
    nn_tensor z = nn_frames(g, rvc_prior(g, m->voice, c, in, 0), s.from, s.count);
    nn_tensor y = rvc_generator_network(g, c, z, excitation(w, g, l, f0, place), speaker, 0);
    nn_output(g, nn_frames(g, y, (l->keep - s.from) * c->upp, l->kept * c->upp), "audio");
    return g;
}

static nn_code build_chunk(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    rvc_whole *w = context;
    const lengths l = from_key(key);
    return nn_plan_new(out, chunk_graph(w, &l), w->device, e);
}

/* By samples and frames; a window inside a signal, with its neighbours' samples, leads by half a frame of the
 * transform. */
static nn_code build_pitch(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    rvc_whole *w = context;
    const int samples = (int)key[0], frames = (int)key[1],
              lead = (size_t)frames == mel_frames((size_t)samples) ? 0 : MEL_WINDOW / 2;
    nn_graph *g = nn_graph_new(w->models->rmvpe);
    if (g) pitch_branch(w, g, samples, lead, frames);
    return nn_plan_new(out, g, w->device, e);
}

/* ---- the runner ---- */

nn_code rvc_whole_new(rvc_whole **out, const rvc_models *m, nn_device *d, nn_error *e) {
    *out = NULL;
    rvc_whole *w = calloc(1, sizeof *w);
    if (!w) return nn_fail_memory(e, "the converter");
    w->models = m;
    w->device = d;
    if (m->index) w->index = rvc_index_data(m->index);
    w->chunks = nn_plan_cache_new(PLANS, build_chunk, w);
    w->pitches = nn_plan_cache_new(PLANS, build_pitch, w);
    nn_code code = w->chunks && w->pitches ? NN_OK : nn_fail_memory(e, "the converter");
    if (code)
        rvc_whole_free(w);
    else
        *out = w;
    return code;
}

void rvc_whole_free(rvc_whole *w) {
    if (!w) return;
    if (w->exact) {
        nn_device *d = w->exact->device;
        rvc_whole_free(w->exact);
        nn_device_close(d);
    }
    nn_plan_cache_free(w->chunks);
    nn_plan_cache_free(w->pitches);
    free(w->buffer);
    free(w);
}

static nn_code room(rvc_whole *w, size_t floats, nn_error *e) {
    if (floats <= w->capacity) return NN_OK;
    free(w->buffer);
    w->buffer = malloc(floats * sizeof *w->buffer);
    w->capacity = w->buffer ? floats : 0;
    return w->buffer ? NN_OK : nn_fail_memory(e, "a chunk");
}

bool rvc_whole_profiled(const rvc_whole *w) {
    return w->profile != NULL;
}

void rvc_whole_profile(rvc_whole *w, rvc_profile *profile) {
    w->profile = profile;
}

static nn_code run_plan(const rvc_whole *w, nn_plan *plan, nn_error *e) {
    nn_plan_profile(plan, w->profile != NULL);
    const nn_code code = nn_plan_run(plan, e);
    if (!code && w->profile) rvc_profile_add(w->profile, plan);
    return code;
}

/* ---- pitch ---- */

/* Samples from .. from+count-1 of x [n], mirrored once at its ends. */
static void mirrored(const float *x, ptrdiff_t n, ptrdiff_t from, size_t count, float *out) {
    ptrdiff_t at = from, end = from + (ptrdiff_t)count;
    for (; at < 0 && at < end; at++) *out++ = x[-at];
    const ptrdiff_t inside = (end < n ? end : n) - at;
    if (inside > 0) {
        memcpy(out, x + at, (size_t)inside * sizeof *out);
        out += inside;
        at += inside;
    }
    for (; at < end; at++) *out++ = x[2 * (n - 1) - at];
}

nn_code rvc_whole_pitch(rvc_whole *w, const float *x, size_t n, size_t first, size_t count, float *f0,
                        nn_error *e) {
    const bool all = first == 0 && count == mel_frames(n);
    const size_t samples = all ? n : (count - 1) * MEL_HOP + MEL_WINDOW;
    static const float unchanged[2] = {1, 0};
    nn_plan *plan;
    nn_code code = room(w, samples, e);
    if (!code) code = nn_plan_cache_get(w->pitches, (int64_t[2]){(int64_t)samples, (int64_t)count}, &plan, e);
    if (code) return code;
    if (!all) mirrored(x, (ptrdiff_t)n, (ptrdiff_t)(first * MEL_HOP) - MEL_WINDOW / 2, samples, w->buffer);
    nn_plan_write(plan, "signal", all ? x : w->buffer);
    nn_plan_write(plan, "transpose", unchanged);
    code = run_plan(w, plan, e);
    if (!code) nn_plan_read(plan, "f0", f0);
    return code;
}

/* ---- chunks ---- */

bool rvc_whole_takes(const rvc_whole *w, const rvc_options *o) {
    enum { MOST_PROBES = 8 };
    return !w->models->index || o->index_rate <= 0 || w->index.probes <= MOST_PROBES;
}

bool rvc_whole_finds_pitch(const rvc_whole *w, const rvc_options *o, size_t frames) {
    return w->models->config.f0 && o->compat == RVC_EXACT && mel_frames(frames * RVC_HOP) <= RMVPE_WINDOW;
}

static lengths lengths_of(const rvc_whole *w, const rvc_job *job, const rvc_segment *s) {
    lengths l = {
        .count = (int)s->count, .frames = (int)s->frames, .keep = (int)s->keep, .kept = (int)s->kept};
    const rvc_options *o = job->options;
    const bool retrieves = w->models->index && o->index_rate > 0;
    if (s->found) l.flags |= FIND_PITCH;
    if (s->index < job->probe->chunks) l.flags |= GIVEN_NOISE;
    if (o->compat == RVC_WEBUI && w->models->config.f0) l.flags |= GIVEN_SOURCE;
    if (retrieves) l.flags |= RETRIEVE;
    if (retrieves && w->models->config.f0 && o->protect < 0.5f) l.flags |= PROTECT;
    return l;
}

/* The noise of a recorded conversion, and the reference's own sine. */
static nn_code write_given(rvc_whole *w, const rvc_job *job, const rvc_segment *s, const lengths *l,
                           nn_plan *plan) {
    const rvc_voice_config *c = &w->models->config;
    const span part = generated_span(w->models, l);
    const size_t upp = (size_t)c->upp, inter = (size_t)c->inter, n = s->frames * (upp > inter ? upp : inter);
    const bool given = l->flags & GIVEN_NOISE;
    nn_code code = room(w, 2 * n, job->e);
    if (code) return code;
    if (given) {
        for (size_t i = 0; i < s->frames * inter; i++)
            w->buffer[i] = job->probe->latent_noise[s->index][i] * job->options->noise_scale;
        nn_plan_write(plan, "noise", w->buffer);
        if (c->f0)
            nn_plan_write(plan, "source_noise", job->probe->source_noise[s->index] + (size_t)part.from * upp);
    }
    if (l->flags & GIVEN_SOURCE) {
        const float *noise = given ? job->probe->source_noise[s->index] : w->buffer;
        if (!given)
            rvc_normal(job->options->seed, RVC_NOISE_SOURCE, s->first * upp, s->frames * upp, w->buffer);
        rvc_sine_source_webui(s->f0, s->frames, c->upp, c->rate, noise, w->buffer + n);
        nn_plan_write(plan, "source", w->buffer + n + (size_t)part.from * upp);
    }
    return NN_OK;
}

static void write_inputs(const rvc_job *job, const rvc_segment *s, nn_plan *plan) {
    const rvc_options *o = job->options;
    const uint32_t place[4] = {(uint32_t)o->seed, (uint32_t)(o->seed >> 32), (uint32_t)s->first,
                               (uint32_t)((uint64_t)s->first >> 32)};
    const double factor = pow(2, o->transpose / 12);
    const float transpose[2] = {(float)factor, (float)(factor - (double)(float)factor)};
    const int32_t speaker = o->speaker;
    nn_plan_write(plan, "audio", s->samples);
    nn_plan_write(plan, "signal", s->samples);
    nn_plan_write(plan, "transpose", transpose);
    if (s->f0) nn_plan_write(plan, "f0", s->f0);
    nn_plan_write(plan, "place", place);
    nn_plan_write(plan, "noise_scale", &o->noise_scale);
    nn_plan_write(plan, "protect", &o->protect);
    nn_plan_write(plan, "index_rate", &o->index_rate);
    nn_plan_write(plan, "speaker", &speaker);
}

static nn_code run(rvc_whole *w, rvc_job *job, const rvc_segment *s) {
    const lengths l = lengths_of(w, job, s);
    int64_t key[2];
    nn_plan *plan;
    to_key(&l, key);
    nn_code code = nn_plan_cache_get(w->chunks, key, &plan, job->e);
    if (code) return code;
    write_inputs(job, s, plan);
    if (l.flags & (GIVEN_NOISE | GIVEN_SOURCE)) code = write_given(w, job, s, &l, plan);
    if (!code) code = run_plan(w, plan, job->e);
    if (code) return code;
    nn_plan_read(plan, "audio", s->out);
    if (s->found) nn_plan_read(plan, "f0", s->found);
    return NN_OK;
}

static nn_code run_exact(rvc_whole *w, rvc_job *job, const rvc_segment *s) {
    if (!w->exact) {
        nn_device *d;
        nn_code code = nn_device_open_beside(&d, w->device, NN_PLAIN, job->e);
        if (code) return code;
        code = rvc_whole_new(&w->exact, w->models, d, job->e);
        if (code) {
            nn_device_close(d);
            return code;
        }
    }
    return run(w->exact, job, s);
}

nn_code rvc_whole_segment(rvc_whole *w, rvc_job *job, const rvc_segment *s) {
    const size_t n = s->kept * (size_t)w->models->config.upp;
    const double start = rvc_seconds(),
                 work = RVC_WORK_CONTENT + RVC_WORK_VOICE + (s->found ? RVC_WORK_PITCH : 0);
    if (!s->kept) return NN_OK;
    nn_code code = run(w, job, s);
    if (!code && !isfinite(rvc_peak(s->out, n))) {
        code = run_exact(w, job, s);
        job->timing.repeated++;
        if (!code && !isfinite(rvc_peak(s->out, n)))
            code = nn_fail(job->e, NN_ERROR_DEVICE, "%s gave samples that are not finite, in float32 too",
                           nn_device_name(w->device));
    }
    job->timing.synthesis += rvc_seconds() - start;
    return code ? code : rvc_job_advance(job, (double)s->frames / RVC_FRAMES, work);
}
