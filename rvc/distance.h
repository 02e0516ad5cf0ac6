/* distance.h - the squared distances of 2 queries to 2 vectors, in registers of DISTANCE_WIDTH floats.
 * Included by retrieval.c once per instruction set; makes the function DISTANCE_NAME with the attribute
 * DISTANCE_TARGET.
 *
 *   sum[lane] = sum over i = lane, lane + LANES, ... of (v_i - q_i)^2    then the lanes as a tree, then the
 * rest
 *
 * LANES sums are kept whatever the width, and multiplications and additions stay apart (no FMA, which not
 * every machine has): the same bits from all of them. Two by two, because what is loaded is then used twice,
 * and independent sums hide the latency of an addition. */

#define DISTANCE_JOIN_(a, b) a##b
#define DISTANCE_JOIN(a, b) DISTANCE_JOIN_(a, b)
#define VECTOR DISTANCE_JOIN(DISTANCE_NAME, _vector)
#define LOOSE DISTANCE_JOIN(DISTANCE_NAME, _loose)

typedef float VECTOR __attribute__((vector_size(DISTANCE_WIDTH * sizeof(float))));
typedef float LOOSE __attribute__((vector_size(DISTANCE_WIDTH * sizeof(float)), aligned(1), may_alias));

DISTANCE_TARGET static void DISTANCE_NAME(const float *const q[2], const rvc_index_float *const row[2],
                                          size_t width, float out[2][2]) {
    enum { PARTS = LANES / DISTANCE_WIDTH };
    VECTOR sum[2][2][PARTS];
    size_t whole = width - width % LANES;
    memset(sum, 0, sizeof sum);
    for (size_t i = 0; i < whole; i += LANES)
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; p++) {
            const size_t at = i + (size_t)p * DISTANCE_WIDTH;
            VECTOR q0 = *(const LOOSE *)(q[0] + at), q1 = *(const LOOSE *)(q[1] + at);
            VECTOR v0 = *(const LOOSE *)(row[0] + at), v1 = *(const LOOSE *)(row[1] + at);
            KEEP(q0);
            KEEP(q1);
            KEEP(v0);
            KEEP(v1);
            const VECTOR d00 = v0 - q0, d01 = v1 - q0, d10 = v0 - q1, d11 = v1 - q1;
            sum[0][0][p] += d00 * d00;
            sum[0][1][p] += d01 * d01;
            sum[1][0][p] += d10 * d10;
            sum[1][1][p] += d11 * d11;
        }
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) {
            four lane[LANES / 4];
            memcpy(lane, sum[a][b], sizeof lane);
            const four s = (lane[0] + lane[2]) + (lane[1] + lane[3]);
            out[a][b] = (s[0] + s[2]) + (s[1] + s[3]);
            for (size_t i = whole; i < width; i++) out[a][b] += (row[b][i] - q[a][i]) * (row[b][i] - q[a][i]);
        }
}

#undef LOOSE
#undef VECTOR
#undef DISTANCE_JOIN
#undef DISTANCE_JOIN_
#undef DISTANCE_NAME
#undef DISTANCE_TARGET
#undef DISTANCE_WIDTH
