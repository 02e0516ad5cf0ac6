/* torch_legacy.c - PyTorch's format before 1.6, one stream of
 *
 *     pickles:  0x1950a86a20f9469cfc6c, 1001, {"little_endian": True, ...}, the checkpoint, [key, key, ...]
 *     for each key, in that order:  count (int64), count elements
 *
 * Each pickle is read into memory (at most 16 MB) for as long as it is parsed. Invariant: the storages'
 * places are found by adding up counts that were checked against the pickle's and against the rest of the
 * file. */
#include <stdlib.h>
#include <string.h>

#include "torch.h"

enum { PROTOCOL = 1001, SMALL = 1 << 16, LARGE = PICKLE_MAX_BYTES + 1 };

typedef struct torch_legacy {
    torch_tensors tensors;
    FILE *file; /* the archive's */
    uint64_t size;
    const char *path;
} torch_legacy;

static nn_code read_range(void *self, const torch_storage *s, uint64_t first, uint64_t n, void *dst,
                          nn_error *e) {
    torch_legacy *l = self;
    if (nn_archive_read_at(fileno(l->file), s->place + first, dst, n)) return NN_OK;
    return torch_fail_storage(&l->tensors, s, "cannot be read", e);
}

static nn_code reader_read(void *self, size_t i, void *dst, nn_error *e) {
    torch_legacy *l = self;
    return torch_read(&l->tensors, i, dst, e);
}

static void reader_close(void *self) {
    torch_legacy *l = self;
    torch_free(&l->tensors);
    free(l);
}

static const nn_archive_reader reader = {"torch legacy", reader_read, reader_close};

/* The pickle at *at, which moves behind it. One byte more than a pickle may have tells a long one from a cut
 * one. */
static nn_code next_pickle(const torch_legacy *l, uint64_t *at, size_t limit, pickle **p, nn_error *e) {
    size_t n = l->size - *at < limit ? (size_t)(l->size - *at) : limit, used = 0;
    void *bytes = malloc(n + 1);
    *p = NULL;
    if (!bytes) return nn_fail_memory(e, l->path);
    nn_code code = nn_archive_read_at(fileno(l->file), *at, bytes, n)
                       ? pickle_read(p, bytes, n, &used, l->path, e)
                       : nn_fail(e, NN_ERROR_FILE, "%s cannot be read", l->path);
    free(bytes);
    *at += used;
    return code;
}

/* The three small pickles: which format, and how numbers lie in it. */
static nn_code read_preamble(const torch_legacy *l, uint64_t *at, nn_error *e) {
    pickle *magic, *protocol = NULL, *system = NULL;
    nn_code code = next_pickle(l, at, SMALL, &magic, e);
    if (!code) code = next_pickle(l, at, SMALL, &protocol, e);
    if (!code) code = next_pickle(l, at, SMALL, &system, e);
    if (!code) {
        const pickle_value *version = pickle_root(protocol);
        const pickle_value *little = pickle_find(pickle_root(system), "little_endian");
        if (version->kind != PICKLE_INT || version->integer != PROTOCOL)
            code = nn_fail(e, NN_ERROR_FORMAT, "%s is of a PyTorch format that is not known; save it again",
                           l->path);
        else if (!little || little->kind != PICKLE_BOOL || !little->integer)
            code = nn_fail(e, NN_ERROR_FORMAT, "%s was written on a big-endian machine; save it on another",
                           l->path);
    }
    pickle_free(magic);
    pickle_free(protocol);
    pickle_free(system);
    return code;
}

/* Walks over the storages behind the pickles and notes where each lies. */
static nn_code find_storages(torch_legacy *l, const pickle_value *keys, uint64_t at, nn_error *e) {
    for (uint32_t i = 0; keys->kind == PICKLE_LIST && i < keys->count; i++) {
        const pickle_value *key = keys->item[i];
        torch_storage *s = key->kind == PICKLE_STRING ? torch_find(&l->tensors, key->text) : NULL;
        uint64_t count;
        if (!s || s->found)
            return nn_fail(e, NN_ERROR_FORMAT,
                           "%s: its list of storages does not fit its tensors; get the file again", l->path);
        if (!nn_archive_read_at(fileno(l->file), at, &count, sizeof count))
            return torch_fail_storage(&l->tensors, s, "is missing: the file is cut short", e);
        if (count != s->count)
            return torch_fail_storage(&l->tensors, s, "has another length than it should", e);
        s->found = true;
        s->place = at + sizeof count;
        s->bytes = count * npz_dtype_size(s->dtype);
        if (s->bytes > l->size - s->place) return torch_fail_storage(&l->tensors, s, "is cut short", e);
        at = s->place + s->bytes;
    }
    for (size_t i = 0; i < l->tensors.storages; i++) {
        const torch_storage *s = &l->tensors.storage[i];
        if (s->user != SIZE_MAX && !s->found) return torch_fail_storage(&l->tensors, s, "is missing", e);
    }
    return NN_OK;
}

nn_code torch_legacy_open(nn_archive *a, FILE *file, uint64_t size, nn_error *e) {
    torch_legacy *l = calloc(1, sizeof *l);
    if (!l) return nn_fail_memory(e, nn_archive_path(a));
    *l = (torch_legacy){.file = file, .size = size, .path = nn_archive_path(a)};
    l->tensors = (torch_tensors){.archive = a, .read = read_range, .self = l};
    nn_archive_set_reader(a, &reader, l);
    uint64_t at = 0;
    pickle *checkpoint = NULL, *keys = NULL;
    nn_code code = read_preamble(l, &at, e);
    if (!code) code = next_pickle(l, &at, LARGE, &checkpoint, e);
    if (!code) code = torch_collect(&l->tensors, checkpoint, size, e);
    pickle_free(checkpoint);
    if (!code) code = next_pickle(l, &at, LARGE, &keys, e);
    if (!code) code = find_storages(l, pickle_root(keys), at, e);
    pickle_free(keys);
    return code;
}
