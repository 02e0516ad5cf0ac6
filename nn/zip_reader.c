/* zip_reader.c - see zip_reader.h.
 *
 * Format: PKWARE's APPNOTE, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end of the
 * directory). A member's place is believed only where libzip tells the same of it: method, sizes and CRC.
 *
 * Invariant: after zip_reader_open only libzip's handle changes, under the lock. */
#include "zip_reader.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "archive_format.h"
#include "zip_member.h"

enum {
    LOCAL = 30,
    CENTRAL = 46,
    END = 22, /* bytes of the headers */
    MOST_COMMENT = 1 << 16,
    MOST_SKIPPED = 1 << 16, /* bytes before a range that are read for the CRC's sake */
    PIECE = 1 << 18         /* bytes read at a time, which are in the cache when the CRC is taken */
};

/* A member that is stored, if it is. */
typedef struct stored {
    uint64_t header, bytes; /* of the local header; of the data */
    uint32_t crc;
    bool is;
} stored;

struct zip_reader {
    const char *path;
    int fd;
    pthread_mutex_t lock;
    zip_t *zip;
    stored *member; /* [count], in the directory's order, which is libzip's */
    uint64_t count;
};

/* ---- the directory ------------------------------------------------------------------------------------- */

static uint32_t u16(const unsigned char *p) {
    return p[0] | (uint32_t)p[1] << 8;
}
static uint32_t u32(const unsigned char *p) {
    return u16(p) | u16(p + 2) << 16;
}

/* Where the directory is and how long; false where the file's end does not say so in the plain way. */
static bool find_directory(int fd, uint64_t size, uint64_t *at, uint64_t *bytes) {
    const uint64_t tail = size < END + MOST_COMMENT ? size : END + MOST_COMMENT;
    unsigned char *p = malloc(tail + 1);
    bool found = false;
    if (p && tail >= END && nn_archive_read_at(fd, size - tail, p, tail))
        for (uint64_t i = tail - END + 1; i-- > 0 && !found;)
            if (u32(p + i) == 0x06054b50 && i + END + u16(p + i + 20) == tail) {
                *bytes = u32(p + i + 12);
                *at = u32(p + i + 16);
                found = true;
            }
    free(p);
    return found && *at <= size && *bytes <= size - *at;
}

/* What the directory and libzip agree about member i. */
static stored describe(zip_t *zip, uint64_t i, const unsigned char *entry) {
    zip_stat_t st;
    const zip_uint64_t need =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD | ZIP_STAT_CRC;
    const stored s = {
        .header = u32(entry + 42), .bytes = u32(entry + 24), .crc = u32(entry + 16), .is = true};
    const bool plain = u32(entry + 20) == s.bytes && u16(entry + 10) == ZIP_CM_STORE &&
                       s.bytes != UINT32_MAX && s.header != UINT32_MAX;
    const bool same = zip_stat_index(zip, i, 0, &st) == 0 && (st.valid & need) == need &&
                      st.comp_method == ZIP_CM_STORE && st.encryption_method == ZIP_EM_NONE &&
                      st.size == s.bytes && st.comp_size == s.bytes && st.crc == s.crc;
    return plain && same ? s : (stored){0};
}

/* The stored members; none where the directory cannot be read, which then is libzip's to judge. */
static void list_members(zip_reader *r) {
    struct stat st;
    uint64_t at = 0, bytes = 0, i = 0;
    const zip_int64_t count = zip_get_num_entries(r->zip, 0);
    if (count <= 0 || fstat(r->fd, &st) != 0 || !find_directory(r->fd, (uint64_t)st.st_size, &at, &bytes))
        return;
    unsigned char *p = malloc(bytes + 1);
    r->member = calloc((size_t)count, sizeof *r->member);
    if (p && r->member && nn_archive_read_at(r->fd, at, p, bytes))
        for (uint64_t k = 0; i < (uint64_t)count && k + CENTRAL <= bytes && u32(p + k) == 0x02014b50; i++) {
            r->member[i] = describe(r->zip, i, p + k);
            k += CENTRAL + u16(p + k + 28) + u16(p + k + 30) + u16(p + k + 32);
        }
    if (r->member) r->count = i;
    free(p);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

zip_reader *zip_reader_open(const char *path, int *error) {
    zip_reader *r = calloc(1, sizeof *r);
    *error = ZIP_ER_MEMORY;
    if (!r) return NULL;
    *error = ZIP_ER_OPEN;
    r->path = path;
    r->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r->fd >= 0) r->zip = zip_open(path, ZIP_RDONLY, error);
    if (!r->zip) {
        if (r->fd >= 0) close(r->fd);
        free(r);
        return NULL;
    }
    pthread_mutex_init(&r->lock, NULL);
    list_members(r);
    return r;
}

void zip_reader_close(zip_reader *r) {
    if (!r) return;
    zip_discard(r->zip);
    close(r->fd);
    pthread_mutex_destroy(&r->lock);
    free(r->member);
    free(r);
}

zip_t *zip_reader_zip(const zip_reader *r) {
    return r->zip;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* Bytes at `at` into dst, and into the CRC. */
static bool read_pieces(int fd, uint64_t at, unsigned char *dst, uint64_t n, uLong *crc) {
    for (uint64_t done = 0, k; done < n; done += k) {
        k = n - done < PIECE ? n - done : PIECE;
        if (!nn_archive_read_at(fd, at + done, dst + done, k)) return false;
        *crc = crc32_z(*crc, dst + done, (size_t)k);
    }
    return true;
}

/* NULL, or what is wrong. */
static const char *read_stored(const zip_reader *r, const stored *s, uint64_t first, uint64_t n, void *dst) {
    unsigned char header[LOCAL];
    uLong crc = 0;
    if (!nn_archive_read_at(r->fd, s->header, header, LOCAL) || u32(header) != 0x04034b50)
        return "no local header";
    const uint64_t data = s->header + LOCAL + u16(header + 26) + u16(header + 28);
    if (first + n < s->bytes || first > MOST_SKIPPED)
        return nn_archive_read_at(r->fd, data + first, dst, n) ? NULL : "it ends early";
    bool whole = true;
    for (uint64_t done = 0, k; done < first && whole; done += k) {
        unsigned char skipped[4096];
        k = first - done < sizeof skipped ? first - done : sizeof skipped;
        whole = read_pieces(r->fd, data + done, skipped, k, &crc);
    }
    whole = whole && read_pieces(r->fd, data + first, dst, n, &crc);
    return !whole ? "it ends early" : crc != s->crc ? "CRC error" : NULL;
}

/* Moves to byte `first`. A stored member can seek, but then its CRC is not compared. */
static bool skip(zip_file_t *f, bool can_seek, uint64_t first) {
    char skipped[4096];
    if (can_seek && first > MOST_SKIPPED) return zip_fseek(f, (zip_int64_t)first, SEEK_SET) == 0;
    for (uint64_t n; first > 0; first -= n) {
        n = first < sizeof skipped ? first : sizeof skipped;
        if (!zip_member_read(f, skipped, n)) return false;
    }
    return true;
}

static nn_code read_by_libzip(zip_reader *r, uint64_t i, uint64_t first, uint64_t n, void *dst, nn_error *e) {
    zip_stat_t st;
    zip_file_t *f = zip_stat_index(r->zip, i, 0, &st) == 0 ? zip_fopen_index(r->zip, i, 0) : NULL;
    char beyond;
    bool ok = f && skip(f, st.comp_method == ZIP_CM_STORE, first) && zip_member_read(f, dst, n);
    if (ok && first + n == st.size) ok = zip_fread(f, &beyond, 1) == 0;
    nn_code code = ok ? NN_OK : zip_member_fail(r->path, r->zip, zip_get_name(r->zip, i, 0), f, e);
    if (f) zip_fclose(f);
    return code;
}

nn_code zip_reader_read(zip_reader *r, uint64_t index, uint64_t first, uint64_t n, void *dst, nn_error *e) {
    nn_code code = NN_OK;
    if (index < r->count && r->member[index].is) {
        const char *wrong = read_stored(r, &r->member[index], first, n, dst);
        if (!wrong) return NN_OK;
        pthread_mutex_lock(&r->lock);
        code = nn_fail(e, NN_ERROR_FORMAT,
                       "%s: member \"%s\" cannot be read (%s); the file is damaged, get it again", r->path,
                       zip_get_name(r->zip, index, 0), wrong);
    } else {
        pthread_mutex_lock(&r->lock);
        code = read_by_libzip(r, index, first, n, dst, e);
    }
    pthread_mutex_unlock(&r->lock);
    return code;
}
