/* info.c - `rvc info`: what a model or an index is.
 *
 * A model is recognised by its tensors, not by its name: the first kind whose signature tensor it has. Each
 * kind lists the patterns of the tensors its network reads; what no pattern names is unknown, and listed: a
 * sign of a fork's checkpoint or of the wrong file. Every file becomes one cJSON object, which is printed as
 * lines for people or as one line of JSON. */
#include "tools.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "../nn/weights.h"
#include "../rvc/config.h"
#include "../rvc/index.h"

enum { SHOWN = 20 }; /* names of a list that lines for people show */

/* ---- kinds of model ------------------------------------------------------------------------------------ */

/* '*' is a number, '@' a parameter of a layer (weight, bias, ...), '~' anything. */
static const char *const voice_needs[] = {"enc_p.emb_phone.@",
                                          "enc_p.emb_pitch.@",
                                          "enc_p.proj.@",
                                          "enc_p.encoder.attn_layers.*.conv_q.@",
                                          "enc_p.encoder.attn_layers.*.conv_k.@",
                                          "enc_p.encoder.attn_layers.*.conv_v.@",
                                          "enc_p.encoder.attn_layers.*.conv_o.@",
                                          "enc_p.encoder.attn_layers.*.emb_rel_k",
                                          "enc_p.encoder.attn_layers.*.emb_rel_v",
                                          "enc_p.encoder.ffn_layers.*.conv_1.@",
                                          "enc_p.encoder.ffn_layers.*.conv_2.@",
                                          "enc_p.encoder.norm_layers_1.*.@",
                                          "enc_p.encoder.norm_layers_2.*.@",
                                          "flow.flows.*.pre.@",
                                          "flow.flows.*.post.@",
                                          "flow.flows.*.enc.cond_layer.@",
                                          "flow.flows.*.enc.in_layers.*.@",
                                          "flow.flows.*.enc.res_skip_layers.*.@",
                                          "dec.conv_pre.@",
                                          "dec.conv_post.weight",
                                          "dec.conv_post.weight_g",
                                          "dec.conv_post.weight_v",
                                          "dec.cond.@",
                                          "dec.ups.*.@",
                                          "dec.noise_convs.*.@",
                                          "dec.m_source.l_linear.@",
                                          "dec.resblocks.*.convs1.*.@",
                                          "dec.resblocks.*.convs2.*.@",
                                          "emb_g.weight",
                                          NULL};
static const char *const voice_leaves[] = {"enc_q.~", NULL};

static const char *const hubert_needs[] = {"feature_extractor.conv_layers.*.*.@",
                                           "layer_norm.@",
                                           "post_extract_proj.@",
                                           "encoder.pos_conv.*.@",
                                           "encoder.layer_norm.@",
                                           "encoder.layers.*.self_attn.q_proj.@",
                                           "encoder.layers.*.self_attn.k_proj.@",
                                           "encoder.layers.*.self_attn.v_proj.@",
                                           "encoder.layers.*.self_attn.out_proj.@",
                                           "encoder.layers.*.self_attn_layer_norm.@",
                                           "encoder.layers.*.fc1.@",
                                           "encoder.layers.*.fc2.@",
                                           "encoder.layers.*.final_layer_norm.@",
                                           "final_proj.@",
                                           NULL};
static const char *const hubert_leaves[] = {"mask_emb", "label_embs_concat", NULL};

static const char *const rmvpe_needs[] = {"unet.encoder.bn.@",
                                          "unet.encoder.layers.*.conv.*.conv.*.@",
                                          "unet.encoder.layers.*.conv.*.shortcut.@",
                                          "unet.intermediate.layers.*.conv.*.conv.*.@",
                                          "unet.intermediate.layers.*.conv.*.shortcut.@",
                                          "unet.decoder.layers.*.conv1.*.@",
                                          "unet.decoder.layers.*.conv2.*.conv.*.@",
                                          "unet.decoder.layers.*.conv2.*.shortcut.@",
                                          "cnn.@",
                                          "fc.*.@",
                                          "fc.*.gru.@",
                                          "fc.*.gru.@_reverse",
                                          NULL};
static const char *const rmvpe_leaves[] = {"~.num_batches_tracked", NULL};

static const char *const nothing[] = {NULL};
static const char *const everything[] = {"~", NULL};

static const struct kind {
    const char *name, *signature;
    const char *const *needs;  /* what the network reads */
    const char *const *leaves; /* of training, known and not needed */
} kinds[] = {
    {"voice", "enc_p.emb_phone.weight", voice_needs, voice_leaves},
    {"HuBERT", "post_extract_proj.weight", hubert_needs, hubert_leaves},
    {"RMVPE", "unet.encoder.bn.weight", rmvpe_needs, rmvpe_leaves},
    {"other", NULL, everything, nothing},
};

static const char *const parameters[] = {"parametrizations.weight.original0",
                                         "parametrizations.weight.original1",
                                         "weight_ih_l0",
                                         "weight_hh_l0",
                                         "bias_ih_l0",
                                         "bias_hh_l0",
                                         "weight_g",
                                         "weight_v",
                                         "weight",
                                         "bias",
                                         "gamma",
                                         "beta",
                                         "running_mean",
                                         "running_var",
                                         NULL};

static bool matches(const char *pattern, const char *name) {
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            size_t digits = strspn(name, "0123456789");
            if (digits == 0) return false;
            name += digits;
        } else if (*pattern == '@') {
            for (const char *const *p = parameters; *p; p++)
                if (!strncmp(name, *p, strlen(*p)) && matches(pattern + 1, name + strlen(*p))) return true;
            return false;
        } else if (*pattern == '~') {
            while (*name && !matches(pattern + 1, name)) name++;
            return matches(pattern + 1, name);
        } else if (*pattern != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

static bool matches_any(const char *const *patterns, const char *name) {
    for (; *patterns; patterns++)
        if (matches(*patterns, name)) return true;
    return false;
}

static const struct kind *kind_of(const nn_weights *w) {
    const struct kind *k = kinds;
    while (k->signature && !nn_weights_peek(w, k->signature)) k++;
    return k;
}

/* ---- filling a report ---------------------------------------------------------------------------------- */

/* One file's report; `failed` once an allocation did. */
typedef struct report {
    cJSON *json;
    bool failed;
} report;

static void say(report *r, const char *key, const char *text) {
    r->failed |= !cJSON_AddStringToObject(r->json, key, text);
}
static void count(report *r, const char *key, double value) {
    r->failed |= !cJSON_AddNumberToObject(r->json, key, value);
}

/* The line of a failure without the file's name, which the report begins with. */
static void say_problem(report *r, const char *path, const nn_error *e) {
    size_t n = strlen(path);
    bool named = strncmp(e->text, path, n) == 0 && e->text[n] == ':';
    say(r, "problem", named ? e->text + n + 2 : e->text);
}

/* A list under `key`; NULL (and failed) when out of memory, which the cJSON functions take. */
static cJSON *list(report *r, const char *key) {
    cJSON *a = cJSON_AddArrayToObject(r->json, key);
    r->failed |= !a;
    return a;
}

static void append(report *r, cJSON *array, cJSON *item) {
    if (item && cJSON_AddItemToArray(array, item)) return;
    cJSON_Delete(item);
    r->failed = true;
}

static void tell_tensors(report *r, const nn_weights *w) {
    cJSON *all = list(r, "tensor_list");
    for (size_t i = 0; !r->failed && i < nn_weights_count(w); i++) {
        const nn_weight *t = nn_weights_at(w, i);
        cJSON *item = cJSON_CreateObject(), *shape = cJSON_CreateArray();
        r->failed |= !cJSON_AddStringToObject(item, "name", t->name) ||
                     !cJSON_AddStringToObject(item, "dtype", t->dtype);
        for (int d = 0; shape && d < t->rank; d++) append(r, shape, cJSON_CreateNumber((double)t->shape[d]));
        if (!cJSON_AddItemToObject(item, "shape", shape)) {
            cJSON_Delete(shape);
            r->failed = true;
        }
        append(r, all, item);
    }
}

/* What the config of a voice says, or what is wrong with it. */
static void tell_voice(report *r, const nn_weights *w) {
    rvc_voice_config c;
    nn_error e = {0};
    const nn_weight *phone = nn_weights_peek(w, "enc_p.emb_phone.weight"),
                    *g = nn_weights_peek(w, "emb_g.weight");
    int64_t width = phone->rank == 2 ? phone->shape[1] : 0;
    bool unreadable = rvc_voice_config_read(&c, w, &e) != NN_OK;
    int version = !unreadable ? c.version : width == 256 ? 1 : width == 768 ? 2 : 0;
    say(r, "version", (const char *const[]){"unknown", "v1", "v2"}[version]);
    count(r, "feature_width", (double)width);
    r->failed |= !cJSON_AddBoolToObject(r->json, "f0", nn_weights_peek(w, "enc_p.emb_pitch.weight") != NULL);
    if (g && g->rank == 2) count(r, "speakers", (double)g->shape[0]);
    if (unreadable) {
        say_problem(r, nn_weights_path(w), &e);
        return;
    }
    count(r, "sample_rate", c.rate);
    cJSON *rates = list(r, "upsample_rates");
    for (int i = 0; i < c.levels; i++) append(r, rates, cJSON_CreateNumber(c.up_rate[i]));
}

/* "float16, float32": each dtype once, in the order met. */
static void tell_dtypes(report *r, const nn_weights *w) {
    char text[256] = "";
    for (size_t i = 0; i < nn_weights_count(w); i++) {
        const char *dtype = nn_weights_at(w, i)->dtype;
        size_t n = strlen(text);
        if (!strstr(text, dtype)) snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", dtype);
    }
    say(r, "dtypes", text);
}

static nn_code tell_model(report *r, const char *path, bool tensors, nn_error *e) {
    nn_weights *w;
    nn_code code = nn_weights_open(&w, path, e);
    if (code) return code;
    const struct kind *kind = kind_of(w);
    say(r, "kind", kind->name);
    if (kind == &kinds[0]) tell_voice(r, w);
    double elements = 0, leftovers = 0;
    for (size_t i = 0; i < nn_weights_count(w); i++) elements += (double)nn_weights_at(w, i)->count;
    count(r, "tensors", (double)nn_weights_count(w));
    count(r, "parameters", elements);
    tell_dtypes(r, w);
    if (nn_weights_config(w)) {
        cJSON *config = cJSON_Parse(nn_weights_config(w));
        if (!config)
            say(r, "problem", "its config.json is not JSON");
        else if (!cJSON_AddItemToObject(r->json, "config", config))
            r->failed = true;
    }
    cJSON *unknown = list(r, "unknown_tensors");
    for (size_t i = 0; i < nn_weights_count(w); i++) {
        const char *name = nn_weights_at(w, i)->name;
        if (matches_any(kind->needs, name)) continue;
        if (matches_any(kind->leaves, name))
            leftovers++;
        else
            append(r, unknown, cJSON_CreateString(name));
    }
    count(r, "training_leftovers", leftovers);
    if (tensors) tell_tensors(r, w);
    nn_weights_free(w);
    return NN_OK;
}

static nn_code tell_index(report *r, const char *path, nn_error *e) {
    rvc_index *x;
    nn_code code = rvc_index_open(&x, path, e);
    if (code) return code;
    int width = rvc_index_width(x);
    say(r, "kind", "index");
    say(r, "type", rvc_index_type(x));
    count(r, "width", width);
    count(r, "vectors", (double)rvc_index_vectors(x));
    count(r, "lists", rvc_index_lists(x));
    count(r, "nprobe", rvc_index_nprobe(x));
    say(r, "fits",
        width == 256   ? "v1 voices"
        : width == 768 ? "v2 voices"
                       : "no voice of v1 (256) or v2 (768)");
    nn_error problem = {0};
    if (rvc_index_check(x, width, &problem)) say_problem(r, path, &problem);
    rvc_index_close(x);
    return NN_OK;
}

/* ---- printing ------------------------------------------------------------------------------------------ */

/* One value, of a list one item a line: names, or tensors as "name dtype [shape]". Control characters are not
 * let through. */
static void print_text(const char *text) {
    for (; *text; text++) putchar((unsigned char)*text < ' ' ? '?' : *text);
}

static void print_value(const cJSON *value) {
    const cJSON *name = cJSON_GetObjectItem(value, "name");
    if (cJSON_IsString(value))
        print_text(value->valuestring);
    else if (cJSON_IsBool(value))
        print_text(cJSON_IsTrue(value) ? "yes" : "no");
    else if (cJSON_IsNumber(value))
        printf("%.15g", value->valuedouble);
    else if (name) {
        print_value(name);
        printf(" %s ", cJSON_GetObjectItem(value, "dtype")->valuestring);
        print_value(cJSON_GetObjectItem(value, "shape"));
    } else {
        char *text = cJSON_PrintUnformatted(value);
        print_text(text ? text : "?");
        free(text);
    }
}

static void print_field(const cJSON *field, bool all) {
    char label[32];
    snprintf(label, sizeof label, "%s", field->string);
    for (char *c = label; *c; c++)
        if (*c == '_') *c = ' ';
    printf("  %-20s", label);
    const cJSON *first = field->child;
    if (!cJSON_IsArray(field) || cJSON_IsNumber(first)) {
        print_value(field);
        putchar('\n');
        return;
    }
    int n = cJSON_GetArraySize(field), shown = 0;
    printf("%d\n", n);
    for (const cJSON *item = first; item && (all || shown < SHOWN); item = item->next, shown++) {
        fputs("    ", stdout);
        print_value(item);
        putchar('\n');
    }
    if (shown < n) printf("    and %d more (--tensors shows all)\n", n - shown);
}

static void print_report(const cJSON *json, bool all) {
    const cJSON *file = json->child; /* "file" comes first */
    print_text(file->valuestring);
    putchar('\n');
    for (const cJSON *field = file->next; field; field = field->next) print_field(field, all);
}

/* ---- the subcommand ------------------------------------------------------------------------------------ */

/* Whether the file begins as FAISS indexes do, or says so by its name. */
static bool is_index(const char *path) {
    char head[2] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f) fclose(f);
    const char *dot = strrchr(path, '.');
    return (n == 2 && head[0] == 'I' &&
            (head[1] == 'w' || head[1] == 'x' || head[1] == 'v' || head[1] == 'H')) ||
           (dot && strcmp(dot, ".index") == 0);
}

/* One file's report on stdout; a failure in a line on stderr (and, as JSON, on stdout too). */
static int inform(const char *path, bool as_json, bool tensors) {
    nn_error e = {0};
    report r = {.json = cJSON_CreateObject()};
    r.failed = !r.json;
    say(&r, "file", path);
    nn_code code = is_index(path) ? tell_index(&r, path, &e) : tell_model(&r, path, tensors, &e);
    if (code) {
        fprintf(stderr, "rvc info: %s\n", e.text);
        say(&r, "error", e.text);
    }
    char *text = as_json && !r.failed ? cJSON_PrintUnformatted(r.json) : NULL;
    if (r.failed || (as_json && !text))
        fprintf(stderr, "rvc info: out of memory for %s\n", path);
    else if (text)
        puts(text);
    else if (!code)
        print_report(r.json, tensors);
    free(text);
    cJSON_Delete(r.json);
    return code || r.failed;
}

static const char help[] =
    "usage: rvc info [--json] [--tensors] FILE...\n"
    "\n"
    "Says what each FILE is: a voice (version, pitch, sample rate, speakers), a HuBERT or RMVPE\n"
    "model (.npz), or a retrieval index (.index), and which voices an index fits.\n"
    "\n"
    "  --json     one JSON object a line\n"
    "  --tensors  list every tensor with its dtype and shape\n"
    "\n"
    "'unknown tensors' are those the network does not read: none in a checkpoint this program\n"
    "fully knows. 'training leftovers' are known and not needed. Exit status 1 where a file could\n"
    "not be read; the others are still shown.\n";

int rvc_info_main(int argc, char **argv) {
    bool json = false, tensors = false, options = true;
    int files = 0, status = 0;
    for (int i = 1; i < argc; i++) { /* options first, wherever they stand; files move to the front */
        if (options && (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help"))) return fputs(help, stdout) < 0;
        if (options && !strcmp(argv[i], "--"))
            options = false;
        else if (options && !strcmp(argv[i], "--json"))
            json = true;
        else if (options && !strcmp(argv[i], "--tensors"))
            tensors = true;
        else if (options && argv[i][0] == '-') {
            fprintf(stderr, "rvc info: unknown option %s\n", argv[i]);
            return 2;
        } else
            argv[1 + files++] = argv[i];
    }
    if (files == 0) {
        fputs("usage: rvc info [--json] [--tensors] FILE...   (--help says more)\n", stderr);
        return 2;
    }
    for (int i = 1; i <= files; i++) status |= inform(argv[i], json, tensors);
    return status;
}
