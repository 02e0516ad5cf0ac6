/* npz.h - NumPy's archive of arrays: a zip of .npy members (stored or deflated), read through libzip.
 *
 * Reading is strict: every header is checked against the member's size before anything is allocated from it;
 * Fortran order, object arrays and big-endian data are refused with a message that names file and member.
 * Besides arrays an archive may hold text members (config.json), which numpy.load ignores.
 * Format: NEP 1 (numpy.lib.format), versions 1.0, 2.0 and 3.0. */
#ifndef NN_NPZ_H
#define NN_NPZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "error.h"

enum { NPZ_MAX_RANK = 8 };

typedef enum npz_dtype {
    NPZ_F16, NPZ_F32, NPZ_F64, NPZ_I8, NPZ_U8, NPZ_I16, NPZ_U16, NPZ_I32, NPZ_U32, NPZ_I64, NPZ_U64, NPZ_BOOL,
    NPZ_BF16,               /* stored as numpy's '<V2' (ml_dtypes' bfloat16 does the same) */
    NPZ_C64, NPZ_C128,
} npz_dtype;

typedef struct npz_array {
    const char *name;       /* member name without .npy; owned by the npz */
    npz_dtype dtype;
    int rank;               /* 0 .. NPZ_MAX_RANK */
    int64_t shape[NPZ_MAX_RANK];
    uint64_t count;         /* elements */
    uint64_t bytes;         /* of data */
} npz_array;

typedef struct npz npz;

/* Opens an archive and reads all headers. A file that is no zip, truncated or empty is NN_ERROR_FORMAT. */
nn_code npz_open(npz **out, const char *path, nn_error *e);
void npz_close(npz *z);                                   /* NULL is fine */
const char *npz_path(const npz *z);
size_t npz_count(const npz *z);
const npz_array *npz_at(const npz *z, size_t i);
const npz_array *npz_find(const npz *z, const char *name); /* NULL where absent; O(1) */

/* The array's bytes as stored, into dst [a->bytes]. Checks the zip's CRC. Several threads may read arrays at once. */
nn_code npz_read(npz *z, const npz_array *a, void *dst, nn_error *e);

/* Any float, integer or bool array as float32, into dst [a->count]. */
nn_code npz_read_f32(npz *z, const npz_array *a, float *dst, nn_error *e);

/* The text member `member` (e.g. "config.json"), NUL-terminated, malloc'd, in *out; *out = NULL where absent. */
nn_code npz_read_text(npz *z, const char *member, char **out, nn_error *e);

size_t npz_dtype_size(npz_dtype t);
const char *npz_dtype_name(npz_dtype t);                  /* "float32", as numpy says it */
const char *npz_dtype_descr(npz_dtype t);                 /* "<f4", as a .npy header says it */

/* count and bytes from dtype and shape; false where they overflow, even beside an axis of length 0. */
bool npz_array_measure(npz_array *a);

/* count elements as float32 into dst; false where the dtype holds no real numbers (complex). src is aligned for it. */
bool npz_to_f32(npz_dtype t, float *dst, const void *src, size_t count);
void npz_f16_to_f32(float *dst, const uint16_t *src, size_t count);
void npz_bf16_to_f32(float *dst, const uint16_t *src, size_t count);

/* Writing: members go to a temporary file PATH.part-... beside `path` as they come, so no tensor stays in memory;
 * npz_finish renames it onto `path`, so a file under its final name is always whole. Data is stored, not deflated: weights
 * do not compress. Dates are fixed: the same members give the same bytes. npz_finish and npz_abandon free the writer and
 * leave no temporary file; npz_abandon(NULL) is fine. A name given twice and an archive without members are
 * NN_ERROR_ARGUMENT. */
typedef struct npz_writer npz_writer;
nn_code npz_create(npz_writer **out, const char *path, nn_error *e);
nn_code npz_write(npz_writer *w, const char *name, npz_dtype dtype, int rank, const int64_t *shape,
                  const void *data, nn_error *e);         /* data is copied out before the call returns */
nn_code npz_write_text(npz_writer *w, const char *member, const char *text, nn_error *e);
nn_code npz_finish(npz_writer *w, nn_error *e);
void npz_abandon(npz_writer *w);

#endif
