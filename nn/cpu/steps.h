/* steps.h - a node's fused element-wise steps, applied to a tile of its output that lies in L1.
 *
 * One loop over the tile per step, so that the choice of the step stands outside the loops. A tile is rows x
 * channels floats, `stride` floats from row to row; stride is a multiple of NN_VW, so whole vectors may be
 * computed and what lies beyond `channels` is garbage. Operands and the output, which are not padded, are
 * never touched beyond the tile's own channels: a neighbouring tile may be another thread's.
 *
 * A tile row belongs to output row row[r]; row[r] < 0 marks one that is not stored. */
#ifndef NN_CPU_STEPS_H
#define NN_CPU_STEPS_H

#include <stddef.h>
#include "kernel.h"
#include "math.h"
#include "rows.h"

/* Packs what the steps of any node need (batch norms' scale and shift) and appends it to n->blob[]. */
nn_code NN_KERNEL(map, pack)(nn_node *n, nn_weights *w, nn_error *e);

/* A step that reads nothing but v. Any other kind, NN_STEP_COUNT among them, leaves v as it is. */
static inline nn_v nn_step_unary(const nn_step *s, nn_v v) {
    switch (s->kind) {
    case NN_STEP_SCALE:
        return v * s->value;
    case NN_STEP_RELU:
        return nn_max(nn_splat(0.0f), v);
    case NN_STEP_LEAKY_RELU:
        return nn_select(v < 0.0f, v * s->value, v);
    case NN_STEP_GELU:
        return nn_vgelu(v);
    case NN_STEP_TANH:
        return nn_vtanh(v);
    case NN_STEP_SIGMOID:
        return nn_vsigmoid(v);
    case NN_STEP_EXP:
        return nn_vexp(v);
    default:
        return v;
    }
}

/* What all steps on one tile share. */
typedef struct nn_tile {
    const nn_call *call;
    float *at;
    ptrdiff_t stride;
    const ptrdiff_t *row;
    int rows, channel0, channels;
} nn_tile;

/* Every vector v of the tile becomes `expression`, which may also use its row r and channel j within the
 * tile. */
#define NN_TILE_EACH(tile, expression)                                                                       \
    for (int r = 0; r < (tile)->rows; r++) {                                                                 \
        if ((tile)->row[r] < 0) continue;                                                                    \
        float *const at = (tile)->at + r * (tile)->stride;                                                   \
        for (int j = 0; j < (tile)->channels; j += NN_VW) {                                                  \
            const nn_v v = nn_load(at + j);                                                                  \
            nn_store(at + j, (expression));                                                                  \
        }                                                                                                    \
    }

static inline void nn_tile_unary(const nn_tile *t, const nn_step *s) {
    switch (s->kind) { /* a constant kind per case: nn_step_unary's own switch folds away */
#define NN_UNARY(k)                                                                                          \
    case k: {                                                                                                \
        const nn_step one = {.kind = k, .value = s->value};                                                  \
        NN_TILE_EACH(t, nn_step_unary(&one, v));                                                             \
    } break
        NN_UNARY(NN_STEP_SCALE);
        NN_UNARY(NN_STEP_RELU);
        NN_UNARY(NN_STEP_LEAKY_RELU);
        NN_UNARY(NN_STEP_GELU);
        NN_UNARY(NN_STEP_TANH);
        NN_UNARY(NN_STEP_SIGMOID);
        NN_UNARY(NN_STEP_EXP);
#undef NN_UNARY
    default:
        break;
    }
}

static inline void nn_tile_affine(const nn_tile *t, const nn_step *s) {
    const nn_node *n = t->call->node;
    const float *scale = (const float *)n->blob[s->blob] + t->channel0, *shift = scale + n->shape.c;
    NN_TILE_EACH(t, v * nn_load_most(scale + j, t->channels - j) + nn_load_most(shift + j, t->channels - j));
}

static inline void nn_tile_binary(const nn_tile *t, const nn_step *s) {
    const nn_node *n = t->call->node;
    const ptrdiff_t pitch = nn_rows(n->in[s->operand]->shape) == 1 ? 0 : n->shape.c;
    const float *operand = t->call->in[s->operand] + t->channel0;
#define NN_OPERAND nn_load_most(operand + t->row[r] * pitch + j, t->channels - j)
    switch (s->kind) {
    case NN_STEP_ADD:
        NN_TILE_EACH(t, v + NN_OPERAND) break;
    case NN_STEP_SUB:
        NN_TILE_EACH(t, v - NN_OPERAND) break;
    case NN_STEP_RSUB:
        NN_TILE_EACH(t, NN_OPERAND - v) break;
    default:
        NN_TILE_EACH(t, v * NN_OPERAND) break;
    }
#undef NN_OPERAND
}

static inline void nn_steps_apply(const nn_call *c, float *tile, ptrdiff_t stride, const ptrdiff_t *row,
                                  int rows, int channel0, int channels) {
    const nn_tile t = {c, tile, stride, row, rows, channel0, channels};
    for (int i = 0; i < c->node->n_steps; i++) {
        const nn_step *s = &c->node->steps[i];
        switch (s->kind) {
        case NN_STEP_ADD:
        case NN_STEP_SUB:
        case NN_STEP_RSUB:
        case NN_STEP_MUL:
            nn_tile_binary(&t, s);
            break;
        case NN_STEP_AFFINE:
            nn_tile_affine(&t, s);
            break;
        default:
            nn_tile_unary(&t, s);
            break;
        }
    }
}

/* Writes the tile's rows to where they belong in the output. */
static inline void nn_tile_store(const nn_call *c, const float *tile, ptrdiff_t stride, const ptrdiff_t *row,
                                 int rows, int channel0, int channels) {
    for (int r = 0; r < rows; r++) {
        if (row[r] < 0) continue;
        float *to = c->out + row[r] * c->node->shape.c + channel0;
        for (int j = 0; j < channels; j += NN_VW)
            nn_store_most(to + j, nn_load(tile + r * stride + j), channels - j);
    }
}

#endif
