/* strided.c - see strided.h.
 *
 * The last axis is a loop of its own per element size; the axes before it turn like an odometer:
 *     dst[n] = src[sum over i of index(n)[i] * stride[i]],  n counting row-major through shape. */
#include "strided.h"

#include <stdbool.h>
#include <string.h>

enum { MAX_RANK = 8 };

typedef void copy_row(unsigned char *dst, const unsigned char *src, size_t count, size_t step);

/* The size is a constant in each, so memcpy is one load and one store, at any alignment. */
#define COPY_ROW(name, size)                                                                                 \
    static void name(unsigned char *dst, const unsigned char *src, size_t count, size_t step) {              \
        for (size_t i = 0; i < count; i++) memcpy(dst + i * (size), src + i * step, (size));                 \
    }
COPY_ROW(copy_1, 1)
COPY_ROW(copy_2, 2)
COPY_ROW(copy_4, 4)
COPY_ROW(copy_8, 8)
COPY_ROW(copy_16, 16)

static copy_row *const copies[17] = {[1] = copy_1, [2] = copy_2, [4] = copy_4, [8] = copy_8, [16] = copy_16};

void nn_copy_strided(void *dst, const void *src, size_t size, int rank, const int64_t *shape,
                     const int64_t *stride) {
    unsigned char *to = dst;
    const unsigned char *from = src;
    int64_t index[MAX_RANK] = {0};
    for (int i = 0; i < rank; i++)
        if (shape[i] == 0) return;
    size_t row = rank ? (size_t)shape[rank - 1] : 1, step = rank ? (size_t)stride[rank - 1] * size : 0;
    for (;;) {
        copies[size](to, from, row, step);
        to += row * size;
        int axis = rank - 2;
        for (; axis >= 0; axis--) {
            from += (size_t)stride[axis] * size;
            if (++index[axis] < shape[axis]) break;
            from -= (size_t)shape[axis] * (size_t)stride[axis] * size;
            index[axis] = 0;
        }
        if (axis < 0) return;
    }
}
