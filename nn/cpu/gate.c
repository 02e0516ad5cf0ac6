/* gate.c - WaveNet's gated unit (van den Oord et al. 2016, arXiv:1609.03499): of 2 C channels in,
 * tanh(the first C) * sigmoid(the last C). */
#include "math.h"
#include "rows.h"

void NN_KERNEL(gate, setup)(nn_call *c) {
    const nn_shape s = c->node->shape;
    nn_rows_split(c, s.h * s.w, s.c);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(gate, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const int channels = c->node->shape.c;
    for (ptrdiff_t r = nn_rows_from(c, task); r < nn_rows_to(c, task); r++) {
        const float *a = c->in[0] + r * 2 * channels, *b = a + channels;
        float *to = c->out + r * channels;
        for (int j = 0; j < channels; j += NN_VW) {
            const int n = channels - j;
            nn_store_most(to + j, nn_vtanh(nn_load_most(a + j, n)) * nn_vsigmoid(nn_load_most(b + j, n)), n);
        }
    }
}

nn_code NN_KERNEL(gate, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
