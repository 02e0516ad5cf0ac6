/* plan.c - from a graph to something that runs: fuse, pack, lay out, run; and the cache of plans.
 *
 * Equation-free plumbing: what is fused stands in fuse.c, where values lie in layout.c, how nodes run in the back end. */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* g, fused, with its weights packed, in a plan that has no places for its values yet. */
static nn_code begin(nn_plan **out, nn_graph *g, nn_device *d, nn_error *e) {
    *out = NULL;
    if (!g) return nn_fail_memory(e, "a graph");
    nn_code code = g->error.code;
    if (code) {
        nn_fail(e, code, "%s", g->error.text);
        nn_graph_free(g);
        return code;
    }
    nn_plan *p = calloc(1, sizeof *p);
    if (p) p->node = calloc((size_t)g->count + 1, sizeof(nn_node *));
    if (!p || !p->node) {
        free(p);
        nn_graph_free(g);
        return nn_fail_memory(e, "a plan");
    }
    p->graph = g;
    p->device = d;
    nn_graph_fuse(g);
    for (int i = 0; i < g->count; i++)
        if (!g->node[i]->dead) p->node[p->count++] = g->node[i];
    nn_plan_find_views(p);
    code = nn_plan_order(p, e);
    if (!code) code = d->backend->prepare(p, e);
    if (code)
        nn_plan_free(p);
    else
        *out = p;
    return code;
}

nn_code nn_plan_new(nn_plan **out, nn_graph *g, nn_device *d, nn_error *e) {
    nn_code code = begin(out, g, d, e);
    if (!code) code = nn_plan_layout(*out, e);
    if (!code) code = d->backend->reserve(*out, e);
    if (code) {
        nn_plan_free(*out);
        *out = NULL;
    }
    return code;
}

nn_code nn_graph_pack(nn_graph *g, nn_device *d, nn_error *e) {
    nn_plan *p = NULL;
    const nn_code code = begin(&p, g, d, e);
    nn_plan_free(p);
    return code;
}

void nn_plan_free(nn_plan *p) {
    if (!p) return;
    p->device->backend->release(p);
    nn_graph_free(p->graph);
    free(p->node);
    free(p->rank);
    free(p->seconds);
    free(p);
}

/* ---- running ---- */

static const nn_node *find(const nn_plan *p, const char *name, bool input) {
    for (int i = 0; i < p->count; i++) {
        const nn_node *n = p->node[i];
        if (input ? n->op == NN_OP_input && !strcmp(n->name, name) : n->output && !strcmp(n->output, name))
            return n;
    }
    return NULL;
}

void nn_plan_write(nn_plan *p, const char *input, const void *data) {
    const nn_node *n = find(p, input, true);
    if (n) p->device->backend->write(p, n, data, nn_elements(n->shape) * sizeof(float));
}

void nn_plan_read(nn_plan *p, const char *output, void *data) {
    const nn_node *n = find(p, output, false);
    if (n) p->device->backend->read(p, n, data, nn_elements(n->shape) * sizeof(float));
}

nn_shape nn_plan_shape(const nn_plan *p, const char *name) {
    const nn_node *n = find(p, name, false);
    if (!n) n = find(p, name, true);
    return n ? n->shape : (nn_shape){0, 0, 0};
}

nn_code nn_plan_run(nn_plan *p, nn_error *e) {
    return p->device->backend->run(p, e);
}

void nn_plan_profile(nn_plan *p, bool on) {
    if (on && !p->seconds) p->seconds = calloc((size_t)p->count + 1, sizeof(double));
    p->profile = on && p->seconds;
}

size_t nn_plan_bytes(const nn_plan *p) {
    return p->slab_bytes + p->device->backend->bytes(p);
}

double nn_node_flops(const nn_node *n) {
    double out = (double)nn_elements(n->shape), t = (double)nn_rows(n->shape), c = n->shape.c;
    if (n->op == NN_OP_conv) {
        const nn_conv_params *k = &n->u.conv;
        double taps = (double)k->kernel_h * k->kernel_w;
        if (k->transposed) taps /= (double)k->stride * (k->kernel_h > 1 ? k->stride : 1);
        return 2 * out * taps * n->in[0]->shape.c / k->groups;
    }
    if (n->op == NN_OP_attention) return 4 * t * t * c;
    if (n->op == NN_OP_gru) return 2 * t * 3 * c * (n->in[0]->shape.c + n->u.gru.hidden);
    return 0;
}

double nn_plan_flops(const nn_plan *p) {
    double sum = 0;
    for (int i = 0; i < p->count; i++) sum += nn_node_flops(p->node[i]);
    return sum;
}

double nn_plan_flops_done(const nn_plan *p) {
    double sum = 0;
    for (int i = 0; i < p->count; i++)
        sum += nn_node_flops(p->node[i]) * (p->node[i]->share > 0 ? p->node[i]->share : 1);
    return sum;
}

void nn_plan_print(const nn_plan *p, void *file) {
    FILE *f = file;
    fprintf(f, "%d nodes, %.1f MB slab, %.2f GFLOP\n", p->count, (double)p->slab_bytes * 1e-6,
            nn_plan_flops(p) * 1e-9);
    for (int i = 0; i < p->count; i++) {
        const nn_node *n = p->node[i];
        double gflop = nn_node_flops(n) * 1e-9;
        fprintf(f, "%4d %-10s %4d x %7d x %4d  +%-11zu %d steps  %-44s", i,
                n->view ? "view" : nn_op_names[n->op], n->shape.h, n->shape.w, n->shape.c, n->offset,
                n->n_steps, n->name);
        if (p->profile)
            fprintf(f, " %9.3f ms %7.1f GFLOP/s", p->seconds[i] * 1e3,
                    p->seconds[i] > 0 ? gflop / p->seconds[i] : 0.0);
        fputc('\n', f);
    }
}

/* ---- cache ---- */

typedef struct entry {
    int64_t key[2];
    nn_plan *plan;
    uint64_t used;
} entry;

struct nn_plan_cache {
    nn_plan_build *build;
    void *context;
    uint64_t clock;
    int capacity;
    entry entry[];
};

nn_plan_cache *nn_plan_cache_new(int capacity, nn_plan_build *build, void *context) {
    nn_plan_cache *c = calloc(1, sizeof *c + (size_t)capacity * sizeof(entry));
    if (c) *c = (nn_plan_cache){.build = build, .context = context, .capacity = capacity};
    return c;
}

void nn_plan_cache_free(nn_plan_cache *c) {
    if (!c) return;
    for (int i = 0; i < c->capacity; i++) nn_plan_free(c->entry[i].plan);
    free(c);
}

nn_code nn_plan_cache_get(nn_plan_cache *c, const int64_t key[2], nn_plan **out, nn_error *e) {
    entry *oldest = &c->entry[0];
    for (int i = 0; i < c->capacity; i++) {
        entry *x = &c->entry[i];
        if (x->plan && x->key[0] == key[0] && x->key[1] == key[1]) {
            x->used = ++c->clock;
            *out = x->plan;
            return NN_OK;
        }
        if (x->used < oldest->used) oldest = x;
    }
    nn_plan_free(oldest->plan);
    *oldest = (entry){0};
    nn_plan *plan = NULL;
    nn_code code = c->build(c->context, key, &plan, e);
    if (code) return code;
    *oldest = (entry){{key[0], key[1]}, plan, ++c->clock};
    *out = plan;
    return NN_OK;
}
