/* audio.c - recordings in and out, through libsndfile.
 *
 * In: any format, rate and channel count -> mono float, the mean of the channels (librosa.to_mono). A header
 * is not trusted: frames are counted as they come, so one that promises too much costs nothing. Out: 16-bit
 * formats get y * 32768 cut towards zero, which is numpy's astype(int16) in the reference, and not
 * libsndfile's own rounding. Blocks are small because libsndfile's Vorbis encoder keeps a whole write on the
 * stack. Invariant: what is not finite, not audio or empty never gets as far as a network. */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { BLOCK = 4096 }; // frames read or written at once

static const int mp3_rates[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 0};
static const convert_format formats[] = {
    {"wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, true, NULL},
    {"flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, true, NULL},
    {"ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, false, NULL},
    {"mp3", 0x230000 | 0x0082 /* MPEG layer III, libsndfile 1.1 */, false, mp3_rates},
    {"wave", 0, false, NULL},
    {"oga", 0, false, NULL},
    {"opus", 0, false, NULL},
    {"aif", 0, false, NULL},
    {"aiff", 0, false, NULL},
    {"au", 0, false, NULL},
    {"snd", 0, false, NULL},
    {"caf", 0, false, NULL},
    {"w64", 0, false, NULL},
    {"rf64", 0, false, NULL},
};

const convert_format *convert_format_find(const char *extension) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcasecmp(formats[i].extension, extension) == 0) return &formats[i];
    return NULL;
}

bool convert_audio_name(const char *path) {
    return convert_format_find(convert_path_extension(path)) != NULL;
}

bool convert_format_writable(const convert_format *f) {
    SF_INFO info = {.samplerate = 48000, .channels = 1, .format = f->sndfile};
    return f->sndfile && sf_format_check(&info);
}

int convert_format_rate(const convert_format *f, int rate) {
    int best = rate;
    for (const int *r = f->rates; r && *r; r++) {
        best = *r;
        if (*r >= rate) break;
    }
    return best;
}

/* ---- in ---- */

struct convert_recording {
    SNDFILE *file;
    int fd, channels, rate;
    size_t frames; // read so far
    float *block;  // [BLOCK][channels]
};

/* An open, regular, not empty file. O_NONBLOCK: a pipe named x.wav must not hang the batch. */
static int open_regular(const char *path, rvc_error *e) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        convert_fail(e, RVC_ERROR_FILE, "%s", strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        convert_fail(e, RVC_ERROR_FILE, "not a regular file");
    } else if (st.st_size == 0) {
        convert_fail(e, RVC_ERROR_FORMAT, "holds no audio (the file is empty)");
    } else {
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}

/* libmpg123, inside libsndfile, talks about damaged files on stderr, which is ours. Nothing of ours is
 * printed meanwhile. Several files may be at it: the first turns stderr away, the last brings it back. */
static pthread_mutex_t muting = PTHREAD_MUTEX_INITIALIZER;
static int muted, kept = -1;

static void mute(void) {
    convert_stderr_keep_off();
    pthread_mutex_lock(&muting);
    if (muted++ == 0) {
        fflush(stderr);
        const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (kept >= 0 && nowhere >= 0) dup2(nowhere, STDERR_FILENO);
        if (nowhere >= 0) close(nowhere);
    }
    pthread_mutex_unlock(&muting);
}

static void unmute(void) {
    pthread_mutex_lock(&muting);
    if (--muted == 0 && kept >= 0) {
        dup2(kept, STDERR_FILENO);
        close(kept);
        kept = -1;
    }
    pthread_mutex_unlock(&muting);
    convert_stderr_done();
}

static rvc_status open_file(convert_recording *r, rvc_error *e) {
    // By descriptor, not by name: from a name like notes.snd libsndfile would take text for headerless u-law.
    static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER; // why a file cannot be opened is one for all
    SF_INFO info = {0};
    pthread_mutex_lock(&opening);
    mute();
    r->file = sf_open_fd(r->fd, SFM_READ, &info, SF_FALSE);
    unmute();
    const char *reason = r->file ? "" : sf_strerror(NULL);
    pthread_mutex_unlock(&opening);
    if (!r->file) {
        if (strstr(reason, "does not exist"))
            reason = "No valid frame found."; // what it says of damaged mp3 files
        return convert_fail(e, RVC_ERROR_FORMAT, "not an audio file libsndfile can read: %s", reason);
    }
    r->channels = info.channels;
    r->rate = info.samplerate;
    r->block = malloc(sizeof *r->block * BLOCK * (size_t)info.channels);
    return r->block ? RVC_OK
                    : convert_fail(e, RVC_ERROR_MEMORY, "out of memory for %d channels", info.channels);
}

rvc_status convert_recording_open(convert_recording **out, const char *path, int *rate, rvc_error *e) {
    *out = NULL;
    int fd = open_regular(path, e);
    if (fd < 0) return e->status;
    convert_recording *r = calloc(1, sizeof *r);
    if (!r) {
        close(fd);
        return convert_fail(e, RVC_ERROR_MEMORY, "out of memory");
    }
    r->fd = fd;
    rvc_status status = open_file(r, e);
    if (status) {
        convert_recording_close(r);
        return status;
    }
    *rate = r->rate;
    *out = r;
    return RVC_OK;
}

void convert_recording_close(convert_recording *r) {
    if (!r) return;
    mute();
    if (r->file) sf_close(r->file);
    unmute();
    close(r->fd);
    free(r->block);
    free(r);
}

/* The next samples, at most BLOCK, into mono; 0 at the end. */
static rvc_status read_block(convert_recording *r, float *mono, size_t *frames, rvc_error *e) {
    sf_count_t got = sf_readf_float(r->file, r->block, (sf_count_t)(*frames < BLOCK ? *frames : BLOCK));
    *frames = got > 0 ? (size_t)got : 0;
    for (size_t i = 0; i < *frames; i++) {
        double sum = 0;
        for (int c = 0; c < r->channels; c++) sum += (double)r->block[i * (size_t)r->channels + (size_t)c];
        mono[i] = (float)(sum / r->channels);
        if (!isfinite(mono[i]))
            return convert_fail(e, RVC_ERROR_FORMAT, "holds a sample that is not a finite number, at %.3f s",
                                (double)(r->frames + i) / r->rate);
    }
    r->frames += *frames;
    if (*frames) return RVC_OK;
    if (sf_error(r->file) != SF_ERR_NO_ERROR)
        return convert_fail(e, RVC_ERROR_FORMAT, "damaged after %.3f s: %s", (double)r->frames / r->rate,
                            sf_strerror(r->file));
    return r->frames ? RVC_OK : convert_fail(e, RVC_ERROR_FORMAT, "holds no audio (0 frames)");
}

rvc_status convert_recording_read(void *recording, float *block, size_t *frames, rvc_error *e) {
    const size_t wanted = *frames;
    size_t have = 0, more = 1;
    rvc_status status = RVC_OK;
    mute();
    while (have < wanted && more && !status) {
        more = wanted - have;
        status = read_block(recording, block + have, &more, e);
        have += more;
    }
    unmute();
    *frames = have;
    if (!status && convert_interrupted()) status = convert_fail(e, RVC_CANCELLED, "interrupted");
    return status;
}

/* ---- out ---- */

/* libsndfile's encoders lose the errors of their last writes, a full disk among them. So it writes through
 * these, which keep the first one. */
typedef struct sink {
    int fd;
    int error; // errno of the first write that failed, or 0
} sink;

static sf_count_t sink_length(void *user) {
    struct stat st;
    return fstat(((sink *)user)->fd, &st) == 0 ? (sf_count_t)st.st_size : -1;
}

static sf_count_t sink_seek(sf_count_t offset, int whence, void *user) {
    return (sf_count_t)lseek(((sink *)user)->fd, (off_t)offset, whence);
}

static sf_count_t sink_tell(void *user) {
    return sink_seek(0, SEEK_CUR, user);
}

static sf_count_t sink_read(void *data, sf_count_t count, void *user) {
    return (sf_count_t)read(((sink *)user)->fd, data, (size_t)count);
}

static sf_count_t sink_write(const void *data, sf_count_t count, void *user) {
    sink *s = user;
    sf_count_t done = 0;
    while (done < count) {
        ssize_t n = write(s->fd, (const char *)data + done, (size_t)(count - done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (!s->error) s->error = n < 0 ? errno : EIO;
            break;
        }
        done += n;
    }
    return done;
}

/* numpy's (y * 32768).astype(int16), but what would wrap around is held at the ends; not-a-number becomes an
 * end, too. */
static short quantise(float y) {
    return (short)fmaxf(fminf(y * 32768.0f, 32767.0f), -32768.0f);
}

struct convert_writer {
    SNDFILE *file;
    const convert_format *format;
    sink to;
};

rvc_status convert_writer_open(convert_writer **out, int fd, const convert_format *f, size_t frames, int rate,
                               rvc_error *e) {
    *out = NULL;
    if ((f->sndfile & SF_FORMAT_TYPEMASK) == SF_FORMAT_WAV && frames > (UINT32_MAX - 4096u) / sizeof(short))
        return convert_fail(e, RVC_ERROR_FORMAT, "too long for a WAV file (4 GiB); use --format flac");
    SF_INFO info = {.samplerate = rate, .channels = 1, .format = f->sndfile};
    SF_VIRTUAL_IO calls = {sink_length, sink_seek, sink_read, sink_write, sink_tell};
    convert_writer *w = calloc(1, sizeof *w);
    if (!w) return convert_fail(e, RVC_ERROR_MEMORY, "out of memory");
    *w = (convert_writer){.format = f, .to = {.fd = fd}};
    w->file = sf_open_virtual(&calls, SFM_WRITE, &info, &w->to);
    if (!w->file) {
        convert_fail(e, RVC_ERROR_FORMAT, "libsndfile cannot write %s at %d Hz: %s", f->extension, rate,
                     w->to.error ? strerror(w->to.error) : sf_strerror(NULL));
        free(w);
        return RVC_ERROR_FORMAT;
    }
    sf_command(w->file, SFC_SET_CLIPPING, NULL, SF_TRUE);
    *out = w;
    return RVC_OK;
}

rvc_status convert_writer_write(convert_writer *w, const float *samples, size_t frames, rvc_error *e) {
    short block[BLOCK];
    for (size_t at = 0; at < frames;) {
        size_t n = frames - at < BLOCK ? frames - at : BLOCK;
        sf_count_t done;
        if (w->format->integer) {
            for (size_t i = 0; i < n; i++) block[i] = quantise(samples[at + i]);
            done = sf_writef_short(w->file, block, (sf_count_t)n);
        } else {
            done = sf_writef_float(w->file, samples + at, (sf_count_t)n);
        }
        if (w->to.error)
            return convert_fail(e, RVC_ERROR_FILE, "cannot write the output: %s", strerror(w->to.error));
        if (done != (sf_count_t)n)
            return convert_fail(e, RVC_ERROR_FILE, "cannot write the output: %s", sf_strerror(w->file));
        if (convert_interrupted()) return convert_fail(e, RVC_CANCELLED, "interrupted");
        at += n;
    }
    return RVC_OK;
}

rvc_status convert_writer_close(convert_writer *w, rvc_error *e) {
    if (!w) return RVC_OK;
    int closed = sf_close(w->file), error = w->to.error, fd = w->to.fd;
    bool ogg = (w->format->sndfile & SF_FORMAT_TYPEMASK) == SF_FORMAT_OGG;
    free(w);
    if (error) return convert_fail(e, RVC_ERROR_FILE, "cannot write the output: %s", strerror(error));
    if (closed)
        return convert_fail(e, RVC_ERROR_FILE, "cannot write the output: %s", sf_error_number(closed));
    return ogg ? convert_ogg_renumber(fd, e) : RVC_OK;
}
