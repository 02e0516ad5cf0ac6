/* input.c - a source becomes one signal at 16 kHz, block by block.
 *
 * Invariant: how the source divides its samples changes nothing, and of the samples at its own rate no more
 * than a block and what the resampler works on at once (signal.h) is in memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"
#include "signal.h"

enum { BLOCK = 1 << 14 };

nn_code rvc_job_callback(rvc_job *job, rvc_status status, const rvc_error *error) {
    if (!status) return NN_OK;
    return nn_fail(job->e, (nn_code)status, "%s",
                   *error->text ? error->text : "reading or writing the recording failed");
}

/* ---- arrays ---- */

static rvc_status read_array(void *user, float *block, size_t *frames, rvc_error *error) {
    rvc_array *a = user;
    (void)error;
    if (*frames > a->frames - a->at) *frames = a->frames - a->at;
    if (*frames) memcpy(block, a->samples + a->at, *frames * sizeof *block);
    a->at += *frames;
    return RVC_OK;
}

rvc_source rvc_array_source(rvc_array *a, int rate) {
    return (rvc_source){rate, read_array, a};
}

/* ---- reading ---- */

static nn_code read_block(rvc_job *job, const rvc_source *source, rvc_input *in, float *block,
                          size_t *frames) {
    rvc_error error = {0};
    double start = rvc_seconds();
    *frames = BLOCK;
    rvc_status status = source->read(source->user, block, frames, &error);
    job->outside += rvc_seconds() - start;
    if (status) return rvc_job_callback(job, status, &error);
    if (!isfinite(rvc_peak(block, *frames))) {
        size_t i = 0;
        while (isfinite(block[i])) i++;
        return nn_fail(job->e, NN_ERROR_FORMAT, "sample %zu is not a finite number", in->frames + i);
    }
    in->frames += *frames;
    return NN_OK;
}

/* The next samples behind in->n; nothing of block is left. */
static nn_code append(rvc_job *job, rvc_resampler *r, rvc_input *in, const float *block, size_t frames) {
    nn_code code = NN_OK;
    double start = rvc_seconds();
    while (frames > 0 && !code) {
        size_t end = in->pad + in->n, taken = frames, made = BLOCK;
        code = rvc_buffer_grow(&in->buffer, end + BLOCK, job->e);
        if (!code)
            code =
                rvc_resampler_run(r, block, &taken, rvc_buffer_view(&in->buffer, end, BLOCK), &made, job->e);
        if (code) break;
        block += taken;
        frames -= taken;
        in->n += made;
    }
    job->timing.resample += rvc_seconds() - start;
    return code;
}

/* The source is at its end: exactly as many samples as its length at 16 kHz, and at least one. */
static nn_code end(rvc_job *job, rvc_resampler *r, const rvc_source *source, rvc_input *in) {
    double start = rvc_seconds();
    size_t n = rvc_scaled_frames(in->frames, source->rate, RVC_RATE), have = in->n;
    in->n = n ? n : 1;
    nn_code code = rvc_buffer_grow(&in->buffer, in->pad + in->n, job->e);
    if (!code && in->n > have)
        code = rvc_resampler_ring_out(r, rvc_buffer_view(&in->buffer, in->pad + have, in->n - have),
                                      in->n - have, job->e);
    job->timing.resample += rvc_seconds() - start;
    return code;
}

nn_code rvc_job_read(rvc_job *job, const rvc_source *source, size_t pad, rvc_input *in) {
    rvc_resampler *r = NULL;
    *in = (rvc_input){.pad = pad};
    if (source->rate < 1000 || source->rate > 768000)
        return nn_fail(job->e, NN_ERROR_ARGUMENT, "a sample rate of %d Hz: expected 1000 to 768000",
                       source->rate);
    in->buffer = rvc_buffer_again(&job->converter->input);
    nn_code code =
        rvc_resampler_new(&r, source->rate, RVC_RATE, nn_device_threads(job->converter->device), job->e);
    float *block = malloc(BLOCK * sizeof *block);
    if (!code && !block) code = nn_fail_memory(job->e, "the signal");
    size_t frames = 1;
    while (!code && frames) {
        code = read_block(job, source, in, block, &frames);
        if (!code) code = append(job, r, in, block, frames);
    }
    if (!code && !in->frames) code = nn_fail(job->e, NN_ERROR_FORMAT, "there are no samples to convert");
    if (!code) code = end(job, r, source, in);
    free(block);
    rvc_resampler_free(r);
    if (code) rvc_buffer_free(&in->buffer);
    return code;
}
