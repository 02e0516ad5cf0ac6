/* report.c - where the time went: --timing for people, --json for programs.
 *
 * Both walk the same table of components. A real-time factor is seconds of work per second of audio: below 1
 * is faster than real time. Loading the models and warming up happen once per run and are kept apart from the
 * files. */
#include "convert.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct component {
    const char *name;
    size_t field; // offset of a double in convert_result
} component;

#define OF(field) offsetof(convert_result, field)
static const component components[] = {
    {"read", OF(read)},
    {"resample", OF(timing.resample)},
    {"mel", OF(timing.mel)},
    {"rmvpe", OF(timing.rmvpe)},
    {"hubert", OF(timing.hubert)},
    {"retrieval", OF(timing.retrieval)},
    {"synthesis", OF(timing.synthesis)},
    {"other", OF(timing.other)},
    {"write", OF(write)},
    {"total", OF(total)},
};
enum { COMPONENTS = sizeof components / sizeof *components };

static double *field_of(convert_result *r, size_t i) {
    return (double *)(void *)((char *)r + components[i].field);
}

static double seconds_of(const convert_result *r, size_t i) {
    double seconds;
    memcpy(&seconds, (const char *)r + components[i].field, sizeof seconds);
    return seconds;
}

rvc_status convert_report_open(convert_report *r, const convert_settings *s, rvc_error *e) {
    r->json_path = s->json;
    r->json = s->json ? fopen(s->json, "we") : NULL;
    if (s->json && !r->json)
        return convert_fail(e, RVC_ERROR_FILE, "%s: cannot write: %s", s->json, strerror(errno));
    return RVC_OK;
}

static double peak_memory_bytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return 1024.0 * (double)usage.ru_maxrss; // Linux counts it in KiB
}

/* How long a UTF-8 sequence begins at `s` (RFC 3629: no overlong forms, no surrogates), 0: none does. */
static size_t utf8_length(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
               : (s[0] & 0xF0) == 0xE0        ? 3
               : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                              : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F);
    return overlong || beyond ? 0 : n;
}

/* JSON is UTF-8, file names are any bytes: what is not UTF-8 becomes U+FFFD, as browsers and Python do. */
static bool add_name(cJSON *object, const char *key, const char *name) {
    char *clean = malloc(3 * strlen(name) + 1), *to = clean;
    if (!clean) return false;
    for (const unsigned char *from = (const unsigned char *)name; *from;) {
        size_t n = utf8_length(from);
        memcpy(to, n ? (const char *)from : "\xEF\xBF\xBD", n ? n : 3);
        to += n ? n : 3;
        from += n ? n : 1;
    }
    *to = 0;
    bool added = cJSON_AddStringToObject(object, key, clean) != NULL;
    free(clean);
    return added;
}

/* One line about one file; false: out of memory. */
static bool write_line(const convert_report *r, const convert_item *item, const convert_result *result) {
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed); // a double would round it
    cJSON *object = cJSON_CreateObject(), *seconds = NULL;
    bool fine = add_name(object, "input", item->path) && add_name(object, "output", item->output) &&
                cJSON_AddStringToObject(object, "status", result->status) &&
                (result->error ? add_name(object, "error", result->error)
                               : cJSON_AddNullToObject(object, "error") != NULL) &&
                cJSON_AddNumberToObject(object, "audio_seconds", result->audio_seconds) &&
                (seconds = cJSON_AddObjectToObject(object, "seconds")) != NULL;
    fine = fine && cJSON_AddNumberToObject(seconds, "load", r->load) &&
           cJSON_AddNumberToObject(seconds, "warm_up", r->warm_up);
    for (size_t i = 0; fine && i < COMPONENTS; i++)
        fine = cJSON_AddNumberToObject(seconds, components[i].name, seconds_of(result, i)) != NULL;
    double factor = result->audio_seconds > 0 ? result->total / result->audio_seconds : 0;
    fine = fine && cJSON_AddNumberToObject(object, "real_time_factor", factor) &&
           cJSON_AddNumberToObject(object, "peak_memory_bytes", peak_memory_bytes()) &&
           cJSON_AddStringToObject(object, "device", r->device) &&
           cJSON_AddNumberToObject(object, "device_memory_bytes",
                                   (double)rvc_converter_device_memory(r->converter)) &&
           cJSON_AddNumberToObject(object, "chunks_repeated_in_f32", result->timing.repeated) &&
           cJSON_AddRawToObject(object, "seed", seed) &&
           cJSON_AddStringToObject(object, "precision", r->precision);
    char *line = fine ? cJSON_PrintUnformatted(object) : NULL;
    if (line) fprintf(r->json, "%s\n", line);
    fflush(r->json); // a batch can be watched, and an interrupted one leaves what it knew
    fine = line != NULL;
    cJSON_free(line);
    cJSON_Delete(object);
    return fine;
}

void convert_report_add(convert_report *r, const convert_item *item, const convert_result *result) {
    if (strcmp(result->status, "converted") == 0) {
        convert_result addend = *result;
        for (size_t i = 0; i < COMPONENTS; i++) *field_of(&r->sum, i) += *field_of(&addend, i);
        r->sum.audio_seconds += result->audio_seconds;
        r->files++;
    }
    if (r->json && !write_line(r, item, result))
        convert_complain("%s: out of memory for a line", r->json_path);
}

void convert_report_table(const convert_report *r) {
    const convert_result *sum = &r->sum;
    printf("%-12s %9s %8s %17s\n", "component", "seconds", "share", "real-time factor");
    printf("%-12s %9.3f %8s\n", "load", r->load, "once");
    printf("%-12s %9.3f %8s\n", "warm-up", r->warm_up, "once");
    for (size_t i = 0; i < COMPONENTS; i++) {
        double seconds = seconds_of(sum, i);
        printf("%-12s %9.3f %6.1f %% %17.4f\n", components[i].name, seconds,
               sum->total > 0 ? 100 * seconds / sum->total : 0,
               sum->audio_seconds > 0 ? seconds / sum->audio_seconds : 0);
    }
    const double own = (double)rvc_converter_device_memory(r->converter);
    printf("%zu file%s, %.2f s of audio in %.2f s on %s; peak memory %.0f MiB", r->files,
           r->files == 1 ? "" : "s", sum->audio_seconds, r->elapsed, r->device,
           peak_memory_bytes() / 1048576.0);
    if (own > 0) printf(", and %.0f MiB of the device's", own / 1048576.0);
    putchar('\n');
    fflush(stdout);
}

rvc_status convert_report_close(convert_report *r, rvc_error *e) {
    if (!r->json) return RVC_OK;
    bool failed = ferror(r->json) != 0;
    failed = fclose(r->json) != 0 || failed;
    r->json = NULL;
    return failed ? convert_fail(e, RVC_ERROR_FILE, "%s: cannot write: %s", r->json_path, strerror(errno))
                  : RVC_OK;
}
