/* models.h - inside librvc: what an open set of models holds. */
#ifndef RVC_MODELS_H
#define RVC_MODELS_H

#include <stdatomic.h>

#include "../nn/nn.h"
#include "config.h"
#include "index.h"
#include "rvc.h"

struct rvc_models {
    nn_weights *voice;       /* NULL where only the pitch is wanted */
    nn_weights *hubert;      /* NULL without a voice */
    nn_weights *rmvpe;       /* may be NULL for a voice without f0 */
    nn_weights *mel;         /* what its spectrogram needs; NULL without it */
    rvc_index *index;        /* or NULL */
    rvc_voice_config config; /* of the voice */
    int threads;             /* of each converter; 0: one per core */
    nn_precision precision;  /* of products; on a CPU the pitch network's are always float */
    nn_device *gpu;          /* holds the weights that converters share; NULL: they work on the CPU */
    double load_seconds;
    atomic_int converters;   /* open */
};

/* Puts what happened inside into the public form; returns its status. `error` may be NULL. */
rvc_status rvc_report(rvc_error *error, const nn_error *e);

double rvc_seconds(void); /* a clock that only goes forward */

/* A device of the kind these models were opened for, with `threads` threads where that is the CPU; the caller's. */
nn_code rvc_models_device(const rvc_models *m, int threads, nn_device **out, nn_error *e);

/* The graphs of these models for this length; what rvc_models_open has planned once fails later for want of
 * memory only. */
nn_code rvc_plan_prior(const rvc_models *m, nn_device *d, int frames, nn_plan **out, nn_error *e);
nn_code rvc_plan_generator(const rvc_models *m, nn_device *d, int frames, nn_plan **out, nn_error *e);

#endif
