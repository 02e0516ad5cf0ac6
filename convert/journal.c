/* journal.c - what is done already, so that --resume can skip it.
 *
 * OUT/.rvc-journal.jsonl has one JSON object a line, appended when a file is finished:
 *
 *     {"input": absolute path, "bytes": n, "changed": "s.ns", "settings": hash, "output": below OUT,
 * "status": "converted"}
 *
 * The last line about an output counts. Invariant: a line is written whole, after the output is in place; a
 * line that is damaged (or a journal that cannot be read) can only cause work to be done again, never be
 * skipped. */
#include "convert.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct entry {
    char *output; // below OUT
    char *state;  // of what it was made: see state_of
    size_t line;
} entry;

struct convert_journal {
    char *folder, *path, *settings;
    entry *entries; // [count] sorted by output, one for each
    size_t count, capacity;
    int fd;          // open for appending on the first line; -1 before
    bool unwritable; // told once
};

/* One string that is equal only where the input, its state and the settings are. */
static char *state_of(const char *input, double bytes, const char *changed, const char *settings) {
    return convert_text("%s\n%.0f\n%s\n%s", input, bytes, changed, settings);
}

static const char *text_of(const cJSON *object, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

static void entry_free(entry *made) {
    free(made->output);
    free(made->state);
}

/* Short of memory an entry is forgotten, and its file done again. */
static void add_entry(convert_journal *j, entry made) {
    if (j->count == j->capacity) {
        size_t capacity = 2 * j->capacity + 64;
        entry *entries = realloc(j->entries, capacity * sizeof *entries);
        if (entries) j->entries = entries, j->capacity = capacity;
    }
    if (made.output && made.state && j->count < j->capacity)
        j->entries[j->count++] = made;
    else
        entry_free(&made);
}

/* A failed conversion leaves what was there, so only "converted" counts. */
static void add_line(convert_journal *j, const char *text, size_t line) {
    cJSON *object = cJSON_Parse(text);
    const char *input = text_of(object, "input"), *output = text_of(object, "output");
    const cJSON *bytes = cJSON_GetObjectItemCaseSensitive(object, "bytes");
    if (*input && *output && cJSON_IsNumber(bytes) && strcmp(text_of(object, "status"), "converted") == 0) {
        char *state = state_of(input, cJSON_GetNumberValue(bytes), text_of(object, "changed"),
                               text_of(object, "settings"));
        add_entry(j, (entry){.output = convert_text("%s", output), .state = state, .line = line});
    }
    cJSON_Delete(object);
}

static int by_output(const void *a, const void *b) {
    return strcmp(((const entry *)a)->output, ((const entry *)b)->output);
}

static int by_output_and_line(const void *a, const void *b) {
    const entry *x = a, *y = b;
    int order = by_output(a, b);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* Sorts, and keeps the last entry about every output. */
static void sort_entries(convert_journal *j) {
    size_t kept = 0;
    if (j->count) qsort(j->entries, j->count, sizeof *j->entries, by_output_and_line);
    for (size_t i = 0; i < j->count; i++) {
        if (kept && by_output(&j->entries[kept - 1], &j->entries[i]) == 0) entry_free(&j->entries[--kept]);
        j->entries[kept++] = j->entries[i];
    }
    j->count = kept;
}

convert_journal *convert_journal_open(const char *folder, const char *settings_hash) {
    convert_journal *j = calloc(1, sizeof *j);
    if (!j) return NULL;
    j->fd = -1;
    j->folder = convert_text("%s", folder);
    j->path = convert_path_join(folder, ".rvc-journal.jsonl");
    j->settings = convert_text("%s", settings_hash);
    if (!j->folder || !j->path || !j->settings) {
        convert_journal_close(j);
        return NULL;
    }
    FILE *file = fopen(j->path, "re");
    char *line = NULL;
    size_t size = 0;
    for (size_t n = 0; file && getline(&line, &size, file) > 0; n++) add_line(j, line, n);
    free(line);
    if (file) fclose(file);
    sort_entries(j);
    return j;
}

void convert_journal_close(convert_journal *j) {
    if (!j) return;
    if (j->fd >= 0) close(j->fd);
    for (size_t i = 0; i < j->count; i++) entry_free(&j->entries[i]);
    free(j->entries);
    free(j->folder);
    free(j->path);
    free(j->settings);
    free(j);
}

/* The item's output as the journal names it: below OUT, wherever OUT is moved to. */
static const char *below(const convert_journal *j, const convert_item *item) {
    const char *name = item->output + strlen(j->folder);
    return name + (*name == '/');
}

static void time_text(char *out, size_t size, const convert_item *item) {
    snprintf(out, size, "%lld.%09lld", (long long)item->seconds, (long long)item->nanoseconds);
}

bool convert_journal_done(const convert_journal *j, const convert_item *item) {
    char changed[48], *input = item->found ? realpath(item->path, NULL) : NULL;
    if (!input) return false;
    time_text(changed, sizeof changed, item);
    char *output = convert_text("%s", below(j, item));
    char *state = state_of(input, (double)item->bytes, changed, j->settings);
    entry wanted = {.output = output, .state = state};
    const entry *made = output && state && j->count
                            ? bsearch(&wanted, j->entries, j->count, sizeof *j->entries, by_output)
                            : NULL;
    bool done = made && strcmp(made->state, state) == 0;
    entry_free(&wanted);
    free(input);
    return done;
}

/* Opens for appending; a last line that was cut short by a crash is ended first, or it would swallow the
 * next. */
static int open_append(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    char last = '\n';
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    if (end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n' && write(fd, "\n", 1) != 1) {
        close(fd);
        return -1;
    }
    return fd;
}

static char *line_of(const convert_journal *j, const convert_item *item, const char *input, bool ok) {
    char changed[48];
    time_text(changed, sizeof changed, item);
    cJSON *object = cJSON_CreateObject();
    bool fine = cJSON_AddStringToObject(object, "input", input) &&
                cJSON_AddNumberToObject(object, "bytes", (double)item->bytes) &&
                cJSON_AddStringToObject(object, "changed", changed) &&
                cJSON_AddStringToObject(object, "settings", j->settings) &&
                cJSON_AddStringToObject(object, "output", below(j, item)) &&
                cJSON_AddStringToObject(object, "status", ok ? "converted" : "failed");
    char *json = fine ? cJSON_PrintUnformatted(object) : NULL;
    char *line = json ? convert_text("%s\n", json) : NULL;
    cJSON_free(json);
    cJSON_Delete(object);
    return line;
}

void convert_journal_add(convert_journal *j, const convert_item *item, bool ok) {
    char *input = realpath(item->path, NULL);
    if (!input || !item->found) { // nothing a later run could recognise
        free(input);
        return;
    }
    char *line = line_of(j, item, input, ok);
    if (j->fd < 0 && !j->unwritable) j->fd = open_append(j->path);
    size_t length = line ? strlen(line) : 0;
    bool written = line && j->fd >= 0 && write(j->fd, line, length) == (ssize_t)length;
    // Where nothing could be written at all (no such OUT) the file's own line has said so already.
    if (!written && !j->unwritable && ok)
        convert_complain("%s: cannot write the journal: %s; --resume will not know all that is done", j->path,
                         strerror(errno));
    j->unwritable = j->unwritable || !written;
    free(line);
    free(input);
}
