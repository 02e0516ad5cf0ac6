/* flip.c - of each row, the channels in reverse order. */
#include "rows.h"

void NN_KERNEL(flip, setup)(nn_call *c) {
    const nn_shape s = c->node->shape;
    nn_rows_split(c, s.h * s.w, s.c);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(flip, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const int channels = c->node->shape.c;
    for (ptrdiff_t r = nn_rows_from(c, task); r < nn_rows_to(c, task); r++) {
        const float *restrict from = c->in[0] + r * channels;
        float *restrict to = c->out + r * channels;
        for (int j = 0; j < channels; j++) to[j] = from[channels - 1 - j];
    }
}

nn_code NN_KERNEL(flip, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
