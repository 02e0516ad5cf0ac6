/* generator.c - see generator.h.
 *
 * The generator sees a few frames to each side and nothing else, so it runs over the kept frames in tiles that take that
 * much of their neighbours with them. The wide, slow levels (the front) run in long tiles, as their reach is long; the
 * narrow, fast ones (the back), whose values are many, in short ones that stay in the cache:
 *
 *   z        |......|=============kept=============|......|
 *   front         |reach|=====core=====|reach|               -> x, some hundred samples a frame
 *   back               |r|=core=|r|
 *                             |r|=core=|r|                   -> audio
 *
 * Invariants: every kept sample has all it depends on within its tiles; tiles of a kind are equally long (the last is
 * shifted back) and share one plan, whose memory does not depend on the signal's length. */
#include "generator.h"

#include <stdlib.h>
#include <string.h>

/* Core of a front tile in frames, at most, in steps so that few plans serve all lengths; core of a back tile in frames. */
enum { FRONT = 600, FRONT_STEP = 8, BACK = 26, PLANS = 4 };

struct rvc_generator {
    nn_weights *weights;
    nn_device *device;
    rvc_voice_config config;
    rvc_generator_part part;     /* the front's */
    size_t reach, back_reach;    /* frames; samples of x */
    nn_plan_cache *front, *back; /* by frames; by samples of x */
    float *x, *piece;            /* a front tile's output; a back tile's */
    size_t x_capacity, piece_capacity;
};

static nn_code build_front(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    rvc_generator *g = context;
    return nn_plan_new(out, rvc_generator_front_graph(g->weights, &g->config, (int)key[0]), g->device, e);
}

static nn_code build_back(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    rvc_generator *g = context;
    return nn_plan_new(out, rvc_generator_back_graph(g->weights, &g->config, (int)key[0]), g->device, e);
}

nn_code rvc_generator_new(rvc_generator **out, nn_weights *w, const rvc_voice_config *c, nn_device *d,
                          nn_error *e) {
    *out = NULL;
    rvc_generator *g = calloc(1, sizeof *g);
    if (!g) return nn_fail_memory(e, "the generator");
    *g = (rvc_generator){.weights = w, .device = d, .config = *c, .part = rvc_generator_front(c)};
    g->reach = (size_t)rvc_receptive_frames(c);
    g->back_reach = (size_t)rvc_receptive_back(c);
    g->front = nn_plan_cache_new(PLANS, build_front, g);
    g->back = nn_plan_cache_new(PLANS, build_back, g);
    if (!g->front || !g->back) {
        rvc_generator_free(g);
        return nn_fail_memory(e, "the generator");
    }
    *out = g;
    return NN_OK;
}

void rvc_generator_free(rvc_generator *g) {
    if (!g) return;
    nn_plan_cache_free(g->front);
    nn_plan_cache_free(g->back);
    free(g->x);
    free(g->piece);
    free(g);
}

static nn_code room(float **buffer, size_t *have, size_t wanted, nn_error *e) {
    if (wanted <= *have) return NN_OK;
    free(*buffer);
    *have = 0;
    *buffer = malloc(wanted * sizeof **buffer);
    if (!*buffer) return nn_fail_memory(e, "a tile of the voice");
    *have = wanted;
    return NN_OK;
}

/* Equal tiles over `count` items kept of `all`, with `reach` items of context. */
typedef struct tiling {
    size_t core, span;
} tiling;

static tiling tile_up(size_t count, size_t all, size_t reach, size_t most, size_t step) {
    size_t tiles = (count + most - 1) / most;
    tiling t = {.core = ((count + tiles - 1) / tiles + step - 1) / step * step};
    t.span = t.core + 2 * reach < all ? t.core + 2 * reach : all;
    return t;
}

/* Where the tile begins whose core begins at `from`. */
static size_t tile_start(tiling t, size_t from, size_t reach, size_t all) {
    size_t start = from > reach ? from - reach : 0;
    return start > all - t.span ? all - t.span : start;
}

/* The samples of x from .. from+kept-1 of `all` into out; source belongs to x's first sample. */
static nn_code run_back(rvc_generator *g, const float *source, size_t all, size_t from, size_t kept,
                        float *out, nn_error *e) {
    const size_t channels = (size_t)g->part.channels, rate = (size_t)g->part.rate,
                 up = (size_t)g->config.upp / rate;
    const tiling t = tile_up(kept, all, g->back_reach, BACK * rate, rate);
    nn_plan *plan;
    nn_code code = room(&g->piece, &g->piece_capacity, t.span * up, e);
    if (!code) code = nn_plan_cache_get(g->back, (int64_t[2]){(int64_t)t.span, 0}, &plan, e);
    for (size_t done = 0; done < kept && !code; done += t.core) {
        const size_t start = tile_start(t, from + done, g->back_reach, all),
                     n = kept - done < t.core ? kept - done : t.core;
        nn_plan_write(plan, "x", g->x + start * channels);
        if (source) nn_plan_write(plan, "source", source + start * up);
        code = nn_plan_run(plan, e);
        if (code) break;
        nn_plan_read(plan, "audio", g->piece);
        memcpy(out + done * up, g->piece + (from + done - start) * up, n * up * sizeof *out);
    }
    return code;
}

nn_code rvc_generator_run(rvc_generator *g, const float *z, const float *source, size_t frames, int speaker,
                          size_t keep, size_t kept, float *out, rvc_generator_progress *progress,
                          void *context, nn_error *e) {
    const size_t upp = (size_t)g->config.upp, inter = (size_t)g->config.inter, rate = (size_t)g->part.rate;
    if (!kept) return NN_OK;
    const tiling t = tile_up(kept, frames, g->reach, FRONT, FRONT_STEP);
    const int32_t who = speaker;
    nn_plan *plan;
    nn_code code = room(&g->x, &g->x_capacity, t.span * rate * (size_t)g->part.channels, e);
    if (!code) code = nn_plan_cache_get(g->front, (int64_t[2]){(int64_t)t.span, 0}, &plan, e);
    for (size_t done = 0; done < kept && !code; done += t.core) {
        const size_t start = tile_start(t, keep + done, g->reach, frames),
                     n = kept - done < t.core ? kept - done : t.core;
        const float *excitation = source ? source + start * upp : NULL;
        nn_plan_write(plan, "speaker", &who);
        nn_plan_write(plan, "z", z + start * inter);
        if (source) nn_plan_write(plan, "source", excitation);
        code = nn_plan_run(plan, e);
        if (code) break;
        nn_plan_read(plan, "x", g->x);
        code = run_back(g, excitation, t.span * rate, (keep + done - start) * rate, n * rate,
                        out + done * upp, e);
        if (!code && progress) code = progress(context, n);
    }
    return code;
}
