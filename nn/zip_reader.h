/* zip_reader.h - a zip whose members are read by several threads at once.
 *
 * libzip finds the members and serves one reader at a time. Large members of checkpoints are stored, not deflated: their bytes
 * are read here, straight from the file, and their CRC is compared as libzip does. What is not so simple (deflated, encrypted,
 * zip64) goes by libzip, under a lock. */
#ifndef NN_ZIP_READER_H
#define NN_ZIP_READER_H

#include <stdint.h>
#include <zip.h>
#include "error.h"

typedef struct zip_reader zip_reader;

/* Opens the zip at `path`, which outlives the reader. *error is libzip's code where NULL is returned. */
zip_reader *zip_reader_open(const char *path, int *error);
void zip_reader_close(zip_reader *r);        /* NULL is fine */

/* libzip's handle, for who is alone with it: while the archive is opened. */
zip_t *zip_reader_zip(const zip_reader *r);

/* Bytes first .. first + n of member `index`, all inside it. The CRC is compared if they reach the member's end and begin in
 * its first 64 KiB. */
nn_code zip_reader_read(zip_reader *r, uint64_t index, uint64_t first, uint64_t n, void *dst, nn_error *e);

#endif
