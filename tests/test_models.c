/* test_models.c - the networks: against the recorded reference, against themselves on every instruction set
 * and in pieces, and against checkpoints that are not what they should be. */
#include "check.h"

#include <stdbool.h>

#include "../nn/npz.h"
#include "../rmvpe/rmvpe.h"
#include "../rvc/hubert.h"
#include "../rvc/models.h"
#include "../rvc/pipeline.h"
#include "../rvc/synthesizer.h"
#include "check_models.h"

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
#else
enum { SANITIZED = 0 };
#endif

static const char *hubert, *rmvpe_file, *v2, *v1, *nof0;

static int setup(void **state) {
    (void)state;
    hubert = check_small("models", "hubert");
    rmvpe_file = check_small("models", "rmvpe");
    v2 = check_small("models", "voice_v2_40k");
    v1 = check_small("models", "voice_v1_32k");
    nof0 = check_small("models", "voice_v2_48k_nof0");
    return 0;
}

/* ---- the reference, full size ---- */

static int verify(const char *reference, const char *voice, const char *content, const char *pitch,
                  const char *index) {
    const char *argv[16] = {"verify", reference};
    int n = 2;
    const struct {
        const char *option, *value;
    } options[] = {{"-m", voice}, {"--hubert", content}, {"--rmvpe", pitch}, {"--index", index}};
    for (int i = 0; i < 4; i++)
        if (options[i].value) {
            argv[n++] = options[i].option;
            argv[n++] = options[i].value;
        }
    fflush(stdout);
    return rvc_verify_main(n, (char **)argv);
}

static const char *const full_size[] = {"rvc_v2_40k", "rvc_v1_32k", "rvc_v2_48k_nof0", "hubert_base",
                                        "rmvpe"};

/* Skips where the full-size networks cannot or should not be run. A test that takes them ends with remove_full. */
static const char *full(const char *name) {
    if (SANITIZED) {
        print_message("skipped: the full-size networks run without sanitizers, the small ones with them\n");
        skip();
    }
    setenv("RVC_PACKED", "off",
           1); /* the small ones and test_packed keep packed files; these would be a gigabyte */
    const char *path = check_full(name);
    if (!path) skip();
    return path;
}

static int remove_full(void **state) {
    (void)state;
    unsetenv("RVC_PACKED");
    for (size_t i = 0; i < sizeof full_size / sizeof *full_size; i++)
        remove(check_model_path("full", full_size[i]));
    return 0;
}

static void reference_v2_40k(void **state) {
    (void)state;
    const char *voice = full("rvc_v2_40k"), *content = full("hubert_base"), *pitch = full("rmvpe");
    assert_int_equal(verify(check_shared("reference/stages_v2_40k.npz"), voice, content, pitch, NULL), 0);
    assert_int_equal(verify(check_shared("reference/pipeline_v2_40k.npz"), voice, content, pitch, NULL), 0);
}

static void reference_v1_32k(void **state) {
    (void)state;
    const char *voice = full("rvc_v1_32k");
    assert_int_equal(verify(check_shared("reference/stages_v1_32k.npz"), voice, NULL, NULL, NULL), 0);
}

static void reference_v2_48k_nof0(void **state) {
    (void)state;
    const char *voice = full("rvc_v2_48k_nof0");
    assert_int_equal(verify(check_shared("reference/stages_v2_48k_nof0.npz"), voice, NULL, NULL, NULL), 0);
}

static void reference_retrieval(void **state) {
    (void)state;
    const char *file = check_shared("fixtures/index/retrieval_v2.npz");
    const char *index = check_shared("fixtures/index/added_IVF9_Flat_nprobe_1_demo_v2.index");
    if (!file || !index) skip();
    assert_int_equal(verify(file, NULL, NULL, NULL, index), 0);
}

/* ---- verify itself ---- */

/* Copies `path` with `offset` added to every value of float32 array `name`. */
static char *altered(const char *path, const char *name, float offset) {
    nn_error e = {0};
    npz *z;
    npz_writer *w;
    char *out = check_tmp("altered.npz");
    if (npz_open(&z, path, &e) || npz_create(&w, out, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < npz_count(z); i++) {
        const npz_array *a = npz_at(z, i);
        char *data = malloc((size_t)a->bytes + 1);
        assert_int_equal(npz_read(z, a, data, &e), 0);
        float *x = (float *)(void *)data;
        for (uint64_t k = 0; !strcmp(a->name, name) && k < a->count; k++) x[k] += offset;
        assert_int_equal(npz_write(w, a->name, a->dtype, a->rank, a->shape, data, &e), 0);
        free(data);
    }
    npz_close(z);
    assert_int_equal(npz_finish(w, &e), 0);
    return out;
}

/* A conversion by the small networks, as recorded: no noise, and default options but for the cuts. */
typedef struct conversion {
    float *x, *silence; /* [n]; [frames * upp], all the noise there is */
    size_t n, frames, inter, upp;
    rvc_probe probe;
} conversion;

static conversion convert_small(void) {
    conversion c = {.n = 32000};
    rvc_models *m = check_open(v2, hubert, rmvpe_file, NULL, 1);
    rvc_converter *converter = check_converter(m);
    rvc_options o = rvc_default_options();
    rvc_audio audio;
    rvc_error e = {0};
    c.x = malloc(c.n * sizeof *c.x);
    for (size_t i = 0; i < c.n; i++)
        c.x[i] = 0.2f * (float)sin(0.07 * (double)i + 20 * sin(0.0003 * (double)i));
    c.frames = 2 * rvc_hubert_frames(c.n + 2 * RVC_RATE);
    c.inter = (size_t)m->config.inter;
    c.upp = (size_t)m->config.upp;
    c.silence = calloc(c.frames * c.upp, sizeof *c.silence);
    const float *const noise[] = {c.silence};
    c.probe = (rvc_probe){
        .chunks = 1, .latent_noise = noise, .source_noise = noise, .frames = &c.frames, .whole = true};
    o.compat = RVC_WEBUI;
    assert_true(c.inter <= c.upp);
    if (rvc_convert_probed(converter, c.x, c.n, RVC_RATE, &o, &c.probe, &audio, &e)) fail_msg("%s", e.text);
    assert_int_equal(c.probe.segment_count, c.frames * c.upp);
    c.probe.latent_noise = c.probe.source_noise = NULL;
    c.probe.frames = NULL;
    rvc_audio_free(&audio);
    rvc_converter_free(converter);
    rvc_models_close(m);
    return c;
}

/* What `rvc verify` says of it where f0 had been `bend` of itself higher, and a hum of `decibels` below the
 * samples were added to them. */
static int verify_conversion(const conversion *c, double bend, double decibels) {
    static const char params[] = "{\"transpose\": 0}";
    const size_t count = c->probe.segment_count, f0_count = c->probe.f0_count;
    float *f0 = malloc(f0_count * sizeof *f0), *samples = malloc(count * sizeof *samples);
    char *path = check_tmp("conversion.npz");
    nn_error e = {0};
    npz_writer *w;
    double power = 0;
    for (size_t i = 0; i < f0_count; i++) f0[i] = (float)(c->probe.f0[i] * (1 + bend));
    for (size_t i = 0; i < count; i++) power += (double)c->probe.segment[i] * (double)c->probe.segment[i];
    const double hum = sqrt(2 * power / (double)count) * pow(10, -decibels / 20);
    for (size_t i = 0; i < count; i++) samples[i] = c->probe.segment[i] + (float)(hum * sin(0.1 * (double)i));
    if (npz_create(&w, path, &e)) fail_msg("%s", e.text);
    const struct {
        const char *name;
        int rank;
        int64_t shape[2];
        const float *data;
    } arrays[] = {{"audio16k", 1, {(int64_t)c->n}, c->x},
                  {"noise_z_0", 2, {(int64_t)c->inter, (int64_t)c->frames}, c->silence},
                  {"noise_source_0", 1, {(int64_t)count}, c->silence},
                  {"f0_raw", 1, {(int64_t)f0_count}, f0},
                  {"segment_0", 1, {(int64_t)count}, samples}};
    assert_int_equal(npz_write(w, "params", NPZ_U8, 1, (int64_t[]){sizeof params - 1}, params, &e), 0);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(
            npz_write(w, arrays[i].name, NPZ_F32, arrays[i].rank, arrays[i].shape, arrays[i].data, &e), 0);
    assert_int_equal(npz_finish(w, &e), 0);
    const int status = verify(path, v2, hubert, rmvpe_file, NULL);
    remove(path);
    free(path);
    free(f0);
    free(samples);
    return status;
}

/* No more is asked of the samples than of the sine of the recorded pitch, down to a point; and the pitch
 * itself has to be right. */
static void verify_allows_for_the_pitch(void **state) {
    (void)state;
    conversion c = convert_small();
    size_t voiced = 0;
    for (size_t i = 0; i < c.probe.f0_count; i++) voiced += c.probe.f0[i] > 0;
    assert_true(voiced > c.probe.f0_count / 20);
    assert_int_equal(verify_conversion(&c, 0, 85), 0);
    assert_int_equal(verify_conversion(&c, 0, 65), 1);    /* the same pitch: 80 dB */
    assert_int_equal(verify_conversion(&c, 5e-7, 65), 0); /* another in its last bits: less */
    assert_int_equal(verify_conversion(&c, 5e-7, 45), 1);
    assert_int_equal(verify_conversion(&c, 4e-5, 43), 0); /* 0.07 cents: 40 dB, not the sine's 20 */
    assert_int_equal(verify_conversion(&c, 4e-5, 37), 1);
    assert_int_equal(verify_conversion(&c, 1e-4, 85), 1); /* 0.17 cents are too many */
    free(c.probe.f0);
    free(c.probe.segment);
    free(c.silence);
    free(c.x);
}

static void verify_finds_what_is_wrong(void **state) {
    (void)state;
    const char *voice = full("rvc_v2_48k_nof0"),
               *reference = check_shared("reference/stages_v2_48k_nof0.npz");
    static const struct {
        const char *name;
        float offset;
        int status;
    } changes[] = {{"m", 0, 0},     {"m", 1e-4f, 1},     {"logs", 1e-4f, 1},
                   {"z", 1e-3f, 1}, {"audio", 1e-4f, 1}, {"phone", 1e-3f, 1}};
    for (int i = 0; i < 6; i++) {
        char *path = altered(reference, changes[i].name, changes[i].offset);
        assert_int_equal(verify(path, voice, NULL, NULL, NULL), changes[i].status);
        remove(path);
        free(path);
    }
    assert_int_equal(verify(reference, v2, NULL, NULL, NULL), 1);   /* another voice */
    assert_int_equal(verify(reference, NULL, NULL, NULL, NULL), 1); /* nothing but skips is no pass */
    assert_int_equal(verify(voice, voice, NULL, NULL, NULL), 1);    /* no reference file */
    assert_int_equal(verify("no-such-file.npz", voice, NULL, NULL, NULL), 1);
    char *no_file[] = {"verify", "-m"}, *unknown[] = {"verify", "--what", "x"};
    assert_int_equal(rvc_verify_main(2, no_file), 2);
    assert_int_equal(rvc_verify_main(3, unknown), 2);
    assert_int_equal(rvc_verify_main(1, no_file), 2);
}

/* ---- every instruction set ---- */

static nn_weights *open_weights(const char *path) {
    nn_error e = {0};
    nn_weights *w = NULL;
    if (nn_weights_open(&w, path, &e)) fail_msg("%s", e.text);
    return w;
}

static nn_plan *plan(nn_graph *g, nn_device *d) {
    nn_error e = {0};
    nn_plan *p = NULL;
    if (nn_plan_new(&p, g, d, &e)) fail_msg("%s", e.text);
    return p;
}

static float *random_floats(size_t n, uint64_t seed, float scale) {
    float *x = malloc((n + 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = scale * check_random_float(&seed);
    return x;
}

static void write_random(nn_plan *p, const char *input, uint64_t seed, float scale) {
    nn_shape s = nn_plan_shape(p, input);
    float *x = random_floats((size_t)s.h * (size_t)s.w * (size_t)s.c, seed, scale);
    nn_plan_write(p, input, x);
    free(x);
}

/* Runs p and returns its output, *n values. */
static float *run(nn_plan *p, const char *name, size_t *n) {
    nn_error e = {0};
    nn_shape s = nn_plan_shape(p, name);
    *n = (size_t)s.h * (size_t)s.w * (size_t)s.c;
    float *x = malloc(*n * sizeof *x + 1);
    assert_non_null(x);
    if (nn_plan_run(p, &e)) fail_msg("%s", e.text);
    nn_plan_read(p, name, x);
    return x;
}

enum { PITCH, CONTENT, PRIOR, GENERATOR, NETWORKS };
static const char *const outputs[NETWORKS] = {"salience", "v2", "z", "audio"};

/* One of the small networks on random input, under device d. */
static float *run_network(int which, nn_device *d, size_t *n) {
    rvc_voice_config c = {0};
    static const int32_t speaker = 2;
    int32_t pitch[40];
    nn_weights *w = open_weights(which == PITCH ? rmvpe_file : which == CONTENT ? hubert : v2);
    if (which >= PRIOR) assert_int_equal(rvc_voice_config_read(&c, w, NULL), 0);
    nn_graph *g = which == PITCH     ? rmvpe_graph(w, 100)
                  : which == CONTENT ? rvc_hubert_graph(w, 9000, RVC_HUBERT_V2)
                  : which == PRIOR   ? rvc_prior_graph(w, &c, 40, 0)
                                     : rvc_generator_graph(w, &c, 30, 0);
    nn_plan *p = plan(g, d);
    static const struct {
        const char *name;
        float scale;
    } inputs[] = {{"mel", 5}, {"audio", 0.3f}, {"phone", 1}, {"noise", 1}, {"z", 2}, {"source", 0.1f}};
    for (int i = 0; i < 6; i++)
        if (strcmp(inputs[i].name, outputs[which]) && nn_plan_shape(p, inputs[i].name).c)
            write_random(p, inputs[i].name, (uint64_t)i + 1, inputs[i].scale);
    for (int i = 0; i < 40; i++) pitch[i] = 1 + i * 6;
    if (which == PRIOR) nn_plan_write(p, "pitch", pitch);
    if (which >= PRIOR) nn_plan_write(p, "speaker", &speaker);
    float *x = run(p, outputs[which], n);
    nn_plan_free(p);
    nn_weights_free(w);
    return x;
}

static void instruction_sets_agree(void **state) {
    (void)state;
    static const char *const isas[] = {"avx2", "avx512"};
    const char *before = getenv("RVC_CPU");
    char *kept = before ? strdup(before) : NULL;
    for (int which = 0; which < NETWORKS; which++) {
        nn_device *d = NULL;
        size_t n, m;
        setenv("RVC_CPU", "baseline", 1);
        assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
        float *want = run_network(which, d, &n);
        nn_device_close(d);
        for (int i = 0; i < 2; i++)
            for (int threads = 1; threads <= 3; threads += 2) {
                setenv("RVC_CPU", isas[i], 1);
                if (nn_device_open(&d, "cpu", threads, NULL)) continue; /* this machine does not have it */
                float *got = run_network(which, d, &m);
                assert_int_equal(n, m);
                double snr = check_snr_db(got, want, n);
                print_message("%-9s %s, %d threads: %.1f dB\n", outputs[which], isas[i], threads, snr);
                assert_true(snr >= 100);
                free(got);
                nn_device_close(d);
            }
        free(want);
    }
    if (kept)
        setenv("RVC_CPU", kept, 1);
    else
        unsetenv("RVC_CPU");
    free(kept);
}

/* ---- networks in pieces ---- */

/* Which layers are read does not change what is in them; frames are as promised at every length. */
static void hubert_layers(void **state) {
    (void)state;
    nn_device *d;
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
    nn_weights *w = open_weights(hubert);
    assert_int_equal(rvc_hubert_width(w, 1), 32);
    assert_int_equal(rvc_hubert_width(w, 2), 64);
    for (int n = 400; n < 1800; n += 93) {
        nn_plan *all = plan(rvc_hubert_graph(w, n, RVC_HUBERT_L0 | RVC_HUBERT_V1 | RVC_HUBERT_V2), d);
        assert_int_equal(nn_plan_shape(all, "v2").w, rvc_hubert_frames((size_t)n));
        assert_int_equal(nn_plan_shape(all, "v2").w, (n - 400) / 320 + 1);
        assert_int_equal(nn_plan_shape(all, "l0").c, 64);
        write_random(all, "audio", 5, 0.5f);
        size_t count, one_count;
        float *v1_all = run(all, "v1", &count);
        nn_plan *one = plan(rvc_hubert_graph(w, n, RVC_HUBERT_V1), d);
        assert_int_equal(nn_plan_shape(one, "v2").c, 0);
        write_random(one, "audio", 5, 0.5f);
        float *v1_one = run(one, "v1", &one_count);
        assert_int_equal(count, one_count);
        assert_true(check_snr_db(v1_one, v1_all, count) > 110);
        free(v1_all);
        free(v1_one);
        nn_plan_free(all);
        nn_plan_free(one);
    }
    assert_int_equal(rvc_hubert_frames(399), 0);
    nn_weights_free(w);
    nn_device_close(d);
}

/* Every frame of a long signal is kept from exactly one window, and windows agree with the network over the
 * whole. */
static void rmvpe_windows(void **state) {
    (void)state;
    nn_device *d;
    nn_error e = {0};
    rmvpe *r;
    assert_int_equal(nn_device_open(&d, "cpu", 2, NULL), 0);
    nn_weights *w = open_weights(rmvpe_file);
    assert_int_equal(rmvpe_frame_multiple(w), 4);
    assert_int_equal(rmvpe_new(&r, w, d, &e), 0);
    static const size_t lengths[] = {1,      3,      RMVPE_WINDOW, RMVPE_WINDOW + 1, 2 * RMVPE_WINDOW - 7,
                                     100001, 9000017};
    for (int i = 0; i < 7; i++) {
        size_t at = 0, windows = rmvpe_window_count(r, lengths[i]);
        for (size_t k = 0; k < windows; k++) {
            rmvpe_window v = rmvpe_window_at(r, lengths[i], k);
            assert_int_equal(v.from + v.keep, at);
            assert_int_equal(v.from % 4, 0);
            assert_true(v.count <= RMVPE_WINDOW && v.keep + v.kept <= v.count && v.kept > 0);
            assert_true(v.from + v.count <= lengths[i]);
            size_t next = windows > 1 ? rmvpe_window_at(r, lengths[i], k ? 0 : 1).count : v.count;
            assert_true((v.count + 3) / 4 == (next + 3) / 4); /* one plan for all */
            at += v.kept;
        }
        assert_int_equal(at, lengths[i]);
    }
    size_t frames = RMVPE_WINDOW + 501, n;
    float *mels = random_floats(frames * 128, 9, 6), *got = malloc(frames * RMVPE_CLASSES * sizeof *got);
    assert_int_equal(rmvpe_salience(r, mels, frames, got, &e), 0);
    size_t padded = (frames + 3) / 4 * 4;
    float *input = calloc(padded * 128, sizeof *input);
    memcpy(input, mels, frames * 128 * sizeof *mels);
    nn_plan *p = plan(rmvpe_graph(w, (int)padded), d);
    nn_plan_write(p, "mel", input);
    float *want = run(p, "salience", &n);
    double snr = check_snr_db(got, want, frames * RMVPE_CLASSES);
    print_message("windows against the whole: %.1f dB\n", snr);
    assert_true(snr >= 100);
    nn_plan_free(p);
    rmvpe_free(r);
    nn_weights_free(w);
    nn_device_close(d);
    free(mels);
    free(got);
    free(want);
    free(input);
}

/* A frame's samples depend on rvc_receptive_frames frames to each side at most, and on its neighbours. */
static void generator_reaches_as_far_as_it_says(void **state) {
    (void)state;
    const char *const voices[] = {v2, v1, nof0};
    nn_device *d;
    assert_int_equal(nn_device_open(&d, "cpu", 1, NULL), 0);
    for (int k = 0; k < 3; k++) {
        enum { FRAMES = 80, AT = 40 };
        rvc_voice_config c;
        static const int32_t speaker = 0;
        nn_weights *w = open_weights(voices[k]);
        assert_int_equal(rvc_voice_config_read(&c, w, NULL), 0);
        nn_plan *p = plan(rvc_generator_graph(w, &c, FRAMES, 0), d);
        int reach = rvc_receptive_frames(&c);
        assert_true(reach > 5 && reach < AT - 1);
        size_t upp = (size_t)c.upp, inter = (size_t)c.inter, n;
        float *z = random_floats(FRAMES * inter, 3, 1), *source = random_floats(FRAMES * upp, 4, 0.1f),
              *got[4];
        for (int change = 0; change < 4;
             change++) { /* none; next to the frame; outside, left; outside, right */
            float *z_changed = malloc(FRAMES * inter * sizeof *z),
                  *source_changed = malloc(FRAMES * upp * sizeof *z);
            memcpy(z_changed, z, FRAMES * inter * sizeof *z);
            memcpy(source_changed, source, FRAMES * upp * sizeof *z);
            size_t from = change == 1 ? AT + 1 : change == 2 ? 0 : AT + (size_t)reach + 1;
            size_t to = change == 0 ? from : change == 1 ? AT + 2 : change == 2 ? AT - (size_t)reach : FRAMES;
            for (size_t i = from * inter; i < to * inter; i++) z_changed[i] += 3;
            for (size_t i = from * upp; i < to * upp; i++) source_changed[i] -= 1;
            nn_plan_write(p, "z", z_changed);
            nn_plan_write(p, "speaker", &speaker);
            if (c.f0) nn_plan_write(p, "source", source_changed);
            got[change] = run(p, "audio", &n);
            free(z_changed);
            free(source_changed);
        }
        assert_int_equal(n, FRAMES * upp);
        assert_true(check_max_error(got[1] + AT * upp, got[0] + AT * upp, upp) > 1e-4);
        for (int change = 2; change < 4; change++)
            /* not equal to the bit: a kernel may sum what cancels out */
            assert_true(check_max_error(got[change] + AT * upp, got[0] + AT * upp, upp) < 1e-5);
        for (int i = 0; i < 4; i++) free(got[i]);
        nn_plan_free(p);
        nn_weights_free(w);
        free(z);
        free(source);
    }
    nn_device_close(d);
}

/* The real voices: 13 frames and a little, as computed by hand for rates 10 10 2 2 and kernels 16 16 4 4. */
static void receptive_frames_of_the_real_voice(void **state) {
    (void)state;
    rvc_voice_config c = {.levels = 4,
                          .up_rate = {10, 10, 2, 2},
                          .up_kernel = {16, 16, 4, 4},
                          .kernels = 3,
                          .kernel = {3, 7, 11},
                          .dilations = {3, 3, 3},
                          .dilation = {{1, 3, 5}, {1, 3, 5}, {1, 3, 5}}};
    /* 3 +60 -> 33 +60 -> 48 +60 -> 12 +60 -> 9, conv_pre 3, and one for the frame's own borders */
    assert_int_equal(rvc_receptive_frames(&c), 13);
}

/* ---- what is refused ---- */

enum { BAD_FILE = -1 }; /* RVC_ERROR_FORMAT or RVC_ERROR_MODEL: which one is a matter of taste */

/* Opening must fail with `status` and a message that has all of the words. */
static void refuse(rvc_model_paths paths, rvc_setup s, int status, const char *const *words) {
    rvc_models *m;
    rvc_error e = {0};
    int got = (int)rvc_models_open(&m, &paths, &s, &e);
    if (got == RVC_OK) fail_msg("opened, though it lacks: %s", words[0]);
    print_message("%s\n", e.text);
    if (status != BAD_FILE)
        assert_int_equal(got, status);
    else
        assert_true(got == RVC_ERROR_FORMAT || got == RVC_ERROR_MODEL);
    assert_null(m);
    assert_null(strchr(e.text, '\n'));
    for (; *words; words++)
        if (!strstr(e.text, *words)) fail_msg("\"%s\" does not say \"%s\"", e.text, *words);
}
#define REFUSE(status, paths, ...)                                                                           \
    refuse((rvc_model_paths)paths, (rvc_setup){0}, status, (const char *const[]){__VA_ARGS__, NULL})
#define PATHS(...)                                                                                           \
    { __VA_ARGS__ }

static void wrong_files_are_named(void **state) {
    (void)state;
    REFUSE(RVC_ERROR_FILE, PATHS(.voice = "no-such.npz", .hubert = hubert, .rmvpe = rmvpe_file),
           "no-such.npz");
    REFUSE(RVC_ERROR_MODEL, PATHS(.voice = hubert, .hubert = hubert, .rmvpe = rmvpe_file), hubert,
           "enc_p.emb_phone.weight", "HuBERT");
    REFUSE(RVC_ERROR_MODEL, PATHS(.voice = v2, .hubert = v1, .rmvpe = rmvpe_file), v1, "feature_extractor",
           "RVC voice");
    REFUSE(RVC_ERROR_MODEL, PATHS(.voice = v2, .hubert = hubert, .rmvpe = v2), v2, "unet.encoder.bn.weight",
           "RVC voice");
    REFUSE(RVC_ERROR_ARGUMENT, PATHS(.voice = v2, .hubert = hubert), v2, "rmvpe");
    REFUSE(RVC_ERROR_ARGUMENT, PATHS(.voice = v2, .rmvpe = rmvpe_file), v2, "hubert");
    REFUSE(RVC_ERROR_ARGUMENT, PATHS(.hubert = hubert), "voice");
    REFUSE(RVC_ERROR_FILE, PATHS(.voice = nof0, .hubert = hubert, .index = "no-such.index"), "no-such.index");
    rvc_model_paths fine = {.voice = nof0, .hubert = hubert};
    refuse(fine, (rvc_setup){.device = "vulkan", .precision = "bf16"}, RVC_ERROR_ARGUMENT,
           (const char *const[]){"bf16", "--device cpu", NULL});
    refuse(fine, (rvc_setup){.precision = "f12"}, RVC_ERROR_ARGUMENT,
           (const char *const[]){"f12", "f32", "bf16", NULL});
    refuse(fine, (rvc_setup){.precision = "f16"}, RVC_ERROR_DEVICE,
           (const char *const[]){"f16", "f32", NULL});
    refuse(fine, (rvc_setup){.threads = -1}, RVC_ERROR_ARGUMENT, (const char *const[]){"threads", NULL});
}

/* The small 40k voice's config with these resblock type, rates, kernels and sample rate, and these keys
 * beside it. */
#define CONFIG(type, rates, kernels, rate, keys)                                                             \
    "{\"config\": [1025, 32, 16, 16, 32, 2, 2, 3, 0, \"" type                                                \
    "\", [3, 7, 11], [[1, 3, 5], [1, 3, 5], [1, 3, 5]], " rates ", 32, " kernels ", 4, 8, " rate             \
    "], \"f0\": 1, " keys "}"

static void wrong_configs_are_explained(void **state) {
    (void)state;
    static const struct {
        const char *json, *word;
    } configs[] = {
        {"{\"config\": [1, 2], \"f0\": 1, \"version\": \"v2\"}", "18 entries"},
        {"not JSON", "JSON"},
        {CONFIG("1", "[10, 10, 2, 2]", "[16, 16, 4, 4]", "40000",
                "\"version\": \"v2\", \"vocoder\": \"RefineGAN\""),
         "RefineGAN"},
        {CONFIG("1", "[10, 10, 2, 2]", "[16, 16, 4, 4]", "40000", "\"version\": \"v3\""), "v3"},
        {CONFIG("2", "[10, 10, 2, 2]", "[16, 16, 4, 4]", "40000", "\"version\": \"v2\""), "config[9]"},
        {CONFIG("1", "[10, 10, 2, 2]", "[16, 16, 4, 4]", "48000", "\"version\": \"v2\""), "sample rate"},
        {CONFIG("1", "[10, 10, 2, 2]", "[16, 16, 4, 4]", "40000", "\"version\": \"v1\""), "version"},
        {CONFIG("1", "[10, 4, 5, 2]", "[16, 16, 5, 4]", "40000", "\"version\": \"v2\""), "dec.noise_convs.1"},
        {CONFIG("1", "[10, 10, 2, 2]", "[16, 18, 4, 4]", "40000", "\"version\": \"v2\""), "dec.ups.1"},
        {CONFIG("1", "[10, 10, 4]", "[16, 16, 4]", "40000", "\"version\": \"v2\""), "upsample rates"},
        {CONFIG("1", "[10, 10, 0, 2]", "[16, 16, 4, 4]", "40000", "\"version\": \"v2\""), "config[12]"},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        const char *voice = check_changed("models", "voice_v2_40k", NULL, NULL, configs[i].json);
        REFUSE(BAD_FILE, PATHS(.voice = voice, .hubert = hubert, .rmvpe = rmvpe_file), voice,
               configs[i].word);
    }
}

/* Each of these tensors missing, misshapen or not finite is found before any work, and named with its file.
 */
static void broken_tensors_are_named(void **state) {
    (void)state;
    static const struct {
        const char *network, *tensor, *misshapen, *infinite;
    } cases[] = {
        {"voice_v2_40k", "enc_p.encoder.attn_layers.1.emb_rel_k", "1,21,7", "1,21,8"},
        {"voice_v2_40k", "enc_p.encoder.norm_layers_1.0.beta", "15", "16"},
        {"voice_v2_40k", "enc_p.encoder.ffn_layers.1.conv_2.weight", "16,31,3", "16,32,3"},
        {"voice_v2_40k", "enc_p.proj.bias", "31", "32"},
        {"voice_v2_40k", "flow.flows.2.enc.in_layers.1.weight_g", NULL, "32,1,1"},
        {"voice_v2_40k", "flow.flows.6.post.weight", "8,15,1", "8,16,1"},
        {"voice_v2_40k", "dec.ups.1.weight_v", "16,8,15", "16,8,16"},
        {"voice_v2_40k", "dec.noise_convs.2.weight", "4,1,7", "4,1,4"},
        {"voice_v2_40k", "dec.m_source.l_linear.weight", "1,2", "1,1"},
        {"voice_v2_40k", "dec.resblocks.7.convs2.2.weight_v", "4,5,7", "4,4,7"},
        {"voice_v2_40k", "dec.conv_post.weight", "1,3,7", "1,2,7"},
        {"hubert", "feature_extractor.conv_layers.3.0.weight", "16,15,3", "16,16,3"},
        {"hubert", "feature_extractor.conv_layers.0.2.bias", "15", "16"},
        {"hubert", "encoder.pos_conv.0.weight_g", NULL, "1,1,128"},
        {"hubert", "encoder.layers.1.self_attn.k_proj.bias", "63", "64"},
        {"hubert", "encoder.layers.0.fc1.weight", "128,63", "128,64"},
        {"rmvpe", "unet.encoder.layers.1.conv.0.conv.1.running_var", "7", "8"},
        {"rmvpe", "unet.encoder.layers.1.conv.0.shortcut.weight", "8,3,1,1", "8,4,1,1"},
        {"rmvpe", "unet.intermediate.layers.0.conv.0.shortcut.bias", "15", "16"},
        {"rmvpe", "unet.decoder.layers.0.conv1.0.weight", "16,8,3,2", "16,8,3,3"},
        {"rmvpe", "fc.0.gru.weight_hh_l0_reverse", "24,7", "24,8"},
        {"rmvpe", "fc.1.weight", "360,15", "360,16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int fault = 0; fault < 3; fault++) {
            char line[256];
            if (fault == 1 && !cases[i].misshapen) continue;
            const char *name = cases[i].network, *tensor = cases[i].tensor;
            snprintf(line, sizeof line, "%s\t%s\t%s\t0.5", tensor,
                     fault == 2 ? cases[i].infinite : cases[i].misshapen, fault == 2 ? "1e39" : "0");
            const char *file = check_changed("models", name, tensor, fault ? line : NULL, NULL);
            rvc_model_paths paths = {.voice = *name == 'v' ? file : v2,
                                     .hubert = *name == 'h' ? file : hubert,
                                     .rmvpe = *name == 'r' ? file : rmvpe_file};
            /* a shape may be found wrong at the layer after; half a weight norm lacks its "weight" as a whole
             */
            char word[128];
            snprintf(word, sizeof word, "%s", fault == 1 ? "" : tensor);
            if (fault == 0 && strstr(word, "weight_v")) *strstr(word, "_v") = '\0';
            refuse(paths, (rvc_setup){0}, RVC_ERROR_MODEL, (const char *const[]){file, word, NULL});
        }
}

static void what_is_open_is_described(void **state) {
    (void)state;
    rvc_models *m = check_open(v1, hubert, rmvpe_file, NULL, 1);
    rvc_model_info i = rvc_models_info(m);
    assert_int_equal(i.version, 1);
    assert_int_equal(i.has_f0, 1);
    assert_int_equal(i.sample_rate, 32000);
    assert_int_equal(i.speakers, 4);
    assert_int_equal(i.feature_width, 32);
    assert_int_equal(i.index_vectors, 0);
    assert_true(rvc_models_load_seconds(m) > 0);
    rvc_models_close(m);
    m = check_open(nof0, hubert, NULL, NULL, 1);
    i = rvc_models_info(m);
    assert_int_equal(i.version, 2);
    assert_int_equal(i.has_f0, 0);
    assert_int_equal(i.sample_rate, 48000);
    assert_int_equal(i.feature_width, 64);
    rvc_models_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(reference_v2_40k, remove_full),
        cmocka_unit_test_teardown(reference_v1_32k, remove_full),
        cmocka_unit_test_teardown(reference_v2_48k_nof0, remove_full),
        cmocka_unit_test(reference_retrieval),
        cmocka_unit_test_teardown(verify_finds_what_is_wrong, remove_full),
        cmocka_unit_test(verify_allows_for_the_pitch),
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(hubert_layers),
        cmocka_unit_test(rmvpe_windows),
        cmocka_unit_test(generator_reaches_as_far_as_it_says),
        cmocka_unit_test(receptive_frames_of_the_real_voice),
        cmocka_unit_test(wrong_files_are_named),
        cmocka_unit_test(wrong_configs_are_explained),
        cmocka_unit_test(broken_tensors_are_named),
        cmocka_unit_test(what_is_open_is_described),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
