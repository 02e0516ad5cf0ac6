/* level.c - how loud samples are at most, and making them less so.
 *
 * Floats without their sign are ordered as the integers of the same bits, with infinity and then NaN above
 * all numbers: one largest integer tells the peak, and whether everything is finite. */
#include <string.h>

#include "signal.h"
#include "vector.h"

typedef int32_t loose_bits __attribute__((may_alias));
enum { ABREAST = 32 };

RVC_VECTOR static float peak_of(const float *x, size_t n) {
    const loose_bits *bits = (const loose_bits *)x;
    int32_t most[ABREAST] = {0}, peak = 0;
    size_t i = 0;
    for (; i + ABREAST <= n; i += ABREAST) {
        for (int k = 0; k < ABREAST; k++) {
            const int32_t level = bits[i + (size_t)k] & INT32_MAX;
            most[k] = level > most[k] ? level : most[k];
        }
    }
    for (int k = 0; k < ABREAST; k++) peak = most[k] > peak ? most[k] : peak;
    for (; i < n; i++) peak = (bits[i] & INT32_MAX) > peak ? bits[i] & INT32_MAX : peak;
    float result;
    memcpy(&result, &peak, sizeof result);
    return result;
}

RVC_VECTOR static void divide(const float *x, size_t n, float by, float *y) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) *(rvc_f8 *)(y + i) = *(const rvc_f8 *)(x + i) / by;
    for (; i < n; i++) y[i] = x[i] / by;
}

float rvc_peak(const float *x, size_t n) {
    return peak_of(x, n);
}
void rvc_divide(const float *x, size_t n, float by, float *y) {
    divide(x, n, by, y);
}
