/* names.c - see names.h */
#include "names.h"

#include <stdlib.h>
#include <string.h>

uint64_t nn_names_hash(const char *key) {
    uint64_t h = 0xcbf29ce484222325u;
    for (const unsigned char *c = (const unsigned char *)key; *c; c++) h = (h ^ *c) * 0x100000001b3u;
    return h;
}

/* The slot that holds `key`, or the free one where it would go. The table is never full, so the walk ends. */
static nn_names_slot *slot_of(const nn_names *t, const char *key) {
    size_t i = (size_t)nn_names_hash(key) & (t->capacity - 1);
    while (t->slot[i].key && strcmp(t->slot[i].key, key) != 0) i = (i + 1) & (t->capacity - 1);
    return &t->slot[i];
}

size_t nn_names_find(const nn_names *t, const char *key) {
    if (t->capacity == 0) return NN_NAMES_NONE;
    const nn_names_slot *s = slot_of(t, key);
    return s->key ? s->value : NN_NAMES_NONE;
}

static bool grow(nn_names *t) {
    nn_names bigger = {.capacity = t->capacity ? 2 * t->capacity : 64, .count = t->count};
    bigger.slot = calloc(bigger.capacity, sizeof *bigger.slot);
    if (!bigger.slot) return false;
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slot[i].key) *slot_of(&bigger, t->slot[i].key) = t->slot[i];
    free(t->slot);
    *t = bigger;
    return true;
}

bool nn_names_add(nn_names *t, const char *key, size_t value) {
    if (2 * (t->count + 1) > t->capacity && !grow(t)) return false;
    *slot_of(t, key) = (nn_names_slot){key, value};
    t->count++;
    return true;
}

void nn_names_free(nn_names *t) {
    free(t->slot);
    *t = (nn_names){0};
}
