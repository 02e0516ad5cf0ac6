/* archive_format.h - between archive.c and the formats: what a format supplies, what it gets; and
 * what the readers share. */
#ifndef NN_ARCHIVE_FORMAT_H
#define NN_ARCHIVE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "archive.h"

/* An open file of some format. */
typedef struct nn_archive_reader {
    const char *format;                                                      /* "torch zip" */
    nn_code (*read)(void *self, size_t i, void *dst, nn_error *e);           /* tensor i as nn_archive_read */
    void (*close)(void *self);
} nn_archive_reader;

/* The file while it is opened. A format adds its tensors in order, checked against the bytes that are there, its JSON,
 * and last itself; what it has set is closed with the archive, also after a failure. */
void nn_archive_set_reader(nn_archive *a, const nn_archive_reader *reader, void *self);
nn_code nn_archive_add(nn_archive *a, const npz_array *t, nn_error *e);      /* t->name is copied and checked */
void nn_archive_set_json(nn_archive *a, char *json);                         /* malloc'd, taken over; NULL: none */

/* The text file at `path`, malloc'd and NUL-terminated; NULL where there is none that can be read. */
char *nn_archive_text(const char *path);
/* config.json in the folder of the archive, likewise. */
char *nn_archive_folder_config(const nn_archive *a);

/* Exactly n bytes at `offset` of the file open as fd, or false. For several threads at once. */
bool nn_archive_read_at(int fd, uint64_t offset, void *dst, uint64_t n);

/* The formats. Each is called when the first bytes are its own. `f` is the archive's file of `size` bytes; it stays open
 * as long as the archive, and the reader is closed before it. */
nn_code torch_zip_open(nn_archive *a, uint64_t size, bool *is_torch, nn_error *e);  /* *is_torch false, NN_OK: other zip */
nn_code torch_legacy_open(nn_archive *a, FILE *f, uint64_t size, nn_error *e);
nn_code safetensors_open(nn_archive *a, FILE *f, uint64_t size, nn_error *e);

/* Fails with what the first bytes of a file [n] say it is, and what to do about it; `wanted` is what it should be,
 * `otherwise` what is said of a file that nothing is known of. */
nn_code nn_sniff_fail(const char *path, const void *head, size_t n, const char *wanted, const char *otherwise,
                      nn_error *e);

#endif
