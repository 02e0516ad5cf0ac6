/* fuse.c - makes few nodes of many, without changing what is computed.
 *
 *   conv -> map -> map        one conv with two steps: values never leave the registers' tile in between
 *   conv -> batch norm        one conv with other weights
 *   conv -> slices            one conv each, of some of the weights' rows: what follows a slice can be its steps
 *   conv -> conv              of one tap each: one conv whose weights are the product of theirs
 *   conv -> flip, flip -> conv    one conv with its weights in another order
 *   map(leaky) -> conv        one conv that applies the leaky ReLU as it reads
 *
 * A node takes over its producer when it is the only reader: the merged node stands where the later one stood, so
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

/* A convolution without steps whose weights are those of the checkpoint. */
static bool is_as_loaded(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    return n->op == NN_OP_conv && !n->n_steps && !p->batch_norm && !p->of && !p->then && !p->flip_in &&
           !p->flip_out;
}

/* ... and whose rows may be taken apart and reordered. */
static bool is_one_matrix_a_tap(const nn_node *n) {
    return n->op == NN_OP_conv && n->u.conv.groups == 1 && !n->u.conv.transposed;
}

static bool is_linear(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    return is_one_matrix_a_tap(n) && p->kernel_h == 1 && p->kernel_w == 1 && p->stride == 1 && !p->pad_h &&
           !p->pad_w && !p->drop_last;
}

/* They are one network's, on the same values, in the same branch. */
static bool same_kind(const nn_node *a, const nn_node *b) {
    return a->branch == b->branch && a->weights == b->weights && a->wide == b->wide;
}

/* n, which reads `producer`, becomes it; what is its own is its place, its shape and who reads it. */
static void become(nn_node *n, const nn_node *producer) {
    nn_node merged = *producer;
    merged.index = n->index;
    merged.shape = n->shape;
    merged.output = n->output;
    merged.uses = n->uses;
    *n = merged;
}

/* The next live node behind position *i that reads x, or NULL. */
static nn_node *next_reader(const nn_graph *g, const nn_node *x, int *i) {
    while (++*i < g->count) {
        nn_node *n = g->node[*i];
        for (int k = 0; !n->dead && k < n->n_in; k++)
            if (n->in[k] == x) return n;
    }
    return NULL;
}

/* Only slices read a linear layer: each makes its own channels. (Of one row they are views, which cost less. Taps would be
 * read, and transformed, by each.) */
static void cut(nn_graph *g, nn_node *conv) {
    if (!is_linear(conv) || !is_as_loaded(conv) || conv->output || nn_rows(conv->shape) == 1) return;
    int channels = 0, slices = 0;
    nn_node *n;
    for (int i = conv->index; (n = next_reader(g, conv, &i)); slices++) {
        if (n->op != NN_OP_slice || nn_rows(n->shape) != nn_rows(conv->shape) || !same_kind(n, conv)) return;
        channels += n->shape.c;
    }
    if (!slices || channels > conv->shape.c) return;
    for (int i = conv->index; (n = next_reader(g, conv, &i));) {
        const int from = n->u.slice.from;
        become(n, conv);
        n->u.conv.of = conv->shape.c;
        n->u.conv.from = from;
    }
    conv->dead = true;
    conv->in[0]->uses += slices - 1;
}

/* A linear layer on a linear layer: one, if its matrix has fewer elements than theirs. */
static void compose(nn_node *n) {
    nn_node *first = n->in[0];
    const nn_conv_params *p = &first->u.conv;
    if (!is_linear(n) || !is_linear(first) || !is_as_loaded(n) || n->u.conv.pre.kind != NN_STEP_COUNT) return;
    if (first->n_steps || first->output || first->uses > 1 || !same_kind(first, n)) return;
    const int64_t in = first->in[0]->shape.c, middle = first->shape.c, out = n->shape.c;
    if (p->batch_norm || p->then || p->flip_out || in * out > middle * (in + out)) return;
    const char *then = n->name;
    const bool bias = n->u.conv.bias;
    become(n, first);
    n->u.conv.then = then;
    n->u.conv.middle = (int)middle;
    n->u.conv.then_bias = bias;
    first->dead = true;
}

/* A flip behind a convolution, or before nothing but convolutions. */
static void turn(nn_graph *g, nn_node *flip) {
    nn_node *producer = flip->in[0], *n;
    if (is_one_matrix_a_tap(producer) && !producer->n_steps && !producer->u.conv.batch_norm &&
        producer->uses == 1 && !producer->output && same_kind(producer, flip)) {
        become(flip, producer);
        flip->u.conv.flip_out = !flip->u.conv.flip_out;
        producer->dead = true;
        return;
    }
    int readers = 0;
    for (int i = flip->index; (n = next_reader(g, flip, &i)); readers++) {
        if (!is_one_matrix_a_tap(n) || n->in[0] != flip) return;
        for (int k = 1; k < n->n_in; k++)
            if (n->in[k] == flip) return;
    }
    if (!readers || flip->output) return;
    for (int i = flip->index; (n = next_reader(g, flip, &i));) {
        n->in[0] = producer;
        n->u.conv.flip_in = !n->u.conv.flip_in;
    }
    flip->dead = true;
    producer->uses += readers - 1;
}

/* `map` becomes its producer with map's steps behind the producer's own. */
static void absorb(nn_node *map) {
    nn_node *p = map->in[0];
    nn_node merged = *p;
    merged.index = map->index;
    merged.output = map->output;
    merged.uses = map->uses;
    bool fold = is_as_loaded(p) && map->n_steps == 1 && map->steps[0].kind == NN_STEP_AFFINE;
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
        if (n->dead) continue;
        if (n->op == NN_OP_conv) {
            compose(n);
            cut(g, n);
        }
        if (n->op == NN_OP_flip) turn(g, n);
        if (n->op != NN_OP_map) continue;
        swap_operands(n);
        if (absorbable(n->in[0], n)) absorb(n);
    }
    for (int i = 0; i < g->count; i++) {
        nn_node *n = g->node[i];
        if (!n->dead && n->op == NN_OP_map) push_into_readers(g, n);
    }
    count_uses(g);
}
