/* batch.c - `rvc convert`: what comes before the files, which are crew.c's, and after them.
 *
 * Order of events: the command line is checked, then the list of files, then all models; only then is
 * anything written. */
#include "convert.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- before anything is done ---- */

static int wrong(const char *text, const char *what) {
    convert_complain("-o %s: %s", what, text);
    return CONVERT_WRONG_USAGE;
}

/* OUT is a file where there is one input file, no such folder, and an audio extension. */
static int choose_output(convert_batch *b) {
    const convert_settings *s = &b->settings;
    struct stat st;
    const convert_format *by_name = convert_format_find(convert_path_extension(s->output));
    bool exists = stat(s->output, &st) == 0, folder = exists && S_ISDIR(st.st_mode);
    bool one_file = s->input_count == 1 && !convert_path_is_folder(s->inputs[0]);
    if (!folder && (by_name || exists)) {
        if (!one_file) return wrong("is no folder, and there is more than one file to convert", s->output);
        if (!by_name) return wrong("exists and is neither a folder nor an audio file", s->output);
        b->single = s->output;
    }
    b->format = s->format ? convert_format_find(s->format) : b->single ? by_name : convert_format_find("wav");
    if (!convert_format_writable(b->format)) {
        convert_complain(
            "cannot write .%s files; choose --format wav, flac, ogg or (libsndfile 1.1 and later) mp3",
            b->format->extension);
        return CONVERT_WRONG_USAGE;
    }
    if (s->sample_rate && convert_format_rate(b->format, s->sample_rate) != s->sample_rate) {
        convert_complain("--sample-rate %d: %s has no such rate; the next is %d", s->sample_rate,
                         b->format->extension, convert_format_rate(b->format, s->sample_rate));
        return CONVERT_WRONG_USAGE;
    }
    return 0;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return a && b && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* A file this run reads: it must not be written. */
bool convert_is_needed(const convert_batch *b, const char *path) {
    return convert_queue_holds(&b->queue, path) || same_file(path, b->settings.model) ||
           same_file(path, b->settings.index) || same_file(path, b->models.hubert) ||
           same_file(path, b->models.rmvpe);
}

static void set_options(convert_batch *b) {
    const convert_settings *s = &b->settings;
    rvc_model_info info = rvc_models_info(b->models.models);
    rvc_options *o = &b->options;
    *o = rvc_default_options();
    o->transpose = s->transpose;
    o->speaker = s->speaker;
    o->index_rate = (float)s->index_rate;
    o->protect = (float)s->protect;
    o->rms_mix_rate = (float)s->rms_mix_rate;
    o->noise_scale = (float)s->noise_scale;
    o->seed = s->seed;
    o->compat = strcmp(s->compat, "webui") == 0 ? RVC_WEBUI : RVC_EXACT;
    o->sample_rate = s->sample_rate;
    // mp3 has no 40 kHz: the next rate it has
    if (!s->sample_rate && convert_format_rate(b->format, info.sample_rate) != info.sample_rate)
        o->sample_rate = convert_format_rate(b->format, info.sample_rate);
    o->progress = convert_progress_tick;
}

static void add_hash(uint64_t *hash, const char *text) {
    for (; *text; text++) *hash = (*hash ^ (unsigned char)*text) * 1099511628211u; // FNV-1a
    *hash = (*hash ^ 0xFF) * 1099511628211u;
}

/* Everything that decides an output's bytes besides the input: the options, and each model file's name, size
 * and time. */
static void hash_settings(const convert_batch *b, char out[17]) {
    const convert_settings *s = &b->settings;
    const char *files[] = {s->model, s->index, b->models.hubert, b->models.rmvpe};
    char text[256];
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct stat st;
        add_hash(&hash, files[i] ? convert_path_name(files[i]) : "");
        if (!files[i] || stat(files[i], &st) != 0) continue;
        snprintf(text, sizeof text, "%lld %lld.%09ld", (long long)st.st_size, (long long)st.st_mtim.tv_sec,
                 st.st_mtim.tv_nsec);
        add_hash(&hash, text);
    }
    snprintf(text, sizeof text, "%.17g %.17g %.17g %.17g %.17g %d %d %" PRIu64, s->transpose, s->index_rate,
             s->protect, s->rms_mix_rate, s->noise_scale, s->speaker, b->options.sample_rate, s->seed);
    add_hash(&hash, text);
    add_hash(&hash, s->device);
    add_hash(&hash, s->precision);
    add_hash(&hash, s->compat);
    add_hash(&hash, b->format->extension);
    add_hash(&hash, RVC_VERSION);
    snprintf(out, 17, "%016" PRIx64, hash);
}

static int complain_about_start(const rvc_error *e) {
    convert_complain("%s", e->text);
    return CONVERT_SOME_FAILED;
}

/* The list of files, the models, the journal, the report. */
static int prepare(convert_batch *b) {
    const convert_settings *s = &b->settings;
    rvc_error e = {0};
    char hash[17];
    if (convert_walk(&b->queue, s, &e) ||
        convert_name_outputs(&b->queue, s->output, b->single, b->format->extension, &e))
        return complain_about_start(&e);
    b->failed = b->queue.failed;
    if (b->queue.count == 0) return CONVERT_SOME_FAILED;
    convert_progress_begin(&b->progress, &b->queue, s->quiet);
    convert_progress_note(&b->progress, "loading the models");
    if (convert_models_open(&b->models, s, CONVERT_CONVERT, &e)) return complain_about_start(&e);
    rvc_model_info info = rvc_models_info(b->models.models);
    if (s->speaker >= info.speakers) {
        convert_complain("--speaker %d: %s has the speakers 0 to %d", s->speaker, s->model,
                         info.speakers - 1);
        return CONVERT_WRONG_USAGE;
    }
    set_options(b);
    hash_settings(b, hash);
    if (!b->single && !(b->journal = convert_journal_open(s->output, hash)))
        return complain_about_start(&(rvc_error){.text = "out of memory"});
    if (s->json && convert_is_needed(b, s->json)) {
        convert_complain("--json %s: this file is read in this run, and would be overwritten", s->json);
        return CONVERT_WRONG_USAGE;
    }
    if (convert_report_open(&b->report, s, &e)) return complain_about_start(&e);
    b->report.device = rvc_converter_device(b->models.converter);
    b->report.converter = b->models.converter;
    convert_progress_device(&b->progress, b->report.device);
    b->report.precision = s->precision;
    b->report.seed = s->seed;
    b->report.load = rvc_models_load_seconds(b->models.models);
    return 0;
}

/* ---- the end ---- */

/* Of the queue, with a line said about each. */
static size_t finished(const convert_batch *b) {
    return b->converted + b->skipped + b->failed - b->queue.failed;
}

/* Every file after those that lost the device would fail the same way: none is tried, and the journal, which has these as
 * failed, is what --resume goes on from. */
static int lost(const convert_batch *b) {
    const size_t left = b->queue.count - finished(b);
    if (left > 0)
        convert_complain("stopped, for the device is lost: %zu of %zu files are not converted. The same "
                         "command with --resume%s "
                         "goes on from here; --device cpu needs no GPU",
                         left + b->lost, b->queue.count,
                         b->settings.overwrite ? " instead of --overwrite" : "");
    return CONVERT_SOME_FAILED;
}

static int interrupted(const convert_batch *b) {
    size_t done = b->converted + b->skipped;
    if (b->single)
        convert_complain("interrupted; %s was not written", b->single);
    else
        convert_complain(
            "interrupted; %zu of %zu files are done. The same command with --resume%s goes on from here",
            done, b->queue.count, b->settings.overwrite ? " instead of --overwrite" : "");
    return 128 + convert_interrupted();
}

static int run(convert_batch *b) {
    rvc_error e = {0};
    convert_progress_note(&b->progress, "warming up");
    double started = convert_seconds();
    if (!convert_interrupted() && rvc_warm_up(b->models.converter, &e)) return complain_about_start(&e);
    b->report.warm_up = convert_seconds() - started;
    b->progress.started = convert_seconds();
    convert_crew_run(b);
    b->report.elapsed = convert_seconds() - b->progress.started;
    convert_progress_end();
    if (b->settings.timing) convert_report_table(&b->report);
    const bool closed = convert_report_close(&b->report, &e) == RVC_OK;
    if (!closed) convert_complain("%s", e.text);
    if (b->lost) return lost(b);
    if (finished(b) < b->queue.count) return interrupted(b);
    return b->failed || !closed ? CONVERT_SOME_FAILED : CONVERT_DONE;
}

int convert_batch_main(int argc, char **argv) {
    convert_batch b = {0};
    int status = convert_arguments_read(&b.settings, CONVERT_CONVERT, argc, argv);
    if (!status && b.settings.help) {
        convert_arguments_help(CONVERT_CONVERT);
    } else if (!status) {
        convert_interrupt_install();
        status = choose_output(&b);
        if (!status) status = prepare(&b);
        if (!status) status = run(&b);
        convert_progress_end();
    }
    convert_report_close(&b.report, &(rvc_error){0});
    convert_journal_close(b.journal);
    convert_queue_free(&b.queue);
    convert_models_close(&b.models);
    convert_settings_free(&b.settings);
    return status;
}
