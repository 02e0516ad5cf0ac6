/* build.h - what the files that append nodes (graph.c, layers.c) share. */
#ifndef NN_BUILD_H
#define NN_BUILD_H

#include "graph.h"

/* Zeroed memory that lives as long as the graph; NULL (and a recorded error) when there is none. */
void *nn_graph_alloc(nn_graph *g, size_t bytes);

/* Records "FILE: LAYER: text" unless an error is recorded already; always NULL. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
nn_tensor nn_graph_fail(nn_graph *g, const char *name, const char *format, ...);

/* Appends a node; NULL if the graph has failed or an input is NULL. `name` is copied. */
nn_node *nn_node_new(nn_graph *g, nn_op op, const char *name, nn_shape shape, int n_in, nn_tensor const *in);

#endif
