/* share.c - see share.h. */
#include "share.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MOST_THREADS = 16 };

typedef struct work {
    void (*run)(void *context, size_t task);
    void *context;
    size_t tasks;
    atomic_size_t next;
} work;

static void *serve(void *argument) {
    work *w = argument;
    for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->tasks;) w->run(w->context, i);
    return NULL;
}

void nn_share(int threads, size_t tasks, void (*run)(void *context, size_t task), void *context) {
    work w = {.run = run, .context = context, .tasks = tasks};
    pthread_t thread[MOST_THREADS];
    size_t started = 0, most = threads < MOST_THREADS ? (size_t)(threads > 1 ? threads : 1) : MOST_THREADS;
    while (started + 1 < most && started + 1 < tasks &&
           pthread_create(&thread[started], NULL, serve, &w) == 0)
        started++;
    serve(&w);
    while (started > 0) pthread_join(thread[--started], NULL);
}
