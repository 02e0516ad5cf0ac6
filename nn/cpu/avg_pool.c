/* avg_pool.c - the mean of each 2x2 square: [h][w][c] -> [h/2][w/2][c]. */
#include "rows.h"

void NN_KERNEL(avg_pool, setup)(nn_call *c) {
    const nn_shape s = c->node->shape;
    nn_rows_split(c, s.h * s.w, s.c);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(avg_pool, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const nn_shape s = c->node->shape;
    const ptrdiff_t line = (ptrdiff_t)c->node->in[0]->shape.w * s.c;
    for (ptrdiff_t r = nn_rows_from(c, task); r < nn_rows_to(c, task); r++) {
        const float *above = c->in[0] + r / s.w * 2 * line + r % s.w * 2 * s.c, *below = above + line;
        float *to = c->out + r * s.c;
        for (int j = 0; j < s.c; j += NN_VW) {
            const int n = s.c - j;
            const nn_v top = nn_load_most(above + j, n) + nn_load_most(above + s.c + j, n);
            const nn_v bottom = nn_load_most(below + j, n) + nn_load_most(below + s.c + j, n);
            nn_store_most(to + j, (top + bottom) * 0.25f, n);
        }
    }
}

nn_code NN_KERNEL(avg_pool, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
