/* retrieval.c - searching an index and blending what is found into features (index.h, NUMERICS 4).
 *
 *     score_j = sum_i (q_i - v_ji)^2          the k smallest, of the nprobe lists with the nearest centroids
 *     w_j     = score_j^-2 / sum_l score_l^-2
 *     f       = rate * sum_j w_j v_j + (1 - rate) * f
 *
 * Distances are summed directly, not expanded into |q|^2 - 2qv + |v|^2, which loses what matters when a
 * vector is near. Queries are searched in groups: vectors are taken in blocks that stay in cache while every
 * query of the group that is to see them passes by, so a group reads the centroids once, and each list once
 * however many of its queries probe it. Every distance is summed in one order, and of equal scores the
 * smaller id is nearer, so results are the same bits whatever the group, the thread or the instruction set.
 */
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "index_data.h"

enum { LANES = 16, BLOCK = 32, MAX_K = 1024, MAX_THREADS = 64 };

/* Queries of a group: they stay in L2. Fewer where each probes many lists, so that there are not too many
 * visits. */
enum { GROUP = 256, MAX_VISITS = 1 << 18 };

/* ---- distances ----------------------------------------------------------------------------------------- */

/* out[a][b] = |q[a] - row[b]|^2, vectors [width]. */
typedef void distance_kernel(const float *const q[2], const rvc_index_float *const row[2], size_t width,
                             float out[2][2]);

typedef float four __attribute__((vector_size(16)));

/* What was loaded stays in its register: GCC would rather load it again, and a load across cache lines costs
 * two. */
#if defined(__x86_64__)
#define KEEP(x) __asm__("" : "+v"(x))
#else
#define KEEP(x) (void)(x)
#endif

#define DISTANCE_NAME distances_baseline
#define DISTANCE_TARGET
#define DISTANCE_WIDTH 4
#include "distance.h"

#if defined(__x86_64__)
#define DISTANCE_NAME distances_avx2
#define DISTANCE_TARGET __attribute__((target("avx2")))
#define DISTANCE_WIDTH 8
#include "distance.h"

#define DISTANCE_NAME distances_avx512
#define DISTANCE_TARGET __attribute__((target("avx512f")))
#define DISTANCE_WIDTH 16
#include "distance.h"
#endif

/* The widest this machine has, or none wider than what RVC_CPU names. */
static distance_kernel *choose_kernel(void) {
#if defined(__x86_64__)
    const char *most = getenv("RVC_CPU");
    bool narrow = most && strcmp(most, "baseline") == 0, middle = most && strcmp(most, "avx2") == 0;
    if (!narrow && !middle && __builtin_cpu_supports("avx512f")) return distances_avx512;
    if (!narrow && __builtin_cpu_supports("avx2")) return distances_avx2;
#endif
    return distances_baseline;
}

/* ---- the nearest so far -------------------------------------------------------------------------------- */

/* Ascending by score, equal scores by id; `found` of `k` places are taken. k is small, so a place is made by
 * shifting. */
typedef struct nearest {
    float *score;                /* [k] */
    int64_t *id;                 /* [k] */
    const rvc_index_float **row; /* [k], or NULL where nobody asks */
    int k, found;
} nearest;

static bool is_closer(float score, int64_t id, float than_score, int64_t than_id) {
    return score < than_score || (score <= than_score && id < than_id);
}

static void offer(nearest *b, float score, int64_t id, const rvc_index_float *row) {
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

/* Places that were not filled. */
static void fill_up(nearest *b) {
    for (int j = b->found; j < b->k; j++) {
        b->score[j] = INFINITY;
        b->id[j] = -1;
        if (b->row) b->row[j] = NULL;
    }
}

/* ---- scanning ------------------------------------------------------------------------------------------ */

/* A query that looks into a list, and where it keeps what it finds. */
typedef struct visit {
    int64_t list;
    const float *q; /* [width] */
    nearest *found;
} visit;

/* Shows rows from .. to-1 of a list to two queries, or to one twice, whose second finds are dropped. */
static void scan_block(distance_kernel *kernel, const visit *a, const visit *b, const index_list *list,
                       size_t from, size_t to, size_t width) {
    const float *const q[2] = {a->q, b->q};
    for (size_t i = from; i < to; i += 2) {
        const size_t next = i + 1 < to ? i + 1 : i;
        const rvc_index_float *const row[2] = {list->rows + i * width, list->rows + next * width};
        float score[2][2];
        kernel(q, row, width, score);
        for (size_t r = 0; r <= next - i; r++) {
            const int64_t id = list->ids ? list->ids[i + r] : (int64_t)(i + r);
            offer(a->found, score[0][r], id, row[r]);
            if (b != a) offer(b->found, score[1][r], id, row[r]);
        }
    }
}

/* Shows a list to n queries. */
static void scan(distance_kernel *kernel, const visit *v, size_t n, const index_list *list, size_t width) {
    for (size_t from = 0; from < list->count; from += BLOCK) {
        const size_t to = list->count - from < BLOCK ? list->count : from + BLOCK;
        for (size_t i = 0; i < n; i += 2)
            scan_block(kernel, &v[i], &v[i + 1 < n ? i + 1 : i], list, from, to, width);
    }
}

/* ---- searching ----------------------------------------------------------------------------------------- */

/* One thread's share of the queries. */
typedef struct share {
    const rvc_index *x;
    distance_kernel *kernel;
    const float *q; /* [n][width] */
    size_t n, group;
    int k;
    float *scores;                   /* [n][k] */
    int64_t *ids;                    /* [n][k] */
    const rvc_index_float **vectors; /* [n][k], or NULL */
    float *features, rate;           /* [n][width] to blend into, may be q; or NULL */
    float *list_score;               /* [group][nprobe], scratch */
    int64_t *list;                   /* [group][nprobe], scratch: the lists to look into */
    visit *visits;                   /* [group][nprobe], scratch */
} share;

static int by_list(const void *a, const void *b) {
    const visit *v = a, *w = b;
    if (v->list != w->list) return v->list < w->list ? -1 : 1;
    return (v->q > w->q) - (v->q < w->q);
}

/* Looks into the lists whose centroids are nearest to each of n queries, list by list. */
static void search_lists(const share *s, const float *q, size_t n, nearest *found) {
    const rvc_index *x = s->x;
    size_t width = (size_t)x->width, nprobe = (size_t)x->nprobe, visits = 0;
    const index_list centroids = {.rows = x->centroids, .count = (size_t)x->lists};
    visit all[GROUP];
    nearest lists[GROUP];
    for (size_t t = 0; t < n; t++) {
        lists[t] = (nearest){s->list_score + t * nprobe, s->list + t * nprobe, NULL, x->nprobe, 0};
        all[t] = (visit){.q = q + t * width, .found = &lists[t]};
    }
    scan(s->kernel, all, n, &centroids, width);
    for (size_t t = 0; t < n; t++)
        for (int p = 0; p < lists[t].found; p++)
            s->visits[visits++] = (visit){lists[t].id[p], all[t].q, &found[t]};
    qsort(s->visits, visits, sizeof *s->visits, by_list);
    for (size_t i = 0, next; i < visits; i = next) {
        for (next = i + 1; next < visits && s->visits[next].list == s->visits[i].list;) next++;
        scan(s->kernel, s->visits + i, next - i, &x->list[s->visits[i].list], width);
    }
}

static void search_all(const share *s, const float *q, size_t n, nearest *found) {
    visit all[GROUP];
    for (size_t t = 0; t < n; t++) all[t] = (visit){.q = q + t * (size_t)s->x->width, .found = &found[t]};
    scan(s->kernel, all, n, s->x->list, (size_t)s->x->width);
}

/* f [width] = rate * sum w_j v_j + (1 - rate) * f. In double 1/score^2 overflows for no float score but 0,
 * which is an exact hit and gives that vector. */
static void blend(float *f, size_t width, const nearest *b, float rate) {
    double weight[RVC_RETRIEVAL_K], total = 0, sum[64];
    int found = b->found;
    if (found == 0) return;
    if (!(b->score[0] > 0)) found = 1;
    for (int j = 0; j < found; j++) {
        double s = (double)b->score[j];
        weight[j] = s > 0 ? 1 / (s * s) : 1;
        total += weight[j];
    }
    for (int j = 0; j < found; j++) weight[j] /= total;
    for (size_t i = 0; i < width; i += sizeof sum / sizeof *sum) {
        size_t n = width - i < sizeof sum / sizeof *sum ? width - i : sizeof sum / sizeof *sum;
        memset(sum, 0, sizeof sum);
        for (int j = 0; j < found; j++)
            for (size_t c = 0; c < n; c++) sum[c] += weight[j] * (double)b->row[j][i + c];
        for (size_t c = 0; c < n; c++)
            f[i + c] = (float)((double)rate * sum[c] + (1 - (double)rate) * (double)f[i + c]);
    }
}

static void *search_share(void *argument) {
    const share *s = argument;
    size_t width = (size_t)s->x->width, k = (size_t)s->k;
    for (size_t i = 0; i < s->n; i += s->group) {
        size_t n = s->n - i < s->group ? s->n - i : s->group;
        nearest found[GROUP];
        for (size_t t = 0; t < n; t++) {
            const rvc_index_float **row = s->vectors ? s->vectors + (i + t) * k : NULL;
            found[t] = (nearest){s->scores + (i + t) * k, s->ids + (i + t) * k, row, s->k, 0};
        }
        if (s->x->lists)
            search_lists(s, s->q + i * width, n, found);
        else
            search_all(s, s->q + i * width, n, found);
        for (size_t t = 0; t < n; t++) {
            fill_up(&found[t]);
            if (s->features) blend(s->features + (i + t) * width, width, &found[t], s->rate);
        }
    }
    return NULL;
}

/* Splits `whole` for `threads` threads, pairs of queries unparted; a thread that cannot be started has its
 * share done here. */
static void run_shares(const share *whole, size_t threads) {
    share part[MAX_THREADS];
    pthread_t thread[MAX_THREADS];
    bool started[MAX_THREADS] = {false};
    size_t width = (size_t)whole->x->width, k = (size_t)whole->k;
    size_t scratch = whole->group * (size_t)whole->x->nprobe, pairs = (whole->n + 1) / 2;
    for (size_t i = 0; i < threads; i++) {
        size_t from = pairs * i / threads * 2, to = pairs * (i + 1) / threads * 2;
        part[i] = *whole;
        part[i].n = (to < whole->n ? to : whole->n) - from;
        part[i].q += from * width;
        part[i].scores += from * k;
        part[i].ids += from * k;
        if (part[i].vectors) part[i].vectors += from * k;
        if (part[i].features) part[i].features += from * width;
        part[i].list_score += i * scratch;
        part[i].list += i * scratch;
        part[i].visits += i * scratch;
        started[i] = i > 0 && pthread_create(&thread[i], NULL, search_share, &part[i]) == 0;
    }
    for (size_t i = 0; i < threads; i++)
        if (!started[i]) search_share(&part[i]);
    for (size_t i = 0; i < threads; i++)
        if (started[i]) pthread_join(thread[i], NULL);
}

/* Fills in the kernel, groups and scratch, and runs. */
static nn_code run(share *whole, int threads, nn_error *e) {
    size_t most = (whole->n + 1) / 2, nprobe = (size_t)whole->x->nprobe,
           count = threads < 1 ? 1 : (size_t)threads;
    if (count > MAX_THREADS) count = MAX_THREADS;
    if (count > most) count = most;
    whole->kernel = choose_kernel();
    whole->group = nprobe <= MAX_VISITS / GROUP ? GROUP : nprobe < MAX_VISITS / 2 ? MAX_VISITS / nprobe : 2;
    size_t scratch = count * whole->group * nprobe;
    whole->list_score = malloc(scratch * sizeof *whole->list_score + 1);
    whole->list = malloc(scratch * sizeof *whole->list + 1);
    whole->visits = malloc(scratch * sizeof *whole->visits + 1);
    bool ok = whole->list_score && whole->list && whole->visits;
    if (ok) run_shares(whole, count);
    free(whole->list_score);
    free(whole->list);
    free(whole->visits);
    return ok ? NN_OK : nn_fail_memory(e, "the index search");
}

nn_code rvc_index_search(const rvc_index *x, const float *q, size_t n, int k, float *scores, int64_t *ids,
                         const rvc_index_float **vectors, int threads, nn_error *e) {
    if (k < 1 || k > MAX_K)
        return nn_fail(e, NN_ERROR_ARGUMENT, "%s: %d nearest vectors were asked for; 1 to %d can be", x->path,
                       k, MAX_K);
    if (n == 0) return NN_OK;
    share whole = {.x = x, .q = q, .n = n, .k = k, .scores = scores, .ids = ids, .vectors = vectors};
    return run(&whole, threads, e);
}

nn_code rvc_index_retrieve(const rvc_index *x, float *features, size_t n, float rate, int threads,
                           nn_error *e) {
    if (!(rate >= 0 && rate <= 1))
        return nn_fail(e, NN_ERROR_ARGUMENT, "the index rate is %g; it is a share between 0 and 1",
                       (double)rate);
    if (n == 0 || rate <= 0) return NN_OK;
    enum { K = RVC_RETRIEVAL_K };
    share whole = {.x = x, .q = features, .n = n, .k = K, .features = features, .rate = rate};
    if (n > SIZE_MAX / sizeof(float *) / K) return nn_fail_memory(e, "the retrieval");
    whole.scores = malloc(n * K * sizeof *whole.scores);
    whole.ids = malloc(n * K * sizeof *whole.ids);
    whole.vectors = malloc(n * K * sizeof *whole.vectors);
    nn_code code = whole.scores && whole.ids && whole.vectors ? run(&whole, threads, e)
                                                              : nn_fail_memory(e, "the retrieval");
    free(whole.scores);
    free(whole.ids);
    free(whole.vectors);
    return code;
}
