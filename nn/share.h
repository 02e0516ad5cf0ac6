/* share.h - tasks that threads share among them. */
#ifndef NN_SHARE_H
#define NN_SHARE_H

#include <stddef.h>

/* Runs tasks 0 .. tasks-1, begun in that order, on `threads` threads (at least 1, at most 16), the caller's among them; fewer
 * where none can be started. */
void nn_share(int threads, size_t tasks, void (*run)(void *context, size_t task), void *context);

#endif
