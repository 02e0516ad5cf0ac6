/* test_pipeline.c - whole conversions on the small networks: lengths, alignment, silence, cuts and tiles,
 * repeatability, options, and what is refused. What the networks compute is test_models.c's matter; here it
 * only has to depend on the input. */
#include "check.h"

#include <pthread.h>
#include <stdbool.h>

#include "../mel/mel.h"
#include "../rmvpe/rmvpe.h"
#include "../rvc/hubert.h"
#include "../rvc/pipeline.h"
#include "../rvc/signal.h"
#include "check_models.h"

static const char *hubert, *rmvpe_file, *v2, *v1, *nof0;
static rvc_models *models; /* the 40k voice with pitch, one thread */
static rvc_converter *converter;

static int setup(void **state) {
    (void)state;
    hubert = check_small("pipeline", "hubert");
    rmvpe_file = check_small("pipeline", "rmvpe");
    v2 = check_small("pipeline", "voice_v2_40k");
    v1 = check_small("pipeline", "voice_v1_32k");
    nof0 = check_small("pipeline", "voice_v2_48k_nof0");
    models = check_open(v2, hubert, rmvpe_file, NULL, 1);
    converter = check_converter(models);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    rvc_converter_free(converter);
    rvc_models_close(models);
    return 0;
}

/* Something like speech: syllables of a gliding tone with overtones, and noise between them. Caller frees. */
static float *make_speech(size_t n, int rate) {
    float *x = malloc((n + 1) * sizeof *x);
    uint64_t seed = 7;
    double phase = 0;
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        double t = (double)i / rate, syllable = 0.5 - 0.5 * cos(2 * M_PI * 3 * t);
        phase += (160 + 60 * sin(2 * M_PI * 0.7 * t)) / rate;
        double voice = sin(2 * M_PI * phase) + 0.5 * sin(4 * M_PI * phase) + 0.3 * sin(6 * M_PI * phase);
        x[i] = (float)(0.2 * voice * syllable) + 0.01f * check_random_float(&seed);
    }
    return x;
}

static rvc_audio convert(rvc_converter *c, const float *x, size_t n, int rate, const rvc_options *o) {
    rvc_audio out;
    rvc_error e = {0};
    if (rvc_convert(c, x, n, rate, o, &out, &e)) fail_msg("%zu frames at %d Hz: %s", n, rate, e.text);
    for (size_t i = 0; i < out.frames; i++) assert_true(fabsf(out.samples[i]) <= 0.99f + 1e-6f);
    return out;
}

static rvc_audio convert_probed(rvc_converter *c, const float *x, size_t n, const rvc_options *o,
                                rvc_probe *probe) {
    rvc_audio out;
    rvc_error e = {0};
    if (rvc_convert_probed(c, x, n, 16000, o, probe, &out, &e)) fail_msg("%s", e.text);
    return out;
}

static bool equal(const rvc_audio *a, const rvc_audio *b) {
    return a->frames == b->frames && a->rate == b->rate &&
           !memcmp(a->samples, b->samples, a->frames * sizeof *a->samples);
}

/* Options that cut after every 2 s or so. */
static rvc_options short_chunks(void) {
    rvc_options o = rvc_default_options();
    o.x_query = 1;
    o.x_center = 2;
    o.x_max = 3;
    return o;
}

static double rms(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return n ? sqrt(sum / (double)n) : 0;
}

/* ---- lengths ---- */

static void output_is_exactly_as_long_as_input(void **state) {
    (void)state;
    static const int rates[] = {16000, 8000, 44100, 96000};
    static const double seconds[] = {0, 0, 0.05, 0.1234, 0.31, 1.00003};
    static const int out_rates[] = {0, 44100};
    for (size_t r = 0; r < 4; r++)
        for (size_t s = 0; s < 6; s++) {
            size_t n = s == 0 ? 1 : s == 1 ? 20 : (size_t)(seconds[s] * rates[r]);
            float *x = make_speech(n, rates[r]);
            rvc_options o = rvc_default_options();
            o.sample_rate = out_rates[(r + s) % 2];
            rvc_audio out = convert(converter, x, n, rates[r], &o);
            int rate = o.sample_rate ? o.sample_rate : 40000;
            assert_int_equal(out.rate, rate);
            assert_int_equal(out.frames, (size_t)floor((double)n * rate / rates[r] + 0.5));
            if (s >= 2) assert_true(rms(out.samples, out.frames) > 1e-4);
            rvc_audio_free(&out);
            free(x);
        }
}

static void every_length_near_a_frame_border_is_exact(void **state) {
    (void)state;
    for (size_t n = 15990; n <= 16330; n += n < 16002 || n > 16318 ? 1 : 79) {
        float *x = make_speech(n, 22050);
        rvc_audio out = convert(converter, x, n, 22050, NULL);
        assert_int_equal(out.frames, (size_t)floor((double)n * 40000 / 22050 + 0.5));
        rvc_audio_free(&out);
        free(x);
    }
}

static void all_voices_keep_the_length_over_several_chunks(void **state) {
    (void)state;
    const struct {
        const char *voice;
        int rate;
    } voices[] = {{v2, 40000}, {v1, 32000}, {nof0, 48000}};
    size_t n = 7 * 44100 + 12345;
    float *x = make_speech(n, 44100);
    for (size_t i = 0; i < 3; i++) {
        rvc_models *m = check_open(voices[i].voice, hubert, i == 2 ? NULL : rmvpe_file, NULL, 2);
        rvc_converter *c = check_converter(m);
        rvc_options o = short_chunks();
        rvc_audio out = convert(c, x, n, 44100, &o);
        assert_int_equal(out.rate, voices[i].rate);
        assert_int_equal(out.frames, (size_t)floor((double)n * voices[i].rate / 44100 + 0.5));
        /* the end is there: the last 0.1 s are as loud as the rest, more or less */
        size_t tail = (size_t)out.rate / 10;
        assert_true(rms(out.samples + out.frames - tail, tail) > 0.02 * rms(out.samples, out.frames));
        rvc_audio_free(&out);
        rvc_converter_free(c);
        rvc_models_close(m);
    }
    free(x);
}

/* The reference's lengths, from its own arithmetic. */
static void webui_lengths_are_the_references(void **state) {
    (void)state;
    static const size_t lengths[] = {16000, 16160, 16319, 48000, 5 * 16000 + 77, 8 * 16000 + 160};
    for (size_t k = 0; k < 6; k++) {
        size_t n = lengths[k], count, frames = 0, pad = 16000, *cuts, from = 0;
        float *x = make_speech(n, 16000), *filtered = malloc(n * sizeof *filtered);
        rvc_options o = short_chunks();
        o.compat = RVC_WEBUI;
        rvc_buffer lent = {.at = filtered, .count = n};
        memcpy(filtered, x, n * sizeof *x);
        assert_int_equal(rvc_highpass(&lent, 2, NULL), 0);
        assert_int_equal(rvc_chunk_cuts(&lent, (rvc_chunking){1, 1, 2, 3}, 160, &cuts, &count, NULL), 0);
        assert_true(n < 48000 ? count == 0 : count >= 1);
        for (size_t i = 0; i <= count; i++) {
            size_t samples = i < count ? cuts[i] - from + 2 * pad + 160 : n + 2 * pad - from;
            size_t features = 2 * ((samples - 400) / 320 + 1), most = samples / 160;
            frames += (features < most ? features : most) - 200;
            if (i < count) from = cuts[i];
        }
        rvc_audio out = convert(converter, x, n, 16000, &o);
        assert_int_equal(out.frames, frames * 400);
        assert_true(out.frames <= n * 5 / 2);
        rvc_audio_free(&out);
        free(cuts);
        free(filtered);
        free(x);
    }
}

/* ---- alignment ---- */

/* SNR of a against b shifted by `lag` samples, over the given range. */
static double snr_at_lag(const float *a, const float *b, size_t from, size_t to, ptrdiff_t lag) {
    return check_snr_db(a + from, b + (ptrdiff_t)from + lag, to - from);
}

/* Cutting must not move anything: the pieces are where they are in the conversion in one piece, to the end.
 * The voice without pitch is taken, since with one the sine starts anew in every chunk. */
static void chunks_lie_where_the_whole_has_them(void **state) {
    (void)state;
    size_t n = 9 * 16000 + 4321;
    float *x = make_speech(n, 16000);
    rvc_models *m = check_open(nof0, hubert, NULL, NULL, 1);
    rvc_converter *c = check_converter(m);
    rvc_options o = rvc_default_options(), cut = short_chunks();
    o.rms_mix_rate = cut.rms_mix_rate = 1;
    rvc_audio whole = convert(c, x, n, 16000, &o), pieces = convert(c, x, n, 16000, &cut);
    assert_int_equal(whole.frames, pieces.frames);
    for (size_t at = 0; at + 48000 < whole.frames; at += 48000) {
        size_t from = at + 1000, to = at + 47000;
        double here = snr_at_lag(pieces.samples, whole.samples, from, to, 0);
        double early = snr_at_lag(pieces.samples, whole.samples, from, to, -480);
        double late = snr_at_lag(pieces.samples, whole.samples, from, to, 480);
        print_message("second %zu: %.1f dB in place, %.1f and %.1f a frame off\n", at / 48000, here, early,
                      late);
        assert_true(here > early + 3 && here > late + 3);
    }
    rvc_audio_free(&whole);
    rvc_audio_free(&pieces);
    rvc_converter_free(c);
    rvc_models_close(m);
    free(x);
}

/* In one chunk whose length is a multiple of 320 both ways compute nearly the same, so they must lie on each
 * other. */
static void exact_is_aligned_with_webui(void **state) {
    (void)state;
    size_t n = 4 * 16000;
    float *x = make_speech(n, 16000);
    rvc_models *m = check_open(nof0, hubert, NULL, NULL, 1);
    rvc_converter *c = check_converter(m);
    rvc_options o = rvc_default_options(), w = o;
    w.compat = RVC_WEBUI;
    rvc_audio exact = convert(c, x, n, 16000, &o), webui = convert(c, x, n, 16000, &w);
    assert_int_equal(exact.frames, 4 * 48000);
    assert_int_equal(webui.frames, 4 * 48000 - 960); /* 20 ms short */
    double here = snr_at_lag(exact.samples, webui.samples, 4800, webui.frames - 4800, 0);
    double off = snr_at_lag(exact.samples, webui.samples, 4800, webui.frames - 4800, 480);
    print_message("%.1f dB in place, %.1f a frame off\n", here, off);
    assert_true(here > 15 && off < 6);
    rvc_audio_free(&exact);
    rvc_audio_free(&webui);
    rvc_converter_free(c);
    rvc_models_close(m);
    free(x);
}

/* Generator tiles with their halo give what one run over the whole chunk gives. */
static void tiles_equal_the_whole(void **state) {
    (void)state;
    size_t n = 15 * 16000; /* 1500 frames kept: three tiles */
    float *x = make_speech(n, 16000);
    rvc_options o = rvc_default_options();
    rvc_probe whole = {.whole = true};
    rvc_audio a = convert(converter, x, n, 16000, &o), b = convert_probed(converter, x, n, &o, &whole);
    assert_int_equal(a.frames, b.frames);
    double worst = check_max_error(a.samples, b.samples, a.frames);
    print_message("largest difference %.2g\n", worst);
    assert_true(worst <= 1e-5); /* a kernel may sum in another order elsewhere */
    assert_int_equal(whole.segment_count, (1500 + 200) * 400);
    free(whole.segment);
    free(whole.f0);
    rvc_audio_free(&a);
    rvc_audio_free(&b);
    free(x);
}

/* ---- silence ---- */

static void silence_gives_silence(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 100, 16000, 5 * 16000};
    float *x = calloc(5 * 16000, sizeof *x);
    for (int quiet = 0; quiet < 2; quiet++) {
        for (size_t i = 0; quiet && i < 5 * 16000; i++) x[i] = i % 2 ? 1e-5f : -1e-5f;
        for (size_t k = 0; k < 4; k++) {
            rvc_options o = short_chunks();
            rvc_audio out = convert(converter, x, lengths[k], 16000, &o);
            assert_int_equal(out.frames, (lengths[k] * 5 + 1) / 2);
            for (size_t i = 0; i < out.frames; i++) assert_true(out.samples[i] == 0);
            rvc_audio_free(&out);
        }
    }
    free(x);
}

/* A pause of digital silence stays one, up to ramps of 10 ms and the filter's ring; around it there is sound.
 */
static void a_pause_stays_a_pause(void **state) {
    (void)state;
    size_t n = 3 * 16000;
    float *x = make_speech(n, 16000);
    memset(x + 16000, 0, 16000 * sizeof *x);
    rvc_audio out = convert(converter, x, n, 16000, NULL);
    double before = rms(out.samples + 20000, 16000), after = rms(out.samples + 84000, 16000);
    double inside = rms(out.samples + 50000, 20000);
    print_message("rms %.3g before, %.3g inside, %.3g after\n", before, inside, after);
    assert_true(before > 1e-3 && after > 1e-3);
    assert_true(inside == 0);
    rvc_audio_free(&out);

    rvc_options o = rvc_default_options(); /* the reference has no gate */
    o.compat = RVC_WEBUI;
    out = convert(converter, x, n, 16000, &o);
    assert_true(rms(out.samples + 50000, 20000) > 0);
    rvc_audio_free(&out);
    free(x);
}

/* ---- repeatability ---- */

static void same_seed_same_bytes(void **state) {
    (void)state;
    size_t n = 5 * 16000 + 123;
    float *x = make_speech(n, 16000);
    rvc_options o = short_chunks();
    rvc_audio first = convert(converter, x, n, 16000, &o);
    rvc_audio other = convert(converter, x + 1000, 30000, 16000, &o);
    rvc_audio again = convert(converter, x, n, 16000, &o);
    assert_true(equal(&first, &again));
    rvc_audio_free(&other);
    rvc_audio_free(&again);

    rvc_models *m = check_open(v2, hubert, rmvpe_file, NULL, 2);
    rvc_converter *c = check_converter(m);
    rvc_audio threads = convert(c, x, n, 16000, &o);
    assert_true(equal(&first, &threads));
    rvc_audio_free(&threads);
    rvc_converter_free(c);
    rvc_models_close(m);

    o.seed = 1;
    again = convert(converter, x, n, 16000, &o);
    assert_int_equal(again.frames, first.frames);
    assert_false(equal(&first, &again));
    rvc_audio_free(&again);
    rvc_audio_free(&first);
    free(x);
}

typedef struct job {
    rvc_models *models;
    const float *x;
    size_t n;
    rvc_audio out;
    rvc_status status;
} job;

static void *work(void *context) {
    job *j = context;
    rvc_converter *c = NULL;
    for (int i = 0; i < 3 && !j->status; i++) {
        j->status = rvc_converter_new(&c, j->models, NULL);
        rvc_audio_free(&j->out);
        if (!j->status) j->status = rvc_convert(c, j->x, j->n, 16000, NULL, &j->out, NULL);
        rvc_converter_free(c);
        c = NULL;
    }
    return NULL;
}

static void converters_share_models(void **state) {
    (void)state;
    enum { THREADS = 3 };
    size_t n = 20000;
    float *x = make_speech(n, 16000);
    rvc_audio alone = convert(converter, x, n, 16000, NULL);
    rvc_models *m = check_open(v2, hubert, rmvpe_file, NULL, 2);
    job jobs[THREADS] = {0};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){.models = m, .x = x, .n = n};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(jobs[i].status, RVC_OK);
        assert_true(equal(&alone, &jobs[i].out));
        rvc_audio_free(&jobs[i].out);
    }
    rvc_models_close(m);
    rvc_audio_free(&alone);
    free(x);
}

static void warm_up_changes_nothing(void **state) {
    (void)state;
    size_t n = 20000;
    float *x = make_speech(n, 16000);
    rvc_converter *c = check_converter(models);
    assert_int_equal(rvc_warm_up(c, NULL), RVC_OK);
    rvc_audio a = convert(converter, x, n, 16000, NULL), b = convert(c, x, n, 16000, NULL);
    assert_true(equal(&a, &b));
    rvc_audio_free(&a);
    rvc_audio_free(&b);
    rvc_converter_free(c);
    free(x);
}

/* ---- options ---- */

static void speaker_transpose_and_loudness_matter(void **state) {
    (void)state;
    size_t n = 32000;
    float *x = make_speech(n, 16000);
    rvc_options o = rvc_default_options();
    rvc_audio base = convert(converter, x, n, 16000, &o), other;
    o.speaker = 3;
    other = convert(converter, x, n, 16000, &o);
    assert_false(equal(&base, &other));
    rvc_audio_free(&other);

    /* f0 itself is the same before transposing, and an octave changes what is spoken */
    o = rvc_default_options();
    o.transpose = 12;
    rvc_probe probe = {0}, plain = {0};
    other = convert_probed(converter, x, n, &o, &probe);
    assert_false(equal(&base, &other));
    rvc_audio_free(&other);
    other = convert_probed(converter, x, n, NULL, &plain);
    assert_true(equal(&base, &other));
    assert_int_equal(probe.f0_count, plain.f0_count);
    assert_memory_equal(probe.f0, plain.f0, plain.f0_count * sizeof *plain.f0);
    rvc_audio_free(&other);
    free(probe.f0);
    free(plain.f0);

    /* loudness of the input, half as loud: the output follows at rate 0, and does not at 1 */
    double loud[2][2];
    for (int r = 0; r < 2; r++)
        for (int half = 0; half < 2; half++) {
            float *y = malloc(n * sizeof *y);
            for (size_t i = 0; i < n; i++) y[i] = half ? x[i] / 2 : x[i];
            o = rvc_default_options();
            o.rms_mix_rate = (float)r;
            other = convert(converter, y, n, 16000, &o);
            loud[r][half] = rms(other.samples + 8000, other.frames - 16000);
            rvc_audio_free(&other);
            free(y);
        }
    print_message("rate 0: %.4f and %.4f, rate 1: %.4f and %.4f\n", loud[0][0], loud[0][1], loud[1][0],
                  loud[1][1]);
    assert_true(fabs(loud[0][1] / loud[0][0] - 0.5) < 0.05);
    assert_true(loud[1][1] / loud[1][0] > 0.7);
    rvc_audio_free(&base);
    free(x);
}

static void options_out_of_range_are_refused(void **state) {
    (void)state;
    rvc_options d = rvc_default_options(), bad[16];
    const char *named[16];
    size_t n = 0;
#define BAD(field, value, name) (bad[n] = d, bad[n].field = (value), named[n++] = name)
    BAD(transpose, 61, "transpose");
    BAD(transpose, NAN, "transpose");
    BAD(speaker, -1, "speaker");
    BAD(speaker, 4, "speaker");
    BAD(index_rate, 1.5f, "index");
    BAD(protect, 0.6f, "protect");
    BAD(protect, -0.1f, "protect");
    BAD(rms_mix_rate, 2, "rms");
    BAD(noise_scale, -1, "noise");
    BAD(sample_rate, 100, "rate");
    BAD(x_pad, 0, "x_pad");
    BAD(x_query, 39, "x_query");
    BAD(x_center, 0, "x_query");
    BAD(x_max, 0, "x_max");
    BAD(compat, (rvc_compat)7, "compat");
    float x[400] = {0};
    for (size_t i = 0; i < n; i++) {
        rvc_audio out;
        rvc_error e = {0};
        assert_int_equal(rvc_convert(converter, x, 400, 16000, &bad[i], &out, &e), RVC_ERROR_ARGUMENT);
        if (!strstr(e.text, named[i])) fail_msg("\"%s\" does not name %s", e.text, named[i]);
        assert_null(out.samples);
    }
}

static void bad_input_is_refused(void **state) {
    (void)state;
    float x[64] = {0};
    rvc_audio out;
    rvc_error e = {0};
    assert_int_equal(rvc_convert(converter, x, 0, 16000, NULL, &out, &e), RVC_ERROR_FORMAT);
    e = (rvc_error){0};
    assert_int_equal(rvc_convert(converter, x, 64, 0, NULL, &out, &e), RVC_ERROR_ARGUMENT);
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        x[37] = wrong[i];
        e = (rvc_error){0};
        assert_int_equal(rvc_convert(converter, x, 64, 16000, NULL, &out, &e), RVC_ERROR_FORMAT);
        assert_non_null(strstr(e.text, "37"));
    }
}

/* ---- progress ---- */

typedef struct watch {
    double last;
    int calls, stop_at;
    bool monotone;
} watch;

static int on_progress(void *user, double fraction) {
    watch *w = user;
    w->monotone &= fraction >= w->last && fraction >= 0 && fraction <= 1;
    w->last = fraction;
    return ++w->calls == w->stop_at;
}

static void progress_rises_to_one_and_can_stop(void **state) {
    (void)state;
    size_t n = 6 * 16000;
    float *x = make_speech(n, 16000);
    rvc_options o = short_chunks();
    watch w = {.monotone = true};
    o.progress = on_progress;
    o.progress_user = &w;
    rvc_audio out = convert(converter, x, n, 16000, &o);
    assert_true(w.monotone);
    assert_true(w.calls >= 4);
    assert_true(w.last > 0.97 && w.last <= 1);
    const rvc_timing *t = &out.timing;
    double sum = t->resample + t->mel + t->rmvpe + t->hubert + t->retrieval + t->synthesis + t->other;
    assert_true(fabs(sum - t->total) < 1e-6 && t->mel > 0 && t->rmvpe > 0 && t->hubert > 0 &&
                t->synthesis > 0 && t->other > 0);
    assert_true(fabs(t->audio_seconds - 6) < 1e-9);
    rvc_audio_free(&out);

    for (int stop = 1; stop <= w.calls; stop += 2) {
        watch s = {.monotone = true, .stop_at = stop};
        rvc_error e = {0};
        o.progress_user = &s;
        assert_int_equal(rvc_convert(converter, x, n, 16000, &o, &out, &e), RVC_CANCELLED);
        assert_int_equal(s.calls, stop);
        assert_null(out.samples);
    }
    free(x);
}

/* ---- retrieval and protect ---- */

/* A flat FAISS index of `count` vectors of `width`, drawn from the features' range. */
static char *make_index(const char *name, int width, int64_t count) {
    char *path = check_tmp(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    int32_t w = width, metric = 1;
    int64_t unused[2] = {1 << 20, 1 << 20};
    uint64_t floats = (uint64_t)(count * width), seed = 3;
    fwrite("IxF2", 1, 4, f);
    fwrite(&w, 4, 1, f);
    fwrite(&count, 8, 1, f);
    fwrite(unused, 8, 2, f);
    fputc(1, f);
    fwrite(&metric, 4, 1, f);
    fwrite(&floats, 8, 1, f);
    for (uint64_t i = 0; i < floats; i++) {
        float v = check_random_float(&seed);
        fwrite(&v, 4, 1, f);
    }
    fclose(f);
    return path;
}

static void index_and_protect_act_as_documented(void **state) {
    (void)state;
    char *index = make_index("pipeline.index", 64, 200);
    rvc_models *m = check_open(v2, hubert, rmvpe_file, index, 2);
    rvc_converter *c = check_converter(m);
    assert_int_equal(rvc_models_info(m).index_vectors, 200);
    size_t n = 40000;
    float *x = make_speech(n, 16000);
    rvc_probe probe = {0};
    rvc_options o = rvc_default_options();
    rvc_audio without = convert_probed(converter, x, n, &o, &probe), out[4];
    size_t voiced = 0;
    for (size_t i = 0; i < probe.f0_count; i++) voiced += probe.f0[i] > 0;
    print_message("%zu of %zu frames voiced\n", voiced, probe.f0_count);
    assert_true(voiced > probe.f0_count / 20 && voiced < probe.f0_count - probe.f0_count / 20);

    static const struct { float rate, protect; } settings[] = {{0, 0.33f}, {1, 0.5f}, {1, 0}, {0.5f, 0.5f}};
    for (int i = 0; i < 4; i++) {
        o.index_rate = settings[i].rate;
        o.protect = settings[i].protect;
        out[i] = convert(c, x, n, 16000, &o);
    }
    assert_true(equal(&without, &out[0]));  /* nothing retrieved: as if there were no index */
    assert_false(equal(&without, &out[1])); /* everything retrieved */
    assert_false(equal(&out[1], &out[2]));  /* unvoiced frames protected */
    assert_false(equal(&out[1], &out[3]));  /* half of it */
    for (int i = 0; i < 4; i++) rvc_audio_free(&out[i]);
    rvc_audio_free(&without);
    rvc_converter_free(c);
    rvc_models_close(m);
    free(probe.f0);
    free(index);
    free(x);
}

/* ---- pitch ---- */

static void pitch_alone_is_rmvpe_of_the_signal(void **state) {
    (void)state;
    size_t n = 33333, count;
    float *x = make_speech(n, 16000), *f0;
    rvc_error e = {0};
    rvc_models *m = check_open(NULL, NULL, rmvpe_file, NULL, 1);
    rvc_converter *c = check_converter(m);
    assert_int_equal(rvc_warm_up(c, &e), RVC_OK);
    assert_int_equal(rvc_pitch(c, x, n, 16000, &f0, &count, &e), RVC_OK);
    assert_int_equal(count, n / 160 + 1);

    nn_error ne = {0};
    nn_device *d;
    nn_weights *w;
    mel *mel_of;
    rmvpe *r;
    assert_int_equal(
        nn_device_open(&d, "cpu", 1, &ne) | nn_weights_open(&w, rmvpe_file, &ne) | mel_new(&mel_of, &ne), 0);
    assert_int_equal(rmvpe_new(&r, w, d, &ne), 0);
    float *mels = malloc(count * 128 * sizeof *mels), *salience = malloc(count * 360 * sizeof *mels);
    float *want = malloc(count * sizeof *want);
    assert_int_equal(mel_compute(mel_of, x, n, 0, count, mels, &ne), 0);
    assert_int_equal(rmvpe_salience(r, mels, count, salience, &ne), 0);
    rmvpe_decode(salience, count, RMVPE_THRESHOLD, want);
    assert_memory_equal(f0, want, count * sizeof *f0);
    free(f0);

    /* at another rate: as many frames as at 16 kHz; and a voice cannot be converted with these models */
    assert_int_equal(rvc_pitch(c, x, 30000, 48000, &f0, &count, &e), RVC_OK);
    assert_int_equal(count, 10000 / 160 + 1);
    free(f0);
    rvc_audio out;
    assert_int_equal(rvc_convert(c, x, n, 16000, NULL, &out, &e), RVC_ERROR_ARGUMENT);
    rmvpe_free(r);
    mel_free(mel_of);
    nn_weights_free(w);
    nn_device_close(d);
    rvc_converter_free(c);
    rvc_models_close(m);
    free(mels);
    free(salience);
    free(want);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_exactly_as_long_as_input),
        cmocka_unit_test(every_length_near_a_frame_border_is_exact),
        cmocka_unit_test(all_voices_keep_the_length_over_several_chunks),
        cmocka_unit_test(webui_lengths_are_the_references),
        cmocka_unit_test(chunks_lie_where_the_whole_has_them),
        cmocka_unit_test(exact_is_aligned_with_webui),
        cmocka_unit_test(tiles_equal_the_whole),
        cmocka_unit_test(silence_gives_silence),
        cmocka_unit_test(a_pause_stays_a_pause),
        cmocka_unit_test(same_seed_same_bytes),
        cmocka_unit_test(converters_share_models),
        cmocka_unit_test(warm_up_changes_nothing),
        cmocka_unit_test(speaker_transpose_and_loudness_matter),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(progress_rises_to_one_and_can_stop),
        cmocka_unit_test(index_and_protect_act_as_documented),
        cmocka_unit_test(pitch_alone_is_rmvpe_of_the_signal),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
