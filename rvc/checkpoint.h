/* checkpoint.h - a model file of any origin as one of the three networks, under the names this program uses.
 *
 * The same network travels in many clothes: fairseq's HuBERT and Transformers' (and ContentVec's), voices as RVC,
 * Applio and RVC-MLX write them, a training's G_*.pth, with "module." or "model." in front of every name. Here a file
 * is recognised by its tensors, never by its name, and every tensor gets its canonical name and axes: fairseq's for
 * HuBERT, those of the published state dicts for RMVPE and voices. What is not known keeps its own names. */
#ifndef RVC_CHECKPOINT_H
#define RVC_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include "../nn/archive.h"
#include "../nn/weights.h"

typedef enum rvc_kind { RVC_KIND_VOICE, RVC_KIND_HUBERT, RVC_KIND_RMVPE, RVC_KIND_OTHER } rvc_kind;

typedef struct rvc_tensor {
    const char *name;                /* canonical */
    const npz_array *stored;         /* as the file has it: its name there, dtype, shape */
    int64_t shape[NPZ_MAX_RANK];     /* canonical; rank, dtype and count are those of `stored` */
    nn_weight_transform transform;   /* from the stored axes to the canonical ones */
    bool leftover;                   /* of training: not part of the network (optimizer state, enc_q) */
} rvc_tensor;

typedef struct rvc_checkpoint rvc_checkpoint;

/* Opens a model file, or a Transformers folder (config.json with model.safetensors or pytorch_model.bin). Fails only
 * where there is nothing to read; whether the file serves is rvc_checkpoint_check's to say. */
nn_code rvc_checkpoint_open(rvc_checkpoint **out, const char *path, nn_error *e);
void rvc_checkpoint_close(rvc_checkpoint *c);                    /* NULL is fine */

rvc_kind rvc_checkpoint_kind(const rvc_checkpoint *c);
const char *rvc_kind_name(rvc_kind k);                           /* "voice", "HuBERT", "RMVPE", "other" */
const char *rvc_checkpoint_format(const rvc_checkpoint *c);      /* of the archive: "torch zip", ... */
const char *rvc_checkpoint_file(const rvc_checkpoint *c);        /* the file read: in a folder, the one chosen */
/* The JSON to keep with the tensors. For a voice {"config": [18 entries], "f0", "version", ...}, put together from what is
 * in the file or beside it; for other kinds what the file holds. NULL: none. */
const char *rvc_checkpoint_config(const rvc_checkpoint *c);
/* Something a person should know that is no reason to refuse, or NULL. */
const char *rvc_checkpoint_note(const rvc_checkpoint *c);

size_t rvc_checkpoint_count(const rvc_checkpoint *c);
const rvc_tensor *rvc_checkpoint_at(const rvc_checkpoint *c, size_t i);
const rvc_tensor *rvc_checkpoint_find(const rvc_checkpoint *c, const char *name);    /* no leftovers; NULL: absent */

/* The elements in canonical order, in the stored dtype, into dst [stored->bytes]. */
nn_code rvc_checkpoint_read(rvc_checkpoint *c, const rvc_tensor *t, void *dst, nn_error *e);

/* NN_OK where the file can serve as `wanted` (OTHER: as whatever it is), else an NN_ERROR_MODEL that names what it is and
 * says what to do: another kind of model, a vocoder or an embedder that is not supported, a voice without its config. */
nn_code rvc_checkpoint_check(const rvc_checkpoint *c, rvc_kind wanted, nn_error *e);
void rvc_checkpoint_allow_embedder(rvc_checkpoint *c, bool allow);   /* takes a voice of any embedder */

/* Opens, checks, and hands the tensors over as weights under their canonical names. */
nn_code rvc_weights_open(nn_weights **out, const char *path, rvc_kind wanted, nn_error *e);

/* Whether `name` is of the form `pattern`: '*' a number, '~' anything. */
bool rvc_name_matches(const char *pattern, const char *name);

#endif
