/* spread.c - frame t is x[t/2]; where there is a second input and no pitch, protect x[t/2] + (1 - protect)
 * own[t/2]. */
#include <string.h>
#include "rows.h"

void NN_KERNEL(spread, setup)(nn_call *c) {
    nn_rows_split(c, c->node->shape.w, c->node->shape.c);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(spread, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const size_t channels = (size_t)c->node->shape.c;
    const bool protects = c->node->n_in > 1;
    const float protect = protects ? *c->in[3] : 1;
    for (int t = nn_rows_from(c, task); t < nn_rows_to(c, task); t++) {
        const float *x = c->in[0] + (size_t)(t / 2) * channels;
        float *out = c->out + (size_t)t * channels;
        memcpy(out, x, channels * sizeof *out);
        if (!protects || c->in[2][t] >= 1) continue;
        const float *own = c->in[1] + (size_t)(t / 2) * channels;
        for (size_t i = 0; i < channels; i++) out[i] = x[i] * protect + own[i] * (1 - protect);
    }
}

nn_code NN_KERNEL(spread, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
