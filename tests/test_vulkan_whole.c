/* test_vulkan_whole.c - whole conversions on a Vulkan device, where a chunk is one graph, against the same on
 * the CPU, where it is many: with the small networks, one chunk and several, an index, the reference's own
 * sine, too little memory, and numbers that float16 cannot hold.
 *
 * The small pitch network's f0 jumps from frame to frame, so that a rounding in it is heard as another phase;
 * that and the CPU's fast convolutions are what the limits in dB allow for. Without a Vulkan device the tests
 * skip and say so. */
#include "check_models.h"
#include "check_vulkan.h"

#include <stdbool.h>

#include "../rvc/whole.h"

static const char *hubert, *pitch, *v2, *nof0;
enum { CPU, F32, F16, SETUPS };
static const rvc_setup setups[SETUPS] = {{"cpu", "f32", 2}, {"vulkan", "f32", 2}, {"vulkan", "f16", 2}};

/* Syllables of a gliding tone with overtones, and noise between them, at 16 kHz. Caller frees. */
static float *make_speech(size_t n) {
    float *x = malloc(n * sizeof *x);
    uint64_t seed = 7;
    double phase = 0;
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        const double t = (double)i / 16000, syllable = 0.5 - 0.5 * cos(2 * M_PI * 3 * t);
        phase += (160 + 60 * sin(2 * M_PI * 0.7 * t)) / 16000;
        const double voice =
            sin(2 * M_PI * phase) + 0.5 * sin(4 * M_PI * phase) + 0.3 * sin(6 * M_PI * phase);
        x[i] = (float)(0.2 * voice * syllable) + 0.01f * check_random_float(&seed);
    }
    return x;
}

/* A flat FAISS index of 300 vectors of 64 numbers. */
static const char *make_index(void) {
    static char kept[1024];
    enum { WIDTH = 64, COUNT = 300 };
    char *path = check_tmp("vulkan-whole.index");
    FILE *f = fopen(path, "wb");
    const int32_t width = WIDTH, metric = 1;
    const int64_t count = COUNT, unused[2] = {1 << 20, 1 << 20};
    uint64_t floats = WIDTH * COUNT, seed = 3;
    assert_non_null(f);
    fwrite("IxF2", 1, 4, f);
    fwrite(&width, 4, 1, f);
    fwrite(&count, 8, 1, f);
    fwrite(unused, 8, 2, f);
    fputc(1, f);
    fwrite(&metric, 4, 1, f);
    fwrite(&floats, 8, 1, f);
    for (uint64_t i = 0; i < floats; i++) {
        const float v = check_random_float(&seed);
        fwrite(&v, 4, 1, f);
    }
    fclose(f);
    snprintf(kept, sizeof kept, "%s", path);
    free(path);
    return kept;
}

typedef struct opened {
    rvc_models *models;
    rvc_converter *converter;
} opened;

static opened open_on(int setup, const char *voice, const char *index) {
    opened o = {0};
    rvc_error e = {0};
    const rvc_model_paths paths = {.voice = voice, .hubert = hubert, .rmvpe = pitch, .index = index};
    if (rvc_models_open(&o.models, &paths, &setups[setup], &e)) fail_msg("%s", e.text);
    o.converter = check_converter(o.models);
    return o;
}

static void close_all(opened *o) {
    rvc_converter_free(o->converter);
    rvc_models_close(o->models);
}

static rvc_audio convert(const opened *on, const float *x, size_t n, const rvc_options *o, rvc_probe *probe) {
    rvc_audio out;
    rvc_error e = {0};
    if (rvc_convert_probed(on->converter, x, n, 16000, o, probe, &out, &e)) fail_msg("%s", e.text);
    return out;
}

/* dB of `out` against `want`, both freed. */
static double compare(rvc_audio *out, const rvc_audio *want) {
    assert_int_equal(out->frames, want->frames);
    const double snr = check_snr_db(out->samples, want->samples, want->frames);
    rvc_audio_free(out);
    return snr;
}

/* One chunk with its pitch found inside, then several in the reference's way, with its sine from the host;
 * with an index and protection. */
static void conversions_are_the_cpus(void **state) {
    (void)state;
    enum { CASES = 2 };
    static const size_t length[CASES] = {4000, 17000};
    static const char *const what[CASES] = {"one chunk", "chunks, as WebUI"};
    static const double least[SETUPS] = {0, 60, 30};
    float *x = make_speech(length[CASES - 1]);
    rvc_audio want[CASES];
    const char *index = make_index();
    for (int d = CPU; d < SETUPS; d++) {
        opened on = open_on(d, v2, index);
        for (int i = 0; i < (d == F16 ? 1 : CASES); i++) {
            rvc_options o = rvc_default_options();
            o.transpose = 3;
            o.seed = 5;
            o.index_rate = 0.6f;
            if (i) {
                o.compat = RVC_WEBUI;
                o.x_query = o.x_center = o.x_max = 1;
            }
            rvc_probe probe = {0};
            rvc_audio out = convert(&on, x, length[i], &o, &probe);
            assert_true(probe.f0_count > 0);
            free(probe.f0);
            if (d == CPU) {
                want[i] = out;
                continue;
            }
            const double snr = compare(&out, &want[i]);
            print_message("%s, %s: %.1f dB\n", rvc_converter_device(on.converter), what[i], snr);
            assert_true(snr > least[d]);
        }
        close_all(&on);
    }
    for (int i = 0; i < CASES; i++) rvc_audio_free(&want[i]);
    free(x);
}

static void limit_memory(size_t bytes) {
    char text[32];
    snprintf(text, sizeof text, "%zu", bytes);
    setenv("RVC_VULKAN_MEMORY", text, 1);
}

/* The samples of x in chunks of a second, on a device of `converters` queues and so much memory (0: all there is); whether two
 * were made at a time, and the most memory that was used. */
static rvc_audio convert_chunks(const float *x, size_t n, const char *converters, size_t memory, bool *paired,
                                size_t *used) {
    rvc_options o = rvc_default_options();
    o.x_query = o.x_center = o.x_max = 1;
    setenv("RVC_CONVERTERS", converters, 1);
    if (memory) limit_memory(memory);
    opened on = open_on(F16, v2, NULL);
    rvc_audio out = convert(&on, x, n, &o, NULL);
    *paired = on.converter->mate != NULL;
    *used = rvc_converter_device_memory(on.converter);
    assert_true(on.converter->alone == (!*paired && !strcmp(converters, "2")));
    assert_true(out.timing.synthesis <= out.timing.total);
    close_all(&on);
    unsetenv("RVC_CONVERTERS");
    unsetenv("RVC_VULKAN_MEMORY");
    return out;
}

/* Two chunks at a time become what they become one after another; so they do where memory is too short for two. */
static void chunks_side_by_side(void **state) {
    (void)state;
    enum { N = 70000 };
    float *x = make_speech(N);
    bool paired;
    size_t one, two, most;
    rvc_audio want = convert_chunks(x, N, "1", 0, &paired, &one);
    assert_false(paired);
    rvc_audio out = convert_chunks(x, N, "2", 0, &paired, &two);
    assert_true(paired);
    for (most = two; paired; most -= two / 32) { /* less and less, until there is room for one only */
        assert_memory_equal(out.samples, want.samples, want.frames * sizeof *want.samples);
        assert_int_equal(out.frames, want.frames);
        rvc_audio_free(&out);
        out = convert_chunks(x, N, "2", most, &paired, &one);
    }
    print_message("two chunks at a time in %zu bytes, one in %zu\n", two, one);
    assert_memory_equal(out.samples, want.samples, want.frames * sizeof *want.samples);
    rvc_audio_free(&out);
    rvc_audio_free(&want);
    free(x);
}

/* A card with less memory than the whole needs gets shorter chunks, down to 4 s, and the result is what those
 * give; with still less it is an error that says so. */
static void little_memory_means_shorter_chunks(void **state) {
    (void)state;
    enum { N = 66000, HEARD = 24000 }; /* chunks without sound cost nothing */
    float *x = make_speech(N);
    memset(x + HEARD, 0, (N - HEARD) * sizeof *x);
    rvc_options o = rvc_default_options();
    o.x_max = 4;
    o.x_center = o.x_query = 2;
    opened on = open_on(F32, nof0, NULL);
    rvc_audio want = convert(&on, x, N, &o, NULL);
    const size_t used = rvc_converter_device_memory(on.converter);
    close_all(&on);

    limit_memory(used + used / 10);
    o = rvc_default_options();
    on = open_on(F32, nof0, NULL);
    rvc_audio out = convert(&on, x, N, &o, NULL);
    close_all(&on);
    assert_int_equal(out.frames, want.frames);
    assert_memory_equal(out.samples, want.samples, want.frames * sizeof *want.samples);

    limit_memory(used / 2);
    on = open_on(F32, nof0, NULL);
    rvc_audio none = {0};
    rvc_error e = {0};
    assert_int_equal(rvc_convert(on.converter, x, N, 16000, &o, &none, &e), RVC_ERROR_MEMORY);
    print_message("%s\n", e.text);
    close_all(&on);
    unsetenv("RVC_VULKAN_MEMORY");
    rvc_audio_free(&want);
    rvc_audio_free(&out);
    free(x);
}

/* The pitch of a part of a signal, as one graph, is what mel, network and decoding give one after another: at
 * its beginning, inside, at its end, and of all of it. On the CPU, which can run such a graph too. */
static void pitch_of_a_window(void **state) {
    (void)state;
    enum { N = 50123, PART = 96 };
    const size_t all = mel_frames(N), windows[][2] = {{0, PART}, {100, PART}, {all - PART, PART}, {0, all}};
    float *x = make_speech(N), *mels = malloc(all * MEL_BANDS * sizeof *mels);
    float *salience = malloc(all * RMVPE_CLASSES * sizeof *salience), *want = malloc(2 * all * sizeof *want),
          *got = want + all;
    nn_device *d = NULL;
    nn_error e = {0};
    mel *m = NULL;
    rmvpe *r = NULL;
    rvc_whole *w = NULL;
    opened on = open_on(CPU, v2, NULL);
    assert_true(mels && salience && want);
    assert_int_equal(nn_device_open(&d, "cpu", 1, &e) || mel_new(&m, &e) ||
                         rmvpe_new(&r, on.models->rmvpe, d, &e) || rvc_whole_new(&w, on.models, d, &e),
                     0);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        const size_t first = windows[i][0], count = windows[i][1];
        size_t voiced = 0;
        assert_int_equal(
            mel_compute(m, x, N, first, count, mels, &e) || rmvpe_run(r, mels, count, salience, &e), 0);
        rmvpe_decode(salience, count, RMVPE_THRESHOLD, want);
        if (rvc_whole_pitch(w, x, N, first, count, got, &e)) fail_msg("%s", e.text);
        for (size_t t = 0; t < count; t++) {
            assert_true(fabsf(got[t] - want[t]) <= 1e-5f * want[t]);
            voiced += want[t] > 0;
        }
        assert_true(voiced > count / 8);
    }
    rvc_whole_free(w);
    rmvpe_free(r);
    mel_free(m);
    nn_device_close(d);
    close_all(&on);
    free(want);
    free(salience);
    free(mels);
    free(x);
}

/* A layer whose sums are beyond 65504: float16 gives no samples, and the chunk comes from float32. */
static void what_float16_cannot_hold_is_done_in_float32(void **state) {
    (void)state;
    enum { N = 4000 };
    float *x = make_speech(N);
    const char *voice = check_changed("vulkan-whole", "voice_v2_48k_nof0", "enc_p.emb_phone.bias",
                                      "enc_p.emb_phone.bias\t16\t3e5\t1", NULL);
    rvc_options o = rvc_default_options();
    opened on = open_on(CPU, voice, NULL);
    rvc_audio want = convert(&on, x, N, &o, NULL);
    close_all(&on);
    for (int setup = F32; setup <= F16; setup++) { /* float32 may be pairs of float16 */
        on = open_on(setup, voice, NULL);
        rvc_audio out = convert(&on, x, N, &o, NULL);
        const int repeated = (int)out.timing.repeated;
        const double snr = compare(&out, &want);
        print_message("%s, %d chunks made again: %.1f dB\n", rvc_converter_device(on.converter), repeated,
                      snr);
        close_all(&on);
        assert_true(repeated <= 1 && (setup == F32 || repeated == 1));
        assert_true(snr > 60);
    }
    rvc_audio_free(&want);
    free(x);
}

/* A profile sees every component, twice as much of two conversions as of one, and changes no sample; a CPU
 * has none. */
static void a_profile_sees_every_component(void **state) {
    (void)state;
    enum { N = 8000 };
    float *x = make_speech(N);
    rvc_options o = rvc_default_options();
    opened on = open_on(F32, v2, make_index()), cpu = open_on(CPU, v2, NULL);
    rvc_audio want = convert(&on, x, N, &o, NULL);
    rvc_profile profile = {0}, once = {0};
    double seconds[RVC_PARTS] = {0};
    assert_false(rvc_converter_profile(cpu.converter, &profile));
    for (int run = 0; run < 3; run++) {
        assert_true(rvc_converter_profile(on.converter, run < 2 ? &profile : NULL));
        rvc_audio out = convert(&on, x, N, &o, NULL);
        assert_memory_equal(out.samples, want.samples, want.frames * sizeof *want.samples);
        compare(&out, &want);
        if (run == 0) once = profile;
    }
    assert_int_equal(profile.rows, once.rows);
    for (int i = 0; i < profile.rows; i++) {
        assert_int_equal(profile.row[i].nodes, 2 * once.row[i].nodes);
        assert_true(profile.row[i].bytes == 2 * once.row[i].bytes);
        assert_true(profile.row[i].flops[0] == 2 * once.row[i].flops[0] && profile.row[i].flops[1] == 0);
        seconds[profile.row[i].part] += profile.row[i].seconds;
    }
    for (int part = 0; part < RVC_PARTS; part++) assert_true(seconds[part] > 0);
    close_all(&on);
    close_all(&cpu);
    rvc_audio_free(&want);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pitch_of_a_window),
                                       cmocka_unit_test(conversions_are_the_cpus),
                                       cmocka_unit_test(chunks_side_by_side),
                                       cmocka_unit_test(little_memory_means_shorter_chunks),
                                       cmocka_unit_test(what_float16_cannot_hold_is_done_in_float32),
                                       cmocka_unit_test(a_profile_sees_every_component)};
    nn_device *d = NULL;
    nn_error e = {0};
    check_vulkan_start();
    if (nn_vulkan_open(&d, "vulkan", 16, &e)) {
        printf("skipped: %s\n", e.text);
        return 0;
    }
    nn_device_close(d);
    hubert = check_small("vulkan-whole", "hubert");
    pitch = check_small("vulkan-whole", "rmvpe");
    v2 = check_small("vulkan-whole", "voice_v2_40k");
    nof0 = check_small("vulkan-whole", "voice_v2_48k_nof0");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
