/* walk.c - from INPUT... to a list of files.
 *
 * A file named by the user is always tried; in folders the extension decides, hidden names are passed over,
 * and names are taken in the order of their bytes, so that every run and every machine sees the same list.
 * Invariant: no folder is entered twice below one INPUT (symbolic links may form loops), and OUT is not
 * entered at all, or a second run would convert the first one's results. */
#include "convert.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct folder_id {
    dev_t device;
    ino_t inode;
} folder_id;

typedef struct walk {
    convert_queue *queue;
    folder_id *seen; // [count]; the first `out` of them stay for every INPUT
    size_t count, capacity, out;
    rvc_error *error; // set only when memory is short
} walk;

static rvc_status no_memory(rvc_error *e) {
    return convert_fail(e, RVC_ERROR_MEMORY, "out of memory for the list of files");
}

static bool was_seen(const walk *w, const struct stat *st) {
    for (size_t i = 0; i < w->count; i++)
        if (w->seen[i].device == st->st_dev && w->seen[i].inode == st->st_ino) return true;
    return false;
}

static rvc_status remember(walk *w, const struct stat *st) {
    if (w->count == w->capacity) {
        size_t capacity = 2 * w->capacity + 16;
        folder_id *seen = realloc(w->seen, capacity * sizeof *seen);
        if (!seen) return no_memory(w->error);
        w->seen = seen;
        w->capacity = capacity;
    }
    w->seen[w->count++] = (folder_id){st->st_dev, st->st_ino};
    return RVC_OK;
}

/* Appends one file. st is NULL where stat failed: reading it will say why. */
static rvc_status add_file(walk *w, const char *path, const char *relative, const struct stat *st) {
    convert_queue *q = w->queue;
    if (q->count == q->capacity) {
        size_t capacity = 2 * q->capacity + 16;
        convert_item *items = realloc(q->items, capacity * sizeof *items);
        if (!items) return no_memory(w->error);
        q->items = items;
        q->capacity = capacity;
    }
    convert_item *item = &q->items[q->count];
    *item = (convert_item){.path = convert_text("%s", path), .relative = convert_text("%s", relative)};
    if (st) {
        item->found = true;
        item->device = st->st_dev;
        item->inode = st->st_ino;
        item->bytes = (int64_t)st->st_size;
        item->seconds = (int64_t)st->st_mtim.tv_sec;
        item->nanoseconds = (int64_t)st->st_mtim.tv_nsec;
    }
    q->count++; // counted first: convert_queue_free releases what there is
    return item->path && item->relative ? RVC_OK : no_memory(w->error);
}

static int is_shown(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static rvc_status walk_folder(walk *w, const char *path, const char *relative);

/* One name in a folder: a file to take, a folder to enter, or nothing of ours. */
static rvc_status walk_entry(walk *w, const char *folder, const char *relative_folder, const char *name) {
    struct stat st;
    char *path = convert_path_join(folder, name), *relative = convert_path_join(relative_folder, name);
    rvc_status status = RVC_OK;
    if (!path || !relative) {
        status = no_memory(w->error);
    } else if (stat(path, &st) != 0) {
        if (convert_audio_name(name)) status = add_file(w, path, relative, NULL); // a broken link, say
    } else if (S_ISDIR(st.st_mode)) {
        if (!was_seen(w, &st)) status = remember(w, &st) ? w->error->status : walk_folder(w, path, relative);
    } else if (convert_audio_name(name)) {
        status = add_file(w, path, relative, &st);
    }
    free(path);
    free(relative);
    return status;
}

static rvc_status walk_folder(walk *w, const char *path, const char *relative) {
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_shown, by_bytes);
    if (count < 0) {
        if (errno == ENOMEM) return no_memory(w->error);
        convert_complain("%s: cannot read the folder: %s", path, strerror(errno));
        w->queue->failed++;
        return RVC_OK;
    }
    rvc_status status = RVC_OK;
    for (int i = 0; i < count; i++) {
        if (!status) status = walk_entry(w, path, relative, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static rvc_status walk_input(walk *w, const char *input) {
    struct stat st;
    if (stat(input, &st) != 0) return add_file(w, input, convert_path_name(input), NULL);
    if (!S_ISDIR(st.st_mode)) return add_file(w, input, convert_path_name(input), &st);
    size_t before = w->queue->count, failed = w->queue->failed;
    w->count = w->out;
    if (remember(w, &st) || walk_folder(w, input, "")) return w->error->status;
    if (w->queue->count == before && w->queue->failed == failed) {
        convert_complain("%s: no audio files in this folder", input);
        w->queue->failed++;
    }
    return RVC_OK;
}

rvc_status convert_walk(convert_queue *q, const convert_settings *s, rvc_error *e) {
    walk w = {.queue = q, .error = e};
    struct stat st;
    rvc_status status = RVC_OK;
    if (stat(s->output, &st) == 0 && S_ISDIR(st.st_mode)) status = remember(&w, &st);
    w.out = w.count;
    for (size_t i = 0; !status && i < s->input_count; i++) status = walk_input(&w, s->inputs[i]);
    free(w.seen);
    return status;
}

void convert_queue_free(convert_queue *q) {
    for (size_t i = 0; i < q->count; i++) {
        free(q->items[i].path);
        free(q->items[i].relative);
        free(q->items[i].output);
    }
    free(q->items);
    *q = (convert_queue){0};
}

bool convert_queue_holds(const convert_queue *q, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return false;
    for (size_t i = 0; i < q->count; i++)
        if (q->items[i].found && q->items[i].device == st.st_dev && q->items[i].inode == st.st_ino)
            return true;
    return false;
}
