/* source.c - the excitation of the neural source-filter vocoder (Wang, Takaki, Yamagishi 2019), with one
 * harmonic.
 *
 *   out[i] = 0.1 sin(2 pi phase[i]) + 0.003 noise[i]  where voiced,   0.1/3 noise[i]  where not
 *   phase[i] = phase[i-1] + f0/rate, f0 held over the frame's upp samples
 *
 * The phase is in double; a frame's start is summed anew from the first frame by whoever needs it, which is
 * cheap beside the sines. */
#include <math.h>
#include "rows.h"

enum { FRAMES = 16 }; /* of a task */

void NN_KERNEL(source, setup)(nn_call *c) {
    const int frames = c->node->shape.w / c->node->u.source.upp;
    c->plan[0] = frames;
    c->plan[1] = FRAMES;
    c->stages = 1;
    c->tasks[0] = nn_parts(frames, FRAMES);
    c->scratch_bytes = c->shared_bytes = 0;
}

static void run_frame(const nn_call *c, int t, double start) {
    const int upp = c->node->u.source.upp;
    const float f0 = c->in[0][t + c->node->u.source.row];
    const bool voiced = f0 > 0;
    const double step = (double)f0 / c->node->u.source.rate, gain = voiced ? 0.003 : 0.1 / 3;
    for (int j = 0; j < upp; j++) {
        const size_t i = (size_t)t * (size_t)upp + (size_t)j;
        const double sine = voiced ? 0.1 * sin(6.283185307179586477 * (start + (j + 1) * step)) : 0;
        c->out[i] = (float)(sine + gain * (double)c->in[1][i]);
    }
}

void NN_KERNEL(source, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const int upp = c->node->u.source.upp, row = c->node->u.source.row;
    double start = 0;
    for (int t = 0; t < row + nn_rows_to(c, task); t++) {
        if (t >= row + nn_rows_from(c, task)) run_frame(c, t - row, start);
        start += upp * ((double)c->in[0][t] / c->node->u.source.rate);
        start -= floor(start);
    }
}

nn_code NN_KERNEL(source, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
