/* profile.c - sums a plan's nodes up by component and kind (profile.h).
 *
 * A node belongs to the component that its layer's name begins with; these are state-dict names. Some
 * operations are a component's own, whatever they stand between. */
#include "profile.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = sizeof((rvc_profile *)0)->row / sizeof *((rvc_profile *)0)->row };

static const char *const part_names[RVC_PARTS] = {"mel",          "RMVPE", "HuBERT", "retrieval",
                                                  "text encoder", "flow",  "source", "generator"};

static const struct {
    const char *text;
    bool is_kind; /* text is the kind's name, not the beginning of the layer's */
    rvc_component part;
} rules[] = {
    {"spectrogram", true, RVC_PART_MEL},      {"retrieve", true, RVC_PART_RETRIEVAL},
    {"spread", true, RVC_PART_RETRIEVAL},     {"normal", true, RVC_PART_SOURCE},
    {"source", true, RVC_PART_SOURCE},        {"coarse_pitch", true, RVC_PART_SOURCE},
    {"unet.", false, RVC_PART_PITCH},         {"cnn", false, RVC_PART_PITCH},
    {"fc.", false, RVC_PART_PITCH},           {"enc_p.", false, RVC_PART_TEXT},
    {"emb_g", false, RVC_PART_TEXT},          {"flow.", false, RVC_PART_FLOW},
    {"dec.m_source", false, RVC_PART_SOURCE}, {"dec.", false, RVC_PART_GENERATOR},
};

/* What no rule knows is HuBERT's, whose names have no stem in common. */
static rvc_component part_of(const nn_cost *c) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *text = rules[i].text;
        if (rules[i].is_kind ? !strcmp(c->kind, text) : !strncmp(c->layer, text, strlen(text)))
            return rules[i].part;
    }
    return RVC_PART_CONTENT;
}

/* NULL: there are too many kinds, which no graph of ours has. */
static rvc_profile_row *row_of(rvc_profile *t, rvc_component part, const char *kind) {
    for (int i = 0; i < t->rows; i++)
        if (t->row[i].part == part && !strcmp(t->row[i].kind, kind)) return &t->row[i];
    if (t->rows == ROWS) return NULL;
    t->row[t->rows] = (rvc_profile_row){.part = part, .kind = kind};
    return &t->row[t->rows++];
}

static void add(rvc_profile_row *to, const rvc_profile_row *x) {
    to->nodes += x->nodes;
    to->seconds += x->seconds;
    to->bytes += x->bytes;
    for (int i = 0; i < 2; i++) to->flops[i] += x->flops[i];
}

void rvc_profile_add(rvc_profile *t, const nn_plan *p) {
    const int nodes = nn_plan_nodes(p);
    for (int i = 0; i < nodes; i++) {
        const nn_cost c = nn_plan_cost(p, i);
        rvc_profile_row *row = row_of(t, part_of(&c), c.kind),
                        x = {.nodes = 1, .seconds = c.seconds, .bytes = c.bytes};
        x.flops[c.f16] = c.flops;
        if (row) add(row, &x);
    }
}

double rvc_profile_share(const rvc_profile_row *row, const nn_peak *peak) {
    const double arithmetic = row->flops[0] / peak->f32 + row->flops[1] / peak->f16,
                 memory = row->bytes / peak->bytes;
    return row->seconds > 0 ? (arithmetic > memory ? arithmetic : memory) / row->seconds : 0;
}

static int slowest_first(const void *a, const void *b) {
    const double x = ((const rvc_profile_row *)a)->seconds, y = ((const rvc_profile_row *)b)->seconds;
    return (x < y) - (x > y);
}

static void print_row(const rvc_profile_row *r, const char *part, const char *kind, int runs,
                      const nn_peak *peak, FILE *file) {
    const double flops = r->flops[0] + r->flops[1], seconds = r->seconds > 0 ? r->seconds : 1;
    fprintf(file, "%-12s %-17s %6.0f %10.3f %10.2f %9.3g %10.1f %9.3g %9.0f %%\n", part, kind,
            (double)r->nodes / runs, r->seconds / runs * 1e3, flops / runs * 1e-9, flops / seconds * 1e-12,
            r->bytes / runs * 1e-6, r->bytes / seconds * 1e-12, 100 * rvc_profile_share(r, peak));
}

void rvc_profile_print(const rvc_profile *t, int runs, const nn_peak *peak, FILE *file) {
    rvc_profile_row part[RVC_PARTS] = {{0}}, all = {0}, row[ROWS];
    memcpy(row, t->row, sizeof row);
    qsort(row, (size_t)t->rows, sizeof *row, slowest_first);
    for (int i = 0; i < t->rows; i++) {
        add(&part[row[i].part], &row[i]);
        add(&all, &row[i]);
    }
    fprintf(file, "measured ceilings: %.3g TFLOP/s on float16, %.3g on float32, %.3g TB/s\n",
            peak->f16 * 1e-12, peak->f32 * 1e-12, peak->bytes * 1e-12);
    fprintf(file, "%-12s %-17s %6s %10s %10s %9s %10s %9s %11s\n", "component", "operation", "nodes", "ms",
            "GFLOP", "TFLOP/s", "MB", "TB/s", "of ceiling");
    for (int p = 0; p < RVC_PARTS; p++) {
        if (!part[p].nodes) continue;
        print_row(&part[p], part_names[p], "", runs, peak, file);
        for (int i = 0; i < t->rows; i++)
            if ((int)row[i].part == p) print_row(&row[i], "", row[i].kind, runs, peak, file);
    }
    print_row(&all, "all", "", runs, peak, file);
}
