/* names.h - a table from strings to numbers: names of members, tensors and packed weights to places in
 * arrays.
 *
 * Open addressing with linear probing over FNV-1a, at most half full. Keys are borrowed and outlive the
 * table. */
#ifndef NN_NAMES_H
#define NN_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NN_NAMES_NONE SIZE_MAX

typedef struct nn_names_slot {
    const char *key; /* NULL: free */
    size_t value;
} nn_names_slot;

typedef struct nn_names {
    nn_names_slot *slot;    /* [capacity] */
    size_t capacity, count; /* capacity is 0 or a power of two; all zero is an empty table */
} nn_names;

uint64_t nn_names_hash(const char *key);                       /* FNV-1a, 64 bits */
size_t nn_names_find(const nn_names *t, const char *key);      /* NN_NAMES_NONE where absent */
bool nn_names_add(nn_names *t, const char *key, size_t value); /* a new key; false: out of memory */
void nn_names_free(nn_names *t);

#endif
