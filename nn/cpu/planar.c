/* planar.c - [h][w][c] -> [h][c][w]: of each line, the transpose, in squares of SIDE x SIDE that stay in L1.
 */
#include "rows.h"

enum { SIDE = 32 };

void NN_KERNEL(planar, setup)(nn_call *c) {
    const nn_shape s = c->node->in[0]->shape;
    nn_rows_split(c, s.h, s.w * s.c);
    c->scratch_bytes = c->shared_bytes = 0;
}

static void transpose(float *restrict to, const float *restrict from, int width, int channels) {
    for (int j0 = 0; j0 < channels; j0 += SIDE)
        for (int i0 = 0; i0 < width; i0 += SIDE)
            for (int j = j0; j < nn_least(channels, j0 + SIDE); j++)
                for (int i = i0; i < nn_least(width, i0 + SIDE); i++)
                    to[(ptrdiff_t)j * width + i] = from[(ptrdiff_t)i * channels + j];
}

void NN_KERNEL(planar, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const nn_shape s = c->node->in[0]->shape;
    const ptrdiff_t line = (ptrdiff_t)s.w * s.c;
    for (int r = nn_rows_from(c, task); r < nn_rows_to(c, task); r++)
        transpose(c->out + r * line, c->in[0] + r * line, s.w, s.c);
}

nn_code NN_KERNEL(planar, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
