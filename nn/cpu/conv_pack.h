/* conv_pack.h - a convolution's weights as the shifted-rows product reads them (conv.c, tile.h). */
#ifndef NN_CPU_CONV_PACK_H
#define NN_CPU_CONV_PACK_H

#include <stddef.h>
#include "../graph.h"

enum { NN_CONV_TAPS = 256 };          /* segments in a phase, at most */

typedef struct nn_conv_tap { int dy, dx; } nn_conv_tap;    /* offset of the input read from the output's place */

typedef struct nn_conv_phase {
    int y, x;                         /* which outputs: rows y, y+s, ... and columns x, x+s, ... */
    int taps, merged;                 /* segments, and taps side by side in each; ascending offsets */
    size_t at, group_floats, panel_floats;   /* panels: at + group * group_floats + panel * panel_floats */
    nn_conv_tap tap[NN_CONV_TAPS];
} nn_conv_phase;

typedef struct nn_conv_pack {
    int phases, panels;               /* panels of a group */
    bool pairs;                       /* of bfloat16 instead of floats: two input channels in one line */
    size_t floats_at;                 /* byte offset of the panels in this blob, a multiple of 64 */
    nn_conv_phase phase[];
} nn_conv_pack;

static inline const nn_conv_phase *nn_conv_phase_at(const nn_conv_pack *k, int f) { return &k->phase[f]; }

static inline const float *nn_conv_panel(const nn_conv_pack *k, const nn_conv_phase *phase, int group, int panel) {
    return (const float *)(const void *)((const char *)k + k->floats_at) + phase->at +
           (size_t)group * phase->group_floats + (size_t)panel * phase->panel_floats;
}

/* The layer can be done in pairs of channels, and is large enough to gain by it. */
static inline bool nn_conv_pairs(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    const int channels = n->in[0]->shape.c / p->groups;
    return !p->exact && channels % 2 == 0 && channels * p->kernel_h * p->kernel_w >= 64;
}

/* Finds or makes the packed weights of conv node n for panels of 2*vector channels and appends them to n->blob[]. */
nn_code nn_conv_pack_weights(nn_node *n, nn_weights *w, int vector, bool pairs, const char *isa, nn_error *e);

#endif
