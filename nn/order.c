/* order.c - in which order a plan's nodes stand, for devices that compute several at a time.
 *
 *   before   a1 a2 a3 b1 b2 b3 c1 c2 c3 +          each waits for the one before it
 *   after    a1 b1 c1 | a2 b2 c2 | a3 b3 c3 | +    those of a rank wait for nothing of their rank
 *
 * A small node does not fill a large device, so what does not depend on each other stands side by side: nodes are ranked by
 * how many others must follow them, which puts each as late as it can stand, so that values lie about as briefly as may be.
 * Large values stay in the graph's order, which keeps few of them at a time; stretches between them are ranked by themselves.
 * Branch 1, which has a queue of its own or is as well done first, stands before branch 0, which may read it. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

static bool is_large(const nn_plan *p, const nn_node *n) {
    return nn_elements(n->shape) * nn_plan_value_bytes(p, n) > p->device->overlap_bytes;
}

/* Ranks nodes [from, to) and sorts them, the highest first. position: of a node by its index in the graph. */
static void rank(nn_plan *p, int from, int to, int *rank_of, const int *position, nn_node **sorted) {
    int highest = 0, used = from;
    for (int i = to - 1; i >= from; i--) {
        const nn_node *n = p->node[i];
        if (rank_of[i] > highest) highest = rank_of[i];
        for (int k = 0; k < n->n_in; k++) {
            const int at = position[n->in[k]->index], least = rank_of[i] + (n->view ? 0 : 1);
            if (at >= from && rank_of[at] < least) rank_of[at] = least;
        }
    }
    for (int branch = 1; branch >= 0; branch--)
        for (int r = highest; r >= 0; r--) {
            const int first = used;
            for (int i = from; i < to; i++)
                if (rank_of[i] == r && p->node[i]->branch == branch) sorted[used++] = p->node[i];
            for (int i = first; i < used; i++) p->rank[i] = (nn_rank){first, used - 1};
        }
    memcpy(p->node + from, sorted + from, (size_t)(to - from) * sizeof *sorted);
}

nn_code nn_plan_order(nn_plan *p, nn_error *e) {
    const size_t n = (size_t)p->count, nodes = (size_t)p->graph->count;
    nn_node **sorted = calloc(n + 1, sizeof *sorted);
    int *rank_of = calloc(n + 1, sizeof *rank_of), *position = calloc(nodes + 1, sizeof *position);
    p->rank = calloc(n + 1, sizeof *p->rank);
    nn_code code = NN_OK;
    if (!sorted || !rank_of || !position || !p->rank) {
        code = nn_fail_memory(e, "a plan");
        goto done;
    }
    for (int i = 0; i < p->count; i++) {
        position[p->node[i]->index] = i;
        p->rank[i] = (nn_rank){i, i};
    }
    for (int from = 0, to; from < p->count; from = to + 1) {
        for (to = from; to < p->count && !is_large(p, p->node[to]); to++) {
        }
        if (to - from > 1) rank(p, from, to, rank_of, position, sorted);
    }
done:
    free(sorted);
    free(rank_of);
    free(position);
    return code;
}
