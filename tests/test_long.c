/* test_long.c - recordings of any length: streams give what arrays give, signals in temporary files what
 * signals in memory give, memory does not grow with the recording, and whatever fails on the way leaves
 * nothing behind. */
#include "check.h"

#include <dirent.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "../rvc/buffer.h"
#include "../rvc/pipeline.h"
#include "check_models.h"

enum { RATE = 22050, MINUTE = 60 * RATE };

static const char *hubert, *rmvpe_file, *voice;
static rvc_models *models;
static rvc_converter *converter;
static size_t usual_plain, usual_resident;

static int set_up(void **state) {
    (void)state;
    usual_plain = rvc_buffer_plain;
    usual_resident = rvc_buffer_resident;
    hubert = check_small("long", "hubert");
    rmvpe_file = check_small("long", "rmvpe");
    voice = check_small("long", "voice_v2_40k");
    models = check_open(voice, hubert, rmvpe_file, NULL, 2);
    converter = check_converter(models);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    rvc_converter_free(converter);
    rvc_models_close(models);
    return 0;
}

static int usual(void **state) {
    (void)state;
    rvc_buffer_plain = usual_plain;
    rvc_buffer_resident = usual_resident;
    unsetenv("TMPDIR");
    return 0;
}

/* Everything but the smallest signals in files, a few pages of them in memory. */
static void force_files(void) {
    rvc_buffer_plain = 4096;
    rvc_buffer_resident = 1 << 18;
}

/* Open files and mappings of this process that were temporary signals. */
static size_t temporaries(void) {
    DIR *d = opendir("/proc/self/fd");
    size_t count = 0;
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));) {
        char link[300], path[512];
        snprintf(link, sizeof link, "/proc/self/fd/%s", f->d_name);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n < 0) continue;
        path[n] = 0;
        count += strstr(path, "/rvc-") && strstr(path, "(deleted)");
    }
    closedir(d);
    char line[1024];
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) count += strstr(line, "/rvc-") && strstr(line, "(deleted)");
    fclose(maps);
    return count;
}

/* ---- a source and a sink ---- */

/* Speech of a kind, 6 s of it every five minutes and digital silence between: made as it is read, so that it
 * need not be anywhere, and mostly of the kind that costs little. */
static float sample(size_t i) {
    if (i % (5 * MINUTE) > 6 * RATE) return 0;
    double t = (double)i / RATE, syllable = fmax(0, sin(2 * M_PI * 1.5 * t));
    uint64_t seed = i;
    double tone = sin(2 * M_PI * 180 * t) + 0.5 * sin(2 * M_PI * 360 * t + 1);
    return (float)(0.3 * tone * syllable) + 0.005f * check_random_float(&seed);
}

typedef struct stream {
    size_t frames, at, block;     /* of the source; block: most that is given at once, 0: any number */
    size_t fail_read, fail_write; /* the sample at which a callback fails; 0: never */
    bool fail_open;
    float *out; /* [wanted], NULL: only counted */
    size_t wanted, written;
    int rate;
    uint64_t random;
} stream;

static rvc_status say(rvc_error *e, const char *text) {
    snprintf(e->text, sizeof e->text, "%s", text);
    return e->status = RVC_ERROR_FILE;
}

static rvc_status read_stream(void *user, float *block, size_t *frames, rvc_error *e) {
    stream *s = user;
    size_t most = s->block ? s->block : 1 + check_random(&s->random) % 3001;
    if (s->fail_read && s->at >= s->fail_read) return say(e, "the tape is torn");
    if (*frames > most) *frames = most;
    if (*frames > s->frames - s->at) *frames = s->frames - s->at;
    for (size_t i = 0; i < *frames; i++) block[i] = sample(s->at + i);
    s->at += *frames;
    return RVC_OK;
}

static rvc_status open_stream(void *user, size_t frames, int rate, rvc_error *e) {
    stream *s = user;
    if (s->fail_open) return say(e, "no tape");
    s->wanted = frames;
    s->rate = rate;
    if (s->out) s->out = realloc(s->out, (frames + 1) * sizeof *s->out);
    return RVC_OK;
}

static rvc_status write_stream(void *user, const float *block, size_t frames, rvc_error *e) {
    stream *s = user;
    if (s->fail_write && s->written + frames > s->fail_write) return say(e, "the tape is full");
    assert_true(s->written + frames <= s->wanted);
    if (s->out) memcpy(s->out + s->written, block, frames * sizeof *block);
    s->written += frames;
    return RVC_OK;
}

static rvc_status convert(rvc_converter *c, stream *s, const rvc_options *o, rvc_error *e) {
    rvc_source source = {RATE, read_stream, s};
    rvc_sink sink = {open_stream, write_stream, s};
    return rvc_convert_stream(c, &source, &sink, o, NULL, e);
}

static float *make_speech(size_t n) {
    float *x = malloc((n + 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = sample(i);
    return x;
}

static rvc_options short_chunks(void) {
    rvc_options o = rvc_default_options();
    o.x_query = 1;
    o.x_center = 4;
    o.x_max = 5;
    return o;
}

/* ---- the same result ---- */

static void streams_give_what_arrays_give(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 500, RATE + 77, 13 * MINUTE / 6 + 4321 /* two windows of pitch */};
    static const int rates[] = {0, 0, 44100, 24000};
    for (size_t k = 0; k < 4; k++) {
        rvc_options o = short_chunks();
        rvc_audio want;
        rvc_error e = {0};
        o.sample_rate = rates[k];
        o.compat = k == 2 ? RVC_WEBUI : RVC_EXACT;
        usual(NULL);
        float *x = make_speech(lengths[k]);
        if (rvc_convert(converter, x, lengths[k], RATE, &o, &want, &e)) fail_msg("%s", e.text);
        for (int files = 0; files < 2; files++) {
            stream s = {.frames = lengths[k], .block = k == 0 ? 1 : 0, .out = malloc(1), .random = 3 + k};
            if (files) force_files();
            if (convert(converter, &s, &o, &e)) fail_msg("%s", e.text);
            assert_int_equal(s.written, want.frames);
            assert_int_equal(s.rate, want.rate);
            assert_memory_equal(s.out, want.samples, want.frames * sizeof *want.samples);
            free(s.out);
        }
        assert_int_equal(temporaries(), 0);
        rvc_audio_free(&want);
        free(x);
    }
}

static void pitch_streams_too(void **state) {
    (void)state;
    const size_t n = 8 * RATE;
    float *x = make_speech(n), *want, *got;
    size_t count, got_count;
    stream s = {.frames = n, .random = 9};
    rvc_source source = {RATE, read_stream, &s};
    assert_int_equal(rvc_pitch(converter, x, n, RATE, &want, &count, NULL), RVC_OK);
    force_files();
    assert_int_equal(rvc_pitch_stream(converter, &source, &got, &got_count, NULL), RVC_OK);
    assert_int_equal(got_count, count);
    assert_memory_equal(got, want, count * sizeof *want);
    free(want);
    free(got);
    free(x);
}

/* Where no temporary file can be made, memory does. */
static void a_full_disk_is_no_error(void **state) {
    (void)state;
    rvc_options o = short_chunks();
    stream s[2];
    for (int i = 0; i < 2; i++) {
        rvc_error e = {0};
        s[i] = (stream){.frames = 6 * RATE, .out = malloc(1)};
        if (i) setenv("TMPDIR", "/nowhere/at/all", 1);
        force_files();
        if (convert(converter, &s[i], &o, &e)) fail_msg("%s", e.text);
    }
    assert_int_equal(s[0].written, s[1].written);
    assert_memory_equal(s[0].out, s[1].out, s[0].written * sizeof *s[0].out);
    free(s[0].out);
    free(s[1].out);
}

/* ---- buffers ---- */

static void buffers_keep_what_they_hold(void **state) {
    (void)state;
    force_files();
    rvc_buffer b = {0};
    uint64_t seed = 1;
    const size_t sizes[] = {10, 1000, 1600, 300000, 20000000 /* a second step of the file */};
    size_t have = 0;
    for (size_t k = 0; k < 5; k++) {
        assert_int_equal(rvc_buffer_grow(&b, sizes[k], NULL), NN_OK);
        assert_int_equal(b.pages != NULL, sizes[k] * sizeof(float) > rvc_buffer_plain);
        for (; have < sizes[k] && have < 400000; have++) *rvc_buffer_view(&b, have, 1) = (float)have;
    }
    rvc_buffer part = rvc_buffer_part(&b, 1000, 300000);
    for (int i = 0; i < 100000; i++) {
        size_t at = check_random(&seed) % 300000;
        assert_true(*rvc_buffer_view(&part, at, 1000) == (float)(at + 1000));
    }
    assert_int_not_equal(rvc_buffer_grow(&b, SIZE_MAX / 8, NULL), NN_OK);
    assert_true(*rvc_buffer_view(&b, 399999, 1) == 399999);
    rvc_buffer_free(&b);
    rvc_buffer_free(&b);
    assert_int_equal(temporaries(), 0);
}

/* ---- failures ---- */

static void a_callback_that_fails_ends_it(void **state) {
    (void)state;
    const struct {
        size_t read, write;
        bool open;
        const char *text;
    } cases[] = {{1, 0, false, "torn"},
                 {3 * RATE, 0, false, "torn"},
                 {0, 0, true, "no tape"},
                 {0, 100000, false, "full"}};
    rvc_options o = short_chunks();
    for (int files = 0; files < 2; files++)
        for (size_t k = 0; k < 4; k++) {
            if (files) force_files();
            stream s = {.frames = 4 * RATE,
                        .fail_read = cases[k].read,
                        .fail_write = cases[k].write,
                        .fail_open = cases[k].open,
                        .block = 1000};
            rvc_error e = {0};
            assert_int_equal(convert(converter, &s, &o, &e), RVC_ERROR_FILE);
            assert_int_equal(e.status, RVC_ERROR_FILE);
            if (!strstr(e.text, cases[k].text)) fail_msg("\"%s\" does not say \"%s\"", e.text, cases[k].text);
            assert_int_equal(temporaries(), 0);
            assert_true(s.written <= 100000);
        }
    stream none = {.frames = 0, .block = 10};
    rvc_error e = {0};
    assert_int_equal(convert(converter, &none, &o, &e), RVC_ERROR_FORMAT);
}

static int stop_soon(void *user, double fraction) {
    (void)fraction;
    return ++*(int *)user == 3;
}

static void cancelling_leaves_nothing(void **state) {
    (void)state;
    rvc_options o = short_chunks();
    int calls = 0;
    stream s = {.frames = 6 * RATE};
    o.progress = stop_soon;
    o.progress_user = &calls;
    force_files();
    assert_int_equal(convert(converter, &s, &o, NULL), RVC_CANCELLED);
    assert_int_equal(s.written, 0);
    assert_int_equal(temporaries(), 0);
}

/* ---- memory ---- */

/* The most this process has had in memory, in kB. */
static long high_water(void) {
    char line[256];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kb) == 1) break;
    if (f) fclose(f);
    return kb;
}

/* VmHWM of a fresh process that converts so many minutes. */
static long memory_for(int minutes) {
    int ends[2];
    long kb = -1;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rvc_models *m = NULL;
        rvc_converter *c = NULL;
        rvc_model_paths paths = {.voice = voice, .hubert = hubert, .rmvpe = rmvpe_file};
        rvc_setup setup = {.threads = 1};
        rvc_options o = rvc_default_options();
        stream s = {.frames = (size_t)minutes * MINUTE, .block = 4096};
        o.x_query = 2;
        o.x_center = 10;
        o.x_max = 12;
        o.sample_rate = 24000;
        rvc_error e = {0};
        bool good = !rvc_models_open(&m, &paths, &setup, &e) && !rvc_converter_new(&c, m, &e) &&
                    !convert(c, &s, &o, &e) && s.written == (size_t)minutes * 60 * 24000;
        if (!good) fprintf(stderr, "%zu samples written; %s\n", s.written, e.text);
        kb = good ? high_water() : -1;
        _exit(write(ends[1], &kb, sizeof kb) != sizeof kb);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(read(ends[0], &kb, sizeof kb), sizeof kb);
    close(ends[0]);
    close(ends[1]);
    assert_true(kb > 0);
    return kb;
}

/* In memory, a minute would be 3.8 MB at 16 kHz, 9.6 MB at the voice's rate and 5.8 MB at 24 kHz. */
static void memory_does_not_grow_with_the_recording(void **state) {
    (void)state;
    if (high_water() < 0) skip();
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* its own memory is what would be measured */
#endif
    rvc_buffer_plain = 1 << 20;
    rvc_buffer_resident = 1 << 20;
    long five = memory_for(5), ten = memory_for(10); /* 3 and 6 windows of pitch, of the same length */
    double per_minute = (double)(ten - five) / 5;
    print_message("5 minutes: %ld kB, 10 minutes: %ld kB; %.0f kB a minute\n", five, ten, per_minute);
    assert_true(per_minute < 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(memory_does_not_grow_with_the_recording, usual),
        cmocka_unit_test_teardown(streams_give_what_arrays_give, usual),
        cmocka_unit_test_teardown(pitch_streams_too, usual),
        cmocka_unit_test_teardown(a_full_disk_is_no_error, usual),
        cmocka_unit_test_teardown(buffers_keep_what_they_hold, usual),
        cmocka_unit_test_teardown(a_callback_that_fails_ends_it, usual),
        cmocka_unit_test_teardown(cancelling_leaves_nothing, usual),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
