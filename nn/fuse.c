/* fuse.c - makes few nodes of many, without changing what is computed.
 *
 *   conv -> map -> map        one conv with two steps: values never leave the registers' tile in between
 *   conv -> batch norm        one conv with other weights
 *   map(leaky) -> conv        one conv that applies the leaky ReLU as it reads
 *
 * A map takes over its producer when it is the only reader: the merged node stands where the map stood, so
 * all operands have been computed by then. */
#include "plan.h"

static bool takes_steps(const nn_node *n) {
    return n->op == NN_OP_conv || n->op == NN_OP_map || n->op == NN_OP_layer_norm ||
           n->op == NN_OP_group_norm;
}

static bool same_shape(const nn_node *a, const nn_node *b) {
    return a->shape.h == b->shape.h && a->shape.w == b->shape.w && a->shape.c == b->shape.c;
}

static bool absorbable(const nn_node *producer, const nn_node *map) {
    return takes_steps(producer) && producer->uses == 1 && !producer->output && same_shape(producer, map) &&
           producer->branch == map->branch && producer->weights == map->weights &&
           producer->wide == map->wide && producer->n_steps + map->n_steps <= NN_MAX_STEPS &&
           producer->n_in + map->n_in - 1 <= NN_MAX_IN;
}

/* Sets uses of every node that an output depends on; all others are dead. */
static void count_uses(nn_graph *g) {
    for (int i = 0; i < g->count; i++) g->node[i]->uses = 0;
    for (int i = g->count - 1; i >= 0; i--) {
        nn_node *n = g->node[i];
        if (n->dead || (!n->uses && !n->output && n->op != NN_OP_input)) {
            n->dead = true;
            continue;
        }
        for (int k = 0; k < n->n_in; k++) n->in[k]->uses++;
    }
}

/* a + b where only b's producer can take the step: b + a. A single-step binary map only. */
static void swap_operands(nn_node *map) {
    nn_step *s = &map->steps[0];
    if (map->n_steps != 1 || s->operand != 1 || !same_shape(map->in[0], map->in[1])) return;
    bool first = absorbable(map->in[0], map), second = absorbable(map->in[1], map);
    if (!second || (first && map->in[0]->index > map->in[1]->index)) return;
    nn_node *t = map->in[0];
    map->in[0] = map->in[1];
    map->in[1] = t;
    if (s->kind == NN_STEP_SUB)
        s->kind = NN_STEP_RSUB;
    else if (s->kind == NN_STEP_RSUB)
        s->kind = NN_STEP_SUB;
}

/* `map` becomes its producer with map's steps behind the producer's own. */
static void absorb(nn_node *map) {
    nn_node *p = map->in[0];
    nn_node merged = *p;
    merged.index = map->index;
    merged.output = map->output;
    merged.uses = map->uses;
    bool fold = p->op == NN_OP_conv && !p->n_steps && !p->u.conv.batch_norm && map->n_steps == 1 &&
                map->steps[0].kind == NN_STEP_AFFINE;
    if (fold)
        merged.u.conv.batch_norm = map->steps[0].name;
    else
        for (int i = 0; i < map->n_steps; i++) {
            nn_step s = map->steps[i];
            if (s.operand >= 0) {
                merged.in[merged.n_in] = map->in[s.operand];
                s.operand = merged.n_in++;
            }
            merged.steps[merged.n_steps++] = s;
        }
    p->dead = true;
    *map = merged;
}

/* Every reader is a convolution that reads it as its input: they may apply it themselves. */
static bool read_by_convs_only(const nn_graph *g, const nn_node *map) {
    for (int i = map->index + 1; i < g->count; i++) {
        const nn_node *n = g->node[i];
        if (n->dead) continue;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] == map && (k > 0 || n->op != NN_OP_conv || n->u.conv.pre.kind != NN_STEP_COUNT))
                return false;
    }
    return true;
}

static void push_into_readers(nn_graph *g, nn_node *map) {
    const nn_step *s = &map->steps[0];
    bool cheap = s->kind == NN_STEP_RELU || s->kind == NN_STEP_LEAKY_RELU || s->kind == NN_STEP_SCALE;
    if (map->n_steps != 1 || !cheap || map->output || !read_by_convs_only(g, map)) return;
    for (int i = map->index + 1; i < g->count; i++) {
        nn_node *n = g->node[i];
        if (n->dead || !n->n_in || n->in[0] != map) continue;
        n->u.conv.pre = *s;
        n->in[0] = map->in[0];
    }
    map->dead = true;
}

void nn_graph_fuse(nn_graph *g) {
    count_uses(g);
    for (int i = 0; i < g->count; i++) {
        nn_node *n = g->node[i];
        if (n->dead || n->op != NN_OP_map) continue;
        swap_operands(n);
        if (absorbable(n->in[0], n)) absorb(n);
    }
    for (int i = 0; i < g->count; i++) {
        nn_node *n = g->node[i];
        if (!n->dead && n->op == NN_OP_map) push_into_readers(g, n);
    }
    count_uses(g);
}
