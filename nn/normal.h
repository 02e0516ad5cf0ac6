/* normal.h - standard normal numbers by position, not by history.
 *
 * Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011) turns a counter
 * and a key into four independent 32-bit words. Key: the seed. Counter: words 0 and 1 number the block, words 2 and 3 the
 * stream. Block k holds the elements 4k .. 4k+3, made of its words w0..w3 by Box and Muller (1958):
 *
 *   element 4k   = r(w0) cos(angle(w1))     element 4k+2 = r(w2) cos(angle(w3))      r(w) = sqrt(-2 ln((w + 1)/2^32))
 *   element 4k+1 = r(w0) sin(angle(w1))     element 4k+3 = r(w2) sin(angle(w3))      angle(w) = 2 pi w/2^32
 *
 * ln, cos and sin are short series here, to 1e-7: faster than the library's, and the same bits whatever libm there is;
 * turn.glsl has the same for shaders. */
#ifndef NN_NORMAL_H
#define NN_NORMAL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void nn_philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
    enum { ROUNDS = 10 };
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p = (uint64_t)0xD2511F53u * c[0], q = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t c1 = c[1], c3 = c[3];
        c[0] = (uint32_t)(q >> 32) ^ c1 ^ k0;
        c[1] = (uint32_t)q;
        c[2] = (uint32_t)(p >> 32) ^ c3 ^ k1;
        c[3] = (uint32_t)p;
        k0 += 0x9E3779B9u; /* the golden ratio */
        k1 += 0xBB67AE85u; /* sqrt 3 - 1 */
    }
}

/* ln u for u in (0, 1]: u = 2^e m with m in [sqrt 1/2, sqrt 2), ln m = 2 atanh((m-1)/(m+1)) by its series; |s| < 0.172,
 * so the first term left out is below 3e-9. */
static inline float nn_log_unit(float u) {
    const uint32_t root_half = 0x3f3504f3u;
    uint32_t bits;
    memcpy(&bits, &u, sizeof bits);
    int exponent = ((int)bits - (int)root_half) >> 23;
    bits -= (uint32_t)exponent << 23;
    float m;
    memcpy(&m, &bits, sizeof m);
    float s = (m - 1) / (m + 1), q = s * s;
    float series = 2 * s * (1 + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9)))));
    return (float)exponent * 0.693147180559945f + series;
}

/* Two normal numbers from two words. (w + 1)/2^32 keeps all 32 bits where it is small, so the tail reaches 6.66 sigma. */
static inline void nn_box_muller(uint32_t w0, uint32_t w1, float out[2]) {
    float u = ((float)w0 + 1.0f) * 0x1p-32f; /* rounds up to 1 at the top: r = 0, as it should be */
    float r = sqrtf(-2 * nn_log_unit(u));
    /* angle = quadrant pi/2 + a, a in [-pi/4, pi/4) exactly from the integer; Taylor to a^9 and a^10 is below 2e-9 */
    uint32_t quadrant = (w1 + 0x20000000u) >> 30;
    float a = (float)(int32_t)(w1 - (quadrant << 30)) * (float)(1.5707963267948966 * 0x1p-30);
    float q = a * a;
    float s = a * (1 + q * (-1.0f / 6 + q * (1.0f / 120 + q * (-1.0f / 5040 + q * (1.0f / 362880)))));
    float c = 1 + q * (-0.5f + q * (1.0f / 24 + q * (-1.0f / 720 + q * (1.0f / 40320 + q * (-1.0f / 3628800)))));
    int odd = quadrant & 1;
    float cosine = odd ? s : c, sine = odd ? c : s;
    out[0] = quadrant == 1 || quadrant == 2 ? -r * cosine : r * cosine;
    out[1] = quadrant >= 2 ? -r * sine : r * sine;
}

static inline void nn_normal_block(uint64_t seed, uint64_t stream, uint64_t block, float out[4]) {
    uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
    nn_philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    nn_box_muller(c[0], c[1], out);
    nn_box_muller(c[2], c[3], out + 2);
}

/* out [count] = elements first .. first+count-1. */
static inline void nn_normal_numbers(uint64_t seed, uint64_t stream, uint64_t first, size_t count, float *out) {
    while (count > 0) {
        float four[4];
        size_t skip = (size_t)(first % 4), take = 4 - skip < count ? 4 - skip : count;
        nn_normal_block(seed, stream, first / 4, four);
        memcpy(out, four + skip, take * sizeof *out);
        out += take;
        first += take;
        count -= take;
    }
}

#endif
