/* pickle.c - the opcodes of pickle.h's stack machine.
 *
 * Invariant: an opcode reads only bytes before `end` and pops only what is there above the last mark. Every
 * opcode is one row of `opcodes`: what it does, and how wide a number follows it. */
#include "pickle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pickle_machine.h"
#include "pickle_names.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pickles are little-endian, and read by memcpy");

/* ---- arguments in the stream --------------------------------------------------------------------------- */

static const char *take_bytes(pickle_machine *m, uint64_t n) {
    if (n > (uint64_t)(m->end - m->at)) {
        pickle_trouble(m, pickle_ends_early);
        return NULL;
    }
    const char *bytes = (const char *)m->at;
    m->at += n;
    return bytes;
}

/* The text up to the end of the line, and its length. */
static const char *take_line(pickle_machine *m, size_t *n) {
    const unsigned char *end = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (!end) {
        pickle_trouble(m, pickle_ends_early);
        return NULL;
    }
    *n = (size_t)(end - m->at);
    const char *line = take_bytes(m, *n + 1);
    if (*n && line[*n - 1] == '\r') --*n;
    return line;
}

/* A decimal number's line into text [size], NUL-terminated. Longer ones are cut: they overflow anyway. */
static bool take_number(pickle_machine *m, char *text, size_t size) {
    size_t n;
    const char *line = take_line(m, &n);
    if (!line) return false;
    if (n == 0) return pickle_trouble(m, "has an empty number");
    n = n < size ? n : size - 1;
    memcpy(text, line, n);
    text[n] = '\0';
    return true;
}

/* ---- opcodes: plain values ----------------------------------------------------------------------------- */

static bool push_integer(pickle_machine *m, pickle_kind kind, int64_t x) {
    pickle_value *v = pickle_new_value(m, kind);
    if (v) v->integer = x;
    return pickle_push(m, v);
}

static bool push_float(pickle_machine *m, double x) {
    pickle_value *v = pickle_new_value(m, PICKLE_FLOAT);
    if (v) v->real = x;
    return pickle_push(m, v);
}

static bool op_none(pickle_machine *m, uint64_t arg) {
    (void)arg;
    return pickle_push(m, pickle_new_value(m, PICKLE_NONE));
}
static bool op_bool(pickle_machine *m, uint64_t arg) {
    return push_integer(m, PICKLE_BOOL, (int64_t)arg);
}
static bool op_unsigned(pickle_machine *m, uint64_t arg) {
    return push_integer(m, PICKLE_INT, (int64_t)arg);
}
static bool op_int32(pickle_machine *m, uint64_t arg) {
    return push_integer(m, PICKLE_INT, (int32_t)(uint32_t)arg);
}

static bool op_big_endian_double(pickle_machine *m, uint64_t arg) {
    double x;
    arg = __builtin_bswap64(arg);
    memcpy(&x, &arg, sizeof x);
    return push_float(m, x);
}

/* Two's complement of arg bytes. */
static bool op_long(pickle_machine *m, uint64_t arg) {
    const char *bytes = take_bytes(m, arg);
    if (!bytes) return false;
    if (arg > 8) return push_integer(m, PICKLE_BIG, 0);
    uint64_t x = arg && (bytes[arg - 1] & 0x80) ? UINT64_MAX : 0;
    memcpy(&x, bytes, arg);
    return push_integer(m, PICKLE_INT, (int64_t)x);
}

/* "12", "-3L"; "00" and "01" are False and True. */
static bool op_int_line(pickle_machine *m, uint64_t arg) {
    char text[32], *end;
    (void)arg;
    if (!take_number(m, text, sizeof text)) return false;
    if (strcmp(text, "00") == 0 || strcmp(text, "01") == 0)
        return push_integer(m, PICKLE_BOOL, text[1] - '0');
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (errno == ERANGE) return push_integer(m, PICKLE_BIG, 0);
    if (end == text || (*end != '\0' && strcmp(end, "L") != 0))
        return pickle_trouble(m, "has a number that is none");
    return push_integer(m, PICKLE_INT, x);
}

static bool op_float_line(pickle_machine *m, uint64_t arg) {
    char text[64], *end;
    (void)arg;
    if (!take_number(m, text, sizeof text)) return false;
    double x = strtod(text, &end);
    return *end == '\0' ? push_float(m, x) : pickle_trouble(m, "has a number that is none");
}

static bool push_text(pickle_machine *m, pickle_kind kind, uint64_t n) {
    char *text = NULL;
    const char *bytes = take_bytes(m, n);
    pickle_value *v = bytes ? pickle_new_text(m, kind, (size_t)n, &text) : NULL;
    if (v) memcpy(text, bytes, (size_t)n);
    return pickle_push(m, v);
}
static bool op_text(pickle_machine *m, uint64_t arg) {
    return push_text(m, PICKLE_STRING, arg);
}
static bool op_bytes(pickle_machine *m, uint64_t arg) {
    return push_text(m, PICKLE_BYTES, arg);
}

/* STRING: a Python 2 literal in quotes (arg 0); UNICODE: raw-unicode-escape (arg 1). */
static bool op_escaped_line(pickle_machine *m, uint64_t arg) {
    size_t n;
    char *text;
    const char *line = take_line(m, &n);
    if (!line) return false;
    bool quoted = n >= 2 && (line[0] == '\'' || line[0] == '"') && line[n - 1] == line[0];
    if (arg == 0 && !quoted) return pickle_trouble(m, "has a string without quotes");
    if (arg == 0) line++, n -= 2;
    pickle_value *v =
        pickle_new_text(m, PICKLE_STRING, 2 * n, &text); /* a raw byte may become two of UTF-8 */
    if (!v) return false;
    size_t length = pickle_unescape(text, line, n, arg != 0);
    if (length == SIZE_MAX) return pickle_trouble(m, "has a string with a broken escape");
    text[length] = '\0';
    v->count = (uint32_t)length;
    return pickle_push(m, v);
}

/* ---- opcodes: containers ------------------------------------------------------------------------------- */

static bool op_empty(pickle_machine *m, uint64_t arg) {
    return pickle_push(m, pickle_new_value(m, (pickle_kind)arg));
}

/* A tuple of the last arg values. */
static bool op_tuple_of(pickle_machine *m, uint64_t arg) {
    for (size_t i = 0; i < arg; i++)
        if (m->depth <= i || !m->stack[m->depth - 1 - i])
            return pickle_trouble(m, "takes a value from an empty stack");
    m->depth -= arg;
    return pickle_push(m, pickle_new_items(m, PICKLE_TUPLE, m->stack + m->depth, arg));
}

/* The values above the mark as a new tuple, list or dict. */
static bool op_from_mark(pickle_machine *m, uint64_t arg) {
    pickle_value **item;
    size_t n;
    if (!pickle_pop_mark(m, &item, &n)) return false;
    if (arg == PICKLE_DICT && n % 2) return pickle_trouble(m, "has a key without a value");
    return pickle_push(m, pickle_new_items(m, (pickle_kind)arg, item, n));
}

/* Adds n items to the container on the stack. Objects take them too, and forget them: they are never built.
 */
static bool add(pickle_machine *m, pickle_kind kind, pickle_value *const *item, size_t n) {
    pickle_value *to = pickle_top(m);
    if (!to) return false;
    if (to->kind == PICKLE_OBJECT) return true;
    if (to->kind != kind) return pickle_trouble(m, "adds to something that is no list or dictionary");
    if (kind == PICKLE_DICT && n % 2) return pickle_trouble(m, "has a key without a value");
    return pickle_extend(m, to, item, n);
}

static bool op_append(pickle_machine *m, uint64_t arg) {
    (void)arg;
    pickle_value *v = pickle_pop(m);
    return v && add(m, PICKLE_LIST, &v, 1);
}

static bool op_set_item(pickle_machine *m, uint64_t arg) {
    (void)arg;
    pickle_value *value = pickle_pop(m), *key = value ? pickle_pop(m) : NULL;
    return key && add(m, PICKLE_DICT, (pickle_value *[]){key, value}, 2);
}

static bool op_add_marked(pickle_machine *m, uint64_t arg) {
    pickle_value **item;
    size_t n;
    return pickle_pop_mark(m, &item, &n) && add(m, (pickle_kind)arg, item, n);
}

/* ---- opcodes: names and calls -------------------------------------------------------------------------- */

static pickle_value *take_global(pickle_machine *m) {
    size_t module_length, name_length;
    const char *module = take_line(m, &module_length), *name = module ? take_line(m, &name_length) : NULL;
    return name ? pickle_new_global(m, module, module_length, name, name_length) : NULL;
}

static bool op_global(pickle_machine *m, uint64_t arg) {
    (void)arg;
    return pickle_push(m, take_global(m));
}

static bool op_stack_global(pickle_machine *m, uint64_t arg) {
    (void)arg;
    pickle_value *name = pickle_pop(m), *module = name ? pickle_pop(m) : NULL;
    if (!module) return false;
    if (name->kind != PICKLE_STRING || module->kind != PICKLE_STRING)
        return pickle_trouble(m, "names a class without a name");
    return pickle_push(m, pickle_new_global(m, module->text, module->count, name->text, name->count));
}

/* REDUCE, NEWOBJ: a callable and its arguments; NEWOBJ_EX: keyword arguments after them (arg 1). */
static bool op_call(pickle_machine *m, uint64_t arg) {
    if (arg && !pickle_pop(m)) return false;
    pickle_value *args = pickle_pop(m), *callable = args ? pickle_pop(m) : NULL;
    return callable && pickle_push_call(m, callable, args);
}

/* INST: the class is in the stream; OBJ: the first value above the mark. */
static bool op_inst(pickle_machine *m, uint64_t arg) {
    (void)arg;
    pickle_value *callable = take_global(m), **item;
    size_t n;
    return callable && pickle_pop_mark(m, &item, &n) &&
           pickle_push_call(m, callable, pickle_new_items(m, PICKLE_TUPLE, item, n));
}

static bool op_obj(pickle_machine *m, uint64_t arg) {
    pickle_value **item;
    size_t n;
    (void)arg;
    if (!pickle_pop_mark(m, &item, &n)) return false;
    return n ? pickle_push_call(m, item[0], pickle_new_items(m, PICKLE_TUPLE, item + 1, n - 1))
             : pickle_trouble(m, "makes an object without a class");
}

/* The state goes: only classes would know what to do with it, and containers' attributes are of no use here.
 */
static bool op_build(pickle_machine *m, uint64_t arg) {
    (void)arg;
    return pickle_pop(m) && pickle_top(m);
}

static bool push_persistent(pickle_machine *m, pickle_value *id) {
    pickle_value *v = id ? pickle_new_items(m, PICKLE_PERSISTENT, &id, 1) : NULL;
    return v && pickle_extend(m, m->p->persistents, &v, 1) && pickle_push(m, v);
}

static bool op_persistent_line(pickle_machine *m, uint64_t arg) {
    size_t n;
    char *text;
    (void)arg;
    const char *line = take_line(m, &n);
    pickle_value *id = line ? pickle_new_text(m, PICKLE_STRING, n, &text) : NULL;
    if (id) memcpy(text, line, n);
    return push_persistent(m, id);
}

static bool op_persistent(pickle_machine *m, uint64_t arg) {
    (void)arg;
    return push_persistent(m, pickle_pop(m));
}

/* ---- opcodes: the machine ------------------------------------------------------------------------------ */

static bool op_mark(pickle_machine *m, uint64_t arg) {
    (void)arg;
    return pickle_push_mark(m);
}
static bool op_pop(pickle_machine *m, uint64_t arg) {
    (void)arg;
    if (m->depth == 0) return pickle_trouble(m, "takes a value from an empty stack");
    m->depth--; /* a mark, too */
    return true;
}
static bool op_pop_mark(pickle_machine *m, uint64_t arg) {
    pickle_value **item;
    size_t n;
    (void)arg;
    return pickle_pop_mark(m, &item, &n);
}
static bool op_dup(pickle_machine *m, uint64_t arg) {
    (void)arg;
    return pickle_push(m, pickle_top(m));
}
static bool op_put(pickle_machine *m, uint64_t arg) {
    return pickle_memo_set(m, arg);
}
static bool op_memoize(pickle_machine *m, uint64_t arg) {
    (void)arg;
    return pickle_memo_set(m, m->memo_count);
}
static bool op_get(pickle_machine *m, uint64_t arg) {
    return pickle_memo_get(m, arg);
}

/* PUT (arg 0) and GET (arg 1) of protocol 0: the index is a line. */
static bool op_memo_line(pickle_machine *m, uint64_t arg) {
    char text[32], *end;
    if (!take_number(m, text, sizeof text)) return false;
    unsigned long long i = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0') return pickle_trouble(m, "has a number that is none");
    return arg ? pickle_memo_get(m, i) : pickle_memo_set(m, i);
}

static bool op_protocol(pickle_machine *m, uint64_t arg) {
    return arg <= 5 || pickle_trouble(m, "is of a newer protocol than 5");
}
static bool op_frame(pickle_machine *m, uint64_t arg) {
    return arg <= (uint64_t)(m->end - m->at) || pickle_trouble(m, pickle_ends_early);
}
static bool op_stop(pickle_machine *m, uint64_t arg) {
    (void)arg;
    if (m->depth != 1 || !m->stack[0]) return pickle_trouble(m, "does not end with one value");
    m->p->root = m->stack[0];
    m->done = true;
    return true;
}
static bool op_outside(pickle_machine *m, uint64_t arg) {
    (void)arg;
    return pickle_trouble(m, "refers to data outside the file");
}

/* The opcode's argument: `width` little-endian bytes from the stream, or where width is 0 the number `fixed`.
 */
static const struct opcode {
    bool (*run)(pickle_machine *m, uint64_t arg);
    uint8_t width, fixed;
} opcodes[256] = {
    ['('] = {op_mark, 0, 0},
    ['.'] = {op_stop, 0, 0},
    ['0'] = {op_pop, 0, 0},
    ['1'] = {op_pop_mark, 0, 0},
    ['2'] = {op_dup, 0, 0},
    ['F'] = {op_float_line, 0, 0},
    ['G'] = {op_big_endian_double, 8, 0},
    ['I'] = {op_int_line, 0, 0},
    ['J'] = {op_int32, 4, 0},
    ['K'] = {op_unsigned, 1, 0},
    ['L'] = {op_int_line, 0, 0},
    ['M'] = {op_unsigned, 2, 0},
    [0x8a] = {op_long, 1, 0},
    [0x8b] = {op_long, 4, 0},
    ['N'] = {op_none, 0, 0},
    [0x88] = {op_bool, 0, 1},
    [0x89] = {op_bool, 0, 0},
    ['S'] = {op_escaped_line, 0, 0},
    ['V'] = {op_escaped_line, 0, 1},
    ['T'] = {op_text, 4, 0},
    ['U'] = {op_text, 1, 0},
    ['X'] = {op_text, 4, 0},
    [0x8c] = {op_text, 1, 0},
    [0x8d] = {op_text, 8, 0},
    ['B'] = {op_bytes, 4, 0},
    ['C'] = {op_bytes, 1, 0},
    [0x8e] = {op_bytes, 8, 0},
    [0x96] = {op_bytes, 8, 0},
    [')'] = {op_empty, 0, PICKLE_TUPLE},
    [0x85] = {op_tuple_of, 0, 1},
    [0x86] = {op_tuple_of, 0, 2},
    [0x87] = {op_tuple_of, 0, 3},
    ['t'] = {op_from_mark, 0, PICKLE_TUPLE},
    ['l'] = {op_from_mark, 0, PICKLE_LIST},
    ['d'] = {op_from_mark, 0, PICKLE_DICT},
    [0x91] = {op_from_mark, 0, PICKLE_LIST},
    [']'] = {op_empty, 0, PICKLE_LIST},
    ['}'] = {op_empty, 0, PICKLE_DICT},
    [0x8f] = {op_empty, 0, PICKLE_LIST},
    ['a'] = {op_append, 0, 0},
    ['s'] = {op_set_item, 0, 0},
    ['e'] = {op_add_marked, 0, PICKLE_LIST},
    [0x90] = {op_add_marked, 0, PICKLE_LIST},
    ['u'] = {op_add_marked, 0, PICKLE_DICT},
    ['c'] = {op_global, 0, 0},
    [0x93] = {op_stack_global, 0, 0},
    ['R'] = {op_call, 0, 0},
    [0x81] = {op_call, 0, 0},
    [0x92] = {op_call, 0, 1},
    ['i'] = {op_inst, 0, 0},
    ['o'] = {op_obj, 0, 0},
    ['b'] = {op_build, 0, 0},
    ['P'] = {op_persistent_line, 0, 0},
    ['Q'] = {op_persistent, 0, 0},
    ['p'] = {op_memo_line, 0, 0},
    ['g'] = {op_memo_line, 0, 1},
    ['q'] = {op_put, 1, 0},
    ['r'] = {op_put, 4, 0},
    [0x94] = {op_memoize, 0, 0},
    ['h'] = {op_get, 1, 0},
    ['j'] = {op_get, 4, 0},
    [0x80] = {op_protocol, 1, 0},
    [0x95] = {op_frame, 8, 0},
    [0x82] = {op_outside, 1,
              0}, /* EXT1, EXT2, EXT4: a registry in the process; NEXT_BUFFER, READONLY_BUFFER */
    [0x83] = {op_outside, 2, 0},
    [0x84] = {op_outside, 4, 0},
    [0x97] = {op_outside, 0, 0},
    [0x98] = {op_outside, 0, 0},
};

/* One instruction; false after trouble. */
static bool step(pickle_machine *m) {
    const char *code = take_bytes(m, 1);
    if (!code) return false;
    const struct opcode *op = &opcodes[(unsigned char)*code];
    if (!op->run) return pickle_trouble(m, "holds a byte that is no instruction");
    uint64_t arg = op->fixed;
    const char *bytes = op->width ? take_bytes(m, op->width) : NULL;
    if (op->width && !bytes) return false;
    if (bytes) memcpy(&arg, bytes, op->width); /* fixed is 0 where a width is given */
    return op->run(m, arg);
}

static nn_code report(const pickle_machine *m, size_t at, const char *path, nn_error *e) {
    if (m->problem == pickle_no_memory) return nn_fail_memory(e, path);
    if (m->attack)
        return nn_fail(
            e, NN_ERROR_FORMAT,
            "%s wants to run code on the computer that opens it: its pickle calls for %.100s. Nothing was "
            "run; do not use this file, get the model from somewhere else",
            path, m->attack);
    return nn_fail(e, NN_ERROR_FORMAT, "%s: its pickle %s (byte %zu); get the file again", path, m->problem,
                   at);
}

nn_code pickle_read(pickle **out, const void *bytes, size_t size, size_t *used, const char *path,
                    nn_error *e) {
    const unsigned char *first = bytes;
    *out = NULL;
    pickle_machine m = {.p = calloc(1, sizeof *m.p), .at = first};
    if (!m.p) return nn_fail_memory(e, path);
    m.end = first + (size < PICKLE_MAX_BYTES ? size : PICKLE_MAX_BYTES);
    m.p->persistents = pickle_new_value(&m, PICKLE_LIST);
    while (!m.done && !m.problem) step(&m);
    if (m.problem == pickle_ends_early && size > PICKLE_MAX_BYTES)
        m.problem = "is longer than 16 MB, which no model needs";
    nn_code code = m.done ? NN_OK : report(&m, (size_t)(m.at - first), path, e);
    free(m.stack);
    free(m.memo);
    if (code) {
        pickle_free(m.p);
        return code;
    }
    *used = (size_t)(m.at - first);
    *out = m.p;
    return NN_OK;
}

const pickle_value *pickle_root(const pickle *p) {
    return p->root;
}
const pickle_value *pickle_persistents(const pickle *p) {
    return p->persistents;
}

bool pickle_is_text(const pickle_value *v, const char *text) {
    return v && (v->kind == PICKLE_STRING || v->kind == PICKLE_GLOBAL) && v->count == strlen(text) &&
           memcmp(v->text, text, v->count) == 0;
}

const pickle_value *pickle_find(const pickle_value *dict, const char *key) {
    if (!dict || dict->kind != PICKLE_DICT) return NULL;
    for (uint32_t i = dict->count; i > 0; i -= 2)
        if (dict->item[i - 2]->kind == PICKLE_STRING && pickle_is_text(dict->item[i - 2], key))
            return dict->item[i - 1];
    return NULL;
}
