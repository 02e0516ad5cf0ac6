/* silence.c - silence in, silence out.
 *
 * A synthesizer fed with digital silence speaks noise. So where the high-passed input stays below 2e-5 (-94
 * dBFS, under the last bit of 16-bit audio) for at least 100 ms, or throughout, the output is zero:
 *
 *   input    ~~~~~~~~~|.......................|~~~~~~~
 *   gain     1111111111\0000000000000000000000/1111111     ramps of 10 ms, inside the run
 *
 * Invariant: outside the runs nothing is touched; at the very beginning and end of the signal there is no
 * ramp. */
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>

enum { SHORTEST = RVC_RATE / 10, RAMP = RVC_RATE / 100, BLOCK = 1 << 14 };
static const float threshold = 2e-5f;

static nn_code add(rvc_silence *s, size_t *capacity, size_t from, size_t to, nn_error *e) {
    if (to - from < SHORTEST && (from > 0 || to < s->samples)) return NN_OK;
    if (s->count == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 16;
        struct rvc_quiet *run = realloc(s->run, *capacity * sizeof *run);
        if (!run) return nn_fail_memory(e, "the list of silences");
        s->run = run;
    }
    s->run[s->count++] = (struct rvc_quiet){from, to};
    return NN_OK;
}

static bool is_quiet(float x) {
    return fabsf(x) < threshold;
}

/* A run that counts is at least SHORTEST long: where the last of so many samples is heard, none of the others
 * need be looked at. */
nn_code rvc_silence_find(rvc_silence *s, rvc_buffer *x, nn_error *e) {
    const size_t n = x->count;
    *s = (rvc_silence){.samples = n};
    size_t capacity = 0;
    nn_code code = NN_OK;
    for (size_t from = 0; from < n && !code;) {
        size_t count = n - from < SHORTEST ? n - from : SHORTEST, end = from + count;
        const float *block = rvc_buffer_view(x, from, count);
        while (count > 0 && is_quiet(block[count - 1])) count--;
        if (count == 0) {
            while (end < n && is_quiet(*rvc_buffer_view(x, end, 1))) end++;
            code = add(s, &capacity, from, end, e);
        }
        from = count ? from + count : end + 1;
    }
    if (code) rvc_silence_free(s);
    return code;
}

void rvc_silence_free(rvc_silence *s) {
    free(s->run);
    *s = (rvc_silence){0};
}

/* The part of run i with gain 0. */
static struct rvc_quiet core(const rvc_silence *s, size_t i) {
    struct rvc_quiet r = s->run[i];
    if (r.from > 0) r.from += RAMP;
    if (r.to < s->samples) r.to -= RAMP;
    return r;
}

bool rvc_silence_covers(const rvc_silence *s, size_t from, size_t to) {
    if (to > s->samples) to = s->samples;
    for (size_t i = 0; i < s->count; i++) {
        struct rvc_quiet r = core(s, i);
        if (r.from <= from && to <= r.to) return true;
    }
    return false;
}

void rvc_silence_apply(const rvc_silence *s, rvc_buffer *y, int rate) {
    double scale = (double)rate / RVC_RATE;
    for (size_t i = 0; i < s->count; i++) {
        struct rvc_quiet run = s->run[i], zero = core(s, i);
        size_t j = (size_t)ceil((double)run.from * scale);
        size_t end = run.to < s->samples ? (size_t)((double)run.to * scale) : y->count;
        if (end > y->count) end = y->count;
        while (j < end) {
            const size_t stop = end - j < BLOCK ? end : j + BLOCK;
            for (float *at = rvc_buffer_view(y, j, stop - j); j < stop; j++, at++) {
                double t = (double)j / scale;
                double gain = t < (double)zero.from                         ? ((double)zero.from - t) / RAMP
                              : t >= (double)zero.to && run.to < s->samples ? (t - (double)zero.to) / RAMP
                                                                            : 0;
                *at *= (float)gain;
            }
        }
    }
}
