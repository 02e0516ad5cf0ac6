/* kernel.h - what a CPU kernel is given and what it must provide.
 *
 * A kernel source is compiled once per instruction set (NN_ISA is baseline, avx2 or avx512) and defines, for its op
 * of ops.def, three functions named through NN_KERNEL(op, part):
 *
 *   void  OP_setup(nn_call *c)            how much work: stages, tasks per stage, scratch and shared bytes
 *   void  OP_run(const nn_call *c, int stage, int task, void *scratch)
 *   nn_code OP_pack(nn_node *n, nn_weights *w, nn_error *e)   fill n->blob[] from the packed store, packing what is new
 *
 * Tasks of one stage run in any order on any thread; stages run one after another. What a task writes must not
 * depend on how many threads there are, so results are the same bytes for every thread count.
 *
 * `scratch` is the calling thread's own, c->scratch_bytes long and 64-byte aligned; `c->shared` is common to the
 * node's tasks and stages, c->shared_bytes long. Neither is initialised. Nothing is allocated in setup or run. */
#ifndef NN_CPU_KERNEL_H
#define NN_CPU_KERNEL_H

#include "../graph.h"

enum { NN_MAX_STAGES = 4 };

typedef struct nn_call {
    const nn_node *node;
    int threads;
    const float *in[NN_MAX_IN];      /* as node->in (int32_t for index inputs) */
    float *out;                      /* [h][w][c] of node->shape; may be the same memory as a steps' operand of that shape */
    int stages;
    int tasks[NN_MAX_STAGES];
    size_t scratch_bytes, shared_bytes;
    void *shared;
    intptr_t plan[16];               /* the kernel's own numbers, from setup to run */
} nn_call;

typedef struct nn_kernel {
    void (*setup)(nn_call *c);
    void (*run)(const nn_call *c, int stage, int task, void *scratch);
    nn_code (*pack)(nn_node *n, nn_weights *w, nn_error *e);
} nn_kernel;

typedef struct nn_kernel_table {
    const char *name;                /* "avx512" */
    int vector;                      /* floats in a vector */
    nn_precision precision;          /* of the products; sums are float */
    nn_kernel kernel[NN_OP_COUNT];
} nn_kernel_table;

/* The tables this machine can run, best first; *count of them. */
const nn_kernel_table *const *nn_kernel_tables(int *count);

#define NN_CAT_(a, b, c) a##_##b##_##c
#define NN_CAT(a, b, c) NN_CAT_(a, b, c)
#define NN_TEXT_(x) #x
#define NN_TEXT(x) NN_TEXT_(x)
#define NN_ISA_NAME NN_TEXT(NN_ISA)
#define NN_KERNEL(op, part) NN_CAT(nn_##op, part, NN_ISA)

#endif
