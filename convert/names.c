/* names.c - what every output is called.
 *
 * sub/song.flac becomes OUT/sub/song.wav. Where several inputs would get one name (song.wav and song.mp3),
 * each of them keeps its own extension in it: song_wav.wav, song_mp3.wav; where even that is taken, by a file
 * of that very name or by a song.wav of another folder, a number follows: song_wav_2.wav. Invariant: no two
 * items have one output, and the names depend only on the list of inputs. A file that is listed twice is kept
 * once. */
#include "convert.h"

#include <stdlib.h>
#include <string.h>

/* A set of strings, owned by others: open addressing, never more than half full. */
typedef struct name_set {
    const char **slots;
    size_t mask;
} name_set;

static const char **name_slot(const name_set *set, const char *name) {
    uint64_t hash = 14695981039346656037u; // FNV-1a
    for (const char *at = name; *at; at++) hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    size_t i = (size_t)(hash ^ hash >> 32) & set->mask;
    while (set->slots[i] && strcmp(set->slots[i], name) != 0) i = (i + 1) & set->mask;
    return &set->slots[i];
}

/* "sub/song.flac" -> "sub/song<tail>.wav"; the tail is "", or "_flac", or "_flac_2". */
static char *output_name(const char *relative, bool keep_extension, unsigned number, const char *extension) {
    const char *own = convert_path_extension(relative);
    size_t stem = strlen(relative) - strlen(own);
    if (stem > 0 && relative[stem - 1] == '.' && convert_path_name(relative) != relative + stem - 1) stem--;
    char tail[32] = "";
    if (number > 1) snprintf(tail, sizeof tail, "_%u", number);
    return convert_text("%.*s%s%s%s.%s", (int)stem, relative, keep_extension && *own ? "_" : "",
                        keep_extension ? own : "", tail, extension);
}

static int by_output(const void *a, const void *b) {
    const convert_item *x = *(const convert_item *const *)a, *y = *(const convert_item *const *)b;
    int order = strcmp(x->output, y->output);
    return order ? order : (x > y) - (x < y);
}

static bool same_item(const convert_item *a, const convert_item *b) {
    if (strcmp(a->relative, b->relative) != 0) return false;
    if (!a->found || !b->found) return strcmp(a->path, b->path) == 0;
    return a->device == b->device && a->inode == b->inode;
}

/* order [q->count]: items by their plain output. shared[i]: item i shares it with another; twice[i]: it is
 * listed before. */
static void find_shared(const convert_queue *q, convert_item **order, bool *shared, bool *twice) {
    for (size_t from = 0, to; from < q->count; from = to) {
        for (to = from + 1; to < q->count && strcmp(order[from]->output, order[to]->output) == 0; to++) {
            bool *again = &twice[order[to] - q->items];
            for (size_t i = from; i < to && !*again; i++) *again = same_item(order[i], order[to]);
            if (!*again) shared[order[from] - q->items] = shared[order[to] - q->items] = true;
        }
    }
}

/* Drops the items listed twice; shared[] moves with them. */
static void drop_repeated(convert_queue *q, bool *shared, const bool *twice) {
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++) {
        convert_item *item = &q->items[i];
        if (twice[i]) {
            free(item->path);
            free(item->relative);
            free(item->output);
            continue;
        }
        shared[kept] = shared[i];
        q->items[kept++] = *item;
    }
    q->count = kept;
}

/* Names that only one item wants are given first: the others step aside for them. */
static rvc_status resolve(convert_queue *q, const bool *shared, name_set *taken, const char *extension,
                          rvc_error *e) {
    for (size_t i = 0; i < q->count; i++)
        if (!shared[i]) *name_slot(taken, q->items[i].output) = q->items[i].output;
    for (size_t i = 0; i < q->count; i++) {
        for (unsigned number = 1; shared[i]; number++) {
            char *name = output_name(q->items[i].relative, true, number, extension);
            if (!name) return convert_fail(e, RVC_ERROR_MEMORY, "out of memory for the outputs' names");
            free(q->items[i].output);
            q->items[i].output = name;
            const char **slot = name_slot(taken, name);
            if (*slot) continue;
            *slot = name;
            break;
        }
    }
    return RVC_OK;
}

static rvc_status name_all(convert_queue *q, const char *extension, rvc_error *e) {
    size_t slots = 16;
    while (slots < 2 * q->count + 2) slots *= 2;
    name_set taken = {calloc(slots, sizeof *taken.slots), slots - 1};
    convert_item **order = calloc(q->count + 1, sizeof *order);
    bool *shared = calloc(q->count + 1, sizeof *shared), *twice = calloc(q->count + 1, sizeof *twice);
    bool fine = taken.slots && order && shared && twice;
    for (size_t i = 0; fine && i < q->count; i++) {
        order[i] = &q->items[i];
        order[i]->output = output_name(order[i]->relative, false, 1, extension);
        fine = order[i]->output != NULL;
    }
    rvc_status status =
        fine ? RVC_OK : convert_fail(e, RVC_ERROR_MEMORY, "out of memory for the outputs' names");
    if (!status) {
        qsort(order, q->count, sizeof *order, by_output);
        find_shared(q, order, shared, twice);
        drop_repeated(q, shared, twice);
        status = resolve(q, shared, &taken, extension, e);
    }
    free((void *)taken.slots);
    free(order);
    free(shared);
    free(twice);
    return status;
}

rvc_status convert_name_outputs(convert_queue *q, const char *folder, const char *single,
                                const char *extension, rvc_error *e) {
    if (!single && name_all(q, extension, e)) return e->status;
    for (size_t i = 0; i < q->count; i++) {
        char *path = single ? convert_text("%s", single) : convert_path_join(folder, q->items[i].output);
        if (!path) return convert_fail(e, RVC_ERROR_MEMORY, "out of memory for the outputs' names");
        free(q->items[i].output);
        q->items[i].output = path;
    }
    return RVC_OK;
}
