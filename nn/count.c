/* count.c - what a model file may ask about a checkpoint: how many numbered parts it has, and the shapes of
 * weights.
 *
 * Invariant: a part that lacks some of its tensors still counts, so that the lack is reported by name when
 * the part is built, instead of giving a network that is one part shorter. */
#include "nn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nn_count(const nn_weights *w, const char *stem) {
    size_t length = strlen(stem);
    long most = 0;
    for (size_t i = 0; i < nn_weights_count(w); i++) {
        const char *name = nn_weights_at(w, i)->name;
        if (strncmp(name, stem, length) != 0 || name[length] != '.') continue;
        char *end;
        long number = strtol(name + length + 1, &end, 10);
        if (end != name + length + 1 && *end == '.' && number >= most && number < 1000) most = number + 1;
    }
    return (int)most;
}

int nn_weight_dim(const nn_graph *g, const char *name, int axis) {
    static const char *const forms[] = {"weight", "weight_v", "parametrizations.weight.original1"};
    char full[320];
    int dim = 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms && !dim; i++) {
        snprintf(full, sizeof full, "%s.%s", name, forms[i]);
        dim = nn_dim(g, full, axis);
    }
    return dim;
}
