/* pool.h - a fixed set of threads that run the tasks of one job at a time. */
#ifndef NN_CPU_POOL_H
#define NN_CPU_POOL_H

#include "../error.h"

typedef struct nn_pool nn_pool;
typedef void nn_pool_task(void *context, int task, int thread);   /* thread: 0 .. threads-1, the caller is 0 */

/* `threads` including the caller's. */
nn_code nn_pool_new(nn_pool **out, int threads, nn_error *e);
void nn_pool_free(nn_pool *p);        /* NULL is fine */

/* Runs tasks 0 .. tasks-1, in any order, on all threads; returns when all are done. One caller at a time. */
void nn_pool_run(nn_pool *p, int tasks, nn_pool_task *run, void *context);

#endif
