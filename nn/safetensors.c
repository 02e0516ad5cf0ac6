/* safetensors.c - Hugging Face's format: 8 bytes of header length (little-endian), a JSON object
 *
 *     {"__metadata__": {text: text}, NAME: {"dtype": "F32", "shape": [2, 3], "data_offsets": [first, end]},
 * ...}
 *
 * and the data, offsets counting from the header's end. Invariant: every tensor's offsets lie inside the file
 * and are as far apart as its shape asks for. Tensors are read from the file one at a time, so nothing needs
 * mapping. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "archive_format.h"

enum { MAX_HEADER = 1 << 21 }; /* the format allows 100 MB; a thousand tensors need 0.1 */

typedef struct safetensors {
    FILE *file; /* the archive's */
    nn_archive *archive;
    uint64_t *place; /* [count]: offset in the file */
} safetensors;

static nn_code reader_read(void *self, size_t i, void *dst, nn_error *e) {
    safetensors *s = self;
    const npz_array *a = nn_archive_at(s->archive, i);
    if (nn_archive_read_at(fileno(s->file), s->place[i], dst, a->bytes)) return NN_OK;
    return nn_fail(e, NN_ERROR_FORMAT, "%s: tensor \"%s\" cannot be read; get the file again",
                   nn_archive_path(s->archive), a->name);
}

static void reader_close(void *self) {
    safetensors *s = self;
    free(s->place);
    free(s);
}

static const nn_archive_reader reader = {"safetensors", reader_read, reader_close};

/* ---- the header ---------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    npz_dtype type;
} types[] = {
    {"F16", NPZ_F16}, {"BF16", NPZ_BF16}, {"F32", NPZ_F32},   {"F64", NPZ_F64}, {"I8", NPZ_I8},
    {"U8", NPZ_U8},   {"I16", NPZ_I16},   {"U16", NPZ_U16},   {"I32", NPZ_I32}, {"U32", NPZ_U32},
    {"I64", NPZ_I64}, {"U64", NPZ_U64},   {"BOOL", NPZ_BOOL}, {"C64", NPZ_C64},
};

static int type_of(const cJSON *name) {
    for (size_t i = 0; cJSON_IsString(name) && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(name->valuestring, types[i].name) == 0) return (int)types[i].type;
    return -1;
}

/* A whole number that a double holds exactly, 0 .. 2^53. */
static bool take_number(const cJSON *v, int64_t *out) {
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0 && v->valuedouble <= 0x1p53) ||
        floor(v->valuedouble) < v->valuedouble)
        return false;
    *out = (int64_t)v->valuedouble;
    return true;
}

static bool take_shape(const cJSON *list, npz_array *a) {
    const cJSON *v;
    if (!cJSON_IsArray(list)) return false;
    cJSON_ArrayForEach(v, list) {
        if (a->rank == NPZ_MAX_RANK || !take_number(v, &a->shape[a->rank])) return false;
        a->rank++;
    }
    return true;
}

static nn_code fail_tensor(const nn_archive *a, const char *name, const char *problem, nn_error *e) {
    return nn_fail(e, NN_ERROR_FORMAT, "%s: tensor \"%.200s\" %s", nn_archive_path(a), name, problem);
}

/* One entry of the header, its data in bytes begin .. end of the file. */
static nn_code add_entry(safetensors *s, const cJSON *entry, uint64_t begin, uint64_t end, nn_error *e) {
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    npz_array a = {.name = entry->string};
    int64_t from, to;
    int type = type_of(dtype);
    if (type < 0) {
        char problem[100];
        snprintf(problem, sizeof problem, "is %.20s, which is not read; save it as F32 or F16",
                 cJSON_IsString(dtype) ? dtype->valuestring : "without a dtype");
        return fail_tensor(s->archive, a.name, problem, e);
    }
    a.dtype = (npz_dtype)type;
    if (!take_shape(cJSON_GetObjectItemCaseSensitive(entry, "shape"), &a) || !npz_array_measure(&a))
        return fail_tensor(s->archive, a.name, "has a shape that cannot be; the file is damaged", e);
    if (cJSON_GetArraySize(offsets) != 2 || !take_number(offsets->child, &from) ||
        !take_number(offsets->child->next, &to) || from > to || (uint64_t)to > end - begin)
        return fail_tensor(s->archive, a.name, "lies outside the file; it is cut short, get it again", e);
    if ((uint64_t)(to - from) != a.bytes)
        return fail_tensor(s->archive, a.name,
                           "has more or fewer bytes than its shape asks for; get the file again", e);
    s->place[nn_archive_count(s->archive)] = begin + (uint64_t)from;
    return nn_archive_add(s->archive, &a, e);
}

/* config.json beside the file with the header's __metadata__ added; either may be missing. */
static nn_code set_json(safetensors *s, cJSON *metadata, nn_error *e) {
    char *text = nn_archive_folder_config(s->archive);
    cJSON *config = text ? cJSON_Parse(text) : NULL;
    free(text);
    if (!cJSON_IsObject(config)) {
        cJSON_Delete(config);
        config = metadata ? cJSON_CreateObject() : NULL;
    }
    if (config && metadata)
        cJSON_AddItemToObject(config, "__metadata__", metadata);
    else
        cJSON_Delete(metadata);
    char *json = config ? cJSON_PrintUnformatted(config) : NULL;
    char *copy = json ? strdup(json) : NULL; /* cJSON may have an allocator of its own */
    bool lost = config && !copy;
    nn_archive_set_json(s->archive, copy);
    cJSON_free(json);
    cJSON_Delete(config);
    return lost ? nn_fail_memory(e, nn_archive_path(s->archive)) : NN_OK;
}

static nn_code add_entries(safetensors *s, cJSON *header, uint64_t begin, uint64_t end, nn_error *e) {
    const char *path = nn_archive_path(s->archive);
    if (!cJSON_IsObject(header))
        return nn_fail(e, NN_ERROR_FORMAT, "%s: its safetensors header is no JSON object; get the file again",
                       path);
    cJSON *metadata = cJSON_DetachItemFromObjectCaseSensitive(header, "__metadata__");
    nn_code code = set_json(s, metadata, e);
    if (code) return code;
    if (!(s->place = calloc((size_t)cJSON_GetArraySize(header) + 1, sizeof *s->place)))
        return nn_fail_memory(e, path);
    const cJSON *entry;
    size_t n = 0;
    cJSON_ArrayForEach(entry, header) {
        if (!code) code = add_entry(s, entry, begin, end, e);
        n++;
    }
    if (!code && n == 0)
        code = nn_fail(e, NN_ERROR_FORMAT, "%s holds no tensors; is it the right file?", path);
    return code;
}

nn_code safetensors_open(nn_archive *a, FILE *file, uint64_t size, nn_error *e) {
    const char *path = nn_archive_path(a);
    safetensors *s = calloc(1, sizeof *s);
    if (!s) return nn_fail_memory(e, path);
    *s = (safetensors){.file = file, .archive = a};
    nn_archive_set_reader(a, &reader, s);
    uint64_t length = 0;
    if (!nn_archive_read_at(fileno(file), 0, &length, sizeof length) || length > size - sizeof length)
        return nn_fail(e, NN_ERROR_FORMAT, "%s: its safetensors header is cut short; get the file again",
                       path);
    if (length > MAX_HEADER)
        return nn_fail(e, NN_ERROR_FORMAT,
                       "%s: its safetensors header is longer than 2 MB, which no model needs", path);
    char *text = malloc((size_t)length + 1);
    if (!text) return nn_fail_memory(e, path);
    nn_code code = nn_archive_read_at(fileno(file), sizeof length, text, length)
                       ? NN_OK
                       : nn_fail(e, NN_ERROR_FILE, "%s cannot be read", path);
    text[length] = '\0';
    cJSON *header = code ? NULL : cJSON_ParseWithLength(text, (size_t)length);
    free(text);
    if (!code) code = add_entries(s, header, sizeof length + length, size, e);
    cJSON_Delete(header);
    return code;
}
