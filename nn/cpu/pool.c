/* pool.c - see pool.h.
 *
 * The job in hand is one 64-bit word: a generation in the upper half, the number of unclaimed tasks in the lower. A
 * claim is a compare-and-swap that takes one off. The job's description changes only when every claimed task of the
 * job before has finished, so who holds a claim reads the description that belongs to it. Idle threads spin for some
 * microseconds, as the next node of a plan is usually that near, and then sleep. */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { SPINS = 4000 };

typedef struct worker {
    nn_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct nn_pool {
    _Atomic uint64_t word; /* generation << 32 | unclaimed tasks */
    atomic_int unfinished, sleepers;
    atomic_bool quit;
    nn_pool_task *run;
    void *context;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int workers;
    worker worker[];
};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static inline uint32_t unclaimed(uint64_t word) {
    return (uint32_t)word;
}

/* Claims and runs tasks until none is unclaimed. */
static void work(nn_pool *p, int thread) {
    uint64_t word = atomic_load(&p->word);
    while (unclaimed(word)) {
        if (!atomic_compare_exchange_weak(&p->word, &word, word - 1)) continue;
        p->run(p->context, (int)unclaimed(word) - 1, thread);
        atomic_fetch_sub(&p->unfinished, 1);
        word = atomic_load(&p->word);
    }
}

static void *worker_main(void *argument) {
    worker *w = argument;
    nn_pool *p = w->pool;
    for (;;) {
        for (int i = 0; i < SPINS && !unclaimed(atomic_load(&p->word)); i++) pause_briefly();
        if (!unclaimed(atomic_load(&p->word))) {
            pthread_mutex_lock(&p->mutex);
            atomic_fetch_add(&p->sleepers, 1);
            while (!unclaimed(atomic_load(&p->word)) && !atomic_load(&p->quit))
                pthread_cond_wait(&p->wake, &p->mutex);
            atomic_fetch_sub(&p->sleepers, 1);
            pthread_mutex_unlock(&p->mutex);
        }
        if (atomic_load(&p->quit)) return NULL;
        work(p, w->index);
    }
}

nn_code nn_pool_new(nn_pool **out, int threads, nn_error *e) {
    *out = NULL;
    nn_pool *p = calloc(1, sizeof *p + (size_t)(threads > 1 ? threads - 1 : 0) * sizeof(worker));
    if (!p) return nn_fail_memory(e, "threads");
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (int i = 0; i + 1 < threads; i++) {
        worker *w = &p->worker[i];
        *w = (worker){.pool = p, .index = i + 1};
        if (pthread_create(&w->thread, NULL, worker_main, w)) {
            nn_pool_free(p);
            return nn_fail(e, NN_ERROR_DEVICE, "cannot start thread %d of %d; ask for fewer with --threads",
                           i + 2, threads);
        }
        p->workers++;
    }
    *out = p;
    return NN_OK;
}

void nn_pool_free(nn_pool *p) {
    if (!p) return;
    atomic_store(&p->quit, true);
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < p->workers; i++) pthread_join(p->worker[i].thread, NULL);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->wake);
    free(p);
}

void nn_pool_run(nn_pool *p, int tasks, nn_pool_task *run, void *context) {
    if (tasks < 1) return;
    if (tasks == 1 || !p->workers) {
        for (int i = 0; i < tasks; i++) run(context, i, 0);
        return;
    }
    p->run = run;
    p->context = context;
    atomic_store(&p->unfinished, tasks);
    uint64_t generation = (atomic_load(&p->word) >> 32) + 1;
    atomic_store(&p->word, generation << 32 | (uint32_t)tasks);
    if (atomic_load(&p->sleepers)) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
    }
    work(p, 0);
    while (atomic_load(&p->unfinished)) pause_briefly();
}
