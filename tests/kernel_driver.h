/* kernel_driver.h - runs one CPU kernel as the back end would, from a node made by hand, and watches what it
 * touches.
 *
 * Inputs, scratch and shared memory are exactly as large as promised, so that a sanitizer sees one float too
 * many; scratch and shared memory start as NaN; the output is NaN between two guard bands. */
#ifndef TESTS_KERNEL_DRIVER_H
#define TESTS_KERNEL_DRIVER_H

#include "check.h"

#include "../nn/cpu/kernel.h"

enum { DRIVER_GUARD = 64 }; /* floats before and after the output */

/* `count` floats of NaN at a multiple of 64 bytes; free with free(). */
static inline float *driver_nan(size_t count) {
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 64, count ? count * sizeof(float) : 1), 0);
    memset(p, 0xff, count * sizeof(float));
    return p;
}

static inline void driver_guard(const float *p) {
    for (int i = 0; i < DRIVER_GUARD; i++) {
        uint32_t bits;
        memcpy(&bits, p + i, sizeof bits);
        assert_int_equal(bits, 0xffffffffu);
    }
}

/* How a kernel is to be driven: threads it is told of, tasks in reverse order, and the input whose memory the
 * output shares (-1: none). */
typedef struct driver_way {
    int threads, alias;
    bool reverse;
} driver_way;

/* The output [elements of n->shape] of node n on inputs in [n->n_in]; free with free(). */
static inline float *driver_run(const nn_kernel_table *t, nn_node *n, float *const *in, nn_weights *w,
                                driver_way way) {
    const nn_kernel *k = &t->kernel[n->op];
    const size_t count = nn_elements(n->shape);
    nn_error e = {0};
    n->n_blobs = 0;
    if (k->pack(n, w, &e)) fail_msg("%s %s: %s", t->name, nn_op_names[n->op], e.text);

    float *out = driver_nan(count + 2 * DRIVER_GUARD);
    nn_call c = {.node = n, .threads = way.threads, .out = out + DRIVER_GUARD};
    for (int i = 0; i < n->n_in; i++) c.in[i] = in[i];
    if (way.alias >= 0) {
        memcpy(c.out, in[way.alias], count * sizeof(float));
        c.in[way.alias] = c.out;
    }
    k->setup(&c);
    assert_in_range(c.stages, 1, NN_MAX_STAGES);
    float *scratch = driver_nan(c.scratch_bytes / sizeof(float));
    float *shared = driver_nan(c.shared_bytes / sizeof(float));
    c.shared = shared;
    for (int stage = 0; stage < c.stages; stage++)
        for (int i = 0; i < c.tasks[stage]; i++) {
            memset(scratch, 0xff, c.scratch_bytes);
            k->run(&c, stage, way.reverse ? c.tasks[stage] - 1 - i : i, scratch);
        }
    driver_guard(out);
    driver_guard(out + DRIVER_GUARD + count);
    memmove(out, out + DRIVER_GUARD, count * sizeof(float));
    free(scratch);
    free(shared);
    return out;
}

#endif
