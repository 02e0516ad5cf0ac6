/* verify_pipeline.c - `rvc verify` on a whole conversion: the recorded audio, options and noise go in, and
 * the first chunk's samples, the pitch and the 16-bit result must come out.
 *
 * The conversion is rvc_convert's own, in the reference's way of cutting (RVC_WEBUI), with the random numbers
 * replaced.
 *
 * How near the samples can come is a matter of the pitch's last bits. The reference adds up saliences in
 * float32, so its f0 is up to 0.001 cents off, by chance; the sine integrates that; and its phase, kept in
 * float32 to hundreds of turns, rounds differently for another last bit. Two runs of PyTorch with different
 * convolution kernels differ as much. What that costs is known beforehand: how far apart the sines of our
 * pitch and of the recorded one are. So no more is asked of the samples than of the sines, less a margin. */
#include "verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "../rvc/pipeline.h"
#include "../rvc/signal.h"

enum { MAX_CHUNKS = 64, INT16_STEPS = 2 };
static const double int16_share = 0.9999; /* of the samples must be within INT16_STEPS */

typedef struct recorded {
    float *latent[MAX_CHUNKS], *source[MAX_CHUNKS];
    size_t frames[MAX_CHUNKS], chunks;
} recorded;

static void recorded_free(recorded *r) {
    for (size_t i = 0; i < r->chunks; i++) {
        free(r->latent[i]);
        free(r->source[i]);
    }
}

/* noise_z_I and noise_source_I for I = 0, 1, ...; the source's must fit the voice, for it is read by that
 * length. */
static nn_code read_noise(verify *v, const rvc_voice_config *c, recorded *r) {
    for (; r->chunks < MAX_CHUNKS; r->chunks++) {
        char name[2][32];
        size_t i = r->chunks, count;
        snprintf(name[0], sizeof name[0], "noise_z_%zu", i);
        snprintf(name[1], sizeof name[1], "noise_source_%zu", i);
        if (!verify_has(v, name[0])) break;
        size_t inter = (size_t)verify_axis(v, name[0], 0), frames = (size_t)verify_axis(v, name[0], 1);
        float *latent = verify_array(v, name[0], &count);
        bool fits = latent && inter == (size_t)c->inter && count == inter * frames;
        if (fits) r->latent[i] = verify_transposed(latent, inter, frames);
        free(latent);
        if (fits && c->f0) r->source[i] = verify_array(v, name[1], &count);
        if (!fits || !r->latent[i] || (c->f0 && (!r->source[i] || count != frames * (size_t)c->upp))) {
            r->chunks++; /* so that what there is of it is freed */
            return nn_fail(&v->e, NN_ERROR_FORMAT,
                           "\"%s\" or \"%s\" does not have the shape this voice takes", name[0], name[1]);
        }
        r->frames[i] = frames;
    }
    return NN_OK;
}

static double field(const cJSON *params, const char *name, double otherwise) {
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(params, name);
    return cJSON_IsNumber(j) ? j->valuedouble : otherwise;
}

static bool says(const cJSON *params, const char *name, const char *what) {
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(params, name);
    return !cJSON_IsString(j) || strcmp(j->valuestring, what) == 0;
}

/* The recorded options. Variants of the reference that this project does not do are named. */
static nn_code read_params(verify *v, rvc_options *o) {
    const npz_array *a = npz_find(v->z, "params");
    char *text = calloc(1, (a ? (size_t)a->bytes : 0) + 1);
    nn_code code =
        text && a ? npz_read(v->z, a, text, &v->e) : nn_fail(&v->e, NN_ERROR_FORMAT, "\"params\" is missing");
    cJSON *j = code ? NULL : cJSON_Parse(text);
    free(text);
    if (code) return code;
    if (!cJSON_IsObject(j)) code = nn_fail(&v->e, NN_ERROR_FORMAT, "\"params\" is not a JSON object");
    if (!code && !says(j, "unvoiced", "zero"))
        code = nn_fail(&v->e, NN_ERROR_FORMAT,
                       "made with interpolated unvoiced frames, which are not supported");
    if (!code && !says(j, "rmvpe_pad", "zero-log"))
        code = nn_fail(&v->e, NN_ERROR_FORMAT,
                       "made with another padding of RMVPE's input, which is not supported");
    *o = rvc_default_options();
    o->compat = RVC_WEBUI;
    o->transpose = field(j, "transpose", 0);
    o->speaker = (int)field(j, "sid", 0);
    o->index_rate = (float)field(j, "index_rate", 0);
    o->protect = (float)field(j, "protect", 0.33);
    o->rms_mix_rate = (float)field(j, "rms_mix_rate", 0.25);
    o->sample_rate = (int)field(j, "resample_sr", 0);
    o->x_pad = (int)field(j, "x_pad", 1);
    o->x_query = (int)field(j, "x_query", 6);
    o->x_center = (int)field(j, "x_center", 38);
    o->x_max = (int)field(j, "x_max", 41);
    if (!code && o->index_rate > 0 && !says(j, "index", "") && !v->set.index)
        code = nn_fail(&v->e, NN_ERROR_ARGUMENT, "made with an index: needs --index FILE");
    cJSON_Delete(j);
    return code;
}

/* The sine of f0 [frames] in Hz, before transposing; NULL: out of memory. Caller frees. */
static float *sine_of(const float *f0, const rvc_voice_config *c, double factor, const recorded *r) {
    const size_t frames = r->frames[0];
    float *hz = malloc((frames + 1) * sizeof *hz);
    float *sine = malloc((frames * (size_t)c->upp + 1) * sizeof *sine);
    if (hz && sine) {
        for (size_t i = 0; i < frames; i++) hz[i] = (float)(f0[i] * factor);
        rvc_sine_source_webui(hz, frames, c->upp, c->rate, r->source[0], sine);
    } else {
        free(sine);
        sine = NULL;
    }
    free(hz);
    return sine;
}

/* What is asked of the samples of the first chunk, in dB, our pitch being f0 [count]. */
static double samples_tolerance(verify *v, const rvc_voice_config *c, double transpose, const recorded *r,
                                const float *f0, size_t count) {
    size_t n = 0;
    float *theirs = c->f0 && verify_has(v, "f0_raw") ? verify_array(v, "f0_raw", &n) : NULL;
    const size_t frames = r->frames[0];
    double wanted = v->segment_db, factor = pow(2, transpose / 12);
    if (theirs && n >= frames && count >= frames) {
        float *want = sine_of(theirs, c, factor, r), *got = sine_of(f0, c, factor, r);
        if (want && got) {
            const double db = verify_snr(got, want, frames * (size_t)c->upp);
            wanted = fmin(wanted, fmax(VERIFY_SEGMENT_LEAST_DB, db - VERIFY_SINE_MARGIN_DB));
            printf("  # the sine of our pitch is %.1f dB from that of f0_raw: samples need %.1f dB\n", db,
                   wanted);
        }
        free(want);
        free(got);
    }
    free(theirs);
    return wanted;
}

static void compare_int16(verify *v, const rvc_audio *audio, double wanted_db) {
    size_t n, off = 0, differ = 0;
    float *want = verify_array(v, "audio_int16", &n);
    if (!want || n != audio->frames) {
        nn_fail(&v->e, NN_ERROR_FORMAT, "%zu samples, the reference has %zu", audio->frames, n);
        verify_fail(v, "audio_int16", "audio_int16");
        free(want);
        return;
    }
    double worst = 0, signal = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(trunc((double)(audio->samples[i] * 32768.0f)) - (double)want[i]);
        worst = fmax(worst, d);
        off += d > INT16_STEPS;
        differ += d > 0;
        error += d * d;
        signal += (double)want[i] * (double)want[i];
    }
    double snr = error > 0 ? 10 * log10(signal / error) : 999;
    bool close = (double)off <= (1 - int16_share) * (double)n;
    if (wanted_db < VERIFY_SEGMENT_DB) close = snr >= wanted_db;
    char note[128];
    snprintf(note, sizeof note, "%zu of %zu samples differ, %zu by more than %d", differ, n, off,
             INT16_STEPS);
    verify_verdict(v, "audio_int16", "audio_int16", worst, snr,
                   signal > 0 ? 1 - error / (2 * signal) : error <= 0, close, note);
    free(want);
}

/* The conversion itself, and its three results. */
static nn_code run(verify *v, rvc_models *models, const rvc_options *options, const recorded *r) {
    rvc_error error = {0};
    rvc_converter *converter = NULL;
    rvc_audio audio = {0};
    rvc_probe probe = {.chunks = r->chunks,
                       .latent_noise = (const float *const *)r->latent,
                       .source_noise = (const float *const *)r->source,
                       .frames = r->frames,
                       .whole = true};
    size_t n;
    float *x = verify_array(v, "audio16k", &n);
    rvc_status status = x ? rvc_converter_new(&converter, models, &error) : RVC_ERROR_FORMAT;
    if (!status) status = rvc_convert_probed(converter, x, n, RVC_RATE, options, &probe, &audio, &error);
    if (!status) {
        if (verify_has(v, "f0_raw"))
            verify_compare_f0(v, "f0_raw", "f0_raw", probe.f0, probe.f0_count, VERIFY_PIPELINE_CENTS);
        const double wanted =
            samples_tolerance(v, &models->config, options->transpose, r, probe.f0, probe.f0_count);
        if (verify_has(v, "segment_0"))
            verify_compare(v, "segment_0", "segment_0", probe.segment, probe.segment_count, wanted);
        if (verify_has(v, "audio_int16")) compare_int16(v, &audio, wanted);
    } else if (x) {
        nn_fail(&v->e, (nn_code)status, "%s", error.text);
    }
    rvc_audio_free(&audio);
    rvc_converter_free(converter);
    free(probe.f0);
    free(probe.segment);
    free(x);
    return (nn_code)status;
}

void verify_pipeline(verify *v) {
    static const char *const tensors[] = {"f0_raw", "segment_0", "audio_int16"};
    if (!verify_has(v, "params") || !verify_has(v, "noise_z_0")) return;
    bool ready = v->voice && v->hubert;
    for (size_t i = 0; !ready && i < 3; i++)
        verify_skip(v, tensors[i], "needs --model VOICE and --hubert FILE");
    if (!ready) return;
    const verify_settings *s = &v->set;
    rvc_model_paths paths = {.voice = s->model, .hubert = s->hubert, .rmvpe = s->rmvpe, .index = s->index};
    rvc_setup setup = {.device = s->device, .precision = s->precision};
    rvc_models *models = NULL;
    rvc_error error = {0};
    rvc_options options;
    recorded noise = {0};
    nn_code code = read_params(v, &options);
    if (!code && rvc_models_open(&models, &paths, &setup, &error))
        code = nn_fail(&v->e, (nn_code)error.status, "%s", error.text);
    if (!code) code = read_noise(v, &models->config, &noise);
    if (!code) code = run(v, models, &options, &noise);
    if (code) verify_fail(v, "pipeline", "params");
    recorded_free(&noise);
    rvc_models_close(models);
}
