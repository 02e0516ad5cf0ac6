/* index_data.h - what index.c reads from a file and retrieval.c searches. Private to the two. */
#ifndef RVC_INDEX_DATA_H
#define RVC_INDEX_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "index.h"

struct rvc_index {
    char *path;
    int width;
    int lists, nprobe; /* 0 lists: flat, every vector is looked at */
    size_t vectors;
    float *centroids; /* [lists][width]; NULL where flat */
    size_t *first;    /* [lists + 1]: list l is vectors first[l] .. first[l+1]-1; NULL where flat */
    float *data;      /* [vectors][width], list after list */
    int64_t *ids;     /* [vectors] */
};

#endif
