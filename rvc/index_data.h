/* index_data.h - what index.c finds in a file and retrieval.c searches. Private to the two. */
#ifndef RVC_INDEX_DATA_H
#define RVC_INDEX_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "index.h"

typedef nn_loose_id rvc_index_id;  /* as it lies in the file */
typedef nn_vector_list index_list; /* rows and ids in the map */

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
