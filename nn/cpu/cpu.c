/* cpu.c - the CPU back end: chooses the instruction set, prepares a plan's kernel calls, runs them on the pool.
 *
 * Invariant: after reserve, a run allocates nothing; results do not depend on the number of threads. */
#include "kernel.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../plan.h"
#include "pool.h"

/* ---- kernel tables ---- */

#define DECLARE(op, isa)                                                                                     \
    void nn_##op##_setup_##isa(nn_call *c);                                                                  \
    void nn_##op##_run_##isa(const nn_call *c, int stage, int task, void *scratch);                          \
    nn_code nn_##op##_pack_##isa(nn_node *n, nn_weights *w, nn_error *e);
#define ENTRY(op, isa) [NN_OP_##op] = {nn_##op##_setup_##isa, nn_##op##_run_##isa, nn_##op##_pack_##isa},

#define NN_OP(op) DECLARE(op, baseline)
#include "../ops.def"
#undef NN_OP
static const nn_kernel_table baseline = {"baseline",
                                         4,
                                         NN_F32,
                                         {
#define NN_OP(op) ENTRY(op, baseline)
#include "../ops.def"
#undef NN_OP
                                         }};

#if defined(__x86_64__)
#define NN_OP(op) DECLARE(op, avx2)
#include "../ops.def"
#undef NN_OP
static const nn_kernel_table avx2 = {"avx2",
                                     8,
                                     NN_F32,
                                     {
#define NN_OP(op) ENTRY(op, avx2)
#include "../ops.def"
#undef NN_OP
                                     }};

#define NN_OP(op) DECLARE(op, avx512)
#include "../ops.def"
#undef NN_OP
static const nn_kernel_table avx512 = {"avx512",
                                       16,
                                       NN_F32,
                                       {
#define NN_OP(op) ENTRY(op, avx512)
#include "../ops.def"
#undef NN_OP
                                       }};

#define NN_OP(op) DECLARE(op, avx512bf16)
#include "../ops.def"
#undef NN_OP
static const nn_kernel_table avx512bf16 = {"avx512bf16",
                                           16,
                                           NN_BF16,
                                           {
#define NN_OP(op) ENTRY(op, avx512bf16)
#include "../ops.def"
#undef NN_OP
                                           }};
#endif

static const nn_kernel_table *tables[4]; /* [table_count], what this machine has, the best first */
static int table_count;

/* __builtin_cpu_supports asks CPUID and XGETBV: the operating system must save the wide registers too. */
static void find_tables(void) {
    int n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma"))
        tables[n++] = &avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables[n++] = &avx2;
#endif
    tables[n++] = &baseline;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bf16") && tables[0] == &avx512) tables[n++] = &avx512bf16;
#endif
    table_count = n;
}

const nn_kernel_table *const *nn_kernel_tables(int *count) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_tables);
    *count = table_count;
    return tables;
}

/* ---- device ---- */

typedef struct cpu_device {
    nn_device base;
    const nn_kernel_table *table;
    nn_pool *pool;
    char *slab;
    size_t slab_bytes;
    char *scratch; /* [threads][scratch_bytes] */
    size_t scratch_bytes;
} cpu_device;

typedef struct cpu_plan {
    nn_call *call; /* [plan->count] */
    size_t scratch_bytes;
    const char *slab; /* the slab the calls' pointers were made for */
} cpu_plan;

static int cores_allowed(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

/* The best table of that precision, or the one RVC_CPU names, which may have another where f32 is wanted. */
static nn_code choose_table(const nn_kernel_table **out, nn_precision precision, nn_error *e) {
    int n;
    nn_kernel_tables(&n);
    const char *wanted = getenv("RVC_CPU"), *products = precision == NN_BF16 ? "bf16" : "f16";
    bool named = wanted && *wanted;
    for (int i = 0; i < n; i++) {
        if (named ? strcmp(tables[i]->name, wanted) != 0 : tables[i]->precision != precision) continue;
        *out = tables[i];
        if (precision == NN_F32 || tables[i]->precision == precision) return NN_OK;
        return nn_fail(e, NN_ERROR_DEVICE, "RVC_CPU=%s has no %s products; use --precision f32", wanted,
                       products);
    }
    if (named)
        return nn_fail(e, NN_ERROR_DEVICE, "RVC_CPU=%s: this machine does not have it; it has up to %s",
                       wanted, tables[0]->name);
    return nn_fail(e, NN_ERROR_DEVICE, "this CPU has no %s products; use --precision f32", products);
}

static nn_code cpu_prepare(nn_plan *p, nn_error *e) {
    cpu_device *d = (cpu_device *)p->device;
    cpu_plan *s = calloc(1, sizeof *s);
    if (s) s->call = calloc((size_t)p->count + 1, sizeof *s->call);
    p->state = s;
    if (!s || !s->call) return nn_fail_memory(e, "a plan");
    nn_code code = NN_OK;
    for (int i = 0; i < p->count && !code; i++) {
        nn_node *n = p->node[i];
        if (!nn_node_runs(n)) continue;
        nn_weights_lock(n->weights);
        code = d->table->kernel[n->op].pack(n, n->weights, e);
        nn_weights_unlock(n->weights);
        if (code) break;
        nn_call *c = &s->call[i];
        *c = (nn_call){.node = n, .threads = p->device->threads};
        d->table->kernel[n->op].setup(c);
        n->workspace = c->shared_bytes;
        if (c->scratch_bytes > s->scratch_bytes) s->scratch_bytes = c->scratch_bytes;
    }
    return code;
}

/* Grows *memory to at least `wanted` bytes; contents are lost. */
static nn_code grow(char **memory, size_t *have, size_t wanted, nn_error *e) {
    if (wanted <= *have) return NN_OK;
    free(*memory);
    *have = 0;
    wanted = (wanted + 4095) & ~(size_t)4095;
    *memory = aligned_alloc(64, wanted);
    if (!*memory)
        return nn_fail(e, NN_ERROR_MEMORY, "out of memory: %.0f MB for intermediate values",
                       (double)wanted * 1e-6);
    *have = wanted;
    return NN_OK;
}

static nn_code cpu_reserve(nn_plan *p, nn_error *e) {
    cpu_device *d = (cpu_device *)p->device;
    cpu_plan *s = p->state;
    nn_code code = grow(&d->slab, &d->slab_bytes, p->slab_bytes, e);
    if (code) return code;
    size_t one = (s->scratch_bytes + 4095) & ~(size_t)4095,
           all = d->scratch_bytes * (size_t)p->device->threads;
    code = grow(&d->scratch, &all, one * (size_t)p->device->threads, e);
    if (!code && one > d->scratch_bytes) d->scratch_bytes = one;
    if (code) d->scratch_bytes = 0;
    return code;
}

static void bind(nn_plan *p, cpu_plan *s, const char *slab) {
    char *base = (char *)(uintptr_t)slab;
    for (int i = 0; i < p->count; i++) {
        const nn_node *n = p->node[i];
        nn_call *c = &s->call[i];
        for (int k = 0; k < n->n_in; k++) c->in[k] = (const float *)(const void *)(base + n->in[k]->offset);
        c->out = (float *)(void *)(base + n->offset);
        c->shared = n->workspace ? base + n->workspace_offset : NULL;
    }
    s->slab = slab;
}

typedef struct stage_job {
    const nn_call *call;
    const nn_kernel *kernel;
    int stage;
    char *scratch;
    size_t scratch_bytes;
} stage_job;

static void run_task(void *context, int task, int thread) {
    const stage_job *j = context;
    j->kernel->run(j->call, j->stage, task, j->scratch + (size_t)thread * j->scratch_bytes);
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static nn_code cpu_run(nn_plan *p, nn_error *e) {
    (void)e;
    cpu_device *d = (cpu_device *)p->device;
    cpu_plan *s = p->state;
    if (s->slab != d->slab) bind(p, s, d->slab);
    for (int i = 0; i < p->count; i++) {
        const nn_call *c = &s->call[i];
        if (!nn_node_runs(p->node[i])) continue;
        double start = p->profile ? seconds_now() : 0;
        stage_job job = {c, &d->table->kernel[p->node[i]->op], 0, d->scratch, d->scratch_bytes};
        for (job.stage = 0; job.stage < c->stages; job.stage++)
            nn_pool_run(d->pool, c->tasks[job.stage], run_task, &job);
        if (p->profile) p->seconds[i] = seconds_now() - start;
    }
    return NN_OK;
}

static void cpu_write(nn_plan *p, const nn_node *n, const void *data, size_t bytes) {
    memcpy(((cpu_device *)p->device)->slab + n->offset, data, bytes);
}

static void cpu_read(nn_plan *p, const nn_node *n, void *data, size_t bytes) {
    memcpy(data, ((cpu_device *)p->device)->slab + n->offset, bytes);
}

static void cpu_release(nn_plan *p) {
    cpu_plan *s = p->state;
    if (s) free(s->call);
    free(s);
}

static size_t cpu_bytes(const nn_plan *p) {
    const cpu_plan *s = p->state;
    return s->scratch_bytes * (size_t)p->device->threads;
}

static void cpu_close(nn_device *device) {
    cpu_device *d = (cpu_device *)device;
    nn_pool_free(d->pool);
    free(d->slab);
    free(d->scratch);
    free(d);
}

nn_code nn_cpu_open(nn_device **out, nn_precision precision, int threads, nn_error *e) {
    static const nn_backend backend = {cpu_prepare, cpu_reserve, cpu_run,   cpu_write,
                                       cpu_read,    cpu_release, cpu_bytes, cpu_close};
    enum { MOST_THREADS = 256 };
    if (threads < 0 || threads > MOST_THREADS)
        return nn_fail(e, NN_ERROR_ARGUMENT, "%d threads: give 0 (one per core) to %d", threads,
                       MOST_THREADS);
    cpu_device *d = calloc(1, sizeof *d);
    if (!d) return nn_fail_memory(e, "a device");
    d->base.backend = &backend;
    d->base.threads = threads ? threads : cores_allowed();
    nn_code code = choose_table(&d->table, precision, e);
    if (!code) code = nn_pool_new(&d->pool, d->base.threads, e);
    if (code) {
        cpu_close(&d->base);
        return code;
    }
    d->base.layout = d->table->name;
    snprintf(d->base.name, sizeof d->base.name, "cpu (%s, %d thread%s)", d->table->name, d->base.threads,
             d->base.threads == 1 ? "" : "s");
    *out = &d->base;
    return NN_OK;
}
