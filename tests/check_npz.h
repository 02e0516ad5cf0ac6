/* check_npz.h - arrays of a reference archive, for tests: read whole, or the test fails. */
#ifndef TESTS_CHECK_NPZ_H
#define TESTS_CHECK_NPZ_H

#include "../nn/npz.h"
#include "check.h"

/* Array `name` of the archive `path` as float32 [*count] (count may be NULL); caller frees. */
static inline float *check_array(const char *path, const char *name, size_t *count) {
    nn_error e = {0};
    npz *z = NULL;
    if (npz_open(&z, path, &e)) fail_msg("%s", e.text);
    const npz_array *a = npz_find(z, name);
    if (!a) fail_msg("%s has no array %s", path, name);
    float *x = malloc((size_t)a->count * sizeof *x + 1);
    assert_non_null(x);
    if (npz_read_f32(z, a, x, &e)) fail_msg("%s", e.text);
    if (count) *count = (size_t)a->count;
    npz_close(z);
    return x;
}

#endif
