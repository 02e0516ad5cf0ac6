/* slice.c - of row u.slice.row and each after it, the channels u.slice.from and after. */
#include "rows.h"

void NN_KERNEL(slice, setup)(nn_call *c) {
    const nn_shape s = c->node->shape;
    nn_rows_split(c, s.h * s.w, s.c);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(slice, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const size_t all = (size_t)c->node->in[0]->shape.c, kept = (size_t)c->node->shape.c;
    const float *from = c->in[0] + (size_t)c->node->u.slice.row * all + c->node->u.slice.from;
    for (int i = nn_rows_from(c, task); i < nn_rows_to(c, task); i++) {
        const size_t r = (size_t)i;
        memcpy(c->out + r * kept, from + r * all, kept * sizeof(float));
    }
}

nn_code NN_KERNEL(slice, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
