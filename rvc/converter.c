/* converter.c - one thread's converter: device, plans, warm-up; and the pitch alone.
 *
 * Invariant: a converter changes nothing in its models but the count of converters (packing is guarded there),
 * so any number of them may work at once; what it keeps between conversions is plans and memory, never audio,
 * so a result does not depend on what was converted before. */
#include "pipeline.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "signal.h"
#include "whole.h"

/* Plans kept: what they work in is the device's and shared, so a plan is small. Signals of more samples are
 * long. */
enum { PLANS = 4, LONG = 30 * RVC_RATE };

static nn_code build_prior(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    rvc_converter *c = context;
    return rvc_plan_prior(c->models, c->device, (int)key[0], out, e);
}

static nn_code set_up(rvc_converter *c, nn_error *e) {
    const rvc_models *m = c->models;
    nn_code code = rvc_models_device(m, m->threads, &c->device, e);
    if (!code && m->rmvpe) code = mel_new(&c->mel, e);
    if (!code && m->rmvpe) code = rmvpe_new(&c->rmvpe, m->rmvpe, c->device, e);
    if (!code && nn_device_is_gpu(c->device)) code = rvc_whole_new(&c->whole, m, c->device, e);
    if (code || !m->voice) return code;
    c->prior = nn_plan_cache_new(PLANS, build_prior, c);
    if (!c->prior) return nn_fail_memory(e, "the converter");
    code = rvc_hubert_new(&c->hubert, m->hubert, c->device, e);
    return code ? code : rvc_generator_new(&c->generator, m->voice, &m->config, c->device, e);
}

rvc_status rvc_converter_new(rvc_converter **out, rvc_models *models, rvc_error *error) {
    nn_error e = {0};
    *out = NULL;
    rvc_converter *c = calloc(1, sizeof *c);
    if (c) c->models = models;
    if (c) atomic_fetch_add(&models->converters, 1);
    nn_code code = c ? set_up(c, &e) : nn_fail_memory(&e, "the converter");
    if (code) {
        rvc_converter_free(c);
        return rvc_report(error, &e);
    }
    *out = c;
    return RVC_OK;
}

void rvc_converter_free(rvc_converter *converter) {
    if (!converter) return;
    rvc_converter_free(converter->mate);
    atomic_fetch_sub(&converter->models->converters, 1);
    rvc_hubert_free(converter->hubert);
    nn_plan_cache_free(converter->prior);
    rvc_generator_free(converter->generator);
    rvc_whole_free(converter->whole);
    rmvpe_free(converter->rmvpe);
    mel_free(converter->mel);
    nn_device_close(converter->device);
    rvc_buffer_free(&converter->input);
    rvc_buffer_free(&converter->output);
    free(converter);
}

const char *rvc_converter_device(const rvc_converter *converter) {
    return nn_device_name(converter->device);
}

size_t rvc_converter_device_memory(const rvc_converter *converter) {
    return nn_device_memory(converter->device);
}

bool rvc_converter_profile(rvc_converter *converter, rvc_profile *profile) {
    if (converter->whole) rvc_whole_profile(converter->whole, profile);
    return converter->whole != NULL;
}

rvc_options rvc_default_options(void) {
    return (rvc_options){.index_rate = 0.75f,
                         .protect = 0.33f,
                         .rms_mix_rate = 0.25f,
                         .noise_scale = 0.66666f,
                         .compat = RVC_EXACT,
                         .x_pad = 1,
                         .x_query = 6,
                         .x_center = 38,
                         .x_max = 41};
}

void rvc_audio_free(rvc_audio *audio) {
    if (!audio) return;
    free(audio->samples);
    *audio = (rvc_audio){0};
}

void rvc_job_rest(rvc_job *job, size_t n, unsigned networks) {
    rvc_converter *c = job->converter;
    if (n > LONG) c->sparing = true; /* and stays so, for what it works in has grown for good */
    if (!c->sparing) return;
    if (networks & RVC_REST_CONTENT) nn_weights_rest(c->models->hubert);
    if (networks & RVC_REST_PITCH) nn_weights_rest(c->models->rmvpe);
    if (networks & RVC_REST_VOICE) nn_weights_rest(c->models->voice);
}

rvc_status rvc_pitch_stream(rvc_converter *converter, const rvc_source *source, float **f0, size_t *count,
                            rvc_error *error) {
    nn_error e = {0};
    rvc_probe probe = {0};
    rvc_options options = rvc_default_options();
    rvc_job job = {.converter = converter, .options = &options, .probe = &probe, .e = &e};
    rvc_input in = {0};
    *f0 = NULL;
    *count = 0;
    nn_code code = NN_OK;
    if (!converter->rmvpe)
        code = nn_fail(&e, NN_ERROR_ARGUMENT,
                       "the pitch needs an RMVPE checkpoint (rmvpe.npz), and none was opened");
    if (!code) code = rvc_job_read(&job, source, 0, &in);
    if (!code) code = rvc_job_pitch(&job, &in.buffer, f0);
    if (!code) *count = mel_frames(in.n);
    rvc_buffer_keep(&converter->input, &in.buffer);
    return rvc_report(error, &e);
}

rvc_status rvc_pitch(rvc_converter *converter, const float *samples, size_t frames, int rate, float **f0,
                     size_t *count, rvc_error *error) {
    rvc_array array = {.samples = samples, .frames = frames};
    rvc_source source = rvc_array_source(&array, rate);
    return rvc_pitch_stream(converter, &source, f0, count, error);
}

rvc_status rvc_warm_up(rvc_converter *converter, rvc_error *error) {
    enum { SECOND = RVC_RATE };
    float *silence = calloc(SECOND, sizeof *silence);
    if (!silence) {
        nn_error e = {0};
        nn_fail_memory(&e, "the warm-up");
        return rvc_report(error, &e);
    }
    rvc_status status;
    if (converter->models->voice) {
        rvc_options options = rvc_default_options();
        rvc_probe probe = {.ungated = true}; /* or silence would pass by the networks */
        rvc_audio out;
        status = rvc_convert_probed(converter, silence, SECOND, RVC_RATE, &options, &probe, &out, error);
        rvc_audio_free(&out);
        free(probe.f0);
    } else {
        float *f0;
        size_t count;
        status = rvc_pitch(converter, silence, SECOND, RVC_RATE, &f0, &count, error);
        free(f0);
    }
    free(silence);
    return status;
}
