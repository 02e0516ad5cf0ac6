/* windows.c - RMVPE over signals of any length, in windows whose memory is bounded.
 *
 *   signal   |-------------------------------------------------------------|
 *   window 0 |==========kept==========|..halo..|
 *   window 1            |..halo..|=====kept=====|..halo..|
 *   window 2                                |..halo..|========kept=========|
 *
 * A signal of up to RMVPE_WINDOW frames (123 s) is one window, which is the reference's computation. Beyond
 * that it goes in as few windows as memory allows, equally long, so that they share one plan, and no longer
 * than they need to be; the last one is shifted back. Invariants: a window
 * starts at a multiple of the network's frame multiple, so that pooling pairs the same frames as in the
 * whole; the halo covers the U-Net's receptive field and gives the GRU, whose memory has no end but fades,
 * GRU_FRAMES more to settle. */
#include "rmvpe.h"

#include <stdlib.h>
#include <string.h>

enum { BANDS = 128, GRU_FRAMES = 256, PLANS = 4 };
enum { STEP = 256 }; /* frames that windows keep, a multiple of this: signals about as long share a plan */

struct rmvpe {
    nn_weights *weights;  /* shared */
    nn_device *device;    /* borrowed */
    nn_plan_cache *plans; /* by padded frames */
    size_t multiple;      /* frames per pixel of the deepest level */
    size_t halo;          /* frames, a multiple of `multiple` */
    float *mel;           /* [capacity][BANDS], padded */
    float *salience;      /* [capacity][RMVPE_CLASSES] */
    size_t capacity;
};

static size_t round_up(size_t n, size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

static nn_code build(void *context, const int64_t key[2], nn_plan **out, nn_error *e) {
    rmvpe *r = context;
    return nn_plan_new(out, rmvpe_graph(r->weights, (int)key[0]), r->device, e);
}

nn_code rmvpe_new(rmvpe **out, nn_weights *w, nn_device *d, nn_error *e) {
    *out = NULL;
    rmvpe *r = calloc(1, sizeof *r);
    if (!r) return nn_fail_memory(e, "the pitch network");
    *r = (rmvpe){.weights = w, .device = d, .multiple = (size_t)rmvpe_frame_multiple(w)};
    r->halo = round_up((size_t)rmvpe_receptive_frames(w) + GRU_FRAMES, r->multiple);
    if (4 * r->halo > RMVPE_WINDOW || RMVPE_WINDOW % r->multiple != 0) {
        free(r);
        return nn_fail(e, NN_ERROR_MODEL, "%s: a pitch network this deep does not fit windows of %d frames",
                       nn_weights_path(w), RMVPE_WINDOW);
    }
    r->plans = nn_plan_cache_new(PLANS, build, r);
    if (!r->plans) {
        free(r);
        return nn_fail_memory(e, "the pitch network");
    }
    *out = r;
    return NN_OK;
}

void rmvpe_free(rmvpe *r) {
    if (!r) return;
    nn_plan_cache_free(r->plans);
    free(r->mel);
    free(r->salience);
    free(r);
}

/* Room for `frames` frames in the padded buffers. */
static nn_code reserve(rmvpe *r, size_t frames, nn_error *e) {
    if (frames <= r->capacity) return NN_OK;
    free(r->mel);
    free(r->salience);
    r->mel = malloc(frames * BANDS * sizeof *r->mel);
    r->salience = malloc(frames * RMVPE_CLASSES * sizeof *r->salience);
    r->capacity = r->mel && r->salience ? frames : 0;
    return r->capacity ? NN_OK : nn_fail_memory(e, "the pitch network's input");
}

nn_code rmvpe_run(rmvpe *r, const float *mel, size_t count, float *salience, nn_error *e) {
    size_t padded = round_up(count, r->multiple);
    nn_plan *plan;
    nn_code code = reserve(r, padded, e);
    if (!code) code = nn_plan_cache_get(r->plans, (int64_t[2]){(int64_t)padded, 0}, &plan, e);
    if (code) return code;
    memcpy(r->mel, mel, count * BANDS * sizeof *mel);
    memset(r->mel + count * BANDS, 0,
           (padded - count) * BANDS * sizeof *mel); /* 0.0 in the log domain, as WebUI */
    nn_plan_write(plan, "mel", r->mel);
    code = nn_plan_run(plan, e);
    if (code) return code;
    nn_plan_read(plan, "salience", r->salience);
    memcpy(salience, r->salience, count * RMVPE_CLASSES * sizeof *salience);
    return NN_OK;
}

/* Frames that each window of a signal longer than RMVPE_WINDOW keeps; the first and the last keep one halo more. */
static size_t step_of(const rmvpe *r, size_t frames) {
    const size_t all = frames - 2 * r->halo, most = RMVPE_WINDOW - 2 * r->halo,
                 windows = (all + most - 1) / most;
    const size_t step = round_up(round_up((all + windows - 1) / windows, STEP), r->multiple);
    return step < most ? step : most;
}

size_t rmvpe_window_count(const rmvpe *r, size_t frames) {
    if (frames <= RMVPE_WINDOW) return frames ? 1 : 0;
    const size_t step = step_of(r, frames);
    return (frames - 2 * r->halo + step - 1) / step;
}

rmvpe_window rmvpe_window_at(const rmvpe *r, size_t frames, size_t i) {
    size_t windows = rmvpe_window_count(r, frames);
    if (windows <= 1) return (rmvpe_window){0, frames, 0, frames};
    size_t step = step_of(r, frames), size = step + 2 * r->halo;
    bool first = i == 0, last = i + 1 == windows;
    size_t start = first ? 0 : r->halo + i * step; /* first frame kept */
    size_t end = last ? frames : r->halo + (i + 1) * step;
    size_t from = last ? round_up(frames, r->multiple) - size : i * step;
    size_t count = last ? frames - from : size;
    return (rmvpe_window){from, count, start - from, end - start};
}

nn_code rmvpe_salience(rmvpe *r, const float *mel, size_t frames, float *salience, nn_error *e) {
    size_t windows = rmvpe_window_count(r, frames);
    if (windows == 1) return rmvpe_run(r, mel, frames, salience, e);
    float *one = malloc((size_t)RMVPE_WINDOW * RMVPE_CLASSES * sizeof *one);
    if (!one) return nn_fail_memory(e, "a window of salience");
    nn_code code = NN_OK;
    for (size_t i = 0; i < windows && !code; i++) {
        rmvpe_window w = rmvpe_window_at(r, frames, i);
        code = rmvpe_run(r, mel + w.from * BANDS, w.count, one, e);
        if (code) break;
        memcpy(salience + (w.from + w.keep) * RMVPE_CLASSES, one + w.keep * RMVPE_CLASSES,
               w.kept * RMVPE_CLASSES * sizeof *one);
    }
    free(one);
    return code;
}
