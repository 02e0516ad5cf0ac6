/* archive.h - a checkpoint file, whatever its format, as named tensors and a JSON text.
 *
 * The format is recognised by content, never by the file's name: .npz, PyTorch's zip (.pth, .pt, .bin), PyTorch's stream
 * of before 1.6, safetensors. Opening reads names, types and shapes and checks every one of them against the bytes that
 * are there; tensors are read one at a time. Nothing in a file is ever executed: a pickle is data (pickle.h). */
#ifndef NN_ARCHIVE_H
#define NN_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>
#include "error.h"
#include "npz.h"

typedef struct nn_archive nn_archive;

/* Opens `path`. What is none of these formats is an NN_ERROR_FORMAT that says what it seems to be instead (text, HTML, a
 * git-lfs pointer, a FAISS index, ...) and what to do. */
nn_code nn_archive_open(nn_archive **out, const char *path, nn_error *e);
void nn_archive_close(nn_archive *a);                        /* NULL is fine */

const char *nn_archive_path(const nn_archive *a);
const char *nn_archive_format(const nn_archive *a);          /* "npz", "torch zip", "torch legacy", "safetensors" */

/* Tensors in the order of the file; npz_array is their description in every format, owned by the archive. A name is the
 * path of dictionary keys that leads to the tensor, without a wrapping "weight", "model" or "state_dict" key. */
size_t nn_archive_count(const nn_archive *a);
const npz_array *nn_archive_at(const nn_archive *a, size_t i);
const npz_array *nn_archive_find(const nn_archive *a, const char *name);

/* The elements in row-major order, as stored, into dst [t->bytes]; or as float32 into dst [t->count]. Several threads may
 * read at once. */
nn_code nn_archive_read(nn_archive *a, const npz_array *t, void *dst, nn_error *e);
nn_code nn_archive_read_f32(nn_archive *a, const npz_array *t, float *dst, nn_error *e);

/* What the file holds beside tensors, as a JSON object: config.json of an .npz (or NAME.json beside it), the numbers,
 * strings, lists and dictionaries of a pickle ("config", "version", "sr", "f0", "info", ...), __metadata__ of a
 * safetensors file, config.json beside it. NULL where there is none. */
const char *nn_archive_json(const nn_archive *a);

#endif
