/* npz_write.c - writing NumPy archives (npz.h).
 *
 * libzip writes nothing before zip_close, and would keep every buffer until then. So each member's bytes are
 * appended to a spool file at once, and libzip is told "bytes a .. b of that file"; memory stays the size of
 * the largest call.
 *
 * Invariant: spool file and archive are removed or complete whichever way the writer ends. */
#include "npz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

enum {
    HEADER_ALIGNMENT = 64, /* numpy.lib.format's ARRAY_ALIGN */
    PREAMBLE = 10,         /* magic, version 1.0, 2 bytes of length */
    MAX_DICT = 512,        /* eight 19-digit dimensions and the keys are under 300 */
    DOS_DATE = 1 << 5 | 1, /* 1 January 1980, as numpy does */
};

struct npz_writer {
    char *path, *spool_path;
    zip_t *zip;
    int spool;     /* file descriptor */
    uint64_t size; /* bytes in the spool */
};

static nn_code fail_write(const npz_writer *w, const char *why, nn_error *e) {
    return nn_fail(e, NN_ERROR_FILE, "%s cannot be written: %s", w->path, why);
}

static void free_writer(npz_writer *w) {
    if (w->zip) zip_discard(w->zip);
    if (w->spool >= 0) {
        close(w->spool);
        unlink(w->spool_path);
    }
    free(w->spool_path);
    free(w->path);
    free(w);
}

nn_code npz_create(npz_writer **out, const char *path, nn_error *e) {
    *out = NULL;
    npz_writer *w = calloc(1, sizeof *w);
    if (!w) return nn_fail_memory(e, path);
    w->spool = -1;
    size_t n = strlen(path) + sizeof ".part-XXXXXX";
    nn_code code = NN_OK;
    struct stat st;
    int ze = 0;
    if (!(w->path = strdup(path)) || !(w->spool_path = malloc(n)))
        code = nn_fail_memory(e, path);
    else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        code = fail_write(w, "it is a folder or a device", e);
    if (!code) {
        snprintf(w->spool_path, n, "%s.part-XXXXXX", path);
        w->spool = mkstemp(w->spool_path);
        if (w->spool < 0) code = fail_write(w, strerror(errno), e);
    }
    if (!code && !(w->zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &ze)))
        code = fail_write(w, ze == ZIP_ER_MEMORY ? "out of memory" : strerror(errno), e);
    if (code)
        free_writer(w);
    else
        *out = w;
    return code;
}

static nn_code spool(npz_writer *w, const void *data, uint64_t n, nn_error *e) {
    const char *p = data;
    while (n > 0) {
        ssize_t put = write(w->spool, p, n < (1u << 30) ? (size_t)n : 1u << 30);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return fail_write(w, strerror(errno), e);
        p += put;
        n -= (uint64_t)put;
        w->size += (uint64_t)put;
    }
    return NN_OK;
}

/* Makes what was spooled since `from` the member `name`. */
static nn_code add_member(npz_writer *w, const char *name, uint64_t from, nn_error *e) {
    zip_source_t *source = zip_source_file(w->zip, w->spool_path, from, (zip_int64_t)(w->size - from));
    zip_int64_t i = source ? zip_file_add(w->zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (i < 0) {
        int why = zip_error_code_zip(zip_get_error(w->zip));
        if (source) zip_source_free(source);
        if (why == ZIP_ER_EXISTS)
            return nn_fail(e, NN_ERROR_ARGUMENT, "%s: \"%s\" is written twice", w->path, name);
        return fail_write(w, zip_strerror(w->zip), e);
    }
    if (zip_set_file_compression(w->zip, (zip_uint64_t)i, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(w->zip, (zip_uint64_t)i, 0, DOS_DATE, 0) != 0)
        return fail_write(w, zip_strerror(w->zip), e);
    return NN_OK;
}

/* The .npy preamble and dict into head [PREAMBLE + MAX_DICT], padded with blanks so that the data after it
 * begins at a multiple of 64 of the member; returns its length. */
static size_t format_header(char *head, npz_dtype dtype, int rank, const int64_t *shape) {
    char *dict = head + PREAMBLE;
    int n = snprintf(dict, MAX_DICT, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                     npz_dtype_descr(dtype));
    for (int i = 0; i < rank; i++)
        n += snprintf(dict + n, (size_t)(MAX_DICT - n), i ? ", %lld" : "%lld", (long long)shape[i]);
    n += snprintf(dict + n, (size_t)(MAX_DICT - n), "%s), }", rank == 1 ? "," : "");
    size_t length = (size_t)n;
    while ((PREAMBLE + length + 1) % HEADER_ALIGNMENT) dict[length++] = ' ';
    dict[length++] = '\n';
    memcpy(head, "\x93NUMPY\1\0", 8);
    head[8] = (char)(length & 0xff);
    head[9] = (char)(length >> 8);
    return PREAMBLE + length;
}

nn_code npz_write(npz_writer *w, const char *name, npz_dtype dtype, int rank, const int64_t *shape,
                  const void *data, nn_error *e) {
    char head[PREAMBLE + MAX_DICT], member[1024];
    if (rank < 0 || rank > NPZ_MAX_RANK ||
        snprintf(member, sizeof member, "%s.npy", name) >= (int)sizeof member)
        return nn_fail(e, NN_ERROR_ARGUMENT,
                       "%s: array \"%.80s\" has %d dimensions (at most %d) or too long a name", w->path, name,
                       rank, NPZ_MAX_RANK);
    uint64_t bytes = npz_dtype_size(dtype);
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(bytes, (uint64_t)shape[i], &bytes) || bytes > INT64_MAX)
            return nn_fail(e, NN_ERROR_ARGUMENT, "%s: array \"%s\" has an impossible shape", w->path, name);
    uint64_t from = w->size;
    nn_code code = spool(w, head, format_header(head, dtype, rank, shape), e);
    if (!code) code = spool(w, data, bytes, e);
    return code ? code : add_member(w, member, from, e);
}

nn_code npz_write_text(npz_writer *w, const char *member, const char *text, nn_error *e) {
    uint64_t from = w->size;
    nn_code code = spool(w, text, strlen(text), e);
    return code ? code : add_member(w, member, from, e);
}

nn_code npz_finish(npz_writer *w, nn_error *e) {
    nn_code code = NN_OK;
    if (zip_get_num_entries(w->zip, 0) == 0) /* libzip would remove the file instead */
        code = nn_fail(e, NN_ERROR_ARGUMENT, "%s: there is nothing to write", w->path);
    else if (zip_close(w->zip) != 0)
        code = fail_write(w, zip_strerror(w->zip), e);
    else
        w->zip = NULL;
    free_writer(w);
    return code;
}

void npz_abandon(npz_writer *w) {
    if (w) free_writer(w);
}
