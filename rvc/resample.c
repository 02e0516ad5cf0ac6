/* resample.c - sample rates, by libsamplerate's best sinc (145 dB, 97 % of the band; J. O. Smith's
 * band-limited interpolation), as many segments side by side as there are lanes and threads.
 *
 * The invariant: output sample i is the input at time i/to, for exactly m samples. libsamplerate removes its
 * filter's delay at the start; at the end it would stop with the input, so zeros are fed after it until m
 * samples are there: the filter rings out as it should, and rounding never costs the last sample.
 *
 * A segment is a run of libsamplerate's of its own: it begins a margin early, whose outputs are dropped, and
 * sees a margin behind its end, both longer than the filter reaches. Segment and margin are whole periods,
 * after which both rates fall together again (441 samples at 44100 Hz are 160 at 16000), so its outputs are
 * those of one long run, to the bit as a rule (positions are rounded, and a long run's drift by 1e-16 a
 * sample: 155 dB where that showed). Four segments go through libsamplerate as four channels: it then
 * computes each of the filter's coefficients once for all, which is most of its work. Where segments lie
 * depends on the position in the input alone: neither how the input is divided into blocks nor how many
 * threads there are changes a bit of the output.
 *
 * Rates whose periods are too long for that (44099 to 16000), or ratios whose filters are (above 200), go
 * through one long run. */
#include "../nn/share.h"
#include "signal.h"

#include <samplerate.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    RATE_MIN = 1000,
    RATE_MAX = 768000,
    RATIO_MAX = 256, /* libsamplerate's limit */
    BLOCK = 1 << 14,
    REACH = 150, /* the filter's to either side, at the lower rate, is 143 and what is taken ahead */
    LANES = 4,
    SEGMENT = 1 << 12, /* frames at the higher rate, at least: 5 s keep 16 threads busy */
    MARGINS = 8,       /* a segment has at least */
    GROUP = 1 << 20,   /* frames at the higher rate that are in memory, at most */
    STEP = 1024,       /* frames through libsamplerate at once */
    NO_MEMORY = -1     /* beside libsamplerate's status, which is 0 or above */
};

size_t rvc_scaled_frames(size_t n, int from, int to) {
    if (from <= 0 || to <= 0) return 0;
    /* n = whole*from + rest, so that the product in the rounded part cannot overflow */
    size_t f = (size_t)from, t = (size_t)to, whole = n / f, rest = n % f;
    return whole * t + (2 * rest * t + f) / (2 * f);
}

static nn_code check_rates(int from, int to, nn_error *e) {
    if (from < RATE_MIN || from > RATE_MAX || to < RATE_MIN || to > RATE_MAX)
        return nn_fail(e, NN_ERROR_ARGUMENT, "cannot resample from %d to %d Hz: rates must be %d to %d Hz",
                       from, to, RATE_MIN, RATE_MAX);
    if (from > RATIO_MAX * to || to > RATIO_MAX * from)
        return nn_fail(e, NN_ERROR_ARGUMENT, "cannot resample from %d to %d Hz: the ratio is above %d", from,
                       to, RATIO_MAX);
    return NN_OK;
}

typedef struct span { /* the same time at both rates */
    size_t in, out;
} span;

struct rvc_resampler {
    int from, to;
    double ratio;
    int threads;
    SRC_STATE *state; /* of one long run */
    span margin, segment;
    span group;   /* segments worked on together; {0}: equal rates or one long run */
    float *x;     /* a margin, a group and a margin of input */
    float *y;     /* the group's outputs */
    size_t held;  /* floats in x */
    size_t ready; /* of y's end those that have not been handed on */
    bool first;   /* x begins with silence, not with earlier input */
};

/* Margin, segment and group, in whole periods. */
static void divide(rvc_resampler *r) {
    int a = r->from, b = r->to;
    while (b) {
        int rest = a % b;
        a = b;
        b = rest;
    }
    size_t in = (size_t)(r->from / a), out = (size_t)(r->to / a), low = in < out ? in : out,
           high = in < out ? out : in, margin = (REACH + low - 1) / low,
           segment = (SEGMENT + high - 1) / high;
    if (segment < MARGINS * margin) segment = MARGINS * margin;
    size_t group = GROUP / (segment * high) / LANES * LANES * segment;
    r->margin = (span){margin * in, margin * out};
    r->segment = (span){segment * in, segment * out};
    r->group = (span){group * in, group * out};
}

nn_code rvc_resampler_new(rvc_resampler **out, int from, int to, int threads, nn_error *e) {
    int status = 0;
    *out = NULL;
    nn_code code = check_rates(from, to, e);
    if (code) return code;
    rvc_resampler *r = calloc(1, sizeof *r);
    if (!r) return nn_fail_memory(e, "the resampler");
    *r = (rvc_resampler){.from = from, .to = to, .ratio = (double)to / from, .first = true};
    r->threads = threads;
    if (from != to) divide(r);
    bool good = true;
    if (r->group.in) {
        r->held = r->margin.in;
        r->x = malloc((r->group.in + 2 * r->margin.in) * sizeof *r->x);
        r->y = malloc(r->group.out * sizeof *r->y);
        good = r->x && r->y;
        if (good) memset(r->x, 0, r->held * sizeof *r->x);
    } else if (from != to) {
        r->state = src_new(SRC_SINC_BEST_QUALITY, 1, &status);
        good = r->state != NULL;
    }
    if (!good) {
        rvc_resampler_free(r);
        return nn_fail_memory(e, "the resampler");
    }
    *out = r;
    return NN_OK;
}

void rvc_resampler_free(rvc_resampler *r) {
    if (!r) return;
    if (r->state) src_delete(r->state);
    free(r->x);
    free(r->y);
    free(r);
}

static nn_code fail(const rvc_resampler *r, int status, nn_error *e) {
    if (status == NO_MEMORY) return nn_fail_memory(e, "the resampler");
    return nn_fail(e, NN_ERROR_ARGUMENT, "cannot resample from %d to %d Hz: %s", r->from, r->to,
                   src_strerror(status));
}

/* ---- segments ---- */

/* STEP frames of `lanes` segments from x + at on; silence behind what is held. */
static void interleave(const rvc_resampler *r, size_t at, size_t lanes, float *to) {
    for (size_t lane = 0; lane < lanes; lane++, at += r->segment.in)
        for (size_t i = 0; i < STEP; i++) to[i * lanes + lane] = at + i < r->held ? r->x[at + i] : 0;
}

/* The segments `first` and up to LANES - 1 behind it -> y [wanted]. A status. */
static int run_lanes(const rvc_resampler *r, size_t first, float *y, size_t wanted) {
    const span s = r->segment;
    const size_t lanes = wanted > s.out ? LANES : 1;
    const bool early = r->first && first == 0 && lanes == 1; /* nothing before it, nobody beside it */
    size_t at = first * s.in + (early ? r->margin.in : 0), drop = early ? 0 : r->margin.out, made = 0,
           end = drop + (wanted < s.out ? wanted : s.out);
    float in[STEP * LANES], out[STEP * LANES];
    int status = 0;
    SRC_STATE *state = src_new(SRC_SINC_BEST_QUALITY, (int)lanes, &status);
    if (!state) return NO_MEMORY;
    SRC_DATA data = {.data_out = out, .src_ratio = r->ratio};
    while (made < end) {
        if (!data.input_frames) {
            interleave(r, at, lanes, in);
            at += STEP;
            data.data_in = in;
            data.input_frames = STEP;
        }
        data.output_frames = (long)(end - made < STEP ? end - made : STEP);
        status = src_process(state, &data);
        if (status) break;
        data.data_in += (size_t)data.input_frames_used * lanes;
        data.input_frames -= data.input_frames_used;
        for (size_t i = 0; i < (size_t)data.output_frames_gen; i++, made++)
            for (size_t lane = 0; lane < lanes && made >= drop; lane++) {
                const size_t place = lane * s.out + made - drop;
                if (place < wanted) y[place] = out[i * lanes + lane];
            }
    }
    src_delete(state);
    return status;
}

typedef struct work {
    const rvc_resampler *r;
    float *y;
    size_t wanted;
    atomic_int status;
} work;

static void run_task(void *context, size_t task) {
    work *w = context;
    const size_t most = LANES * w->r->segment.out, left = w->wanted - task * most;
    const int status = run_lanes(w->r, task * LANES, w->y + task * most, left < most ? left : most);
    if (status) atomic_store(&w->status, status);
}

/* The next outputs, a group's at most, by as many threads as can be started. */
static nn_code run_group(const rvc_resampler *r, float *y, size_t wanted, nn_error *e) {
    const size_t most = LANES * r->segment.out;
    work w = {.r = r, .y = y, .wanted = wanted};
    nn_share(r->threads, (wanted + most - 1) / most, run_task, &w);
    return w.status ? fail(r, w.status, e) : NN_OK;
}

/* Of a group that is done, only what the next one sees of it stays; silence where nothing is held. */
static void next_group(rvc_resampler *r) {
    const size_t gone = r->group.in, kept = 2 * r->margin.in;
    memset(r->x + r->held, 0, (gone + kept - r->held) * sizeof *r->x);
    memmove(r->x, r->x + gone, kept * sizeof *r->x);
    r->held = kept;
    r->first = false;
}

/* ---- the signal's way ---- */

static size_t hand_on(rvc_resampler *r, float *y, size_t m) {
    if (m > r->ready) m = r->ready;
    if (m) memcpy(y, r->y + r->group.out - r->ready, m * sizeof *y);
    r->ready -= m;
    return m;
}

static nn_code run_segments(rvc_resampler *r, const float *x, size_t *n, float *y, size_t *m, nn_error *e) {
    const size_t full = r->group.in + 2 * r->margin.in;
    size_t taken = 0, made = hand_on(r, y, *m);
    nn_code code = NN_OK;
    while (!r->ready && taken < *n) {
        const size_t room = full - r->held, count = *n - taken < room ? *n - taken : room;
        memcpy(r->x + r->held, x + taken, count * sizeof *x);
        r->held += count;
        taken += count;
        if (r->held < full) continue;
        code = run_group(r, r->y, r->group.out, e);
        if (code) break;
        next_group(r);
        r->ready = r->group.out;
        made += hand_on(r, y + made, *m - made);
    }
    *n = taken;
    *m = made;
    return code;
}

static nn_code run_long(rvc_resampler *r, const float *x, size_t *n, float *y, size_t *m, nn_error *e) {
    SRC_DATA data = {.data_in = x,
                     .input_frames = (long)*n,
                     .data_out = y,
                     .output_frames = (long)*m,
                     .src_ratio = r->ratio};
    int status = src_process(r->state, &data);
    if (status) return fail(r, status, e);
    *n = (size_t)data.input_frames_used;
    *m = (size_t)data.output_frames_gen;
    return NN_OK;
}

nn_code rvc_resampler_run(rvc_resampler *r, const float *x, size_t *n, float *y, size_t *m, nn_error *e) {
    if (r->group.in) return run_segments(r, x, n, y, m, e);
    if (r->state) return run_long(r, x, n, y, m, e);
    *n = *m = *n < *m ? *n : *m;
    memcpy(y, x, *n * sizeof *y);
    return NN_OK;
}

nn_code rvc_resampler_ring_out(rvc_resampler *r, float *y, size_t m, nn_error *e) {
    static const float zeros[BLOCK];
    nn_code code = NN_OK;
    size_t made = hand_on(r, y, m);
    while (made < m && !code) {
        size_t taken = BLOCK, more = m - made;
        if (r->group.in) {
            if (more > r->group.out) more = r->group.out;
            code = run_group(r, y + made, more, e);
            if (made + more < m) next_group(r);
        } else {
            code = rvc_resampler_run(r, zeros, &taken, y + made, &more, e);
        }
        made += more;
    }
    return code;
}

nn_code rvc_resample(rvc_buffer *x, int from, int to, int threads, rvc_buffer *y, nn_error *e) {
    rvc_resampler *r;
    size_t done = 0, made = 0;
    nn_code code = rvc_resampler_new(&r, from, to, threads, e);
    while (!code && made < y->count && done < x->count) {
        size_t n = x->count - done < BLOCK ? x->count - done : BLOCK,
               m = y->count - made < BLOCK ? y->count - made : BLOCK;
        code = rvc_resampler_run(r, rvc_buffer_view(x, done, n), &n, rvc_buffer_view(y, made, m), &m, e);
        if (code) break;
        done += n;
        made += m;
    }
    size_t rest = y->count - made;
    if (!code) code = rvc_resampler_ring_out(r, rvc_buffer_view(y, made, rest), rest, e);
    rvc_resampler_free(r);
    return code;
}
