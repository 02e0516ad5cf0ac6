/* weights.c - see weights.h.
 *
 * Invariant: the list of tensors does not change once a graph reads it, so finding needs no lock; whatever
 * does change (`used`, the packed store) is touched under the mutex only. */
#include "weights.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "names.h"
#include "strided.h"

enum { ALIGNMENT = 64 };

_Static_assert((int)NN_WEIGHT_RANK == (int)NPZ_MAX_RANK, "shapes are copied");

typedef struct blob {
    char *key;
    void *data; /* owned, or in the mapping */
    size_t bytes;
    bool lasting, mapped;
} blob;

/* Where a weight lies in the file. */
typedef struct origin {
    const npz_array *stored;
    nn_weight_transform transform;
} origin;

struct nn_weights {
    char *path, *config;
    nn_archive *file; /* NULL for sets made by nn_weights_new */
    size_t count, capacity;
    nn_weight *weight; /* [count] */
    float **data;      /* [count]: of added tensors, owned; NULL: in the file, at `from` */
    char **name;       /* [count]: owned */
    origin *from;      /* [count] */
    nn_names names;    /* tensor name -> index */
    blob *packed;      /* [packed_names.count] */
    size_t packed_capacity, packed_bytes;
    nn_names packed_names; /* key -> index in packed */
    void *mapping;         /* of packed weights saved before, or NULL */
    size_t mapping_bytes;
    pthread_mutex_t mutex; /* recursive */
};

/* ---- making a set -------------------------------------------------------------------------------------- */

nn_code nn_weights_new(nn_weights **out, const char *label, nn_error *e) {
    *out = NULL;
    nn_weights *w = calloc(1, sizeof *w);
    pthread_mutexattr_t recursive;
    if (!w || !(w->path = strdup(label)) || pthread_mutexattr_init(&recursive) != 0) {
        if (w) free(w->path);
        free(w);
        return nn_fail_memory(e, label);
    }
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&w->mutex, &recursive);
    pthread_mutexattr_destroy(&recursive);
    *out = w;
    return NN_OK;
}

void nn_weights_free(nn_weights *w) {
    if (!w) return;
    for (size_t i = 0; i < w->packed_names.count; i++) {
        free(w->packed[i].key);
        if (!w->packed[i].mapped) free(w->packed[i].data);
    }
    for (size_t i = 0; i < w->count; i++) {
        free(w->name[i]);
        free(w->data[i]);
    }
    if (w->mapping) munmap(w->mapping, w->mapping_bytes);
    nn_names_free(&w->packed_names);
    nn_names_free(&w->names);
    free(w->packed);
    free(w->weight);
    free(w->data);
    free(w->name);
    free(w->from);
    nn_archive_close(w->file);
    free(w->config);
    free(w->path);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

/* Room for `count` tensors. */
static bool reserve(nn_weights *w, size_t count) {
    if (count <= w->capacity) return true;
    size_t capacity = count > 2 * w->capacity ? count : 2 * w->capacity;
    void *weight = realloc(w->weight, capacity * sizeof *w->weight);
    if (weight) w->weight = weight;
    void *data = weight ? realloc(w->data, capacity * sizeof *w->data) : NULL;
    if (data) w->data = data;
    void *name = data ? realloc(w->name, capacity * sizeof *w->name) : NULL;
    if (name) w->name = name;
    void *from = name ? realloc(w->from, capacity * sizeof *w->from) : NULL;
    if (!from) return false;
    w->from = from;
    w->capacity = capacity;
    return true;
}

nn_code nn_weights_add(nn_weights *w, const char *name, int rank, const int64_t *shape, const float *data,
                       nn_error *e) {
    size_t count = 1;
    bool fits = rank >= 0 && rank <= NN_WEIGHT_RANK;
    for (int i = 0; fits && i < rank; i++)
        fits = shape[i] >= 0 && !__builtin_mul_overflow(count, (size_t)shape[i], &count) &&
               count <= SIZE_MAX / 8;
    if (!fits || nn_weights_peek(w, name))
        return nn_fail(e, NN_ERROR_ARGUMENT, "%s: tensor \"%s\" %s", w->path, name,
                       fits ? "is added twice" : "has an impossible shape");
    size_t i = w->count;
    if (!reserve(w, i + 1)) return nn_fail_memory(e, name);
    char *key = strdup(name);
    float *copy = malloc(count * sizeof *copy + 1);
    if (!key || !copy || !nn_names_add(&w->names, key, i)) {
        free(key);
        free(copy);
        return nn_fail_memory(e, name);
    }
    memcpy(copy, data, count * sizeof *copy);
    w->weight[i] = (nn_weight){.name = key, .dtype = "float32", .rank = rank, .count = (int64_t)count};
    if (rank) memcpy(w->weight[i].shape, shape, (size_t)rank * sizeof *shape);
    w->name[i] = key;
    w->data[i] = copy;
    w->count++;
    return NN_OK;
}

/* ---- from a file --------------------------------------------------------------------------------------- */

bool nn_weight_shape(const nn_weight_transform *t, const npz_array *stored, int64_t *shape) {
    unsigned seen = 0;
    if (t->rank == 0) {
        memcpy(shape, stored->shape, sizeof stored->shape);
        return true;
    }
    if (t->rank != stored->rank) return false;
    for (int i = 0; i < t->rank; i++) {
        if (t->axis[i] < 0 || t->axis[i] >= t->rank) return false;
        seen |= 1u << t->axis[i];
        shape[i] = stored->shape[t->axis[i]];
    }
    return seen == (1u << t->rank) - 1;
}

void nn_weight_permute(const nn_weight_transform *t, const npz_array *stored, size_t size, void *dst,
                       const void *src) {
    int64_t stride[NN_WEIGHT_RANK], shape[NN_WEIGHT_RANK], permuted[NN_WEIGHT_RANK], step = 1;
    for (int i = stored->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= stored->shape[i];
    }
    for (int i = 0; i < stored->rank; i++) {
        int from = t->rank ? t->axis[i] : i;
        shape[i] = stored->shape[from];
        permuted[i] = stride[from];
    }
    nn_copy_strided(dst, src, size, stored->rank, shape, permuted);
}

/* One more weight of the file. */
static nn_code add_alias(nn_weights *w, const nn_weight_alias *alias, nn_error *e) {
    const npz_array *t = alias->stored;
    size_t i = w->count;
    nn_weight *weight = &w->weight[i];
    *weight = (nn_weight){.dtype = npz_dtype_name(t->dtype), .rank = t->rank, .count = (int64_t)t->count};
    bool fits = nn_weight_shape(&alias->transform, t, weight->shape);
    if (!fits || nn_weights_peek(w, alias->name))
        return nn_fail(e, NN_ERROR_ARGUMENT, "%s: tensor \"%s\" %s", w->path, alias->name,
                       fits ? "is named twice" : "does not have the axes it should be transposed by");
    char *name = strdup(alias->name);
    if (!name) return nn_fail_memory(e, w->path);
    weight->name = w->name[i] = name;
    w->data[i] = NULL;
    w->from[i] = (origin){t, alias->transform};
    w->count++; /* from here on nn_weights_free frees the name */
    return nn_names_add(&w->names, name, i) ? NN_OK : nn_fail_memory(e, w->path);
}

nn_code nn_weights_from(nn_weights **out, nn_archive *a, const nn_weight_alias *aliases, size_t n,
                        const char *config_json, nn_error *e) {
    nn_weights *w;
    *out = NULL;
    nn_code code = nn_weights_new(&w, nn_archive_path(a), e);
    if (code) {
        nn_archive_close(a);
        return code;
    }
    w->file = a;
    if (!aliases) n = nn_archive_count(a);
    if (!reserve(w, n)) code = nn_fail_memory(e, w->path);
    for (size_t i = 0; !code && i < n; i++) {
        const npz_array *t = aliases ? NULL : nn_archive_at(a, i);
        nn_weight_alias own = t ? (nn_weight_alias){.stored = t, .name = t->name} : aliases[i];
        code = add_alias(w, &own, e);
    }
    const char *config = config_json ? config_json : nn_archive_json(a);
    if (!code && config && !(w->config = strdup(config))) code = nn_fail_memory(e, w->path);
    if (code)
        nn_weights_free(w);
    else
        *out = w;
    return code;
}

nn_code nn_weights_open(nn_weights **out, const char *path, nn_error *e) {
    nn_archive *a;
    *out = NULL;
    nn_code code = nn_archive_open(&a, path, e);
    return code ? code : nn_weights_from(out, a, NULL, 0, NULL, e);
}

/* ---- what is in it ------------------------------------------------------------------------------------- */

const char *nn_weights_path(const nn_weights *w) {
    return w->path;
}
const char *nn_weights_config(const nn_weights *w) {
    return w->config;
}
size_t nn_weights_count(const nn_weights *w) {
    return w->count;
}
const nn_weight *nn_weights_at(const nn_weights *w, size_t i) {
    return &w->weight[i];
}

void nn_weights_set_config(nn_weights *w, const char *json) {
    free(w->config);
    w->config = json ? strdup(json) : NULL;
}

const nn_weight *nn_weights_peek(const nn_weights *w, const char *name) {
    size_t i = nn_names_find(&w->names, name);
    return i == NN_NAMES_NONE ? NULL : &w->weight[i];
}

/* ---- loading ------------------------------------------------------------------------------------------- */

/* "[192, 256]" into text [size]. */
static void format_shape(char *text, size_t size, int rank, const int64_t *shape) {
    size_t n = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, i ? ", %lld" : "%lld", (long long)shape[i]);
    if (n < size) snprintf(text + n, size - n, "]");
}

static bool same_shape(const nn_weight *t, int rank, const int64_t *shape) {
    if (rank < 0) return true;
    if (t->rank != rank) return false;
    for (int i = 0; i < rank; i++)
        if (t->shape[i] != shape[i]) return false;
    return true;
}

/* Index of the first NaN or infinity (exponent all ones), or n. Whole blocks first: that loop vectorises. */
static size_t first_not_finite(const float *x, size_t n) {
    enum { BLOCK = 256 };
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        uint32_t bad = 0;
        for (size_t j = 0; j < BLOCK; j++) {
            uint32_t bits;
            memcpy(&bits, x + i + j, sizeof bits);
            bad |= (bits & 0x7f800000u) == 0x7f800000u;
        }
        if (bad) break;
    }
    for (; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        if ((bits & 0x7f800000u) == 0x7f800000u) break;
    }
    return i;
}

/* Tensor i of the file, its axes in the weight's order. */
static nn_code read_stored(nn_weights *w, size_t i, float *dst, nn_error *e) {
    const origin *from = &w->from[i];
    if (from->transform.rank == 0) return nn_archive_read_f32(w->file, from->stored, dst, e);
    float *x = malloc((size_t)from->stored->count * sizeof *x + 1);
    if (!x) return nn_fail_memory(e, w->weight[i].name);
    nn_code code = nn_archive_read_f32(w->file, from->stored, x, e);
    if (!code) nn_weight_permute(&from->transform, from->stored, sizeof *x, dst, x);
    free(x);
    return code;
}

/* Tensor i's values into dst. */
static nn_code read_tensor(nn_weights *w, size_t i, float *dst, nn_error *e) {
    nn_weights_lock(w);
    w->weight[i].used = true;
    nn_weights_unlock(w);
    if (!w->data[i]) return read_stored(w, i, dst, e);
    memcpy(dst, w->data[i], (size_t)w->weight[i].count * sizeof *dst);
    return NN_OK;
}

nn_code nn_weights_load(nn_weights *w, const char *name, int rank, const int64_t *shape, float **out,
                        nn_error *e) {
    *out = NULL;
    size_t i = nn_names_find(&w->names, name);
    if (i == NN_NAMES_NONE)
        return nn_fail(
            e, NN_ERROR_MODEL,
            "%s: tensor \"%s\" is missing; is this the right checkpoint? 'rvc info' says what it is", w->path,
            name);
    const nn_weight *t = &w->weight[i];
    if (!same_shape(t, rank, shape)) {
        char has[200], wanted[200];
        format_shape(has, sizeof has, t->rank, t->shape);
        format_shape(wanted, sizeof wanted, rank, shape);
        return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s\" has shape %s, expected %s", w->path, name, has,
                       wanted);
    }
    size_t n = (size_t)t->count, bytes = (n * sizeof(float) + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    float *x = aligned_alloc(ALIGNMENT, bytes);
    if (!x) return nn_fail_memory(e, name);
    nn_code code = read_tensor(w, i, x, e);
    size_t bad = code ? n : first_not_finite(x, n);
    if (!code && bad < n)
        code = nn_fail(
            e, NN_ERROR_MODEL,
            "%s: tensor \"%s\" holds NaN or infinity (element %zu); the file is damaged, get it again",
            w->path, name, bad);
    if (code)
        free(x);
    else
        *out = x;
    return code;
}

/* ---- the packed store ---------------------------------------------------------------------------------- */

void nn_weights_lock(nn_weights *w) {
    pthread_mutex_lock(&w->mutex);
}
void nn_weights_unlock(nn_weights *w) {
    pthread_mutex_unlock(&w->mutex);
}

static blob *find_blob(nn_weights *w, const char *key) {
    size_t i = nn_names_find(&w->packed_names, key);
    return i == NN_NAMES_NONE ? NULL : &w->packed[i];
}

const void *nn_weights_packed(nn_weights *w, const char *key) {
    nn_weights_lock(w);
    const blob *b = find_blob(w, key);
    const void *data = b && !b->mapped ? b->data : NULL;
    nn_weights_unlock(w);
    return data;
}

const void *nn_weights_restored(nn_weights *w, const char *key, size_t *bytes) {
    nn_weights_lock(w);
    const blob *b = find_blob(w, key);
    const void *data = b && b->mapped ? b->data : NULL;
    *bytes = data ? b->bytes : 0;
    nn_weights_unlock(w);
    return data;
}

/* Puts b under its key, which it copies; over a mapped blob, of which nobody wanted to know. false: out of
 * memory. */
static bool add_blob(nn_weights *w, const char *key, blob b) {
    blob *old = find_blob(w, key);
    size_t i = w->packed_names.count;
    if (old) {
        w->packed_bytes -= old->bytes;
        b.key = old->key;
        *old = b;
    } else {
        if (i == w->packed_capacity) {
            size_t capacity = i ? 2 * i : 64;
            blob *bigger = realloc(w->packed, capacity * sizeof *bigger);
            if (!bigger) return false;
            w->packed = bigger;
            w->packed_capacity = capacity;
        }
        b.key = strdup(key);
        if (!b.key || !nn_names_add(&w->packed_names, b.key, i)) {
            free(b.key);
            return false;
        }
        w->packed[i] = b;
    }
    w->packed_bytes += b.bytes;
    return true;
}

static const void *keep(nn_weights *w, const char *key, blob b) {
    nn_weights_lock(w);
    const void *kept = nn_weights_packed(w, key);
    if (kept || !add_blob(w, key, b))
        free(b.data);
    else
        kept = b.data;
    nn_weights_unlock(w);
    return kept;
}

const void *nn_weights_keep(nn_weights *w, const char *key, void *data, size_t bytes) {
    return keep(w, key, (blob){.data = data, .bytes = bytes});
}

const void *nn_weights_keep_lasting(nn_weights *w, const char *key, void *data, size_t bytes) {
    return keep(w, key, (blob){.data = data, .bytes = bytes, .lasting = true});
}

size_t nn_weights_packed_bytes(nn_weights *w) {
    nn_weights_lock(w);
    size_t bytes = w->packed_bytes;
    nn_weights_unlock(w);
    return bytes;
}

size_t nn_weights_packed_count(nn_weights *w) {
    return w->packed_names.count;
}

nn_packed_blob nn_weights_packed_at(nn_weights *w, size_t i) {
    const blob *b = &w->packed[i];
    return (nn_packed_blob){b->key, b->lasting ? b->data : NULL, b->bytes, b->mapped};
}

bool nn_weights_adopt(nn_weights *w, void *mapping, size_t bytes) {
    if (w->mapping) return false;
    w->mapping = mapping;
    w->mapping_bytes = bytes;
    return true;
}

void nn_weights_settle(nn_weights *w, void *mapping, size_t bytes, const size_t *offset) {
    for (size_t i = 0; i < w->packed_names.count; i++) {
        blob *b = &w->packed[i];
        if (!b->lasting) continue;
        if (!b->mapped) free(b->data);
        b->data = (char *)mapping + *offset++;
        b->mapped = true;
    }
    if (w->mapping) munmap(w->mapping, w->mapping_bytes);
    w->mapping = mapping;
    w->mapping_bytes = bytes;
}

void nn_weights_rest(nn_weights *w) {
    if (w && w->mapping) madvise(w->mapping, w->mapping_bytes, MADV_DONTNEED);
}

bool nn_weights_keep_mapped(nn_weights *w, const char *key, const void *data, size_t bytes) {
    blob b = {.data = (void *)(uintptr_t)data, .bytes = bytes, .lasting = true, .mapped = true};
    return find_blob(w, key) || add_blob(w, key, b);
}

const char *nn_weights_file(const nn_weights *w) {
    return w->file ? nn_archive_path(w->file) : NULL;
}
