/* zip_member.c - see zip_member.h. */
#include "zip_member.h"

enum { DEFLATE_RATIO = 1032 }; /* a deflate stream unpacks to at most this many times its size */

bool zip_member_read(zip_file_t *f, void *dst, uint64_t n) {
    char *p = dst;
    while (n > 0) {
        zip_int64_t got = zip_fread(f, p, n);
        if (got <= 0) return false;
        p += got;
        n -= (uint64_t)got;
    }
    return true;
}

nn_code zip_member_fail(const char *path, zip_t *zip, const char *name, zip_file_t *f, nn_error *e) {
    zip_error_t *ze = f ? zip_file_get_error(f) : zip_get_error(zip);
    const char *why = zip_error_code_zip(ze) ? zip_error_strerror(ze) : "it ends early";
    return nn_fail(e, NN_ERROR_FORMAT,
                   "%s: member \"%s\" cannot be read (%s); the file is damaged, get it again", path, name,
                   why);
}

nn_code zip_member_check(const char *path, uint64_t file_size, const zip_stat_t *st, nn_error *e) {
    const zip_uint64_t need =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((st->valid & need) != need || st->encryption_method != ZIP_EM_NONE ||
        (st->comp_method != ZIP_CM_STORE && st->comp_method != ZIP_CM_DEFLATE))
        return nn_fail(e, NN_ERROR_FORMAT,
                       "%s: member \"%s\" is neither stored nor deflated; pack it again without encryption",
                       path, st->name);
    bool fits = st->comp_size <= file_size &&
                (st->comp_method == ZIP_CM_STORE ? st->size == st->comp_size
                                                 : st->size / DEFLATE_RATIO <= st->comp_size);
    if (!fits)
        return nn_fail(e, NN_ERROR_FORMAT,
                       "%s: member \"%s\" claims %llu bytes, more than the file can hold; it is damaged",
                       path, st->name, (unsigned long long)st->size);
    return NN_OK;
}
