/* zip_member.h - what every reader of a zip does with a member before it trusts it. */
#ifndef NN_ZIP_MEMBER_H
#define NN_ZIP_MEMBER_H

#include <stdbool.h>
#include <stdint.h>
#include <zip.h>
#include "error.h"

/* Refuses a member that is neither stored nor deflated, and sizes that a file of file_size bytes cannot hold (stored:
 * at most the file's size; deflated: at most 1032 times the packed size, deflate's limit). */
nn_code zip_member_check(const char *path, uint64_t file_size, const zip_stat_t *st, nn_error *e);

/* Exactly n bytes of f; false at an error or an early end. */
bool zip_member_read(zip_file_t *f, void *dst, uint64_t n);

/* Fails with what libzip says of f, or where that is NULL of zip. */
nn_code zip_member_fail(const char *path, zip_t *zip, const char *name, zip_file_t *f, nn_error *e);

#endif
