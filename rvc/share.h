/* share.h - tasks that threads share among them. */
#ifndef RVC_SHARE_H
#define RVC_SHARE_H

#include <stddef.h>

enum { RVC_MOST_THREADS = 16 };

/* Runs tasks 0 .. tasks-1, in any order, on `threads` threads, the caller's among them; fewer where none can be started. */
void rvc_share(int threads, size_t tasks, void (*run)(void *context, size_t task), void *context);

#endif
