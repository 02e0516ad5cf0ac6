/* config.c - reading a voice's config.json.
 *
 *   {"config": [spec_channels, segment_size, inter, hidden, filter, heads, layers, kernel, dropout, resblock,
 *               [resblock kernels], [[dilations]...], [upsample rates], initial channels, [upsample kernels],
 *               speakers, gin, rate], "f0": 0|1, "version": "v1"|"v2", ...}
 *
 * Invariant: after rvc_voice_config_read every number is in a range that graph building and buffer sizes can
 * rely on; nothing is derived from the sample rate (v1 and v2 upsample differently at 32k and 48k). */
#include "config.h"
#include "../nn/nn.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

/* Places in the config list. */
enum {
    INTER = 2,
    HIDDEN = 3,
    HEADS = 5,
    LAYERS = 6,
    RESBLOCK = 9,
    KERNELS,
    DILATIONS,
    RATES,
    INITIAL,
    UP_KERNELS,
    RATE = 17,
    ENTRIES
};

typedef struct reader {
    const char *path;
    nn_error *e;
    nn_code code;
} reader;

static void bad(reader *r, const char *what) {
    if (!r->code) r->code = nn_fail(r->e, NN_ERROR_FORMAT, "%s: config.json: %s", r->path, what);
}

static int number(reader *r, const cJSON *j, int low, int high, const char *what) {
    if (cJSON_IsNumber(j) && j->valuedouble >= low && j->valuedouble <= high && j->valuedouble == j->valueint)
        return j->valueint;
    bad(r, what);
    return low;
}

/* A list of 1 .. most whole numbers in low..high; returns how many. */
static int numbers(reader *r, const cJSON *j, int *out, int most, int low, int high, const char *what) {
    int n = cJSON_IsArray(j) ? cJSON_GetArraySize(j) : 0;
    if (n < 1 || n > most) {
        bad(r, what);
        return 0;
    }
    for (int i = 0; i < n; i++) out[i] = number(r, cJSON_GetArrayItem(j, i), low, high, what);
    return n;
}

static void read_list(reader *r, const cJSON *list, rvc_voice_config *c) {
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != ENTRIES) {
        bad(r, "\"config\" is not the list of 18 entries that RVC writes");
        return;
    }
    const cJSON *at[ENTRIES];
    for (int i = 0; i < ENTRIES; i++) at[i] = cJSON_GetArrayItem(list, i);
    c->inter = number(r, at[INTER], 2, 8192, "bad number of latent channels (config[2])");
    c->hidden = number(r, at[HIDDEN], 1, 8192, "bad number of hidden channels (config[3])");
    c->heads = number(r, at[HEADS], 1, 256, "bad number of heads (config[5])");
    c->layers = number(r, at[LAYERS], 1, 256, "bad number of layers (config[6])");
    if (!cJSON_IsString(at[RESBLOCK]) || strcmp(at[RESBLOCK]->valuestring, "1") != 0)
        bad(r, "residual blocks of another type than \"1\" (config[9]) are not supported");
    c->kernels = numbers(r, at[KERNELS], c->kernel, RVC_MAX_KERNELS, 1, 255,
                         "bad residual block kernels (config[10])");
    if (!cJSON_IsArray(at[DILATIONS]) || cJSON_GetArraySize(at[DILATIONS]) != c->kernels)
        bad(r, "not as many lists of dilations (config[11]) as residual block kernels");
    for (int i = 0; i < c->kernels && !r->code; i++)
        c->dilations[i] = numbers(r, cJSON_GetArrayItem(at[DILATIONS], i), c->dilation[i], RVC_MAX_DILATIONS,
                                  1, 255, "bad dilations (config[11])");
    c->levels = numbers(r, at[RATES], c->up_rate, RVC_MAX_LEVELS, 1, 64, "bad upsample rates (config[12])");
    if (numbers(r, at[UP_KERNELS], c->up_kernel, RVC_MAX_LEVELS, 1, 255,
                "bad upsample kernels (config[14])") != c->levels)
        bad(r, "not as many upsample kernels (config[14]) as upsample rates");
    c->rate = number(r, at[RATE], 8000, 384000, "bad sample rate (config[17])");
}

/* What the numbers must be to each other. */
static void check(reader *r, rvc_voice_config *c) {
    int64_t upp = 1;
    for (int i = 0; i < c->levels; i++) {
        upp *= c->up_rate[i];
        if (c->up_kernel[i] < c->up_rate[i] || (c->up_kernel[i] - c->up_rate[i]) % 2)
            bad(r, "an upsample kernel (config[14]) does not fit its rate (config[12])");
    }
    for (int i = 0; i < c->kernels; i++)
        if (c->kernel[i] % 2 == 0) bad(r, "residual block kernels (config[10]) must be odd");
    if (c->inter % 2) bad(r, "an odd number of latent channels (config[2])");
    if (c->hidden % c->heads) bad(r, "hidden channels (config[3]) are not a multiple of heads (config[5])");
    if (upp * 100 != c->rate)
        bad(r, "the upsample rates (config[12]) do not give 1/100 of the sample rate (config[17])");
    c->upp = (int)upp;
}

static void read_keys(reader *r, const cJSON *root, const nn_weights *w, rvc_voice_config *c) {
    const cJSON *vocoder = cJSON_GetObjectItemCaseSensitive(root, "vocoder");
    if (cJSON_IsString(vocoder) && strcasecmp(vocoder->valuestring, "HiFi-GAN") != 0 &&
        strcasecmp(vocoder->valuestring, "hifigan") != 0 && !r->code)
        r->code =
            nn_fail(r->e, NN_ERROR_MODEL, "%s: the vocoder \"%.40s\" is not supported, only HiFi-GAN is",
                    r->path, vocoder->valuestring);
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, "version");
    const char *v = cJSON_IsString(version) ? version->valuestring : "v1"; /* WebUI's default too */
    c->version = strcmp(v, "v2") == 0 ? 2 : 1;
    if (strcmp(v, "v1") != 0 && strcmp(v, "v2") != 0 && !r->code)
        r->code = nn_fail(r->e, NN_ERROR_MODEL,
                          "%s: the version \"%.40s\" is not supported, only v1 and v2 are", r->path, v);
    const cJSON *f0 = cJSON_GetObjectItemCaseSensitive(root, "f0");
    bool has = nn_weights_peek(w, "enc_p.emb_pitch.weight") != NULL;
    c->f0 = cJSON_IsNumber(f0) ? f0->valueint != 0 : cJSON_IsBool(f0) ? cJSON_IsTrue(f0) : has;
    if (c->f0 && !has && !r->code)
        r->code = nn_fail(r->e, NN_ERROR_MODEL,
                          "%s: tensor \"enc_p.emb_pitch.weight\" is missing, though config.json says f0: 1",
                          r->path);
}

/* Length of axis i of a matrix, checked to be sane. */
static int axis(reader *r, const nn_weights *w, const char *name, int i) {
    const nn_weight *t = nn_weights_peek(w, name);
    if (t && t->rank >= 2 && t->shape[i] > 0 && t->shape[i] <= 65536) return (int)t->shape[i];
    if (!r->code)
        r->code = t ? nn_fail(r->e, NN_ERROR_MODEL, "%s: tensor \"%s\" is not a matrix of a sensible size",
                              r->path, name)
                    : nn_fail(r->e, NN_ERROR_MODEL, "%s: tensor \"%s\" is missing", r->path, name);
    return 1;
}

/* Taps of the convolution `name`, plain or weight-normed; 0 where there is none. */
static int64_t taps(const nn_weights *w, const char *name) {
    static const char *const forms[] = {"weight", "weight_v", "parametrizations.weight.original1"};
    char full[128];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        snprintf(full, sizeof full, "%s.%s", name, forms[i]);
        const nn_weight *t = nn_weights_peek(w, full);
        if (t) return t->rank == 3 ? t->shape[2] : 0;
    }
    return 0;
}

/* The rates decide strides and paddings, the tensors the kernels: they must be of one voice. Absent tensors
 * are left for graph building to name. */
static void check_rates(reader *r, const nn_weights *w, const rvc_voice_config *c) {
    int rest = c->upp;
    char name[64];
    for (int i = 0; i < c->levels; i++) {
        rest /= c->up_rate[i];
        snprintf(name, sizeof name, "dec.ups.%d", i);
        int64_t up = taps(w, name), noise;
        if (up && up != c->up_kernel[i] && !r->code)
            r->code = nn_fail(r->e, NN_ERROR_MODEL,
                              "%s: config.json: upsample kernel %d (config[14]), but \"%s\" has %lld taps",
                              r->path, c->up_kernel[i], name, (long long)up);
        snprintf(name, sizeof name, "dec.noise_convs.%d", i);
        noise = taps(w, name);
        if (c->f0 && noise && noise != (rest > 1 ? 2 * rest : 1) && !r->code)
            r->code = nn_fail(
                r->e, NN_ERROR_MODEL,
                "%s: config.json: upsample rates (config[12]) that do not fit the %lld taps of \"%s\"",
                r->path, (long long)noise, name);
    }
}

nn_code rvc_voice_config_read(rvc_voice_config *c, const nn_weights *w, nn_error *e) {
    *c = (rvc_voice_config){0};
    reader r = {.path = nn_weights_path(w), .e = e};
    const char *text = nn_weights_config(w);
    if (!text)
        return nn_fail(e, NN_ERROR_MODEL,
                       "%s: no config.json in it and no .json beside it; make the file with `rvc import`",
                       r.path);
    cJSON *root = cJSON_Parse(text);
    if (!cJSON_IsObject(root)) bad(&r, "is not a JSON object");
    read_keys(&r, root, w, c);
    if (!r.code) read_list(&r, cJSON_GetObjectItemCaseSensitive(root, "config"), c);
    if (!r.code) check(&r, c);
    if (!r.code &&
        (nn_count(w, "enc_p.encoder.attn_layers") != c->layers || nn_count(w, "dec.ups") != c->levels ||
         nn_count(w, "dec.resblocks") != c->levels * c->kernels))
        bad(&r, "its encoder layers, upsample rates or residual blocks are not those of the tensors");
    if (!r.code) check_rates(&r, w, c);
    if (!r.code) {
        c->feature_width = axis(&r, w, "enc_p.emb_phone.weight", 1);
        c->speakers = axis(&r, w, "emb_g.weight", 0);
        c->channels = axis(&r, w, "dec.cond.weight", 0);
    }
    cJSON_Delete(root);
    return r.code;
}
