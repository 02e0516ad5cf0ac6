/* toom_pack.h - which convolutions run as Toom-Cook products, and their transformed weights (toom_cook.h). */
#ifndef NN_CPU_TOOM_PACK_H
#define NN_CPU_TOOM_PACK_H

#include <stddef.h>
#include "../graph.h"

enum { NN_TOOM_TILE = 4, NN_TOOM_POINTS = 7 };   /* outputs of a tile; points, at most */

typedef struct nn_toom_pack {
    int points, pieces;           /* 6 points for 3 taps, 7 for pieces of 4 taps each; 3 taps of stride 2: 5 and the middle tap */
    int segments;                 /* kernel rows: 1 for signals */
    int panels, columns;          /* panels of one or two vectors of output channels */
    size_t panel_floats, bias_at, floats_at;   /* in bytes from the blob's start: bias [panels*columns], panels */
} nn_toom_pack;

static inline const float *nn_toom_bias(const nn_toom_pack *k) {
    return (const float *)(const void *)((const char *)k + k->bias_at);
}
/* Weights of a panel at a point: a line of zeros, then a line per (segment, piece, input channel). */
static inline const float *nn_toom_panel(const nn_toom_pack *k, int panel, int point, size_t point_floats) {
    return (const float *)(const void *)((const char *)k + k->floats_at) + (size_t)panel * k->panel_floats +
           (size_t)point * point_floats;
}

/* Stride 1, one group, 3 taps or more along w, channels that fill vectors, and not so many weights that reading them
 * would cost more than the multiplications saved. Depends on the layer alone, never on the length. */
bool nn_toom_suits(const nn_node *n, int vector);

/* The same with stride 2 and 3 taps (toom_strided.h). */
bool nn_toom_suits_strided(const nn_node *n, int vector);

/* Finds or makes the packed weights of conv node n and appends them to n->blob[]. */
nn_code nn_toom_pack_weights(nn_node *n, nn_weights *w, int vector, const char *isa, nn_error *e);

#endif
