/* convert.h - the parts of the program `rvc` that turn recordings into converted recordings.
 *
 *     arguments.c  the command line          -> convert_settings
 *     walk.c       INPUT...                  -> convert_queue of files, each with its output's name (names.c)
 *     models.c     where the networks lie
 *     audio.c      file -> blocks of float, and back
 *     output.c     a temporary file that becomes the output in one step, or disappears
 *     batch.c      what is done with the queue; progress.c, journal.c and report.c tell about it
 *     crew.c       one file after another, on a GPU several at a time
 *
 * Only the public API (rvc/rvc.h) is used for the conversion itself. Errors travel as in rvc.h: a status and
 * one line of text that does not repeat the file's name, because the line is printed as "rvc: FILE: text". */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include "../rvc/rvc.h"

enum { CONVERT_DONE = 0, CONVERT_SOME_FAILED = 1, CONVERT_WRONG_USAGE = 2 };
enum { CONVERT_CREW = 16 }; // files at a time, at most

/* ---- text.c: lines for people, and paths ---- */

#if defined(__GNUC__)
#define CONVERT_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define CONVERT_PRINTF(a, b)
#endif

/* Records the failure and returns `status`. `e` must not be NULL. */
CONVERT_PRINTF(3, 4) rvc_status convert_fail(rvc_error *e, rvc_status status, const char *format, ...);
/* One line on stderr, "rvc: ...", whatever bytes the names in it have; wipes the progress line first. */
CONVERT_PRINTF(1, 2) void convert_complain(const char *format, ...);
/* The line currently being redrawn on the terminal is gone (or there now). Between the next two. */
void convert_live_line(bool shown);
/* Who prints on stderr has it alone. Who lets a library print elsewhere keeps all others off, but for those who do the same. */
void convert_stderr_print(void);
void convert_stderr_keep_off(void);
void convert_stderr_done(void);
/* printf into new memory, free() it; NULL: out of memory. */
CONVERT_PRINTF(1, 2) char *convert_text(const char *format, ...);
/* Copies `text` with control characters replaced by '?', at most size-1 bytes. */
void convert_printable(char *out, size_t size, const char *text);

const char *convert_path_name(const char *path);      /* after the last '/' */
const char *convert_path_extension(const char *path); /* after the last '.' of the name, "" if none */
char *convert_path_join(const char *folder, const char *name); /* new memory; folder "" or NULL: name alone */
bool convert_path_is_folder(const char *path);
double convert_seconds(void); /* a clock that only goes forward */

/* ---- arguments.c ---- */

typedef enum convert_command { CONVERT_CONVERT = 1, CONVERT_PITCH = 2 } convert_command;

typedef struct convert_settings {
    const char *model, *hubert, *rmvpe, *models, *index; /* NULL where not given; all strings are argv's */
    const char *output, *device, *precision, *format, *compat, *json;
    double transpose, index_rate, protect, rms_mix_rate, noise_scale;
    int speaker, sample_rate, threads;
    uint64_t seed;
    bool timing, quiet, overwrite, resume, help;
    const char **inputs; /* [input_count], owned */
    size_t input_count;
} convert_settings;

/* Reads argv[1..] of `command` into *s. 0, or CONVERT_WRONG_USAGE after one line on stderr. With s->help
 * nothing is required. Release with convert_settings_free in every case. */
int convert_arguments_read(convert_settings *s, convert_command command, int argc, char **argv);
void convert_settings_free(convert_settings *s);
void convert_arguments_help(convert_command command); /* on stdout */
const char *convert_nearest_name(const char *wrong, const char *const *names, size_t count);

/* ---- models.c ---- */

typedef struct convert_models {
    rvc_models *models;
    rvc_converter *converter;
    char *hubert, *rmvpe; /* the paths taken, NULL where none was found or needed */
} convert_models;

/* Finds the networks, checks that the named files are there, and opens them all: for `pitch` only RMVPE. */
rvc_status convert_models_open(convert_models *m, const convert_settings *s, convert_command command,
                               rvc_error *e);
void convert_models_close(convert_models *m);

/* ---- audio.c ---- */

typedef struct convert_format {
    const char *extension;
    int sndfile;      /* SF_FORMAT_..., 0: can be read, not written */
    bool integer;     /* 16-bit integers: quantised here, as the reference does it */
    const int *rates; /* ends with 0; NULL: any */
} convert_format;

bool convert_audio_name(const char *path);                        /* has an extension libsndfile reads */
const convert_format *convert_format_find(const char *extension); /* NULL: not an audio extension */
bool convert_format_writable(const convert_format *f);            /* by this libsndfile */
/* The rate to write at: `rate` itself, or the nearest higher (else the highest) one the format has. */
int convert_format_rate(const convert_format *f, int rate);

/* Any file libsndfile reads, as mono (mean of the channels) at *rate Hz. Refused, on opening or while it is read: what is
 * not audio, holds none, or holds values that are not finite. */
typedef struct convert_recording convert_recording;
rvc_status convert_recording_open(convert_recording **out, const char *path, int *rate, rvc_error *e);
/* The read of an rvc_source; `recording` is a convert_recording. */
rvc_status convert_recording_read(void *recording, float *block, size_t *frames, rvc_error *e);
void convert_recording_close(convert_recording *r); /* NULL is fine */

/* `frames` samples at `rate` Hz into the open file `fd` (position 0), which stays the caller's. */
typedef struct convert_writer convert_writer;
rvc_status convert_writer_open(convert_writer **out, int fd, const convert_format *f, size_t frames, int rate,
                               rvc_error *e);
rvc_status convert_writer_write(convert_writer *w, const float *samples, size_t frames, rvc_error *e);
/* Ends the file; frees w in any case. NULL is fine. */
rvc_status convert_writer_close(convert_writer *w, rvc_error *e);
/* Gives the Ogg file `fd` the stream number 1 instead of a random one, so that equal audio is equal bytes.
 * (ogg.c) */
rvc_status convert_ogg_renumber(int fd, rvc_error *e);

/* ---- output.c ---- */

typedef struct convert_output {
    int fd;                 /* open for reading and writing */
    char *path, *temporary; /* temporary is in path's folder */
    int watched;            /* see convert_interrupt_watch */
} convert_output;

/* Makes the folders above `path` and an empty temporary file beside it. */
rvc_status convert_output_open(convert_output *o, const char *path, rvc_error *e);
rvc_status convert_output_commit(convert_output *o,
                                 rvc_error *e);                 /* the temporary becomes path; o is closed */
void convert_output_discard(convert_output *o);                 /* nothing is left; fine after commit */
rvc_status convert_folder_make(const char *path, rvc_error *e); /* and those above it */

/* ---- interrupt.c: Ctrl-C and the like ---- */

void convert_interrupt_install(void);
int convert_interrupted(void); /* the signal that asked to stop, or 0 */
/* The file is removed if a second signal ends us at once. Returns what forget wants once it is gone or renamed. */
int convert_interrupt_watch(const char *temporary);
void convert_interrupt_forget(int watched);

/* ---- walk.c, names.c ---- */

typedef struct convert_item {
    char *path;     /* input; owned, as are the others */
    char *relative; /* input below its INPUT folder, or its name */
    char *output;   /* where it goes */
    bool found;     /* stat worked; only then are these set: */
    dev_t device;
    ino_t inode;
    int64_t bytes, seconds, nanoseconds; /* size and time of last change */
} convert_item;

typedef struct convert_queue {
    convert_item *items; /* [count] in the order of the command line, folders sorted by bytes */
    size_t count, capacity;
    size_t failed; /* folders that could not be read or held nothing; each has had its line */
} convert_queue;

/* `out` is skipped where it lies inside an input folder. Fails only for want of memory. */
rvc_status convert_walk(convert_queue *q, const convert_settings *s, rvc_error *e);
void convert_queue_free(convert_queue *q);
/* True where `path` is the same file as an input. */
bool convert_queue_holds(const convert_queue *q, const char *path);
/* Gives every item its output: `single` for the only one, or a name below `folder`. */
rvc_status convert_name_outputs(convert_queue *q, const char *folder, const char *single,
                                const char *extension, rvc_error *e);

/* ---- journal.c ---- */

typedef struct convert_journal convert_journal;
/* OUT/.rvc-journal.jsonl. Never an error: what cannot be read is as if it were not there. NULL: out of
 * memory. */
convert_journal *convert_journal_open(const char *folder, const char *settings_hash);
void convert_journal_close(convert_journal *j);
bool convert_journal_done(const convert_journal *j, const convert_item *item);
void convert_journal_add(convert_journal *j, const convert_item *item, bool ok);

/* ---- progress.c ---- */

typedef struct convert_progress convert_progress;

/* A file under way. */
typedef struct convert_lane {
    convert_progress *progress;
    const convert_item *item; // NULL: none
    size_t index;             // of the file, from 1
    double audio_seconds, fraction, started;
} convert_lane;

struct convert_progress {
    bool live; /* stderr is a terminal */
    bool quiet;
    size_t count;                  /* files */
    int64_t bytes_all, bytes_done; /* sizes stand for work when the time left is guessed */
    double started, drawn;
    convert_lane lane[CONVERT_CREW];
};

/* All but tick and audio are for one thread at a time. */
void convert_progress_begin(convert_progress *p, const convert_queue *q, bool quiet);
void convert_progress_file(convert_lane *lane, const convert_item *item, size_t index);
void convert_progress_audio(convert_lane *lane, double seconds); /* so much of it has been read */
void convert_progress_skip(convert_lane *lane);
int convert_progress_tick(void *lane, double fraction); /* an rvc_progress */
/* repeated: chunks that were made again in f32 */
void convert_progress_done(convert_lane *lane, double seconds, int repeated);
void convert_progress_leave(convert_lane *lane); /* a file that failed */
void convert_progress_note(const convert_progress *p, const char *what); /* "loading the models" */
void convert_progress_end(void);                                          /* the live line is wiped */
void convert_progress_device(const convert_progress *p, const char *device); /* which was taken, on stdout */

/* ---- report.c ---- */

typedef struct convert_result {
    const char *status; /* "converted", "skipped" or "failed" */
    const char *error;  /* or NULL */
    double audio_seconds, read, write, total;
    rvc_timing timing;
} convert_result;

typedef struct convert_report {
    FILE *json; /* or NULL */
    const char *json_path, *device, *precision;
    const rvc_converter *converter;
    uint64_t seed;
    double load, warm_up, elapsed;
    size_t files;
    convert_result sum; /* over the converted files */
} convert_report;

rvc_status convert_report_open(convert_report *r, const convert_settings *s, rvc_error *e);
void convert_report_add(convert_report *r, const convert_item *item, const convert_result *result);
void convert_report_table(const convert_report *r); /* on stdout */
rvc_status convert_report_close(convert_report *r, rvc_error *e);

/* ---- batch.c, crew.c ---- */

typedef struct convert_batch {
    convert_settings settings;
    const convert_format *format;
    const char *single; // OUT where it is a file, else NULL
    convert_queue queue;
    convert_models models;
    rvc_options options;
    convert_journal *journal; // NULL where OUT is a file
    convert_progress progress;
    convert_report report;
    size_t next; // of the queue, that nobody has taken
    size_t converted, skipped, failed;
    size_t lost; // of the failed those that lost the device: no file after them can be converted
} convert_batch;

/* A file this run reads: it must not be written. */
bool convert_is_needed(const convert_batch *b, const char *path);
/* Converts the files of the queue until it is empty, the device is lost, or we are interrupted. */
void convert_crew_run(convert_batch *b);

/* ---- subcommands: argv[0] is the name; they return the exit status ---- */

int convert_batch_main(int argc, char **argv);
int convert_pitch_main(int argc, char **argv);

#endif
