/* packed.h - packed weights kept on disk, so that a program starts in the time it takes to map them.
 *
 * The file stands beside the checkpoint, as CHECKPOINT.packed-LAYOUT, where the folder can be written. It is taken only
 * if it was made by this version of the layouts from exactly this content: its head holds a hash of the checkpoint's
 * bytes and config, and every blob a hash of its own, all checked before use. Anything else is as if it were not there.
 * Hashes find accidents, not malice: a kernel takes a restored blob only after comparing its size and all it has of
 * structure with what it knows itself, so that a file made to harm can give wrong sounds, and nothing else.
 * RVC_PACKED=off in the environment neither reads nor writes such files. */
#ifndef NN_PACKED_H
#define NN_PACKED_H

#include "weights.h"

/* Maps what was saved for w under `layout` (the instruction set's name) into its packed store; true where it was. */
bool nn_packed_restore(nn_weights *w, const char *layout);

/* Saves w's lasting blobs if there are any that were not restored, and maps them in place of those in memory, so that a
 * first run goes on like any later one. No plan over w may exist: it would keep the old places. Failing is no error: the
 * blobs stay where they are, and the next start packs again. */
void nn_packed_save(nn_weights *w, const char *layout);

#endif
