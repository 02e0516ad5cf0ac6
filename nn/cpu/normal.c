/* normal.c - elements of a stream of normal numbers (normal.h), times a factor. */
#include "../normal.h"
#include "rows.h"

void NN_KERNEL(normal, setup)(nn_call *c) {
    nn_rows_split(c, c->node->shape.w, c->node->shape.c);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(normal, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    uint32_t place[4]; /* seed and first row, low words first */
    memcpy(place, c->in[0], sizeof place);
    const uint64_t seed = place[0] | (uint64_t)place[1] << 32, channels = (uint64_t)c->node->shape.c;
    const uint64_t first = (place[2] | (uint64_t)place[3] << 32) + (uint64_t)c->node->u.normal.row;
    const size_t from = (size_t)nn_rows_from(c, task) * channels, to = (size_t)nn_rows_to(c, task) * channels;
    nn_normal_numbers(seed, c->node->u.normal.stream, first * channels + from, to - from, c->out + from);
    for (size_t i = from; i < to && c->node->n_in > 1; i++) c->out[i] *= *c->in[1];
}

nn_code NN_KERNEL(normal, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
