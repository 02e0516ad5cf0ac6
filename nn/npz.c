/* npz.c - reading NumPy archives (npz.h); npz_write.c writes them.
 *
 * Invariant: after npz_open every array's header has been parsed and
 *     header bytes + count * element size == the member's size,
 * and that size is one the file can hold (stored: at most the file's size; deflated: at most 1032 times the
 * packed size, deflate's limit). So whoever allocates a->bytes or 4 a->count bytes allocates in proportion to
 * the file.
 *
 * A .npy member is: "\x93NUMPY", version (2 bytes), header length (2 bytes, from version 2.0 on 4), a Python
 * dict literal with the keys descr, fortran_order and shape, then the data. */
#include "npz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>

#include "archive_format.h"
#include "names.h"
#include "zip_member.h"
#include "zip_reader.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are copied as they lie in the file");

enum {
    MAX_HEADER = 1 << 16, /* of a .npy dict; numpy's are 118 bytes */
    MAX_TEXT = 1 << 24,   /* of a text member */
};

typedef struct member {
    char *name;         /* of the array, without .npy; owned */
    zip_uint64_t index; /* in the zip */
    uint64_t data;      /* where the data begins in the member */
} member;

struct npz {
    char *path;
    zip_reader *zip;
    uint64_t file_size;
    size_t count;
    npz_array *array; /* [count] */
    member *member;   /* [count] */
    member
        text; /* a text kept as an array of bytes: what numpy makes of config.json when it writes what it read */
    uint64_t text_size;
    nn_names names; /* array name -> index */
};

/* ---- element types ------------------------------------------------------------------------------------- */

typedef void convert(float *dst, const void *src, size_t count);

#define CONVERT_FROM(name, type)                                                                             \
    static void name(float *dst, const void *src, size_t count) {                                            \
        const type *s = src;                                                                                 \
        for (size_t i = 0; i < count; i++) dst[i] = (float)s[i];                                             \
    }
CONVERT_FROM(from_f64, double)
CONVERT_FROM(from_i8, int8_t)
CONVERT_FROM(from_u8, uint8_t)
CONVERT_FROM(from_i16, int16_t)
CONVERT_FROM(from_u16, uint16_t)
CONVERT_FROM(from_i32, int32_t)
CONVERT_FROM(from_u32, uint32_t)
CONVERT_FROM(from_i64, int64_t)
CONVERT_FROM(from_u64, uint64_t)

static float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Exponent rebiased from 15 to 127 in the integer; zero and subnormals (exponent field 0) get an implied
 * leading one that one subtraction takes off again, so no float subnormal is met and flush-to-zero modes do
 * no harm. */
void npz_f16_to_f32(float *dst, const uint16_t *src, size_t count) {
    const float one_at_subnormal = float_of_bits(113u << 23);
    for (size_t i = 0; i < count; i++) {
        uint32_t h = src[i], magnitude = (h & 0x7fffu) << 13, exponent = h & 0x7c00u;
        uint32_t bits = magnitude + (112u << 23);
        uint32_t special = magnitude + (224u << 23); /* infinity and NaN: exponent 31 -> 255 */
        float tiny = float_of_bits(magnitude + (113u << 23)) - one_at_subnormal;
        uint32_t tiny_bits;
        memcpy(&tiny_bits, &tiny, sizeof tiny_bits);
        bits = exponent == 0x7c00u ? special : exponent == 0 ? tiny_bits : bits;
        dst[i] = float_of_bits(bits | (h & 0x8000u) << 16);
    }
}

void npz_bf16_to_f32(float *dst, const uint16_t *src, size_t count) {
    for (size_t i = 0; i < count; i++) dst[i] = float_of_bits((uint32_t)src[i] << 16);
}

static void from_f16(float *dst, const void *src, size_t count) {
    npz_f16_to_f32(dst, src, count);
}
static void from_bf16(float *dst, const void *src, size_t count) {
    npz_bf16_to_f32(dst, src, count);
}
static void from_f32(float *dst, const void *src, size_t count) {
    memcpy(dst, src, count * sizeof *dst);
}

static void from_bool(float *dst, const void *src, size_t count) {
    const uint8_t *s = src;
    for (size_t i = 0; i < count; i++) dst[i] = s[i] != 0 ? 1.0f : 0.0f;
}

/* descr without its byte-order mark: '<' or, for single bytes and raw bytes, '|'. */
static const struct dtype {
    const char *name, *descr;
    size_t size;
    convert *to_f32;
} dtypes[] = {
    [NPZ_F16] = {"float16", "<f2", 2, from_f16},    [NPZ_F32] = {"float32", "<f4", 4, from_f32},
    [NPZ_F64] = {"float64", "<f8", 8, from_f64},    [NPZ_I8] = {"int8", "|i1", 1, from_i8},
    [NPZ_U8] = {"uint8", "|u1", 1, from_u8},        [NPZ_I16] = {"int16", "<i2", 2, from_i16},
    [NPZ_U16] = {"uint16", "<u2", 2, from_u16},     [NPZ_I32] = {"int32", "<i4", 4, from_i32},
    [NPZ_U32] = {"uint32", "<u4", 4, from_u32},     [NPZ_I64] = {"int64", "<i8", 8, from_i64},
    [NPZ_U64] = {"uint64", "<u8", 8, from_u64},     [NPZ_BOOL] = {"bool", "|b1", 1, from_bool},
    [NPZ_BF16] = {"bfloat16", "<V2", 2, from_bf16}, [NPZ_C64] = {"complex64", "<c8", 8, NULL},
    [NPZ_C128] = {"complex128", "<c16", 16, NULL},
};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

size_t npz_dtype_size(npz_dtype t) {
    return dtypes[t].size;
}
const char *npz_dtype_name(npz_dtype t) {
    return dtypes[t].name;
}
const char *npz_dtype_descr(npz_dtype t) {
    return dtypes[t].descr;
}

bool npz_to_f32(npz_dtype t, float *dst, const void *src, size_t count) {
    if (dtypes[t].to_f32) dtypes[t].to_f32(dst, src, count);
    return dtypes[t].to_f32 != NULL;
}

/* The dtype a header's descr names, or -1. Both marks are taken where byte order means nothing: numpy writes
 * "|V2" for raw bytes, ml_dtypes "<V2" for its bfloat16. */
static int dtype_of(const char *descr) {
    for (int i = 0; i < DTYPES; i++) {
        bool no_order = dtypes[i].size == 1 || i == NPZ_BF16;
        bool order = descr[0] == '<' || (no_order && descr[0] == '|');
        if (order && strcmp(descr + 1, dtypes[i].descr + 1) == 0) return i;
    }
    return -1;
}

/* ---- the .npy header ----------------------------------------------------------------------------------- */

typedef struct scan {
    const char *at, *end;
} scan;

static bool take(scan *s, const char *token) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n')) s->at++;
    size_t n = strlen(token);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, token, n) != 0) return false;
    s->at += n;
    return true;
}

/* A quoted string without escapes, into out [size]. */
static bool take_string(scan *s, char *out, size_t size) {
    const char *quote = take(s, "'") ? "'" : take(s, "\"") ? "\"" : NULL;
    if (!quote) return false;
    const char *close = memchr(s->at, *quote, (size_t)(s->end - s->at));
    if (!close || (size_t)(close - s->at) >= size || memchr(s->at, '\\', (size_t)(close - s->at)))
        return false;
    memcpy(out, s->at, (size_t)(close - s->at));
    out[close - s->at] = '\0';
    s->at = close + 1;
    return true;
}

static bool take_size(scan *s, int64_t *out) {
    take(s, ""); /* blanks */
    const char *first = s->at;
    int64_t v = 0;
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        int digit = *s->at - '0';
        if (v > (INT64_MAX - digit) / 10) return false;
        v = v * 10 + digit;
    }
    *out = v;
    return s->at > first;
}

/* "()", "(3,)", "(3, 4)" into a->shape and a->rank. */
static bool take_shape(scan *s, npz_array *a) {
    if (!take(s, "(")) return false;
    a->rank = 0;
    bool comma = true;
    while (!take(s, ")")) {
        if (!comma || a->rank == NPZ_MAX_RANK || !take_size(s, &a->shape[a->rank])) return false;
        a->rank++;
        comma = take(s, ",");
    }
    return a->rank != 1 || comma; /* "(3)" is a number, not a tuple */
}

/* Parses the dict text [length] into a's dtype, rank and shape. */
static nn_code parse_dict(npz_array *a, const char *text, size_t length, const char *path, nn_error *e) {
    scan s = {text, text + length};
    char key[16], descr[32] = "";
    unsigned seen = 0;
    bool ok = take(&s, "{"), fortran = false;
    while (ok && !take(&s, "}")) {
        ok = take_string(&s, key, sizeof key) && take(&s, ":");
        unsigned bit = !strcmp(key, "descr")           ? 1
                       : !strcmp(key, "fortran_order") ? 2
                       : !strcmp(key, "shape")         ? 4
                                                       : 0;
        if (!ok || bit == 0 || (seen & bit)) {
            ok = false;
            break;
        }
        seen |= bit;
        if (bit == 1 && take(&s, "["))
            return nn_fail(e, NN_ERROR_FORMAT,
                           "%s: array \"%s\" has a structured type; only plain numbers are read", path,
                           a->name);
        if (bit == 1) ok = take_string(&s, descr, sizeof descr);
        if (bit == 2) ok = (fortran = take(&s, "True")) || take(&s, "False");
        if (bit == 4) ok = take_shape(&s, a);
        take(&s, ",");
    }
    take(&s, "");
    if (!ok || seen != 7 || s.at != s.end)
        return nn_fail(e, NN_ERROR_FORMAT, "%s: array \"%s\" has a damaged .npy header; get the file again",
                       path, a->name);
    int dtype = dtype_of(descr);
    if (dtype < 0 && !strncmp(descr, "|S", 2) && a->rank == 0) { /* one string: its bytes */
        char *end;
        long long bytes = strtoll(descr + 2, &end, 10);
        if (!*end && bytes >= 0) {
            dtype = NPZ_U8;
            a->rank = 1;
            a->shape[0] = bytes;
        }
    }
    if (dtype < 0)
        return nn_fail(e, NN_ERROR_FORMAT,
                       "%s: array \"%s\" has dtype '%.31s', which is not read (%s); convert it to float32",
                       path, a->name, descr,
                       descr[0] == '>'      ? "big-endian"
                       : strchr(descr, 'O') ? "Python objects"
                                            : "only little-endian numbers are");
    if (fortran)
        return nn_fail(
            e, NN_ERROR_FORMAT,
            "%s: array \"%s\" is stored in Fortran order; save it again as numpy.ascontiguousarray(x)", path,
            a->name);
    a->dtype = (npz_dtype)dtype;
    return NN_OK;
}

/* Zero dimensions do not hide an absurd one beside them. */
bool npz_array_measure(npz_array *a) {
    uint64_t size = dtypes[a->dtype].size;
    bool empty = false;
    for (int i = 0; i < a->rank; i++) {
        empty |= a->shape[i] == 0;
        if (a->shape[i] > 0 && __builtin_mul_overflow(size, (uint64_t)a->shape[i], &size)) return false;
    }
    if (size > INT64_MAX) return false;
    a->bytes = empty ? 0 : size;
    a->count = a->bytes / dtypes[a->dtype].size;
    return true;
}

/* ---- members ------------------------------------------------------------------------------------------- */

/* Reads the .npy preamble and dict of an open member into a and m->data. `size` is the member's. */
static nn_code read_header(const npz *z, zip_t *zip, zip_file_t *f, uint64_t size, npz_array *a, member *m,
                           nn_error *e) {
    unsigned char head[12];
    if (size < 10 || !zip_member_read(f, head, 8) || memcmp(head, "\x93NUMPY", 6) != 0 || head[6] < 1 ||
        head[6] > 3)
        return nn_fail(e, NN_ERROR_FORMAT, "%s: member \"%s.npy\" is not a NumPy array", z->path, a->name);
    uint64_t width = head[6] == 1 ? 2 : 4;
    if (!zip_member_read(f, head + 8, width)) return zip_member_fail(z->path, zip, a->name, f, e);
    uint32_t length = head[8] | (uint32_t)head[9] << 8;
    if (width == 4) length |= (uint32_t)head[10] << 16 | (uint32_t)head[11] << 24;
    m->data = 8 + width + length;
    if (length > MAX_HEADER || m->data > size)
        return nn_fail(e, NN_ERROR_FORMAT, "%s: array \"%s\" has a damaged .npy header; get the file again",
                       z->path, a->name);
    char *text = malloc((size_t)length + 1);
    if (!text) return nn_fail_memory(e, "an array header");
    nn_code code = zip_member_read(f, text, length) ? parse_dict(a, text, length, z->path, e)
                                                    : zip_member_fail(z->path, zip, a->name, f, e);
    free(text);
    if (code) return code;
    if (!npz_array_measure(a))
        return nn_fail(e, NN_ERROR_FORMAT, "%s: array \"%s\" has an impossible shape; the file is damaged",
                       z->path, a->name);
    if (a->bytes != size - m->data)
        return nn_fail(
            e, NN_ERROR_FORMAT,
            "%s: array \"%s\" has %llu bytes of data where its shape asks for %llu; the file is damaged",
            z->path, a->name, (unsigned long long)(size - m->data), (unsigned long long)a->bytes);
    return NN_OK;
}

/* Adds zip entry i to z's arrays if it is one. */
static nn_code add_member(npz *z, zip_uint64_t i, nn_error *e) {
    zip_t *zip = zip_reader_zip(z->zip);
    zip_stat_t st;
    if (zip_stat_index(zip, i, 0, &st) != 0 || !(st.valid & ZIP_STAT_NAME))
        return zip_member_fail(z->path, zip, "?", NULL, e);
    size_t n = strlen(st.name);
    if (n < 4 || strcmp(st.name + n - 4, ".npy") != 0) return NN_OK;
    nn_code code = zip_member_check(z->path, z->file_size, &st, e);
    if (code) return code;

    member *m = &z->member[z->count];
    npz_array *a = &z->array[z->count];
    if (!(m->name = strndup(st.name, n - 4))) return nn_fail_memory(e, "an array name");
    a->name = m->name;
    m->index = i;
    z->count++; /* from here on npz_close frees the name */
    if (npz_find(z, a->name))
        return nn_fail(e, NN_ERROR_FORMAT, "%s: two arrays are named \"%s\"", z->path, a->name);
    zip_file_t *f = zip_fopen_index(zip, i, 0);
    if (!f) return zip_member_fail(z->path, zip, st.name, NULL, e);
    code = read_header(z, zip, f, st.size, a, m, e);
    zip_fclose(f);
    if (!code && !strcmp(a->name, "config.json") && a->dtype == NPZ_U8) {
        free(z->text.name);
        z->text = *m;
        z->text_size = a->bytes;
        z->count--;
        return NN_OK;
    }
    if (!code && !nn_names_add(&z->names, a->name, z->count - 1)) code = nn_fail_memory(e, "array names");
    return code;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Opens the zip, or explains what the file is instead. */
static nn_code open_zip(npz *z, nn_error *e) {
    FILE *f = fopen(z->path, "rb");
    if (!f) return nn_fail(e, NN_ERROR_FILE, "%s cannot be opened: %s", z->path, strerror(errno));
    struct stat st;
    nn_code code = NN_OK;
    int ze = 0;
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode))
        code = nn_fail(e, NN_ERROR_FILE, "%s is a folder or a device, not a file", z->path);
    else if (st.st_size == 0 || !(z->zip = zip_reader_open(z->path, &ze))) {
        char head[64];
        size_t n = fread(head, 1, sizeof head, f);
        code = ze == ZIP_ER_MEMORY ? nn_fail_memory(e, z->path)
                                   : nn_sniff_fail(z->path, head, n, "an .npz (zip) archive",
                                                   "it holds something else; is it the right file?", e);
    }
    if (!code) z->file_size = (uint64_t)st.st_size;
    fclose(f);
    return code;
}

/* PyTorch's .pth is a zip as well: say so rather than "no arrays". */
static bool is_torch(zip_t *zip) {
    for (zip_int64_t i = 0, n = zip_get_num_entries(zip, 0); i < n && i < 16; i++) {
        const char *name = zip_get_name(zip, (zip_uint64_t)i, 0), *slash = name ? strrchr(name, '/') : NULL;
        if (slash && strcmp(slash, "/data.pkl") == 0) return true;
    }
    return false;
}

nn_code npz_open(npz **out, const char *path, nn_error *e) {
    *out = NULL;
    npz *z = calloc(1, sizeof *z);
    if (!z || !(z->path = strdup(path))) {
        free(z);
        return nn_fail_memory(e, path);
    }
    nn_code code = open_zip(z, e);
    zip_int64_t entries = code ? 0 : zip_get_num_entries(zip_reader_zip(z->zip), 0);
    if (!code && is_torch(zip_reader_zip(z->zip)))
        code = nn_fail(e, NN_ERROR_FORMAT,
                       "%s is a PyTorch checkpoint, not an .npz: convert it with 'rvc import'", path);
    if (!code) {
        z->array = calloc((size_t)entries + 1, sizeof *z->array);
        z->member = calloc((size_t)entries + 1, sizeof *z->member);
        if (!z->array || !z->member) code = nn_fail_memory(e, path);
    }
    for (zip_int64_t i = 0; !code && i < entries; i++) code = add_member(z, (zip_uint64_t)i, e);
    if (code)
        npz_close(z);
    else
        *out = z;
    return code;
}

void npz_close(npz *z) {
    if (!z) return;
    for (size_t i = 0; i < z->count; i++) free(z->member[i].name);
    free(z->text.name);
    nn_names_free(&z->names);
    free(z->array);
    free(z->member);
    zip_reader_close(z->zip);
    free(z->path);
    free(z);
}

const char *npz_path(const npz *z) {
    return z->path;
}
size_t npz_count(const npz *z) {
    return z->count;
}
const npz_array *npz_at(const npz *z, size_t i) {
    return &z->array[i];
}

const npz_array *npz_find(const npz *z, const char *name) {
    size_t i = nn_names_find(&z->names, name);
    return i == NN_NAMES_NONE ? NULL : &z->array[i];
}

/* ---- reading ------------------------------------------------------------------------------------------- */

nn_code npz_read(npz *z, const npz_array *a, void *dst, nn_error *e) {
    const member *m = &z->member[a - z->array];
    return zip_reader_read(z->zip, m->index, m->data, a->bytes, dst, e);
}

nn_code npz_read_f32(npz *z, const npz_array *a, float *dst, nn_error *e) {
    const struct dtype *t = &dtypes[a->dtype];
    if (a->dtype == NPZ_F32) return npz_read(z, a, dst, e);
    if (!t->to_f32)
        return nn_fail(e, NN_ERROR_FORMAT, "%s: array \"%s\" is %s; real numbers are needed", z->path,
                       a->name, t->name);
    void *raw = malloc((size_t)a->bytes + 1);
    if (!raw) return nn_fail_memory(e, a->name);
    nn_code code = npz_read(z, a, raw, e);
    if (!code) t->to_f32(dst, raw, (size_t)a->count);
    free(raw);
    return code;
}

static nn_code read_kept_text(npz *z, char **out, nn_error *e) {
    char *text = malloc((size_t)z->text_size + 1);
    if (!text) return nn_fail_memory(e, z->text.name);
    nn_code code = zip_reader_read(z->zip, z->text.index, z->text.data, z->text_size, text, e);
    if (code) {
        free(text);
        return code;
    }
    text[z->text_size] = '\0';
    *out = text;
    return NN_OK;
}

nn_code npz_read_text(npz *z, const char *name, char **out, nn_error *e) {
    zip_t *zip = zip_reader_zip(z->zip);
    zip_stat_t st;
    *out = NULL;
    if (zip_stat(zip, name, 0, &st) != 0) { /* absent, or kept as an array */
        bool kept = z->text.name && !strcmp(z->text.name, name) && z->text_size <= MAX_TEXT;
        return kept ? read_kept_text(z, out, e) : NN_OK;
    }
    nn_code code = zip_member_check(z->path, z->file_size, &st, e);
    if (code) return code;
    if (st.size > MAX_TEXT)
        return nn_fail(e, NN_ERROR_FORMAT, "%s: member \"%s\" is too long for a text (%llu bytes)", z->path,
                       name, (unsigned long long)st.size);
    char *text = malloc((size_t)st.size + 1);
    if (!text) return nn_fail_memory(e, name);
    zip_file_t *f = zip_fopen_index(zip, st.index, 0);
    char beyond;
    if (!f || !zip_member_read(f, text, st.size) || zip_fread(f, &beyond, 1) != 0)
        code = zip_member_fail(z->path, zip, name, f, e);
    else if (memchr(text, '\0', (size_t)st.size))
        code = nn_fail(e, NN_ERROR_FORMAT, "%s: member \"%s\" is not text", z->path, name);
    if (f) zip_fclose(f);
    if (code)
        free(text);
    else
        text[st.size] = '\0', *out = text;
    return code;
}
