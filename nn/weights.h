/* weights.h - a checkpoint's tensors: found by name, checked, read as float32, and kept in packed form.
 *
 * Life of a weight: nn_weights_open reads names and shapes only. Planning a graph asks for each tensor by its
 * state-dict name, folds and packs it once, and keeps the packed form here; after that the raw tensor is not in
 * memory. A second plan of any length finds everything packed, so a set of weights is immutable from its users'
 * point of view and may be shared by threads (a mutex guards the packing). */
#ifndef NN_WEIGHTS_H
#define NN_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "archive.h"
#include "error.h"

enum { NN_WEIGHT_RANK = 8 };

typedef struct nn_weights nn_weights;

typedef struct nn_weight {
    const char *name;             /* state-dict name; owned by the nn_weights */
    const char *dtype;            /* "float32", ... as stored */
    int rank;
    int64_t shape[NN_WEIGHT_RANK];
    int64_t count;                /* elements */
    bool used;                    /* some graph has asked for it */
} nn_weight;

/* Opens a checkpoint of any format that archive.h reads; reads names and shapes, and its JSON as config. */
nn_code nn_weights_open(nn_weights **out, const char *path, nn_error *e);

/* How a stored tensor becomes a weight: axis i of the weight is axis `axis[i]` of the stored one; rank 0: as is. */
typedef struct nn_weight_transform {
    int8_t rank, axis[NN_WEIGHT_RANK];
} nn_weight_transform;

/* A stored tensor under the name the graphs ask for. */
typedef struct nn_weight_alias {
    const npz_array *stored;      /* of the archive */
    const char *name;             /* state-dict name; copied */
    nn_weight_transform transform;
} nn_weight_alias;

/* A set of the aliases' tensors [n] under their names; aliases NULL: all of the archive under their own. The config is
 * config_json, or the archive's JSON where that is NULL. The archive is taken over, also on failure. A name given
 * twice, or axes that are no permutation of the tensor's, is an NN_ERROR_ARGUMENT. */
nn_code nn_weights_from(nn_weights **out, nn_archive *a, const nn_weight_alias *aliases, size_t n,
                        const char *config_json, nn_error *e);

/* The transform's shape of a stored shape, into shape [NN_WEIGHT_RANK]; false where the axes are no permutation. */
bool nn_weight_shape(const nn_weight_transform *t, const npz_array *stored, int64_t *shape);

/* Elements of `size` bytes (1, 2, 4, 8 or 16) from stored order (src) to the weight's order (dst). */
void nn_weight_permute(const nn_weight_transform *t, const npz_array *stored, size_t size, void *dst,
                       const void *src);

/* An empty set to be filled by nn_weights_add (tests, importers). `label` stands for the path in messages. */
nn_code nn_weights_new(nn_weights **out, const char *label, nn_error *e);
nn_code nn_weights_add(nn_weights *w, const char *name, int rank, const int64_t *shape, const float *data,
                       nn_error *e);      /* data [product of shape] is copied */
void nn_weights_free(nn_weights *w);      /* NULL is fine */

const char *nn_weights_path(const nn_weights *w);
const char *nn_weights_config(const nn_weights *w);       /* JSON text, or NULL */
void nn_weights_set_config(nn_weights *w, const char *json);   /* copied; NULL: none */
size_t nn_weights_count(const nn_weights *w);
const nn_weight *nn_weights_at(const nn_weights *w, size_t i);

/* The tensor of that name, or NULL; marks nothing. */
const nn_weight *nn_weights_peek(const nn_weights *w, const char *name);

/* The tensor `name` as float32 in a fresh 64-byte-aligned buffer (free with free()), marked as used. Wanted is
 * its shape, or rank -1 for any. A missing tensor, another shape, NaN or infinity is an NN_ERROR_MODEL that
 * names file and tensor and both shapes. */
nn_code nn_weights_load(nn_weights *w, const char *name, int rank, const int64_t *shape, float **out, nn_error *e);

/* The packed store: blobs by key. keep() takes ownership of blob (freed with free()); when the key is there
 * already, blob is freed and the kept one returned. NULL, and blob freed: out of memory. Thread-safe. */
const void *nn_weights_packed(nn_weights *w, const char *key);
const void *nn_weights_keep(nn_weights *w, const char *key, void *blob, size_t bytes);
size_t nn_weights_packed_bytes(nn_weights *w);

/* The same for a blob that may be saved on disk and mapped by a later run (packed.h): large, and such that whoever reads
 * it back can tell from its own knowledge whether it is what it should be. */
const void *nn_weights_keep_lasting(nn_weights *w, const char *key, void *blob, size_t bytes);

/* A blob that came from disk, *bytes long; NULL where none did. Its bytes are those that were once written, but who wrote
 * them is unknown: nothing in it may be used as a size or an index before it has been checked. */
const void *nn_weights_restored(nn_weights *w, const char *key, size_t *bytes);

/* For packed.c: the lasting blobs (data NULL: not a lasting one), and a mapping that is given to the set, which unmaps it
 * when it is freed. Not for several threads at once. */
typedef struct nn_packed_blob {
    const char *key;
    const void *data;
    size_t bytes;
    bool mapped;
} nn_packed_blob;
size_t nn_weights_packed_count(nn_weights *w);
nn_packed_blob nn_weights_packed_at(nn_weights *w, size_t i);
bool nn_weights_adopt(nn_weights *w, void *mapping, size_t bytes);     /* false: it has one already */
/* The same for a set in use: takes the mapping in place of the one it has, if any. The i-th of the lasting blobs now lies
 * at offset[i] of it, and what was allocated for it is freed. */
void nn_weights_settle(nn_weights *w, void *mapping, size_t bytes, const size_t *offset);
bool nn_weights_keep_mapped(nn_weights *w, const char *key, const void *data, size_t bytes);   /* false: out of memory */
const char *nn_weights_file(const nn_weights *w);     /* the file the tensors come from; NULL for sets in memory */

/* Gives back the memory of the blobs that are mapped: their pages come again from the file, or rather from the system's
 * cache of it, when they are next read. Harmless to whoever is reading them now. NULL is fine. */
void nn_weights_rest(nn_weights *w);

/* Held while packing, so that two threads do not pack the same tensor (recursive). */
void nn_weights_lock(nn_weights *w);
void nn_weights_unlock(nn_weights *w);

#endif
