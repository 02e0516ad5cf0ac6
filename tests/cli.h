/* cli.h - how test_cli.c runs the program `rvc` and makes its input: one empty folder, one result at a time.
 *
 * The program is $RVC_BINARY (else $RVC_TEST_BUILD/rvc, else build/rvc). set_up must come first: it makes
 * the folder and, with `rvc synthesize`, the networks of tests/small in it. */
#ifndef TESTS_CLI_H
#define TESTS_CLI_H

#include "check.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sndfile.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>

static char *root; // an empty folder for this program
static char binary[1024];
static char models[2048];
static const char *run_in; // the folder the program is started in, NULL: this one

typedef struct result {
    int status; // exit status, 128 + signal where it was killed
    char out[65536], err[65536];
} result;
static result last;

static char *paths[512]; // [path_count] that at() has given
static size_t path_count;

/* ---- running ---- */

/* root/name; valid to the end. */
static const char *at(const char *name) {
    size_t length = strlen(root);
    for (size_t i = 0; i < path_count; i++)
        if (strcmp(paths[i] + length + 1, name) == 0) return paths[i];
    assert_true(path_count < sizeof paths / sizeof *paths);
    char *path = malloc(length + strlen(name) + 2);
    assert_non_null(path);
    sprintf(path, "%s/%s", root, name);
    return paths[path_count++] = path;
}

static void read_text(const char *path, char *text, size_t size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    text[fread(text, 1, size - 1, file)] = 0;
    fclose(file);
}

static pid_t start(const char *const *argv) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    int out = open(at("stdout"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int err = open(at("stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(127);
    if (run_in && chdir(run_in) != 0) _exit(127);
    execv(binary, (char *const *)(uintptr_t)argv);
    _exit(127);
}

static int finish(pid_t child) {
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    last.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    read_text(at("stdout"), last.out, sizeof last.out);
    read_text(at("stderr"), last.err, sizeof last.err);
    return last.status;
}

/* Runs `rvc` with these words. */
static int rvc_words(const char *const *words) {
    const char *argv[40] = {binary};
    for (int i = 0; words[i]; i++) argv[i + 1] = words[i];
    return finish(start(argv));
}
#define RVC(...) rvc_words((const char *const[]){__VA_ARGS__, NULL})
/* With the small networks and the 40k voice. */
#define CONVERT(...)                                                                                         \
    RVC("convert", "--models", models, "-m", at("models/voice_v2_40k.npz"), "--threads", "2", __VA_ARGS__)

static size_t lines(const char *text) {
    size_t count = 0;
    for (; *text; text++) count += *text == '\n';
    return count;
}

/* The last run failed with `status`, in one line that has `a` and `b` in it. */
static void failed_saying(int status, const char *a, const char *b) {
    print_message("%s", last.err);
    if (last.status != status) fail_msg("exit status %d, not %d: %s", last.status, status, last.err);
    if (lines(last.err) != 1) fail_msg("not one line: %s", last.err);
    assert_true(strncmp(last.err, "rvc: ", 5) == 0);
    if (!strstr(last.err, a) || !strstr(last.err, b)) fail_msg("'%s' lacks '%s' or '%s'", last.err, a, b);
}

static void worked(void) {
    if (last.status != 0) fail_msg("exit status %d: %s", last.status, last.err);
}

static bool is_there(const char *path) {
    return access(path, F_OK) == 0;
}

static int leftovers;
static int find_leftover(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag;
    if (!strstr(path + ftw->base, ".part")) return 0;
    print_message("left behind: %s\n", path);
    leftovers++;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int no_temporary_is_left(void **state) {
    (void)state;
    leftovers = 0;
    run_in = NULL;
    nftw(root, find_leftover, 16, FTW_PHYS);
    return leftovers;
}

/* ---- files ---- */

static void write_bytes(const char *path, const void *bytes, size_t count) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* A hum with a slow swell; channel c a little quieter than the one before. */
static void write_audio(const char *path, int format, int channels, int rate, size_t frames) {
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    for (size_t i = 0; i < frames; i++) {
        double t = (double)i / rate, frame[2];
        frame[0] =
            0.3 * sin(2 * M_PI * 180 * t) * (1 + sin(2 * M_PI * 2 * t)) / 2 + 0.1 * sin(2 * M_PI * 360 * t);
        frame[1] = 0.8 * frame[0];
        assert_int_equal(sf_writef_double(file, frame, 1), 1);
    }
    assert_int_equal(sf_close(file), 0);
}

static void write_wav(const char *path, size_t frames) {
    write_audio(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1, 16000, frames);
}

static void check_length(const char *path, int rate, size_t in_frames, int in_rate) {
    SF_INFO info = {0};
    SNDFILE *file = sf_open(path, SFM_READ, &info);
    if (!file) fail_msg("%s: %s", path, sf_strerror(NULL));
    sf_close(file);
    long long want = llround((double)in_frames * rate / in_rate);
    if (info.samplerate != rate || info.frames != want || info.channels != 1)
        fail_msg("%s: %lld frames at %d Hz, not %lld at %d", path, (long long)info.frames, info.samplerate,
                 want, rate);
}

static void assert_same_bytes(const char *a, const char *b) {
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    assert_non_null(x);
    assert_non_null(y);
    size_t position = 0;
    int p, q;
    do p = getc(x), q = getc(y), position++;
    while (p == q && p != EOF);
    fclose(x);
    fclose(y);
    if (p != q) fail_msg("%s and %s differ at byte %zu", a, b, position);
}

static void synthesize(const char *manifest, const char *out) {
    RVC("synthesize", manifest, "-o", out);
    worked();
}

static int set_up(void **state) {
    (void)state;
    const char *given = getenv("RVC_BINARY"), *build = getenv("RVC_TEST_BUILD");
    snprintf(binary, sizeof binary, "%s%s", given ? given : build ? build : "build", given ? "" : "/rvc");
    char *relative = check_tmp("test_cli");
    nftw(relative, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (mkdir(relative, 0777) != 0) return -1;
    root = realpath(relative, NULL);
    free(relative);
    char *program = realpath(binary, NULL);
    if (!root || !program) fail_msg("no %s (set RVC_BINARY)", binary);
    snprintf(binary, sizeof binary, "%s", program);
    free(program);
    snprintf(models, sizeof models, "%s/models", root);
    if (mkdir(models, 0777) != 0) return -1;
    unsetenv("RVC_MODELS");
    setenv("XDG_DATA_HOME", at("data_home"), 1);
    synthesize("tests/small/hubert.tsv", at("models/hubert_base.npz"));
    synthesize("tests/small/rmvpe.tsv", at("models/rmvpe.npz"));
    synthesize("tests/small/voice_v2_40k.tsv", at("models/voice_v2_40k.npz"));
    synthesize("tests/small/voice_v1_32k.tsv", at("models/voice_v1_32k.npz"));
    write_wav(at("good.wav"), 9000);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    while (path_count) free(paths[--path_count]);
    free(root);
    return 0;
}

#endif
