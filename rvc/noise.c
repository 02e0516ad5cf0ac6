/* noise.c - the noise of a conversion: normal.h's numbers, compiled here without contraction so that they are
 * the same bits on every machine. */
#include "../nn/normal.h"
#include "signal.h"

void rvc_normal(uint64_t seed, uint64_t stream, uint64_t first, size_t count, float *out) {
    nn_normal_numbers(seed, stream, first, count, out);
}
