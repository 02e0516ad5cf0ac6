/* generator.h - the generator over any number of frames, in tiles whose memory is bounded and whose values stay in the cache. */
#ifndef RVC_GENERATOR_H
#define RVC_GENERATOR_H

#include "synthesizer.h"

typedef struct rvc_generator rvc_generator;     /* one thread's runner: plans and buffers */

/* Weights and device are borrowed. */
nn_code rvc_generator_new(rvc_generator **out, nn_weights *w, const rvc_voice_config *c, nn_device *d, nn_error *e);
void rvc_generator_free(rvc_generator *g);       /* NULL is fine */

/* Called after each tile with the frames it kept; not NN_OK stops. */
typedef nn_code rvc_generator_progress(void *context, size_t frames);

/* z [frames][inter], source [frames*upp] (before its linear layer; NULL where the voice takes no pitch) -> the samples of
 * frames keep .. keep+kept-1 in out [kept*upp], as if all frames had been run at once. */
nn_code rvc_generator_run(rvc_generator *g, const float *z, const float *source, size_t frames, int speaker, size_t keep,
                          size_t kept, float *out, rvc_generator_progress *progress, void *context, nn_error *e);

#endif
