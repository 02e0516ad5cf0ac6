/* pack.h - weights into a kernel's own layout, once per checkpoint.
 *
 * A packed blob is found under "STEM|KIND" in the nn_weights, which owns it; a layout that depends on the
 * vector's width has the instruction set's name in KIND. Whoever finds no blob makes one, under the lock. */
#ifndef NN_CPU_PACK_H
#define NN_CPU_PACK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel.h"

enum { NN_PACK_NAME = 1024 };

#define NN_PACK_STRING_(x) #x
#define NN_PACK_STRING(x) NN_PACK_STRING_(x)
#define NN_PACK_KIND(op) op "|" NN_PACK_STRING(NN_ISA)

/* Makes the blob *out [*bytes] of node n's weights under `stem`; it comes from nn_pack_new. */
typedef nn_code nn_pack_make(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                             nn_error *e);

/* `floats` zeros at a multiple of 64 bytes, for free(); NULL: out of memory. */
static inline float *nn_pack_new(size_t floats, size_t *bytes) {
    *bytes = (floats * sizeof(float) + 63) / 64 * 64;
    float *p = aligned_alloc(64, *bytes);
    if (p) memset(p, 0, *bytes);
    return p;
}

static inline nn_code nn_pack_join(char name[NN_PACK_NAME], const char *stem, const char *rest, nn_error *e) {
    if (snprintf(name, NN_PACK_NAME, "%s%s", stem, rest) < NN_PACK_NAME) return NN_OK;
    return nn_fail(e, NN_ERROR_MODEL, "layer name %.60s... is longer than %d bytes", stem, NN_PACK_NAME);
}

/* The tensor STEM + SUFFIX of that shape, for free(). */
static inline nn_code nn_pack_load(float **out, nn_weights *w, const char *stem, const char *suffix, int rank,
                                   const int64_t *shape, nn_error *e) {
    char name[NN_PACK_NAME];
    nn_code code = nn_pack_join(name, stem, suffix, e);
    return code ? code : nn_weights_load(w, name, rank, shape, out, e);
}

static inline bool nn_pack_has(nn_weights *w, const char *stem, const char *suffix) {
    char name[NN_PACK_NAME];
    return !nn_pack_join(name, stem, suffix, NULL) && nn_weights_peek(w, name);
}

/* Appends the blob of `stem` and `kind` to n->blob[], made now or before. */
static inline nn_code nn_pack_once(nn_node *n, nn_weights *w, const char *stem, const char *kind,
                                   nn_pack_make *make, nn_error *e) {
    char key[NN_PACK_NAME], tail[80];
    snprintf(tail, sizeof tail, "|%s", kind);
    nn_code code = nn_pack_join(key, stem, tail, e);
    if (code) return code;
    if (n->n_blobs == NN_MAX_BLOBS)
        return nn_fail(e, NN_ERROR_MODEL, "%s: more than %d sets of weights in one node", stem, NN_MAX_BLOBS);
    nn_weights_lock(w);
    const void *blob = nn_weights_packed(w, key);
    if (!blob) {
        float *fresh = NULL;
        size_t bytes = 0;
        code = make(&fresh, &bytes, n, stem, w, e);
        if (!code) blob = nn_weights_keep(w, key, fresh, bytes);
        if (!code && !blob) code = nn_fail_memory(e, key);
    }
    nn_weights_unlock(w);
    if (!code) n->blob[n->n_blobs++] = blob;
    return code;
}

/* A blob of two vectors of `channels` floats, STEM + SUFFIX each; the second stands `apart` floats after the
 * first. */
static inline nn_code nn_pack_pair(float **out, size_t *bytes, nn_weights *w, const char *stem,
                                   const char *const suffix[2], int channels, int apart, nn_error *e) {
    *out = nn_pack_new(2 * (size_t)apart, bytes);
    nn_code code = *out ? NN_OK : nn_fail_memory(e, stem);
    for (int i = 0; i < 2 && !code; i++) {
        float *part = NULL;
        code = nn_pack_load(&part, w, stem, suffix[i], 1, (int64_t[]){channels}, e);
        if (!code) memcpy(*out + (size_t)i * (size_t)apart, part, (size_t)channels * sizeof(float));
        free(part);
    }
    if (code) {
        free(*out);
        *out = NULL;
    }
    return code;
}

#endif
