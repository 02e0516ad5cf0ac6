/* tools.h - the subcommands of `rvc` that look at and make model files. Each takes its own arguments (argv[0]
 * is the subcommand) and returns the program's exit status: 0 done, 1 a file failed, 2 wrong usage. */
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

#include "../nn/error.h"

int rvc_synthesize_main(int argc, char **argv);
int rvc_info_main(int argc, char **argv);
int rvc_import_main(int argc, char **argv);
int rvc_verify_main(int argc, char **argv);

/* Writes the synthetic checkpoint that the manifest (name, shape, offset, scale, one tensor a line) describes
 * to `out`, an .npz, with the .json beside the manifest, if there is one, as its config.json. `out` is whole
 * or not there. */
nn_code rvc_synthesize(const char *manifest, const char *out, nn_error *e);

#endif
