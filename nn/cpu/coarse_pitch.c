/* coarse_pitch.c - the class 1..255 of each f0 as int32 (pitch.h). */
#include <string.h>
#include "../pitch.h"
#include "rows.h"

void NN_KERNEL(coarse_pitch, setup)(nn_call *c) {
    nn_rows_split(c, c->node->shape.w, 64);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(coarse_pitch, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    for (int t = nn_rows_from(c, task); t < nn_rows_to(c, task); t++) {
        const int32_t bin = nn_coarse_of((double)c->in[0][t]);
        memcpy(c->out + t, &bin, sizeof bin);
    }
}

nn_code NN_KERNEL(coarse_pitch, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
