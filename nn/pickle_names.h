/* pickle_names.h - parts of the pickle reader that know nothing of the stack machine. */
#ifndef NN_PICKLE_NAMES_H
#define NN_PICKLE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Whether "module.name" is something that only code which wants to run would ask for (os.system, eval, ...). */
bool pickle_name_is_attack(const char *global);

/* Resolves the escapes of src [n] into dst [2 n]: those of a Python 2 string literal, giving bytes, or with `unicode`
 * those of raw-unicode-escape, giving UTF-8. Returns the length, SIZE_MAX where an escape is broken. */
size_t pickle_unescape(char *dst, const char *src, size_t n, bool unicode);

#endif
