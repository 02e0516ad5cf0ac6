/* pair.c - two chunks of a recording side by side, on a GPU that one alone does not fill.
 *
 * A chunk's networks are a long row of small steps, each of which waits for the one before; two rows fill a large GPU better
 * than one. The second is a second converter's, made when a recording of several chunks first asks for it, unless as many
 * are open as gain from it: then other files fill the GPU (rvc_model_info.converters).
 *
 * Invariant: what a chunk becomes does not depend on what is beside it. Where the device has no memory for two, chunks go one
 * after another before they get smaller. */
#include <pthread.h>
#include <stdatomic.h>

#include "pipeline.h"
#include "whole.h"

/* The second chunk under way. */
typedef struct second {
    rvc_job job;
    rvc_options options;
    const rvc_segment *segment;
    nn_error e;
    nn_code code;
} second;

static void *run_second(void *context) {
    second *s = context;
    s->code = rvc_job_segment(&s->job, s->segment);
    return NULL;
}

bool rvc_job_pairs(rvc_job *job) {
    rvc_converter *c = job->converter;
    const rvc_probe *probe = job->probe;
    if (!rvc_job_is_whole(job) || rvc_whole_profiled(c->whole) || probe->chunks || probe->whole || c->alone)
        return false;
    if (!c->mate && atomic_load(&c->models->converters) < rvc_models_info(c->models).converters)
        rvc_converter_new(&c->mate, c->models, NULL);
    return c->mate != NULL;
}

/* No room for two: from now on one at a time. */
static void part(rvc_converter *c) {
    rvc_converter_free(c->mate);
    c->mate = NULL;
    c->alone = true;
}

nn_code rvc_job_pair(rvc_job *job, const rvc_segment *a, const rvc_segment *b) {
    second s = {.job = *job, .options = *job->options, .segment = b};
    pthread_t thread;
    s.options.progress = NULL;
    s.job.converter = job->converter->mate;
    s.job.options = &s.options;
    s.job.e = &s.e;
    s.job.done = 0;
    s.job.timing = (rvc_timing){0};
    const bool beside = pthread_create(&thread, NULL, run_second, &s) == 0;
    nn_code code = rvc_job_segment(job, a);
    if (!beside) return code ? code : rvc_job_segment(job, b);
    const double alone = rvc_seconds();
    pthread_join(thread, NULL);
    job->timing.synthesis += rvc_seconds() - alone;
    job->timing.repeated += s.job.timing.repeated;
    if (code == NN_ERROR_MEMORY || (!code && s.code == NN_ERROR_MEMORY)) {
        part(job->converter);
        *job->e = (nn_error){0};
        if (code) code = rvc_job_segment(job, a);
        return code ? code : rvc_job_segment(job, b);
    }
    if (!code && s.code) code = nn_fail(job->e, s.code, "%s", s.e.text);
    return code ? code : rvc_job_advance(job, s.job.done, 1);
}
