/* strided.h - one copy for every view: transposed, sliced, repeated, permuted. */
#ifndef NN_STRIDED_H
#define NN_STRIDED_H

#include <stddef.h>
#include <stdint.h>

/* dst, row-major in shape [rank], gets src[sum of index[i] * stride[i]], elements of `size` bytes (1, 2, 4, 8 or
 * 16); strides count elements and are not negative. The two do not overlap. */
void nn_copy_strided(void *dst, const void *src, size_t size, int rank, const int64_t *shape, const int64_t *stride);

#endif
