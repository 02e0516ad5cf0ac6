/* pitch_decode.c - f0 [frames] of salience [frames][360], times a factor (pitch.h). */
#include "../pitch.h"
#include "rows.h"

void NN_KERNEL(pitch_decode, setup)(nn_call *c) {
    nn_rows_split(c, c->node->shape.w, NN_PITCH_CLASSES);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(pitch_decode, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const double threshold = (double)c->node->u.pitch_decode.threshold,
                 factor = (double)c->in[1][0] + (double)c->in[1][1];
    for (int t = nn_rows_from(c, task); t < nn_rows_to(c, task); t++)
        c->out[t] =
            (float)((double)(float)nn_pitch_of(c->in[0] + (size_t)t * NN_PITCH_CLASSES, threshold) * factor);
}

nn_code NN_KERNEL(pitch_decode, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
