/* utf8.h - text of files that others wrote, checked before it is kept or printed. */
#ifndef NN_UTF8_H
#define NN_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the well-formed character (RFC 3629) at text [n], 1..4; 0: none begins here. */
size_t nn_utf8_length(const char *text, size_t n);

/* Well-formed throughout, and no control characters. */
bool nn_utf8_is_printable(const char *text, size_t n);

#endif
