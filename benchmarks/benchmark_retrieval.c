/* benchmark_retrieval.c - searching an index for the features of some seconds of speech.
 *
 *   benchmark_retrieval --seconds 5,60 --large --output FILE.json                     (--help for the rest)
 *
 * The indexes are made here, in the form and with as many lists as RVC trains: min(16 sqrt(n), n / 39) lists,
 * one of which is probed. Vectors lie around their list's centre, and so do the queries, 50 a second, a few
 * in a row at the same one, as frames of speech do. The file is written, has no name from the start and so
 * leaves nothing behind, and is opened as a user's would be; its folder is $TMPDIR, or /tmp.
 *
 * GB/s counts the vectors that every query is compared with, centres included: a vector that is read once for
 * many queries counts for each of them, so this may exceed what the memory can do. "own memory" is what is
 * not the file's pages, which are the system's to drop. */
#include "../rvc/index.h"
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 768, FRAMES_A_SECOND = 50, FRAMES_ALIKE = 3, KINDS = 3 };

typedef struct job {
    const bench_options *options;
    size_t vectors, lists; /* 0 lists: flat */
} job;

/* What is asked of an index: the k nearest, or what a conversion asks (the 8 nearest, and blending). */
static const struct kind {
    const char *name;
    int k; /* 0: blending */
} kinds[KINDS] = {{"top 8", 8}, {"top 100", 100}, {"retrieve", 0}};

typedef struct outcome {
    double bytes, open, own; /* file MiB, seconds, MiB */
    struct row {
        size_t queries;
        bench_times time;
        int runs;
    } row[BENCH_MAX_LENGTHS][KINDS];
} outcome;

/* ---- the index ----------------------------------------------------------------------------------------- */

/* x [WIDTH] += scale times numbers in -1..1 that depend on the seed alone. */
static void add_noise(float *x, uint64_t seed, float scale) {
    uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u;
    state ^= state >> 29;
    for (int i = 0; i < WIDTH; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] += scale * ((float)(state >> 40) / 8388608.0f - 1);
    }
}

static void centre_of(float *x, size_t list) {
    memset(x, 0, WIDTH * sizeof *x);
    add_noise(x, list, 0.5f);
}

static void put_u64(FILE *f, uint64_t v) {
    fwrite(&v, sizeof v, 1, f);
}

static void put_header(FILE *f, const char *fourcc, size_t vectors) {
    const int32_t width = WIDTH, squared_l2 = 1;
    fwrite(fourcc, 1, 4, f);
    fwrite(&width, sizeof width, 1, f);
    put_u64(f, vectors);
    put_u64(f, 1 << 20);
    put_u64(f, 1 << 20);
    fputc(1, f);
    fwrite(&squared_l2, sizeof squared_l2, 1, f);
}

/* Vectors in list l of n dealt out to `lists` of them; vector i of list l is number i * lists + l. */
static size_t list_size(size_t n, size_t lists, size_t l) {
    return n / lists + (l < n % lists);
}

static void put_vectors(FILE *f, size_t list, size_t from, size_t step, size_t n) {
    float centre[WIDTH], x[WIDTH];
    centre_of(centre, list);
    for (size_t i = 0; i < n; i++) {
        memcpy(x, centre, sizeof x);
        add_noise(x, (1u << 30) + from + i * step, 0.2f);
        fwrite(x, sizeof x, 1, f);
    }
}

static void put_index(FILE *f, size_t n, size_t lists) {
    float centre[WIDTH];
    if (lists == 0) {
        put_header(f, "IxF2", n);
        put_u64(f, (uint64_t)n * WIDTH);
        for (size_t i = 0; i < n; i++) put_vectors(f, i / 64, i, 1, 1);
        return;
    }
    put_header(f, "IwFl", n);
    put_u64(f, lists);
    put_u64(f, 1); /* nprobe */
    put_header(f, "IxF2", lists);
    put_u64(f, (uint64_t)lists * WIDTH);
    for (size_t l = 0; l < lists; l++) {
        centre_of(centre, l);
        fwrite(centre, sizeof centre, 1, f);
    }
    fputc(0, f); /* no direct map */
    put_u64(f, 0);
    fwrite("ilar", 1, 4, f);
    put_u64(f, lists);
    put_u64(f, sizeof centre);
    fwrite("full", 1, 4, f);
    put_u64(f, lists);
    for (size_t l = 0; l < lists; l++) put_u64(f, list_size(n, lists, l));
    for (size_t l = 0; l < lists; l++) {
        put_vectors(f, l, l, lists, list_size(n, lists, l));
        for (size_t i = 0; i < list_size(n, lists, l); i++) put_u64(f, i * lists + l);
    }
}

/* An open file without a name that holds the index, on its disk; NULL after a line on stderr. */
static FILE *make_file(const job *j) {
    const char *folder = getenv("TMPDIR");
    char path[1024];
    snprintf(path, sizeof path, "%s/rvc-benchmark-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (fd >= 0) unlink(path);
    if (f) put_index(f, j->vectors, j->lists);
    if (f && fflush(f) == 0 && !ferror(f) && fdatasync(fd) == 0) return f;
    fprintf(
        stderr,
        "benchmark_retrieval: %s: an index of %.0f MiB cannot be written: %s; TMPDIR names another folder\n",
        path, (double)j->vectors * WIDTH * sizeof(float) / (1 << 20), strerror(errno));
    if (f)
        fclose(f);
    else if (fd >= 0)
        close(fd);
    return NULL;
}

/* ---- measuring ----------------------------------------------------------------------------------------- */

/* Queries [n][WIDTH] near centres of the index. */
static float *make_queries(const job *j, size_t n) {
    float *q = malloc(n * WIDTH * sizeof *q);
    size_t centres = j->lists ? j->lists : j->vectors / 64;
    for (size_t i = 0; q && i < n; i++) {
        centre_of(q + i * WIDTH, i / FRAMES_ALIKE * 2654435761u % centres);
        add_noise(q + i * WIDTH, (1u << 31) + i, 0.25f);
    }
    return q;
}

/* What a run needs beside the index: queries, a copy to blend into, room for what is found. */
typedef struct queries {
    size_t n;
    float *q, *features, *scores; /* [n][WIDTH], [n][WIDTH], [n][100] */
    int64_t *ids;                 /* [n][100] */
} queries;

static bool make_room(queries *s, const job *j, double seconds) {
    s->n = (size_t)lround(seconds * FRAMES_A_SECOND);
    if (s->n < 1) s->n = 1;
    s->q = make_queries(j, s->n);
    s->features = malloc(s->n * WIDTH * sizeof *s->features);
    s->scores = malloc(s->n * 100 * sizeof *s->scores);
    s->ids = malloc(s->n * 100 * sizeof *s->ids);
    return s->q && s->features && s->scores && s->ids;
}

static void free_room(queries *s) {
    free(s->q);
    free(s->features);
    free(s->scores);
    free(s->ids);
}

static nn_code measure(const rvc_index *x, const queries *s, const struct kind *kind, const bench_options *o,
                       int threads, struct row *row, nn_error *e) {
    double run[BENCH_MAX_RUNS], spent = 0;
    nn_code code = NN_OK;
    row->queries = s->n;
    for (int i = -o->num_warmup; i < o->num_runs && spent < BENCH_PATIENCE && !code; i++) {
        memcpy(s->features, s->q, s->n * WIDTH * sizeof *s->q);
        double start = bench_now();
        code = kind->k ? rvc_index_search(x, s->q, s->n, kind->k, s->scores, s->ids, NULL, threads, e)
                       : rvc_index_retrieve(x, s->features, s->n, 0.75f, threads, e);
        double time = bench_now() - start;
        row->runs = i + 1;
        if (i >= 0) spent += run[i] = time;
    }
    if (!code) row->time = bench_times_of(run, row->runs);
    return code;
}

/* In a child process: one index. */
static bool run_index(const void *context, void *result) {
    const job *j = context;
    const bench_options *o = j->options;
    outcome *out = result;
    char path[64];
    nn_error e = {0};
    rvc_index *x = NULL;
    FILE *f = make_file(j);
    if (!f) return false;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fileno(f));
    out->bytes = (double)ftello(f) / (1 << 20);
    double before = bench_memory("RssAnon"), start = bench_now();
    nn_code code = rvc_index_open(&x, path, &e);
    out->open = bench_now() - start;
    out->own = bench_memory("RssAnon") - before;
    for (int l = 0; l < o->lengths && !code; l++) {
        queries s = {0};
        if (!make_room(&s, j, o->seconds[l])) code = nn_fail_memory(&e, "the queries");
        for (int k = 0; k < KINDS && !code; k++)
            code = measure(x, &s, &kinds[k], o, o->threads ? o->threads : bench_cores(), &out->row[l][k], &e);
        free_room(&s);
    }
    if (code) fprintf(stderr, "benchmark_retrieval: %s\n", e.text);
    rvc_index_close(x);
    fclose(f);
    return !code;
}

static void print_rows(const job *j, const outcome *r, bench_json *json) {
    const char *type = j->lists ? "IVF-Flat" : "flat";
    double seen = (double)(j->lists ? j->lists + j->vectors / j->lists : j->vectors) * WIDTH * sizeof(float);
    printf("%s, %zu vectors, %zu lists: file %.0f MiB, opened in %.2f ms, own memory %.1f MiB\n", type,
           j->vectors, j->lists, r->bytes, r->open * 1e3, r->own);
    for (int l = 0; l < j->options->lengths; l++)
        for (int k = 0; k < KINDS; k++) {
            const struct row *row = &r->row[l][k];
            const bench_times *t = &row->time;
            double rate = (double)row->queries / t->median;
            printf(
                "%6.4g s  %5zu queries  %-9s %9.2f ms (%.2f-%.2f)  %9.0f queries/s  %7.1f GB/s  %3d runs\n",
                j->options->seconds[l], row->queries, kinds[k].name, t->median * 1e3, t->min * 1e3,
                t->max * 1e3, rate, rate * seen * 1e-9, row->runs);
            bench_json_row(
                json,
                "{\"index\": \"%s\", \"vectors\": %zu, \"lists\": %zu, \"queries\": %zu, \"asked\": \"%s\", "
                "\"milliseconds\": %.4f, \"milliseconds_min\": %.4f, \"milliseconds_max\": %.4f, "
                "\"queries_per_second\": %.1f, \"gigabytes_per_second\": %.2f, \"file_mib\": %.1f, "
                "\"open_milliseconds\": %.3f, \"own_mib\": %.2f}",
                type, j->vectors, j->lists, row->queries, kinds[k].name, t->median * 1e3, t->min * 1e3,
                t->max * 1e3, rate, rate * seen * 1e-9, r->bytes, r->open * 1e3, r->own);
        }
    fflush(stdout);
}

/* As many lists as RVC trains for n vectors. */
static size_t lists_for(size_t n) {
    size_t most = (size_t)(16 * sqrt((double)n));
    return most < n / 39 ? most : n / 39;
}

int main(int argc, char **argv) {
    bench_options o = {.seconds = {5, 60}, .lengths = 2, .num_warmup = 1, .num_runs = 5};
    bench_json json = {0};
    int status = bench_read_options(
        &o, "Nearest vectors of an index of 10,000; with --large, of a million too (3 GB of disk).",
        "seconds num-warmup num-runs threads output large ", argc, argv);
    if (status != BENCH_GO_ON) return status;
    const job jobs[] = {{&o, 10000, lists_for(10000)}, {&o, 10000, 0}, {&o, 1000000, lists_for(1000000)}};
    char device[64];
    int threads = o.threads ? o.threads : bench_cores();
    snprintf(device, sizeof device, "cpu (%d thread%s)", threads, threads == 1 ? "" : "s");
    bool ok = bench_json_open(&json, &o, "retrieval", device);
    if (ok)
        printf("retrieval on %s; %s; vectors of %d, medians (and spread)\n", bench_machine(), device, WIDTH);
    for (int i = 0; i < (o.large ? 3 : 2) && ok; i++) {
        outcome r = {0};
        ok = bench_in_child(run_index, &jobs[i], &r, sizeof r);
        if (ok) print_rows(&jobs[i], &r, &json);
    }
    return bench_json_close(&json) && ok ? 0 : 1;
}
