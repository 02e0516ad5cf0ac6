/* gru.c - bidirectional gated recurrent unit, one layer, as two dispatches: the input's projection for all
 * frames (gru_input.comp), then the recurrence, one persistent kernel for all steps of both directions.
 *
 * The recurrence is dependent steps, so its time is a step's latency times the frames. Where the device has
 * many compute units, the hidden weights stay in the registers of several workgroups (gru_spread.comp); else
 * one workgroup per direction reads them anew in each step (gru.comp). Units are padded to a multiple of 32
 * with zeros. */
#include "load.h"

enum {
    GATES = 3,           /* r, z, n: PyTorch's order */
    THREADS = 256,       /* of a workgroup, as in the shaders */
    SIDE = 64,           /* of a tile of the projection */
    TOGETHER = 8,        /* columns of a round of gru.comp */
    MOST_ROUNDS = 60000, /* lavapipe ends loops after 65535 */
    MOST_WEIGHTS = 192,  /* floats of registers for hidden weights that a thread may have */
    SPARE = 2,        /* compute units per workgroup that spreading asks for: all of them must be resident */
    LEAST_UNITS = 16, /* a device with fewer may run workgroups one after another */
    MOST_POLLS = 1 << 22 /* a second or so on a GPU, where a step takes a microsecond */
};

enum { LANES, STEPS }; /* plan[]: lanes per unit, 0: not spread; steps of a dispatch that is not */

static size_t units_of(const nn_node *n) {
    return ((size_t)n->u.gru.hidden + 31) / 32 * 32;
}

/* The blob, floats: see gru.glsl's push constants. */
typedef struct gru_parts {
    size_t input, input_bias, hidden, hidden_bias, all;
} gru_parts;

static gru_parts parts_of(const nn_node *n) {
    const size_t units = units_of(n), channels = (size_t)n->in[0]->shape.c;
    gru_parts p = {.input = 0};
    p.input_bias = p.input + channels * 2 * GATES * units;
    p.hidden = p.input_bias + 2 * GATES * units;
    p.hidden_bias = p.hidden + 2 * units * GATES * units;
    p.all = p.hidden_bias + 2 * units;
    return p;
}

/* PyTorch's rows are all of r, then z, then n. */
static void place(float *blob, const nn_node *n, size_t direction, float *const part[4]) {
    const gru_parts at = parts_of(n);
    const size_t units = units_of(n), hidden = (size_t)n->u.gru.hidden, channels = (size_t)n->in[0]->shape.c;
    for (size_t gate = 0; gate < GATES; gate++)
        for (size_t u = 0; u < hidden; u++) {
            const size_t row = gate * hidden + u, column = (direction * GATES + gate) * units + u;
            for (size_t j = 0; j < channels; j++)
                blob[at.input + j * 2 * GATES * units + column] = part[0][row * channels + j];
            for (size_t j = 0; j < hidden; j++)
                blob[at.hidden + ((direction * units + j) * GATES + gate) * units + u] =
                    part[1][row * hidden + j];
            blob[at.input_bias + column] = part[2][row] + (gate < 2 ? part[3][row] : 0.0f);
            if (gate == 2) blob[at.hidden_bias + direction * units + u] = part[3][row];
        }
}

static nn_code make_direction(float *blob, const nn_node *n, size_t direction, const char *stem,
                              nn_weights *w, nn_error *e) {
    static const char *const suffix[2][4] = {
        {".weight_ih_l0", ".weight_hh_l0", ".bias_ih_l0", ".bias_hh_l0"},
        {".weight_ih_l0_reverse", ".weight_hh_l0_reverse", ".bias_ih_l0_reverse", ".bias_hh_l0_reverse"}};
    const int hidden = n->u.gru.hidden, rows = GATES * hidden;
    const int64_t shape[4][2] = {{rows, n->in[0]->shape.c}, {rows, hidden}, {rows}, {rows}};
    float *part[4] = {NULL};
    nn_code code = NN_OK;
    for (int i = 0; i < 4 && !code; i++)
        code = nn_vk_load(&part[i], w, stem, suffix[direction][i], i < 2 ? 2 : 1, shape[i], e);
    if (!code) place(blob, n, direction, part);
    for (int i = 0; i < 4; i++) free(part[i]);
    return code;
}

static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                    nn_error *e) {
    *bytes = parts_of(c->node).all * sizeof(float);
    float *blob = calloc(1, *bytes);
    nn_code code = blob ? NN_OK : nn_fail_memory(e, stem);
    for (size_t i = 0; i < 2 && !code; i++) code = make_direction(blob, c->node, i, stem, w, e);
    if (code) free(blob);
    *out = code ? NULL : blob;
    return code;
}

/* Whether the recurrence can be spread with so many lanes per unit: whole workgroups, whole runs of four
 * columns, and lanes of one subgroup. */
static bool fits(const nn_vk_call *c, size_t lanes) {
    const size_t units = units_of(c->node);
    return units * lanes % THREADS == 0 && units % (4 * lanes) == 0 &&
           GATES * units / lanes <= MOST_WEIGHTS && lanes <= c->traits->subgroup &&
           c->traits->subgroup_arithmetic;
}

/* Steps of one dispatch of gru.comp, whose loops make so many rounds in each. */
static uint32_t steps_together(size_t units) {
    return (uint32_t)(MOST_ROUNDS / ((units + THREADS - 1) / THREADS * (units / TOGETHER + 1) + 1));
}

/* Lanes per unit, most first: they shorten a step, and cost workgroups. For diagnosis, RVC_VULKAN_GRU=1 asks
 * for one workgroup a direction, 1:N for N steps in each of its dispatches, 4, 8 or 16 for so many lanes. */
static void choose(nn_vk_call *c) {
    static const size_t lanes[] = {8, 4};
    const char *wanted = getenv("RVC_VULKAN_GRU");
    const char *colon = wanted ? strchr(wanted, ':') : NULL;
    const long steps = colon ? strtol(colon + 1, NULL, 10) : 0;
    c->plan[LANES] = 0;
    c->plan[STEPS] = steps > 0 ? (intptr_t)steps : (intptr_t)steps_together(units_of(c->node));
    if (wanted && *wanted) {
        const long asked = strtol(wanted, NULL, 10);
        if ((asked == 4 || asked == 8 || asked == 16) && fits(c, (size_t)asked)) c->plan[LANES] = asked;
        return;
    }
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes && !c->plan[LANES]; i++) {
        const size_t groups = 2 * units_of(c->node) * lanes[i] / THREADS;
        if (fits(c, lanes[i]) && LEAST_UNITS <= c->traits->units && SPARE * groups <= c->traits->units)
            c->plan[LANES] = (intptr_t)lanes[i];
    }
}

static size_t projected_bytes(const nn_node *n) {
    return 2 * (size_t)n->shape.w * GATES * units_of(n) * sizeof(float);
}
static size_t exchange_bytes(const nn_node *n) {
    return 2 * (size_t)n->shape.w * units_of(n) * sizeof(float);
}

static nn_code gru_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    choose(c);
    c->node->workspace = projected_bytes(c->node) + exchange_bytes(c->node);
    return nn_vk_pack(k, c, c->node->name, "gru", make, e);
}

static void gru_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const gru_parts part = parts_of(n);
    const size_t at = n->workspace_offset, projected = projected_bytes(n);
    const uint32_t units = (uint32_t)units_of(n), lanes = (uint32_t)c->plan[LANES],
                   blob = nn_vk_word(c->blob[0]);
    struct {
        uint32_t x, y, frames, channels, hidden, projected, exchange, input_weights, input_bias,
            hidden_weights, hidden_bias, first, count;
    } push = {nn_vk_in(c, 0),
              nn_vk_out(c),
              (uint32_t)n->shape.w,
              (uint32_t)n->in[0]->shape.c,
              (uint32_t)n->u.gru.hidden,
              nn_vk_word(at),
              nn_vk_word(at + projected),
              blob + (uint32_t)part.input,
              blob + (uint32_t)part.input_bias,
              blob + (uint32_t)part.hidden,
              blob + (uint32_t)part.hidden_bias,
              0,
              0};
    nn_vk_dispatch d = {.push = &push, .push_bytes = sizeof push, .constants = 3};
    d.constant[0] = units;
    d.constant[1] = lanes;
    d.constant[2] = MOST_POLLS;

    nn_vk_reads_inputs(r, c);
    nn_vk_writes(r, at, projected + exchange_bytes(n));
    d.shader = "gru_input";
    d.x = 2 * GATES * units / SIDE;
    d.y = nn_vk_grid(push.frames, SIDE);
    nn_vk_run(r, &d);

    d.shader = lanes ? "gru_spread" : "gru";
    d.x = lanes ? units * lanes / THREADS : 2;
    d.y = lanes ? 2 : 1;
    const uint32_t most = lanes ? push.frames : (uint32_t)c->plan[STEPS];
    for (push.first = 0; push.first < push.frames; push.first += push.count) {
        push.count = push.frames - push.first < most ? push.frames - push.first : most;
        nn_vk_reads(r, at, projected);
        nn_vk_writes(r, at + projected, exchange_bytes(n));
        nn_vk_writes_output(r, c);
        nn_vk_run(r, &d);
    }
}

const nn_vk_op nn_vk_gru = {gru_pack, gru_record};
