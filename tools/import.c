/* import.c - `rvc import`: any checkpoint as an .npz that this program, and numpy, read at once.
 *
 * Tensors go one at a time from the checkpoint to the archive, under their canonical names
 * (rvc/checkpoint.h), so memory is the size of the largest tensor, twice where its axes are moved or its type
 * is changed.
 *
 * Invariant: MODEL.npz is the old file or the whole new one, never a part; a tensor that is not finite is not
 * written unless asked for. */
#include "tools.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "../rvc/checkpoint.h"

enum { AS_STORED = -1 };

typedef struct settings {
    const char *input, *output;
    int dtype; /* an npz_dtype for the floats, or AS_STORED */
    bool allow_nonfinite, allow_embedder, force, help;
} settings;

typedef struct totals {
    size_t tensors, leftovers;
    uint64_t elements;
    unsigned dtypes; /* bit per npz_dtype of floats written */
} totals;

static bool is_float(npz_dtype t) {
    return t == NPZ_F16 || t == NPZ_F32 || t == NPZ_F64 || t == NPZ_BF16;
}

/* ---- float16 ------------------------------------------------------------------------------------------- */

/* Round to nearest, ties to even; what is too large becomes infinity. Adding the right power of two lets the
 * float unit round a subnormal; for the others the bit pattern is rounded as an integer, which carries into
 * the exponent. */
static uint16_t half_of(float x) {
    uint32_t bits, sign;
    memcpy(&bits, &x, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more */
    if (bits < 0x38800000u) {                                   /* under 2^-14 */
        float magnitude, half = 0.5f;
        memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += half; /* the last bit of a float of 0.5 is 2^-24, half's smallest step */
        memcpy(&bits, &magnitude, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | ((bits - 0x38000000u) >> 13));
}

/* ---- values -------------------------------------------------------------------------------------------- */

/* Index of the first element that is NaN or infinite, or count. Blocks first: that loop vectorises. */
#define FIRST_NOT_FINITE(name, type, exponent)                                                               \
    static size_t name(const void *data, size_t count) {                                                     \
        enum { BLOCK = 1024 };                                                                               \
        const type *x = data, mask = exponent;                                                               \
        size_t i = 0;                                                                                        \
        for (; i + BLOCK <= count; i += BLOCK) {                                                             \
            type bad = 0;                                                                                    \
            for (size_t j = i; j < i + BLOCK; j++) bad |= (type)((x[j] & mask) == mask);                     \
            if (bad) break;                                                                                  \
        }                                                                                                    \
        while (i < count && (x[i] & mask) != mask) i++;                                                      \
        return i;                                                                                            \
    }
FIRST_NOT_FINITE(first_bad_f16, uint16_t, 0x7c00u)
FIRST_NOT_FINITE(first_bad_bf16, uint16_t, 0x7f80u)
FIRST_NOT_FINITE(first_bad_f32, uint32_t, 0x7f800000u)
FIRST_NOT_FINITE(first_bad_f64, uint64_t, 0x7ff0000000000000u)

static size_t first_bad(npz_dtype t, const void *data, size_t count) {
    static size_t (*const first[])(const void *, size_t) = {[NPZ_F16] = first_bad_f16,
                                                            [NPZ_F32] = first_bad_f32,
                                                            [NPZ_F64] = first_bad_f64,
                                                            [NPZ_BF16] = first_bad_bf16};
    return is_float(t) ? first[t](data, count) : count;
}

/* The dtype a tensor is written in. numpy has no bfloat16, and every one of them is a float32. */
static npz_dtype dtype_for(const settings *s, npz_dtype stored) {
    if (!is_float(stored)) return stored;
    return s->dtype != AS_STORED ? (npz_dtype)s->dtype : stored == NPZ_BF16 ? NPZ_F32 : stored;
}

/* data [count] of type `from` becomes one of type `to`, float32 or float16; the old buffer is freed. */
static bool change_dtype(void **data, npz_dtype from, npz_dtype to, size_t count) {
    if (from == to) return true;
    float *floats = malloc(count * sizeof *floats + 1);
    bool fine = floats && npz_to_f32(from, floats, *data, count);
    free(*data);
    *data = floats;
    if (!fine || to == NPZ_F32) return fine;
    uint16_t *halves = malloc(count * sizeof *halves + 1);
    for (size_t i = 0; halves && i < count; i++) halves[i] = half_of(floats[i]);
    free(floats);
    *data = halves;
    return halves != NULL;
}

static nn_code write_tensor(npz_writer *w, rvc_checkpoint *c, const rvc_tensor *t, const settings *s,
                            totals *sum, nn_error *e) {
    npz_dtype from = t->stored->dtype, to = dtype_for(s, from);
    size_t count = (size_t)t->stored->count, bad = count;
    void *data = malloc((size_t)t->stored->bytes + 1);
    nn_code code = data ? rvc_checkpoint_read(c, t, data, e) : nn_fail_memory(e, t->name);
    if (!code && !s->allow_nonfinite) bad = first_bad(from, data, count);
    if (!code && bad < count)
        code = nn_fail(
            e, NN_ERROR_MODEL,
            "%s: tensor \"%s\" holds NaN or infinity (element %zu); the file is damaged or its training "
            "failed: get another one (--allow-nonfinite imports it all the same)",
            s->input, t->name, bad);
    if (!code && !change_dtype(&data, from, to, count)) code = nn_fail_memory(e, t->name);
    if (!code && from != to && !s->allow_nonfinite && (bad = first_bad(to, data, count)) < count)
        code =
            nn_fail(e, NN_ERROR_MODEL,
                    "%s: tensor \"%s\": element %zu is too large for float16; import it without --dtype f16",
                    s->input, t->name, bad);
    if (!code) code = npz_write(w, t->name, to, t->stored->rank, t->shape, data, e);
    free(data);
    sum->tensors++;
    sum->elements += count;
    if (is_float(to)) sum->dtypes |= 1u << to;
    return code;
}

/* ---- the config ---------------------------------------------------------------------------------------- */

/* The config, with a mark that the voice's embedder is wanted. NULL: out of memory. */
static char *allow_embedder(const char *config) {
    cJSON *root = cJSON_Parse(config);
    cJSON_DeleteItemFromObjectCaseSensitive(root, "embedder_allowed");
    char *text = cJSON_AddTrueToObject(root, "embedder_allowed") ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return text;
}

static nn_code write_config(npz_writer *w, const rvc_checkpoint *c, const settings *s, nn_error *e) {
    const char *config = rvc_checkpoint_config(c);
    if (!config) return NN_OK;
    bool mark = s->allow_embedder && rvc_checkpoint_kind(c) == RVC_KIND_VOICE;
    char *marked = mark ? allow_embedder(config) : NULL;
    nn_code code = mark && !marked ? nn_fail_memory(e, "the config")
                                   : npz_write_text(w, "config.json", marked ? marked : config, e);
    free(marked);
    return code;
}

/* ---- the import ---------------------------------------------------------------------------------------- */

static nn_code write_model(rvc_checkpoint *c, const settings *s, totals *sum, nn_error *e) {
    npz_writer *w;
    nn_code code = npz_create(&w, s->output, e);
    if (code) return code;
    for (size_t i = 0; i < rvc_checkpoint_count(c) && !code; i++) {
        const rvc_tensor *t = rvc_checkpoint_at(c, i);
        if (t->leftover)
            sum->leftovers++;
        else
            code = write_tensor(w, c, t, s, sum, e);
    }
    if (!code) code = write_config(w, c, s, e);
    if (!code) return npz_finish(w, e);
    npz_abandon(w);
    return code;
}

/* Refusals, except the one that --allow-embedder lifts. */
static nn_code check(rvc_checkpoint *c, const settings *s, nn_error *e) {
    struct stat st;
    if (!s->force && lstat(s->output, &st) == 0)
        return nn_fail(e, NN_ERROR_FILE, "%s exists already; --force replaces it", s->output);
    rvc_checkpoint_allow_embedder(c, s->allow_embedder);
    return rvc_checkpoint_check(c, RVC_KIND_OTHER, e);
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void print_voice(const rvc_checkpoint *c) {
    cJSON *root = cJSON_Parse(rvc_checkpoint_config(c));
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, "version");
    const cJSON *f0 = cJSON_GetObjectItemCaseSensitive(root, "f0");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "config");
    const cJSON *rate = cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1);
    const rvc_tensor *g = rvc_checkpoint_find(c, "emb_g.weight");
    if (cJSON_IsString(version)) printf(" %.8s", version->valuestring);
    printf(", %s pitch", cJSON_IsFalse(f0) || (cJSON_IsNumber(f0) && f0->valueint == 0) ? "without" : "with");
    if (cJSON_IsNumber(rate)) printf(", %.0f Hz", rate->valuedouble);
    if (g && g->stored->rank == 2) printf(", %lld speakers", (long long)g->shape[0]);
    cJSON_Delete(root);
}

static void print_summary(const rvc_checkpoint *c, const settings *s, const totals *sum, double seconds) {
    struct stat st;
    rvc_kind kind = rvc_checkpoint_kind(c);
    printf("%s: %s", s->output,
           kind == RVC_KIND_OTHER ? "a model this program does not use" : rvc_kind_name(kind));
    if (kind == RVC_KIND_VOICE) print_voice(c);
    printf(", %zu tensors, %llu parameters, ", sum->tensors, (unsigned long long)sum->elements);
    const char *and = "";
    for (unsigned t = 0; t <= NPZ_BF16; t++)
        if (sum->dtypes >> t & 1u) printf("%s%s", and, npz_dtype_name((npz_dtype)t)), and = " and ";
    if (!sum->dtypes) printf("no floats");
    printf(", %lld bytes, %.2f s", stat(s->output, &st) == 0 ? (long long)st.st_size : 0ll, seconds);
    if (sum->leftovers) printf(" (%zu tensors of training left out)", sum->leftovers);
    putchar('\n');
}

static nn_code import(const settings *s, nn_error *e) {
    double start = seconds_now();
    rvc_checkpoint *c;
    totals sum = {0};
    nn_code code = rvc_checkpoint_open(&c, s->input, e);
    if (!code) code = check(c, s, e);
    if (!code) code = write_model(c, s, &sum, e);
    if (!code && rvc_checkpoint_note(c))
        fprintf(stderr, "rvc import: %s: %s\n", s->input, rvc_checkpoint_note(c));
    if (!code) print_summary(c, s, &sum, seconds_now() - start);
    rvc_checkpoint_close(c);
    return code;
}

/* ---- the subcommand ------------------------------------------------------------------------------------ */

static const char help[] =
    "usage: rvc import CHECKPOINT -o MODEL.npz [--dtype f16|f32] [--force]\n"
    "\n"
    "Makes an .npz out of a model as it is published. Nothing in the file is run: its pickle is\n"
    "read as data. All of these can also be given to `rvc convert` directly; an imported model\n"
    "holds nothing but the network, and numpy.load reads it.\n"
    "\n"
    "  CHECKPOINT         a .pth, .pt, .bin or .safetensors file, an .npz of RVC-MLX, or the folder of\n"
    "                     a Transformers HuBERT or ContentVec (config.json and model.safetensors)\n"
    "  -o, --output FILE  the .npz to write\n"
    "  --dtype f16|f32    the type of the weights; as they are stored without it (bfloat16, which\n"
    "                     numpy does not know, becomes float32). f16 halves a float32 model.\n"
    "  --force            replace FILE where it exists\n"
    "  --allow-embedder   import a voice trained with another embedder than HuBERT or ContentVec;\n"
    "                     it speaks only with that embedder given as --hubert\n"
    "  --allow-nonfinite  import a model that holds NaN or infinity\n"
    "\n"
    "What it is told by its tensors, not by its name. A training's G_*.pth needs the config.json of\n"
    "its folder beside it; what only training needs is left out.\n"
    "\n"
    "    rvc import hubert_base.pt -o models/hubert_base.npz\n"
    "    rvc import rmvpe.pt -o models/rmvpe.npz\n"
    "    rvc import voice.pth -o voice.npz\n"
    "    rvc info voice.npz\n";

/* argv into *s; 0, or 2 after a line on stderr. */
static int read_arguments(settings *s, int argc, char **argv) {
    const struct flag {
        const char *name;
        bool *value;
    } flags[] = {
        {"-h", &s->help},
        {"--help", &s->help},
        {"--force", &s->force},
        {"--allow-embedder", &s->allow_embedder},
        {"--allow-nonfinite", &s->allow_nonfinite},
    };
    enum { FLAGS = sizeof flags / sizeof *flags };
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        size_t f = 0;
        while (f < FLAGS && (!options || strcmp(argv[i], flags[f].name) != 0)) f++;
        if (f < FLAGS)
            *flags[f].value = true;
        else if (options && !strcmp(argv[i], "--"))
            options = false;
        else if (options && (!strcmp(argv[i], "-o") || !strcmp(argv[i], "--output")) && *value && !s->output)
            s->output = argv[++i];
        else if (options && !strcmp(argv[i], "--dtype") && (!strcmp(value, "f16") || !strcmp(value, "f32")))
            s->dtype = !strcmp(argv[++i], "f16") ? NPZ_F16 : NPZ_F32;
        else if ((!options || argv[i][0] != '-') && !s->input)
            s->input = argv[i];
        else {
            const char *why = !strcmp(argv[i], "--dtype") ? "takes f16 or f32" : "is not expected here";
            fprintf(stderr, "rvc import: %s %s   (--help says more)\n", argv[i], why);
            return 2;
        }
    }
    if (s->help || (s->input && s->output)) return 0;
    fputs("usage: rvc import CHECKPOINT -o MODEL.npz   (--help says more)\n", stderr);
    return 2;
}

int rvc_import_main(int argc, char **argv) {
    settings s = {.dtype = AS_STORED};
    nn_error e = {0};
    int status = read_arguments(&s, argc, argv);
    if (status) return status;
    if (s.help) return fputs(help, stdout) < 0;
    if (!import(&s, &e)) return 0;
    fprintf(stderr, "rvc import: %s\n", e.text);
    return 1;
}
