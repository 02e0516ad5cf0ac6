/* store.h - a finished tile goes to the output. */
#ifndef NN_CPU_STORE_H
#define NN_CPU_STORE_H

#include "kernel.h"
#include "vector.h"

/* Rows of tile [rows][NN_NR] to output rows row[r] (-1: not kept), channels channel .. channel+channels-1. */
static inline void nn_store_rows(const nn_call *c, const float *tile, const ptrdiff_t *row, int rows, int channel, int channels) {
    const int width = c->node->shape.c;
    for (int r = 0; r < rows; r++) {
        if (row[r] < 0) continue;
        float *to = c->out + row[r] * width + channel;
        const float *from = tile + r * NN_NR;
        if (channels == NN_NR) {
            nn_store(to, nn_load(from));
            nn_store(to + NN_VW, nn_load(from + NN_VW));
        } else
            memcpy(to, from, (size_t)channels * sizeof *to);
    }
}

#endif
