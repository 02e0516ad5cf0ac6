/* cost.h - what a plan's nodes have to do at least, what they took, and what a device can do at most.
 *
 * Operations are those of the direct form. Bytes are what must pass between memory and the arithmetic if nothing is read or
 * written twice: every tensor a node reads, its weights and its result, once each, as large as the device keeps them. */
#ifndef NN_COST_H
#define NN_COST_H

#include "nn.h"

/* A device's ceilings, as measured: operations a second on float16 and on float32 numbers, bytes a second. */
typedef struct nn_peak { double f16, f32, bytes; } nn_peak;

typedef struct nn_cost {
    const char *kind;     /* "attention": the op; convolutions by what they are: "linear", "conv1d", "conv_transpose2d", ... */
    const char *layer;    /* stem of its weights; of a node without: of the one its first input comes from; "": none */
    bool f16;             /* its products are of float16 numbers */
    double flops, bytes;
    double seconds;       /* in the last run under profile; 0: there was none */
} nn_cost;

int nn_plan_nodes(const nn_plan *p);                /* that run: inputs and views are none */
nn_cost nn_plan_cost(const nn_plan *p, int i);      /* of node 0 .. nodes-1, in order */

#endif
