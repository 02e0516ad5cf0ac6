/* vector.h - several samples at a time, for the loops over whole signals.
 *
 * A static function marked RVC_VECTOR is compiled for AVX-512 (its 32 registers), for AVX2 and without, and the loader takes
 * what the machine has. The lanes are always as many and nothing is contracted (Makefile), so that all give the same bits. What
 * such a function calls and is to be compiled with it is RVC_INLINE; vectors are passed by address only. Vectors wider than
 * these would live in memory on a machine that does not have them. */
#ifndef RVC_VECTOR_H
#define RVC_VECTOR_H

#include <stdint.h>

typedef double rvc_d4 __attribute__((vector_size(32), aligned(8), may_alias)); /* anywhere among doubles */
typedef float rvc_f4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef float rvc_f8 __attribute__((vector_size(32), aligned(4), may_alias));

#if defined(__x86_64__) && defined(__GLIBC__) /* its loader chooses */
#define RVC_VECTOR __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define RVC_VECTOR
#endif
#define RVC_INLINE static inline __attribute__((always_inline))

RVC_INLINE void rvc_widen(const rvc_f4 *f, rvc_d4 *v) {
    *v = (rvc_d4){(double)(*f)[0], (double)(*f)[1], (double)(*f)[2], (double)(*f)[3]}; /* one instruction */
}

#endif
