/* crew.c - the files, one after another, or several at a time: read -> convert -> write.
 *
 * On a CPU one conversion keeps all threads busy. A GPU waits while a file is read, resampled and written, and a short
 * one's networks do not fill it: there each of a few threads, with a converter of its own, takes the next file that nobody
 * has taken (and where files are few, a converter takes two chunks at a time: rvc/pair.c). What a file becomes does not depend on who converts it, or beside what; lines and journal come in the order
 * in which files are finished.
 *
 * Invariant: a file that fails costs one line and leaves nothing behind; no output is ever an input, and none
 * that exists is replaced unless asked for. */
#include "convert.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One of the crew. */
typedef struct worker {
    convert_batch *batch;
    rvc_converter *converter;
    rvc_options options; // the batch's, with this one's lane
    convert_lane *lane;
    pthread_t thread;
} worker;

/* What all of them change: the batch, but for its progress while a file is under way; and stdout. */
static pthread_mutex_t batch_lock = PTHREAD_MUTEX_INITIALIZER;

/* Whether the output may be written; *skip: it is there and up to date. */
static rvc_status check_target(const convert_batch *b, const convert_item *item, bool *skip, rvc_error *e) {
    const convert_settings *s = &b->settings;
    struct stat st;
    *skip = false;
    if (lstat(item->output, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? RVC_OK
                   : convert_fail(e, RVC_ERROR_FILE, "cannot write %s: %s", item->output, strerror(errno));
    if (convert_is_needed(b, item->output))
        return convert_fail(e, RVC_ERROR_FILE,
                            "not converted: its output %s would overwrite a file this run reads; "
                            "choose another OUT",
                            item->output);
    if (S_ISDIR(st.st_mode))
        return convert_fail(e, RVC_ERROR_FILE, "its output %s is a folder", item->output);
    *skip = s->resume && b->journal && convert_journal_done(b->journal, item);
    if (s->overwrite || s->resume) return RVC_OK;
    return convert_fail(e, RVC_ERROR_FILE, "%s exists; --overwrite replaces it, --resume skips what is done",
                        item->output);
}

/* A file under way: its two ends, and what the callbacks need. */
typedef struct passage {
    worker *worker;
    const convert_item *item;
    convert_result *result;
    convert_recording *in;
    convert_output out;
    convert_writer *writer;
    int rate;
    size_t frames; // read
} passage;

/* Blocks of the recording. At its end it is known to be good, and the output is opened before the work, so
 * that a folder without permission does not cost an hour. */
static rvc_status read_block(void *user, float *block, size_t *frames, rvc_error *e) {
    passage *p = user;
    double started = convert_seconds();
    rvc_status status = convert_recording_read(p->in, block, frames, e);
    p->result->read += convert_seconds() - started;
    if (status) return status;
    p->frames += *frames;
    p->result->audio_seconds = (double)p->frames / p->rate;
    convert_progress_audio(p->worker->lane, p->result->audio_seconds);
    return *frames ? RVC_OK : convert_output_open(&p->out, p->item->output, e);
}

static rvc_status open_writer(void *user, size_t frames, int rate, rvc_error *e) {
    passage *p = user;
    return convert_writer_open(&p->writer, p->out.fd, p->worker->batch->format, frames, rate, e);
}

static rvc_status write_block(void *user, const float *block, size_t frames, rvc_error *e) {
    passage *p = user;
    double started = convert_seconds();
    rvc_status status = convert_writer_write(p->writer, block, frames, e);
    p->result->write += convert_seconds() - started;
    return status;
}

static rvc_status convert_file(worker *w, const convert_item *item, convert_result *r, rvc_error *e) {
    double started = convert_seconds();
    passage p = {.worker = w, .item = item, .result = r, .out = {.fd = -1}};
    rvc_status status = convert_recording_open(&p.in, item->path, &p.rate, e);
    if (!status) {
        rvc_source source = {p.rate, read_block, &p};
        rvc_sink sink = {open_writer, write_block, &p};
        status = rvc_convert_stream(w->converter, &source, &sink, &w->options, &r->timing, e);
    }
    double wrote = convert_seconds();
    rvc_error end = {0};
    rvc_status closed = convert_writer_close(p.writer, &end);
    if (!status && closed) status = convert_fail(e, closed, "%s", end.text);
    if (!status) status = convert_output_commit(&p.out, e);
    r->write += convert_seconds() - wrote;
    convert_output_discard(&p.out);
    convert_recording_close(p.in);
    r->total = convert_seconds() - started;
    return status;
}

/* Everything that is said about a file. */
static void tell(worker *w, const convert_item *item, convert_result *result, bool skip, rvc_status status,
                 const rvc_error *e) {
    convert_batch *b = w->batch;
    if (status) {
        result->status = "failed";
        result->error = e->text;
        b->failed++;
        b->lost += status == RVC_ERROR_DEVICE;
        convert_progress_leave(w->lane);
        convert_complain("%s: %s", item->path, e->text);
    } else if (skip) {
        result->status = "skipped";
        b->skipped++;
        convert_progress_skip(w->lane);
    } else {
        b->converted++;
        convert_progress_done(w->lane, result->total, result->timing.repeated);
    }
    if (b->journal && !skip && convert_path_is_folder(b->settings.output))
        convert_journal_add(b->journal, item, status == RVC_OK);
    convert_report_add(&b->report, item, result);
}

/* The next file of the queue. False: there is none, or no more are to be taken. */
static bool take_file(worker *w) {
    convert_batch *b = w->batch;
    rvc_error e = {0};
    convert_result result = {.status = "converted"};
    bool skip = false;
    pthread_mutex_lock(&batch_lock);
    const bool over = b->next == b->queue.count || b->lost || convert_interrupted();
    const convert_item *item = over ? NULL : &b->queue.items[b->next++];
    rvc_status status = RVC_OK;
    if (item) {
        convert_progress_file(w->lane, item, b->next);
        status = check_target(b, item, &skip, &e);
    }
    pthread_mutex_unlock(&batch_lock);
    if (!item) return false;
    if (!status && !skip) status = convert_file(w, item, &result, &e);
    if (status == RVC_CANCELLED) return false;
    pthread_mutex_lock(&batch_lock);
    tell(w, item, &result, skip, status, &e);
    pthread_mutex_unlock(&batch_lock);
    return true;
}

/* Who finds no more files leaves the device to those who still have one. */
static void *work(void *context) {
    worker *w = context;
    while (take_file(w)) continue;
    if (w->converter != w->batch->models.converter) rvc_converter_free(w->converter);
    return NULL;
}

/* As many as the device gains from, no more than there are files. */
static size_t crew_size(const convert_batch *b) {
    const int most = rvc_models_info(b->models.models).converters;
    size_t size = most < CONVERT_CREW ? (size_t)most : CONVERT_CREW;
    return size < b->queue.count ? size : b->queue.count;
}

void convert_crew_run(convert_batch *b) {
    worker crew[CONVERT_CREW];
    const size_t size = crew_size(b);
    size_t hands = 1;
    for (size_t i = 0; i < size; i++) {
        crew[i] = (worker){.batch = b, .options = b->options, .lane = &b->progress.lane[i]};
        crew[i].options.progress_user = crew[i].lane;
    }
    crew[0].converter = b->models.converter;
    for (; hands < size; hands++) { /* where there is no memory for one more, or no thread, fewer do */
        worker *w = &crew[hands];
        if (rvc_converter_new(&w->converter, b->models.models, NULL)) break;
        if (pthread_create(&w->thread, NULL, work, w) == 0) continue;
        rvc_converter_free(w->converter);
        break;
    }
    work(&crew[0]);
    for (size_t i = 1; i < hands; i++) pthread_join(crew[i].thread, NULL);
}
