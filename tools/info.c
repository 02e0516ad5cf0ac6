/* info.c - `rvc info`: what a model or an index is.
 *
 * A model is recognised by its tensors, not by its name (rvc/checkpoint.h). Each kind lists the patterns of
 * the tensors its network reads; what no pattern names is unknown, and listed: a sign of a fork's checkpoint
 * or of the wrong file. Every file becomes one cJSON object, which is printed as lines for people or as one
 * line of JSON. */
#include "tools.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "../rvc/checkpoint.h"
#include "../rvc/config.h"
#include "../rvc/index.h"

enum { SHOWN = 20 };                            /* names of a list that lines for people show */
enum { UPSAMPLE_RATES = 12, SAMPLE_RATE = 17 }; /* places in a voice's config list */

/* ---- the tensors of each kind -------------------------------------------------------------------------- */

/* Patterns of rvc_name_matches: '*' is a number, '~' anything. */
static const char *const voice_needs[] = {"enc_p.emb_phone.~",
                                          "enc_p.emb_pitch.~",
                                          "enc_p.proj.~",
                                          "enc_p.encoder.attn_layers.*.conv_q.~",
                                          "enc_p.encoder.attn_layers.*.conv_k.~",
                                          "enc_p.encoder.attn_layers.*.conv_v.~",
                                          "enc_p.encoder.attn_layers.*.conv_o.~",
                                          "enc_p.encoder.attn_layers.*.emb_rel_k",
                                          "enc_p.encoder.attn_layers.*.emb_rel_v",
                                          "enc_p.encoder.ffn_layers.*.conv_1.~",
                                          "enc_p.encoder.ffn_layers.*.conv_2.~",
                                          "enc_p.encoder.norm_layers_1.*.~",
                                          "enc_p.encoder.norm_layers_2.*.~",
                                          "flow.flows.*.pre.~",
                                          "flow.flows.*.post.~",
                                          "flow.flows.*.enc.cond_layer.~",
                                          "flow.flows.*.enc.in_layers.*.~",
                                          "flow.flows.*.enc.res_skip_layers.*.~",
                                          "dec.conv_pre.~",
                                          "dec.conv_post.weight~",
                                          "dec.cond.~",
                                          "dec.ups.*.~",
                                          "dec.noise_convs.*.~",
                                          "dec.m_source.l_linear.~",
                                          "dec.resblocks.*.convs1.*.~",
                                          "dec.resblocks.*.convs2.*.~",
                                          "emb_g.weight",
                                          NULL};
static const char *const voice_leaves[] = {"enc_q.~", NULL};

static const char *const hubert_needs[] = {"feature_extractor.conv_layers.*.*.~",
                                           "layer_norm.~",
                                           "post_extract_proj.~",
                                           "encoder.pos_conv.*.~",
                                           "encoder.layer_norm.~",
                                           "encoder.layers.*.self_attn.q_proj.~",
                                           "encoder.layers.*.self_attn.k_proj.~",
                                           "encoder.layers.*.self_attn.v_proj.~",
                                           "encoder.layers.*.self_attn.out_proj.~",
                                           "encoder.layers.*.self_attn_layer_norm.~",
                                           "encoder.layers.*.fc1.~",
                                           "encoder.layers.*.fc2.~",
                                           "encoder.layers.*.final_layer_norm.~",
                                           "final_proj.~",
                                           NULL};
static const char *const hubert_leaves[] = {"mask_emb", "label_embs_concat", NULL};

static const char *const rmvpe_needs[] = {"unet.encoder.bn.~",
                                          "unet.encoder.layers.*.conv.*.conv.*.~",
                                          "unet.encoder.layers.*.conv.*.shortcut.~",
                                          "unet.intermediate.layers.*.conv.*.conv.*.~",
                                          "unet.intermediate.layers.*.conv.*.shortcut.~",
                                          "unet.decoder.layers.*.conv1.*.~",
                                          "unet.decoder.layers.*.conv2.*.conv.*.~",
                                          "unet.decoder.layers.*.conv2.*.shortcut.~",
                                          "cnn.~",
                                          "fc.*.~",
                                          NULL};
static const char *const rmvpe_leaves[] = {"~.num_batches_tracked", NULL};

static const char *const everything[] = {"~", NULL};
static const char *const nothing[] = {NULL};

static const struct patterns {
    const char *const *needs;  /* what the network reads */
    const char *const *leaves; /* of training, known and not needed */
} patterns_of[] = {
    [RVC_KIND_VOICE] = {voice_needs, voice_leaves},
    [RVC_KIND_HUBERT] = {hubert_needs, hubert_leaves},
    [RVC_KIND_RMVPE] = {rmvpe_needs, rmvpe_leaves},
    [RVC_KIND_OTHER] = {everything, nothing},
};

static bool matches_any(const char *const *patterns, const char *name) {
    for (; *patterns; patterns++)
        if (rvc_name_matches(*patterns, name)) return true;
    return false;
}

/* ---- filling a report ---------------------------------------------------------------------------------- */

/* The voice of --voice: what it takes. */
typedef struct voice {
    const char *path; /* NULL: not given */
    int version, width;
} voice;

typedef struct settings {
    bool json, tensors, help;
    voice voice;
    int files; /* at argv[1] .. argv[files] */
} settings;

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

static void tell_tensors(report *r, const rvc_checkpoint *c) {
    cJSON *all = list(r, "tensor_list");
    for (size_t i = 0; !r->failed && i < rvc_checkpoint_count(c); i++) {
        const rvc_tensor *t = rvc_checkpoint_at(c, i);
        cJSON *item = cJSON_CreateObject(), *shape = cJSON_CreateArray();
        r->failed |= !cJSON_AddStringToObject(item, "name", t->name) ||
                     !cJSON_AddStringToObject(item, "dtype", npz_dtype_name(t->stored->dtype));
        for (int d = 0; shape && d < t->stored->rank; d++)
            append(r, shape, cJSON_CreateNumber((double)t->shape[d]));
        if (!cJSON_AddItemToObject(item, "shape", shape)) {
            cJSON_Delete(shape);
            r->failed = true;
        }
        if (strcmp(t->name, t->stored->name) != 0)
            r->failed |= !cJSON_AddStringToObject(item, "stored_as", t->stored->name);
        append(r, all, item);
    }
}

/* What a voice's config says; where it does not say version or pitch, what the tensors do. */
static void tell_config_of_voice(report *r, const cJSON *config, const rvc_checkpoint *c, double width) {
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(config, "version");
    const cJSON *f0 = cJSON_GetObjectItemCaseSensitive(config, "f0");
    const cJSON *list_of = cJSON_GetObjectItemCaseSensitive(config, "config");
    const cJSON *rate = cJSON_GetArrayItem(list_of, SAMPLE_RATE),
                *up = cJSON_GetArrayItem(list_of, UPSAMPLE_RATES);
    const char *by_width = width == 256 ? "v1" : width == 768 ? "v2" : "unknown";
    say(r, "version", cJSON_IsString(version) ? version->valuestring : by_width);
    bool pitch = cJSON_IsNumber(f0) ? f0->valueint != 0
                 : cJSON_IsBool(f0) ? cJSON_IsTrue(f0)
                                    : rvc_checkpoint_find(c, "enc_p.emb_pitch.weight") != NULL;
    r->failed |= !cJSON_AddBoolToObject(r->json, "f0", pitch);
    if (cJSON_IsNumber(rate)) count(r, "sample_rate", rate->valuedouble);
    cJSON *copy = cJSON_IsArray(up) ? cJSON_Duplicate(up, true) : NULL;
    if (copy && !cJSON_AddItemToObject(r->json, "upsample_rates", copy)) {
        cJSON_Delete(copy);
        r->failed = true;
    }
}

/* What a voice is, and what keeps it from being used. */
static void tell_voice(report *r, const char *path, const rvc_checkpoint *checkpoint) {
    rvc_voice_config c;
    nn_error e = {0};
    nn_weights *w = NULL;
    const rvc_tensor *phone = rvc_checkpoint_find(checkpoint, "enc_p.emb_phone.weight"),
                     *g = rvc_checkpoint_find(checkpoint, "emb_g.weight");
    double width = phone && phone->stored->rank == 2 ? (double)phone->shape[1] : 0;
    const char *text = rvc_checkpoint_config(checkpoint);
    cJSON *config = text ? cJSON_Parse(text) : NULL;
    tell_config_of_voice(r, config, checkpoint, width);
    cJSON_Delete(config);
    if (g && g->stored->rank == 2) count(r, "speakers", (double)g->shape[0]);
    count(r, "feature_width", width);
    if (rvc_weights_open(&w, path, RVC_KIND_VOICE, &e) || rvc_voice_config_read(&c, w, &e))
        say_problem(r, path, &e);
    nn_weights_free(w);
}

/* "float16, float32": each dtype once, in the order met; and the numbers of tensors and of their elements. */
static void tell_sizes(report *r, const rvc_checkpoint *c) {
    char text[256] = "";
    double elements = 0;
    for (size_t i = 0; i < rvc_checkpoint_count(c); i++) {
        const npz_array *t = rvc_checkpoint_at(c, i)->stored;
        const char *dtype = npz_dtype_name(t->dtype);
        size_t n = strlen(text);
        elements += (double)t->count;
        if (!strstr(text, dtype)) snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", dtype);
    }
    count(r, "tensors", (double)rvc_checkpoint_count(c));
    count(r, "parameters", elements);
    say(r, "dtypes", text);
}

static void tell_names(report *r, const rvc_checkpoint *c) {
    const struct patterns *p = &patterns_of[rvc_checkpoint_kind(c)];
    double leftovers = 0;
    cJSON *unknown = list(r, "unknown_tensors");
    for (size_t i = 0; i < rvc_checkpoint_count(c); i++) {
        const rvc_tensor *t = rvc_checkpoint_at(c, i);
        if (t->leftover || matches_any(p->leaves, t->name))
            leftovers++;
        else if (!matches_any(p->needs, t->name))
            append(r, unknown, cJSON_CreateString(t->name));
    }
    count(r, "training_leftovers", leftovers);
}

static void tell_config(report *r, const rvc_checkpoint *c) {
    if (!rvc_checkpoint_config(c)) return;
    cJSON *config = cJSON_Parse(rvc_checkpoint_config(c));
    if (config && !cJSON_AddItemToObject(r->json, "config", config)) {
        cJSON_Delete(config);
        r->failed = true;
    }
}

static void tell_bytes(report *r, const char *path) {
    struct stat st;
    if (stat(path, &st) == 0) count(r, "file_bytes", (double)st.st_size);
}

/* Whether features of `width` channels are those the voice takes. */
static void tell_fit(report *r, const voice *v, int width) {
    if (!v->path) return;
    char text[100];
    snprintf(text, sizeof text, "no: the voice takes features of %d channels", v->width);
    say(r, "fits_the_voice", width == v->width ? "yes" : text);
}

static nn_code tell_model(report *r, const char *path, const settings *s, nn_error *e) {
    rvc_checkpoint *c;
    nn_code code = rvc_checkpoint_open(&c, path, e);
    if (code) return code;
    rvc_kind kind = rvc_checkpoint_kind(c);
    nn_error problem = {0};
    say(r, "kind", rvc_kind_name(kind));
    say(r, "format", rvc_checkpoint_format(c));
    tell_bytes(r, rvc_checkpoint_file(c));
    if (kind == RVC_KIND_VOICE)
        tell_voice(r, path, c);
    else if (rvc_checkpoint_check(c, RVC_KIND_OTHER, &problem))
        say_problem(r, path, &problem);
    if (rvc_checkpoint_note(c)) say(r, "note", rvc_checkpoint_note(c));
    if (kind == RVC_KIND_HUBERT && s->voice.path) {
        const char *name = s->voice.version == 1 ? "final_proj.weight" : "post_extract_proj.weight";
        const rvc_tensor *t = rvc_checkpoint_find(c, name);
        tell_fit(r, &s->voice, t && t->stored->rank == 2 ? (int)t->shape[0] : 0);
    }
    tell_sizes(r, c);
    tell_config(r, c);
    tell_names(r, c);
    if (s->tensors) tell_tensors(r, c);
    rvc_checkpoint_close(c);
    return NN_OK;
}

static nn_code tell_index(report *r, const char *path, const settings *s, nn_error *e) {
    rvc_index *x;
    nn_code code = rvc_index_open(&x, path, e);
    if (code) return code;
    int width = rvc_index_width(x);
    say(r, "kind", "index");
    say(r, "type", rvc_index_type(x));
    tell_bytes(r, path);
    count(r, "width", width);
    count(r, "vectors", (double)rvc_index_vectors(x));
    count(r, "lists", rvc_index_lists(x));
    count(r, "nprobe", rvc_index_nprobe(x));
    say(r, "fits",
        width == 256   ? "v1 voices"
        : width == 768 ? "v2 voices"
                       : "no voice of v1 (256) or v2 (768)");
    tell_fit(r, &s->voice, width);
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
static int inform(const char *path, const settings *s) {
    nn_error e = {0};
    report r = {.json = cJSON_CreateObject()};
    r.failed = !r.json;
    say(&r, "file", path);
    nn_code code = is_index(path) ? tell_index(&r, path, s, &e) : tell_model(&r, path, s, &e);
    if (code) {
        fprintf(stderr, "rvc info: %s\n", e.text);
        say(&r, "error", e.text);
    }
    char *text = s->json && !r.failed ? cJSON_PrintUnformatted(r.json) : NULL;
    if (r.failed || (s->json && !text))
        fprintf(stderr, "rvc info: out of memory for %s\n", path);
    else if (text)
        puts(text);
    else if (!code)
        print_report(r.json, s->tensors);
    free(text);
    cJSON_Delete(r.json);
    return code || r.failed;
}

static const char help[] =
    "usage: rvc info [--json] [--tensors] [--voice VOICE] FILE...\n"
    "\n"
    "Says what each FILE is: a voice (version, pitch, sample rate, speakers), a HuBERT or RMVPE\n"
    "model, in any format that `rvc import` reads, or a retrieval index (.index), and which\n"
    "voices an index fits. A Transformers model is named by its folder.\n"
    "\n"
    "  --json         one JSON object a line\n"
    "  --tensors      list every tensor with its dtype and shape, under the name used here\n"
    "  --voice VOICE  say of an index or a HuBERT whether it fits this voice\n"
    "\n"
    "'problem' is why a model cannot be used, and what to do. 'unknown tensors' are those the\n"
    "network does not read: none in a checkpoint this program fully knows. 'training leftovers'\n"
    "are known and not needed. Exit status 1 where a file could not be read; the others are\n"
    "still shown.\n";

/* argv into *s, options wherever they stand; files move to the front of argv. 0, or 2 after a line on stderr.
 */
static int read_arguments(settings *s, int argc, char **argv) {
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (!options || argv[i][0] != '-')
            argv[1 + s->files++] = argv[i];
        else if (!strcmp(argv[i], "--"))
            options = false;
        else if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help"))
            s->help = true;
        else if (!strcmp(argv[i], "--json"))
            s->json = true;
        else if (!strcmp(argv[i], "--tensors"))
            s->tensors = true;
        else if (!strcmp(argv[i], "--voice") && i + 1 < argc)
            s->voice.path = argv[++i];
        else {
            fprintf(stderr, "rvc info: %s %s\n", argv[i],
                    !strcmp(argv[i], "--voice") ? "takes a file" : "is an unknown option; --help lists them");
            return 2;
        }
    }
    if (s->files || s->help) return 0;
    fputs("usage: rvc info [--json] [--tensors] [--voice VOICE] FILE...   (--help says more)\n", stderr);
    return 2;
}

/* What the voice of --voice takes. */
static nn_code read_voice(voice *v, nn_error *e) {
    nn_weights *w;
    rvc_voice_config c = {0};
    nn_code code = rvc_weights_open(&w, v->path, RVC_KIND_VOICE, e);
    if (!code) code = rvc_voice_config_read(&c, w, e);
    nn_weights_free(w);
    v->version = c.version;
    v->width = c.feature_width;
    return code;
}

int rvc_info_main(int argc, char **argv) {
    settings s = {.files = 0};
    nn_error e = {0};
    int status = read_arguments(&s, argc, argv);
    if (status) return status;
    if (s.help) return fputs(help, stdout) < 0;
    if (s.voice.path && read_voice(&s.voice, &e)) {
        fprintf(stderr, "rvc info: %s\n", e.text);
        return 1;
    }
    for (int i = 1; i <= s.files; i++) status |= inform(argv[i], &s);
    return status;
}
