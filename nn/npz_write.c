/* npz_write.c - writing NumPy archives (npz.h).
 *
 * A zip of stored members is simple enough to write as it comes: for each member a header and its bytes, at
 * the end the directory. (libzip writes nothing before it is closed, so it would need every tensor in memory,
 * or on disk twice.) All goes to a temporary file beside the archive, which takes its name when it is whole.
 *
 *     file        member*, directory entry of each, [zip64 end, its locator], end
 *     member      local header, name, [zip64 extra], data
 * Format: PKWARE APPNOTE 6.3, zip64 where a size or a place needs more than 32 bits.
 *
 * Invariant: the temporary file is removed or has become the archive, whichever way the writer ends. */
#include "npz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "names.h"

enum {
    HEADER_ALIGNMENT = 64, /* numpy.lib.format's ARRAY_ALIGN */
    PREAMBLE = 10,         /* magic, version 1.0, 2 bytes of length */
    MAX_DICT = 512,        /* eight 19-digit dimensions and the keys are under 300 */
    MAX_NAME = 1024,
    DOS_DATE = 1 << 5 | 1, /* 1 January 1980, as numpy does */
    UTF8_NAME = 1 << 11,
    VERSION_ZIP64 = 45,
    ZIP64_EXTRA = 1,
};
static const uint32_t most = UINT32_MAX; /* of a 32-bit field, and the sign that zip64 has the number */

/* Bytes of the directory, and of a header before it is written. */
typedef struct buffer {
    unsigned char *data;
    size_t size, capacity;
    bool failed; /* out of memory */
} buffer;

struct npz_writer {
    char *path, *temporary;
    int fd;
    uint64_t size; /* of the temporary file */
    uint64_t members;
    buffer directory;
    nn_names names; /* of members; owned */
    uint32_t crc_table[8][256];
};

/* ---- checksums ----------------------------------------------------------------------------------------- */

/* CRC-32 of reflected polynomial 0xedb88320; crc_table[k][b] is byte b followed by k zero bytes, so that
 * eight bytes are taken in one step (Kounavis and Berry 2005, "slicing by 8"). */
static void make_crc_table(uint32_t table[8][256]) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;
        for (int bit = 0; bit < 8; bit++) c = c >> 1 ^ (c & 1u ? 0xedb88320u : 0u);
        table[0][b] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++) table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xffu];
}

/* The checksum of what had `crc` (0: nothing), with n more bytes. */
static uint32_t crc32_of(const npz_writer *w, uint32_t crc, const unsigned char *p, uint64_t n) {
    const uint32_t(*t)[256] = w->crc_table;
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= crc;
        crc = t[7][low & 0xffu] ^ t[6][low >> 8 & 0xffu] ^ t[5][low >> 16 & 0xffu] ^ t[4][low >> 24] ^
              t[3][high & 0xffu] ^ t[2][high >> 8 & 0xffu] ^ t[1][high >> 16 & 0xffu] ^ t[0][high >> 24];
    }
    while (n--) crc = crc >> 8 ^ t[0][(crc ^ *p++) & 0xffu];
    return ~crc;
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static void put(buffer *b, const void *data, size_t n) {
    if (b->failed || b->size + n > b->capacity) {
        size_t capacity = 2 * b->capacity + n + 256;
        unsigned char *bigger = b->failed ? NULL : realloc(b->data, capacity);
        if ((b->failed = !bigger)) return;
        b->data = bigger;
        b->capacity = capacity;
    }
    memcpy(b->data + b->size, data, n);
    b->size += n;
}

/* The lowest `bytes` bytes of v; all numbers in a zip are little-endian, as is this machine (npz.c). */
static void put_number(buffer *b, int bytes, uint64_t v) {
    put(b, &v, (size_t)bytes);
}

static nn_code fail_write(const npz_writer *w, const char *why, nn_error *e) {
    return nn_fail(e, NN_ERROR_FILE, "%s cannot be written: %s", w->path, why);
}

static nn_code append(npz_writer *w, const void *data, uint64_t n, nn_error *e) {
    const char *p = data;
    while (n > 0) {
        ssize_t got = write(w->fd, p, n < (1u << 30) ? (size_t)n : 1u << 30);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return fail_write(w, got < 0 ? strerror(errno) : "the disk takes nothing", e);
        p += got;
        n -= (uint64_t)got;
        w->size += (uint64_t)got;
    }
    return NN_OK;
}

/* ---- members ------------------------------------------------------------------------------------------- */

/* What a local header and a directory entry share, from the version needed to the lengths. */
static void put_common(buffer *b, const char *name, uint64_t size, uint32_t crc, size_t extra, bool zip64) {
    put_number(b, 2, zip64 ? VERSION_ZIP64 : 20);
    put_number(b, 2, UTF8_NAME);
    put_number(b, 2, 0); /* stored */
    put_number(b, 2, 0); /* midnight */
    put_number(b, 2, DOS_DATE);
    put_number(b, 4, crc);
    put_number(b, 4, size < most ? size : most); /* packed and unpacked */
    put_number(b, 4, size < most ? size : most);
    put_number(b, 2, strlen(name));
    put_number(b, 2, extra);
}

static void put_local_header(buffer *b, const char *name, uint64_t size, uint32_t crc) {
    bool large = size >= most;
    put(b, "PK\3\4", 4);
    put_common(b, name, size, crc, large ? 20 : 0, large);
    put(b, name, strlen(name));
    if (!large) return;
    put_number(b, 2, ZIP64_EXTRA);
    put_number(b, 2, 16);
    put_number(b, 8, size);
    put_number(b, 8, size);
}

static void put_directory_entry(buffer *b, const char *name, uint64_t size, uint32_t crc, uint64_t at) {
    size_t numbers = (size >= most ? 2u : 0u) + (at >= most ? 1u : 0u);
    put(b, "PK\1\2", 4);
    put_number(b, 2, 3 << 8 | VERSION_ZIP64); /* made on Unix */
    put_common(b, name, size, crc, numbers ? 4 + 8 * numbers : 0, numbers > 0);
    put_number(b, 2, 0);                /* comment */
    put_number(b, 2, 0);                /* disk */
    put_number(b, 2, 0);                /* internal attributes */
    put_number(b, 4, 0100644ull << 16); /* a regular file, rw-r--r-- */
    put_number(b, 4, at < most ? at : most);
    put(b, name, strlen(name));
    if (!numbers) return;
    put_number(b, 2, ZIP64_EXTRA);
    put_number(b, 2, 8 * numbers);
    if (size >= most) put_number(b, 8, size), put_number(b, 8, size);
    if (at >= most) put_number(b, 8, at);
}

static nn_code add_name(npz_writer *w, const char *name, nn_error *e) {
    if (nn_names_find(&w->names, name) != NN_NAMES_NONE)
        return nn_fail(e, NN_ERROR_ARGUMENT, "%s: \"%s\" is written twice", w->path, name);
    char *copy = strdup(name);
    if (copy && nn_names_add(&w->names, copy, 0)) return NN_OK;
    free(copy);
    return nn_fail_memory(e, w->path);
}

/* A member of head [head_size] and data [size]. */
static nn_code write_member(npz_writer *w, const char *name, const void *head, size_t head_size,
                            const void *data, uint64_t size, nn_error *e) {
    buffer local = {0};
    uint64_t at = w->size, whole = head_size + size;
    nn_code code = add_name(w, name, e);
    if (code) return code;
    uint32_t crc = crc32_of(w, crc32_of(w, 0, head, head_size), data, size);
    put_local_header(&local, name, whole, crc);
    put(&local, head, head_size);
    put_directory_entry(&w->directory, name, whole, crc, at);
    w->members++;
    if (local.failed || w->directory.failed) code = nn_fail_memory(e, w->path);
    if (!code) code = append(w, local.data, local.size, e);
    if (!code) code = append(w, data, size, e);
    free(local.data);
    return code;
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
    char head[PREAMBLE + MAX_DICT], member[MAX_NAME];
    if (rank < 0 || rank > NPZ_MAX_RANK ||
        snprintf(member, sizeof member, "%s.npy", name) >= (int)sizeof member)
        return nn_fail(e, NN_ERROR_ARGUMENT,
                       "%s: array \"%.80s\" has %d dimensions (at most %d) or too long a name", w->path, name,
                       rank, NPZ_MAX_RANK);
    uint64_t bytes = npz_dtype_size(dtype);
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(bytes, (uint64_t)shape[i], &bytes) || bytes > INT64_MAX)
            return nn_fail(e, NN_ERROR_ARGUMENT, "%s: array \"%s\" has an impossible shape", w->path, name);
    return write_member(w, member, head, format_header(head, dtype, rank, shape), data, bytes, e);
}

nn_code npz_write_text(npz_writer *w, const char *member, const char *text, nn_error *e) {
    return write_member(w, member, text, 0, text, strlen(text), e);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static void free_writer(npz_writer *w) {
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->temporary);
    }
    for (size_t i = 0; i < w->names.capacity; i++) free((char *)w->names.slot[i].key);
    nn_names_free(&w->names);
    free(w->directory.data);
    free(w->temporary);
    free(w->path);
    free(w);
}

/* An empty temporary file beside w->path, with the access rights a new file gets. */
static nn_code open_temporary(npz_writer *w, nn_error *e) {
    size_t size = strlen(w->path) + 64;
    if (!(w->temporary = malloc(size))) return nn_fail_memory(e, w->path);
    for (int i = 0; i < 1000 && w->fd < 0; i++) {
        snprintf(w->temporary, size, "%s.part-%ld-%d", w->path, (long)getpid(), i);
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST) break;
    }
    return w->fd < 0 ? fail_write(w, strerror(errno), e) : NN_OK;
}

nn_code npz_create(npz_writer **out, const char *path, nn_error *e) {
    *out = NULL;
    npz_writer *w = calloc(1, sizeof *w);
    if (!w) return nn_fail_memory(e, path);
    w->fd = -1;
    make_crc_table(w->crc_table);
    struct stat st;
    nn_code code = NN_OK;
    if (!(w->path = strdup(path)))
        code = nn_fail_memory(e, path);
    else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        code = fail_write(w, "it is a folder or a device", e);
    if (!code) code = open_temporary(w, e);
    if (code)
        free_writer(w);
    else
        *out = w;
    return code;
}

/* The end of the file, after the directory that begins at `at`. */
static void put_end(buffer *b, uint64_t members, uint64_t at, uint64_t size) {
    uint64_t end = at + size;
    if (members >= 0xffff || at >= most || size >= most) {
        put(b, "PK\6\6", 4);
        put_number(b, 8, 44); /* bytes of this record from here on */
        put_number(b, 2, 3 << 8 | VERSION_ZIP64);
        put_number(b, 2, VERSION_ZIP64);
        put_number(b, 8, 0); /* disks */
        put_number(b, 8, members);
        put_number(b, 8, members);
        put_number(b, 8, size);
        put_number(b, 8, at);
        put(b, "PK\6\7", 4);
        put_number(b, 4, 0);
        put_number(b, 8, end);
        put_number(b, 4, 1);
    }
    put(b, "PK\5\6", 4);
    put_number(b, 4, 0); /* disks */
    put_number(b, 2, members < 0xffff ? members : 0xffff);
    put_number(b, 2, members < 0xffff ? members : 0xffff);
    put_number(b, 4, size < most ? size : most);
    put_number(b, 4, at < most ? at : most);
    put_number(b, 2, 0); /* comment */
}

nn_code npz_finish(npz_writer *w, nn_error *e) {
    nn_code code = NN_OK;
    put_end(&w->directory, w->members, w->size, w->directory.size);
    if (w->members == 0)
        code = nn_fail(e, NN_ERROR_ARGUMENT, "%s: there is nothing to write", w->path);
    else if (w->directory.failed)
        code = nn_fail_memory(e, w->path);
    else
        code = append(w, w->directory.data, w->directory.size, e);
    if (!code) {
        int failed = close(w->fd) != 0 || rename(w->temporary, w->path) != 0; /* close tells of a full disk */
        if (failed) {
            code = fail_write(w, strerror(errno), e);
            unlink(w->temporary);
        }
        w->fd = -1;
    }
    free_writer(w);
    return code;
}

void npz_abandon(npz_writer *w) {
    if (w) free_writer(w);
}
