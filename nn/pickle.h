/* pickle.h - Python's pickle, protocols 0 to 5, read as data: the result is a tree of plain values.
 *
 * A pickle is a program for a stack machine that may call any function by name. This reader has the stack and none of
 * the functions: a name is a PICKLE_GLOBAL, a call of it a PICKLE_OBJECT that remembers name and arguments, except for
 * a handful of Python's own containers (OrderedDict, set, ...), which are built. What the values mean is the caller's
 * business. A pickle that names what only an attack needs (os.system, eval, ...) is refused whole.
 *
 * Bounds, whatever the file says: 16 MB of pickle, 32 MB of values, 65536 values on the stack, 524288 in the memo; no
 * recursion. The tree may share values and, through the memo, even hold itself: whoever walks it counts steps.
 * Opcodes: Lib/pickletools.py of CPython; PEP 307, 3154, 574. */
#ifndef NN_PICKLE_H
#define NN_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "error.h"

enum { PICKLE_MAX_BYTES = 1 << 24, PICKLE_MAX_DEPTH = 64, PICKLE_MAX_STEPS = 1 << 22 };

typedef enum pickle_kind {
    PICKLE_NONE, PICKLE_BOOL, PICKLE_INT,
    PICKLE_BIG,             /* an integer beyond 64 bits; its value is not kept */
    PICKLE_FLOAT,
    PICKLE_STRING,          /* text of count bytes, UTF-8 or, from Python 2, anything; may hold NUL */
    PICKLE_BYTES,
    PICKLE_TUPLE, PICKLE_LIST, /* count items; a set is a list */
    PICKLE_DICT,            /* count items: key, value, key, value, ... as they were set */
    PICKLE_GLOBAL,          /* text: "module.name" */
    PICKLE_OBJECT,          /* item[0] called with item[1] */
    PICKLE_PERSISTENT,      /* item[0]: the id of something outside the pickle */
} pickle_kind;

typedef struct pickle_value pickle_value;
struct pickle_value {
    pickle_kind kind;
    uint32_t count, capacity; /* bytes of text or items; room in item */
    union {
        int64_t integer;      /* PICKLE_BOOL (0, 1), PICKLE_INT */
        double real;
        const char *text;     /* [count], NUL-terminated */
        pickle_value **item;  /* [count] */
    };
};

typedef struct pickle pickle; /* owns its values */

/* Reads one pickle from the first bytes of bytes [size]; *used is its length. `path` is for messages. */
nn_code pickle_read(pickle **out, const void *bytes, size_t size, size_t *used, const char *path, nn_error *e);
void pickle_free(pickle *p);                                  /* NULL is fine */
const pickle_value *pickle_root(const pickle *p);
const pickle_value *pickle_persistents(const pickle *p);      /* a list of every PICKLE_PERSISTENT, reached or not */

/* The value of the string key in a dict, the last one set; NULL where absent or `dict` is none. */
const pickle_value *pickle_find(const pickle_value *dict, const char *key);
bool pickle_is_text(const pickle_value *v, const char *text);   /* a string or global of exactly that text */

/* The plain part of a tree as JSON text, malloc'd: numbers, strings, lists and dicts; objects and bytes are left out
 * (null in a list), and so is the entry `skip` of a root dict (NULL: none). *out = NULL where nothing plain is there or
 * the root is no dict. */
nn_code pickle_json(char **out, const pickle_value *root, const pickle_value *skip, const char *path, nn_error *e);

#endif
