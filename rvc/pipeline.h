/* pipeline.h - inside librvc: a converter, and the steps of a conversion that lie in files of their own.
 *
 *     converter.c   the converter itself, options, warm-up
 *     input.c       a source, at 16 kHz
 *     pitch.c       16 kHz samples -> f0, window by window
 *     segment.c     one chunk through HuBERT, retrieval, prior and generator
 *     whole.c       the same as one graph, on a device with memory of its own
 *     pair.c        two of them side by side there
 *     silence.c     where nothing is heard, nothing is spoken
 *     pipeline.c    rvc_convert: all of it, in order */
#ifndef RVC_PIPELINE_H
#define RVC_PIPELINE_H

#include "../mel/mel.h"
#include "../rmvpe/rmvpe.h"
#include "buffer.h"
#include "generator.h"
#include "hubert.h"
#include "models.h"
#include "profile.h"

enum {
    RVC_RATE = 16000,
    RVC_HOP = 160 /* samples at RVC_RATE per frame of 10 ms */,
    RVC_FRAMES = 100 /* a second */
};

/* Streams of random numbers. */
enum { RVC_NOISE_LATENT, RVC_NOISE_SOURCE };

typedef struct rvc_whole rvc_whole;

struct rvc_converter {
    rvc_models *models; /* borrowed; nothing of them is changed but how many converters there are */
    nn_device *device;
    mel *mel; /* where there is an RMVPE */
    rmvpe *rmvpe;
    rvc_hubert *hubert;
    nn_plan_cache *prior; /* by frames */
    rvc_generator *generator;
    rvc_whole *whole; /* on a GPU: chunks run as one graph; else NULL */
    rvc_converter *mate; /* for every second chunk (pair.c), or NULL */
    bool alone;          /* has none: the device's memory is too small for two */
    rvc_buffer input, output; /* memory of the last signals, for the next: new pages cost more than what is done in them */
    bool sparing; /* has met a long signal: networks that are not at work give their weights' memory back */
};

/* From now on conversions run node by node, which is slower, and what each node takes is added to *profile; NULL: as usual
 * again. False where chunks are not made as one graph: on a CPU. */
bool rvc_converter_profile(rvc_converter *converter, rvc_profile *profile);

/* What tests and `rvc verify` put into a conversion and take out of it. All optional. */
typedef struct rvc_probe {
    size_t chunks;                    /* entries of the next three */
    const float *const *latent_noise; /* [chunk] -> [frames][inter], standard normal */
    const float *const *source_noise; /* [chunk] -> [frames*upp], standard normal */
    const size_t *frames;             /* [chunk]: must be what the chunk has */
    bool ungated;                     /* no silence gate */
    bool whole;                       /* the generator runs over a whole chunk in one piece */
    float *f0; /* out: [f0_count] in Hz over the padded signal, before transposing; free() */
    size_t f0_count;
    float *segment; /* out, with whole: the first chunk's samples before cropping; free() */
    size_t segment_count;
} rvc_probe;

/* One conversion under way: what its steps share. */
typedef struct rvc_job {
    rvc_converter *converter;
    const rvc_options *options;
    rvc_options shrunk; /* where a device's memory wanted shorter chunks, options points here */
    rvc_probe *probe; /* never NULL */
    rvc_timing timing;
    double outside;     /* seconds in callbacks */
    double done, total; /* work in seconds of audio, each step weighed by what it costs */
    nn_error *e;
} rvc_job;

/* How the time of a conversion is shared out, for the progress shown. */
#define RVC_WORK_PITCH 0.25
#define RVC_WORK_CONTENT 0.25
#define RVC_WORK_VOICE 0.5
/* `seconds` of audio more are through a step of that weight. RVC_CANCELLED (as an nn_code) where the caller
 * wants out. */
nn_code rvc_job_advance(rvc_job *job, double seconds, double weight);

/* What came from a source: `frames` samples at its rate are the n at 16 kHz in buffer [pad + n]; the pad in front is for
 * the caller to fill. */
typedef struct rvc_input {
    rvc_buffer buffer;
    size_t pad, frames, n;
} rvc_input;
/* Reads all of it. No sample at all, one that is not finite, or a rate that cannot be resampled is an error. */
nn_code rvc_job_read(rvc_job *job, const rvc_source *source, size_t pad, rvc_input *in);

/* The result of a callback as the job's error. */
nn_code rvc_job_callback(rvc_job *job, rvc_status status, const rvc_error *error);

/* An array as a source. */
typedef struct rvc_array {
    const float *samples;
    size_t frames, at; /* at: those that were read */
} rvc_array;
rvc_source rvc_array_source(rvc_array *a, int rate);

/* The networks whose weights may rest, by name. */
enum { RVC_REST_CONTENT = 1, RVC_REST_PITCH = 2, RVC_REST_VOICE = 4 };
/* Where the signal is long (n samples at 16 kHz), or one before it was, the memory of these networks' weights is given
 * back until they are used again: beside all of them, what a long window of pitch is worked out in would be too much. */
void rvc_job_rest(rvc_job *job, size_t n, unsigned networks);

/* rvc_convert and rvc_convert_stream with a probe; `probe` may be NULL. */
rvc_status rvc_convert_stream_probed(rvc_converter *converter, const rvc_source *source, const rvc_sink *sink,
                                     const rvc_options *options, rvc_probe *probe, rvc_timing *timing,
                                     rvc_error *error);
rvc_status rvc_convert_probed(rvc_converter *converter, const float *samples, size_t frames, int rate,
                              const rvc_options *options, rvc_probe *probe, rvc_audio *out, rvc_error *error);

/* x [n] at 16 kHz -> *f0 [n/160 + 1] in Hz, malloc'd. */
nn_code rvc_job_pitch(rvc_job *job, rvc_buffer *x, float **f0);

/* One chunk. samples [count] at 16 kHz go to HuBERT; f0 [frames], already transposed, NULL where the voice
 * takes none. Output frames keep .. keep+kept-1 of `frames` are made into out [kept*upp]. `first` is the
 * chunk's first frame in the padded signal: the noise is indexed by it, so a frame's noise does not depend on
 * how the signal is cut. `found` in place of f0: it is worked out from the samples with the rest, and put there. */
typedef struct rvc_segment {
    const float *samples;
    size_t count;
    const float *f0;
    float *found; /* [mel_frames(frames*160)], transposed; or NULL */
    size_t frames, keep, kept;
    size_t first;
    size_t index; /* of the chunk, from 0 */
    float *out;
} rvc_segment;
nn_code rvc_job_segment(rvc_job *job, const rvc_segment *s);
bool rvc_job_is_whole(const rvc_job *job); /* chunks of this job run as one graph */

/* Whether two chunks of this job may go side by side; then b beside a. Only for segments with f0 or none, not `found`. */
bool rvc_job_pairs(rvc_job *job);
nn_code rvc_job_pair(rvc_job *job, const rvc_segment *a, const rvc_segment *b);

/* Stretches of a signal where it is never heard. */
typedef struct rvc_silence {
    struct rvc_quiet {
        size_t from, to;   /* samples from .. to-1 */
    } * run;               /* [count], ascending */
    size_t count, samples; /* samples: length of the signal */
} rvc_silence;
nn_code rvc_silence_find(rvc_silence *s, rvc_buffer *x, nn_error *e);
void rvc_silence_free(rvc_silence *s);
/* Nothing of samples from .. to-1 is heard, the ramps included. */
bool rvc_silence_covers(const rvc_silence *s, size_t from, size_t to);
/* y at `rate`, aligned with the signal: zero in the runs, with ramps inside them. */
void rvc_silence_apply(const rvc_silence *s, rvc_buffer *y, int rate);

#endif
