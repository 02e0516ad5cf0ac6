/* verify_stages.c - the stages of `rvc verify` that are one network or one formula each.
 *
 * The file's tensors are [channels][frames], as PyTorch has them; ours have channels innermost. */
#include "verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../mel/mel.h"
#include "../rmvpe/rmvpe.h"
#include "../rvc/config.h"
#include "../rvc/hubert.h"
#include "../rvc/index.h"
#include "../rvc/signal.h"
#include "../rvc/synthesizer.h"

/* Output `name` of a plan that has run, malloc'd; *n: its elements. */
static float *output(verify *v, nn_plan *p, const char *name, size_t *n) {
    nn_shape s = nn_plan_shape(p, name);
    *n = (size_t)s.h * (size_t)s.w * (size_t)s.c;
    float *x = malloc((*n + 1) * sizeof *x);
    if (!x)
        nn_fail_memory(&v->e, name);
    else
        nn_plan_read(p, name, x);
    return x;
}

/* ---- pitch ---- */

/* Our mel of the file's audio, [frames][128]. */
static float *own_mel(verify *v, size_t *frames) {
    size_t n;
    mel *m = NULL;
    float *audio = verify_array(v, "audio16k", &n), *out = NULL;
    if (audio && n && !mel_new(&m, &v->e)) {
        *frames = mel_frames(n);
        out = malloc(*frames * MEL_BANDS * sizeof *out);
        if (!out || mel_compute(m, audio, n, 0, *frames, out, &v->e)) {
            free(out);
            out = NULL;
        }
    }
    mel_free(m);
    free(audio);
    return out;
}

/* RMVPE's salience of mel [frames][128]. */
static float *salience_of(verify *v, const float *mels, size_t frames) {
    rmvpe *r = NULL;
    float *out = mels ? malloc(frames * RMVPE_CLASSES * sizeof *out) : NULL;
    if (!out || rmvpe_new(&r, v->rmvpe, v->device, &v->e) || rmvpe_salience(r, mels, frames, out, &v->e)) {
        free(out);
        out = NULL;
    }
    rmvpe_free(r);
    return out;
}

static void check_f0(verify *v, const char *line, const float *salience, size_t frames, double cents) {
    float *f0 = salience ? malloc(frames * sizeof *f0) : NULL;
    if (f0) rmvpe_decode(salience, frames, RMVPE_THRESHOLD, f0);
    verify_compare_f0(v, line, "f0", f0, frames, cents);
    free(f0);
}

void verify_pitch(verify *v) {
    size_t frames = 0, count;
    float *own = verify_has(v, "audio16k") && verify_has(v, "mel") ? own_mel(v, &frames) : NULL;
    if (verify_has(v, "mel")) {
        float *planar = own ? verify_transposed(own, frames, MEL_BANDS) : NULL;
        verify_compare(v, "mel", "mel", planar, frames * MEL_BANDS, v->snr_db);
        free(planar);
    }
    if (verify_has(v, "salience") && verify_has(v, "mel") && v->rmvpe) {
        size_t recorded_frames = (size_t)verify_axis(v, "mel", 1);
        float *recorded = verify_array(v, "mel", &count);
        float *mels = verify_transposed(recorded, MEL_BANDS, recorded_frames);
        float *salience = count == recorded_frames * MEL_BANDS ? salience_of(v, mels, recorded_frames) : NULL;
        verify_compare(v, "salience", "salience", salience, recorded_frames * RMVPE_CLASSES, v->snr_db);
        free(recorded);
        free(mels);
        free(salience);
    } else {
        verify_skip(v, "salience", "needs --rmvpe FILE");
    }
    if (verify_has(v, "f0") && verify_has(v, "salience")) {
        float *salience = verify_array(v, "salience", &count);
        check_f0(v, "f0_from_salience", salience, count / RMVPE_CLASSES, VERIFY_CENTS);
        free(salience);
    }
    if (verify_has(v, "f0") && own && v->rmvpe) {
        float *salience = salience_of(v, own, frames);
        check_f0(v, "f0", salience, frames, VERIFY_CENTS);
        free(salience);
    }
    free(own);
}

/* ---- content ---- */

void verify_content(verify *v) {
    static const struct {
        const char *tensor;
        unsigned flag;
        const char *width; /* tensor whose first axis is the output's width */
    } layers[] = {{"hubert_l0", RVC_HUBERT_L0, "encoder.layer_norm.weight"},
                  {"hubert_v1", RVC_HUBERT_V1, "final_proj.weight"},
                  {"hubert_v2", RVC_HUBERT_V2, "encoder.layer_norm.weight"}};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        if (!verify_has(v, layers[i].tensor)) continue;
        if (!v->hubert) {
            verify_skip(v, layers[i].tensor, "needs --hubert FILE");
            continue;
        }
        size_t n = 0;
        float *audio = verify_array(v, "audio16k", &n);
        const nn_weight *t = nn_weights_peek(v->hubert, layers[i].width);
        size_t count = rvc_hubert_frames(n) * (t ? (size_t)t->shape[0] : 0);
        float *x = malloc((count + 1) * sizeof *x);
        rvc_hubert *h = NULL;
        nn_code code = !x ? nn_fail_memory(&v->e, layers[i].tensor) : audio ? NN_OK : NN_ERROR_FORMAT;
        if (!code) code = rvc_hubert_new(&h, v->hubert, v->device, &v->e);
        if (!code) code = rvc_hubert_run(h, audio, n, layers[i].flag, x, &v->e);
        verify_compare(v, layers[i].tensor, layers[i].tensor, code ? NULL : x, count, v->snr_db);
        rvc_hubert_free(h);
        free(audio);
        free(x);
    }
}

/* ---- synthesizer ---- */

/* Compares output `name` [T][C] with the file's [C][T]. */
static void compare_planar(verify *v, nn_plan *p, const char *name, const char *tensor, size_t frames) {
    if (!verify_has(v, tensor)) return;
    size_t n;
    float *x = output(v, p, name, &n), *planar = frames ? verify_transposed(x, frames, n / frames) : NULL;
    verify_compare(v, tensor, tensor, planar, n, v->snr_db);
    free(x);
    free(planar);
}

/* Pitch is written as recorded; a table has 256 rows, and an index outside it must not be looked up. */
static nn_code write_pitch(verify *v, nn_plan *p, size_t frames) {
    size_t n;
    float *pitch = verify_array(v, "pitch", &n);
    int32_t *coarse = pitch && n == frames ? malloc(frames * sizeof *coarse) : NULL;
    for (size_t i = 0; coarse && i < n; i++)
        coarse[i] = pitch[i] >= 1 && pitch[i] <= 255 ? (int32_t)pitch[i] : 1;
    if (coarse) nn_plan_write(p, "pitch", coarse);
    nn_code code =
        coarse ? NN_OK : nn_fail(&v->e, NN_ERROR_FORMAT, "\"pitch\" does not have %zu frames", frames);
    free(pitch);
    free(coarse);
    return code;
}

static nn_code write_prior(verify *v, const rvc_voice_config *c, nn_plan *p, size_t frames, int32_t speaker) {
    size_t count, noise_count;
    float *phone = verify_array(v, "phone", &count), *noise = verify_array(v, "noise_z", &noise_count);
    float *scaled =
        noise_count == frames * (size_t)c->inter ? verify_transposed(noise, (size_t)c->inter, frames) : NULL;
    nn_code code = NN_OK;
    if (!phone || count != frames * (size_t)c->feature_width || !scaled)
        code = nn_fail(&v->e, NN_ERROR_FORMAT,
                       "\"phone\" or \"noise_z\" does not have the shape this voice takes");
    if (!code && c->f0) code = write_pitch(v, p, frames);
    for (size_t i = 0; scaled && i < noise_count; i++) scaled[i] *= 0.66666f;
    if (!code) {
        nn_plan_write(p, "phone", phone);
        nn_plan_write(p, "noise", scaled);
        nn_plan_write(p, "speaker", &speaker);
    }
    free(phone);
    free(noise);
    free(scaled);
    return code;
}

/* phone, pitch, noise_z -> m, logs, z_p, z. Returns our z [frames][inter], or NULL. */
static float *check_prior(verify *v, const rvc_voice_config *c, size_t frames, int32_t speaker) {
    static const char *const tensors[] = {"m", "logs", "z_p", "z"};
    nn_plan *p = NULL;
    float *z = NULL;
    size_t n;
    nn_code code =
        nn_plan_new(&p, rvc_prior_graph(v->voice, c, (int)frames, RVC_PRIOR_STATS), v->device, &v->e);
    if (!code) code = write_prior(v, c, p, frames, speaker);
    if (!code) code = nn_plan_run(p, &v->e);
    if (!code) z = output(v, p, "z", &n);
    nn_error e = v->e;
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        if (!code) {
            compare_planar(v, p, tensors[i], tensors[i], frames);
        } else if (verify_has(v, tensors[i])) {
            v->e = e;
            verify_fail(v, tensors[i], tensors[i]);
        }
    }
    nn_plan_free(p);
    return z;
}

/* The sine of the recorded pitch and noise, before its linear layer, with the roundings of the reference. */
static float *make_source(verify *v, const rvc_voice_config *c, size_t frames) {
    size_t f0_count, noise_count, n = frames * (size_t)c->upp;
    float *f0 = verify_array(v, "pitchf", &f0_count), *noise = verify_array(v, "noise_source", &noise_count);
    float *source = f0 && noise && f0_count == frames && noise_count == n ? malloc(n * sizeof *source) : NULL;
    if (source)
        rvc_sine_source_webui(f0, frames, c->upp, c->rate, noise, source);
    else
        nn_fail(&v->e, NN_ERROR_FORMAT,
                "\"pitchf\" or \"noise_source\" does not have %zu frames of %d samples", frames, c->upp);
    free(f0);
    free(noise);
    return source;
}

/* z [frames][inter] -> audio under the name `line`, and har_source the first time. */
static void check_generator(verify *v, const rvc_voice_config *c, const char *line, const float *z,
                            size_t frames, int32_t speaker, bool first) {
    nn_plan *p = NULL;
    size_t n = 0;
    float *source = c->f0 ? make_source(v, c, frames) : NULL, *audio = NULL;
    nn_code code = c->f0 && !source ? v->e.code : NN_OK;
    if (!code)
        code = nn_plan_new(&p, rvc_generator_graph(v->voice, c, (int)frames, RVC_GENERATOR_SOURCE), v->device,
                           &v->e);
    if (!code) {
        nn_plan_write(p, "z", z);
        nn_plan_write(p, "speaker", &speaker);
        if (source) nn_plan_write(p, "source", source);
        code = nn_plan_run(p, &v->e);
    }
    if (!code && c->f0 && first) compare_planar(v, p, "har_source", "har_source", frames * (size_t)c->upp);
    if (!code) audio = output(v, p, "audio", &n);
    verify_compare(v, line, "audio", audio, n, v->snr_db);
    nn_plan_free(p);
    free(source);
    free(audio);
}

void verify_synthesizer(verify *v) {
    static const char *const tensors[] = {"m", "logs", "z_p", "z", "har_source", "audio"};
    if (!verify_has(v, "phone") || !verify_has(v, "noise_z")) return;
    rvc_voice_config c;
    size_t frames = (size_t)verify_axis(v, "phone", 0), count;
    for (size_t i = 0; !v->voice && i < sizeof tensors / sizeof *tensors; i++)
        verify_skip(v, tensors[i], "needs --model VOICE");
    if (!v->voice) return;
    float speaker = verify_scalar(v, "sid", 0);
    if (rvc_voice_config_read(&c, v->voice, &v->e)) {
        verify_fail(v, "phone", "phone");
        return;
    }
    if (frames < 1 || !(speaker >= 0 && speaker < (float)c.speakers)) {
        nn_fail(&v->e, NN_ERROR_FORMAT, "no frames, or a speaker the voice does not have (it has %d)",
                c.speakers);
        verify_fail(v, "phone", "phone");
        return;
    }
    float *own = check_prior(v, &c, frames, (int32_t)speaker);
    if (!verify_has(v, "audio")) {
        free(own);
        return;
    }
    float *recorded = verify_has(v, "z") ? verify_array(v, "z", &count) : NULL;
    float *z = recorded && count == frames * (size_t)c.inter
                   ? verify_transposed(recorded, (size_t)c.inter, frames)
                   : NULL;
    if (z) check_generator(v, &c, "audio", z, frames, (int32_t)speaker, true);
    if (own) check_generator(v, &c, "audio_from_phone", own, frames, (int32_t)speaker, !z);
    free(recorded);
    free(z);
    free(own);
}

/* ---- retrieval ---- */

/* Rows that the reference computed are compared; an exact hit is NaN there, and must be the hit's vector
 * here. */
static void check_retrieved(verify *v, rvc_index *x, const float *features, size_t n,
                            const rvc_index_float *const *nearest) {
    size_t width = (size_t)rvc_index_width(x), count, exact = 0, wrong = 0;
    float *got = malloc((n * width + 1) * sizeof *got), *want = verify_array(v, "retrieved", &count);
    if (got) memcpy(got, features, n * width * sizeof *got);
    if (!got || !want || count != n * width || rvc_index_retrieve(x, got, n, 1, 1, &v->e)) {
        verify_fail(v, "retrieved", "retrieved");
        free(got);
        free(want);
        return;
    }
    double worst = 0, signal = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        const float *g = got + i * width, *w = want + i * width;
        bool hit = isnan(w[0]);
        exact += hit;
        if (hit) wrong += memcmp(g, nearest[i * RVC_RETRIEVAL_K], width * sizeof *g) != 0;
        for (size_t j = 0; j < width && !hit; j++) {
            double d = fabs((double)g[j] - (double)w[j]);
            worst = isfinite(g[j]) ? fmax(worst, d) : INFINITY;
            error += d * d;
            signal += (double)w[j] * (double)w[j];
        }
    }
    char note[96];
    snprintf(note, sizeof note, "%zu exact hits (NaN in the reference), %zu of them not the vector hit",
             exact, wrong);
    double snr = error > 0 ? 10 * log10(signal / error) : 999;
    verify_verdict(v, "retrieved", "retrieved", worst, snr, 1 - error / (2 * signal), worst <= 1e-5 && !wrong,
                   note);
    free(got);
    free(want);
}

static void check_neighbours(verify *v, const float *scores, const int64_t *ids, size_t count) {
    size_t n, wrong = 0;
    float *want = verify_array(v, "scores", &n);
    double worst = 0, relative = 0, signal = 0, error = 0;
    for (size_t i = 0; want && n == count && i < n; i++) {
        double d = fabs((double)scores[i] - (double)want[i]), size = fabs((double)want[i]);
        worst = fmax(worst, d);
        if (d > 0) relative = fmax(relative, size > 0 ? d / size : INFINITY);
        error += d * d;
        signal += size * size;
    }
    double snr = error > 0 ? 10 * log10(signal / error) : 999;
    if (want && n == count)
        verify_verdict(v, "scores", "scores", worst, snr, 1 - error / (2 * signal), relative <= 1e-5, NULL);
    else
        verify_fail(v, "scores", "scores");
    free(want);

    const npz_array *a = npz_find(v->z, "ids");
    int64_t *list = a && a->dtype == NPZ_I64 && a->count == count ? malloc((count + 1) * sizeof *list) : NULL;
    if (!list || npz_read(v->z, a, list, &v->e)) {
        verify_fail(v, "ids", "ids");
    } else {
        for (size_t i = 0; i < count; i++) wrong += list[i] != ids[i];
        verify_verdict(v, "ids", "ids", (double)wrong, wrong ? -999 : 999, 1 - (double)wrong / (double)count,
                       wrong == 0, wrong ? "the error is the number of ids that differ" : NULL);
    }
    free(list);
}

void verify_retrieval(verify *v) {
    static const char *const tensors[] = {"scores", "ids", "retrieved"};
    if (!verify_has(v, "features") || !verify_has(v, "retrieved")) return;
    for (size_t i = 0; !v->set.index && i < 3; i++) verify_skip(v, tensors[i], "needs --index FILE");
    if (!v->set.index) return;
    enum { K = RVC_RETRIEVAL_K };
    size_t count, n = (size_t)verify_axis(v, "features", 0);
    rvc_index *x = NULL;
    float *features = verify_array(v, "features", &count), *scores = malloc((n + 1) * K * sizeof *scores);
    int64_t *ids = malloc((n + 1) * K * sizeof *ids);
    const rvc_index_float **nearest = malloc((n + 1) * K * sizeof *nearest);
    nn_code code = features && scores && ids && nearest ? NN_OK : nn_fail_memory(&v->e, "the neighbours");
    if (!code) code = rvc_index_open(&x, v->set.index, &v->e);
    if (!code) code = rvc_index_check(x, verify_axis(v, "features", 1), &v->e);
    if (!code) code = rvc_index_search(x, features, n, K, scores, ids, nearest, 1, &v->e);
    if (code) {
        verify_fail(v, "retrieved", "retrieved");
    } else {
        check_neighbours(v, scores, ids, n * K);
        check_retrieved(v, x, features, n, nearest);
    }
    rvc_index_close(x);
    free(features);
    free(scores);
    free(ids);
    free(nearest);
}
