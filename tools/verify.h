/* verify.h - what the files of `rvc verify` share: the recording being checked against, and the tally. */
#ifndef TOOLS_VERIFY_H
#define TOOLS_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include "../nn/nn.h"
#include "../nn/npz.h"

typedef struct verify_settings {
    const char *reference, *model, *hubert, *rmvpe, *index, *device, *precision, *models;
} verify_settings;

typedef struct verify {
    verify_settings set;
    char *found[2]; /* hubert and rmvpe where they were looked for; owned */
    npz *z;         /* the reference file */
    nn_device *device;
    nn_weights *voice, *hubert, *rmvpe; /* opened when first needed; NULL where not given */
    double snr_db, segment_db;      /* close enough, on this device at the precision asked for */
    double voicing, cents;          /* share of frames that may differ in voicing; what the others' pitch may be off besides */
    int passed, failed, skipped;
    nn_error e; /* why the current stage could not run */
} verify;

/* How close is close enough. */
#define VERIFY_SNR_DB 100.0    /* every network's output */
#define VERIFY_SEGMENT_DB 80.0 /* a whole chunk of the pipeline, and where the recorded pitch's rounding is heard more: */
#define VERIFY_SINE_MARGIN_DB 6.0    /* what the sines of both pitches have, less this, */
#define VERIFY_SEGMENT_LEAST_DB 40.0 /* but never less than this */
#define VERIFY_GPU_DB 90.0     /* the former on a GPU in f32 */
#define VERIFY_REDUCED_DB 35.0 /* either, where products are f16 or bf16 */
#define VERIFY_REDUCED_VOICING 0.001
#define VERIFY_REDUCED_CENTS 5.0
#define VERIFY_CENTS 0.01      /* f0 where both are voiced */
#define VERIFY_PIPELINE_CENTS 0.1

/* The array `name` as float32, malloc'd; NULL where it is absent or unreadable (then v->e says why). *count:
 * elements. */
float *verify_array(verify *v, const char *name, size_t *count);
double verify_snr(const float *got, const float *want, size_t n); /* in dB; 999: equal */
float verify_scalar(verify *v, const char *name, float otherwise);
bool verify_has(const verify *v, const char *name);
int verify_axis(const verify *v, const char *name, int axis); /* 0 where there is none */
/* [rows][columns] -> [columns][rows], malloc'd, NULL: out of memory. */
float *verify_transposed(const float *x, size_t rows, size_t columns);

/* One line each. `got` has what we computed in the file's layout; NULL means it could not be, for the reason
 * in v->e. */
void verify_compare(verify *v, const char *line, const char *name, const float *got, size_t count,
                    double wanted_db);
void verify_compare_f0(verify *v, const char *line, const char *name, const float *got, size_t count,
                       double cents);
void verify_verdict(verify *v, const char *line, const char *name, double max_error, double snr,
                    double correlation, bool pass, const char *note);
void verify_fail(verify *v, const char *line, const char *name); /* reason in v->e, which is cleared */
void verify_skip(verify *v, const char *name,
                 const char *reason); /* no line where the file has no such tensor */

/* The stages: each checks what the file holds the inputs of. */
void verify_pitch(verify *v);       /* mel, salience, f0 */
void verify_content(verify *v);     /* hubert_l0, hubert_v1, hubert_v2 */
void verify_synthesizer(verify *v); /* m, logs, z_p, z, har_source, audio */
void verify_retrieval(verify *v);   /* scores, ids, retrieved */
void verify_pipeline(verify *v);    /* f0_raw, segment_0, audio_int16 */

#endif
