/* error.c - see error.h */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

nn_code nn_fail(nn_error *e, nn_code code, const char *format, ...) {
    if (!e || e->code) return code;
    e->code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    for (char *c = e->text; *c; c++)
        if (*c == '\n' || *c == '\r') *c = ' ';
    return code;
}

nn_code nn_fail_memory(nn_error *e, const char *what) {
    return nn_fail(e, NN_ERROR_MEMORY, "out of memory for %s; close other programs or use shorter files",
                   what);
}
