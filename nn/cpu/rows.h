/* rows.h - small things most kernels need: splitting rows into tasks, and vectors of which only a part
 * exists.
 *
 * A task is about 16 000 elements: some microseconds of work, far above the cost of handing it out, and small
 * enough that a second of audio makes dozens. Sizes depend on the shape only, never on the number of threads.
 */
#ifndef NN_CPU_ROWS_H
#define NN_CPU_ROWS_H

#include "kernel.h"
#include "vector.h"

enum { NN_TASK_ELEMENTS = 16384 };

static inline int nn_least(int a, int b) {
    return a < b ? a : b;
}
static inline int nn_most(int a, int b) {
    return a > b ? a : b;
}
static inline int nn_parts(int n, int of) {
    return (n + of - 1) / of;
}
static inline int nn_round_up(int n, int to) {
    return nn_parts(n, to) * to;
}

/* The vector at p of which n > 0 floats are there; n may be more than NN_VW. */
static inline nn_v nn_load_most(const float *p, int n) {
    return n >= NN_VW ? nn_load(p) : nn_load_part(p, n);
}
static inline void nn_store_most(float *p, nn_v v, int n) {
    if (n >= NN_VW)
        nn_store(p, v);
    else
        nn_store_part(p, v, n);
}

/* One stage whose tasks take some of `rows` rows each; uses plan[0] and plan[1]. */
static inline void nn_rows_split(nn_call *c, int rows, int channels) {
    const int each = nn_most(1, NN_TASK_ELEMENTS / channels);
    c->plan[0] = rows;
    c->plan[1] = each;
    c->stages = 1;
    c->tasks[0] = nn_parts(rows, each);
}
static inline int nn_rows_from(const nn_call *c, int task) {
    return task * (int)c->plan[1];
}
static inline int nn_rows_to(const nn_call *c, int task) {
    return nn_least((int)c->plan[0], (task + 1) * (int)c->plan[1]);
}

#endif
