/* text.c - lines for people, and paths.
 *
 * Invariant: a complaint is exactly one line, whatever bytes are in the names it quotes: file names may hold
 * newlines and terminal escapes, and neither may reach the terminal. Bytes above 127 pass, so UTF-8 names
 * read as they are. */
#include "convert.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool live_line_shown;
static pthread_rwlock_t stderr_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

void convert_stderr_print(void) {
    pthread_rwlock_wrlock(&stderr_lock);
}
void convert_stderr_keep_off(void) {
    pthread_rwlock_rdlock(&stderr_lock);
}
void convert_stderr_done(void) {
    pthread_rwlock_unlock(&stderr_lock);
}

void convert_live_line(bool shown) {
    if (live_line_shown && !shown) fputs("\r\033[K", stderr);
    live_line_shown = shown;
}

void convert_printable(char *out, size_t size, const char *text) {
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++) {
        unsigned char byte = (unsigned char)text[n];
        out[n] = byte < 32 || byte == 127 ? '?' : text[n];
    }
    out[n] = 0;
}

rvc_status convert_fail(rvc_error *e, rvc_status status, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(e->text, sizeof e->text, format, list);
    va_end(list);
    return e->status = status;
}

void convert_complain(const char *format, ...) {
    char raw[8192], line[8192]; // two paths of PATH_MAX would be cut; nothing else comes near
    va_list list;
    va_start(list, format);
    vsnprintf(raw, sizeof raw, format, list);
    va_end(list);
    convert_printable(line, sizeof line, raw);
    fflush(stdout); // keeps the order right where both go to one place
    convert_stderr_print();
    convert_live_line(false);
    fprintf(stderr, "rvc: %s\n", line);
    convert_stderr_done();
}

char *convert_text(const char *format, ...) {
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, list);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(list);
    return text;
}

const char *convert_path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const char *convert_path_extension(const char *path) {
    const char *name = convert_path_name(path), *dot = strrchr(name, '.');
    return dot && dot != name ? dot + 1 : ""; // ".wav" is a hidden file without an extension
}

char *convert_path_join(const char *folder, const char *name) {
    if (!folder || !*folder) return convert_text("%s", name);
    return convert_text("%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", name);
}

bool convert_path_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

double convert_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
