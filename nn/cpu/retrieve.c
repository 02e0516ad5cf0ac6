/* retrieve.c - each row f becomes rate sum_j w_j v_j + (1 - rate) f over its 8 nearest vectors, w_j = d_j^-2
 * normalised.
 *
 * Distances are summed directly, not expanded into |f|^2 - 2 f v + |v|^2, which loses what matters when a
 * vector is near. */
#include <math.h>
#include "rows.h"

enum { K = 8 };

/* The nearest so far, ascending; `place` tells them apart. */
typedef struct nearest {
    int found, k;
    float score[K];
    const nn_loose_float *row[K];
    int place[K];
} nearest;

static void offer(nearest *b, float score, int place, const nn_loose_float *row) {
    if (!(score < INFINITY) || (b->found == b->k && !(score < b->score[b->k - 1]))) return;
    int i = b->found < b->k ? b->found++ : b->k - 1;
    for (; i > 0 && score < b->score[i - 1]; i--) {
        b->score[i] = b->score[i - 1];
        b->row[i] = b->row[i - 1];
        b->place[i] = b->place[i - 1];
    }
    b->score[i] = score;
    b->row[i] = row;
    b->place[i] = place;
}

static float distance(const float *f, const nn_loose_float *v, int width) {
    float sum[8] = {0};
    for (int i = 0; i < width; i++) sum[i % 8] += (f[i] - v[i]) * (f[i] - v[i]);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static void look_into(nearest *b, const float *f, const nn_vector_list *l, int width) {
    for (size_t i = 0; i < l->count; i++)
        if (!l->ids || l->ids[i] >= 0)
            offer(b, distance(f, l->rows + i * (size_t)width, width), 0, l->rows + i * (size_t)width);
}

static void run_row(const nn_vectors *v, const float *f, float rate, float *out) {
    nearest lists = {.k = v->probes}, b = {.k = K};
    for (int i = 0; i < v->lists; i++) {
        const nn_loose_float *centroid = v->centroids + (size_t)i * (size_t)v->width;
        offer(&lists, distance(f, centroid, v->width), i, centroid);
    }
    for (int i = 0; i < lists.found; i++) look_into(&b, f, &v->list[lists.place[i]], v->width);
    if (!v->lists) look_into(&b, f, v->list, v->width);
    double weight[K], total = 0;
    const int found = b.found && !(b.score[0] > 0) ? 1 : b.found;
    for (int j = 0; j < found; j++) {
        const double d = (double)b.score[j];
        total += weight[j] = d > 0 ? 1 / (d * d) : 1;
    }
    for (int i = 0; i < v->width; i++) {
        double sum = 0;
        for (int j = 0; j < found; j++) sum += weight[j] / total * (double)b.row[j][i];
        out[i] = found ? (float)((double)rate * sum + (1 - (double)rate) * (double)f[i]) : f[i];
    }
}

void NN_KERNEL(retrieve, setup)(nn_call *c) {
    nn_rows_split(c, c->node->shape.w, NN_TASK_ELEMENTS);
    c->scratch_bytes = c->shared_bytes = 0;
}

void NN_KERNEL(retrieve, run)(const nn_call *c, int stage, int task, void *scratch) {
    (void)stage, (void)scratch;
    const nn_vectors *v = c->node->u.retrieve.vectors;
    for (int t = nn_rows_from(c, task); t < nn_rows_to(c, task); t++) {
        const size_t at = (size_t)t * (size_t)v->width;
        run_row(v, c->in[0] + at, *c->in[1], c->out + at);
    }
}

nn_code NN_KERNEL(retrieve, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    (void)n, (void)w, (void)e;
    return NN_OK;
}
