/* progress.c - how far it is.
 *
 * On a terminal (stderr) one line is redrawn at most ten times a second:
 *     [2/7] song.wav  43 %  3.1x real time  0:12 left
 *     [2/7] song.wav  43 %  and 3 more  91x real time  0:12 left
 * and every finished file leaves one plain line on stdout, which is all that others than a terminal see. The
 * time left is guessed from the inputs' sizes: they are known before a file is opened. */
#include "convert.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lanes = PTHREAD_MUTEX_INITIALIZER; // what stands in them, and in bytes_done and drawn

void convert_progress_begin(convert_progress *p, const convert_queue *q, bool quiet) {
    *p = (convert_progress){.live = !quiet && isatty(STDERR_FILENO), .quiet = quiet, .count = q->count};
    for (int i = 0; i < CONVERT_CREW; i++) p->lane[i].progress = p;
    for (size_t i = 0; i < q->count; i++) p->bytes_all += q->items[i].bytes;
    p->started = convert_seconds();
}

void convert_progress_end(void) {
    convert_stderr_print();
    convert_live_line(false);
    convert_stderr_done();
}

void convert_progress_note(const convert_progress *p, const char *what) {
    if (!p->live) return;
    convert_stderr_print();
    convert_live_line(false);
    fprintf(stderr, "%s ...", what);
    convert_live_line(true);
    convert_stderr_done();
}

void convert_progress_device(const convert_progress *p, const char *device) {
    if (p->quiet) return;
    convert_progress_end();
    printf("on %s\n", device);
    fflush(stdout);
}

void convert_progress_file(convert_lane *lane, const convert_item *item, size_t index) {
    convert_progress *p = lane->progress;
    pthread_mutex_lock(&lanes);
    *lane = (convert_lane){p, item, index, 0, 0, convert_seconds()};
    p->drawn = 0;
    pthread_mutex_unlock(&lanes);
}

void convert_progress_audio(convert_lane *lane, double seconds) {
    pthread_mutex_lock(&lanes);
    lane->audio_seconds = seconds;
    pthread_mutex_unlock(&lanes);
}

/* The lane's file is out of the way, and counts as work done. */
void convert_progress_leave(convert_lane *lane) {
    pthread_mutex_lock(&lanes);
    lane->progress->bytes_done += lane->item->bytes;
    lane->item = NULL;
    pthread_mutex_unlock(&lanes);
}

/* A file that costs nothing counts neither as work done nor as work left. */
void convert_progress_skip(convert_lane *lane) {
    convert_progress *p = lane->progress;
    char name[4096];
    convert_printable(name, sizeof name, lane->item->path);
    pthread_mutex_lock(&lanes);
    p->bytes_all -= lane->item->bytes;
    lane->item = NULL;
    pthread_mutex_unlock(&lanes);
    if (p->quiet) return;
    convert_progress_end();
    printf("[%zu/%zu] %s  done before, skipped\n", lane->index, p->count, name);
    fflush(stdout);
}

/* The first `letters` of a name; only the first byte of a UTF-8 sequence counts, so none is cut apart. */
static void shorten(char *out, size_t size, const char *name, size_t letters) {
    convert_printable(out, size, name);
    for (char *at = out; *at; at++) {
        if (((unsigned char)*at & 0xC0) == 0x80) continue;
        if (letters-- > 0) continue;
        *at = 0;
        return;
    }
}

/* The live line: the file that has been under way longest, and all of them together. */
static void describe(char *line, size_t size, const convert_progress *p, double now) {
    const convert_lane *first = NULL;
    double work = (double)p->bytes_done, speed = 0;
    int others = -1;
    for (const convert_lane *l = p->lane; l < p->lane + CONVERT_CREW; l++) {
        if (!l->item) continue;
        others++;
        work += l->fraction * (double)l->item->bytes;
        if (now - l->started > 0.2) speed += l->fraction * l->audio_seconds / (now - l->started);
        if (!first || l->index < first->index) first = l;
    }
    char name[256], more[32] = "", pace[48] = "", left[32] = "";
    shorten(name, sizeof name, convert_path_name(first->item->path), 40);
    const double rest = work > 0 ? (now - p->started) * ((double)p->bytes_all - work) / work : 0;
    if (others > 0) snprintf(more, sizeof more, "  and %d more", others);
    if (speed > 0) snprintf(pace, sizeof pace, "  %.1fx real time", speed);
    if (speed > 0 && rest < 360000)
        snprintf(left, sizeof left, "  %d:%02d left", (int)rest / 60, (int)rest % 60);
    snprintf(line, size, "[%zu/%zu] %s  %2.0f %%%s%s%s", first->index, p->count, name, 100 * first->fraction,
             more, pace, left);
}

int convert_progress_tick(void *user, double fraction) {
    convert_lane *lane = user;
    convert_progress *p = lane->progress;
    char line[512] = "";
    if (convert_interrupted()) return 1;
    if (!p->live) return 0;
    pthread_mutex_lock(&lanes);
    const double now = convert_seconds();
    lane->fraction = fraction;
    if (now - p->drawn >= 0.1) {
        p->drawn = now;
        describe(line, sizeof line, p, now);
    }
    pthread_mutex_unlock(&lanes);
    if (!*line) return 0;
    convert_stderr_print();
    convert_live_line(false);
    fputs(line, stderr);
    fflush(stderr);
    convert_live_line(true);
    convert_stderr_done();
    return 0;
}

void convert_progress_done(convert_lane *lane, double seconds, int repeated) {
    const convert_progress *p = lane->progress;
    const convert_item *item = lane->item;
    const double audio_seconds = lane->audio_seconds;
    convert_progress_leave(lane);
    if (p->quiet) return;
    char input[4096], output[4096];
    convert_printable(input, sizeof input, item->path);
    convert_printable(output, sizeof output, item->output);
    convert_progress_end();
    printf("[%zu/%zu] %s -> %s  %.2f s in %.2f s (%.2fx real time)\n", lane->index, p->count, input, output,
           audio_seconds, seconds, seconds > 0 ? audio_seconds / seconds : 0);
    if (repeated > 0)
        printf("    %d chunk%s beyond what f16 can hold, made again in f32\n", repeated,
               repeated == 1 ? " was" : "s were");
    fflush(stdout);
}
