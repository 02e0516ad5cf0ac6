/* graph.c - building a graph: memory, nodes, names and the sticky error.
 *
 * Invariant: nodes stand in the order they were made, so every input of a node comes before it. */
#include "graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"

const char *const nn_op_names[NN_OP_COUNT] = {
    [NN_OP_input] = "input",
#define NN_OP(name) [NN_OP_##name] = #name,
#include "ops.def"
#undef NN_OP
};

/* ---- memory: blocks that are freed together ---- */

typedef struct nn_arena {
    struct nn_arena *next;
    size_t used, size;
    _Alignas(16) char data[];
} nn_arena;

void *nn_graph_alloc(nn_graph *g, size_t bytes) {
    bytes = (bytes + 15) & ~(size_t)15;
    if (!g->arena || g->arena->size - g->arena->used < bytes) {
        size_t size = bytes > 65536 ? bytes : 65536;
        nn_arena *a = malloc(sizeof *a + size);
        if (!a) {
            nn_fail_memory(&g->error, "a graph");
            return NULL;
        }
        *a = (nn_arena){.next = g->arena, .size = size};
        g->arena = a;
    }
    void *p = g->arena->data + g->arena->used;
    g->arena->used += bytes;
    return memset(p, 0, bytes);
}

nn_graph *nn_graph_new(nn_weights *w) {
    nn_graph *g = calloc(1, sizeof *g);
    if (g) g->weights = w;
    return g;
}

void nn_graph_free(nn_graph *g) {
    if (!g) return;
    for (nn_arena *a = g->arena, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    free(g->node);
    free(g);
}

const nn_error *nn_graph_error(const nn_graph *g) {
    return &g->error;
}

void nn_graph_use(nn_graph *g, nn_weights *w, bool exact) {
    if (!g) return;
    g->weights = w;
    g->exact = exact;
}

void nn_branch(nn_graph *g, int branch) {
    if (g) g->branch = branch;
}

nn_shape nn_shape_of(nn_tensor x) {
    return x ? x->shape : (nn_shape){0, 0, 0};
}

const char *nn_name(nn_graph *g, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *copy = g ? nn_graph_alloc(g, strlen(text) + 1) : NULL;
    return copy ? strcpy(copy, text) : "";
}

bool nn_has(const nn_graph *g, const char *name) {
    return g && nn_weights_peek(g->weights, name) != NULL;
}

int nn_dim(const nn_graph *g, const char *name, int axis) {
    const nn_weight *t = g ? nn_weights_peek(g->weights, name) : NULL;
    return t && axis < t->rank ? (int)t->shape[axis] : 0;
}

/* ---- nodes ---- */

nn_tensor nn_graph_fail(nn_graph *g, const char *name, const char *format, ...) {
    if (!g || g->error.code) return NULL;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    nn_fail(&g->error, NN_ERROR_MODEL, "%s: %s: %s", nn_weights_path(g->weights), name, text);
    return NULL;
}

/* Ops that know which of their inputs are float32 on every device. */
static bool takes_wide(nn_op op) {
    return op == NN_OP_coarse_pitch || op == NN_OP_normal || op == NN_OP_source || op == NN_OP_spread ||
           op == NN_OP_retrieve;
}

/* What a node may read: in a graph that is exact now, and so float32 on every device, such values only; else
 * no such values but where the op knows; and a branch its own only. */
static bool may_read(nn_graph *g, nn_op op, const char *name, const nn_node *x) {
    if (x->wide != g->exact && !x->is_index && !takes_wide(op))
        nn_graph_fail(g, name,
                      "a layer of kind %s cannot read \"%s\": %s of the two is float32 on every device",
                      nn_op_names[op], x->name, g->exact ? "only the first" : "only the second");
    else if (g->branch && !x->branch)
        nn_graph_fail(g, name, "a branch cannot read \"%s\", which is not its own", x->name);
    return !g->error.code;
}

nn_node *nn_node_new(nn_graph *g, nn_op op, const char *name, nn_shape shape, int n_in, nn_tensor const *in) {
    if (!g || g->error.code) return NULL;
    for (int i = 0; i < n_in; i++)
        if (!in[i] || !may_read(g, op, name, in[i])) return NULL;
    if (shape.h < 1 || shape.w < 1 || shape.c < 1)
        return nn_graph_fail(g, name, "the result would have shape [%d][%d][%d]; the input is too short",
                             shape.h, shape.w, shape.c);
    if (g->count == g->capacity) {
        int capacity = g->capacity ? 2 * g->capacity : 256;
        nn_node **node = realloc(g->node, (size_t)capacity * sizeof *node);
        if (!node) {
            nn_fail_memory(&g->error, "a graph");
            return NULL;
        }
        g->node = node;
        g->capacity = capacity;
    }
    nn_node *n = nn_graph_alloc(g, sizeof *n);
    const char *own = nn_name(g, "%s", name);
    if (!n) return NULL;
    *n = (nn_node){.op = op,
                   .index = g->count,
                   .name = own,
                   .shape = shape,
                   .wide = g->exact,
                   .branch = g->branch,
                   .weights = g->weights,
                   .n_in = n_in};
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    g->node[g->count++] = n;
    return n;
}

nn_tensor nn_input(nn_graph *g, const char *name, int h, int w, int c) {
    return nn_node_new(g, NN_OP_input, name, (nn_shape){h, w, c}, 0, NULL);
}

nn_tensor nn_input_wide(nn_graph *g, const char *name, int h, int w, int c) {
    nn_tensor x = nn_input(g, name, h, w, c);
    if (x) x->wide = true;
    return x;
}

nn_tensor nn_input_index(nn_graph *g, const char *name, int w) {
    nn_tensor x = nn_input(g, name, 1, w, 1);
    if (x) {
        x->is_index = true;
        x->wide = false;
    }
    return x;
}

void nn_output(nn_graph *g, nn_tensor x, const char *name) {
    if (x) x->output = nn_name(g, "%s", name);
}
