/* retrieval.c - searching an index and blending what is found into features (index.h, NUMERICS 4).
 *
 *     score_j = sum_i (q_i - v_ji)^2          the k smallest, of the nprobe lists with the nearest centroids
 *     w_j     = score_j^-2 / sum_l score_l^-2
 *     f       = rate * sum_j w_j v_j + (1 - rate) * f
 *
 * Distances are summed directly, not expanded into |q|^2 - 2qv + |v|^2, which loses what matters when a
 * vector is near. Rows shared by queries (centroids; all vectors of a flat index) are taken in blocks that
 * stay in cache while a tile of queries passes over them. Every distance is summed in one order, whatever the
 * tile, the thread or the instruction set, so results are the same bits everywhere. */
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "index_data.h"

enum { LANES = 8, ROWS = 4, TILE = 32, BLOCK = 32, MAX_K = 1024, MAX_THREADS = 64 };

/* ---- the kernel ---------------------------------------------------------------------------------------- */

typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* out[r] = |q - row[r]|^2, vectors [width], for ROWS rows at a time: their sums are independent. */
typedef void distance_kernel(const float *q, const float *const row[ROWS], size_t width, float out[ROWS]);

static inline __attribute__((always_inline)) void distances(const float *q, const float *const row[ROWS],
                                                            size_t width, float out[ROWS]) {
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    size_t i = 0;
    for (; i + LANES <= width; i += LANES) {
        lanes x = *(const lanes *)(q + i);
        lanes d0 = *(const lanes *)(row[0] + i) - x, d1 = *(const lanes *)(row[1] + i) - x;
        lanes d2 = *(const lanes *)(row[2] + i) - x, d3 = *(const lanes *)(row[3] + i) - x;
        s0 += d0 * d0;
        s1 += d1 * d1;
        s2 += d2 * d2;
        s3 += d3 * d3;
    }
    lanes sums[ROWS] = {s0, s1, s2, s3};
    for (int r = 0; r < ROWS; r++) {
        lanes s = sums[r];
        float sum = ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
        for (size_t j = i; j < width; j++) sum += (row[r][j] - q[j]) * (row[r][j] - q[j]);
        out[r] = sum;
    }
}

static void distances_baseline(const float *q, const float *const row[ROWS], size_t width, float out[ROWS]) {
    distances(q, row, width, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void distances_avx2(const float *q, const float *const row[ROWS],
                                                           size_t width, float out[ROWS]) {
    distances(q, row, width, out);
}
#endif

static distance_kernel *choose_kernel(void) {
#if defined(__x86_64__)
    const char *forced = getenv("RVC_CPU");
    bool baseline = forced && strcmp(forced, "baseline") == 0;
    if (!baseline && __builtin_cpu_supports("avx2")) return distances_avx2;
#endif
    return distances_baseline;
}

/* ---- the nearest so far -------------------------------------------------------------------------------- */

/* Ascending by score, equal scores by id; `found` of `k` places are taken. k is small, so a place is made by
 * shifting. */
typedef struct nearest {
    float *score;      /* [k] */
    int64_t *id;       /* [k] */
    const float **row; /* [k], or NULL where nobody asks */
    int k, found;
} nearest;

static bool is_closer(float score, int64_t id, float than_score, int64_t than_id) {
    return score < than_score || (score <= than_score && id < than_id);
}

static void offer(nearest *b, float score, int64_t id, const float *row) {
    if (id < 0 || !(score < INFINITY)) return; /* "no vector"; NaN or overflow */
    if (b->found == b->k && !is_closer(score, id, b->score[b->k - 1], b->id[b->k - 1])) return;
    int i = b->found < b->k ? b->found++ : b->k - 1;
    for (; i > 0 && is_closer(score, id, b->score[i - 1], b->id[i - 1]); i--) {
        b->score[i] = b->score[i - 1];
        b->id[i] = b->id[i - 1];
        if (b->row) b->row[i] = b->row[i - 1];
    }
    b->score[i] = score;
    b->id[i] = id;
    if (b->row) b->row[i] = row;
}

/* Offers rows [n][width] to one query's nearest; ids [n], or NULL for first_id, first_id + 1, ... */
static void scan(distance_kernel *kernel, const float *q, const float *rows, size_t n, size_t width,
                 const int64_t *ids, int64_t first_id, nearest *b) {
    for (size_t i = 0; i < n; i += ROWS) {
        const float *row[ROWS];
        float score[ROWS];
        size_t count = n - i < ROWS ? n - i : ROWS;
        for (size_t r = 0; r < ROWS; r++) row[r] = rows + (i + (r < count ? r : 0)) * width;
        kernel(q, row, width, score);
        for (size_t r = 0; r < count; r++)
            offer(b, score[r], ids ? ids[i + r] : first_id + (int64_t)(i + r), row[r]);
    }
}

/* scan for a tile of queries [tile][width] over rows they share. */
static void scan_tile(distance_kernel *kernel, const float *q, size_t tile, const float *rows, size_t n,
                      size_t width, nearest *b) {
    for (size_t i = 0; i < n; i += BLOCK)
        for (size_t t = 0; t < tile; t++)
            scan(kernel, q + t * width, rows + i * width, n - i < BLOCK ? n - i : BLOCK, width, NULL,
                 (int64_t)i, &b[t]);
}

/* ---- searching ----------------------------------------------------------------------------------------- */

/* One thread's share of the queries. */
typedef struct share {
    const rvc_index *x;
    distance_kernel *kernel;
    const float *q; /* [n][width] */
    size_t n;
    int k;
    float *scores;         /* [n][k] */
    int64_t *ids;          /* [n][k] */
    const float **vectors; /* [n][k], or NULL */
    float *list_score;     /* [TILE][nprobe], scratch */
    int64_t *list;         /* [TILE][nprobe], scratch: the lists to look into */
} share;

/* Looks into the lists whose centroids are nearest to each query of the tile. */
static void search_lists(const share *s, const float *q, size_t tile, nearest *b) {
    const rvc_index *x = s->x;
    size_t width = (size_t)x->width, nprobe = (size_t)x->nprobe;
    nearest lists[TILE];
    for (size_t t = 0; t < tile; t++)
        lists[t] = (nearest){s->list_score + t * nprobe, s->list + t * nprobe, NULL, x->nprobe, 0};
    scan_tile(s->kernel, q, tile, x->centroids, (size_t)x->lists, width, lists);
    for (size_t t = 0; t < tile; t++)
        for (int p = 0; p < lists[t].found; p++) {
            size_t from = x->first[lists[t].id[p]], to = x->first[lists[t].id[p] + 1];
            scan(s->kernel, q + t * width, x->data + from * width, to - from, width, x->ids + from, 0, &b[t]);
        }
}

static void *search_share(void *argument) {
    const share *s = argument;
    const rvc_index *x = s->x;
    size_t width = (size_t)x->width, k = (size_t)s->k;
    for (size_t i = 0; i < s->n; i += TILE) {
        size_t tile = s->n - i < TILE ? s->n - i : TILE;
        const float *q = s->q + i * width;
        nearest b[TILE];
        for (size_t t = 0; t < tile; t++) {
            const float **row = s->vectors ? s->vectors + (i + t) * k : NULL;
            b[t] = (nearest){s->scores + (i + t) * k, s->ids + (i + t) * k, row, s->k, 0};
        }
        if (x->lists)
            search_lists(s, q, tile, b);
        else
            scan_tile(s->kernel, q, tile, x->data, x->vectors, width, b);
        for (size_t t = 0; t < tile; t++)
            for (int j = b[t].found; j < s->k; j++) {
                b[t].score[j] = INFINITY;
                b[t].id[j] = -1;
                if (b[t].row) b[t].row[j] = NULL;
            }
    }
    return NULL;
}

/* Splits `whole` into tiles of queries for `threads` threads; a thread that cannot be started has its share
 * done here. */
static void run_shares(const share *whole, int threads) {
    share part[MAX_THREADS];
    pthread_t thread[MAX_THREADS];
    bool started[MAX_THREADS] = {false};
    size_t width = (size_t)whole->x->width, k = (size_t)whole->k,
           scratch = (size_t)TILE * (size_t)whole->x->nprobe;
    size_t tiles = (whole->n + TILE - 1) / TILE, count = (size_t)threads;
    for (size_t i = 0; i < count; i++) {
        size_t from = tiles * i / count * TILE, to = tiles * (i + 1) / count * TILE;
        part[i] = *whole;
        part[i].n = (to < whole->n ? to : whole->n) - from;
        part[i].q += from * width;
        part[i].scores += from * k;
        part[i].ids += from * k;
        if (part[i].vectors) part[i].vectors += from * k;
        part[i].list_score += i * scratch;
        part[i].list += i * scratch;
        started[i] = i > 0 && pthread_create(&thread[i], NULL, search_share, &part[i]) == 0;
    }
    for (size_t i = 0; i < count; i++)
        if (!started[i]) search_share(&part[i]);
    for (size_t i = 0; i < count; i++)
        if (started[i]) pthread_join(thread[i], NULL);
}

nn_code rvc_index_search(const rvc_index *x, const float *q, size_t n, int k, float *scores, int64_t *ids,
                         const float **vectors, int threads, nn_error *e) {
    if (k < 1 || k > MAX_K)
        return nn_fail(e, NN_ERROR_ARGUMENT, "%s: %d nearest vectors were asked for; 1 to %d can be", x->path,
                       k, MAX_K);
    if (n == 0) return NN_OK;
    size_t most = (n + TILE - 1) / TILE;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads < 1) threads = 1;
    if ((size_t)threads > most) threads = (int)most;
    share whole = {x, choose_kernel(), q, n, k, scores, ids, vectors, NULL, NULL};
    size_t scratch = (size_t)threads * TILE * (size_t)x->nprobe;
    whole.list_score = malloc(scratch * sizeof *whole.list_score + 1);
    whole.list = malloc(scratch * sizeof *whole.list + 1);
    nn_code code = whole.list_score && whole.list ? NN_OK : nn_fail_memory(e, "the index search");
    if (!code) run_shares(&whole, threads);
    free(whole.list_score);
    free(whole.list);
    return code;
}

/* ---- blending ------------------------------------------------------------------------------------------ */

/* f [width] = rate * sum w_j v_j + (1 - rate) * f. In double 1/score^2 overflows for no float score but 0,
 * which is an exact hit and gives that vector. */
static void blend(float *f, size_t width, const float *score, const float *const *vector, float rate) {
    double weight[RVC_RETRIEVAL_K], sum = 0;
    int found = 0;
    while (found < RVC_RETRIEVAL_K && vector[found]) found++;
    if (found == 0) return;
    if (!(score[0] > 0)) found = 1;
    for (int j = 0; j < found; j++) {
        double s = (double)score[j];
        weight[j] = s > 0 ? 1 / (s * s) : 1;
        sum += weight[j];
    }
    for (size_t i = 0; i < width; i++) {
        double v = 0;
        for (int j = 0; j < found; j++) v += weight[j] / sum * (double)vector[j][i];
        f[i] = (float)((double)rate * v + (1 - (double)rate) * (double)f[i]);
    }
}

nn_code rvc_index_retrieve(const rvc_index *x, float *features, size_t n, float rate, int threads,
                           nn_error *e) {
    if (!(rate >= 0 && rate <= 1))
        return nn_fail(e, NN_ERROR_ARGUMENT, "the index rate is %g; it is a share between 0 and 1",
                       (double)rate);
    if (n == 0 || rate <= 0) return NN_OK;
    enum { K = RVC_RETRIEVAL_K };
    if (n > SIZE_MAX / sizeof(float *) / K) return nn_fail_memory(e, "the retrieval");
    float *scores = malloc(n * K * sizeof *scores);
    int64_t *ids = malloc(n * K * sizeof *ids);
    const float **vectors = malloc(n * K * sizeof *vectors);
    nn_code code = scores && ids && vectors ? NN_OK : nn_fail_memory(e, "the retrieval");
    if (!code) code = rvc_index_search(x, features, n, K, scores, ids, vectors, threads, e);
    size_t width = (size_t)x->width;
    for (size_t i = 0; !code && i < n; i++)
        blend(features + i * width, width, scores + i * K, vectors + i * K, rate);
    free(scores);
    free(ids);
    free(vectors);
    return code;
}
