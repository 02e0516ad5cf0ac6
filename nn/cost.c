/* cost.c - operations and bytes of a plan's nodes (cost.h). */
#include "cost.h"

#include "plan.h"

static double tensor_bytes(const nn_plan *p, const nn_node *n) {
    return (double)(nn_elements(n->shape) * nn_plan_value_bytes(p, n));
}

static double index_vectors(const nn_vectors *v) {
    double sum = v->lists;
    for (int i = 0; i < (v->lists ? v->lists : 1); i++) sum += (double)v->list[i].count;
    return sum;
}

/* Tables that every device makes for itself (windows, factors of a transform) are not counted. */
static double weight_bytes(const nn_node *n, double element) {
    const double channels = n->shape.c, in = n->n_in ? n->in[0]->shape.c : 0;
    double bytes = 0;
    for (int i = 0; i < n->n_steps; i++) bytes += n->steps[i].kind == NN_STEP_AFFINE ? 2 * channels * 4 : 0;
    switch (n->op) {
    case NN_OP_conv: {
        const nn_conv_params *k = &n->u.conv;
        return bytes + k->kernel_h * k->kernel_w * in / k->groups * channels * element + channels * 4;
    }
    case NN_OP_layer_norm:
    case NN_OP_group_norm: return bytes + 2 * channels * 4;
    case NN_OP_gru: { /* two directions, three gates, two sets of biases */
        const double units = n->u.gru.hidden;
        return bytes + 2 * 3 * units * (in + units + 2) * 4;
    }
    case NN_OP_embed: return bytes + (double)nn_elements(n->shape) * element;
    case NN_OP_attention:
        if (n->u.attention.relative)
            bytes += 2 * (2 * n->u.attention.window + 1) * channels / n->u.attention.heads * element;
        return bytes;
    case NN_OP_retrieve:
        return bytes + index_vectors(n->u.retrieve.vectors) * n->u.retrieve.vectors->width * 4;
    default: return bytes;
    }
}

/* A slice reads what it copies and no more. */
static double read_bytes(const nn_plan *p, const nn_node *n) {
    double bytes = 0;
    for (int i = 0; i < n->n_in; i++)
        bytes += n->op == NN_OP_slice && i == 0 ? tensor_bytes(p, n) : tensor_bytes(p, n->in[i]);
    return bytes;
}

static const char *kind_of(const nn_node *n) {
    static const char *const conv[2][2] = {{"conv1d", "conv2d"}, {"conv_transpose1d", "conv_transpose2d"}};
    const nn_conv_params *k = &n->u.conv;
    if (n->op != NN_OP_conv) return nn_op_names[n->op];
    if (!k->transposed && k->kernel_h == 1 && k->kernel_w == 1) return "linear";
    return conv[k->transposed][k->kernel_h > 1];
}

/* Of two that are put together, the second has been worked on last. */
static const char *layer_of(const nn_node *n) {
    while (!*n->name && n->n_in) n = n->in[n->op == NN_OP_concat];
    return n->op == NN_OP_input ? "" : n->name;
}

static int next_node(const nn_plan *p, int at) {
    while (at < p->count && !nn_node_runs(p->node[at])) at++;
    return at;
}

int nn_plan_nodes(const nn_plan *p) {
    int count = 0;
    for (int at = next_node(p, 0); at < p->count; at = next_node(p, at + 1)) count++;
    return count;
}

nn_cost nn_plan_cost(const nn_plan *p, int i) {
    int at = next_node(p, 0);
    while (i-- > 0) at = next_node(p, at + 1);
    const nn_node *n = p->node[at];
    const bool f16 = nn_plan_value_bytes(p, n) == 2;
    return (nn_cost){.kind = kind_of(n),
                     .layer = layer_of(n),
                     .f16 = f16,
                     .flops = nn_node_flops(n),
                     .bytes = read_bytes(p, n) + tensor_bytes(p, n) + weight_bytes(n, f16 ? 2 : 4),
                     .seconds = p->seconds ? p->seconds[at] : 0};
}
