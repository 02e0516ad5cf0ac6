/* check_models.h - networks for tests: the small ones of tests/small (real structure, a few channels), made
 * anew by each test program, the same with lines of their manifests changed, and the full-size ones of the
 * shared data, made once. */
#ifndef TESTS_CHECK_MODELS_H
#define TESTS_CHECK_MODELS_H

#include "../rvc/rvc.h"
#include "../tools/tools.h"
#include "check.h"

/* build/tmp/PREFIX-NAME.npz; stays valid. */
static inline const char *check_model_path(const char *prefix, const char *name) {
    static char paths[32][1024];
    char file[256];
    snprintf(file, sizeof file, "%s-%s.npz", prefix, name);
    char *path = check_tmp(file);
    size_t i = 0;
    while (i < 31 && *paths[i] && strcmp(paths[i], path) != 0) i++;
    snprintf(paths[i], sizeof paths[i], "%s", path);
    free(path);
    return paths[i];
}

/* The small network tests/small/NAME.tsv as an .npz whose name starts with `program`, so that programs do not
 * meet. */
static inline const char *check_small(const char *program, const char *name) {
    char manifest[256];
    nn_error e = {0};
    const char *path = check_model_path(program, name);
    snprintf(manifest, sizeof manifest, "tests/small/%s.tsv", name);
    if (rvc_synthesize(manifest, path, &e)) fail_msg("%s", e.text);
    return path;
}

/* The same without the tensor `without`, and with the manifest's line `line` in its place unless that is
 * NULL; its config is `json`, or the voice's own where that is NULL. */
static inline const char *check_changed(const char *program, const char *name, const char *without,
                                        const char *line, const char *json) {
    char text[1024], beside[256];
    snprintf(text, sizeof text, "%s-changed.tsv", program);
    char *manifest = check_tmp(text);
    snprintf(text, sizeof text, "%s-changed.json", program);
    char *config = check_tmp(text);
    snprintf(text, sizeof text, "tests/small/%s.tsv", name);
    FILE *in = fopen(text, "r"), *out = fopen(manifest, "w");
    assert_non_null(in);
    assert_non_null(out);
    size_t length = without ? strlen(without) : 0;
    while (fgets(text, sizeof text, in)) {
        if (!without || strncmp(text, without, length) != 0 || text[length] != '\t')
            fputs(text, out);
        else if (line)
            fprintf(out, "%s\n", line);
    }
    fclose(in);
    fclose(out);
    snprintf(beside, sizeof beside, "tests/small/%s.json", name);
    remove(config);
    if ((in = fopen(beside, "r"))) {
        size_t n = fread(text, 1, sizeof text - 1, in);
        text[n] = '\0';
        fclose(in);
    }
    if ((in || json) && (out = fopen(config, "w"))) {
        fputs(json ? json : text, out);
        fclose(out);
    }
    nn_error e = {0};
    const char *path = check_model_path(program, "changed");
    if (rvc_synthesize(manifest, path, &e)) fail_msg("%s", e.text);
    free(manifest);
    free(config);
    return path;
}

/* The full-size network $RVC_SHARED/synthetic/NAME.tsv, made once; NULL where there is no shared data. */
static inline const char *check_full(const char *name) {
    char manifest[256];
    nn_error e = {0};
    const char *path = check_model_path("full", name);
    snprintf(manifest, sizeof manifest, "synthetic/%s.tsv", name);
    const char *source = check_shared(manifest);
    if (source && access(path, R_OK) != 0 && rvc_synthesize(source, path, &e)) fail_msg("%s", e.text);
    return source ? path : NULL;
}

/* Opens models, or fails the test with the message. */
static inline rvc_models *check_open(const char *voice, const char *hubert, const char *pitch,
                                     const char *index, int threads) {
    rvc_models *m = NULL;
    rvc_error e = {0};
    rvc_model_paths paths = {.voice = voice, .hubert = hubert, .rmvpe = pitch, .index = index};
    rvc_setup setup = {.threads = threads};
    if (rvc_models_open(&m, &paths, &setup, &e)) fail_msg("%s", e.text);
    return m;
}

static inline rvc_converter *check_converter(rvc_models *m) {
    rvc_converter *c = NULL;
    rvc_error e = {0};
    if (rvc_converter_new(&c, m, &e)) fail_msg("%s", e.text);
    return c;
}

#endif
