/* plan.h - a planned graph and the interface between the planner and a back end.
 *
 * The planner fuses nodes and lays values out in one slab; a back end packs weights, says how much workspace each node
 * needs, and runs the nodes. A device's plans never run at the same time and keep nothing between runs, so they share
 * one slab, the device's, as large as the largest plan needs. */
#ifndef NN_PLAN_H
#define NN_PLAN_H

#include "graph.h"

typedef struct nn_backend {
    /* Packs weights into node->blob and sets node->workspace for every live node; plan->state is the back end's. */
    nn_code (*prepare)(nn_plan *p, nn_error *e);
    /* The layout is known: makes room for it on the device. */
    nn_code (*reserve)(nn_plan *p, nn_error *e);
    nn_code (*run)(nn_plan *p, nn_error *e);
    void (*write)(nn_plan *p, const nn_node *n, const void *data, size_t bytes);
    void (*read)(nn_plan *p, const nn_node *n, void *data, size_t bytes);
    void (*release)(nn_plan *p);              /* frees plan->state */
    size_t (*bytes)(const nn_plan *p);        /* memory of one run beside the slab */
    void (*close)(nn_device *d);
} nn_backend;

struct nn_device {
    const nn_backend *backend;
    char name[96];
    const char *layout;       /* of packed weights */
    size_t value_bytes;       /* of a value in the slab that is neither wide nor an index; 0: those of a float */
    size_t overlap_bytes;     /* values up to that size are computed side by side where they can be; see order.c */
    int threads;
};

/* Positions of the first and the last node that stand beside a node, itself included. */
typedef struct nn_rank {
    int first, last;
} nn_rank;

struct nn_plan {
    nn_graph *graph;
    nn_device *device;
    nn_node **node;           /* live nodes in order, inputs included */
    nn_rank *rank;            /* [count] */
    int count;
    size_t slab_bytes;
    bool profile;
    double *seconds;          /* [count], under profile */
    void *state;
};

nn_code nn_cpu_open(nn_device **out, nn_precision precision, int threads, nn_error *e);

/* fuse.c: joins element-wise nodes to their neighbours, folds batch norms, marks what nobody needs as dead. */
void nn_graph_fuse(nn_graph *g);

/* order.c: puts side by side what does not depend on each other, and sets plan->rank. */
nn_code nn_plan_order(nn_plan *p, nn_error *e);

/* layout.c: marks the slices that are memory of what they are cut from (nn_node.view). */
void nn_plan_find_views(nn_plan *p);

/* layout.c: sets offset and workspace_offset of the plan's nodes and plan->slab_bytes. */
nn_code nn_plan_layout(nn_plan *p, nn_error *e);

/* Bytes of one of the node's values in the slab. */
size_t nn_plan_value_bytes(const nn_plan *p, const nn_node *n);

/* The position of the first node of branch 0 that reads from branch 1; plan->count: there is none. */
int nn_plan_join(const nn_plan *p);

double nn_node_flops(const nn_node *n);

#endif
