/* index.c - reading FAISS index files (index.h); retrieval.c searches them.
 *
 * The layout (FAISS impl/index_write.cpp), little-endian, unpadded:
 *     header    fourcc, int32 width, int64 vectors, 2 x int64 unused, uint8 trained,
 *               int32 metric (1: squared L2)
 *     flat      "IxF2": header, uint64 count, count floats
 *     IVF-Flat  "IwFl": header, uint64 lists, uint64 nprobe, a flat index of the centroids,
 *               direct map: uint8 type, vector of int64, for type 2 a vector of pairs as well,
 *               inverted lists: "il00" (none), or "ilar", uint64 lists, uint64 bytes per vector, sizes:
 *               "full", vector of uint64, or "sprs", vector of uint64 pairs (list, size);
 *               then for every list its vectors and its int64 ids
 *     vector    uint64 count and that many elements
 *
 * Invariant: `at` never passes `end`, and nothing is allocated or indexed by a count that the bytes left do
 * not bear out. */
#include "index_data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie in the file");

enum { FOURCC = 4, MAX_WIDTH = 1 << 16, MAX_LISTS = 1 << 28, METRIC_L2 = 1, MAP_HASHTABLE = 2 };

/* A place in the mapped file; `bad` once more was asked for than is left. */
typedef struct cursor {
    const unsigned char *at, *end;
    bool bad;
    const char *path; /* for messages */
} cursor;

typedef struct header {
    int32_t width;
    int64_t vectors;
} header;

/* ---- reading ------------------------------------------------------------------------------------------- */

static size_t left(const cursor *c) {
    return (size_t)(c->end - c->at);
}

/* The next n bytes, or NULL. */
static const unsigned char *take(cursor *c, size_t n) {
    if (c->bad || n > left(c)) {
        c->bad = true;
        return NULL;
    }
    c->at += n;
    return c->at - n;
}

static void take_into(cursor *c, void *out, size_t n) {
    const unsigned char *p = take(c, n);
    if (p)
        memcpy(out, p, n);
    else
        memset(out, 0, n);
}

static uint64_t take_u64(cursor *c) {
    uint64_t v;
    take_into(c, &v, sizeof v);
    return v;
}

/* A count followed by that many elements of `size` bytes: the elements, their number in *count. */
static const unsigned char *take_vector(cursor *c, size_t size, uint64_t *count) {
    *count = take_u64(c);
    if (*count > left(c) / size) c->bad = true;
    return take(c, c->bad ? 0 : (size_t)*count * size);
}

static nn_code fail_damaged(const cursor *c, const char *where, nn_error *e) {
    return nn_fail(e, NN_ERROR_FORMAT, "%s %s (%s); get the file again", c->path,
                   c->bad ? "is cut short or damaged" : "is a damaged index", where);
}

/* Types FAISS can write that are not what RVC trains. */
static const struct {
    char fourcc[FOURCC + 1];
    const char *meaning;
} unsupported[] = {
    {"IwSq", "IVF with a scalar quantizer"},
    {"IxSQ", "a scalar quantizer"},
    {"IwPQ", "IVF with a product quantizer"},
    {"IxPq", "a product quantizer"},
    {"IwQR", "IVF with a refined product quantizer"},
    {"IwPf", "IVF with a fast-scan product quantizer"},
    {"IvFL", "IVF-Flat as FAISS wrote it before 2018"},
    {"IvFl", "IVF-Flat as FAISS wrote it before 2018"},
    {"IHNf", "an HNSW graph"},
    {"IHNs", "an HNSW graph"},
    {"IxPT", "a vector transform"},
    {"IxMp", "an id map"},
    {"IxM2", "an id map"},
    {"IxHe", "locality-sensitive hashing"},
    {"IxRF", "a refined index"},
    {"IwFd", "IVF-Flat without duplicates"},
};

static nn_code fail_fourcc(const cursor *c, const char *fourcc, nn_error *e) {
    const char *meaning = "a type of index that is not known here";
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++)
        if (memcmp(fourcc, unsupported[i].fourcc, FOURCC) == 0) meaning = unsupported[i].meaning;
    bool plausible = fourcc[0] == 'I';
    for (int i = 0; i < FOURCC; i++)
        plausible &= (fourcc[i] | 32) >= 'a' ? (fourcc[i] | 32) <= 'z' : fourcc[i] >= '0' && fourcc[i] <= '9';
    bool model =
        memcmp(fourcc, "PK\3\4", FOURCC) == 0 || (unsigned char)fourcc[0] == 0x80; /* a zip or a pickle */
    if (!plausible)
        return nn_fail(e, NN_ERROR_FORMAT, "%s is not a FAISS index%s", c->path,
                       model ? " but, it seems, a model; give that with --model, and the voice's "
                               "added_*.index with --index"
                             : "; is it the voice's added_*.index?");
    return nn_fail(
        e, NN_ERROR_FORMAT,
        "%s is of type \"%.4s\" (%s), which is not supported; train the index again as IVF-Flat, as RVC does",
        c->path, fourcc, meaning);
}

/* The header after the fourcc. */
static nn_code take_header(cursor *c, header *h, nn_error *e) {
    int32_t metric;
    take_into(c, &h->width, sizeof h->width);
    take_into(c, &h->vectors, sizeof h->vectors);
    take(c, 2 * sizeof(int64_t) + 1);
    take_into(c, &metric, sizeof metric);
    if (c->bad || h->width < 1 || h->width > MAX_WIDTH || h->vectors < 0)
        return fail_damaged(c, "in its header", e);
    if (metric != METRIC_L2)
        return nn_fail(e, NN_ERROR_FORMAT,
                       "%s ranks by %s, not by squared distance; train the index again as RVC does", c->path,
                       metric == 0 ? "inner product" : "another metric");
    return NN_OK;
}

/* ---- the two types ------------------------------------------------------------------------------------- */

/* A flat index after its fourcc: its header and its vectors [h->vectors][h->width], in the file. */
static nn_code take_flat(cursor *c, header *h, const rvc_index_float **rows, nn_error *e) {
    uint64_t count;
    nn_code code = take_header(c, h, e);
    if (code) return code;
    const unsigned char *p = take_vector(c, sizeof(float), &count);
    if (!p || count / (uint64_t)h->width != (uint64_t)h->vectors || count % (uint64_t)h->width != 0)
        return fail_damaged(c, "in its vectors", e);
    *rows = (const rvc_index_float *)p;
    return NN_OK;
}

static nn_code read_flat(rvc_index *x, cursor *c, nn_error *e) {
    header h;
    x->list = calloc(1, sizeof *x->list);
    if (!x->list) return nn_fail_memory(e, c->path);
    nn_code code = take_flat(c, &h, &x->list->rows, e);
    if (code) return code;
    x->width = h.width;
    x->vectors = x->list->count = (size_t)h.vectors;
    return NN_OK;
}

static bool is_flat(const unsigned char *fourcc) {
    return fourcc && (!memcmp(fourcc, "IxF2", FOURCC) || !memcmp(fourcc, "IxFI", FOURCC) ||
                      !memcmp(fourcc, "IxFl", FOURCC));
}

/* The list sizes; their sum may not exceed what the bytes left can hold. */
static nn_code take_sizes(rvc_index *x, cursor *c, nn_error *e) {
    size_t lists = (size_t)x->lists;
    const unsigned char *kind = take(c, FOURCC);
    bool sparse = kind && memcmp(kind, "sprs", FOURCC) == 0;
    if (!kind || (!sparse && memcmp(kind, "full", FOURCC) != 0))
        return fail_damaged(c, "in its list sizes", e);
    uint64_t count;
    const unsigned char *p = take_vector(c, sizeof(uint64_t), &count);
    if (!p || (sparse ? count % 2 != 0 : count != lists)) return fail_damaged(c, "in its list sizes", e);
    for (size_t i = 0; i < count; i += sparse ? 2 : 1) {
        uint64_t list = i, size;
        if (sparse) memcpy(&list, p + i * 8, 8);
        memcpy(&size, p + (i + sparse) * 8, 8);
        if (list >= lists || size > left(c) || x->list[list].count != 0)
            return fail_damaged(c, "in its list sizes", e);
        x->list[list].count = (size_t)size;
    }
    size_t each = (size_t)x->width * sizeof(float) + sizeof(int64_t), most = left(c) / each;
    for (size_t l = 0; l < lists; l++) {
        if (x->list[l].count > most - x->vectors) {
            c->bad = true;
            return fail_damaged(c, "in its lists", e);
        }
        x->vectors += x->list[l].count;
    }
    return NN_OK;
}

/* The inverted lists: x->list and x->vectors, their sum. */
static nn_code take_lists(rvc_index *x, cursor *c, nn_error *e) {
    size_t row = (size_t)x->width * sizeof(float);
    const unsigned char *kind = take(c, FOURCC);
    if (kind && memcmp(kind, "ilod", FOURCC) == 0)
        return nn_fail(
            e, NN_ERROR_FORMAT,
            "%s keeps its lists in another file (on-disk lists), which is not supported; train the "
            "index again as RVC does",
            c->path);
    bool none = kind && memcmp(kind, "il00", FOURCC) == 0;
    if (!none && (!kind || memcmp(kind, "ilar", FOURCC) != 0 || take_u64(c) != (uint64_t)x->lists ||
                  take_u64(c) != row))
        return fail_damaged(c, "in its lists", e);
    x->list = calloc((size_t)x->lists, sizeof *x->list);
    if (!x->list) return nn_fail_memory(e, c->path);
    nn_code code = none ? NN_OK : take_sizes(x, c, e);
    if (code) return code;
    for (int l = 0; l < x->lists; l++) {
        index_list *list = &x->list[l];
        if (list->count == 0) continue;
        list->rows = (const rvc_index_float *)take(c, list->count * row);
        list->ids = (const rvc_index_id *)take(c, list->count * sizeof *list->ids);
    }
    return c->bad ? fail_damaged(c, "in its lists", e) : NN_OK;
}

static nn_code read_ivf(rvc_index *x, cursor *c, nn_error *e) {
    header h, quantizer = {0};
    nn_code code = take_header(c, &h, e);
    if (code) return code;
    uint64_t lists = take_u64(c), nprobe = take_u64(c);
    const unsigned char *fourcc = take(c, FOURCC);
    if (fourcc && !is_flat(fourcc)) return fail_fourcc(c, (const char *)fourcc, e);
    if (!fourcc || lists < 1 || lists > MAX_LISTS || nprobe < 1) return fail_damaged(c, "in its header", e);
    x->width = h.width;
    code = take_flat(c, &quantizer, &x->centroids, e);
    if (code) return code;
    if (quantizer.width != h.width || (uint64_t)quantizer.vectors != lists)
        return fail_damaged(c, "in its quantizer", e);
    x->lists = (int)lists;
    x->nprobe = nprobe < lists ? (int)nprobe : (int)lists;

    const unsigned char *map = take(c, 1); /* the direct map finds vectors by id; nothing here does */
    uint64_t count;
    bool hashed = map && *map == MAP_HASHTABLE;
    take_vector(c, sizeof(int64_t), &count);
    if (hashed) take_vector(c, 2 * sizeof(int64_t), &count);
    if (c->bad || *map > MAP_HASHTABLE) return fail_damaged(c, "in its direct map", e);
    code = take_lists(x, c, e);
    if (!code && x->vectors != (uint64_t)h.vectors)
        code = fail_damaged(c, "its lists do not hold the vectors it counts", e);
    return code;
}

static nn_code read_index(rvc_index *x, cursor *c, nn_error *e) {
    char fourcc[FOURCC];
    take_into(c, fourcc, FOURCC);
    if (is_flat((const unsigned char *)fourcc)) return read_flat(x, c, e);
    if (memcmp(fourcc, "IwFl", FOURCC) == 0) return read_ivf(x, c, e);
    return fail_fourcc(c, fourcc, e);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Maps the file, for as long as x lives, and finds out where in it everything lies. */
static nn_code read_file(rvc_index *x, int fd, nn_error *e) {
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return nn_fail(e, NN_ERROR_FILE, "%s cannot be opened: %s", x->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return nn_fail(e, NN_ERROR_FILE, "%s is a folder or a device, not an index file", x->path);
    if (st.st_size == 0)
        return nn_fail(e, NN_ERROR_FORMAT, "%s is empty, not a FAISS index; get it again", x->path);
    size_t size = (size_t)st.st_size;
    void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return nn_fail(e, NN_ERROR_FILE, "%s cannot be read: %s", x->path, strerror(errno));
    x->map = map;
    x->map_bytes = size;
    cursor c = {.at = map, .end = (const unsigned char *)map + size, .path = x->path};
    return read_index(x, &c, e);
}

nn_code rvc_index_open(rvc_index **out, const char *path, nn_error *e) {
    *out = NULL;
    rvc_index *x = calloc(1, sizeof *x);
    if (!x || !(x->path = strdup(path))) {
        free(x);
        return nn_fail_memory(e, path);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    nn_code code = read_file(x, fd, e);
    if (fd >= 0) close(fd);
    if (code)
        rvc_index_close(x);
    else
        *out = x;
    return code;
}

void rvc_index_close(rvc_index *x) {
    if (!x) return;
    if (x->map) munmap(x->map, x->map_bytes);
    free(x->list);
    free(x->path);
    free(x);
}

static const char *version_of(int width) {
    return width == 256 ? " (v1)" : width == 768 ? " (v2)" : "";
}

nn_code rvc_index_check(const rvc_index *x, int feature_width, nn_error *e) {
    if (x->width != feature_width)
        return nn_fail(
            e, NN_ERROR_MODEL,
            "%s: its vectors are %d wide%s, the voice's features %d%s; use the index trained with this voice",
            x->path, x->width, version_of(x->width), feature_width, version_of(feature_width));
    if (x->vectors == 0)
        return nn_fail(e, NN_ERROR_MODEL, "%s: this is a trained_ index with no vectors; use the added_ file",
                       x->path);
    return NN_OK;
}

const char *rvc_index_path(const rvc_index *x) {
    return x->path;
}
const char *rvc_index_type(const rvc_index *x) {
    return x->lists ? "IVF-Flat" : "flat";
}
int rvc_index_width(const rvc_index *x) {
    return x->width;
}
int64_t rvc_index_vectors(const rvc_index *x) {
    return (int64_t)x->vectors;
}
int rvc_index_lists(const rvc_index *x) {
    return x->lists;
}
int rvc_index_nprobe(const rvc_index *x) {
    return x->nprobe;
}

nn_vectors rvc_index_data(const rvc_index *x) {
    return (nn_vectors){"index", x->width, x->lists, x->nprobe, x->centroids, x->list};
}
