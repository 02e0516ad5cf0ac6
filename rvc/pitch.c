/* pitch.c - f0 of a whole signal: mel, RMVPE and decoding, window by window.
 *
 * Invariant: memory does not grow with the signal beyond the f0 itself; an hour's mel and salience are never
 * there at once. */
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "whole.h"

/* One window's share of f0. mels [window.count][MEL_BANDS] and salience [window.count][RMVPE_CLASSES] are
 * scratch. */
static nn_code track(rvc_job *job, rvc_buffer *x, rmvpe_window w, float *mels, float *salience, float *f0) {
    rvc_converter *c = job->converter;
    double start = rvc_seconds();
    size_t first = w.from * RVC_HOP, count = w.count * RVC_HOP;
    rvc_buffer_view(x, first, x->count - first < count ? x->count - first : count);
    if (c->whole) {
        nn_code found = rvc_whole_pitch(c->whole, x->at, x->count, w.from, w.count, mels, job->e);
        if (found) return found;
        memcpy(f0 + w.from + w.keep, mels + w.keep, w.kept * sizeof *f0);
        job->timing.rmvpe += rvc_seconds() - start;
        return rvc_job_advance(job, (double)w.kept / RVC_FRAMES, RVC_WORK_PITCH);
    }
    nn_code code = mel_compute(c->mel, x->at, x->count, w.from, w.count, mels, job->e);
    double middle = rvc_seconds();
    if (!code) code = rmvpe_run(c->rmvpe, mels, w.count, salience, job->e);
    if (code) return code;
    rmvpe_decode(salience + w.keep * RMVPE_CLASSES, w.kept, RMVPE_THRESHOLD, f0 + w.from + w.keep);
    job->timing.mel += middle - start;
    job->timing.rmvpe += rvc_seconds() - middle;
    return rvc_job_advance(job, (double)w.kept / RVC_FRAMES, RVC_WORK_PITCH);
}

nn_code rvc_job_pitch(rvc_job *job, rvc_buffer *x, float **f0) {
    size_t frames = mel_frames(x->count), most = frames < RMVPE_WINDOW ? frames : RMVPE_WINDOW;
    float *mels = malloc(most * MEL_BANDS * sizeof *mels);
    float *salience = malloc(most * RMVPE_CLASSES * sizeof *salience);
    *f0 = malloc(frames * sizeof **f0);
    nn_code code = mels && salience && *f0 ? NN_OK : nn_fail_memory(job->e, "the pitch");
    size_t windows = rmvpe_window_count(job->converter->rmvpe, frames);
    rvc_job_rest(job, x->count, RVC_REST_CONTENT | RVC_REST_VOICE);
    for (size_t i = 0; i < windows && !code; i++)
        code = track(job, x, rmvpe_window_at(job->converter->rmvpe, frames, i), mels, salience, *f0);
    rvc_job_rest(job, x->count, RVC_REST_PITCH);
    free(mels);
    free(salience);
    if (code) {
        free(*f0);
        *f0 = NULL;
    }
    return code;
}
