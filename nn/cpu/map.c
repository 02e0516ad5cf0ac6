/* map.c - element-wise steps that found no op to be fused into: out = steps(in[0]).
 *
 * Where no step looks at the channel, the whole tensor is one long row, so that few channels do not mean
 * empty vectors. The input is copied to a tile first: out may be the memory of in[0] or of an operand. */
#include <math.h>
#include "pack.h"
#include "steps.h"

enum { TILE = 2048, TILE_ROWS = 64 };
enum { ROWS, WIDTH, EACH, COLUMNS }; /* plan[]: the tensor as seen; rows and columns of a task */

static bool is_flat(const nn_node *n) {
    const size_t elements = nn_elements(n->shape);
    for (int i = 0; i < n->n_steps; i++) {
        const nn_step *s = &n->steps[i];
        if (s->kind == NN_STEP_AFFINE) return false;
        if (s->operand >= 0 && nn_elements(n->in[s->operand]->shape) != elements) return false;
    }
    return elements < (size_t)1 << 30;
}

void NN_KERNEL(map, setup)(nn_call *c) {
    const nn_shape s = c->node->shape;
    const bool flat = is_flat(c->node);
    c->plan[ROWS] = flat ? 1 : s.h * s.w;
    c->plan[WIDTH] = flat ? s.h * s.w * s.c : s.c;
    c->plan[COLUMNS] = nn_least((int)c->plan[WIDTH], NN_TASK_ELEMENTS);
    c->plan[EACH] = NN_TASK_ELEMENTS / c->plan[COLUMNS];
    c->stages = 1;
    c->tasks[0] = nn_parts((int)c->plan[ROWS], (int)c->plan[EACH]) *
                  nn_parts((int)c->plan[WIDTH], (int)c->plan[COLUMNS]);
    c->scratch_bytes = TILE * sizeof(float);
    c->shared_bytes = 0;
}

static void run_tile(const nn_call *c, float *tile, int row0, int rows, int column0, int columns) {
    const int stride = nn_round_up(columns, NN_VW);
    const float *from = c->in[0] + row0 * c->plan[WIDTH] + column0;
    ptrdiff_t row[TILE_ROWS];
    for (int r = 0; r < rows; r++) {
        row[r] = row0 + r;
        for (int j = 0; j < columns; j += NN_VW)
            nn_store(tile + r * stride + j, nn_load_most(from + r * c->plan[WIDTH] + j, columns - j));
    }
    nn_steps_apply(c, tile, stride, row, rows, column0, columns);
    nn_tile_store(c, tile, stride, row, rows, column0, columns);
}

void NN_KERNEL(map, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage;
    const int width = (int)c->plan[WIDTH], across = nn_parts(width, (int)c->plan[COLUMNS]);
    const int row0 = task / across * (int)c->plan[EACH];
    const int row1 = nn_least((int)c->plan[ROWS], row0 + (int)c->plan[EACH]);
    const int from = task % across * (int)c->plan[COLUMNS];
    const int to = nn_least(width, from + (int)c->plan[COLUMNS]);
    const int columns = nn_least(to - from, TILE);
    const int rows = nn_least(TILE / nn_round_up(columns, NN_VW), TILE_ROWS);
    for (int r = row0; r < row1; r += rows)
        for (int j = from; j < to; j += columns)
            run_tile(c, scratch, r, nn_least(rows, row1 - r), j, nn_least(columns, to - j));
}

/* Inference-time batch norm, y = (x - mean) weight / sqrt(var + 1e-5) + bias, as scale and shift; in double.
 */
static nn_code make_affine(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                           nn_error *e) {
    static const char *const suffix[4] = {".weight", ".bias", ".running_mean", ".running_var"};
    const int channels = n->shape.c;
    float *part[4] = {NULL}, *blob = NULL;
    nn_code code = NN_OK;
    for (int i = 0; i < 4 && !code; i++)
        code = nn_pack_load(&part[i], w, stem, suffix[i], 1, (int64_t[]){channels}, e);
    if (!code && !(blob = nn_pack_new(2 * (size_t)channels, bytes))) code = nn_fail_memory(e, stem);
    for (int i = 0; i < channels && !code; i++) {
        if (part[3][i] < 0)
            code =
                nn_fail(e, NN_ERROR_MODEL, "%s: %s.running_var[%d] is %g, and a variance is never negative",
                        nn_weights_path(w), stem, i, (double)part[3][i]);
        const double scale = part[0][i] / sqrt((double)part[3][i] + 1e-5);
        blob[i] = (float)scale;
        blob[channels + i] = (float)(part[1][i] - part[2][i] * scale);
    }
    for (int i = 0; i < 4; i++) free(part[i]);
    if (code) free(blob);
    *out = code ? NULL : blob;
    return code;
}

nn_code NN_KERNEL(map, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    for (int i = 0; i < n->n_steps; i++) {
        nn_step *s = &n->steps[i];
        if (s->kind != NN_STEP_AFFINE) continue;
        s->blob = n->n_blobs;
        nn_code code = nn_pack_once(n, w, s->name, "batch_norm", make_affine, e);
        if (code) return code;
    }
    return NN_OK;
}
