/* test_audio.c - the program's parts that touch files: reading and writing audio, the list of inputs, the
 * outputs' names, the journal, the option table. Everything is made here, nothing is assumed about the
 * machine but libsndfile. */
#include "check.h"
#include "check_audio.h"

#include <fcntl.h>
#include <ftw.h>
#include <sndfile.h>
#include <unistd.h>
#include "../convert/convert.h"

static char *root; // an empty folder for this program

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int set_up(void **state) {
    (void)state;
    root = check_tmp("test_audio");
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return mkdir(root, 0777);
}

static int tear_down(void **state) {
    (void)state;
    free(root);
    return 0;
}

/* root/name; the last 16 stay valid. */
static const char *at(const char *name) {
    static char paths[16][2048];
    static unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void write_bytes(const char *path, const void *bytes, size_t count) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* A file of `frames` frames whose channel c is wave(i) * (c + 1) / channels, so that the mean is wave *
 * (channels + 1) / (2 channels). */
static float wave(size_t i) {
    return 0.5f * sinf(0.05f * (float)i);
}

static void write_audio(const char *path, int format, int channels, int rate, size_t frames) {
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    for (size_t i = 0; i < frames; i++) {
        float frame[8];
        for (int c = 0; c < channels; c++) frame[c] = wave(i) * (float)(c + 1) / (float)channels;
        assert_int_equal(sf_writef_float(file, frame, 1), 1);
    }
    assert_int_equal(sf_close(file), 0);
}

static const struct {
    const char *name;
    int format, channels, rate;
    double bits; // of precision that must survive
} kinds[] = {
    {"u8.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_U8, 1, 8000, 7},
    {"s16.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 2, 44100, 15},
    {"s24.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_24, 2, 96000, 23},
    {"s32.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_32, 6, 48000, 23},
    {"f32.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 1, 22050, 23},
    {"f64.wav", SF_FORMAT_WAV | SF_FORMAT_DOUBLE, 2, 16000, 23},
    {"s16.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 2, 48000, 15},
    {"s24.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_24, 1, 48000, 23},
    {"f32.au", SF_FORMAT_AU | SF_FORMAT_FLOAT, 1, 48000, 23},
    {"s16.caf", SF_FORMAT_CAF | SF_FORMAT_PCM_16, 1, 32000, 15},
    {"s16.w64", SF_FORMAT_W64 | SF_FORMAT_PCM_16, 1, 32000, 15},
    {"s16.rf64", SF_FORMAT_RF64 | SF_FORMAT_PCM_16, 1, 32000, 15},
    {"vorbis.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 1, 44100, 3},
};

static void reads_every_kind(void **state) {
    (void)state;
    enum { FRAMES = 5000 }; // more than one block, and not a multiple of it
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        write_audio(at(kinds[k].name), kinds[k].format, kinds[k].channels, kinds[k].rate, FRAMES);
        assert_true(convert_audio_name(kinds[k].name));
        float *samples;
        size_t frames;
        int rate;
        rvc_error e = {0};
        if (check_audio_read(at(kinds[k].name), &samples, &frames, &rate, &e))
            fail_msg("%s: %s", kinds[k].name, e.text);
        assert_int_equal(frames, FRAMES);
        assert_int_equal(rate, kinds[k].rate);
        double worst = 0, n = kinds[k].channels;
        for (size_t i = 0; i < frames; i++)
            worst = fmax(worst, fabs((double)samples[i] - (double)wave(i) * (n + 1) / (2 * n)));
        print_message("%-12s largest error %.3g\n", kinds[k].name, worst);
        assert_true(worst <= 1.01 * exp2(-kinds[k].bits));
        free(samples);
    }
}

static void refused(const char *path, const char *reason) {
    float *samples;
    size_t frames;
    int rate;
    rvc_error e = {0};
    assert_int_not_equal(check_audio_read(path, &samples, &frames, &rate, &e), RVC_OK);
    assert_null(samples);
    print_message("%s: %s\n", convert_path_name(path), e.text);
    if (!strstr(e.text, reason)) fail_msg("%s: '%s' does not say '%s'", path, e.text, reason);
    assert_null(strchr(e.text, '\n'));
}

static void refuses_what_is_no_audio(void **state) {
    (void)state;
    const char text[] = "This is a letter, not a recording.\n";
    write_bytes(at("letter.wav"), text, sizeof text);
    write_bytes(at("letter.snd"), text, sizeof text); // libsndfile would read it as u-law, from its name
    write_bytes(at("letter.au"), text, sizeof text);
    write_bytes(at("empty.wav"), text, 0);
    write_audio(at("zero.wav"), SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1, 44100, 0);
    refused(at("letter.wav"), "not an audio file libsndfile can read");
    refused(at("letter.snd"), "not an audio file libsndfile can read");
    refused(at("letter.au"), "not an audio file libsndfile can read");
    refused(at("empty.wav"), "holds no audio");
    refused(at("zero.wav"), "holds no audio");
    refused(at("nowhere.wav"), "No such file");
    refused(root, "not a regular file");
    assert_int_equal(mkfifo(at("pipe.wav"), 0666), 0);
    refused(at("pipe.wav"), "not a regular file"); // and does not wait for a writer
}

static void refuses_what_is_not_finite(void **state) {
    (void)state;
    const double bad[] = {(double)NAN, (double)INFINITY, 1e300}; // 1e300 has no float
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        SF_INFO info = {.samplerate = 1000, .channels = 2, .format = SF_FORMAT_WAV | SF_FORMAT_DOUBLE};
        SNDFILE *file = sf_open(at("bad.wav"), SFM_WRITE, &info);
        assert_non_null(file);
        double frame[2] = {0, 0};
        for (size_t i = 0; i < 5000; i++) {
            frame[1] = i == 4321 ? bad[k] : 0;
            sf_writef_double(file, frame, 1);
        }
        sf_close(file);
        refused(at("bad.wav"), "not a finite number, at 4.321 s");
    }
}

static void believes_the_data_not_the_header(void **state) {
    (void)state;
    write_audio(at("promise.wav"), SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1, 16000, 1000);
    int fd = open(at("promise.wav"), O_WRONLY);
    const unsigned char huge[4] = {0xF0, 0xFF, 0xFF, 0x7F};
    assert_int_equal(pwrite(fd, huge, 4, 40), 4); // the data chunk's size
    close(fd);
    float *samples;
    size_t frames;
    int rate;
    rvc_error e = {0};
    assert_int_equal(check_audio_read(at("promise.wav"), &samples, &frames, &rate, &e), RVC_OK);
    assert_int_equal(frames, 1000);
    free(samples);
}

/* ---- writing ---- */

static void write_output(const char *name, const char *extension, const float *samples, size_t frames,
                         int rate) {
    convert_output out;
    rvc_error e = {0};
    if (convert_output_open(&out, at(name), &e) ||
        check_audio_write(out.fd, convert_format_find(extension), samples, frames, rate, &e) ||
        convert_output_commit(&out, &e))
        fail_msg("%s: %s", name, e.text);
}

static void quantises_as_the_reference(void **state) {
    (void)state;
    const float y[] = {0.99f, -0.99f, 1.7f / 32768, -1.7f / 32768, 0.9f / 32768, 2, -2, 0, NAN};
    const short want[] = {32440, -32440, 1,      -1,
                          0,     32767,  -32768, 0}; // (y * 32768).astype(int16), held at the ends
    const char *names[] = {"wav", "flac"};
    for (size_t k = 0; k < 2; k++) {
        char name[32];
        snprintf(name, sizeof name, "quantised.%s", names[k]);
        write_output(name, names[k], y, sizeof y / sizeof *y, 40000);
        SF_INFO info = {0};
        short got[16];
        SNDFILE *file = sf_open(at(name), SFM_READ, &info);
        assert_non_null(file);
        assert_int_equal(sf_readf_short(file, got, 16), 9);
        assert_memory_equal(got, want, sizeof want);
        sf_close(file);
    }
}

static void writes_every_format_to_its_length(void **state) {
    (void)state;
    enum { FRAMES = 50001 };
    const char *names[] = {"wav", "flac", "ogg", "mp3"};
    float *samples = malloc(FRAMES * sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < FRAMES; i++) samples[i] = wave(i);
    for (size_t k = 0; k < 4; k++) {
        const convert_format *f = convert_format_find(names[k]);
        char name[32];
        if (!convert_format_writable(f)) {
            print_message("this libsndfile writes no %s\n", names[k]);
            continue;
        }
        snprintf(name, sizeof name, "long.%s", names[k]);
        write_output(name, names[k], samples, FRAMES, convert_format_rate(f, 40000));
        float *back;
        size_t frames;
        int rate;
        rvc_error e = {0};
        assert_int_equal(check_audio_read(at(name), &back, &frames, &rate, &e), RVC_OK);
        assert_int_equal(rate, k == 3 ? 44100 : 40000);
        assert_int_equal(frames, FRAMES);
        double snr = check_snr_db(back, samples, FRAMES);
        print_message("%-9s snr %.1f dB\n", name, snr);
        assert_true(snr > (k < 2 ? 70 : 15));
        free(back);
    }
    free(samples);
}

static bool same_bytes(const char *a, const char *b) {
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    assert_non_null(x);
    assert_non_null(y);
    int p, q;
    do p = getc(x), q = getc(y);
    while (p == q && p != EOF);
    fclose(x);
    fclose(y);
    return p == q;
}

static void ogg_is_the_same_every_time(void **state) {
    (void)state;
    float samples[9000];
    for (size_t i = 0; i < 9000; i++) samples[i] = wave(i);
    write_output("one.ogg", "ogg", samples, 9000, 48000);
    write_output("two.ogg", "ogg", samples, 9000, 48000);
    assert_true(same_bytes(at("one.ogg"), at("two.ogg")));
}

static void mp3_rates(void **state) {
    (void)state;
    const convert_format *mp3 = convert_format_find("MP3"), *wav = convert_format_find("wav");
    assert_int_equal(convert_format_rate(mp3, 40000), 44100);
    assert_int_equal(convert_format_rate(mp3, 48000), 48000);
    assert_int_equal(convert_format_rate(mp3, 96000), 48000);
    assert_int_equal(convert_format_rate(wav, 40000), 40000);
    assert_null(convert_format_find("txt"));
    assert_false(convert_format_writable(convert_format_find("aiff")));
}

static void outputs_are_whole_or_not_there(void **state) {
    (void)state;
    convert_output out;
    rvc_error e = {0};
    assert_int_equal(convert_output_open(&out, at("deep/er/x.wav"), &e), RVC_OK);
    char temporary[2048];
    snprintf(temporary, sizeof temporary, "%s", out.temporary);
    assert_int_equal(access(temporary, F_OK), 0);
    assert_int_not_equal(access(at("deep/er/x.wav"), F_OK), 0);
    convert_output_discard(&out);
    assert_int_not_equal(access(temporary, F_OK), 0);
    write_bytes(at("deep/er/x.wav"), "old", 3);
    assert_int_equal(convert_output_open(&out, at("deep/er/x.wav"), &e), RVC_OK);
    assert_int_equal(write(out.fd, "newer", 5), 5);
    assert_int_equal(convert_output_commit(&out, &e), RVC_OK);
    struct stat st;
    assert_int_equal(stat(at("deep/er/x.wav"), &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_not_equal(convert_output_open(&out, at("deep/er/x.wav/y/z.wav"), &e), RVC_OK);
    print_message("%s\n", e.text);
    assert_non_null(strstr(e.text, "Not a directory"));
    assert_int_equal(rmdir(at("deep/er")), -1); // x.wav alone is in it:
    assert_int_equal(unlink(at("deep/er/x.wav")), 0);
    assert_int_equal(rmdir(at("deep/er")), 0);
}

/* ---- the list of files ---- */

static void touch(const char *name) {
    write_bytes(at(name), name, strlen(name));
}

static void walks_in_order(void **state) {
    (void)state;
    mkdir(at("tree"), 0777);
    mkdir(at("tree/sub"), 0777);
    mkdir(at("tree/.hidden"), 0777);
    mkdir(at("tree/out"), 0777);
    const char *files[] = {"tree/b.wav",  "tree/A.FLAC",           "tree/\xC3\xA4.ogg",  "tree/notes.txt",
                           "tree/.x.wav", "tree/sub/\xFF\x01.mp3", "tree/.hidden/y.wav", "tree/out/z.wav"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) touch(files[i]);
    assert_int_equal(symlink("..", at("tree/sub/loop")), 0);
    assert_int_equal(symlink("nowhere", at("tree/lost.wav")), 0);
    const char *inputs[] = {at("tree"), at("tree/notes.txt"), at("tree/b.wav")};
    convert_settings s = {.inputs = inputs, .input_count = 3, .output = at("tree/out")};
    convert_queue q = {0};
    rvc_error e = {0};
    assert_int_equal(convert_walk(&q, &s, &e), RVC_OK);
    // by bytes: 'A' < 'b' < 'l' < 's' < 0xC3; notes.txt only because it is named
    const char *want[] = {"A.FLAC",       "b.wav",     "lost.wav", "sub/\xFF\x01.mp3",
                          "\xC3\xA4.ogg", "notes.txt", "b.wav"};
    assert_int_equal(q.count, 7);
    for (size_t i = 0; i < 7; i++) assert_string_equal(q.items[i].relative, want[i]);
    assert_int_equal(q.failed, 0);
    assert_false(q.items[2].found);
    assert_true(convert_queue_holds(&q, at("tree/sub/../b.wav")));
    assert_false(convert_queue_holds(&q, at("tree/out/z.wav")));
    assert_int_equal(convert_name_outputs(&q, "OUT", NULL, "wav", &e), RVC_OK);
    assert_int_equal(q.count, 6); // b.wav, named and found, is one file
    assert_string_equal(q.items[1].output, "OUT/b.wav");
    assert_string_equal(q.items[3].output, "OUT/sub/\xFF\x01.wav");
    convert_queue_free(&q);
}

static void names_never_collide(void **state) {
    (void)state;
    static const struct {
        const char *relative, *output;
    } rows[] = {
        {"a.wav", "OUT/a_wav_2.wav"}, // a_wav.wav is the third row's own name
        {"a.mp3", "OUT/a_mp3.wav"},
        {"a_wav.wav", "OUT/a_wav.wav"},
        {"a.wav", "OUT/a_wav_3.wav"}, // of another folder
        {"sub/a.wav", "OUT/sub/a.wav"},
        {"b.c.flac", "OUT/b.c.wav"},
        {"sub.x/plain", "OUT/sub.x/plain.wav"},
        {".wav", "OUT/.wav.wav"},
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    convert_queue q = {.items = calloc(ROWS, sizeof(convert_item)), .count = ROWS, .capacity = ROWS};
    assert_non_null(q.items);
    for (size_t i = 0; i < ROWS; i++)
        q.items[i] = (convert_item){.path = convert_text("in%zu/%s", i, rows[i].relative),
                                    .relative = convert_text("%s", rows[i].relative),
                                    .found = true,
                                    .inode = (ino_t)i + 1};
    rvc_error e = {0};
    assert_int_equal(convert_name_outputs(&q, "OUT/", NULL, "wav", &e), RVC_OK);
    assert_int_equal(q.count, ROWS);
    for (size_t i = 0; i < ROWS; i++) assert_string_equal(q.items[i].output, rows[i].output);
    convert_queue_free(&q);
}

/* ---- the journal ---- */

static bool is_done(const char *settings, const convert_item *item) {
    convert_journal *j = convert_journal_open(at("journal"), settings);
    assert_non_null(j);
    bool done = convert_journal_done(j, item);
    convert_journal_close(j);
    return done;
}

static void note(const char *settings, const convert_item *item, bool ok) {
    convert_journal *j = convert_journal_open(at("journal"), settings);
    assert_non_null(j);
    convert_journal_add(j, item, ok);
    convert_journal_close(j);
}

static void append(const char *text) {
    FILE *file = fopen(at("journal/.rvc-journal.jsonl"), "a");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void journal_skips_only_what_is_done(void **state) {
    (void)state;
    mkdir(at("journal"), 0777);
    touch("in\xFF\n.wav");
    touch("other.wav");
    char path[2048], other_path[2048], output[2048];
    snprintf(path, sizeof path, "%s", at("in\xFF\n.wav"));
    snprintf(other_path, sizeof other_path, "%s", at("other.wav"));
    snprintf(output, sizeof output, "%s", at("journal/x.wav"));
    convert_item item = {
        .path = path, .output = output, .found = true, .bytes = 9, .seconds = 5, .nanoseconds = 7};
    convert_item other = item, changed = item;
    other.path = other_path;
    changed.nanoseconds = 8;
    assert_false(is_done("s1", &item));
    note("s1", &item, true);
    assert_true(is_done("s1", &item));
    assert_false(is_done("s2", &item));
    assert_false(is_done("s1", &changed));
    assert_false(is_done("s1", &other));
    append("{\"input\": \"cut off by a cra"); // and the next line begins on its own
    note("s1", &item, false);                 // a later failure leaves the output as it was
    assert_true(is_done("s1", &item));
    append("[1, 2]\nnull\n\n{}\n{\"input\": 7, \"bytes\": {}, \"status\": \"converted\"}\n");
    assert_true(is_done("s1", &item));
    note("s2", &item, true); // the output is now of other settings
    assert_false(is_done("s1", &item));
    note("s1", &other, true);
    assert_false(is_done("s2", &item));
    assert_true(is_done("s1", &other));
}

/* ---- the command line ---- */

static int read_arguments(convert_settings *s, const char *const *words) {
    char *argv[16] = {(char *)(uintptr_t) "convert"};
    int argc = 1;
    for (; words[argc - 1]; argc++) argv[argc] = (char *)(uintptr_t)words[argc - 1];
    return convert_arguments_read(s, CONVERT_CONVERT, argc, argv);
}

static void arguments_are_read(void **state) {
    (void)state;
    convert_settings s;
    const char *all[] = {
        "-t", "-3.5", "--index-rate=0.25", "-m", "v.npz",  "--seed", "18446744073709551615", "in.wav",
        "-o", "out",  "--format=flac",     "--", "-x.wav", NULL};
    assert_int_equal(read_arguments(&s, all), 0);
    assert_true(s.transpose == -3.5 && s.index_rate == 0.25 && s.seed == UINT64_MAX);
    assert_true(fabs(s.protect - 0.33) < 1e-6 && fabs(s.rms_mix_rate - 0.25) < 1e-6);
    assert_int_equal(s.input_count, 2);
    assert_string_equal(s.inputs[1], "-x.wav");
    assert_string_equal(s.format, "flac");
    assert_string_equal(s.device, "auto");
    convert_settings_free(&s);
    const char *wrong[][6] = {{"--transpose", "nan"},
                              {"--transpose", "0x1p1"},
                              {"--transpose", "1,5"},
                              {"--threads", "2.5"},
                              {"--threads", "257"},
                              {"--protect", "0.51"},
                              {"--seed", "-1"},
                              {"--seed", "1e3"},
                              {"--seed", " 1"},
                              {"--sample-rate", "7999"},
                              {"--compat", "webu"},
                              {"--compat", "exact|webui"},
                              {"--index-rate", ""},
                              {"--device", ""},
                              {"-m"},
                              {"-m", "--quiet"},
                              {"--quiet=yes"},
                              {"--nonsense"},
                              {"-z"},
                              {"--modelx", "y"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(read_arguments(&s, wrong[i]), CONVERT_WRONG_USAGE);
        convert_settings_free(&s);
    }
}

static void nearest_names(void **state) {
    (void)state;
    const char *names[] = {"transpose", "threads", "speaker", "seed", "protect"};
    assert_string_equal(convert_nearest_name("transpse", names, 5), "transpose");
    assert_string_equal(convert_nearest_name("trans", names, 5), "transpose");
    assert_string_equal(convert_nearest_name("sead", names, 5), "seed");
    assert_string_equal(convert_nearest_name("protetc", names, 5), "protect");
    assert_null(convert_nearest_name("zzzzzz", names, 5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(refuses_what_is_no_audio),
        cmocka_unit_test(refuses_what_is_not_finite),
        cmocka_unit_test(believes_the_data_not_the_header),
        cmocka_unit_test(quantises_as_the_reference),
        cmocka_unit_test(writes_every_format_to_its_length),
        cmocka_unit_test(ogg_is_the_same_every_time),
        cmocka_unit_test(mp3_rates),
        cmocka_unit_test(outputs_are_whole_or_not_there),
        cmocka_unit_test(walks_in_order),
        cmocka_unit_test(names_never_collide),
        cmocka_unit_test(journal_skips_only_what_is_done),
        cmocka_unit_test(arguments_are_read),
        cmocka_unit_test(nearest_names),
    };
    return cmocka_run_group_tests_name("audio", tests, set_up, tear_down);
}
