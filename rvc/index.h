/* index.h - FAISS index files as RVC trains them (IVF-Flat "IwFl" over a flat L2 quantizer, or flat "IxF2"/"IxFI"), read
 * without FAISS, and the retrieval of NUMERICS.md: k = 8 nearest by squared L2, weights 1/score^2.
 * Every count is checked against the file's size before it is used. The file stays mapped while the index is open, and its
 * vectors are used where they lie: opening reads no vector, and memory is the system's page cache. It must not be cut short
 * meanwhile. */
#ifndef RVC_INDEX_H
#define RVC_INDEX_H

#include <stddef.h>
#include <stdint.h>
#include "../nn/nn.h"

enum { RVC_RETRIEVAL_K = 8 };

typedef struct rvc_index rvc_index;        /* immutable; shared by threads */

/* A float of a vector in the file, where it may lie at any address; reads as a float. */
typedef nn_loose_float rvc_index_float;

nn_code rvc_index_open(rvc_index **out, const char *path, nn_error *e);
void rvc_index_close(rvc_index *x);                  /* NULL is fine */

/* Whether the index serves a voice whose features are feature_width wide: NN_ERROR_MODEL for one of another width (v1 with v2)
 * and for one without vectors (RVC's trained_*.index, which does open). */
nn_code rvc_index_check(const rvc_index *x, int feature_width, nn_error *e);

const char *rvc_index_path(const rvc_index *x);
const char *rvc_index_type(const rvc_index *x);      /* "IVF-Flat" or "flat" */
int rvc_index_width(const rvc_index *x);             /* 256 (v1) or 768 (v2) */
int64_t rvc_index_vectors(const rvc_index *x);
int rvc_index_lists(const rvc_index *x);             /* 0 for a flat one */
int rvc_index_nprobe(const rvc_index *x);

/* The k nearest of each query: q [n][width] -> scores [n][k] (squared L2, ascending, equal ones by id), ids [n][k]. Where fewer
 * were found the rest is score INFINITY, id -1; vectors that are not finite and negative ids in the file are never found.
 * vectors [n][k], when not NULL, receives pointers to the vectors (NULL for id -1), valid as long as the index.
 * 1 <= k <= 1024. Thread-safe; threads is how many it may start (1: none). */
nn_code rvc_index_search(const rvc_index *x, const float *q, size_t n, int k, float *scores, int64_t *ids,
                         const rvc_index_float **vectors, int threads, nn_error *e);

/* The same vectors for nn_retrieve, as long as the index; a graph takes at most 8 probes. */
nn_vectors rvc_index_data(const rvc_index *x);

/* Blends each row of features [n][width] with what the index holds near it, in place:
 * f = rate * sum_j w_j v_j + (1 - rate) * f, w_j = score_j^-2 normalised; an exact hit gives that vector, an id -1 weighs 0, a
 * row with no neighbour is left alone. */
nn_code rvc_index_retrieve(const rvc_index *x, float *features, size_t n, float rate, int threads, nn_error *e);

#endif
