/* rvc.h - librvc: voice conversion (RVC, v1 and v2) in C. The one header a program needs.
 *
 *     rvc_error error = {0};
 *     rvc_models *models; rvc_converter *converter; rvc_audio out;
 *     rvc_model_paths paths = {.voice = "voice.npz", .hubert = "hubert_base.npz", .rmvpe = "rmvpe.npz"};
 *     if (rvc_models_open(&models, &paths, NULL, &error)) { puts(error.text); return 1; }
 *     rvc_converter_new(&converter, models, &error);
 *     rvc_options options = rvc_default_options();
 *     rvc_convert(converter, samples, frames, 44100, &options, &out, &error);    // out.samples, out.frames, out.rate
 *     rvc_audio_free(&out); rvc_converter_free(converter); rvc_models_close(models);
 *
 * Ownership: what a function puts in *out is the caller's, to be released by the function of the same stem.
 * Threads: an rvc_models is immutable and may be used by any number of converters at once; an rvc_converter belongs to one
 * thread at a time and starts its own worker threads.
 * Errors: every function that can fail returns 0 or a status, and describes the first failure in *error (may be NULL). */
#ifndef RVC_H
#define RVC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RVC_VERSION "0.1.0"

typedef enum rvc_status {
    RVC_OK = 0,
    RVC_ERROR_FILE,
    RVC_ERROR_FORMAT,
    RVC_ERROR_MODEL,
    RVC_ERROR_MEMORY,
    RVC_ERROR_DEVICE,
    RVC_ERROR_ARGUMENT,
    RVC_CANCELLED          /* the progress callback asked to stop */
} rvc_status;

typedef struct rvc_error {
    rvc_status status;
    char text[960];        /* one line for a person: what, where, what to do */
} rvc_error;

typedef struct rvc_models rvc_models;
typedef struct rvc_converter rvc_converter;

typedef struct rvc_model_paths {
    const char *voice;     /* .npz, .pth, ...; NULL where only rvc_pitch is wanted */
    const char *hubert;    /* likewise, or a Transformers folder; required with a voice */
    const char *rmvpe;     /* likewise; may be NULL for voices without f0 */
    const char *index;     /* .index, or NULL */
} rvc_model_paths;

typedef struct rvc_setup {
    const char *device;    /* "auto", "cpu", "vulkan", "vulkan:N" or a part of a GPU's name; NULL is "auto": the best GPU, else cpu */
    const char *precision; /* "f32", "f16" (GPU) or "bf16" (CPU); NULL is "f32" */
    int threads;           /* of the CPU; 0: one per core */
} rvc_setup;

typedef struct rvc_model_info {
    int version;           /* 1 or 2 */
    int has_f0;
    int sample_rate;       /* of the voice, Hz */
    int speakers;
    int feature_width;     /* 256 (v1) or 768 (v2) */
    int64_t index_vectors; /* 0 without an index */
    int converters;        /* that gain from working side by side: 1 on a CPU, whose threads one keeps busy; or $RVC_CONVERTERS */
} rvc_model_info;

/* Opens and checks everything before any work is done: every tensor the networks need is there with its shape and finite, an
 * index fits the voice. `setup` may be NULL. */
rvc_status rvc_models_open(rvc_models **out, const rvc_model_paths *paths, const rvc_setup *setup, rvc_error *error);
void rvc_models_close(rvc_models *models);           /* NULL is fine; after its converters */
rvc_model_info rvc_models_info(const rvc_models *models);
double rvc_models_load_seconds(const rvc_models *models);

typedef enum rvc_compat {
    RVC_EXACT,             /* output exactly as long as the input, aligned to the end */
    RVC_WEBUI              /* the reference's cuts and lengths (up to 20 ms short per chunk) */
} rvc_compat;

/* Progress within one conversion: fraction done in 0..1. Return nonzero to stop; rvc_convert then returns RVC_CANCELLED. */
typedef int rvc_progress(void *user, double fraction);

typedef struct rvc_options {
    double transpose;      /* semitones, may be fractional [0] */
    int speaker;           /* 0 .. speakers-1 [0] */
    float index_rate;      /* 0..1: share of retrieved features [0.75; without an index nothing is retrieved] */
    float protect;         /* 0..0.5: how much unvoiced frames keep of their own features; 0.5 is off [0.33] */
    float rms_mix_rate;    /* 0: loudness of the input, 1: of the model [0.25] */
    float noise_scale;     /* of the latent noise [0.66666] */
    uint64_t seed;         /* same seed, same bytes [0] */
    int sample_rate;       /* of the output, Hz; 0: the voice's own [0] */
    rvc_compat compat;     /* [RVC_EXACT] */
    int x_pad, x_query, x_center, x_max;   /* chunking in seconds [1, 6, 38, 41] */
    rvc_progress *progress;
    void *progress_user;
} rvc_options;
rvc_options rvc_default_options(void);

/* Seconds spent in each component of one conversion (wall clock). */
typedef struct rvc_timing {
    double resample, mel, rmvpe, hubert, retrieval, synthesis, other, total;
    double audio_seconds;  /* of input; audio_seconds / total is the speed */
    int repeated;          /* chunks that were beyond float16's range on a GPU, and made again in float32 */
} rvc_timing;

typedef struct rvc_audio {
    float *samples;        /* [frames], mono, |x| <= 0.99 */
    size_t frames;
    int rate;              /* Hz */
    rvc_timing timing;
} rvc_audio;
void rvc_audio_free(rvc_audio *audio);

rvc_status rvc_converter_new(rvc_converter **out, rvc_models *models, rvc_error *error);
void rvc_converter_free(rvc_converter *converter);    /* NULL is fine */
const char *rvc_converter_device(const rvc_converter *converter);    /* "cpu (avx512, 2 threads)", "NVIDIA H200 (Vulkan, f16)" */
size_t rvc_converter_device_memory(const rvc_converter *converter);  /* bytes of a GPU's own memory used at most; 0: on the CPU */

/* Converts mono samples [frames] at `rate` Hz. Not finite samples are an RVC_ERROR_FORMAT. out->frames is exactly
 * round(frames * out->rate / rate) unless compat is RVC_WEBUI. */
rvc_status rvc_convert(rvc_converter *converter, const float *samples, size_t frames, int rate, const rvc_options *options,
                       rvc_audio *out, rvc_error *error);

/* The same from a source into a sink, for recordings of any length: neither has to be in memory as a whole, and what is in
 * between goes to temporary files in $TMPDIR (else /tmp) where it is large. Same samples, same result.
 *
 * A callback that fails describes why in *error and returns its status; the conversion ends with that. All calls come from
 * the thread that called. */
typedef struct rvc_source {
    int rate;              /* Hz */
    /* Puts the next mono samples into block, at most *frames, and says in *frames how many; 0: the end. */
    rvc_status (*read)(void *user, float *block, size_t *frames, rvc_error *error);
    void *user;
} rvc_source;

typedef struct rvc_sink {
    /* Everything is converted: `frames` samples at `rate` Hz will be written. */
    rvc_status (*open)(void *user, size_t frames, int rate, rvc_error *error);
    rvc_status (*write)(void *user, const float *block, size_t frames, rvc_error *error);
    void *user;
} rvc_sink;

/* `options` and `timing` may be NULL. The time spent in the callbacks is not in the timing. */
rvc_status rvc_convert_stream(rvc_converter *converter, const rvc_source *source, const rvc_sink *sink,
                              const rvc_options *options, rvc_timing *timing, rvc_error *error);

/* The pitch alone, one value every 10 ms: *f0 [*count] in Hz, 0 where unvoiced, free() it. */
rvc_status rvc_pitch(rvc_converter *converter, const float *samples, size_t frames, int rate, float **f0, size_t *count,
                     rvc_error *error);
rvc_status rvc_pitch_stream(rvc_converter *converter, const rvc_source *source, float **f0, size_t *count, rvc_error *error);

/* One second of silence through everything, so that the first file is not slower than the others. */
rvc_status rvc_warm_up(rvc_converter *converter, rvc_error *error);

#ifdef __cplusplus
}
#endif
#endif
