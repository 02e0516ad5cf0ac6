/* progress.c - how far it is.
 *
 * On a terminal (stderr) one line is redrawn at most ten times a second:
 *     [2/7] song.wav  43 %  3.1x real time  0:12 left
 * and every finished file leaves one plain line on stdout, which is all that others than a terminal see. The
 * time left is guessed from the inputs' sizes: they are known before a file is opened. */
#include "convert.h"

#include <string.h>
#include <unistd.h>

void convert_progress_begin(convert_progress *p, const convert_queue *q, bool quiet) {
    *p = (convert_progress){.live = !quiet && isatty(STDERR_FILENO), .quiet = quiet, .count = q->count};
    for (size_t i = 0; i < q->count; i++) p->bytes_all += q->items[i].bytes;
    p->started = convert_seconds();
}

void convert_progress_note(const convert_progress *p, const char *what) {
    if (!p->live) return;
    convert_live_line(false);
    fprintf(stderr, "%s ...", what);
    convert_live_line(true);
}

void convert_progress_device(const convert_progress *p, const char *device) {
    if (p->quiet) return;
    convert_live_line(false);
    printf("on %s\n", device);
    fflush(stdout);
}

void convert_progress_file(convert_progress *p, const convert_item *item) {
    p->index++;
    p->name = convert_path_name(item->path);
    p->bytes_before += p->bytes_now;
    p->bytes_now = item->bytes;
    p->audio_seconds = 0;
    p->file_started = convert_seconds();
    p->drawn = 0;
}

/* A file that costs nothing counts neither as work done nor as work left. */
void convert_progress_skip(convert_progress *p, const convert_item *item) {
    p->bytes_all -= p->bytes_now;
    p->bytes_now = 0;
    if (p->quiet) return;
    char name[4096];
    convert_printable(name, sizeof name, item->path);
    convert_live_line(false);
    printf("[%zu/%zu] %s  done before, skipped\n", p->index, p->count, name);
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

int convert_progress_tick(void *progress, double fraction) {
    convert_progress *p = progress;
    double now = convert_seconds();
    if (convert_interrupted()) return 1;
    if (!p->live || now - p->drawn < 0.1) return 0;
    p->drawn = now;
    char name[256];
    shorten(name, sizeof name, p->name, 40);
    convert_live_line(false);
    fprintf(stderr, "[%zu/%zu] %s  %2.0f %%", p->index, p->count, name, 100 * fraction);
    double spent = now - p->file_started, work = (double)p->bytes_before + fraction * (double)p->bytes_now;
    if (spent > 0.2 && fraction > 0) {
        double left = (now - p->started) * ((double)p->bytes_all - work) / work;
        fprintf(stderr, "  %.1fx real time", fraction * p->audio_seconds / spent);
        if (work > 0 && left < 360000) fprintf(stderr, "  %d:%02d left", (int)left / 60, (int)left % 60);
    }
    fflush(stderr);
    convert_live_line(true);
    return 0;
}

void convert_progress_done(convert_progress *p, const convert_item *item, double audio_seconds,
                           double seconds, int repeated) {
    if (p->quiet) return;
    char input[4096], output[4096];
    convert_printable(input, sizeof input, item->path);
    convert_printable(output, sizeof output, item->output);
    convert_live_line(false);
    printf("[%zu/%zu] %s -> %s  %.2f s in %.2f s (%.2fx real time)\n", p->index, p->count, input, output,
           audio_seconds, seconds, seconds > 0 ? audio_seconds / seconds : 0);
    if (repeated > 0)
        printf("    %d chunk%s beyond what f16 can hold, made again in f32\n", repeated,
               repeated == 1 ? " was" : "s were");
    fflush(stdout);
}
