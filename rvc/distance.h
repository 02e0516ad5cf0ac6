/* distance.h - the squared distances of 2 queries to 2 vectors, for vectors of DISTANCE_WIDTH floats. Included by
 * retrieval.c once per instruction set; makes the function DISTANCE_NAME with the attribute DISTANCE_TARGET.
 *
 *   sum[lane] = sum over i = lane, lane + LANES, ... of (v_i - q_i)^2       then the lanes as a tree, then what is left
 *
 * LANES sums are kept whatever the width, and multiplications and additions stay apart (no FMA, which not every machine
 * has): the same bits from all of them. Two by two, because a value loaded is then used twice and the eight or more
 * independent sums hide the latency of an addition. */

#define DISTANCE_JOIN_(a, b) a##b
#define DISTANCE_JOIN(a, b) DISTANCE_JOIN_(a, b)
#define VECTOR DISTANCE_JOIN(DISTANCE_NAME, _vector)
#define LOOSE DISTANCE_JOIN(DISTANCE_NAME, _loose)

typedef float VECTOR __attribute__((vector_size(DISTANCE_WIDTH * sizeof(float))));
typedef float LOOSE __attribute__((vector_size(DISTANCE_WIDTH * sizeof(float)), aligned(1), may_alias));

DISTANCE_TARGET static void DISTANCE_NAME(const float *const q[2], const rvc_index_float *const row[2], size_t width,
                                          float out[2][2]) {
    enum { PARTS = LANES / DISTANCE_WIDTH };
    VECTOR sum[2][2][PARTS];
    size_t whole = width - width % LANES;
    memset(sum, 0, sizeof sum);
    for (size_t i = 0; i < whole; i += LANES)
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; p++) {
            const size_t at = i + (size_t)p * DISTANCE_WIDTH;
            const VECTOR q0 = *(const LOOSE *)(q[0] + at), q1 = *(const LOOSE *)(q[1] + at);
            const VECTOR v0 = *(const LOOSE *)(row[0] + at), v1 = *(const LOOSE *)(row[1] + at);
            sum[0][0][p] += (v0 - q0) * (v0 - q0);
            sum[0][1][p] += (v1 - q0) * (v1 - q0);
            sum[1][0][p] += (v0 - q1) * (v0 - q1);
            sum[1][1][p] += (v1 - q1) * (v1 - q1);
        }
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) {
            float lane[LANES];
            memcpy(lane, sum[a][b], sizeof lane);
            for (int half = LANES / 2; half > 0; half /= 2)
                for (int i = 0; i < half; i++) lane[i] += lane[i + half];
            out[a][b] = lane[0];
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
