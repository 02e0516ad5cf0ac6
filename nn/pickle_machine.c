/* pickle_machine.c - see pickle_machine.h.
 *
 * Invariant: memory is had through take() only, which counts it; values are never freed singly, they live in
 * blocks until the pickle goes. */
#include "pickle_machine.h"

#include <stdlib.h>
#include <string.h>

#include "pickle_names.h"

enum {
    MAX_MEMORY = 1 << 25, /* of values and texts */
    MAX_STACK = 1 << 16,  /* torch and fairseq need some thousands (1000 at a time in lists and dicts) */
    MAX_MEMO = 1 << 19,
    MAX_GLOBAL = 512, /* bytes of a class's name */
    BLOCK = 1 << 16,
};

/* ---- memory -------------------------------------------------------------------------------------------- */

bool pickle_trouble(pickle_machine *m, const char *problem) {
    if (!m->problem) m->problem = problem;
    return false;
}
const char pickle_ends_early[] = "ends early: the file is cut short";
const char pickle_no_memory[] = "";

/* n bytes, aligned for anything; NULL is trouble. */
static void *take(pickle_machine *m, size_t n) {
    pickle *p = m->p;
    n = (n + _Alignof(pickle_value) - 1) / _Alignof(pickle_value) * _Alignof(pickle_value);
    pickle_block *b = p->blocks;
    if (!b || b->size - b->used < n) {
        size_t size = n > BLOCK ? n : BLOCK;
        if (size > MAX_MEMORY - p->spent) {
            pickle_trouble(m, "unpacks to more than 32 MB of values, which no model needs");
            return NULL;
        }
        if (!(b = malloc(sizeof *b + size))) {
            pickle_trouble(m, pickle_no_memory);
            return NULL;
        }
        *b = (pickle_block){.next = p->blocks, .size = size};
        p->blocks = b;
        p->spent += size;
    }
    void *bytes = (char *)b->data + b->used;
    b->used += n;
    return bytes;
}

void pickle_free(pickle *p) {
    for (pickle_block *b = p ? p->blocks : NULL, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(p);
}

pickle_value *pickle_new_value(pickle_machine *m, pickle_kind kind) {
    pickle_value *v = take(m, sizeof *v);
    if (v) *v = (pickle_value){.kind = kind};
    return v;
}

pickle_value *pickle_new_text(pickle_machine *m, pickle_kind kind, size_t n, char **text) {
    pickle_value *v = pickle_new_value(m, kind);
    char *copy = v ? take(m, n + 1) : NULL;
    if (!copy) return NULL;
    copy[n] = '\0';
    v->text = *text = copy;
    v->count = (uint32_t)n; /* n < MAX_MEMORY */
    return v;
}

pickle_value *pickle_new_items(pickle_machine *m, pickle_kind kind, pickle_value *const *item, size_t n) {
    pickle_value *v = pickle_new_value(m, kind);
    if (!v || n == 0) return v;
    if (!(v->item = take(m, n * sizeof *v->item))) return NULL;
    memcpy(v->item, item, n * sizeof *item);
    v->count = v->capacity = (uint32_t)n; /* n <= MAX_STACK, or another value's count */
    return v;
}

/* Appends n items. The room doubles; what it leaves behind is no more than what it becomes. */
bool pickle_extend(pickle_machine *m, pickle_value *v, pickle_value *const *item, size_t n) {
    if (n > v->capacity - v->count) {
        size_t room = 2 * (size_t)v->capacity > v->count + n ? 2 * (size_t)v->capacity : v->count + n;
        pickle_value **bigger = take(m, room * sizeof *bigger);
        if (!bigger) return false;
        if (v->count) memcpy(bigger, v->item, v->count * sizeof *bigger);
        v->item = bigger;
        v->capacity = (uint32_t)room;
    }
    if (n) memcpy(v->item + v->count, item, n * sizeof *item);
    v->count += (uint32_t)n;
    return true;
}

/* ---- stack and memo ------------------------------------------------------------------------------------ */

/* Room for entry `wanted` of a table that starts all NULL. */
static bool grow(pickle_machine *m, pickle_value ***table, size_t *room, size_t wanted) {
    if (wanted < *room) return true;
    size_t bigger = *room ? *room : 64;
    while (bigger <= wanted) bigger *= 2;
    pickle_value **moved = realloc(*table, bigger * sizeof *moved);
    if (!moved) return pickle_trouble(m, pickle_no_memory);
    for (size_t i = *room; i < bigger; i++) moved[i] = NULL;
    *table = moved;
    *room = bigger;
    return true;
}

static bool push_entry(pickle_machine *m, pickle_value *v) {
    if (m->depth == MAX_STACK)
        return pickle_trouble(m, "stacks up more than 65536 values, which no model does");
    if (!grow(m, &m->stack, &m->stack_room, m->depth)) return false;
    m->stack[m->depth++] = v;
    return true;
}

bool pickle_push(pickle_machine *m, pickle_value *v) {
    return v && push_entry(m, v);
}

bool pickle_push_mark(pickle_machine *m) {
    return push_entry(m, NULL);
}

pickle_value *pickle_top(pickle_machine *m) {
    pickle_value *v = m->depth ? m->stack[m->depth - 1] : NULL;
    if (!v) pickle_trouble(m, "takes a value from an empty stack");
    return v;
}

pickle_value *pickle_pop(pickle_machine *m) {
    pickle_value *v = pickle_top(m);
    if (v) m->depth--;
    return v;
}

/* The walk down to the mark is paid for by the values it takes away. */
bool pickle_pop_mark(pickle_machine *m, pickle_value ***item, size_t *n) {
    size_t first = m->depth;
    while (first > 0 && m->stack[first - 1]) first--;
    if (first == 0) return pickle_trouble(m, "lacks a mark");
    *item = m->stack + first;
    *n = m->depth - first;
    m->depth = first - 1;
    return true;
}

bool pickle_memo_set(pickle_machine *m, uint64_t i) {
    pickle_value *v = pickle_top(m);
    if (!v) return false;
    if (i >= MAX_MEMO) return pickle_trouble(m, "remembers more than 524288 values, which no model does");
    if (!grow(m, &m->memo, &m->memo_room, (size_t)i)) return false;
    m->memo_count += !m->memo[i];
    m->memo[i] = v;
    return true;
}

bool pickle_memo_get(pickle_machine *m, uint64_t i) {
    if (i >= m->memo_room || !m->memo[i]) return pickle_trouble(m, "recalls a value that it never stored");
    return pickle_push(m, m->memo[i]);
}

/* ---- what is called ------------------------------------------------------------------------------------ */

/* OrderedDict() or OrderedDict([[key, value], ...]); anything else in the brackets is left out. */
static pickle_value *make_dict(pickle_machine *m, const pickle_value *args) {
    pickle_value *dict = pickle_new_value(m, PICKLE_DICT);
    const pickle_value *list = args->count == 1 ? args->item[0] : NULL;
    if (!dict || !list) return dict;
    if (list->kind == PICKLE_DICT) return pickle_extend(m, dict, list->item, list->count) ? dict : NULL;
    bool is_list = list->kind == PICKLE_LIST || list->kind == PICKLE_TUPLE;
    for (uint32_t i = 0; is_list && i < list->count; i++) {
        const pickle_value *pair = list->item[i];
        bool is_pair = (pair->kind == PICKLE_LIST || pair->kind == PICKLE_TUPLE) && pair->count == 2;
        if (is_pair && !pickle_extend(m, dict, pair->item, 2)) return NULL;
    }
    return dict;
}

static pickle_value *make_list(pickle_machine *m, const pickle_value *args) {
    const pickle_value *from = args->count == 1 ? args->item[0] : NULL;
    bool is_list = from && (from->kind == PICKLE_LIST || from->kind == PICKLE_TUPLE);
    return pickle_new_items(m, PICKLE_LIST, is_list ? from->item : NULL, is_list ? from->count : 0);
}

/* _codecs.encode(text, "latin1"), as protocol 2 writes bytes: characters U+0000..00FF, one byte each. */
static pickle_value *make_bytes(pickle_machine *m, const pickle_value *args) {
    const pickle_value *from = args->count >= 1 ? args->item[0] : NULL;
    size_t n = from && from->kind == PICKLE_STRING ? from->count : 0, length = 0;
    char *text;
    pickle_value *v = pickle_new_text(m, PICKLE_BYTES, n, &text);
    for (size_t i = 0; v && i < n; i++) {
        unsigned char c = (unsigned char)from->text[i];
        bool two = (c == 0xc2 || c == 0xc3) && i + 1 < n;
        text[length++] = (char)(two ? c << 6 | ((unsigned char)from->text[++i] & 0x3f) : c);
    }
    if (!v) return NULL;
    text[length] = '\0';
    v->count = (uint32_t)length;
    return v;
}

static const struct constructor {
    const char *name;
    pickle_value *(*make)(pickle_machine *m, const pickle_value *args);
} constructors[] = {
    {"collections.OrderedDict", make_dict},
    {"collections.defaultdict", make_dict},
    {"builtins.dict", make_dict},
    {"__builtin__.dict", make_dict},
    {"builtins.set", make_list},
    {"__builtin__.set", make_list},
    {"builtins.frozenset", make_list},
    {"__builtin__.frozenset", make_list},
    {"builtins.list", make_list},
    {"__builtin__.list", make_list},
    {"_codecs.encode", make_bytes},
    {"builtins.bytes", make_bytes},
    {"__builtin__.bytes", make_bytes},
};

/* callable(*args): a container, or an object that stands for the call. */
bool pickle_push_call(pickle_machine *m, pickle_value *callable, pickle_value *args) {
    if (!callable || !args) return false;
    for (size_t i = 0; i < sizeof constructors / sizeof constructors[0]; i++)
        if (callable->kind == PICKLE_GLOBAL && args->kind == PICKLE_TUPLE &&
            strcmp(callable->text, constructors[i].name) == 0)
            return pickle_push(m, constructors[i].make(m, args));
    return pickle_push(m, pickle_new_items(m, PICKLE_OBJECT, (pickle_value *[]){callable, args}, 2));
}

pickle_value *pickle_new_global(pickle_machine *m, const char *module, size_t module_length, const char *name,
                                size_t name_length) {
    char *text;
    if (module_length + name_length > MAX_GLOBAL) {
        pickle_trouble(m, "names a class longer than 512 bytes");
        return NULL;
    }
    if (module_length == 0 || name_length == 0 || memchr(module, '\0', module_length) ||
        memchr(name, '\0', name_length)) {
        pickle_trouble(m, "names a class without a name");
        return NULL;
    }
    pickle_value *v = pickle_new_text(m, PICKLE_GLOBAL, module_length + 1 + name_length, &text);
    if (!v) return NULL;
    memcpy(text, module, module_length);
    text[module_length] = '.';
    memcpy(text + module_length + 1, name, name_length);
    if (pickle_name_is_attack(text)) {
        m->attack = text;
        pickle_trouble(m, "calls for code");
        return NULL;
    }
    return v;
}
