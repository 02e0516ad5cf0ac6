/* packed.c - see packed.h.
 *
 *   head    magic, version, layout, hash of the checkpoint, hash of the entries, entries
 *   entry   offset, bytes and hash of a blob; its key
 *   blobs   each at a multiple of 4096 bytes
 *
 * Written to a temporary name and renamed, so a file under its name is whole. Hashes are XXH3 (xxHash). */
#include "packed.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <xxhash.h>
#pragma GCC diagnostic pop

/* Raise VERSION whenever a kernel's layout changes. */
enum { VERSION = 2, PAGE = 4096, KEY = 488, MOST_ENTRIES = 100000 };

typedef struct head {
    char magic[8], layout[24];
    uint32_t version, count;
    uint64_t checkpoint, entries; /* hashes */
} head;

typedef struct entry {
    uint64_t offset, bytes, hash;
    char key[KEY];
} entry;

static const char magic[8] = "RVCPACK";

/* A whole file, mapped. */
typedef struct mapping {
    void *at;
    size_t bytes;
} mapping;

static mapping map_open(int fd) {
    struct stat s;
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_size <= 0) return (mapping){NULL, 0};
    void *at = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    return at == MAP_FAILED ? (mapping){NULL, 0} : (mapping){at, (size_t)s.st_size};
}

static mapping map_file(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return (mapping){NULL, 0};
    mapping m = map_open(fd);
    close(fd);
    return m;
}

/* PATH.packed-LAYOUT + suffix, malloc'd; NULL where there is nothing to keep it beside. */
static char *file_name(const nn_weights *w, const char *layout, const char *suffix) {
    const char *off = getenv("RVC_PACKED"), *path = nn_weights_file(w);
    if (!path || (off && !strcmp(off, "off"))) return NULL;
    size_t size = strlen(path) + strlen(layout) + strlen(suffix) + 16;
    char *name = malloc(size);
    if (name) snprintf(name, size, "%s.packed-%s%s", path, layout, suffix);
    return name;
}

/* Of the checkpoint's bytes and its config (which may stand in another file); 0: cannot be read. The bytes
 * are read, not mapped, so that they do not count as this program's memory. */
static uint64_t hash_checkpoint(const nn_weights *w) {
    enum { PIECE = 1 << 20 };
    int fd = open(nn_weights_file(w), O_RDONLY | O_CLOEXEC);
    char *piece = malloc(PIECE);
    XXH3_state_t *state = XXH3_createState();
    uint64_t hash = 0;
    if (fd >= 0 && piece && state) {
        ssize_t n;
        XXH3_64bits_reset(state);
        while ((n = read(fd, piece, PIECE)) > 0) XXH3_64bits_update(state, piece, (size_t)n);
        const char *config = nn_weights_config(w);
        if (config) XXH3_64bits_update(state, config, strlen(config));
        if (n == 0) hash = XXH3_64bits_digest(state);
    }
    XXH3_freeState(state);
    free(piece);
    if (fd >= 0) close(fd);
    return hash;
}

/* The file is whole, of this version and layout, and every blob is what was written. */
static bool is_sound(const mapping *m, const nn_weights *w, const char *layout) {
    const head *h = m->at;
    if (m->bytes < sizeof *h || memcmp(h->magic, magic, sizeof magic) != 0 || h->version != VERSION ||
        strncmp(h->layout, layout, sizeof h->layout) != 0 || h->count > MOST_ENTRIES ||
        m->bytes < sizeof *h + h->count * sizeof(entry))
        return false;
    const entry *e = (const entry *)(h + 1);
    if (XXH3_64bits(e, h->count * sizeof *e) != h->entries || h->checkpoint != hash_checkpoint(w))
        return false;
    for (uint32_t i = 0; i < h->count; i++)
        if (e[i].offset % PAGE || e[i].offset > m->bytes || e[i].bytes > m->bytes - e[i].offset ||
            e[i].key[KEY - 1] || XXH3_64bits((const char *)m->at + e[i].offset, e[i].bytes) != e[i].hash)
            return false;
    return true;
}

bool nn_packed_restore(nn_weights *w, const char *layout) {
    char *name = file_name(w, layout, "");
    mapping m = name ? map_file(name) : (mapping){NULL, 0};
    free(name);
    if (!m.at) return false;
    if (!is_sound(&m, w, layout)) {
        munmap(m.at, m.bytes);
        return false;
    }
    const head *h = m.at;
    const entry *e = (const entry *)(h + 1);
    if (!nn_weights_adopt(w, m.at, m.bytes)) {
        munmap(m.at, m.bytes);
        return false;
    }
    bool all = true;
    for (uint32_t i = 0; i < h->count && all; i++)
        all = nn_weights_keep_mapped(w, e[i].key, (const char *)m.at + e[i].offset, e[i].bytes);
    return all;
}

/* Lays out the lasting blobs in e [count]; false where a key is too long. */
static bool describe(nn_weights *w, entry *e, size_t count) {
    uint64_t at = (sizeof(head) + count * sizeof *e + PAGE - 1) / PAGE * PAGE;
    for (size_t i = 0; i < nn_weights_packed_count(w); i++) {
        nn_packed_blob b = nn_weights_packed_at(w, i);
        if (!b.data) continue;
        if (strlen(b.key) >= KEY) return false;
        memset(e, 0, sizeof *e);
        strcpy(e->key, b.key);
        e->offset = at;
        e->bytes = b.bytes;
        e->hash = XXH3_64bits(b.data, b.bytes);
        at = (at + b.bytes + PAGE - 1) / PAGE * PAGE;
        e++;
    }
    return true;
}

static bool write_all(FILE *f, nn_weights *w, const head *h, const entry *e) {
    static const char zeros[PAGE];
    bool good = fwrite(h, sizeof *h, 1, f) == 1 && fwrite(e, sizeof *e, h->count, f) == h->count;
    uint64_t at = sizeof *h + h->count * sizeof *e;
    for (size_t i = 0; i < nn_weights_packed_count(w) && good; i++) {
        nn_packed_blob b = nn_weights_packed_at(w, i);
        if (!b.data) continue;
        size_t gap = (size_t)(e->offset - at);
        good = fwrite(zeros, 1, gap, f) == gap && fwrite(b.data, 1, b.bytes, f) == b.bytes;
        at = e->offset + e->bytes;
        e++;
    }
    return good;
}

/* Writes head, entries and blobs into the open, empty file fd. */
static bool write_file(int fd, nn_weights *w, const head *h, const entry *e) {
    int own = dup(fd);
    FILE *f = own >= 0 ? fdopen(own, "wb") : NULL;
    if (!f) {
        if (own >= 0) close(own);
        return false;
    }
    bool good = write_all(f, w, h, e);
    return fclose(f) == 0 && good;
}

/* The blobs move into the file that now holds them. */
static void settle(nn_weights *w, int fd, const entry *e, size_t count) {
    size_t *offset = malloc(count * sizeof *offset);
    mapping m = offset ? map_open(fd) : (mapping){NULL, 0};
    for (size_t i = 0; m.at && i < count; i++) offset[i] = (size_t)e[i].offset;
    if (m.at) nn_weights_settle(w, m.at, m.bytes, offset);
    free(offset);
#ifdef __GLIBC__
    malloc_trim(0); /* hundreds of megabytes of small blobs and raw tensors, which nobody will want again */
#endif
}

void nn_packed_save(nn_weights *w, const char *layout) {
    size_t count = 0, fresh = 0;
    for (size_t i = 0; i < nn_weights_packed_count(w); i++) {
        nn_packed_blob b = nn_weights_packed_at(w, i);
        count += b.data != NULL;
        fresh += b.data && !b.mapped;
    }
    if (!fresh || count > MOST_ENTRIES) return;
    char *name = file_name(w, layout, ""), *part = file_name(w, layout, ".part-XXXXXX");
    entry *e = malloc(count * sizeof *e);
    head h = {.version = VERSION, .count = (uint32_t)count};
    memcpy(h.magic, magic, sizeof magic);
    strncpy(h.layout, layout, sizeof h.layout - 1);
    int fd = -1;
    if (name && part && e && describe(w, e, count) && (h.checkpoint = hash_checkpoint(w)) &&
        (fd = mkstemp(part)) >= 0) {
        h.entries = XXH3_64bits(e, count * sizeof *e);
        bool good = write_file(fd, w, &h, e) && fchmod(fd, 0644) == 0 && rename(part, name) == 0;
        if (good)
            settle(w, fd, e, count);
        else
            unlink(part);
        close(fd);
    }
    free(e);
    free(part);
    free(name);
}
