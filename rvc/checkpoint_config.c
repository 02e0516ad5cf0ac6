/* checkpoint_config.c - what a voice says about itself, wherever it says it, in one form:
 *
 *   {"config": [18 entries], "f0": 0|1, "version": "v1"|"v2", and whatever else the file holds}
 *
 * Sources, in this order: the file's own JSON as RVC and its forks write it; a bare list (RVC-MLX); text in
 * place of the list (safetensors' metadata knows only text); and for a training's G_*.pth, which has none,
 * the training's config.json beside it. What a source does not say and the tensors do (f0, version) is taken
 * from the tensors.
 *
 * Invariant: a config that is whole already is kept as it is, to the byte. */
#include "checkpoint_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

enum { V1_WIDTH = 256, V2_WIDTH = 768, MOST_TEXT = 1 << 20 };

/* The names under which HuBERT base and ContentVec, which is HuBERT base trained further and takes its place,
 * are given. */
static const char *const usual_embedders[] = {"contentvec",  "contentvec_base", "hubert",
                                              "hubert_base", "hubert-base",     "hubert_base.pt"};
static const char *const usual_vocoders[] = {"HiFi-GAN", "HiFiGAN"};

static const char *text_of(const cJSON *root, const char *key) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(root, key);
    return cJSON_IsString(value) ? value->valuestring : NULL;
}

static bool among(const char *const *list, size_t n, const char *text) {
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(list[i], text) == 0) return true;
    return false;
}

/* ---- sources ------------------------------------------------------------------------------------------- */

/* The list of a training's config.json {"data": {...}, "model": {...}}; NULL where it is none. */
static cJSON *list_of_training(const cJSON *root) {
    static const struct entry {
        const char *part, *key;
        double constant; /* where there is no key */
    } entries[] = {
        {"data", "filter_length", 0},
        {NULL, NULL, 32},
        {"model", "inter_channels", 0},
        {"model", "hidden_channels", 0},
        {"model", "filter_channels", 0},
        {"model", "n_heads", 0},
        {"model", "n_layers", 0},
        {"model", "kernel_size", 0},
        {"model", "p_dropout", 0},
        {"model", "resblock", 0},
        {"model", "resblock_kernel_sizes", 0},
        {"model", "resblock_dilation_sizes", 0},
        {"model", "upsample_rates", 0},
        {"model", "upsample_initial_channel", 0},
        {"model", "upsample_kernel_sizes", 0},
        {"model", "spk_embed_dim", 0},
        {"model", "gin_channels", 0},
        {"data", "sampling_rate", 0},
    };
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; list && i < sizeof entries / sizeof *entries; i++) {
        const cJSON *part = entries[i].part ? cJSON_GetObjectItemCaseSensitive(root, entries[i].part) : NULL;
        const cJSON *value = part ? cJSON_GetObjectItemCaseSensitive(part, entries[i].key) : NULL;
        cJSON *item = !entries[i].key ? cJSON_CreateNumber(entries[i].constant)
                      : i == 0 && cJSON_IsNumber(value)
                          ? cJSON_CreateNumber((double)(value->valueint / 2 + 1))
                      : value ? cJSON_Duplicate(value, true)
                              : NULL;
        if (item && cJSON_AddItemToArray(list, item)) continue;
        cJSON_Delete(item);
        cJSON_Delete(list);
        list = NULL;
    }
    return list;
}

/* The object a source amounts to, with "config" a list in it; NULL where the source has no such thing. Takes
 * `root`. */
static cJSON *with_list(cJSON *root) {
    cJSON *list = NULL;
    if (cJSON_IsArray(root)) {
        cJSON *object = cJSON_CreateObject();
        if (cJSON_AddItemToObject(object, "config", root)) return object;
        cJSON_Delete(object);
    } else if (cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(root, "config"))) {
        return root;
    } else if (text_of(root, "config")) {
        list = cJSON_Parse(text_of(root, "config"));
        cJSON_DeleteItemFromObjectCaseSensitive(root, "config");
    } else if ((list = list_of_training(root))) { /* the rest of it is about training */
        cJSON_Delete(root);
        root = cJSON_CreateObject();
    }
    if (cJSON_IsArray(list) && cJSON_AddItemToObject(root, "config", list)) return root;
    cJSON_Delete(list);
    cJSON_Delete(root);
    return NULL;
}

static cJSON *read_json(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = f ? malloc(MOST_TEXT) : NULL;
    size_t n = text ? fread(text, 1, MOST_TEXT - 1, f) : 0;
    cJSON *json = n ? cJSON_ParseWithLength(text, n) : NULL;
    if (f) fclose(f);
    free(text);
    return json;
}

/* From NAME.json or config.json beside the file. */
static cJSON *read_beside(const rvc_checkpoint *c) {
    const char *slash = strrchr(c->file, '/'), *dot = strrchr(c->file, '.');
    size_t folder = slash ? (size_t)(slash - c->file) + 1 : 0;
    size_t stem = dot && dot > c->file + folder ? (size_t)(dot - c->file) : strlen(c->file);
    size_t size = strlen(c->file) + sizeof "config.json";
    char *path = malloc(size);
    cJSON *json = NULL;
    if (!path) return NULL;
    snprintf(path, size, "%.*s.json", (int)stem, c->file);
    json = with_list(read_json(path));
    snprintf(path, size, "%.*sconfig.json", (int)folder, c->file);
    if (!json) json = with_list(read_json(path));
    free(path);
    return json;
}

/* ---- gathering ----------------------------------------------------------------------------------------- */

static int feature_width(const rvc_checkpoint *c) {
    const rvc_tensor *t = rvc_checkpoint_find(c, "enc_p.emb_phone.weight");
    return t && t->stored->rank == 2 && t->shape[1] < 65536 ? (int)t->shape[1] : 0;
}

/* Adds what the tensors say; *changed where something was missing. False: out of memory. */
static bool complete(cJSON *root, const rvc_checkpoint *c, bool *changed) {
    int width = feature_width(c);
    bool fine = true;
    if (!cJSON_GetObjectItemCaseSensitive(root, "f0")) {
        fine = cJSON_AddNumberToObject(root, "f0",
                                       rvc_checkpoint_find(c, "enc_p.emb_pitch.weight") != NULL) != NULL;
        *changed = true;
    }
    if (!cJSON_GetObjectItemCaseSensitive(root, "version") && (width == V1_WIDTH || width == V2_WIDTH)) {
        fine = cJSON_AddStringToObject(root, "version", width == V1_WIDTH ? "v1" : "v2") && fine;
        *changed = true;
    }
    if (cJSON_GetObjectItemCaseSensitive(root, "optimizer")) {
        cJSON_DeleteItemFromObjectCaseSensitive(root, "optimizer");
        *changed = true;
    }
    return fine;
}

/* Version and width of features that contradict each other. */
static bool compare(rvc_checkpoint *c, const cJSON *root) {
    static const char format[] =
        "its config says version \"%s\", but tensor \"enc_p.emb_phone.weight\" takes features of "
        "%d channels, as %s voices do; correct the version in its config.json";
    const char *version = text_of(root, "version");
    int width = feature_width(c);
    const char *fits = width == V1_WIDTH ? "v1" : width == V2_WIDTH ? "v2" : NULL;
    if (!version || !fits || strcmp(version, fits) == 0 || strlen(version) > 16) return true;
    size_t size = sizeof format + 64;
    if (!(c->note = malloc(size))) return false;
    snprintf(c->note, size, format, version, width, fits);
    return true;
}

nn_code rvc_config_gather(rvc_checkpoint *c, nn_error *e) {
    const char *text = nn_archive_json(c->archive);
    if (c->kind != RVC_KIND_VOICE) {
        if (text && !(c->config = strdup(text))) return nn_fail_memory(e, c->path);
        return NN_OK;
    }
    cJSON *own = text ? cJSON_Parse(text) : NULL;
    bool whole = cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(own, "config")), changed = !whole;
    cJSON *root = with_list(own);
    if (!root) root = read_beside(c);
    if (!root && !text) return NN_OK;
    bool fine = !root || (complete(root, c, &changed) && compare(c, root));
    if (fine) c->config = root && changed ? cJSON_PrintUnformatted(root) : strdup(text);
    cJSON_Delete(root);
    return fine && c->config ? NN_OK : nn_fail_memory(e, c->path);
}

/* ---- whether it can be converted with ------------------------------------------------------------------ */

static nn_code check_json(const rvc_checkpoint *c, const cJSON *root, nn_error *e) {
    const char *vocoder = text_of(root, "vocoder"), *embedder = text_of(root, "embedder_model");
    if (vocoder && !among(usual_vocoders, sizeof usual_vocoders / sizeof *usual_vocoders, vocoder))
        return nn_fail(
            e, NN_ERROR_MODEL,
            "%s: its vocoder is \"%.60s\", and only HiFi-GAN is supported; take a voice trained with "
            "HiFi-GAN",
            c->path, vocoder);
    if (embedder && !c->any_embedder &&
        !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "embedder_allowed")) &&
        !among(usual_embedders, sizeof usual_embedders / sizeof *usual_embedders, embedder))
        return nn_fail(
            e, NN_ERROR_MODEL,
            "%s: it was trained on features of the embedder \"%.60s\", not on HuBERT's or ContentVec's; if "
            "you have that embedder, `rvc import --allow-embedder` makes a voice to use with it as --hubert",
            c->path, embedder);
    return NN_OK;
}

/* A voice without the list. */
static nn_code fail_no_list(const rvc_checkpoint *c, const cJSON *root, nn_error *e) {
    bool training = c->count > c->names.count; /* it has leftovers */
    if (training)
        return nn_fail(
            e, NN_ERROR_MODEL,
            "%s: this is a checkpoint of a training (G_*.pth), which does not hold its own config; put the "
            "config.json of the training's folder beside it",
            c->path);
    if (!c->config)
        return nn_fail(
            e, NN_ERROR_MODEL,
            "%s: no config.json in it and no .json beside it; make the file with `rvc import` from the .pth",
            c->path);
    return nn_fail(e, NN_ERROR_FORMAT, "%s: config.json: %s; get the voice again", c->path,
                   cJSON_IsObject(root) ? "\"config\" is not the list of 18 entries that RVC writes"
                                        : "is not a JSON object");
}

nn_code rvc_config_check(const rvc_checkpoint *c, nn_error *e) {
    cJSON *root = c->config ? cJSON_Parse(c->config) : NULL;
    bool list = cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(root, "config"));
    nn_code code = list ? check_json(c, root, e) : fail_no_list(c, root, e);
    cJSON_Delete(root);
    return code;
}
