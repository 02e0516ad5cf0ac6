/* main.c - the program `rvc`: one table row per subcommand.
 *
 * A subcommand is a main() of its own: argv[0] is its name, the result is the exit status. */
#include "convert.h"

#include <stdlib.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>
#include "../nn/nn.h"
#include "../tools/tools.h"

static void print_device(void *user, const char *line) {
    (void)user;
    puts(line);
}

/* Lists what --device may name. */
static int devices_main(int argc, char **argv) {
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        puts("rvc devices - what --device may name, a line each, and which of them auto takes.\n"
             "cpu: instruction set, threads, memory; RVC_CPU=baseline|avx2|avx512 chooses the instruction "
             "set.\n"
             "vulkan:N, or a part of its name: a device with a Vulkan driver, its memory and precisions.\n"
             "RVC_DEVICE=NAME in the environment is what auto takes.");
        return CONVERT_DONE;
    }
    if (argc > 1) {
        convert_complain("devices takes no arguments: '%s'", argv[1]);
        return CONVERT_WRONG_USAGE;
    }
    (void)argv;
    nn_error e = {0};
    if (!nn_device_list(print_device, NULL, &e)) return CONVERT_DONE;
    convert_complain("%s", e.text);
    return CONVERT_SOME_FAILED;
}

typedef struct subcommand {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *help;
} subcommand;

static const subcommand subcommands[] = {
    {"convert", convert_batch_main, "INPUT... -o OUT -m VOICE      files and folders in another voice"},
    {"pitch", convert_pitch_main, "INPUT -o F0.csv               the pitch of a recording"},
    {"import", rvc_import_main,
     "CHECKPOINT -o MODEL.npz       .pth, .pt, .safetensors, a Transformers folder"},
    {"info", rvc_info_main, "FILE...                       what a model or index is"},
    {"verify", rvc_verify_main, "REFERENCE.npz -m VOICE        compares every stage with recorded tensors"},
    {"synthesize", rvc_synthesize_main, "MANIFEST.tsv -o MODEL.npz     a synthetic checkpoint, for tests"},
    {"devices", devices_main, "                              what it can run on"},
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

static int help(FILE *to, int status) {
    fputs("rvc - voice conversion (RVC)\n\nusage: rvc SUBCOMMAND ...\n\n", to);
    for (const subcommand *c = subcommands; c < subcommands + SUBCOMMANDS; c++)
        fprintf(to, "    rvc %-11s %s\n", c->name, c->help);
    fputs("\n`rvc SUBCOMMAND --help` tells more. To begin:\n"
          "    rvc convert song.wav -o out/ -m voice.pth\n",
          to);
    return status;
}

static const subcommand *find(const char *name) {
    for (const subcommand *c = subcommands; c < subcommands + SUBCOMMANDS; c++)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

static int unknown(const char *name) {
    const char *names[SUBCOMMANDS];
    for (size_t i = 0; i < SUBCOMMANDS; i++) names[i] = subcommands[i].name;
    const char *nearest = convert_nearest_name(name, names, SUBCOMMANDS);
    if (nearest)
        convert_complain("unknown subcommand '%s'; did you mean `rvc %s`?", name, nearest);
    else
        convert_complain("unknown subcommand '%s'; `rvc --help` lists them all", name);
    return CONVERT_WRONG_USAGE;
}

int main(int argc, char **argv) {
    /* Loading allocates and frees hundreds of megabytes in turns: blocks this large go back to the system at once,
     * instead of leaving holes between the ones that stay. */
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    if (argc < 2) return help(stderr, CONVERT_WRONG_USAGE);
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) return puts("rvc " RVC_VERSION), CONVERT_DONE;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return help(stdout, CONVERT_DONE);
    const subcommand *c = find(name);
    if (!c) return unknown(name);
    return c->main(argc - 1, argv + 1);
}
