/* pickle_json.c - the plain part of a pickle as JSON text (RFC 8259).
 *
 * A dict entry whose value has nothing plain in it goes, a dict or list of nothing but such values goes as a
 * whole: a state dict leaves no skeleton. The tree may be a graph: depth and steps are bounded, so is the
 * text. */
#include "pickle.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

enum { MAX_TEXT = 1 << 22, MAX_WRITTEN = 1 << 26 };

typedef struct writer {
    char *text;
    size_t length, room;
    size_t written; /* with what went again */
    size_t steps;
    int depth;
    const char *problem;
    bool no_memory;
} writer;

static bool put(writer *w, const char *bytes, size_t n) {
    if (w->problem || w->no_memory) return false;
    w->written += n;
    if (w->length + n > MAX_TEXT || w->written > MAX_WRITTEN) {
        w->problem = "its pickle holds more than 4 MB of text, which no model needs";
        return false;
    }
    if (w->length + n + 1 > w->room) {
        size_t room = 2 * (w->length + n + 1) + 256;
        char *bigger = realloc(w->text, room);
        if (!bigger) {
            w->no_memory = true;
            return false;
        }
        w->text = bigger;
        w->room = room;
    }
    memcpy(w->text + w->length, bytes, n);
    w->length += n;
    w->text[w->length] = '\0';
    return true;
}

/* A string; what is not UTF-8 becomes U+FFFD. */
static bool put_string(writer *w, const pickle_value *v) {
    bool ok = put(w, "\"", 1);
    for (size_t i = 0; ok && i < v->count;) {
        unsigned char c = (unsigned char)v->text[i];
        size_t n = nn_utf8_length(v->text + i, v->count - i);
        char escape[8];
        if (c < 32 || c == '"' || c == '\\' || c == 127) {
            ok = put(w, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
            n = 1;
        } else if (n == 0) {
            ok = put(w, "\xef\xbf\xbd", 3);
            n = 1;
        } else {
            ok = put(w, v->text + i, n);
        }
        i += n;
    }
    return ok && put(w, "\"", 1);
}

__attribute__((format(printf, 2, 3))) static bool put_number(writer *w, const char *format, ...) {
    char text[64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return put(w, text, (size_t)n);
}

static bool put_value(writer *w, const pickle_value *v, const pickle_value *skip);

/* What torch's own small objects stand for: torch.Size((1, 2)) for its tuple, torch.device("cpu") for its
 * name. */
static const pickle_value *stands_for(const pickle_value *v) {
    bool small = v->kind == PICKLE_OBJECT && v->item[1]->kind == PICKLE_TUPLE && v->item[1]->count >= 1 &&
                 (pickle_is_text(v->item[0], "torch.Size") || pickle_is_text(v->item[0], "torch.device"));
    return small ? v->item[1]->item[0] : v;
}

static bool put_list(writer *w, const pickle_value *list) {
    bool any = list->count == 0;
    if (!put(w, "[", 1)) return false;
    for (uint32_t i = 0; i < list->count; i++) {
        if (i && !put(w, ",", 1)) return false;
        bool plain = put_value(w, list->item[i], NULL);
        if (!plain && !put(w, "null", 4)) return false;
        any |= plain;
    }
    return put(w, "]", 1) && any;
}

/* A key is a string or a whole number; entries with others are left out. */
static bool put_key(writer *w, const pickle_value *key) {
    if (key->kind == PICKLE_INT) return put_number(w, "\"%lld\"", (long long)key->integer);
    return key->kind == PICKLE_STRING && put_string(w, key);
}

static bool put_dict(writer *w, const pickle_value *dict, const pickle_value *skip) {
    bool any = dict->count == 0;
    if (!put(w, "{", 1)) return false;
    for (uint32_t i = 0; i < dict->count; i += 2) {
        size_t before = w->length;
        const pickle_value *value = dict->item[i + 1];
        bool plain = value != skip && (w->text[w->length - 1] == '{' || put(w, ",", 1)) &&
                     put_key(w, dict->item[i]) && put(w, ":", 1) && put_value(w, value, NULL);
        if (w->problem || w->no_memory) return false;
        if (!plain) w->length = before;
        any |= plain;
    }
    return put(w, "}", 1) && any;
}

/* False: nothing plain in it (what was written goes), or a failure. */
static bool put_value(writer *w, const pickle_value *v, const pickle_value *skip) {
    size_t before = w->length;
    bool plain = false;
    if (w->depth == PICKLE_MAX_DEPTH || ++w->steps > PICKLE_MAX_STEPS) {
        w->problem = w->depth == PICKLE_MAX_DEPTH ? "its pickle nests more than 64 deep, or holds itself"
                                                  : "its pickle unfolds to millions of values";
        return false;
    }
    w->depth++;
    v = stands_for(v);
    if (v->kind == PICKLE_NONE) plain = put(w, "null", 4);
    if (v->kind == PICKLE_BOOL) plain = put_number(w, v->integer ? "true" : "false");
    if (v->kind == PICKLE_INT) plain = put_number(w, "%lld", (long long)v->integer);
    if (v->kind == PICKLE_FLOAT)
        plain = isfinite(v->real) ? put_number(w, "%.17g", v->real) : put(w, "null", 4);
    if (v->kind == PICKLE_STRING) plain = put_string(w, v);
    if (v->kind == PICKLE_GLOBAL && strncmp(v->text, "torch.", 6) == 0)
        plain = put_string(w, v); /* a dtype */
    if (v->kind == PICKLE_TUPLE || v->kind == PICKLE_LIST) plain = put_list(w, v);
    if (v->kind == PICKLE_DICT) plain = put_dict(w, v, skip);
    w->depth--;
    if (!plain) w->length = before;
    return plain;
}

nn_code pickle_json(char **out, const pickle_value *root, const pickle_value *skip, const char *path,
                    nn_error *e) {
    writer w = {0};
    *out = NULL;
    bool plain = root->kind == PICKLE_DICT && root->count > 0 && put_value(&w, root, skip);
    nn_code code = w.no_memory ? nn_fail_memory(e, path)
                   : w.problem ? nn_fail(e, NN_ERROR_FORMAT, "%s: %s; get the file again", path, w.problem)
                               : NN_OK;
    if (code || !plain)
        free(w.text);
    else
        *out = w.text;
    return code;
}
