/* pitch.c - `rvc pitch`: the pitch of one recording as a CSV file.
 *
 * RMVPE gives one value every 10 ms; value i belongs to the time i * 0.01 s and is 0 where nothing is voiced.
 */
#include "convert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static rvc_status write_csv(convert_output *out, const float *f0, size_t count, rvc_error *e) {
    int fd = dup(out->fd); // fclose must not take the output's own descriptor away
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        if (fd >= 0) close(fd);
        return convert_fail(e, RVC_ERROR_FILE, "cannot write %s: %s", out->path, strerror(errno));
    }
    fputs("time_s,f0_hz\n", file);
    for (size_t i = 0; i < count; i++) fprintf(file, "%.2f,%.4f\n", 0.01 * (double)i, (double)f0[i]);
    bool failed = ferror(file) != 0;
    failed = fclose(file) != 0 || failed;
    if (failed) return convert_fail(e, RVC_ERROR_FILE, "cannot write %s: %s", out->path, strerror(errno));
    return convert_output_commit(out, e);
}

/* The output must not be the recording, or one of the formats a recording has. */
static rvc_status check_output(const convert_settings *s, rvc_error *e) {
    struct stat in, out;
    if (stat(s->output, &out) != 0) return RVC_OK;
    if (S_ISDIR(out.st_mode))
        return convert_fail(e, RVC_ERROR_FILE, "-o %s is a folder; name a file", s->output);
    if (stat(s->inputs[0], &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return convert_fail(e, RVC_ERROR_FILE, "-o %s is the recording itself", s->output);
    if (convert_audio_name(s->output))
        return convert_fail(e, RVC_ERROR_FILE, "-o %s is a recording; it is not replaced by a table",
                            s->output);
    return RVC_OK;
}

/* The recording, and where its pitch goes: opened when all of it has been read and is known to be good. */
typedef struct passage {
    const convert_settings *settings;
    convert_recording *in;
    convert_output out;
} passage;

static rvc_status read_block(void *user, float *block, size_t *frames, rvc_error *e) {
    passage *p = user;
    rvc_status status = convert_recording_read(p->in, block, frames, e);
    return status || *frames ? status : convert_output_open(&p->out, p->settings->output, e);
}

static rvc_status pitch_of(const convert_settings *s, rvc_converter *converter, rvc_error *e) {
    passage p = {.settings = s, .out = {.fd = -1}};
    float *f0 = NULL;
    size_t count;
    rvc_source source = {.read = read_block, .user = &p};
    rvc_status status = convert_recording_open(&p.in, s->inputs[0], &source.rate, e);
    if (!status) status = rvc_pitch_stream(converter, &source, &f0, &count, e);
    if (!status && convert_interrupted()) status = convert_fail(e, RVC_CANCELLED, "interrupted");
    if (!status) status = write_csv(&p.out, f0, count, e);
    convert_output_discard(&p.out);
    convert_recording_close(p.in);
    if (!status && !s->quiet) {
        size_t voiced = 0;
        for (size_t i = 0; i < count; i++) voiced += f0[i] > 0;
        char name[4096];
        convert_printable(name, sizeof name, s->output);
        printf("%s: %zu values, %zu voiced\n", name, count, voiced);
    }
    free(f0);
    return status;
}

int convert_pitch_main(int argc, char **argv) {
    convert_settings s;
    convert_models models = {0};
    rvc_error e = {0};
    int status = convert_arguments_read(&s, CONVERT_PITCH, argc, argv);
    if (!status && s.help) {
        convert_arguments_help(CONVERT_PITCH);
    } else if (!status) {
        convert_interrupt_install();
        if (check_output(&s, &e) || convert_models_open(&models, &s, CONVERT_PITCH, &e)) {
            convert_complain("%s", e.text);
            status = CONVERT_SOME_FAILED;
        } else if (pitch_of(&s, models.converter, &e)) {
            convert_complain("%s: %s", s.inputs[0], e.text);
            status = convert_interrupted() ? 128 + convert_interrupted() : CONVERT_SOME_FAILED;
        }
    }
    convert_models_close(&models);
    convert_settings_free(&s);
    return status;
}
