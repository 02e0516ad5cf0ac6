/* archive.c - see archive.h: finds out what a file is, and keeps its tensors' names and descriptions.
 *
 * Invariant: an archive that was opened holds checked tensors only; names are unique, valid UTF-8 without
 * control characters (they are printed), and array[i] is the reader's tensor i. */
#include "archive_format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "names.h"
#include "utf8.h"

enum {
    HEAD = 512,            /* bytes looked at to tell what a file is */
    MAX_TENSORS = 1 << 14, /* a model has some hundreds, a training checkpoint a few thousands */
    MAX_NAME = 512,        /* bytes */
    MAX_CONFIG = 1 << 24,  /* bytes of a .json beside the file */
};

struct nn_archive {
    char *path, *json;
    FILE *file;
    const nn_archive_reader *reader; /* NULL until a format has set it */
    void *self;                      /* the reader's */
    size_t count, capacity;
    npz_array *array; /* [count]; names owned */
    nn_names names;   /* tensor name -> index */
};

/* ---- for the formats ----------------------------------------------------------------------------------- */

void nn_archive_set_reader(nn_archive *a, const nn_archive_reader *reader, void *self) {
    a->reader = reader;
    a->self = self;
}

void nn_archive_set_json(nn_archive *a, char *json) {
    free(a->json);
    a->json = json;
}

static bool reserve(nn_archive *a) {
    if (a->count < a->capacity) return true;
    size_t capacity = a->capacity ? 2 * a->capacity : 256;
    npz_array *bigger = realloc(a->array, capacity * sizeof *bigger);
    if (!bigger) return false;
    a->array = bigger;
    a->capacity = capacity;
    return true;
}

nn_code nn_archive_add(nn_archive *a, const npz_array *t, nn_error *e) {
    size_t length = strlen(t->name);
    if (length == 0 || length > MAX_NAME || !nn_utf8_is_printable(t->name, length))
        return nn_fail(e, NN_ERROR_FORMAT,
                       "%s: tensor %zu has a name that is empty, too long or no text; the file is damaged",
                       a->path, a->count);
    if (nn_archive_find(a, t->name))
        return nn_fail(e, NN_ERROR_FORMAT, "%s: two tensors are named \"%s\"", a->path, t->name);
    if (a->count == MAX_TENSORS)
        return nn_fail(e, NN_ERROR_FORMAT, "%s: more than %d tensors; no model has so many", a->path,
                       MAX_TENSORS);
    char *name = strdup(t->name);
    if (!name || !reserve(a) || !nn_names_add(&a->names, name, a->count)) {
        free(name);
        return nn_fail_memory(e, a->path);
    }
    a->array[a->count] = *t;
    a->array[a->count++].name = name;
    return NN_OK;
}

bool nn_archive_read_at(int fd, uint64_t offset, void *dst, uint64_t n) {
    char *to = dst;
    while (n > 0) {
        ssize_t got = offset <= INT64_MAX ? pread(fd, to, n, (off_t)offset) : -1;
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        offset += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return true;
}

char *nn_archive_text(const char *path) {
    FILE *f = fopen(path, "rb");
    struct stat st;
    char *text = NULL;
    if (f && fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_size < MAX_CONFIG &&
        (text = malloc((size_t)st.st_size + 1)))
        text[fread(text, 1, (size_t)st.st_size, f)] = '\0';
    if (f) fclose(f);
    return text;
}

/* The text of `name` put in place of the last bytes of path from `keep` on. */
static char *text_beside(const char *path, size_t keep, const char *name) {
    char *beside = malloc(keep + strlen(name) + 1);
    if (!beside) return NULL;
    memcpy(beside, path, keep);
    strcpy(beside + keep, name);
    char *text = strcmp(beside, path) == 0 ? NULL : nn_archive_text(beside);
    free(beside);
    return text;
}

char *nn_archive_folder_config(const nn_archive *a) {
    const char *slash = strrchr(a->path, '/');
    return text_beside(a->path, slash ? (size_t)(slash + 1 - a->path) : 0, "config.json");
}

/* ---- npz ----------------------------------------------------------------------------------------------- */

static nn_code npz_reader_read(void *self, size_t i, void *dst, nn_error *e) {
    return npz_read(self, npz_at(self, i), dst, e);
}
static void npz_reader_close(void *self) {
    npz_close(self);
}
static const nn_archive_reader npz_reader = {"npz", npz_reader_read, npz_reader_close};

/* NAME.json beside NAME.npz. */
static char *sidecar(const char *path) {
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    return text_beside(path, dot && (!slash || dot > slash) ? (size_t)(dot - path) : strlen(path), ".json");
}

static nn_code open_npz(nn_archive *a, nn_error *e) {
    npz *z;
    nn_code code = npz_open(&z, a->path, e);
    if (code) return code;
    nn_archive_set_reader(a, &npz_reader, z);
    for (size_t i = 0; !code && i < npz_count(z); i++) code = nn_archive_add(a, npz_at(z, i), e);
    char *json = NULL;
    if (!code) code = npz_read_text(z, "config.json", &json, e);
    nn_archive_set_json(a, code || json ? json : sidecar(a->path));
    return code;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static nn_code open_zip(nn_archive *a, FILE *f, uint64_t size, nn_error *e) {
    bool is_torch;
    (void)f;
    nn_code code = torch_zip_open(a, size, &is_torch, e);
    return code || is_torch ? code : open_npz(a, e);
}

static bool is_zip(const unsigned char *head, size_t n) {
    return n >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0);
}

/* A pickle of the number 0x1950a86a20f9469cfc6c, whatever the protocol: PROTO p, [FRAME], LONG1 10 bytes. */
static bool is_torch_legacy(const unsigned char *head, size_t n) {
    static const unsigned char magic[12] = {0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                            0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    return n >= 23 && head[0] == 0x80 &&
           (memcmp(head + 2, magic, sizeof magic) == 0 || memcmp(head + 11, magic, sizeof magic) == 0);
}

/* The length of the header, then "{". */
static bool is_safetensors(const unsigned char *head, size_t n) {
    return n >= 10 && head[8] == '{' && head[4] == 0 && head[5] == 0 && head[6] == 0 && head[7] == 0;
}

static const struct format {
    bool (*is)(const unsigned char *head, size_t n);
    nn_code (*open)(nn_archive *a, FILE *f, uint64_t size, nn_error *e);
} formats[] = {
    {is_zip, open_zip},
    {is_torch_legacy, torch_legacy_open},
    {is_safetensors, safetensors_open},
};

static nn_code open_format(nn_archive *a, FILE *f, uint64_t size, nn_error *e) {
    unsigned char head[HEAD];
    size_t n = fread(head, 1, sizeof head, f);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].is(head, n)) return formats[i].open(a, f, size, e);
    return nn_sniff_fail(a->path, head, n, "a model", "it holds something else; is it the right file?", e);
}

nn_code nn_archive_open(nn_archive **out, const char *path, nn_error *e) {
    *out = NULL;
    nn_archive *a = calloc(1, sizeof *a);
    if (!a || !(a->path = strdup(path))) {
        free(a);
        return nn_fail_memory(e, path);
    }
    nn_code code = NN_OK;
    struct stat st;
    FILE *f = a->file = fopen(path, "rb");
    if (!f)
        code = nn_fail(e, NN_ERROR_FILE, "%s cannot be opened: %s", path, strerror(errno));
    else if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode))
        code = nn_fail(e, NN_ERROR_FILE, "%s is a folder or a device, not a file", path);
    else
        code = open_format(a, f, (uint64_t)st.st_size, e);
    if (code)
        nn_archive_close(a);
    else
        *out = a;
    return code;
}

void nn_archive_close(nn_archive *a) {
    if (!a) return;
    if (a->reader) a->reader->close(a->self);
    if (a->file) fclose(a->file);
    for (size_t i = 0; i < a->count; i++) free((char *)a->array[i].name);
    nn_names_free(&a->names);
    free(a->array);
    free(a->json);
    free(a->path);
    free(a);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

const char *nn_archive_path(const nn_archive *a) {
    return a->path;
}
const char *nn_archive_format(const nn_archive *a) {
    return a->reader->format;
}
size_t nn_archive_count(const nn_archive *a) {
    return a->count;
}
const npz_array *nn_archive_at(const nn_archive *a, size_t i) {
    return &a->array[i];
}
const char *nn_archive_json(const nn_archive *a) {
    return a->json;
}

const npz_array *nn_archive_find(const nn_archive *a, const char *name) {
    size_t i = nn_names_find(&a->names, name);
    return i == NN_NAMES_NONE ? NULL : &a->array[i];
}

nn_code nn_archive_read(nn_archive *a, const npz_array *t, void *dst, nn_error *e) {
    return a->reader->read(a->self, (size_t)(t - a->array), dst, e);
}

nn_code nn_archive_read_f32(nn_archive *a, const npz_array *t, float *dst, nn_error *e) {
    if (t->dtype == NPZ_F32) return nn_archive_read(a, t, dst, e);
    if (!npz_to_f32(t->dtype, NULL, NULL, 0))
        return nn_fail(e, NN_ERROR_FORMAT, "%s: tensor \"%s\" is %s; real numbers are needed", a->path,
                       t->name, npz_dtype_name(t->dtype));
    void *raw = malloc((size_t)t->bytes + 1);
    if (!raw) return nn_fail_memory(e, t->name);
    nn_code code = nn_archive_read(a, t, raw, e);
    if (!code) npz_to_f32(t->dtype, dst, raw, (size_t)t->count);
    free(raw);
    return code;
}
