/* check_audio.h - whole recordings in memory, for what tests audio files: through the program's own reader and writer. */
#ifndef TESTS_CHECK_AUDIO_H
#define TESTS_CHECK_AUDIO_H

#include <stdlib.h>
#include "../convert/convert.h"

/* *samples [*frames], free() it; NULL on failure. Read in blocks of an odd size. */
static inline rvc_status check_audio_read(const char *path, float **samples, size_t *frames, int *rate, rvc_error *e) {
    enum { ODD = 4999 };
    convert_recording *r;
    *samples = NULL;
    *frames = 0;
    rvc_status status = convert_recording_open(&r, path, rate, e);
    size_t got = 1;
    while (!status && got) {
        float *more = realloc(*samples, (*frames + ODD) * sizeof *more);
        if (!more) abort();
        *samples = more;
        got = ODD;
        status = convert_recording_read(r, *samples + *frames, &got, e);
        *frames += got;
    }
    convert_recording_close(r);
    if (status) {
        free(*samples);
        *samples = NULL;
    }
    return status;
}

static inline rvc_status check_audio_write(int fd, const convert_format *f, const float *samples, size_t frames, int rate,
                                           rvc_error *e) {
    convert_writer *w;
    rvc_status status = convert_writer_open(&w, fd, f, frames, rate, e);
    if (!status) status = convert_writer_write(w, samples, frames, e);
    rvc_error end = {0};
    rvc_status closed = convert_writer_close(w, status ? &end : e);
    return status ? status : closed;
}

#endif
