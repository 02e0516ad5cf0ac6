/* layout.c - where every value lies in the slab.
 *
 * A value lives from the node that makes it, or the first that stands beside that (order.c), to its last reader. Values that
 * never live at the same time may share bytes; a node that only works element by element writes over an operand that dies
 * with it, unless a node beside it reads that too. Blocks are placed largest first at the lowest offset that is free during
 * their whole life. A view has no block: it lives in that of what it is a view of, which lives as long as all its views.
 *
 * Branch 1 may run beside branch 0 until the first node of branch 0 that reads from it, the join. So what
 * branch 0 has before the join shares nothing with branch 1, wherever in the list the two stand. */
#include "plan.h"

#include <stdlib.h>

enum { ALIGN = 64, TAIL = 256 }; /* kernels may read a vector or two beyond a value's end */
enum { VIEW_ALIGN = 16 };        /* of what shaders read in one piece */

typedef struct block {
    size_t bytes, offset;
    int from, to; /* positions in plan->node, inclusive */
    int branch;
} block;

static bool same_size(const nn_node *a, const nn_node *b) {
    return a->shape.h == b->shape.h && a->shape.w == b->shape.w && a->shape.c == b->shape.c;
}

static const nn_node *owner(const nn_node *n) {
    while (n->view) n = n->in[0];
    return n;
}

/* Whether a node beside n, which stands at `position`, reads from the block of t. */
static bool is_read_beside(const nn_plan *p, int position, const nn_node *t) {
    const nn_rank r = p->rank[position];
    for (int i = r.first; i <= r.last; i++)
        for (int k = 0; i != position && k < p->node[i]->n_in; k++)
            if (owner(p->node[i]->in[k]) == owner(t)) return true;
    return false;
}

/* The operand whose block n may write over, or -1: one that only steps read, of n's shape, that dies here. */
static int reusable(const nn_plan *p, const nn_node *n, int position, const int *last, const int *slot) {
    if (n->op != NN_OP_map && !n->n_steps) return -1;
    int own = n->op == NN_OP_map ? 0 : n->n_in; /* inputs before `own` are read out of step with the output */
    if (n->op != NN_OP_map)
        for (int s = 0; s < n->n_steps; s++)
            if (n->steps[s].operand >= 0 && n->steps[s].operand < own) own = n->steps[s].operand;
    for (int k = own; k < n->n_in; k++) {
        const nn_node *t = n->in[k];
        if (t->output || t->is_index || t->wide != n->wide || last[t->index] != position ||
            !same_size(t, n) || is_read_beside(p, position, t))
            continue;
        bool read_elsewhere = false; /* a view's rows are not n's */
        for (int j = 0; j < n->n_in; j++)
            read_elsewhere |= slot[n->in[j]->index] == slot[t->index] && (j < own || n->in[j]->view);
        if (!read_elsewhere) return k;
    }
    return -1;
}

static int by_size(const void *a, const void *b) {
    const block *x = *(block *const *)a, *y = *(block *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->from - y->from;
}

static int by_offset(const void *a, const void *b) {
    const block *x = *(block *const *)a, *y = *(block *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool at_once(const block *a, const block *b, int join) {
    if (a->branch != b->branch && (a->branch ? b : a)->from < join) return true;
    return a->from <= b->to && b->from <= a->to;
}

int nn_plan_join(const nn_plan *p) {
    for (int i = 0; i < p->count; i++)
        for (int k = 0; !p->node[i]->branch && k < p->node[i]->n_in; k++)
            if (p->node[i]->in[k]->branch) return i;
    return p->count;
}

/* Places blocks [n]; `order` and `busy` are room for n pointers. Returns the slab's size. */
static size_t place(block *blocks, int n, int join, block **order, block **busy) {
    size_t total = 0;
    for (int i = 0; i < n; i++) order[i] = &blocks[i];
    qsort(order, (size_t)n, sizeof *order, by_size);
    for (int i = 0; i < n; i++) {
        block *b = order[i];
        int m = 0;
        for (int j = 0; j < i; j++)
            if (at_once(order[j], b, join)) busy[m++] = order[j];
        qsort(busy, (size_t)m, sizeof *busy, by_offset);
        size_t at = 0;
        for (int j = 0; j < m && busy[j]->offset < at + b->bytes; j++)
            if (busy[j]->offset + busy[j]->bytes > at) at = busy[j]->offset + busy[j]->bytes;
        b->offset = at;
        if (at + b->bytes > total) total = at + b->bytes;
    }
    return total;
}

size_t nn_plan_value_bytes(const nn_plan *p, const nn_node *n) {
    return n->wide || n->is_index || !p->device->value_bytes ? sizeof(float) : p->device->value_bytes;
}

/* Bytes from the beginning of what a slice is cut from to its own. */
static size_t slice_offset(const nn_plan *p, const nn_node *n) {
    return ((size_t)n->u.slice.row * (size_t)n->in[0]->shape.c + (size_t)n->u.slice.from) *
           nn_plan_value_bytes(p, n);
}

void nn_plan_find_views(nn_plan *p) {
    for (int i = 0; i < p->count; i++) {
        nn_node *n = p->node[i];
        const nn_node *whole = n->op == NN_OP_slice ? n->in[0] : NULL;
        n->view = whole && !whole->is_index && whole->branch == n->branch &&
                  (whole->shape.c == n->shape.c || nn_rows(whole->shape) == 1) &&
                  slice_offset(p, n) % VIEW_ALIGN == 0;
    }
}

nn_code nn_plan_layout(nn_plan *p, nn_error *e) {
    size_t nodes = (size_t)p->graph->count, n = (size_t)p->count;
    int *last = calloc(nodes + 1, sizeof *last), *slot = calloc(nodes + 1, sizeof *slot);
    block *blocks = calloc(2 * n + 1, sizeof *blocks);
    block **order = calloc(4 * n + 2, sizeof *order);
    nn_code code = NN_OK;
    if (!last || !slot || !blocks || !order) {
        code = nn_fail_memory(e, "a plan");
        goto done;
    }
    for (int i = 0; i < p->count; i++) {
        const nn_node *m = p->node[i];
        last[m->index] = i;
        if (m->output) last[owner(m)->index] = p->count;
        for (int k = 0; k < m->n_in; k++)
            if (last[owner(m->in[k])->index] < i) last[owner(m->in[k])->index] = i;
    }
    int used = 0;
    for (int i = 0; i < p->count; i++) {
        nn_node *m = p->node[i];
        if (m->view) {
            slot[m->index] = slot[m->in[0]->index];
            continue;
        }
        int reuse = m->op == NN_OP_input ? -1 : reusable(p, m, i, last, slot);
        if (reuse >= 0) {
            slot[m->index] = slot[m->in[reuse]->index];
            block *b = &blocks[slot[m->index]];
            if (b->to < last[m->index]) b->to = last[m->index];
        } else {
            size_t bytes =
                (nn_elements(m->shape) * nn_plan_value_bytes(p, m) + TAIL + ALIGN - 1) & ~(size_t)(ALIGN - 1);
            slot[m->index] = used;
            blocks[used++] =
                (block){bytes, 0, m->op == NN_OP_input ? -1 : p->rank[i].first, last[m->index], m->branch};
        }
    }
    int values = used;
    for (int i = 0; i < p->count; i++) /* workspaces follow, in node order */
        if (p->node[i]->workspace)
            blocks[used++] = (block){(p->node[i]->workspace + ALIGN - 1) & ~(size_t)(ALIGN - 1), 0,
                                     p->rank[i].first, i, p->node[i]->branch};
    p->slab_bytes = place(blocks, used, nn_plan_join(p), order, order + 2 * n + 1);
    for (int i = 0; i < p->count; i++) {
        nn_node *m = p->node[i];
        m->offset = m->view ? m->in[0]->offset + slice_offset(p, m) : blocks[slot[m->index]].offset;
        if (m->workspace) m->workspace_offset = blocks[values++].offset;
    }
done:
    free(last);
    free(slot);
    free(blocks);
    free(order);
    return code;
}
