/* check_file.h - whole files for tests, and what must not matter: a file cut short, a byte changed. */
#ifndef TESTS_CHECK_FILE_H
#define TESTS_CHECK_FILE_H

#include "../nn/archive.h"
#include "check.h"

/* The file's bytes [*n]; caller frees. */
static inline unsigned char *check_read_file(const char *path, size_t *n) {
    struct stat st;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    unsigned char *bytes = malloc((size_t)st.st_size + 1);
    assert_non_null(bytes);
    *n = fread(bytes, 1, (size_t)st.st_size, f);
    assert_int_equal(*n, st.st_size);
    fclose(f);
    return bytes;
}

static inline void check_write_file(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline nn_archive *check_open(const char *path) {
    nn_archive *a;
    nn_error e = {0};
    if (nn_archive_open(&a, path, &e)) fail_msg("%s", e.text);
    return a;
}

/* Opening fails with a line that names the file and says `word`. */
static inline void check_refused(const char *path, const char *word) {
    nn_archive *a;
    nn_error e = {0};
    if (nn_archive_open(&a, path, &e) == NN_OK) fail_msg("%s opens, where \"%s\" was expected", path, word);
    assert_null(a);
    if (!strstr(e.text, word) || !strstr(e.text, path)) fail_msg("\"%s\" does not say \"%s\"", e.text, word);
}

/* Opens the file and reads every tensor; the first failure's code. A failure has a line, and the line names the file. */
static inline nn_code check_read_all(const char *path) {
    nn_archive *a;
    nn_error e = {0};
    nn_code code = nn_archive_open(&a, path, &e);
    for (size_t i = 0; !code && i < nn_archive_count(a); i++) {
        const npz_array *t = nn_archive_at(a, i);
        void *x = malloc((size_t)t->bytes + 1);
        code = x ? nn_archive_read(a, t, x, &e) : nn_fail(&e, NN_ERROR_MEMORY, "%s", path);
        free(x);
    }
    if (code && !strstr(e.text, path)) fail_msg("\"%s\" does not name %s", e.text, path);
    nn_archive_close(a);
    return code;
}

/* Every prefix of the file is refused. */
static inline void check_truncations(const unsigned char *bytes, size_t n, const char *scratch) {
    char *path = check_tmp(scratch);
    for (size_t i = 0; i < n; i++) {
        check_write_file(path, bytes, i);
        if (check_read_all(path) == NN_OK) fail_msg("the first %zu of %zu bytes are taken for the file", i, n);
    }
    free(path);
}

/* Every byte inverted, and every byte zero: read or refused. The number refused. */
static inline size_t check_changes(const unsigned char *bytes, size_t n, const char *scratch) {
    char *path = check_tmp(scratch);
    unsigned char *copy = malloc(n);
    size_t refused = 0;
    assert_non_null(copy);
    for (size_t i = 0; i < 2 * n; i++) {
        memcpy(copy, bytes, n);
        copy[i / 2] = i % 2 ? (unsigned char)~copy[i / 2] : 0;
        check_write_file(path, copy, n);
        refused += check_read_all(path) != NN_OK;
    }
    free(copy);
    free(path);
    return refused;
}

#endif
