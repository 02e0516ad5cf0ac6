/* gru.c - bidirectional gated recurrent unit (Cho et al. 2014, arXiv:1406.1078) in PyTorch's form, one layer:
 *   r = s(W_ir x + b_ir + W_hr h + b_hr)        n = tanh(W_in x + b_in + r (W_hn h + b_hn))
 *   z = s(W_iz x + b_iz + W_hz h + b_hz)        h' = (1 - z) n + z h,   h = 0 before the first frame
 *
 * Stage 0 does what does not recur: W_i x + b for all frames, a matrix product. Stage 1 is two tasks, one a
 * direction, that walk over time; vectors run over units, NN_NR of them with their three gates at once, so
 * that a step's gates stay in registers. Biases that are only ever added to each other are added at load.
 *
 * Units beyond `hidden` have zero weights, are computed and never read. */
#include "pack.h"
#include "math.h"
#include "product.h"
#include "rows.h"

enum { GATES = 3, TILES = 4 }; /* r, z, n; tiles of NN_MR frames in a task of stage 0 */

typedef struct gru {
    int frames, channels, hidden;
    int units;  /* panels of NN_NR units */
    int panels; /* GATES * units: r, z, n of the first units, then of the next */
} gru;

static gru shape_of(const nn_node *n) {
    gru g = {.frames = n->shape.w, .channels = n->in[0]->shape.c, .hidden = n->u.gru.hidden};
    g.units = nn_panels(g.hidden);
    g.panels = GATES * g.units;
    return g;
}

/* The blob, for each direction: input weights [panels][channels][NN_NR], hidden weights
 * [units][hidden][GATES][NN_NR], bias [panels][NN_NR] (for r and z the sum of both), bias of W_hn h
 * [units][NN_NR]. */
typedef struct gru_parts {
    size_t input, hidden, bias, bias_n; /* floats from the blob's start */
} gru_parts;

static size_t direction_floats(const gru *g) {
    return (size_t)NN_NR * ((size_t)g->panels * (size_t)(g->channels + g->hidden + 1) + (size_t)g->units);
}
static gru_parts parts_of(const gru *g, int direction) {
    gru_parts p = {.input = (size_t)direction * direction_floats(g)};
    p.hidden = p.input + (size_t)g->panels * (size_t)g->channels * NN_NR;
    p.bias = p.hidden + (size_t)g->panels * (size_t)g->hidden * NN_NR;
    p.bias_n = p.bias + (size_t)g->panels * NN_NR;
    return p;
}

void NN_KERNEL(gru, setup)(nn_call *c) {
    const gru g = shape_of(c->node);
    c->stages = 2;
    c->tasks[0] = nn_parts(g.frames, TILES * NN_MR);
    c->tasks[1] = 2;
    c->shared_bytes = 2 * (size_t)g.frames * (size_t)g.panels * NN_NR * sizeof(float);
    const size_t rows = (size_t)(TILES * nn_panels(g.channels) + 1) * NN_TILE,
                 states = 2 * (size_t)g.units * NN_NR;
    c->scratch_bytes = (rows > states ? rows : states) * sizeof(float);
}

/* The projected input of one frame: [panels][NN_NR]. */
static float *projected(const nn_call *c, const gru *g, int direction, int frame) {
    return (float *)c->shared +
           ((size_t)direction * (size_t)g->frames + (size_t)frame) * (size_t)g->panels * NN_NR;
}

static void project(const nn_call *c, const gru *g, int task, float *scratch) {
    const ptrdiff_t tile = (ptrdiff_t)nn_panels(g->channels) * NN_TILE;
    const int frame0 = task * TILES * NN_MR;
    const float *blob = c->node->blob[0];
    float *result = scratch + TILES * tile;
    for (int t = 0; t < TILES; t++) {
        const int from = frame0 + t * NN_MR, rows = nn_most(0, g->frames - from);
        if (rows)
            nn_product_rows(scratch + t * tile, c->in[0] + (ptrdiff_t)from * g->channels, g->channels, rows,
                            g->channels, 1.0f);
    }
    for (int p = 0; p < 2 * g->panels; p++) {
        const int direction = p / g->panels, panel = p % g->panels;
        const gru_parts at = parts_of(g, direction);
        const float *weights = blob + at.input + (ptrdiff_t)panel * g->channels * NN_NR;
        const nn_v b0 = nn_load(blob + at.bias + panel * NN_NR),
                   b1 = nn_load(blob + at.bias + panel * NN_NR + NN_VW);
        for (int t = 0; t < TILES && frame0 + t * NN_MR < g->frames; t++) {
            const int from = frame0 + t * NN_MR;
            nn_product(scratch + t * tile, weights, g->channels, result, 0);
            for (int r = 0; r < nn_least(NN_MR, g->frames - from); r++) {
                float *to = projected(c, g, direction, from + r) + panel * NN_NR;
                nn_store(to, nn_load(result + r * NN_NR) + b0);
                nn_store(to + NN_VW, nn_load(result + r * NN_NR + NN_VW) + b1);
            }
        }
    }
}

/* One frame of NN_NR units: x [GATES][NN_NR] projected input, w [hidden][GATES][NN_NR], next [NN_NR]. */
static void step(const float *x, const float *w, const float *bias_n, const float *h, int hidden, int unit0,
                 float *next) {
    enum { VECTORS = 2 * GATES };
    nn_v a[VECTORS] = {0};
    for (int j = 0; j < hidden; j++, w += GATES * NN_NR)
        for (int i = 0; i < VECTORS; i++) a[i] += h[j] * nn_load(w + i * NN_VW);
    for (int i = 0; i < 2; i++) {
        const int at = i * NN_VW;
        const nn_v r = nn_vsigmoid(nn_load(x + at) + a[i]);
        const nn_v z = nn_vsigmoid(nn_load(x + NN_NR + at) + a[2 + i]);
        const nn_v n = nn_vtanh(nn_load(x + 2 * NN_NR + at) + r * (a[4 + i] + nn_load(bias_n + at)));
        nn_store(next + at, n + z * (nn_load(h + unit0 + at) - n));
    }
}

static void recur(const nn_call *c, const gru *g, int direction, float *scratch) {
    const size_t size = (size_t)g->units * NN_NR;
    const gru_parts at = parts_of(g, direction);
    const float *weights = (const float *)c->node->blob[0] + at.hidden,
                *bias_n = (const float *)c->node->blob[0] + at.bias_n;
    float *h = scratch, *next = h + size;
    memset(h, 0, size * sizeof(float));
    for (int i = 0; i < g->frames; i++) {
        const int frame = direction ? g->frames - 1 - i : i;
        const float *x = projected(c, g, direction, frame);
        for (int u = 0; u < g->units; u++)
            step(x + u * GATES * NN_NR, weights + (ptrdiff_t)u * g->hidden * GATES * NN_NR,
                 bias_n + u * NN_NR, h, g->hidden, u * NN_NR, next + u * NN_NR);
        memcpy(c->out + ((ptrdiff_t)frame * 2 + direction) * g->hidden, next,
               (size_t)g->hidden * sizeof(float));
        float *swap = h;
        h = next;
        next = swap;
    }
}

void NN_KERNEL(gru, run)(const nn_call *c, int stage, int task, void *scratch) {
    const gru g = shape_of(c->node);
    if (stage == 0)
        project(c, &g, task, scratch);
    else
        recur(c, &g, task, scratch);
}

/* ---- weights ---- */

/* PyTorch's rows are all of r, then z, then n; here unit u of `gate` is panel GATES (u / NN_NR) + gate, lane
 * u % NN_NR. from [GATES * hidden][depth]. */
static void place_input(const gru *g, float *to, const float *from) {
    for (int gate = 0; gate < GATES; gate++)
        for (int u = 0; u < g->hidden; u++)
            for (int j = 0; j < g->channels; j++)
                to[((ptrdiff_t)(u / NN_NR * GATES + gate) * g->channels + j) * NN_NR + u % NN_NR] =
                    from[((ptrdiff_t)gate * g->hidden + u) * g->channels + j];
}

static void place_hidden(const gru *g, float *to, const float *from) {
    for (int gate = 0; gate < GATES; gate++)
        for (int u = 0; u < g->hidden; u++)
            for (int j = 0; j < g->hidden; j++)
                to[(((ptrdiff_t)(u / NN_NR) * g->hidden + j) * GATES + gate) * NN_NR + u % NN_NR] =
                    from[((ptrdiff_t)gate * g->hidden + u) * g->hidden + j];
}

static void place_biases(const gru *g, float *bias, float *bias_n, const float *input, const float *hidden) {
    for (int u = 0; u < g->hidden; u++) {
        for (int gate = 0; gate < GATES; gate++) {
            const int at = gate * g->hidden + u;
            const float both = input[at] + (gate < 2 ? hidden[at] : 0.0f);
            bias[(u / NN_NR * GATES + gate) * NN_NR + u % NN_NR] = both;
        }
        bias_n[u] = hidden[2 * g->hidden + u];
    }
}

static nn_code make_direction(const gru *g, float *blob, bool reverse, const char *stem, nn_weights *w,
                              nn_error *e) {
    static const char *const suffix[2][4] = {
        {".weight_ih_l0", ".weight_hh_l0", ".bias_ih_l0", ".bias_hh_l0"},
        {".weight_ih_l0_reverse", ".weight_hh_l0_reverse", ".bias_ih_l0_reverse", ".bias_hh_l0_reverse"}};
    const int64_t shape[4][2] = {{GATES * g->hidden, g->channels},
                                 {GATES * g->hidden, g->hidden},
                                 {GATES * g->hidden},
                                 {GATES * g->hidden}};
    float *part[4] = {NULL};
    nn_code code = NN_OK;
    for (int i = 0; i < 4 && !code; i++)
        code = nn_pack_load(&part[i], w, stem, suffix[reverse][i], i < 2 ? 2 : 1, shape[i], e);
    if (!code) {
        const gru_parts at = parts_of(g, reverse);
        place_input(g, blob + at.input, part[0]);
        place_hidden(g, blob + at.hidden, part[1]);
        place_biases(g, blob + at.bias, blob + at.bias_n, part[2], part[3]);
    }
    for (int i = 0; i < 4; i++) free(part[i]);
    return code;
}

static nn_code make(float **out, size_t *bytes, const nn_node *n, const char *stem, nn_weights *w,
                    nn_error *e) {
    const gru g = shape_of(n);
    float *blob = nn_pack_new(2 * direction_floats(&g), bytes);
    nn_code code = blob ? NN_OK : nn_fail_memory(e, stem);
    for (int i = 0; i < 2 && !code; i++) code = make_direction(&g, blob, i, stem, w, e);
    if (code) {
        free(blob);
        blob = NULL;
    }
    *out = blob;
    return code;
}

nn_code NN_KERNEL(gru, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    return nn_pack_once(n, w, n->name, NN_PACK_KIND("gru"), make, e);
}
