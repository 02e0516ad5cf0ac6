/* checkpoint.c - recognising a model file (checkpoint.h).
 *
 * Three steps: which file it is (a folder holds one), which network (a sign among the names,
 * checkpoint_names.c), and for each tensor its canonical name and the order of its axes.
 *
 * Invariant: canonical names are unique. Where two tensors claim one (a model beside its moving average,
 * say), the first has it and the other is a leftover. */
#include "checkpoint_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct kind {
    const char *name, *is, *option; /* `is` in "this is %s" */
    const char *tensor;             /* one that every use of the network needs */
} kinds[] = {
    [RVC_KIND_VOICE] = {"voice", "an RVC voice", "--model", "enc_p.emb_phone.weight"},
    [RVC_KIND_HUBERT] = {"HuBERT", "a HuBERT checkpoint", "--hubert",
                         "feature_extractor.conv_layers.0.0.weight"},
    [RVC_KIND_RMVPE] = {"RMVPE", "an RMVPE checkpoint", "--rmvpe", "unet.encoder.bn.weight"},
    [RVC_KIND_OTHER] = {"other", "another kind of model", NULL, NULL},
};

const char *rvc_kind_name(rvc_kind k) {
    return kinds[k].name;
}

/* ---- the file ------------------------------------------------------------------------------------------ */

/* The weights in the folder, in the order of preference. */
static nn_code choose_file(rvc_checkpoint *c, nn_error *e) {
    static const char *const weights[] = {"model.safetensors", "pytorch_model.bin"};
    struct stat st;
    if (stat(c->path, &st) != 0 ||
        !S_ISDIR(st.st_mode)) /* what cannot be looked at is reported by the archive */
        return (c->file = strdup(c->path)) ? NN_OK : nn_fail_memory(e, c->path);
    size_t size = strlen(c->path) + 32;
    if (!(c->file = malloc(size))) return nn_fail_memory(e, c->path);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        snprintf(c->file, size, "%s/%s", c->path, weights[i]);
        if (stat(c->file, &st) == 0 && S_ISREG(st.st_mode)) return NN_OK;
    }
    return nn_fail(e, NN_ERROR_FILE,
                   "%s is a folder without model.safetensors or pytorch_model.bin; name the model's file, or "
                   "the folder of a Transformers model",
                   c->path);
}

/* ---- the axes ------------------------------------------------------------------------------------------ */

/* Whether convolutions have their channels last, [out][taps][in], as MLX keeps them: told by one whose shape
 * is known. `t` has the canonical name `name`. -1: this tensor does not tell. */
static int channels_last(rvc_kind kind, const char *name, const npz_array *t) {
    if (kind == RVC_KIND_VOICE && strcmp(name, "enc_p.proj.weight") == 0 && t->rank == 3) /* [384, 192, 1] */
        return t->shape[1] == 1 && t->shape[2] > 1;
    if (kind == RVC_KIND_HUBERT && strcmp(name, "feature_extractor.conv_layers.0.0.weight") == 0 &&
        t->rank == 3)
        return t->shape[1] > 1 && t->shape[2] == 1; /* [512, 1, 10] */
    if (kind == RVC_KIND_RMVPE && strcmp(name, "unet.encoder.layers.0.conv.0.conv.0.weight") == 0 &&
        t->rank == 4)
        return t->shape[1] == t->shape[2] && t->shape[3] != t->shape[2]; /* [16, 1, 3, 3] */
    return -1;
}

/* From channels last to PyTorch's order. A transposed convolution is [in][out][taps] there. */
static nn_weight_transform channels_first(const char *name, const npz_array *t) {
    static const nn_weight_transform order[2][2] = {
        {{.rank = 3, .axis = {0, 2, 1}}, {.rank = 4, .axis = {0, 3, 1, 2}}},
        {{.rank = 3, .axis = {2, 0, 1}}, {.rank = 4, .axis = {3, 0, 1, 2}}}};
    if (rvc_name_matches("~.emb_rel_~", name) || (t->rank != 3 && t->rank != 4))
        return (nn_weight_transform){.rank = 0};
    bool transposed = rvc_name_matches("dec.ups.*.~", name) || rvc_name_matches("~.conv1.0.weight", name);
    return order[transposed][t->rank - 3];
}

/* ---- the names ----------------------------------------------------------------------------------------- */

/* The sign that most tells: the first tensor that is one. What stands before it stands before the whole
 * network. */
static void recognise(rvc_checkpoint *c, const char **prefix, size_t *length) {
    c->kind = RVC_KIND_OTHER;
    for (size_t i = 0; i < c->count && c->kind == RVC_KIND_OTHER; i++) {
        *prefix = nn_archive_at(c->archive, i)->name;
        c->kind = rvc_names_recognise(*prefix, length);
    }
}

static nn_code name_tensor(rvc_checkpoint *c, size_t i, const char *prefix, size_t length, nn_error *e) {
    rvc_tensor *t = &c->tensor[i];
    char canonical[RVC_NAME_SIZE];
    const char *name = t->stored->name;
    bool inside = strncmp(name, prefix, length) == 0;
    bool beside =
        c->kind == RVC_KIND_HUBERT && strncmp(name, "final_proj.", 11) == 0; /* of a wrapped HubertModel */
    t->name = name;
    if (inside && strlen(name + length) < RVC_NAME_SIZE) {
        rvc_names_canonical(c->kind, name + length, canonical);
        if (strcmp(canonical, name) != 0) {
            if (!(c->name[i] = strdup(canonical))) return nn_fail_memory(e, c->path);
            t->name = c->name[i];
        }
    }
    t->leftover = (!inside && !beside) || rvc_names_leftover(c->kind, t->name) ||
                  nn_names_find(&c->names, t->name) != NN_NAMES_NONE;
    if (!t->leftover && !nn_names_add(&c->names, t->name, i)) return nn_fail_memory(e, c->path);
    return NN_OK;
}

static nn_code list_tensors(rvc_checkpoint *c, nn_error *e) {
    const char *prefix = "";
    size_t length = 0;
    c->count = nn_archive_count(c->archive);
    c->tensor = calloc(c->count + 1, sizeof *c->tensor);
    c->name = calloc(c->count + 1, sizeof *c->name);
    if (!c->tensor || !c->name) return nn_fail_memory(e, c->path);
    recognise(c, &prefix, &length);
    int last = -1;
    for (size_t i = 0; i < c->count; i++) {
        c->tensor[i].stored = nn_archive_at(c->archive, i);
        nn_code code = name_tensor(c, i, prefix, length, e);
        if (code) return code;
        if (last < 0 && !c->tensor[i].leftover)
            last = channels_last(c->kind, c->tensor[i].name, c->tensor[i].stored);
    }
    for (size_t i = 0; i < c->count; i++) {
        rvc_tensor *t = &c->tensor[i];
        if (last > 0) t->transform = channels_first(t->name, t->stored);
        nn_weight_shape(&t->transform, t->stored, t->shape);
    }
    return NN_OK;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

nn_code rvc_checkpoint_open(rvc_checkpoint **out, const char *path, nn_error *e) {
    *out = NULL;
    rvc_checkpoint *c = calloc(1, sizeof *c);
    nn_code code = c && (c->path = strdup(path)) ? NN_OK : nn_fail_memory(e, path);
    if (!code) code = choose_file(c, e);
    if (!code) code = nn_archive_open(&c->archive, c->file, e);
    if (!code) code = list_tensors(c, e);
    if (!code) code = rvc_config_gather(c, e);
    if (code)
        rvc_checkpoint_close(c);
    else
        *out = c;
    return code;
}

void rvc_checkpoint_close(rvc_checkpoint *c) {
    if (!c) return;
    for (size_t i = 0; c->name && i < c->count; i++) free(c->name[i]);
    nn_names_free(&c->names);
    nn_archive_close(c->archive);
    free(c->name);
    free(c->tensor);
    free(c->config);
    free(c->note);
    free(c->file);
    free(c->path);
    free(c);
}

rvc_kind rvc_checkpoint_kind(const rvc_checkpoint *c) {
    return c->kind;
}
const char *rvc_checkpoint_format(const rvc_checkpoint *c) {
    return nn_archive_format(c->archive);
}
const char *rvc_checkpoint_file(const rvc_checkpoint *c) {
    return c->file;
}
const char *rvc_checkpoint_config(const rvc_checkpoint *c) {
    return c->config;
}
const char *rvc_checkpoint_note(const rvc_checkpoint *c) {
    return c->note;
}
void rvc_checkpoint_allow_embedder(rvc_checkpoint *c, bool allow) {
    c->any_embedder = allow;
}
size_t rvc_checkpoint_count(const rvc_checkpoint *c) {
    return c->count;
}
const rvc_tensor *rvc_checkpoint_at(const rvc_checkpoint *c, size_t i) {
    return &c->tensor[i];
}
const rvc_tensor *rvc_checkpoint_find(const rvc_checkpoint *c, const char *name) {
    size_t i = nn_names_find(&c->names, name);
    return i == NN_NAMES_NONE ? NULL : &c->tensor[i];
}

nn_code rvc_checkpoint_read(rvc_checkpoint *c, const rvc_tensor *t, void *dst, nn_error *e) {
    if (t->transform.rank == 0) return nn_archive_read(c->archive, t->stored, dst, e);
    void *stored = malloc((size_t)t->stored->bytes + 1);
    nn_code code = stored ? nn_archive_read(c->archive, t->stored, stored, e) : nn_fail_memory(e, t->name);
    if (!code) nn_weight_permute(&t->transform, t->stored, npz_dtype_size(t->stored->dtype), dst, stored);
    free(stored);
    return code;
}

/* ---- whether it serves --------------------------------------------------------------------------------- */

/* What the file is instead, with what to do, after "PATH: ". */
static nn_code fail_kind(const rvc_checkpoint *c, rvc_kind wanted, nn_error *e) {
    const struct kind *want = &kinds[wanted], *is = &kinds[c->kind];
    if (c->kind == RVC_KIND_OTHER)
        return nn_fail(e, NN_ERROR_MODEL,
                       "%s: tensor \"%s\" is missing: this is not %s (`rvc info` shows what it holds)",
                       c->path, want->tensor, want->is);
    return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s\" is missing: this is %s, not %s; give it with %s",
                   c->path, want->tensor, is->is, want->is, is->option);
}

nn_code rvc_checkpoint_check(const rvc_checkpoint *c, rvc_kind wanted, nn_error *e) {
    for (size_t i = 0; i < c->count; i++) {
        const char *meaning = c->tensor[i].leftover ? NULL : rvc_names_foreign(c->kind, c->tensor[i].name);
        if (meaning) return nn_fail(e, NN_ERROR_MODEL, "%s: this is %s", c->path, meaning);
    }
    if (wanted != RVC_KIND_OTHER && c->kind != wanted) return fail_kind(c, wanted, e);
    if (wanted != RVC_KIND_OTHER && !rvc_checkpoint_find(c, kinds[wanted].tensor))
        return nn_fail(e, NN_ERROR_MODEL, "%s: tensor \"%s\" is missing: this is not the whole of %s",
                       c->path, kinds[wanted].tensor, kinds[wanted].is);
    return c->kind == RVC_KIND_VOICE ? rvc_config_check(c, e) : NN_OK;
}

/* ---- as weights ---------------------------------------------------------------------------------------- */

/* Gives c's archive away. */
static nn_code hand_over(nn_weights **out, rvc_checkpoint *c, nn_error *e) {
    size_t n = 0;
    nn_weight_alias *alias = calloc(c->count + 1, sizeof *alias);
    if (!alias) return nn_fail_memory(e, c->path);
    for (size_t i = 0; i < c->count; i++)
        if (!c->tensor[i].leftover)
            alias[n++] = (nn_weight_alias){c->tensor[i].stored, c->tensor[i].name, c->tensor[i].transform};
    nn_code code = nn_weights_from(out, c->archive, alias, n, c->config, e);
    c->archive = NULL;
    free(alias);
    return code;
}

nn_code rvc_weights_open(nn_weights **out, const char *path, rvc_kind wanted, nn_error *e) {
    rvc_checkpoint *c;
    *out = NULL;
    nn_code code = rvc_checkpoint_open(&c, path, e);
    if (!code) code = rvc_checkpoint_check(c, wanted, e);
    if (!code) code = hand_over(out, c, e);
    rvc_checkpoint_close(c);
    return code;
}
