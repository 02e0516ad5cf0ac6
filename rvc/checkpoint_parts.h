/* checkpoint_parts.h - what checkpoint.c, checkpoint_names.c and checkpoint_config.c share. Private to the three. */
#ifndef RVC_CHECKPOINT_PARTS_H
#define RVC_CHECKPOINT_PARTS_H

#include "../nn/names.h"
#include "checkpoint.h"

enum { RVC_NAME_SIZE = 512 };    /* a canonical name and its NUL; longer ones stay as they are */

struct rvc_checkpoint {
    char *path;                  /* as given */
    char *file;                  /* what is read */
    nn_archive *archive;
    rvc_kind kind;
    size_t count;
    rvc_tensor *tensor;          /* [count], in the file's order */
    char **name;                 /* [count]: owned canonical names, NULL where the file's own serves */
    nn_names names;              /* canonical name -> index, without leftovers */
    char *config;                /* JSON or NULL */
    char *note;                  /* or NULL */
    bool any_embedder;
};

/* ---- checkpoint_names.c ---- */

/* The kind that `name` is a sign of; *prefix is how many bytes stand before the network's own name. OTHER: no sign. */
rvc_kind rvc_names_recognise(const char *name, size_t *prefix);

/* The canonical name of a tensor of that kind, in out; `name` has its prefix taken off. */
void rvc_names_canonical(rvc_kind kind, const char *name, char out[RVC_NAME_SIZE]);

/* Whether the tensor of that canonical name only serves training. */
bool rvc_names_leftover(rvc_kind kind, const char *name);

/* What a file that holds a tensor of that canonical name is, if it is something known and not supported: a clause that
 * ends with what to do; or NULL. */
const char *rvc_names_foreign(rvc_kind kind, const char *name);

/* ---- checkpoint_config.c ---- */

/* Fills c->config (what the file holds, where a voice's has no list) and, where config and tensors disagree, c->note.
 * Fails only for want of memory. */
nn_code rvc_config_gather(rvc_checkpoint *c, nn_error *e);

/* Whether the config of a voice allows conversion: that there is one, vocoder, embedder. */
nn_code rvc_config_check(const rvc_checkpoint *c, nn_error *e);

#endif
