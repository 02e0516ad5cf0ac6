/* index_data.h - what index.c finds in a file and retrieval.c searches. Private to the two. */
#ifndef RVC_INDEX_DATA_H
#define RVC_INDEX_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "index.h"

typedef int64_t rvc_index_id __attribute__((aligned(1))); /* as it lies in the file */

typedef struct index_list {
    const rvc_index_float *rows; /* [count][width], in the map */
    const rvc_index_id *ids;     /* [count], in the map; NULL: 0, 1, 2, ... */
    size_t count;
} index_list;

struct rvc_index {
    char *path;
    void *map; /* the file [map_bytes] */
    size_t map_bytes;
    int width;
    int lists, nprobe; /* 0 lists: flat, every vector is looked at */
    size_t vectors;
    const rvc_index_float *centroids; /* [lists][width], in the map; NULL where flat */
    index_list *list;                 /* [lists]; where flat, the one of all vectors */
};

#endif
