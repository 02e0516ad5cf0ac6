/* pipeline.c - a conversion from end to end, as RVC-WebUI's vc/pipeline.py does it.
 *
 *   samples - 16 kHz - level, high-pass -> x [n]
 *   reflect        |--pad--|================ x ================|--pad--|
 *   f0             once over all of it
 *   chunk 0        |--pad--|===== cut 0 =====|--pad--|
 *   chunk 1                |--pad--|===== cut 1 =====|--pad--| ...   each through segment.c, its pads cropped
 *   pieces joined - loudness of x - silence gate - output rate - peak
 *
 * Two ways to cut. RVC_WEBUI is the reference's: cuts at multiples of 160, chunks as long as they come, and
 * HuBERT, which makes one frame of 320 samples less than there are, gives pieces up to 20 ms short.
 * RVC_EXACT: x is padded to a multiple of 320, cuts are multiples of 320 and every chunk takes 80 samples
 * more for HuBERT's last window, so a chunk of N samples gives N/320 features and 2 N/320 frames. Invariant
 * there: output sample i is input time i, to the end, and there are round(frames * out rate / in rate) of
 * them. */
#include "pipeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hubert.h"
#include "signal.h"
#include "whole.h"

enum {
    EXACT_MULTIPLE = 320,
    EXACT_EXTRA = 80 /* 400 - 320: what HuBERT's last window lacks */,
    BLOCK = 1 << 14
};
static const float input_peak = 0.95f, output_peak = 0.99f;

/* The signal on its way. */
typedef struct signal {
    size_t frames;     /* of input */
    int rate;          /* of input */
    size_t n;          /* samples at 16 kHz */
    size_t whole;      /* the same, rounded up so that chunks come out even (RVC_EXACT) */
    size_t pad;        /* samples on each side */
    rvc_buffer padded; /* pads and all */
    rvc_buffer x;      /* [n], the part of padded between the pads */
    float *f0;         /* [padded's samples/160 + 1] or so, transposed; NULL where the voice takes none */
    bool finds_pitch;  /* the one chunk there is fills f0 */
    size_t *cuts;      /* [cut_count] */
    size_t cut_count;
    rvc_silence silence;
    rvc_buffer y; /* at the voice's rate; y_frames of it are made */
    size_t y_frames;
} signal;

nn_code rvc_job_advance(rvc_job *job, double seconds, double weight) {
    const rvc_options *o = job->options;
    job->done += seconds * weight;
    if (!o->progress) return NN_OK;
    double fraction = job->done < job->total ? job->done / job->total : 1;
    if (!o->progress(o->progress_user, fraction)) return NN_OK;
    return nn_fail(job->e, (nn_code)RVC_CANCELLED, "cancelled");
}

/* ---- options ---- */

static nn_code check_range(const char *name, double value, double low, double high, nn_error *e) {
    if (value >= low && value <= high) return NN_OK;
    return nn_fail(e, NN_ERROR_ARGUMENT, "%s %g: expected %g to %g", name, value, low, high);
}

static nn_code check_options(const rvc_options *o, const rvc_models *m, nn_error *e) {
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {
        {"transpose", o->transpose, -60, 60},
        {"speaker", o->speaker, 0, m->config.speakers - 1},
        {"index rate", o->index_rate, 0, 1},
        {"protect", o->protect, 0, 0.5},
        {"rms mix rate", o->rms_mix_rate, 0, 1},
        {"noise scale", o->noise_scale, 0, 10},
        {"output sample rate", o->sample_rate ? o->sample_rate : 1000, 1000, 768000},
        {"compat", o->compat, RVC_EXACT, RVC_WEBUI},
        {"x_pad", o->x_pad, 1, 30},
        {"x_query", o->x_query, 1, o->x_center},
        {"x_center", o->x_center, 1, 300},
        {"x_max", o->x_max, 1, 300},
    };
    nn_code code = NN_OK;
    if (!m->voice) return nn_fail(e, NN_ERROR_ARGUMENT, "these models were opened without a voice");
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && !code; i++)
        code = check_range(ranges[i].name, ranges[i].value, ranges[i].low, ranges[i].high, e);
    return code;
}

/* ---- in ---- */

/* What is above `most`, as a factor; 1 where nothing is. */
static float excess(rvc_buffer *x, float most) {
    float peak = 0;
    for (size_t from = 0; from < x->count; from += BLOCK) {
        const size_t count = x->count - from < BLOCK ? x->count - from : BLOCK;
        peak = fmaxf(peak, rvc_peak(rvc_buffer_view(x, from, count), count));
    }
    peak /= most;
    return peak > 1 ? peak : 1;
}

/* At 16 kHz, no louder than 0.95, without what lies under 48 Hz. */
static nn_code condition(rvc_job *job, signal *s, const rvc_source *source) {
    rvc_input in;
    s->pad = (size_t)job->options->x_pad * RVC_RATE;
    nn_code code = rvc_job_read(job, source, s->pad, &in);
    if (code) return code;
    s->frames = in.frames;
    s->rate = source->rate;
    s->n = in.n;
    s->padded = in.buffer;
    s->x = rvc_buffer_part(&s->padded, s->pad, s->n);
    const float peak = excess(&s->x, input_peak);
    for (size_t from = 0; peak > 1 && from < s->n; from += BLOCK) {
        const size_t count = s->n - from < BLOCK ? s->n - from : BLOCK;
        float *x = rvc_buffer_view(&s->x, from, count);
        rvc_divide(x, count, peak, x);
    }
    return rvc_highpass(&s->x, nn_device_threads(job->converter->device), job->e);
}

/* Output samples, at the voice's rate, that the whole conversion must have in RVC_EXACT; at least one to work
 * with. */
static size_t wanted_frames(const rvc_job *job, const signal *s) {
    size_t m = rvc_scaled_frames(s->frames, s->rate, job->converter->models->config.rate);
    return m ? m : 1;
}

static nn_code cut_and_pad(rvc_job *job, signal *s) {
    const rvc_options *o = job->options;
    bool exact = o->compat == RVC_EXACT;
    rvc_chunking chunking = {o->x_pad, o->x_query, o->x_center, o->x_max};
    s->whole = s->n;
    if (exact) { /* rounding may have made n a sample shorter than the output it must fill */
        size_t upp = (size_t)job->converter->models->config.upp;
        size_t needed = (wanted_frames(job, s) * RVC_HOP + upp - 1) / upp;
        s->whole = ((needed > s->n ? needed : s->n) + EXACT_MULTIPLE - 1) / EXACT_MULTIPLE * EXACT_MULTIPLE;
    }
    size_t after = s->pad + (s->whole - s->n) + (exact ? EXACT_EXTRA : 0);
    nn_code code = rvc_buffer_grow(&s->padded, s->pad + s->n + after, job->e);
    if (code) return code;
    s->x = rvc_buffer_part(&s->padded, s->pad, s->n);
    rvc_reflect_pad(s->x.at, s->n, s->pad, after, s->padded.at);
    return rvc_chunk_cuts(&s->x, chunking, exact ? EXACT_MULTIPLE : RVC_HOP, &s->cuts, &s->cut_count, job->e);
}

/* Chunk i lies between cuts: samples *from .. *to-1 of x. */
static void chunk_bounds(const signal *s, size_t i, size_t *from, size_t *to) {
    *from = i ? s->cuts[i - 1] : 0;
    *to = i < s->cut_count ? s->cuts[i] : s->whole;
}

static bool is_silent(const rvc_job *job, const signal *s, size_t i) {
    size_t from, to;
    chunk_bounds(s, i, &from, &to);
    return job->options->compat == RVC_EXACT && !job->probe->ungated &&
           rvc_silence_covers(&s->silence, from, to);
}

/* The work ahead, for the progress. */
static void estimate(rvc_job *job, const signal *s) {
    double pads = 2 * job->options->x_pad, seconds = (double)s->n / RVC_RATE;
    double chunks = (double)(s->cut_count + 1);
    job->total = (seconds + chunks * pads) * RVC_WORK_CONTENT + seconds * RVC_WORK_VOICE;
    if (job->converter->models->config.f0) job->total += (seconds + pads) * RVC_WORK_PITCH;
}

/* What the probe gets: f0 [frames] divided by `factor`. */
static nn_code note_pitch(rvc_job *job, const float *f0, size_t frames, double factor) {
    float *copy = malloc(frames * sizeof *copy);
    if (!copy) return nn_fail_memory(job->e, "the pitch");
    for (size_t i = 0; i < frames; i++) copy[i] = (float)(f0[i] / factor);
    job->probe->f0 = copy;
    job->probe->f0_count = frames;
    return NN_OK;
}

/* f0 over the padded signal, transposed; none is computed where every chunk is silent. Where the only chunk's
 * graph finds it, it has a place until then. */
static nn_code find_pitch(rvc_job *job, signal *s) {
    bool heard = false;
    for (size_t i = 0; i <= s->cut_count && !heard; i++) heard = !is_silent(job, s, i);
    if (!job->converter->models->config.f0 || !heard) return NN_OK;
    rvc_buffer x = rvc_buffer_part(&s->padded, 0, s->whole + 2 * s->pad);
    size_t frames = mel_frames(x.count);
    s->finds_pitch = rvc_job_is_whole(job) && s->cut_count == 0 &&
                     rvc_whole_finds_pitch(job->converter->whole, job->options, x.count / RVC_HOP);
    if (s->finds_pitch) {
        s->f0 = malloc(frames * sizeof *s->f0);
        return s->f0 ? NN_OK : nn_fail_memory(job->e, "the pitch");
    }
    nn_code code = rvc_job_pitch(job, &x, &s->f0);
    if (!code) code = note_pitch(job, s->f0, frames, 1);
    if (code) return code;
    double factor = pow(2, job->options->transpose / 12);
    for (size_t i = 0; i < frames; i++) s->f0[i] = (float)(s->f0[i] * factor);
    return NN_OK;
}

/* ---- chunks ---- */

/* What of chunk i goes to segment.c; its output is the next free place of y. */
static rvc_segment make_segment(const rvc_job *job, signal *s, size_t i) {
    size_t from, to, pad_frames = s->pad / RVC_HOP;
    chunk_bounds(s, i, &from, &to);
    rvc_segment g = {.first = from / RVC_HOP, .index = i, .keep = pad_frames};
    size_t length = to - from + 2 * s->pad;
    if (job->options->compat == RVC_EXACT) {
        g.count = length + EXACT_EXTRA;
        g.frames = length / RVC_HOP;
    } else {
        g.count = i < s->cut_count ? length + RVC_HOP : length;
        size_t features = 2 * rvc_hubert_frames(g.count);
        g.frames = features < g.count / RVC_HOP ? features : g.count / RVC_HOP;
    }
    g.kept = g.frames > 2 * pad_frames ? g.frames - 2 * pad_frames : 0;
    if (s->finds_pitch)
        g.found = s->f0;
    else
        g.f0 = s->f0 ? s->f0 + g.first : NULL;
    g.samples = rvc_buffer_view(&s->padded, from, g.count);
    g.out = rvc_buffer_view(&s->y, s->y_frames, g.kept * (size_t)job->converter->models->config.upp);
    return g;
}

/* A probe that wants the whole first chunk gets it; what is kept is copied from there. */
static nn_code run_whole(rvc_job *job, rvc_segment g) {
    size_t upp = (size_t)job->converter->models->config.upp, keep = g.keep, kept = g.kept;
    float *out = g.out, *all = malloc(g.frames * upp * sizeof *all);
    if (!all) return nn_fail_memory(job->e, "a whole chunk");
    g.keep = 0;
    g.kept = g.frames;
    g.out = all;
    nn_code code = rvc_job_segment(job, &g);
    if (!code) memcpy(out, all + keep * upp, kept * upp * sizeof *out);
    if (code || g.index > 0) {
        free(all);
        return code;
    }
    job->probe->segment = all;
    job->probe->segment_count = g.frames * upp;
    return NN_OK;
}

static nn_code run_chunks(rvc_job *job, signal *s) {
    size_t upp = (size_t)job->converter->models->config.upp;
    nn_code code = rvc_buffer_grow(&s->y, (s->whole / RVC_HOP + 1) * upp, job->e);
    for (size_t i = 0; i <= s->cut_count && !code; i++) {
        rvc_segment g = make_segment(job, s, i);
        if (i < s->cut_count && !is_silent(job, s, i) && !is_silent(job, s, i + 1) && rvc_job_pairs(job)) {
            s->y_frames += g.kept * upp;
            const rvc_segment next = make_segment(job, s, ++i);
            code = rvc_job_pair(job, &g, &next);
            g = next;
        } else if (is_silent(job, s, i)) {
            memset(g.out, 0, g.kept * upp * sizeof *g.out);
            code = rvc_job_advance(job, (double)g.kept / RVC_FRAMES, RVC_WORK_VOICE);
        } else {
            code = job->probe->whole ? run_whole(job, g) : rvc_job_segment(job, &g);
        }
        s->y_frames += g.kept * upp;
    }
    if (code || !s->finds_pitch) return code;
    return note_pitch(job, s->f0, mel_frames(s->whole + 2 * s->pad), pow(2, job->options->transpose / 12));
}

/* ---- out ---- */

/* y [count], which is louder than it may be by the factor `peak`, into the sink. */
static nn_code write_out(rvc_job *job, rvc_buffer *y, float peak, int rate, const rvc_sink *sink) {
    rvc_error error = {0};
    float *scaled = malloc(BLOCK * sizeof *scaled);
    if (!scaled) return nn_fail_memory(job->e, "the output");
    double start = rvc_seconds();
    rvc_status status = sink->open ? sink->open(sink->user, y->count, rate, &error) : RVC_OK;
    for (size_t from = 0; from < y->count && !status; from += BLOCK) {
        const size_t count = y->count - from < BLOCK ? y->count - from : BLOCK;
        const float *block = rvc_buffer_view(y, from, count);
        if (peak > 1) rvc_divide(block, count, peak, scaled);
        status = sink->write(sink->user, peak > 1 ? scaled : block, count, &error);
    }
    job->outside += rvc_seconds() - start;
    free(scaled);
    return rvc_job_callback(job, status, &error);
}

static nn_code finish(rvc_job *job, signal *s, const rvc_sink *sink) {
    const rvc_options *o = job->options;
    bool exact = o->compat == RVC_EXACT;
    int voice_rate = job->converter->models->config.rate;
    rvc_job_rest(job, s->n, RVC_REST_CONTENT | RVC_REST_PITCH | RVC_REST_VOICE);
    if (exact) s->y_frames = wanted_frames(job, s);
    rvc_buffer y = rvc_buffer_part(&s->y, 0, s->y_frames), resampled = {0};
    nn_code code = NN_OK;
    if (o->rms_mix_rate < 1 && y.count)
        code = rvc_mix_loudness(&s->x, RVC_RATE, &y, voice_rate, o->rms_mix_rate,
                                nn_device_threads(job->converter->device), job->e);
    if (code) return code;
    if (exact && !job->probe->ungated) rvc_silence_apply(&s->silence, &y, voice_rate);

    int rate = o->sample_rate ? o->sample_rate : voice_rate;
    size_t frames =
        exact ? rvc_scaled_frames(s->frames, s->rate, rate) : rvc_scaled_frames(y.count, voice_rate, rate);
    if (rate != voice_rate && y.count && frames) {
        double start = rvc_seconds();
        code = rvc_buffer_grow(&resampled, frames, job->e);
        if (!code)
            code = rvc_resample(&y, voice_rate, rate, nn_device_threads(job->converter->device), &resampled,
                                job->e);
        job->timing.resample += rvc_seconds() - start;
        y = rvc_buffer_part(&resampled, 0, frames);
    }
    y.count = frames;
    if (!code) code = write_out(job, &y, excess(&y, output_peak), rate, sink);
    rvc_buffer_free(&resampled);
    return code;
}

/* All chunks of the conditioned signal, cut as the options say. */
static nn_code make_voice(rvc_job *job, signal *s) {
    nn_code code = cut_and_pad(job, s);
    if (code) return code;
    rvc_job_rest(job, s->n, RVC_REST_CONTENT | RVC_REST_PITCH | RVC_REST_VOICE);
    estimate(job, s);
    code = find_pitch(job, s);
    return code ? code : run_chunks(job, s);
}

/* A device whose memory was too small for a chunk gets chunks of half the length; false: they are as short as
 * makes sense. Everything made so far is made anew, for where the cuts are is heard. */
static bool shrink(rvc_job *job, signal *s) {
    enum { SHORTEST = 4 /* seconds */ };
    rvc_options *o = &job->shrunk;
    if (!job->converter->whole || job->probe->chunks || job->options->x_max <= SHORTEST) return false;
    *o = *job->options;
    o->x_max = o->x_max / 2 > SHORTEST ? o->x_max / 2 : SHORTEST;
    o->x_center = o->x_center / 2 > 1 ? o->x_center / 2 : 1;
    o->x_query = o->x_query < o->x_center ? o->x_query : o->x_center;
    job->options = o;
    job->done = 0;
    *job->e = (nn_error){0};
    free(s->cuts);
    free(s->f0);
    free(job->probe->f0);
    s->cuts = NULL;
    s->f0 = job->probe->f0 = NULL;
    s->cut_count = s->y_frames = 0;
    s->finds_pitch = false;
    return true;
}

static nn_code convert(rvc_job *job, signal *s, const rvc_source *source, const rvc_sink *sink) {
    nn_code code = check_options(job->options, job->converter->models, job->e);
    if (!code) code = condition(job, s, source);
    if (!code) code = rvc_silence_find(&s->silence, &s->x, job->e);
    if (code) return code;
    do code = make_voice(job, s);
    while (code == NN_ERROR_MEMORY && shrink(job, s));
    return code ? code : finish(job, s, sink);
}

rvc_status rvc_convert_stream_probed(rvc_converter *converter, const rvc_source *source, const rvc_sink *sink,
                                     const rvc_options *options, rvc_probe *probe, rvc_timing *timing,
                                     rvc_error *error) {
    rvc_options defaults = rvc_default_options();
    rvc_probe none = {0};
    nn_error e = {0};
    signal s = {.y = rvc_buffer_again(&converter->output)};
    rvc_job job = {.converter = converter,
                   .options = options ? options : &defaults,
                   .probe = probe ? probe : &none,
                   .e = &e};
    double start = rvc_seconds();
    convert(&job, &s, source, sink);
    rvc_buffer_keep(&converter->input, &s.padded);
    rvc_buffer_keep(&converter->output, &s.y);
    free(s.f0);
    free(s.cuts);
    free(none.f0);
    rvc_silence_free(&s.silence);
    rvc_timing *t = &job.timing;
    t->audio_seconds = source->rate > 0 ? (double)s.frames / source->rate : 0;
    t->total = rvc_seconds() - start - job.outside;
    t->other = t->total - t->resample - t->mel - t->rmvpe - t->hubert - t->retrieval - t->synthesis;
    if (timing) *timing = *t;
    return rvc_report(error, &e);
}

rvc_status rvc_convert_stream(rvc_converter *converter, const rvc_source *source, const rvc_sink *sink,
                              const rvc_options *options, rvc_timing *timing, rvc_error *error) {
    return rvc_convert_stream_probed(converter, source, sink, options, NULL, timing, error);
}

/* ---- arrays ---- */

static rvc_status open_audio(void *user, size_t frames, int rate, rvc_error *error) {
    rvc_audio *out = user;
    out->samples = malloc((frames ? frames : 1) * sizeof *out->samples);
    out->rate = rate;
    if (out->samples) return RVC_OK;
    snprintf(error->text, sizeof error->text, "out of memory for %zu samples", frames);
    return error->status = RVC_ERROR_MEMORY;
}

static rvc_status write_audio(void *user, const float *block, size_t frames, rvc_error *error) {
    rvc_audio *out = user;
    (void)error;
    memcpy(out->samples + out->frames, block, frames * sizeof *block);
    out->frames += frames;
    return RVC_OK;
}

rvc_status rvc_convert_probed(rvc_converter *converter, const float *samples, size_t frames, int rate,
                              const rvc_options *options, rvc_probe *probe, rvc_audio *out,
                              rvc_error *error) {
    rvc_array array = {.samples = samples, .frames = frames};
    rvc_source source = rvc_array_source(&array, rate);
    rvc_sink sink = {open_audio, write_audio, out};
    rvc_timing timing;
    *out = (rvc_audio){0};
    rvc_status status = rvc_convert_stream_probed(converter, &source, &sink, options, probe, &timing, error);
    if (status) rvc_audio_free(out);
    out->timing = timing;
    return status;
}

rvc_status rvc_convert(rvc_converter *converter, const float *samples, size_t frames, int rate,
                       const rvc_options *options, rvc_audio *out, rvc_error *error) {
    return rvc_convert_probed(converter, samples, frames, rate, options, NULL, out, error);
}
