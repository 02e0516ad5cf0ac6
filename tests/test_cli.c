/* test_cli.c - the program `rvc` from outside: exit status, what it says, what it leaves behind.
 *
 * It runs on files made here, with the networks of tests/small, which have the real structure and a few
 * channels. For bad input it must show: one line on stderr that names the file, a status other than 0, the
 * other files converted, and no temporary left. */
#include "cli.h"

#include <cjson/cJSON.h>

/* Runs `rvc` with a Vulkan driver in it. What drivers leak is not ours, and once they are unloaded ASan has no name for it by
 * which to leave it out. */
static int rvc_with_driver(const char *const *words) {
    const char *asan = getenv("ASAN_OPTIONS");
    char *kept = strdup(asan ? asan : "");
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    const int status = rvc_words(words);
    setenv("ASAN_OPTIONS", kept, 1);
    free(kept);
    return status;
}
#define RVC_WITH_DRIVER(...) rvc_with_driver((const char *const[]){__VA_ARGS__, NULL})

/* ---- usage ---- */

static void help_and_version(void **state) {
    (void)state;
    const char *commands[] = {"--help", "convert", "pitch", "devices"};
    for (size_t i = 0; i < 4; i++) {
        RVC(commands[i], "--help");
        worked();
        assert_non_null(strstr(last.out, "rvc"));
        assert_string_equal(last.err, "");
    }
    RVC("convert", "--help");
    const char *told[] = {"--model",   "--index-rate", "[0.75",    "[0.33",     "[0.25]",
                          "[0.66666]", "--compat",     "--resume", "RVC_MODELS"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) assert_non_null(strstr(last.out, told[i]));
    assert_int_equal(RVC("--version"), 0);
    assert_true(strncmp(last.out, "rvc ", 4) == 0);
    assert_int_equal(RVC_WITH_DRIVER("devices"), 0);
    assert_non_null(strstr(last.out, "cpu"));
    assert_non_null(strstr(last.out, "threads"));
    assert_non_null(strstr(last.out, "memory"));
}

static void wrong_usage(void **state) {
    (void)state;
    const char *good = at("good.wav"), *voice = at("models/voice_v2_40k.npz"), *out = at("usage");
    RVC("convrt");
    failed_saying(2, "convrt", "rvc convert");
    RVC("convert", "--transpse", "3", good, "-o", out, "-m", voice);
    failed_saying(2, "--transpse", "--transpose");
    RVC("convert", good, "-o", out);
    failed_saying(2, "-m", "missing");
    RVC("convert", good, "-m", voice);
    failed_saying(2, "-o", "missing");
    RVC("convert", "-o", out, "-m", voice);
    failed_saying(2, "nothing to convert", "--help");
    RVC("convert", good, "-o", out, "-m");
    failed_saying(2, "-m", "value");
    RVC("convert", good, "-o", out, "-m", voice, "--protect", "0.7");
    failed_saying(2, "--protect", "0.5");
    RVC("convert", good, "-o", out, "-m", voice, "--overwrite", "--resume");
    failed_saying(2, "--overwrite", "--resume");
    RVC("convert", good, good, "-o", at("usage.wav"), "-m", voice);
    failed_saying(2, "usage.wav", "folder");
    CONVERT(good, "-o", out, "--speaker", "99");
    failed_saying(2, "--speaker 99", "voice_v2_40k.npz");
    CONVERT(good, "-o", out, "--json", good, "--overwrite");
    failed_saying(2, "--json", "good.wav");
    assert_false(is_there(out));
    assert_true(is_there(good));
}

/* ---- models ---- */

static void missing_models(void **state) {
    (void)state;
    const char *good = at("good.wav"), *out = at("nothing"), *voice = at("models/voice_v2_40k.npz");
    RVC("convert", good, "-o", out, "-m", at("no_such_voice.npz"), "--models", models);
    failed_saying(1, "no_such_voice.npz", "No such file");
    RVC("convert", good, "-o", out, "-m", voice, "--models", models, "--hubert", at("no_hubert.npz"));
    failed_saying(1, "no_hubert.npz", "No such file");
    RVC("convert", good, "-o", out, "-m", voice, "--models", models, "-i", at("no.index"));
    failed_saying(1, "no.index", "No such file");
    run_in = "/"; // where no ./models is, whatever the user keeps in the project's folder
    RVC("convert", good, "-o", out, "-m", voice, "--models", at("no_folder"));
    failed_saying(1, "hubert_base.npz", "no_folder, ./models, ");
    assert_non_null(strstr(last.err, "data_home/rvc"));
    RVC("pitch", good, "-o", at("nothing.csv"), "--models", at("no_folder"));
    failed_saying(1, "rmvpe.npz", "data_home/rvc");
    RVC("convert", good, "-o", out, "-m", voice, "--hubert", at("models/hubert_base.npz"));
    failed_saying(1, "rmvpe.npz", "./models");
    run_in = root;
    RVC("convert", "good.wav", "-o", "by_default.wav", "-m", "models/voice_v2_40k.npz");
    worked(); // ./models
    setenv("RVC_MODELS", models, 1);
    run_in = "/";
    RVC("convert", good, "-o", at("by_variable.wav"), "-m", voice);
    worked();
    assert_same_bytes(at("by_default.wav"), at("by_variable.wav"));
    unsetenv("RVC_MODELS");
    run_in = NULL;
    RVC_WITH_DRIVER("convert", good, "-o", out, "-m", voice, "--models", models, "--device", "vulkan:77");
    failed_saying(1, "vulkan", "cpu"); // lists what there is, or says why there is no Vulkan
    CONVERT(good, "-o", out, "--device", "vulkan", "--precision", "bf16");
    failed_saying(1, "bf16", "f16");
    CONVERT(good, "-o", out, "--precision", "f16");
    failed_saying(1, "f16", "f32");
    assert_false(is_there(out));
}

/* The manifest of the 40k voice, with the first line that begins with `name` replaced by `line` ("" drops
 * it). */
static void synthesize_changed(const char *name, const char *line, const char *out) {
    char row[512];
    FILE *in = fopen("tests/small/voice_v2_40k.tsv", "r"), *to = fopen(at("changed.tsv"), "w");
    assert_non_null(in);
    assert_non_null(to);
    bool found = false;
    while (fgets(row, sizeof row, in)) {
        bool hit = strncmp(row, name, strlen(name)) == 0;
        fputs(hit ? line : row, to);
        found = found || hit;
    }
    fclose(in);
    fclose(to);
    assert_true(found);
    char config[512];
    read_text("tests/small/voice_v2_40k.json", config, sizeof config);
    write_bytes(at("changed.json"), config, strlen(config));
    synthesize(at("changed.tsv"), out);
}

static void refuses_voice(const char *voice, const char *a, const char *b) {
    RVC("convert", at("good.wav"), "-o", at("nothing"), "-m", voice, "--models", models);
    failed_saying(1, a, b);
    assert_false(is_there(at("nothing")));
}

static void broken_models(void **state) {
    (void)state;
    write_bytes(at("text.npz"), "a letter\n", 9);
    refuses_voice(at("text.npz"), "text.npz", "");
    write_bytes(at("empty.npz"), "", 0);
    refuses_voice(at("empty.npz"), "empty.npz", "");
    refuses_voice(models, "models", "");
    refuses_voice(at("models/rmvpe.npz"), "rmvpe.npz", "");

    struct stat st;
    assert_int_equal(stat(at("models/voice_v2_40k.npz"), &st), 0);
    char *bytes = malloc((size_t)st.st_size);
    FILE *file = fopen(at("models/voice_v2_40k.npz"), "rb");
    assert_non_null(bytes);
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, (size_t)st.st_size, file), st.st_size);
    fclose(file);
    write_bytes(at("half.npz"), bytes, (size_t)st.st_size / 2);
    free(bytes);
    refuses_voice(at("half.npz"), "half.npz", "");

    const char *name = "enc_p.proj.weight";
    synthesize_changed(name, "", at("lacking.npz"));
    refuses_voice(at("lacking.npz"), "lacking.npz", name);
    synthesize_changed(name, "enc_p.proj.weight\t32,15,1\t0\t0.25\n", at("misshapen.npz"));
    refuses_voice(at("misshapen.npz"), "misshapen.npz", name);
    synthesize_changed(name, "enc_p.proj.weight\t32,16,1\t0\t1e39\n", at("infinite.npz"));
    refuses_voice(at("infinite.npz"), "infinite.npz", name);
}

static void wrong_index(void **state) {
    (void)state;
    write_bytes(at("text.index"), "a letter\n", 9);
    CONVERT(at("good.wav"), "-o", at("nothing"), "-i", at("text.index"));
    failed_saying(1, "text.index", "");
    const char *wide = check_shared("real/one_list_v2.index");
    const char *empty = check_shared("real/trained_IVF9_Flat_nprobe_1_v2.index");
    if (!wide || !empty) skip();
    CONVERT(at("good.wav"), "-o", at("nothing"), "-i", wide);
    failed_saying(1, "one_list_v2.index", "768");
    CONVERT(at("good.wav"), "-o", at("nothing"), "-i", empty);
    failed_saying(1, "trained_IVF9", "");
    assert_false(is_there(at("nothing")));
}

/* ---- recordings ---- */

/* A good 16-bit WAV gets a chunk after its data, as recorders and editors leave them. */
static void append_chunk(const char *path) {
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    const unsigned char chunk[] = "LIST\x0a\0\0\0INFOab\0\0\0";
    assert_int_equal(fwrite(chunk, 1, 18, file), 18);
    fclose(file);
}

static void odd_recordings(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int format, channels, rate;
        size_t frames;
    } good[] = {
        {"u8.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_U8, 1, 8000, 4001},
        {"s24.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_24, 2, 44100, 30001},
        {"f64.wav", SF_FORMAT_WAV | SF_FORMAT_DOUBLE, 1, 22050, 9999},
        {"s32_chunk.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_32, 1, 24000, 12345},
        {"stereo96k.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 2, 96000, 50003},
        {"short20.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1, 44100, 20},
        {"one.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1, 16000, 1},
        {"tenth.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 1, 48000, 4800},
        {"sub/\xC3\xA4 \xE2\x99\xAB.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 1, 32000, 6400},
    };
    static const char *bad[] = {"letter.wav", "zero.wav", "empty.flac", "nan.wav"};
    mkdir(at("odd"), 0777);
    mkdir(at("odd/sub"), 0777);
    char name[256];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(name, sizeof name, "odd/%s", good[i].name);
        write_audio(at(name), good[i].format, good[i].channels, good[i].rate, good[i].frames);
    }
    append_chunk(at("odd/s32_chunk.wav"));
    write_bytes(at("odd/letter.wav"), "a letter, not a recording\n", 26);
    write_bytes(at("odd/empty.flac"), "", 0);
    write_wav(at("odd/zero.wav"), 0);
    SF_INFO info = {.samplerate = 16000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    SNDFILE *file = sf_open(at("odd/nan.wav"), SFM_WRITE, &info);
    float values[] = {0, 0.5f, NAN, 0.25f};
    sf_write_float(file, values, 4);
    sf_close(file);

    CONVERT(at("odd"), "-o", at("odd/out"), "--json", at("odd.jsonl"), "--timing");
    print_message("%s", last.err);
    assert_int_equal(last.status, 1);
    assert_int_equal(lines(last.err), sizeof bad / sizeof *bad);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_non_null(strstr(last.err, bad[i]));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(name, sizeof name, "odd/out/%.*s.wav", (int)(strrchr(good[i].name, '.') - good[i].name),
                 good[i].name);
        check_length(at(name), 40000, good[i].frames, good[i].rate);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(name, sizeof name, "odd/out/%.*s.wav", (int)(strrchr(bad[i], '.') - bad[i]), bad[i]);
        assert_false(is_there(at(name)));
    }
    const char *parts[] = {"load",   "warm-up",   "read",      "resample", "mel",  "rmvpe",
                           "hubert", "retrieval", "synthesis", "write",    "total"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "\n%s ", parts[i]);
        assert_non_null(strstr(last.out, name));
    }
}

/* After odd_recordings: what --json wrote about it. */
static void json_lines(void **state) {
    (void)state;
    static char text[65536];
    read_text(at("odd.jsonl"), text, sizeof text);
    assert_int_equal(lines(text), 13);
    int converted = 0, failed = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        cJSON *o = cJSON_Parse(line);
        if (!o) fail_msg("no JSON: %s", line);
        const char *status = cJSON_GetStringValue(cJSON_GetObjectItem(o, "status"));
        assert_non_null(status);
        bool good = strcmp(status, "converted") == 0;
        converted += good;
        failed += strcmp(status, "failed") == 0;
        assert_int_equal(cJSON_IsNull(cJSON_GetObjectItem(o, "error")), good);
        const char *numbers[] = {"audio_seconds", "real_time_factor", "peak_memory_bytes", "seed"};
        for (size_t i = 0; i < 4; i++) assert_true(cJSON_IsNumber(cJSON_GetObjectItem(o, numbers[i])));
        const char *seconds[] = {"load",   "warm_up",   "read",      "resample", "mel",  "rmvpe",
                                 "hubert", "retrieval", "synthesis", "write",    "total"};
        const cJSON *parts = cJSON_GetObjectItem(o, "seconds");
        for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++)
            assert_true(cJSON_IsNumber(cJSON_GetObjectItem(parts, seconds[i])));
        const char *texts[] = {"input", "output", "device", "precision"};
        for (size_t i = 0; i < 4; i++) assert_true(cJSON_IsString(cJSON_GetObjectItem(o, texts[i])));
        if (good) assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "audio_seconds")) > 0);
        cJSON_Delete(o);
    }
    assert_int_equal(converted, 9);
    assert_int_equal(failed, 4);
}

static void formats_and_rates(void **state) {
    (void)state;
    const struct {
        const char *name;
        int format, rate;
    } rows[] = {
        {"f.wav", SF_FORMAT_WAV, 40000},
        {"f.flac", SF_FORMAT_FLAC, 40000},
        {"f.ogg", SF_FORMAT_OGG, 40000},
        {"f.mp3", 0x230000, 44100}, // MPEG; it has no 40 kHz
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        SF_INFO can = {.samplerate = 48000,
                       .channels = 1,
                       .format = i == 3 ? 0x230082 : SF_FORMAT_WAV | SF_FORMAT_PCM_16};
        if (!sf_format_check(&can)) continue;
        CONVERT(at("good.wav"), "-o", at(rows[i].name));
        worked();
        SF_INFO info = {0};
        sf_close(sf_open(at(rows[i].name), SFM_READ, &info));
        assert_int_equal(info.format & SF_FORMAT_TYPEMASK, rows[i].format);
        check_length(at(rows[i].name), rows[i].rate, 9000, 16000);
    }
    CONVERT(at("good.wav"), "-o", at("other.wav"), "--sample-rate", "8000", "-t", "-3.5", "--index-rate=0.5");
    worked();
    check_length(at("other.wav"), 8000, 9000, 16000);
    RVC("convert", at("good.wav"), "-o", at("v1"), "-m", at("models/voice_v1_32k.npz"), "--models", models,
        "--format", "flac");
    worked();
    check_length(at("v1/good.flac"), 32000, 9000, 16000);
    CONVERT(at("good.wav"), "-o", at("x.mp3"), "--sample-rate", "40000");
    failed_saying(2, "--sample-rate 40000", "44100");
}

static void unwritable_output(void **state) {
    (void)state;
    write_bytes(at("a_file"), "x", 1);
    mkdir(at("two"), 0777);
    write_wav(at("two/a.wav"), 3000);
    CONVERT(at("two/a.wav"), "-o", at("a_file/out"));
    failed_saying(1, "two/a.wav", "Not a directory");
    // one of two outputs cannot be: there is a folder of its name
    mkdir(at("two_out"), 0777);
    mkdir(at("two_out/a.wav"), 0777);
    write_wav(at("two/b.wav"), 3000);
    CONVERT(at("two"), "-o", at("two_out"));
    failed_saying(1, "two/a.wav", "folder");
    check_length(at("two_out/b.wav"), 40000, 3000, 16000);
}

static void never_overwrites(void **state) {
    (void)state;
    mkdir(at("own"), 0777);
    write_wav(at("own/a.wav"), 3000);
    CONVERT(at("own/a.wav"), "-o", at("own"), "--overwrite");
    failed_saying(1, "own/a.wav", "overwrite");
    check_length(at("own/a.wav"), 16000, 3000, 16000);
    CONVERT(at("own/a.wav"), "-o", at("own/new.wav"));
    worked();
    CONVERT(at("own/a.wav"), "-o", at("own/new.wav"), "--seed", "1");
    failed_saying(1, "own/new.wav", "--overwrite");
    CONVERT(at("own/a.wav"), "-o", at("own/new.wav"), "--seed", "1", "--overwrite");
    worked();
}

/* ---- batches ---- */

static void collisions(void **state) {
    (void)state;
    mkdir(at("same"), 0777);
    write_wav(at("same/a.wav"), 3000);
    write_audio(at("same/a.flac"), SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 1, 16000, 4000);
    write_wav(at("same/a_flac.wav"), 5000);
    CONVERT(at("same"), "-o", at("same_out"));
    worked();
    check_length(at("same_out/a_wav.wav"), 40000, 3000, 16000);
    check_length(at("same_out/a_flac_2.wav"), 40000, 4000, 16000);
    check_length(at("same_out/a_flac.wav"), 40000, 5000, 16000);
    assert_false(is_there(at("same_out/a.wav")));
}

static void same_seed_same_bytes(void **state) {
    (void)state;
    mkdir(at("many"), 0777);
    write_wav(at("many/1.wav"), 7000);
    write_wav(at("many/2.wav"), 9001);
    write_wav(at("many/3.wav"), 5003);
    CONVERT(at("many"), "-o", at("many_out"), "--seed", "7");
    worked();
    CONVERT(at("many/2.wav"), "-o", at("alone.wav"), "--seed", "7");
    worked();
    assert_same_bytes(at("many_out/2.wav"), at("alone.wav"));
    CONVERT(at("many/2.wav"), "-o", at("one_thread.wav"), "--seed", "7", "--threads", "1");
    worked();
    assert_same_bytes(at("many_out/2.wav"), at("one_thread.wav"));
}

static void ages(const char *path, time_t *seconds, long *nanoseconds) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    *seconds = st.st_mtim.tv_sec;
    *nanoseconds = st.st_mtim.tv_nsec;
}

static size_t occurrences(const char *text, const char *word) {
    size_t count = 0;
    for (; (text = strstr(text, word)); text++) count++;
    return count;
}

static void resumes(void **state) {
    (void)state;
    mkdir(at("go"), 0777);
    write_wav(at("go/1.wav"), 3000);
    write_wav(at("go/2.wav"), 3500);
    write_wav(at("go/3.wav"), 4000);
    CONVERT(at("go"), "-o", at("go_out"));
    worked();
    assert_true(is_there(at("go_out/.rvc-journal.jsonl")));
    CONVERT(at("go"), "-o", at("go_out")); // neither --overwrite nor --resume
    assert_int_equal(last.status, 1);
    assert_int_equal(lines(last.err), 3);
    time_t seconds, now_seconds;
    long nanoseconds, now_nanoseconds;
    ages(at("go_out/1.wav"), &seconds, &nanoseconds);
    unlink(at("go_out/2.wav"));      // its output is lost
    write_wav(at("go/3.wav"), 4500); // it has changed
    FILE *journal = fopen(at("go_out/.rvc-journal.jsonl"), "a");
    assert_non_null(journal);
    fputs("{\"input\": \"half a li", journal);
    fclose(journal);
    CONVERT(at("go"), "-o", at("go_out"), "--resume");
    worked();
    assert_int_equal(occurrences(last.out, "skipped"), 1);
    ages(at("go_out/1.wav"), &now_seconds, &now_nanoseconds);
    assert_true(seconds == now_seconds && nanoseconds == now_nanoseconds);
    check_length(at("go_out/2.wav"), 40000, 3500, 16000);
    check_length(at("go_out/3.wav"), 40000, 4500, 16000);
    CONVERT(at("go"), "-o", at("go_out"), "--resume", "--quiet");
    worked();
    assert_string_equal(last.out, "");
    CONVERT(at("go"), "-o", at("go_out"), "--resume", "--seed", "1"); // other settings: all again
    worked();
    assert_int_equal(occurrences(last.out, "skipped"), 0);
}

static size_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

static bool same_bytes(const char *a, const char *b) {
    const size_t size = size_of(a);
    char *x = malloc(2 * size + 2), *y = x + size + 1;
    read_text(a, x, size + 1);
    read_text(b, y, size + 1);
    const bool same = size > 44 && size_of(b) == size && memcmp(x, y, size) == 0;
    free(x);
    return same;
}

/* Files done side by side become what they become one after another, and as much is said about each. */
static void several_at_a_time(void **state) {
    (void)state;
    static char json[65536];
    enum { FILES = 9, GOOD = 7 };
    char name[64], other[64];
    mkdir(at("many"), 0777);
    for (int i = 0; i < GOOD; i++) {
        snprintf(name, sizeof name, "many/%d.wav", i);
        write_wav(at(name), i == 0 ? 40000 : 2000 + 700 * (size_t)i);
    }
    write_bytes(at("many/a_text.wav"), "this is no audio\n", 17);
    write_bytes(at("many/b_empty.wav"), "", 0);
    CONVERT(at("many"), "-o", at("many_1"), "--threads", "1");
    assert_int_equal(last.status, 1);
    setenv("RVC_CONVERTERS", "3", 1);
    CONVERT(at("many"), "-o", at("many_3"), "--threads", "1", "--json", at("many.jsonl"), "--timing");
    print_message("%s%s", last.out, last.err);
    assert_int_equal(last.status, 1);
    assert_int_equal(lines(last.err), FILES - GOOD);
    assert_non_null(strstr(last.err, "a_text.wav: not an audio file"));
    assert_non_null(strstr(last.err, "b_empty.wav: holds no audio"));
    for (int i = 0; i < GOOD; i++) {
        snprintf(name, sizeof name, "many_1/%d.wav", i);
        snprintf(other, sizeof other, "many_3/%d.wav", i);
        assert_true(same_bytes(at(name), at(other)));
        snprintf(name, sizeof name, "[%d/%d] ", i + 1, FILES);
        assert_int_equal(occurrences(last.out, name), 1);
    }
    assert_non_null(strstr(last.out, "7 files, "));
    read_text(at("many.jsonl"), json, sizeof json);
    assert_int_equal(lines(json), FILES);
    assert_int_equal(occurrences(json, "\"status\":\"converted\""), GOOD);
    unlink(at("many_3/4.wav"));
    CONVERT(at("many"), "-o", at("many_3"), "--threads", "1", "--resume");
    unsetenv("RVC_CONVERTERS");
    assert_int_equal(occurrences(last.out, "skipped"), GOOD - 1);
    assert_true(same_bytes(at("many_1/4.wav"), at("many_3/4.wav")));
}

static void stops_when_asked(void **state) {
    (void)state;
    const char *argv[] = {binary,
                          "convert",
                          at("long.wav"),
                          at("good.wav"),
                          "-o",
                          at("stopped"),
                          "-m",
                          at("models/voice_v2_40k.npz"),
                          "--models",
                          models,
                          NULL};
    write_wav(at("long.wav"), 16000 * 600);
    unlink(at("stdout"));
    pid_t child = start(argv);
    // it has begun when its output folder is there; 20 s are plenty for that, under a sanitizer too
    for (int i = 0; i < 2000 && !is_there(at("stopped")); i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    kill(child, SIGINT);
    finish(child);
    print_message("%s", last.err);
    assert_int_equal(last.status, 130);
    assert_int_equal(lines(last.err), 1);
    assert_non_null(strstr(last.err, "--resume"));
    assert_false(is_there(at("stopped/long.wav")));
    unlink(at("long.wav"));
}

/* Two under way: both stop, and a second signal leaves no temporary of either. */
static void several_stop_when_asked(void **state) {
    (void)state;
    setenv("RVC_CONVERTERS", "2", 1);
    for (int signals = 1; signals <= 2; signals++) {
        const char *argv[] = {binary,
                              "convert",
                              at("halt"),
                              "-o",
                              at("halt_out"),
                              "-m",
                              at("models/voice_v2_40k.npz"),
                              "--models",
                              models,
                              "--threads",
                              "1",
                              NULL};
        mkdir(at("halt"), 0777);
        write_wav(at("halt/1.wav"), 16000 * 300);
        write_wav(at("halt/2.wav"), 16000 * 300);
        pid_t child = start(argv);
        for (int i = 0; i < 2000 && !is_there(at("halt_out")); i++)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
        for (int i = 0; i < signals; i++) kill(child, SIGINT);
        finish(child);
        print_message("%s", last.err);
        assert_int_equal(last.status, 130);
        if (signals == 1) assert_int_equal(lines(last.err), 1);
        assert_false(is_there(at("halt_out/1.wav")) || is_there(at("halt_out/2.wav")));
        assert_int_equal(no_temporary_is_left(NULL), 0);
    }
    unsetenv("RVC_CONVERTERS");
}

/* A GPU that is lost in the second of three files: the batch stops with one line more, and --resume goes on from there. The
 * device is lavapipe or whatever there is. */
static void device_is_lost(void **state) {
    (void)state;
    RVC_WITH_DRIVER("devices");
    worked();
    if (!strstr(last.out, "vulkan:0")) {
        print_message("skipped: no Vulkan device (Debian: mesa-vulkan-drivers)\n");
        skip();
    }
    mkdir(at("lost"), 0777);
    write_wav(at("lost/1.wav"), 3000);
    write_wav(at("lost/2.wav"), 3000);
    write_wav(at("lost/3.wav"), 3000);
    setenv("RVC_VULKAN_LOSE", "2", 1); // the warm-up and the first file
    RVC_WITH_DRIVER("convert", at("lost"), "-o", at("lost_out"), "-m", at("models/voice_v2_40k.npz"),
                    "--models", models, "--device", "vulkan:0");
    unsetenv("RVC_VULKAN_LOSE");
    print_message("%s%s", last.out, last.err);
    assert_int_equal(last.status, 1);
    assert_int_equal(lines(last.err), 2);
    assert_non_null(strstr(last.err, "lost/2.wav: "));
    assert_non_null(strstr(last.err, "was lost"));
    assert_non_null(strstr(last.err, "2 of 3 files are not converted"));
    assert_non_null(strstr(last.out, "on "));
    assert_non_null(strstr(last.out, "(Vulkan, f32)"));
    check_length(at("lost_out/1.wav"), 40000, 3000, 16000);
    assert_false(is_there(at("lost_out/2.wav")));
    char journal[4096];
    read_text(at("lost_out/.rvc-journal.jsonl"), journal, sizeof journal);
    assert_int_equal(lines(journal), 2);
    CONVERT(at("lost"), "-o", at("lost_out"), "--device", "cpu", "--resume");
    worked();
    check_length(at("lost_out/3.wav"), 40000, 3000, 16000);
}

static void pitch_table(void **state) {
    (void)state;
    static char text[65536];
    RVC("pitch", at("good.wav"), "-o", at("f0.csv"), "--models", models);
    worked();
    read_text(at("f0.csv"), text, sizeof text);
    assert_true(strncmp(text, "time_s,f0_hz\n0.00,", 18) == 0);
    size_t values = lines(text) - 1;
    print_message("%zu values for %.3f s\n", values, 9000 / 16000.0);
    assert_true(values >= 56 && values <= 57);
    RVC("pitch", at("good.wav"), "-o", at("good.wav"), "--models", models);
    failed_saying(1, "good.wav", "itself");
    RVC("pitch", at("text.npz"), "-o", at("none.csv"), "--models", models);
    failed_saying(1, "text.npz", "not an audio file");
    assert_false(is_there(at("none.csv")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version),
        cmocka_unit_test(wrong_usage),
        cmocka_unit_test_teardown(missing_models, no_temporary_is_left),
        cmocka_unit_test_teardown(broken_models, no_temporary_is_left),
        cmocka_unit_test_teardown(wrong_index, no_temporary_is_left),
        cmocka_unit_test_teardown(odd_recordings, no_temporary_is_left),
        cmocka_unit_test(json_lines),
        cmocka_unit_test_teardown(formats_and_rates, no_temporary_is_left),
        cmocka_unit_test_teardown(unwritable_output, no_temporary_is_left),
        cmocka_unit_test_teardown(never_overwrites, no_temporary_is_left),
        cmocka_unit_test_teardown(collisions, no_temporary_is_left),
        cmocka_unit_test_teardown(same_seed_same_bytes, no_temporary_is_left),
        cmocka_unit_test_teardown(resumes, no_temporary_is_left),
        cmocka_unit_test_teardown(several_at_a_time, no_temporary_is_left),
        cmocka_unit_test_teardown(stops_when_asked, no_temporary_is_left),
        cmocka_unit_test_teardown(several_stop_when_asked, no_temporary_is_left),
        cmocka_unit_test_teardown(device_is_lost, no_temporary_is_left),
        cmocka_unit_test_teardown(pitch_table, no_temporary_is_left),
    };
    return cmocka_run_group_tests_name("cli", tests, set_up, tear_down);
}
