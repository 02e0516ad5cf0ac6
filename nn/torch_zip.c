/* torch_zip.c - PyTorch's format since 1.6: a zip, its members stored, of
 *
 *     NAME/data.pkl    the pickle; storages are named in it by persistent ids
 *     NAME/data/KEY    one storage's elements
 *     NAME/byteorder   "little" (since 2.0), NAME/version, and others that are not needed
 *
 * A member's CRC is compared when it is read from end to end. */
#include <stdlib.h>
#include <string.h>

#include "torch.h"
#include "zip_member.h"
#include "zip_reader.h"

typedef struct torch_zip {
    torch_tensors tensors;
    zip_reader *zip;
    const char *path; /* the archive's */
    uint64_t file_size;
    char *prefix; /* "NAME/", or "" */
} torch_zip;

/* ---- reading ------------------------------------------------------------------------------------------- */

static nn_code read_range(void *self, const torch_storage *s, uint64_t first, uint64_t n, void *dst,
                          nn_error *e) {
    torch_zip *z = self;
    return zip_reader_read(z->zip, s->place, first, n, dst, e);
}

static nn_code reader_read(void *self, size_t i, void *dst, nn_error *e) {
    torch_zip *z = self;
    return torch_read(&z->tensors, i, dst, e);
}

static void reader_close(void *self) {
    torch_zip *z = self;
    torch_free(&z->tensors);
    zip_reader_close(z->zip);
    free(z->prefix);
    free(z);
}

static const nn_archive_reader reader = {"torch zip", reader_read, reader_close};

/* ---- finding the pickle -------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

/* Somebody packed a model, or a folder of them, into a zip. */
static nn_code check_packed(const torch_zip *z, const char *model, bool has_arrays, nn_error *e) {
    if (!model || has_arrays) return NN_OK;
    return nn_fail(e, NN_ERROR_FORMAT, "%s is a zip archive with \"%.200s\" in it; unpack it first", z->path,
                   model);
}

/* Finds NAME/data.pkl and keeps NAME/; a zip without one is no checkpoint of PyTorch. */
static nn_code find_pickle(torch_zip *z, nn_error *e) {
    static const char *const models[] = {".pth", ".pt", ".safetensors", ".index", ".npz"};
    const char *found = NULL, *model = NULL;
    bool arrays = false, script = false, two = false;
    for (zip_int64_t i = 0, n = zip_get_num_entries(zip_reader_zip(z->zip), 0); i < n; i++) {
        const char *name = zip_get_name(zip_reader_zip(z->zip), (zip_uint64_t)i, 0);
        if (!name) continue;
        bool here = strcmp(name, "data.pkl") == 0 || ends_with(name, "/data.pkl");
        two |= here && found;
        if (here) found = name;
        arrays |= ends_with(name, ".npy");
        script |= ends_with(name, "/constants.pkl");
        for (size_t k = 0; k < sizeof models / sizeof models[0]; k++)
            if (ends_with(name, models[k])) model = name;
    }
    if (!found) return check_packed(z, model, arrays, e);
    if (script)
        return nn_fail(e, NN_ERROR_FORMAT,
                       "%s is a TorchScript program, not a checkpoint; save the model's state dict instead",
                       z->path);
    if (two)
        return nn_fail(e, NN_ERROR_FORMAT, "%s holds two pickles named data.pkl; the file is damaged",
                       z->path);
    z->prefix = strndup(found, strlen(found) - strlen("data.pkl"));
    return z->prefix ? NN_OK : nn_fail_memory(e, z->path);
}

/* The member PREFIX + name, checked against the file's size; *found false where there is none. */
static nn_code find_member(const torch_zip *z, const char *folder, const char *name, zip_stat_t *st,
                           bool *found, nn_error *e) {
    size_t n = strlen(z->prefix) + strlen(folder) + strlen(name) + 1;
    char *whole = malloc(n);
    if (!whole) return nn_fail_memory(e, z->path);
    snprintf(whole, n, "%s%s%s", z->prefix, folder, name);
    *found = zip_stat(zip_reader_zip(z->zip), whole, 0, st) == 0;
    free(whole);
    return *found ? zip_member_check(z->path, z->file_size, st, e) : NN_OK;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static nn_code check_byte_order(torch_zip *z, nn_error *e) {
    zip_stat_t st;
    bool found;
    char order[4] = "";
    nn_code code = find_member(z, "", "byteorder", &st, &found, e);
    if (!code && found && st.size >= 3) code = zip_reader_read(z->zip, st.index, 0, 3, order, e);
    if (!code && strcmp(order, "big") == 0)
        code = nn_fail(e, NN_ERROR_FORMAT, "%s was written on a big-endian machine; save it on another",
                       z->path);
    return code;
}

/* Reads the pickle; its bytes go as soon as its values are there. */
static nn_code open_pickle(torch_zip *z, pickle **p, nn_error *e) {
    zip_stat_t st;
    bool found;
    size_t used;
    nn_code code = find_member(z, "", "data.pkl", &st, &found, e);
    if (code) return code;
    if (!found || st.size > PICKLE_MAX_BYTES)
        return nn_fail(e, NN_ERROR_FORMAT, "%s: its pickle is longer than 16 MB, which no model needs",
                       z->path);
    void *bytes = malloc((size_t)st.size + 1);
    if (!bytes) return nn_fail_memory(e, z->path);
    code = zip_reader_read(z->zip, st.index, 0, st.size, bytes, e);
    if (!code) code = pickle_read(p, bytes, (size_t)st.size, &used, z->path, e);
    free(bytes);
    return code;
}

/* Finds the storages that tensors are views of, and checks their lengths. */
static nn_code find_storages(torch_zip *z, nn_error *e) {
    nn_code code = NN_OK;
    for (size_t i = 0; !code && i < z->tensors.storages; i++) {
        torch_storage *s = &z->tensors.storage[i];
        zip_stat_t st;
        if (s->user == SIZE_MAX) continue;
        if ((code = find_member(z, "data/", s->key, &st, &s->found, e))) return code;
        if (!s->found) return torch_fail_storage(&z->tensors, s, "is missing from the archive", e);
        s->place = st.index;
        s->bytes = st.size;
        if (s->bytes < s->count * npz_dtype_size(s->dtype))
            return torch_fail_storage(&z->tensors, s, "is shorter than the tensor needs", e);
    }
    return code;
}

/* .bin is how Transformers names it, with the configuration in the folder. */
static void add_folder_config(nn_archive *a) {
    if (!nn_archive_json(a) && ends_with(nn_archive_path(a), ".bin"))
        nn_archive_set_json(a, nn_archive_folder_config(a));
}

nn_code torch_zip_open(nn_archive *a, uint64_t size, bool *is_torch, nn_error *e) {
    torch_zip *z = calloc(1, sizeof *z);
    *is_torch = false;
    if (!z) return nn_fail_memory(e, nn_archive_path(a));
    z->path = nn_archive_path(a);
    z->file_size = size;
    z->tensors = (torch_tensors){.archive = a, .read = read_range, .self = z};
    int ze;
    if (!(z->zip = zip_reader_open(z->path, &ze))) {
        free(z);
        return nn_sniff_fail(nn_archive_path(a), "PK\3\4", 4, "a model", "", e);
    }
    nn_code code = find_pickle(z, e);
    if (code || !z->prefix) {
        reader_close(z);
        return code;
    }
    *is_torch = true;
    nn_archive_set_reader(a, &reader, z);
    pickle *p = NULL;
    code = check_byte_order(z, e);
    if (!code) code = open_pickle(z, &p, e);
    if (!code) code = torch_collect(&z->tensors, p, size, e);
    pickle_free(p);
    if (!code) code = find_storages(z, e);
    if (!code) add_folder_config(a);
    return code;
}
