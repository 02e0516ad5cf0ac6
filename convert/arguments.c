/* arguments.c - the command line of `rvc convert` and `rvc pitch`.
 *
 * One table row per option makes the parser, the range checks, the help and the "did you mean" hints, so that
 * they cannot disagree. Invariant: whatever is wrong gives one line that names the option, and nothing has
 * been done yet. */
#include "convert.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { FLAG, TEXT, INTEGER, REAL, SEED } kind;

typedef struct option {
    const char *name;
    char letter; // 0: none
    kind kind;
    unsigned commands; // convert_command bits
    size_t field;      // offset in convert_settings
    double min, max;   // of INTEGER and REAL
    const char *value; // how help calls it; "a|b|c" for TEXT lists all that is allowed
    const char *help;
} option;

#define C CONVERT_CONVERT
#define P CONVERT_PITCH
#define AT(field) offsetof(convert_settings, field)
static const option options[] = {
    {"model", 'm', TEXT, C, AT(model), 0, 0, "VOICE", "the voice: .pth or .npz [required]"},
    {"output", 'o', TEXT, C | P, AT(output), 0, 0, "OUT", "where the result goes [required]"},
    {"hubert", 0, TEXT, C, AT(hubert), 0, 0, "FILE", "HuBERT [hubert_base.npz or .pt in the models folder]"},
    {"rmvpe", 0, TEXT, C | P, AT(rmvpe), 0, 0, "FILE", "RMVPE [rmvpe.npz or .pt in the models folder]"},
    {"models", 0, TEXT, C | P, AT(models), 0, 0, "DIR",
     "where both lie [$RVC_MODELS, then ./models, then the user's data folder]"},
    {"index", 'i', TEXT, C, AT(index), 0, 0, "FILE", "the voice's .index file, for its own timbre [none]"},
    {"index-rate", 0, REAL, C, AT(index_rate), 0, 1, "R",
     "share of retrieved features, 0 to 1 [0.75 with an index]"},
    {"transpose", 't', REAL, C, AT(transpose), -36, 36, "SEMITONES", "-36 to 36, may be fractional [0]"},
    {"speaker", 0, INTEGER, C, AT(speaker), 0, 99999, "N", "which speaker of a voice that has several [0]"},
    {"protect", 0, REAL, C, AT(protect), 0, 0.5, "P",
     "protects consonants and breath; 0 most, 0.5 off [0.33]"},
    {"rms-mix-rate", 0, REAL, C, AT(rms_mix_rate), 0, 1, "R",
     "loudness: 0 of the input, 1 of the voice [0.25]"},
    {"noise-scale", 0, REAL, C, AT(noise_scale), 0, 2, "S",
     "liveliness: noise in the latent, 0 to 2 [0.66666]"},
    {"device", 0, TEXT, C | P, AT(device), 0, 0, "NAME",
     "auto (the best GPU, else cpu), cpu, vulkan:N, or a part of a GPU's name [auto]"},
    {"precision", 0, TEXT, C | P, AT(precision), 0, 0, "f32|f16|bf16",
     "of the networks' arithmetic: f16 on GPUs, bf16 on CPUs that have it [f32]"},
    {"threads", 0, INTEGER, C | P, AT(threads), 0, 256, "N", "worker threads; 0 is one per core [0]"},
    {"seed", 0, SEED, C, AT(seed), 0, 0, "N", "same seed, same bytes, alone or in a batch [0]"},
    {"format", 0, TEXT, C, AT(format), 0, 0, "wav|flac|ogg|mp3", "of the output [OUT's extension, else wav]"},
    {"sample-rate", 0, INTEGER, C, AT(sample_rate), 8000, 192000, "HZ",
     "of the output, 8000 to 192000 [the voice's]"},
    {"compat", 0, TEXT, C, AT(compat), 0, 0, "exact|webui",
     "exact: as long as the input; webui: the reference's cuts and lengths [exact]"},
    {"timing", 0, FLAG, C, AT(timing), 0, 0, "", "a table of the seconds each part took"},
    {"json", 0, TEXT, C, AT(json), 0, 0, "FILE", "one JSON object a line about every file"},
    {"quiet", 'q', FLAG, C | P, AT(quiet), 0, 0, "", "nothing but errors"},
    {"overwrite", 0, FLAG, C, AT(overwrite), 0, 0, "", "replace outputs that exist [they are an error]"},
    {"resume", 0, FLAG, C, AT(resume), 0, 0, "",
     "go on with a batch: skip what is done, redo what has changed"},
    {"help", 'h', FLAG, C | P, AT(help), 0, 0, "", "this text"},
};
enum { OPTIONS = sizeof options / sizeof *options };
#undef C
#undef P

static const char *const command_names[] = {[CONVERT_CONVERT] = "convert", [CONVERT_PITCH] = "pitch"};

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Edit distance (Levenshtein 1966, one row of the matrix), names cut to 31 bytes. */
static size_t edit_distance(const char *a, const char *b) {
    enum { MOST = 31 };
    size_t n = smaller(strlen(a), MOST), m = smaller(strlen(b), MOST), row[MOST + 1];
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t above = row[j], changed = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = smaller(smaller(above, row[j - 1]) + 1, changed);
            diagonal = above;
        }
    }
    return row[m];
}

/* The name `wrong` was probably meant to be: one it begins, or the nearest within a third of its letters;
 * else NULL. */
const char *convert_nearest_name(const char *wrong, const char *const *names, size_t count) {
    size_t length = strlen(wrong), best = length / 3 + 2;
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        bool begins = length >= 2 && strncmp(names[i], wrong, length) == 0;
        size_t distance = begins ? 0 : edit_distance(wrong, names[i]);
        if (distance < best) best = distance, nearest = names[i];
    }
    return nearest;
}

static int unknown_option(const char *argument, convert_command command) {
    const char *names[OPTIONS];
    size_t count = 0;
    for (size_t i = 0; i < OPTIONS; i++)
        if (options[i].commands & command) names[count++] = options[i].name;
    char name[64] = "";
    const char *start = argument + strspn(argument, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(start, "="), start);
    const char *nearest = convert_nearest_name(name, names, count);
    if (nearest)
        convert_complain("unknown option %s; did you mean --%s?", argument, nearest);
    else
        convert_complain("unknown option %s; `rvc %s --help` lists them all", argument,
                         command_names[command]);
    return CONVERT_WRONG_USAGE;
}

/* The option that `argument` names, and what follows its '=' if it has one. */
static const option *find_option(const char *argument, convert_command command, const char **attached) {
    *attached = NULL;
    if (argument[0] != '-' || !argument[1]) return NULL;
    for (const option *o = options; o < options + OPTIONS; o++) {
        if (!(o->commands & command)) continue;
        if (o->letter && argument[1] == o->letter && !argument[2]) return o;
        size_t length = strlen(o->name);
        if (argument[1] != '-' || strncmp(argument + 2, o->name, length) != 0) continue;
        const char *end = argument + 2 + length;
        if (*end && *end != '=') continue;
        if (*end == '=') *attached = end + 1;
        return o;
    }
    return NULL;
}

static bool is_choice(const char *list, const char *value) {
    size_t length = strlen(value);
    for (const char *at = list; length && *at; at += strcspn(at, "|"), at += *at == '|')
        if (strcspn(at, "|") == length && strncmp(at, value, length) == 0) return true;
    return false;
}

static int store_number(convert_settings *s, const option *o, const char *value) {
    char *end = NULL;
    double number = strtod(value, &end);
    bool whole = o->kind == INTEGER;
    // strtod also takes blanks, hexadecimal, "inf" and "nan"; none of them is a number a person means here
    if (!*value || *end || strspn(value, "+-.0123456789eE") != strlen(value) ||
        (whole && number != floor(number))) {
        convert_complain("--%s '%s': not a%s number", o->name, value, whole ? " whole" : "");
        return CONVERT_WRONG_USAGE;
    }
    if (!(number >= o->min && number <= o->max)) {
        convert_complain("--%s %s: outside its range, %g to %g", o->name, value, o->min, o->max);
        return CONVERT_WRONG_USAGE;
    }
    char *field = (char *)s + o->field;
    if (whole)
        *(int *)(void *)field = (int)number;
    else
        *(double *)(void *)field = number;
    return 0;
}

static int store_value(convert_settings *s, const option *o, const char *value) {
    void *field = (char *)s + o->field;
    if (o->kind == INTEGER || o->kind == REAL) return store_number(s, o, value);
    if (o->kind == SEED) {
        char *end = NULL;
        errno = 0;
        *(uint64_t *)field = strtoull(value, &end, 10);
        if (!*value || *end || errno || strspn(value, "0123456789") != strlen(value)) {
            convert_complain("--%s '%s': not a whole number from 0 to 18446744073709551615", o->name, value);
            return CONVERT_WRONG_USAGE;
        }
        return 0;
    }
    if (!*value) {
        convert_complain("--%s needs a value: --%s %s", o->name, o->name, o->value);
        return CONVERT_WRONG_USAGE;
    }
    if (strchr(o->value, '|') && !is_choice(o->value, value)) {
        convert_complain("--%s '%s': must be %s", o->name, value, o->value);
        return CONVERT_WRONG_USAGE;
    }
    *(const char **)field = value;
    return 0;
}

/* Takes argv[*at], and its value where it has one; *at moves on. */
static int read_option(convert_settings *s, convert_command command, int argc, char **argv, int *at) {
    const char *argument = argv[*at], *value, *ignored;
    const option *o = find_option(argument, command, &value);
    if (!o) return unknown_option(argument, command);
    if (o->kind == FLAG) {
        if (!value) return *(bool *)((char *)s + o->field) = true, 0;
        convert_complain("--%s takes no value", o->name);
        return CONVERT_WRONG_USAGE;
    }
    if (!value) {
        // `-t -3` has a value, `-m --quiet` has none
        bool none = *at + 1 >= argc || strcmp(argv[*at + 1], "--") == 0 ||
                    find_option(argv[*at + 1], command, &ignored);
        if (none) {
            convert_complain("%s needs a value: %s %s", argument, argument, o->value);
            return CONVERT_WRONG_USAGE;
        }
        value = argv[++*at];
    }
    return store_value(s, o, value);
}

/* What must be there, and what does not go together. */
static int check(const convert_settings *s, convert_command command) {
    const char *missing = NULL;
    if (command == CONVERT_CONVERT && !s->model) missing = "the voice is missing: -m VOICE.pth";
    if (!s->output)
        missing =
            command == CONVERT_PITCH ? "the output is missing: -o F0.csv" : "the output is missing: -o OUT";
    if (s->input_count == 0) missing = "nothing to convert: name a file or a folder";
    if (command == CONVERT_PITCH && s->input_count > 1) missing = "pitch takes one file at a time";
    if (s->overwrite && s->resume) missing = "--overwrite and --resume exclude each other";
    for (size_t i = 0; i < s->input_count; i++)
        if (!*s->inputs[i]) missing = "an input's name is empty";
    if (!missing) return 0;
    convert_complain("%s (`rvc %s --help` shows examples)", missing, command_names[command]);
    return CONVERT_WRONG_USAGE;
}

int convert_arguments_read(convert_settings *s, convert_command command, int argc, char **argv) {
    rvc_options defaults = rvc_default_options();
    *s = (convert_settings){.index_rate = (double)defaults.index_rate,
                            .protect = (double)defaults.protect,
                            .rms_mix_rate = (double)defaults.rms_mix_rate,
                            .noise_scale = (double)defaults.noise_scale,
                            .device = "auto",
                            .precision = "f32",
                            .compat = "exact"};
    s->inputs = calloc((size_t)argc + 1, sizeof *s->inputs);
    if (!s->inputs) return convert_complain("out of memory"), CONVERT_SOME_FAILED;
    bool only_inputs = false;
    for (int i = 1; i < argc; i++) {
        if (only_inputs || argv[i][0] != '-' || !argv[i][1])
            s->inputs[s->input_count++] = argv[i];
        else if (strcmp(argv[i], "--") == 0)
            only_inputs = true;
        else if (read_option(s, command, argc, argv, &i) != 0)
            return CONVERT_WRONG_USAGE;
    }
    return s->help ? 0 : check(s, command);
}

void convert_settings_free(convert_settings *s) {
    free((void *)s->inputs);
    s->inputs = NULL;
}

static const char convert_intro[] =
    "rvc convert - recordings in another voice\n"
    "\n"
    "    rvc convert [options] INPUT... -o OUT -m VOICE\n"
    "\n"
    "Every INPUT is an audio file or a folder, which is searched with its sub-folders. OUT is a folder (it "
    "keeps the\n"
    "sub-folders), or a file where there is one input file. Each output is as long as its input and aligned "
    "with it.\n"
    "A file that cannot be converted gets one line and the others go on.\n"
    "\n"
    "    rvc convert song.wav -o song_singer.flac -m singer.npz -i singer.index\n"
    "    rvc convert recordings/ -o converted/ -m singer.npz --transpose 12     a low voice into a high one\n"
    "    rvc convert recordings/ -o converted/ -m singer.npz --resume           after an interruption\n"
    "    rvc convert take.wav -o out/ -m singer.npz --format mp3 --timing\n"
    "\n"
    "Options (default in brackets):\n";
static const char convert_outro[] =
    "\n"
    "HuBERT and RMVPE are shared by all voices: hubert_base and rmvpe (.npz or .pt) are looked for in "
    "--models "
    "DIR, $RVC_MODELS,\n"
    "./models, and $XDG_DATA_HOME/rvc (or ~/.local/share/rvc). An OUT folder also holds .rvc-journal.jsonl, "
    "from which\n"
    "--resume knows what is done.\n"
    "Exit status: 0 all converted, 1 some failed, 2 wrong usage, 130 interrupted.\n";
static const char pitch_intro[] =
    "rvc pitch - the pitch of a recording, one line every 10 ms\n"
    "\n"
    "    rvc pitch song.wav -o song.csv\n"
    "\n"
    "The file has the columns time_s,f0_hz; f0_hz is 0 where nothing is voiced. Only RMVPE is\n"
    "needed. An existing CSV is replaced.\n"
    "\n"
    "Options (default in brackets):\n";
static const char pitch_outro[] = "\nExit status: 0 done, 1 failed, 2 wrong usage.\n";

void convert_arguments_help(convert_command command) {
    bool pitch = command == CONVERT_PITCH;
    fputs(pitch ? pitch_intro : convert_intro, stdout);
    for (const option *o = options; o < options + OPTIONS; o++) {
        if (!(o->commands & command)) continue;
        char left[64], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s %s", letter, o->name, o->value);
        printf("  %-31s %s\n", left, o->help);
    }
    fputs(pitch ? pitch_outro : convert_outro, stdout);
}
