/* error.h - how a failure travels: a code and one line of text for a person.
 *
 * Every function that can fail returns 0 or a nonzero nn_code and takes an nn_error pointer, which may be NULL.
 * The first failure is kept: later calls on the same nn_error add nothing, so the cause is what is reported.
 * A file, a user or a device can only ever cause a code; assert() is for mistakes in this program. */
#ifndef NN_ERROR_H
#define NN_ERROR_H

typedef enum nn_code {
    NN_OK = 0,
    NN_ERROR_FILE,        /* missing, unreadable, unwritable */
    NN_ERROR_FORMAT,      /* readable, but not what it should be */
    NN_ERROR_MODEL,       /* a tensor is missing, misshapen or not finite */
    NN_ERROR_MEMORY,      /* an allocation failed */
    NN_ERROR_DEVICE,      /* no such device, or it failed */
    NN_ERROR_ARGUMENT,    /* a value outside its range */
} nn_code;

typedef struct nn_error {
    nn_code code;
    char text[960];       /* one line, no newline; names file, tensor and shapes where there are any */
} nn_error;

/* Records the failure unless one is recorded already; returns `code`. `e` may be NULL. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
nn_code nn_fail(nn_error *e, nn_code code, const char *format, ...);

/* nn_fail for a failed allocation of what `what` names. */
nn_code nn_fail_memory(nn_error *e, const char *what);

#endif
