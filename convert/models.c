/* models.c - finds the networks and opens them.
 *
 * HuBERT and RMVPE are the same for every voice, so people keep them in one place: --models DIR, $RVC_MODELS,
 * ./models, $XDG_DATA_HOME/rvc or ~/.local/share/rvc, in this order. Invariant: when something is missing the
 * message says where it was looked for and which file to get; nothing has been written by then. */
#include "convert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MOST_PLACES = 4 };

typedef struct places {
    char *folder[MOST_PLACES];
    int count;
} places;

static void places_free(places *p) {
    for (int i = 0; i < p->count; i++) free(p->folder[i]);
    p->count = 0;
}

static bool place_add(places *p, char *folder) {
    if (folder) p->folder[p->count++] = folder;
    return folder != NULL;
}

static bool is_set(const char *text) {
    return text && *text;
}

static rvc_status places_list(places *p, const char *models, rvc_error *e) {
    const char *variable = getenv("RVC_MODELS"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    bool fine = true;
    if (is_set(models)) fine = place_add(p, convert_text("%s", models));
    if (is_set(variable)) fine = place_add(p, convert_text("%s", variable)) && fine;
    fine = place_add(p, convert_text("./models")) && fine;
    if (is_set(data))
        fine = place_add(p, convert_path_join(data, "rvc")) && fine;
    else if (is_set(home))
        fine = place_add(p, convert_path_join(home, ".local/share/rvc")) && fine;
    return fine ? RVC_OK : convert_fail(e, RVC_ERROR_MEMORY, "out of memory");
}

/* A file that is there, is a file (or, as Transformers keeps its models, a folder), and may be read. Says
 * what is wrong with `path` as "path: reason". */
static rvc_status check_file(const char *path, bool may_be_folder, const char *what, rvc_error *e) {
    struct stat st;
    if (stat(path, &st) != 0 || access(path, R_OK) != 0)
        return convert_fail(e, RVC_ERROR_FILE, "%s: %s (%s)", path, strerror(errno), what);
    if (!S_ISREG(st.st_mode) && !(may_be_folder && S_ISDIR(st.st_mode)))
        return convert_fail(e, RVC_ERROR_FILE, "%s: not a file (%s)", path, what);
    return RVC_OK;
}

/* The first place that has a network of that name, as imported or as published; *found stays NULL where none
 * has. */
static rvc_status look_for(const places *p, const char *name, char **found, rvc_error *e) {
    static const char *const endings[] = {".npz", ".pt", ".safetensors"};
    enum { ENDINGS = sizeof endings / sizeof *endings };
    for (int i = 0; i < p->count * ENDINGS; i++) {
        struct stat st;
        char *path = convert_text("%s/%s%s", p->folder[i / ENDINGS], name, endings[i % ENDINGS]);
        if (!path) return convert_fail(e, RVC_ERROR_MEMORY, "out of memory");
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            *found = path;
            return RVC_OK;
        }
        free(path);
    }
    return RVC_OK;
}

typedef struct network {
    const char *name, *option, *size;
} network;
static const network hubert = {"hubert_base", "--hubert", "189,507,909 bytes"};
static const network rmvpe = {"rmvpe", "--rmvpe", "181,189,687 bytes"};

static rvc_status not_found(const network *n, const places *p, rvc_error *e) {
    char list[512] = "";
    for (int i = 0; i < p->count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", p->folder[i]);
    }
    return convert_fail(e, RVC_ERROR_FILE,
                        "neither %s.pt nor %s.npz is there: get %s.pt (%s), put it in a models folder or "
                        "name it with %s FILE; "
                        "looked in %s",
                        n->name, n->name, n->name, n->size, n->option, list);
}

/* The file given by option, or the one in the first place that has it; may leave *path NULL. */
static rvc_status find_network(const network *n, const char *given, const places *p, char **path,
                               rvc_error *e) {
    if (!given) return look_for(p, n->name, path, e);
    if (check_file(given, true, n->option, e)) return e->status;
    *path = convert_text("%s", given);
    return *path ? RVC_OK : convert_fail(e, RVC_ERROR_MEMORY, "out of memory");
}

static bool mentions(const char *text, const char *word) {
    for (; *text; text++)
        if (strncasecmp(text, word, strlen(word)) == 0) return true;
    return false;
}

static rvc_status open_all(convert_models *m, const convert_settings *s, const places *p, rvc_error *e) {
    rvc_model_paths paths = {.voice = s->model, .hubert = m->hubert, .rmvpe = m->rmvpe, .index = s->index};
    rvc_setup setup = {.device = s->device, .precision = s->precision, .threads = s->threads};
    if (rvc_models_open(&m->models, &paths, &setup, e)) {
        // A voice without f0 needs no RMVPE, and only the open voice knows: so its absence is told here.
        bool absent = !m->rmvpe && e->status == RVC_ERROR_ARGUMENT && mentions(e->text, "rmvpe");
        return absent ? not_found(&rmvpe, p, e) : e->status;
    }
    return rvc_converter_new(&m->converter, m->models, e);
}

rvc_status convert_models_open(convert_models *m, const convert_settings *s, convert_command command,
                               rvc_error *e) {
    places p = {0};
    *m = (convert_models){0};
    bool voice = command == CONVERT_CONVERT;
    if (voice && check_file(s->model, false, "--model", e)) return e->status;
    if (s->index && check_file(s->index, false, "--index", e)) return e->status;
    rvc_status status = places_list(&p, s->models, e);
    if (!status && voice) status = find_network(&hubert, s->hubert, &p, &m->hubert, e);
    if (!status && voice && !m->hubert) status = not_found(&hubert, &p, e);
    if (!status) status = find_network(&rmvpe, s->rmvpe, &p, &m->rmvpe, e);
    if (!status && !voice && !m->rmvpe) status = not_found(&rmvpe, &p, e);
    if (!status) status = open_all(m, s, &p, e);
    places_free(&p);
    if (status) convert_models_close(m);
    return status;
}

void convert_models_close(convert_models *m) {
    rvc_converter_free(m->converter);
    rvc_models_close(m->models);
    free(m->hubert);
    free(m->rmvpe);
    *m = (convert_models){0};
}
