/* torch_tensors.c - from a pickle's tree to checked tensors (torch.h).
 *
 * Known are the functions that torch.save names to rebuild a tensor, and the storage classes; what else is
 * called is somebody's class and is passed over. Invariant: a tensor is added only if offset + span elements
 * of it lie inside its storage's count, so that the format has one length per storage to check. */
#include "torch.h"

#include <stdlib.h>
#include <string.h>

#include "strided.h"

enum {
    MAX_PATH = 512,
    MAX_KEY = 256,          /* bytes of a storage's name */
    MAX_REPEATED = 1 << 24, /* bytes that a view may have beyond the file's size, by repeating elements */
    MAX_STORAGES = 1 << 16,
};

/* Classes of storages (and, for torch.save of new types, names of dtypes). */
static const struct torch_type {
    const char *storage, *dtype;
    npz_dtype type;
} types[] = {
    {"FloatStorage", "float32", NPZ_F32},
    {"HalfStorage", "float16", NPZ_F16},
    {"BFloat16Storage", "bfloat16", NPZ_BF16},
    {"DoubleStorage", "float64", NPZ_F64},
    {"LongStorage", "int64", NPZ_I64},
    {"IntStorage", "int32", NPZ_I32},
    {"ShortStorage", "int16", NPZ_I16},
    {"CharStorage", "int8", NPZ_I8},
    {"ByteStorage", "uint8", NPZ_U8},
    {"BoolStorage", "bool", NPZ_BOOL},
    {"ComplexFloatStorage", "complex64", NPZ_C64},
    {"ComplexDoubleStorage", "complex128", NPZ_C128},
    {"UntypedStorage", "uint8", NPZ_U8}, /* counted in bytes */
    {"_UntypedStorage", "uint8", NPZ_U8},
    {"", "uint16", NPZ_U16},
    {"", "uint32", NPZ_U32},
    {"", "uint64", NPZ_U64},
};
enum { TYPES = sizeof types / sizeof types[0] };

typedef struct walk {
    torch_tensors *t;
    uint64_t file_size;
    size_t steps;
    char name[MAX_PATH + 32];
    nn_error *e;
} walk;

static nn_code fail_tensor(const walk *w, const char *problem) {
    return nn_fail(w->e, NN_ERROR_FORMAT, "%s: tensor \"%s\" %s", nn_archive_path(w->t->archive), w->name,
                   problem);
}

/* ---- storages ------------------------------------------------------------------------------------------ */

/* The part of "torch.FloatStorage", "torch.cuda.FloatStorage", "torch.float32" after the last dot; "" where v
 * is no global of torch. */
static const char *torch_name(const pickle_value *v) {
    return v->kind == PICKLE_GLOBAL && strncmp(v->text, "torch.", 6) == 0 ? strrchr(v->text, '.') + 1 : "";
}

static bool is_storage(const pickle_value *persistent) {
    const pickle_value *id = persistent->item[0];
    return id->kind == PICKLE_TUPLE && id->count >= 5 && pickle_is_text(id->item[0], "storage") &&
           id->item[2]->kind == PICKLE_STRING && id->item[2]->count <= MAX_KEY &&
           id->item[4]->kind == PICKLE_INT;
}

torch_storage *torch_find(const torch_tensors *t, const char *key) {
    size_t i = nn_names_find(&t->keys, key);
    return i == NN_NAMES_NONE ? NULL : &t->storage[i];
}

static nn_code append_storage(torch_tensors *t, const torch_storage *s, nn_error *e) {
    if (t->storages == t->storage_room) {
        size_t room = t->storage_room ? 2 * t->storage_room : 256;
        torch_storage *bigger = realloc(t->storage, room * sizeof *bigger);
        if (!bigger) return nn_fail_memory(e, nn_archive_path(t->archive));
        t->storage = bigger;
        t->storage_room = room;
    }
    char *key = strdup(s->key);
    if (!key || !nn_names_add(&t->keys, key, t->storages)) {
        free(key);
        return nn_fail_memory(e, nn_archive_path(t->archive));
    }
    t->storage[t->storages] = *s;
    t->storage[t->storages++].key = key;
    return NN_OK;
}

/* Adds the storage that ("storage", class, key, place, count, ...) names, unless it is known. */
static nn_code add_storage(torch_tensors *t, const pickle_value *persistent, nn_error *e) {
    const char *path = nn_archive_path(t->archive);
    if (!is_storage(persistent)) return NN_OK; /* a module's source: passed over */
    const pickle_value *id = persistent->item[0];
    const char *class = torch_name(id->item[1]), *key = id->item[2]->text;
    torch_storage s = {.key = (char *)key, .count = (uint64_t)id->item[4]->integer, .user = SIZE_MAX};
    int type = 0;
    while (type < TYPES && (!*class || strcmp(class, types[type].storage) != 0)) type++;
    if (type == TYPES) return NN_OK; /* as long as no tensor that is read needs it */
    s.dtype = types[type].type;
    const torch_storage *known = torch_find(t, key);
    bool sane = id->item[4]->integer >= 0 && s.count <= INT64_MAX / npz_dtype_size(s.dtype) &&
                t->storages < MAX_STORAGES && strlen(key) == id->item[2]->count && *key;
    if (!sane || (known && (known->dtype != s.dtype || known->count != s.count)))
        return nn_fail(e, NN_ERROR_FORMAT, "%s: storage \"%.40s\" contradicts itself; the file is damaged",
                       path, key);
    return known ? NN_OK : append_storage(t, &s, e);
}

/* ---- one tensor ---------------------------------------------------------------------------------------- */

/* The functions that rebuild tensors. Wrappers have the tensor, or the call that makes it, in their
 * arguments. */
static const struct rebuild {
    const char *name;
    enum { VIEW, WRAPPED, CALLED } kind;
    uint32_t args;  /* at least */
    uint32_t dtype; /* argument that names the dtype; 0: the storage's */
    uint32_t flags; /* argument with what is still to be done to the elements; 0: none */
} rebuilds[] = {
    {"torch._utils._rebuild_tensor", VIEW, 4, 0, 0},
    {"torch._utils._rebuild_tensor_v2", VIEW, 4, 0, 6},
    {"torch._utils._rebuild_tensor_v3", VIEW, 7, 6, 7},
    {"torch._utils._rebuild_parameter", WRAPPED, 1, 0, 0},
    {"torch._utils._rebuild_parameter_with_state", WRAPPED, 1, 0, 0},
    {"torch._tensor._rebuild_from_type", CALLED, 2, 0, 0},
    {"torch._tensor._rebuild_from_type_v2", CALLED, 2, 0, 0},
};

static bool is_tensor(const pickle_value *v) {
    if (v->kind != PICKLE_OBJECT || v->item[0]->kind != PICKLE_GLOBAL) return false;
    const char *name = v->item[0]->text;
    return strncmp(name, "torch._utils._rebuild_", 22) == 0 ||
           strncmp(name, "torch._tensor._rebuild_", 23) == 0;
}

/* The function and arguments that make the view behind v's wrappers; NULL where something else is there. */
static const struct rebuild *unwrap(const pickle_value *function, const pickle_value **args) {
    for (int depth = 0; depth < 4; depth++) {
        const struct rebuild *r = NULL;
        for (size_t i = 0; i < sizeof rebuilds / sizeof rebuilds[0]; i++)
            if (pickle_is_text(function, rebuilds[i].name)) r = &rebuilds[i];
        if (!r || (*args)->kind != PICKLE_TUPLE || (*args)->count < r->args) return NULL;
        if (r->kind == VIEW) return r;
        const pickle_value *inner = (*args)->item[0];
        if (r->kind == CALLED) {
            function = inner;
            *args = (*args)->item[2 < (*args)->count ? 2 : 1];
        } else if (is_tensor(inner)) {
            function = inner->item[0];
            *args = inner->item[1];
        } else {
            return NULL;
        }
    }
    return NULL;
}

/* A tuple of whole numbers, or torch.Size of one, into out; its length, or -1. */
static int take_numbers(const pickle_value *v, int64_t *out) {
    if (v->kind == PICKLE_OBJECT && pickle_is_text(v->item[0], "torch.Size") && v->item[1]->count == 1 &&
        v->item[1]->kind == PICKLE_TUPLE)
        v = v->item[1]->item[0];
    if ((v->kind != PICKLE_TUPLE && v->kind != PICKLE_LIST) || v->count > NPZ_MAX_RANK) return -1;
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->item[i]->kind != PICKLE_INT || v->item[i]->integer < 0) return -1;
        out[i] = v->item[i]->integer;
    }
    return (int)v->count;
}

/* span and row_major of a view of shape a; false where an address overflows. */
static bool measure_view(const npz_array *a, torch_view *v) {
    uint64_t last = 0, step = 1, size = npz_dtype_size(a->dtype);
    v->row_major = true;
    for (int i = a->rank - 1; a->count > 0 && i >= 0; i--) {
        uint64_t reach;
        if (a->shape[i] == 1) continue;
        if (__builtin_mul_overflow((uint64_t)a->shape[i] - 1, (uint64_t)v->stride[i], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return false;
        v->row_major &= (uint64_t)v->stride[i] == step;
        step *= (uint64_t)a->shape[i]; /* at most count */
    }
    v->span = a->count > 0 ? last + 1 : 0;
    return v->offset <= INT64_MAX / size && v->span <= INT64_MAX / size &&
           v->offset + v->span <= INT64_MAX / size;
}

/* Where the view begins in its storage; storages of the oldest files may be parts of others: (key, offset,
 * size). */
static bool take_offset(const pickle_value *id, const pickle_value *offset, torch_view *v) {
    if (offset->kind != PICKLE_INT || offset->integer < 0) return false;
    v->offset = (uint64_t)offset->integer;
    if (id->count < 6 || id->item[5]->kind == PICKLE_NONE) return true;
    const pickle_value *part = id->item[5];
    bool ok = part->kind == PICKLE_TUPLE && part->count == 3 && part->item[1]->kind == PICKLE_INT &&
              part->item[1]->integer >= 0;
    if (ok) v->offset += (uint64_t)part->item[1]->integer; /* both below 2^63 */
    return ok;
}

static int type_of_dtype(const pickle_value *v) {
    for (int i = 0; i < TYPES; i++)
        if (strcmp(torch_name(v), types[i].dtype) == 0) return (int)types[i].type;
    return -1;
}

static nn_code keep_view(walk *w, const npz_array *a, const torch_view *v) {
    torch_tensors *t = w->t;
    size_t i = nn_archive_count(t->archive);
    if (i == t->view_room) {
        size_t room = i ? 2 * i : 256;
        torch_view *bigger = realloc(t->view, room * sizeof *bigger);
        if (!bigger) return nn_fail_memory(w->e, w->name);
        t->view = bigger;
        t->view_room = room;
    }
    t->view[i] = *v;
    if (t->storage[v->storage].user == SIZE_MAX) t->storage[v->storage].user = i;
    return nn_archive_add(t->archive, a, w->e);
}

/* Checks array and view against the storage and keeps them. */
static nn_code check_view(walk *w, npz_array *a, torch_view *v) {
    const torch_storage *s = &w->t->storage[v->storage];
    uint64_t size = npz_dtype_size(a->dtype), held = s->count * npz_dtype_size(s->dtype);
    bool fits = npz_array_measure(a) && measure_view(a, v) && (v->offset + v->span) * size <= held;
    if (!fits) {
        char problem[160];
        snprintf(problem, sizeof problem,
                 "has a shape that asks for more elements than its storage \"%.30s\" holds (%llu); the file "
                 "is damaged",
                 s->key, (unsigned long long)s->count);
        return fail_tensor(w, problem);
    }
    if (a->bytes > w->file_size && a->bytes - w->file_size > MAX_REPEATED)
        return fail_tensor(
            w, "repeats a few elements into something far larger than the file; it was made to harm");
    return keep_view(w, a, v);
}

/* {"conj": True} or {"neg": True}: the elements in the file are not yet what the tensor shows. */
static bool is_lazy(const pickle_value *flags) {
    const pickle_value *conj = pickle_find(flags, "conj"), *neg = pickle_find(flags, "neg");
    return (conj && conj->kind == PICKLE_BOOL && conj->integer) ||
           (neg && neg->kind == PICKLE_BOOL && neg->integer);
}

static nn_code add_tensor(walk *w, const pickle_value *tensor) {
    const pickle_value *args = tensor->item[1];
    const struct rebuild *r = unwrap(tensor->item[0], &args);
    char problem[256];
    if (!r) {
        snprintf(problem, sizeof problem,
                 "is of a kind that is not read (%.100s); save it as a plain dense tensor",
                 tensor->item[0]->text);
        return fail_tensor(w, problem);
    }
    const pickle_value *persistent = args->item[0];
    bool stored = persistent->kind == PICKLE_PERSISTENT && is_storage(persistent);
    if (!stored) {
        bool object = persistent->kind == PICKLE_OBJECT && persistent->item[0]->kind == PICKLE_GLOBAL;
        snprintf(problem, sizeof problem,
                 "depends on an object that is not read (%.100s); save it with torch.save",
                 object ? persistent->item[0]->text : "no storage");
        return fail_tensor(w, problem);
    }
    const pickle_value *id = persistent->item[0];
    torch_view v = {.storage = nn_names_find(&w->t->keys, id->item[2]->text)};
    if (v.storage == NN_NAMES_NONE) {
        snprintf(problem, sizeof problem,
                 "is kept as %.100s, which is not read; save it as float32 or float16",
                 id->item[1]->kind == PICKLE_GLOBAL ? id->item[1]->text : "something unknown");
        return fail_tensor(w, problem);
    }
    if (r->flags && r->flags < args->count && is_lazy(args->item[r->flags]))
        return fail_tensor(w, "is a conjugated or negated view; save it as a plain dense tensor");
    npz_array a = {.name = w->name, .dtype = w->t->storage[v.storage].dtype};
    int type = r->dtype ? type_of_dtype(args->item[r->dtype]) : (int)a.dtype;
    a.rank = take_numbers(args->item[2], a.shape);
    if (type < 0) return fail_tensor(w, "has a type that is not read; save it as float32 or float16");
    if (a.rank < 0 || take_numbers(args->item[3], v.stride) != a.rank || !take_offset(id, args->item[1], &v))
        return fail_tensor(w, "has a shape, stride or offset that cannot be (negative, or above 8 axes)");
    a.dtype = (npz_dtype)type;
    return check_view(w, &a, &v);
}

/* ---- the tree ------------------------------------------------------------------------------------------ */

/* Appends a path component at `length` of w->name; the new length, or 0 where it does not fit or is no name.
 */
static size_t append_name(walk *w, size_t length, const pickle_value *key, uint32_t index) {
    char number[24];
    const char *part = number;
    if (!key || key->kind == PICKLE_INT)
        snprintf(number, sizeof number, "%lld", key ? (long long)key->integer : (long long)index);
    else if (key->kind == PICKLE_STRING && key->count <= MAX_PATH && strlen(key->text) == key->count)
        part = key->text;
    else
        return 0;
    size_t n = strlen(part), dot = length > 0;
    if (length + dot + n > MAX_PATH) return 0;
    if (dot) w->name[length] = '.';
    memcpy(w->name + length + dot, part, n + 1);
    return length + dot + n;
}

static nn_code walk_value(walk *w, const pickle_value *v, size_t length, int depth,
                          const pickle_value *unnamed);

/* A member of a dict, list or tuple; `unnamed` is the dict that adds nothing to the path. */
static nn_code walk_member(walk *w, const pickle_value *key, uint32_t index, const pickle_value *v,
                           size_t length, int depth, const pickle_value *unnamed) {
    bool holds = is_tensor(v) || v->kind == PICKLE_DICT || v->kind == PICKLE_LIST || v->kind == PICKLE_TUPLE;
    if (!holds) return NN_OK;
    size_t longer = v == unnamed ? length : append_name(w, length, key, index);
    if (longer == 0 && v != unnamed && is_tensor(v)) {
        w->name[length] = '\0';
        return fail_tensor(w, "(a dictionary) has a tensor under a key that is empty, too long or no text");
    }
    return longer || v == unnamed ? walk_value(w, v, longer, depth + 1, NULL) : NN_OK;
}

static nn_code walk_value(walk *w, const pickle_value *v, size_t length, int depth,
                          const pickle_value *unnamed) {
    w->name[length] = '\0';
    if (depth > PICKLE_MAX_DEPTH || ++w->steps > PICKLE_MAX_STEPS)
        return nn_fail(w->e, NN_ERROR_FORMAT, "%s: its pickle %s; get the file again",
                       nn_archive_path(w->t->archive),
                       depth > PICKLE_MAX_DEPTH ? "nests more than 64 deep, or holds itself"
                                                : "unfolds to millions of values");
    if (is_tensor(v)) return add_tensor(w, v);
    bool dict = v->kind == PICKLE_DICT;
    nn_code code = NN_OK;
    if (!dict && v->kind != PICKLE_LIST && v->kind != PICKLE_TUPLE) return NN_OK;
    w->steps += v->count;
    for (uint32_t i = 0; !code && i < v->count; i += dict ? 2 : 1)
        code = walk_member(w, dict ? v->item[i] : NULL, i, v->item[dict ? i + 1 : i], length, depth, unnamed);
    return code;
}

static bool has_tensor(const pickle_value *dict) {
    for (uint32_t i = 0; i < dict->count; i += 2)
        if (is_tensor(dict->item[i + 1])) return true;
    return false;
}

/* The state dict inside {"weight": {...}, "config": ...}, {"model": {...}, ...}, {"state_dict": {...}}; NULL:
 * none. */
static const pickle_value *wrapped(const pickle_value *root) {
    static const char *const keys[] = {"weight", "model", "state_dict"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const pickle_value *v = pickle_find(root, keys[i]);
        if (v && v->kind == PICKLE_DICT && has_tensor(v)) return v;
    }
    return NULL;
}

static nn_code fail_empty(const torch_tensors *t, const pickle_value *root, nn_error *e) {
    bool object = root->kind == PICKLE_OBJECT && root->item[0]->kind == PICKLE_GLOBAL;
    return nn_fail(
        e, NN_ERROR_FORMAT,
        "%s holds no tensors%s%.100s; a model is needed as a state dict: torch.save(model.state_dict(), ...)",
        nn_archive_path(t->archive), object ? " but an object of the class " : "",
        object ? root->item[0]->text : "");
}

nn_code torch_collect(torch_tensors *t, const pickle *p, uint64_t file_size, nn_error *e) {
    const pickle_value *root = pickle_root(p), *persistents = pickle_persistents(p);
    nn_code code = NN_OK;
    for (uint32_t i = 0; !code && i < persistents->count; i++) code = add_storage(t, persistents->item[i], e);
    if (code) return code;
    walk w = {.t = t, .file_size = file_size, .e = e};
    const pickle_value *inner = wrapped(root);
    if (is_tensor(root)) {
        strcpy(w.name, "tensor");
        code = add_tensor(&w, root);
    } else {
        code = walk_value(&w, root, 0, 0, inner);
    }
    if (!code && nn_archive_count(t->archive) == 0) code = fail_empty(t, root, e);
    char *json = NULL;
    if (!code) code = pickle_json(&json, root, inner, nn_archive_path(t->archive), e);
    nn_archive_set_json(t->archive, json);
    return code;
}

nn_code torch_fail_storage(const torch_tensors *t, const torch_storage *s, const char *problem, nn_error *e) {
    return nn_fail(e, NN_ERROR_FORMAT,
                   "%s: the data of tensor \"%s\" (storage \"%.40s\") %s; get the file again",
                   nn_archive_path(t->archive),
                   s->user == SIZE_MAX ? "?" : nn_archive_at(t->archive, s->user)->name, s->key, problem);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

nn_code torch_read(const torch_tensors *t, size_t i, void *dst, nn_error *e) {
    const npz_array *a = nn_archive_at(t->archive, i);
    const torch_view *v = &t->view[i];
    const torch_storage *s = &t->storage[v->storage];
    size_t size = npz_dtype_size(a->dtype);
    if (a->count == 0) return NN_OK;
    if (v->row_major) return t->read(t->self, s, v->offset * size, a->bytes, dst, e);
    void *span = malloc((size_t)(v->span * size));
    if (!span) return nn_fail_memory(e, a->name);
    nn_code code = t->read(t->self, s, v->offset * size, v->span * size, span, e);
    if (!code) nn_copy_strided(dst, span, size, a->rank, a->shape, v->stride);
    free(span);
    return code;
}

void torch_free(torch_tensors *t) {
    for (size_t i = 0; i < t->storages; i++) free(t->storage[i].key);
    nn_names_free(&t->keys);
    free(t->storage);
    free(t->view);
}
