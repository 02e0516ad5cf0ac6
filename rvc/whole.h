/* whole.h - a chunk as one graph, for devices of their own memory: samples in, the new voice out, and nothing in between
 * that the host sees. */
#ifndef RVC_WHOLE_H
#define RVC_WHOLE_H

#include "pipeline.h"

/* One thread's runner: plans. Models and device are borrowed. */
nn_code rvc_whole_new(rvc_whole **out, const rvc_models *m, nn_device *d, nn_error *e);
void rvc_whole_free(rvc_whole *w);                   /* NULL is fine */

/* From now on plans run node by node, and what each takes is added to *profile; NULL: as fast as they can. */
bool rvc_whole_profiled(const rvc_whole *w);
void rvc_whole_profile(rvc_whole *w, rvc_profile *profile);

/* Pitch of mel frames first .. first+count-1 of x [n] at 16 kHz, in Hz, not transposed, into f0 [count]; count is at most
 * RMVPE_WINDOW. */
nn_code rvc_whole_pitch(rvc_whole *w, const float *x, size_t n, size_t first, size_t count, float *f0, nn_error *e);

/* Chunks with these options can be made so. Not where many lists of an index are to be searched. */
bool rvc_whole_takes(const rvc_whole *w, const rvc_options *o);

/* The chunk of `frames` frames can be made with its pitch found in the same run (rvc_segment.found), for these options. */
bool rvc_whole_finds_pitch(const rvc_whole *w, const rvc_options *o, size_t frames);

/* What rvc_job_segment does. Where float16 gives a sample that is not finite, the chunk is made again in float32. */
nn_code rvc_whole_segment(rvc_whole *w, rvc_job *job, const rvc_segment *s);

#endif
