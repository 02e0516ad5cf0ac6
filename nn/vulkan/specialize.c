/* specialize.c - see specialize.h.
 *
 * Three passes over the instructions (SPIR-V specification, sections 2 and 3.3):
 *
 *   values   which integers and booleans are known, and so which branches are taken: sparse conditional constant propagation
 *            (Wegman & Zadeck 1991). It begins with nothing known to run but each function's first block
 *   writing  known constants as such, known branches as jumps, blocks that run, merge blocks that are named
 *   sweeping results that nobody reads, variables that are only written
 *
 * Invariant: a value that is still UNKNOWN belongs to code that has not been found to run. Values only ever go from UNKNOWN to
 * KNOWN to VARYING, so that the passes end. Uses are counted without knowing which words of an instruction are ids: a number
 * that looks like one keeps what could go, and no more. */
#include "specialize.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
enum {
    OP_NAME = 5, OP_MEMBER_NAME = 6, OP_EXT_INST = 12, OP_TYPE_BOOL = 20, OP_TYPE_INT = 21,
    OP_CONSTANT_TRUE = 41, OP_CONSTANT_FALSE = 42, OP_CONSTANT = 43, OP_CONSTANT_COMPOSITE = 44, OP_SPEC_TRUE = 48,
    OP_SPEC_FALSE = 49, OP_SPEC = 50, OP_SPEC_COMPOSITE = 51, OP_SPEC_OP = 52, OP_FUNCTION = 54, OP_FUNCTION_END = 56,
    OP_VARIABLE = 59, OP_LOAD = 61, OP_STORE = 62, OP_ACCESS_CHAIN = 65, OP_DECORATE = 71, OP_MEMBER_DECORATE = 72,
    OP_SHUFFLE = 79, OP_INSERT = 82, OP_FIRST_ARITHMETIC = 109,
    OP_LAST_ARITHMETIC = 200, OP_PHI = 245, OP_LOOP_MERGE = 246, OP_SELECTION_MERGE = 247, OP_LABEL = 248, OP_BRANCH = 249,
    OP_BRANCH_CONDITIONAL = 250, OP_SWITCH = 251, OP_UNREACHABLE = 255, OP_CONTROL_BARRIER = 224,
    OP_MEMORY_BARRIER = 225, OP_ATOMIC_STORE = 228, OP_MATRIX_STORE = 4458, OP_MATRIX_STORE_NV = 5360,
    IADD = 128, ISUB = 130, IMUL = 132, UDIV = 134, UMOD = 137, LOGICAL_OR = 166, LOGICAL_AND = 167, LOGICAL_NOT = 168,
    SELECT = 169, IEQUAL = 170, INOT_EQUAL = 171, UGREATER = 172, SGREATER = 173, UGREATER_EQUAL = 174,
    SGREATER_EQUAL = 175, ULESS = 176, SLESS = 177, ULESS_EQUAL = 178, SLESS_EQUAL = 179, SHIFT_RIGHT = 194,
    SHIFT_LEFT = 196, BIT_OR = 197, BIT_XOR = 198, BIT_AND = 199,
    DECORATION_SPEC_ID = 1, DECORATION_BUILT_IN = 11, HEADER = 5, MOST_ID = 1 << 20
};
/* clang-format on */

enum { UNKNOWN, KNOWN, VARYING };
static const uint32_t GONE = UINT32_MAX;

typedef struct value {
    uint8_t state;
    uint32_t bits; /* booleans: 0 or 1 */
} value;

typedef struct block {
    size_t first, merge, last; /* instructions: behind the label; merge instruction or 0; terminator */
    uint32_t label;
    bool runs, named; /* named: by a merge instruction that stays */
} block;

typedef struct module {
    const uint32_t *code;
    size_t words;
    uint32_t bound;
    value *value;       /* [bound] */
    uint32_t *block_of; /* [bound]: of a label, number + 1 */
    uint32_t *spec;     /* [bound]: specialisation id + 1; GONE: of a result that is not written */
    uint8_t *kind;      /* [bound]: of a type: 1 boolean, 2 32-bit integer */
    block *block;
    uint32_t blocks;
    uint32_t *out;
    size_t count;
} module;

static uint32_t op_at(const module *m, size_t at) {
    return m->code[at] & 0xffff;
}
static uint32_t length_at(const module *m, size_t at) {
    return m->code[at] >> 16;
}

/* ---- values ---- */

/* clang-format off */
static bool is_folded(uint32_t op) {
    switch (op) {
    case IADD: case ISUB: case IMUL: case UDIV: case UMOD: case LOGICAL_OR: case LOGICAL_AND: case LOGICAL_NOT:
    case SELECT: case IEQUAL: case INOT_EQUAL: case UGREATER: case SGREATER: case UGREATER_EQUAL: case SGREATER_EQUAL:
    case ULESS: case SLESS: case ULESS_EQUAL: case SLESS_EQUAL: case SHIFT_RIGHT: case SHIFT_LEFT: case BIT_OR:
    case BIT_XOR: case BIT_AND: return true;
    default: return false;
    }
}
/* clang-format on */

/* Of two known values; false where the result is undefined. */
static bool compute(uint32_t op, uint32_t a, uint32_t b, uint32_t *r) {
    const int32_t sa = (int32_t)a, sb = (int32_t)b;
    switch (op) {
    case IADD: *r = a + b; return true;
    case ISUB: *r = a - b; return true;
    case IMUL: *r = a * b; return true;
    case UDIV:
        if (b) *r = a / b;
        return b != 0;
    case UMOD:
        if (b) *r = a % b;
        return b != 0;
    case SHIFT_RIGHT:
        if (b < 32) *r = a >> b;
        return b < 32;
    case SHIFT_LEFT:
        if (b < 32) *r = a << b;
        return b < 32;
    case BIT_OR:
    case LOGICAL_OR: *r = a | b; return true;
    case BIT_XOR: *r = a ^ b; return true;
    case BIT_AND:
    case LOGICAL_AND: *r = a & b; return true;
    case LOGICAL_NOT: *r = !a; return true;
    case IEQUAL: *r = a == b; return true;
    case INOT_EQUAL: *r = a != b; return true;
    case UGREATER: *r = a > b; return true;
    case SGREATER: *r = sa > sb; return true;
    case UGREATER_EQUAL: *r = a >= b; return true;
    case SGREATER_EQUAL: *r = sa >= sb; return true;
    case ULESS: *r = a < b; return true;
    case SLESS: *r = sa < sb; return true;
    case ULESS_EQUAL: *r = a <= b; return true;
    case SLESS_EQUAL: *r = sa <= sb; return true;
    default: return false;
    }
}

static const value varying = {VARYING, 0};

/* Result of `op` on operands [n], which are ids. */
static value fold(const module *m, uint32_t op, const uint32_t *operand, uint32_t n) {
    value v[3] = {{KNOWN, 0}, {KNOWN, 0}, {KNOWN, 0}};
    if (n < 1 || n > 3) return varying;
    for (uint32_t i = 0; i < n; i++) v[i] = m->value[operand[i]];
    if (op == SELECT) {
        if (n != 3 || v[0].state != KNOWN) return n == 3 && v[0].state == UNKNOWN ? v[0] : varying;
        return v[0].bits ? v[1] : v[2];
    }
    const bool logical = op == LOGICAL_OR || op == LOGICAL_AND;
    for (uint32_t i = 0; i < n && logical; i++) /* one may be enough */
        if (v[i].state == KNOWN && v[i].bits == (op == LOGICAL_OR)) return v[i];
    for (uint32_t i = 0; i < n; i++)
        if (v[i].state == VARYING) return varying;
    for (uint32_t i = 0; i < n; i++)
        if (v[i].state == UNKNOWN) return v[i];
    value r = {KNOWN, 0};
    return n == (op == LOGICAL_NOT ? 1u : 2u) && compute(op, v[0].bits, v[1].bits, &r.bits) ? r : varying;
}

/* Where the jump at the end of b goes to, as far as is known: the words that name targets are at[0], at[step], ... */
typedef struct targets {
    const uint32_t *at;
    uint32_t count, step;
} targets;

static targets targets_of(const module *m, const block *b) {
    const uint32_t *w = m->code + b->last, n = length_at(m, b->last), op = op_at(m, b->last);
    if (op == OP_BRANCH) return (targets){w + 1, 1, 1};
    if (op != OP_BRANCH_CONDITIONAL && op != OP_SWITCH) return (targets){w, 0, 1};
    const value v = m->value[w[1]];
    if (v.state == UNKNOWN) return (targets){w, 0, 1};
    if (op == OP_BRANCH_CONDITIONAL)
        return v.state == KNOWN ? (targets){w + (v.bits ? 2 : 3), 1, 1} : (targets){w + 2, 2, 1};
    if (v.state == VARYING) return (targets){w + 2, (n - 1) / 2, 2};
    for (uint32_t i = 3; i + 1 < n; i += 2)
        if (w[i] == v.bits) return (targets){w + i + 1, 1, 1};
    return (targets){w + 2, 1, 1};
}

/* Whether control may come to `label` from the block of `from`. */
static bool comes_from(const module *m, uint32_t from, uint32_t label) {
    const uint32_t number = m->block_of[from];
    if (!number || !m->block[number - 1].runs) return false;
    const targets t = targets_of(m, &m->block[number - 1]);
    for (uint32_t i = 0; i < t.count; i++)
        if (t.at[i * t.step] == label) return true;
    return false;
}

static value fold_phi(const module *m, size_t at, uint32_t label) {
    value r = {UNKNOWN, 0};
    for (uint32_t i = 3; i + 1 < length_at(m, at); i += 2) {
        const value v = m->value[m->code[at + i]];
        if (v.state == UNKNOWN || !comes_from(m, m->code[at + i + 1], label)) continue;
        if (v.state == VARYING || (r.state == KNOWN && r.bits != v.bits)) return varying;
        r = v;
    }
    return r;
}

/* A block's values and where it leads; true where something is new. */
static bool visit(module *m, block *b) {
    bool news = false;
    for (size_t at = b->first; at < b->last; at += length_at(m, at)) {
        const uint32_t op = op_at(m, at), *w = m->code + at;
        if (op != OP_PHI && !is_folded(op)) continue;
        value *v = &m->value[w[2]];
        if (v->state == VARYING) continue;
        const value now = op == OP_PHI ? fold_phi(m, at, b->label) : fold(m, op, w + 3, length_at(m, at) - 3);
        if (now.state <= v->state && now.bits == v->bits) continue;
        *v = v->state == KNOWN ? varying : now;
        news = true;
    }
    const targets t = targets_of(m, b);
    for (uint32_t i = 0; i < t.count; i++) {
        block *to = &m->block[m->block_of[t.at[i * t.step]] - 1];
        news |= !to->runs;
        to->runs = true;
    }
    return news;
}

/* ---- reading ---- */

static void read_constant(module *m, size_t at, const uint32_t *constant, uint32_t count) {
    const uint32_t *w = m->code + at, op = op_at(m, at), id = w[2], kind = m->kind[w[1]];
    value *v = &m->value[id];
    if (op == OP_SPEC_OP) {
        if (kind && is_folded(w[3])) *v = fold(m, w[3], w + 4, length_at(m, at) - 4);
        return;
    }
    *v = (value){KNOWN,
                 op == OP_CONSTANT || op == OP_SPEC ? w[3] : op == OP_CONSTANT_TRUE || op == OP_SPEC_TRUE};
    if ((op == OP_CONSTANT || op == OP_SPEC) && kind != 2) v->state = VARYING; /* of another width */
    const uint32_t spec = m->spec[id];
    if (spec && spec <= count) v->bits = kind == 1 ? constant[spec - 1] != 0 : constant[spec - 1];
}

static bool is_terminator(uint32_t op) {
    return op >= OP_BRANCH && op <= OP_UNREACHABLE;
}

static bool is_constant(uint32_t op) {
    return (op >= OP_CONSTANT_TRUE && op <= OP_CONSTANT) || (op >= OP_SPEC_TRUE && op <= OP_SPEC) ||
           op == OP_SPEC_OP;
}

/* Instructions of which nothing remains but their result, their second operand. */
static bool is_pure(uint32_t op) {
    return op == OP_VARIABLE || op == OP_LOAD || op == OP_ACCESS_CHAIN || op == OP_PHI || op == OP_EXT_INST ||
           (op >= OP_CONSTANT_TRUE && op <= OP_CONSTANT_COMPOSITE) || (op >= OP_SHUFFLE && op <= OP_INSERT) ||
           (op >= OP_FIRST_ARITHMETIC && op <= OP_LAST_ARITHMETIC);
}

static bool is_decoration(uint32_t op) {
    return op == OP_DECORATE || op == OP_MEMBER_DECORATE;
}

/* Words from .. to-1, or every other of them, are ids. */
static bool are_ids(const module *m, size_t at, uint32_t from, uint32_t to, uint32_t step) {
    for (uint32_t i = from; i < to; i += step)
        if (m->code[at + i] >= m->bound) return false;
    return true;
}

/* An instruction of the kinds that are looked into has the words that are looked at. */
static bool is_sound(const module *m, size_t at) {
    const uint32_t op = op_at(m, at), n = length_at(m, at);
    if (op == OP_LABEL || op == OP_BRANCH || op == OP_TYPE_BOOL) return n >= 2 && are_ids(m, at, 1, 2, 1);
    if (op == OP_SELECTION_MERGE || op == OP_TYPE_INT || is_decoration(op))
        return n >= 3 && are_ids(m, at, 1, 2, 1);
    if (op == OP_STORE) return n >= 3 && are_ids(m, at, 1, 3, 1);
    if (op == OP_LOOP_MERGE) return n >= 4 && are_ids(m, at, 1, 3, 1);
    if (op == OP_BRANCH_CONDITIONAL) return n >= 4 && are_ids(m, at, 1, 4, 1);
    if (op == OP_SWITCH) return n >= 3 && n % 2 && are_ids(m, at, 1, 2, 1) && are_ids(m, at, 2, n, 2);
    if (op == OP_PHI) return n >= 3 && n % 2 && are_ids(m, at, 1, n, 1);
    if (op == OP_SPEC_OP)
        return n >= 4 && are_ids(m, at, 1, 3, 1) && (!is_folded(m->code[at + 3]) || are_ids(m, at, 4, n, 1));
    if (is_folded(op)) return n >= 3 && are_ids(m, at, 1, n, 1);
    if (op == OP_CONSTANT || op == OP_SPEC || op == OP_VARIABLE) return n >= 4 && are_ids(m, at, 1, 3, 1);
    if (is_pure(op) || is_constant(op) || op == OP_SPEC_COMPOSITE) return n >= 3 && are_ids(m, at, 1, 3, 1);
    return true;
}

/* Counts the blocks; false where the code is not what it should be. */
static bool survey(module *m) {
    bool inside = false, open = false;
    for (size_t at = HEADER; at < m->words; at += length_at(m, at)) {
        const uint32_t op = op_at(m, at);
        if (length_at(m, at) < 1 || length_at(m, at) > m->words - at || !is_sound(m, at)) return false;
        if (op == OP_LABEL) {
            if (!inside || open || m->block_of[m->code[at + 1]]) return false;
            m->block_of[m->code[at + 1]] = ++m->blocks;
            open = true;
        } else if (is_terminator(op)) {
            if (!open) return false;
            open = false;
        } else if (op == OP_FUNCTION || op == OP_FUNCTION_END) {
            if (inside == (op == OP_FUNCTION) || open) return false;
            inside = op == OP_FUNCTION;
        } else if (inside && !open && (op == OP_PHI || is_folded(op))) {
            return false;
        }
    }
    return !inside && !open;
}

static bool is_label(const module *m, uint32_t id) {
    return m->block_of[id] != 0;
}

/* Every jump and merge names a block. */
static bool are_labels(const module *m, const block *b) {
    const uint32_t *w = m->code + b->last, n = length_at(m, b->last), op = op_at(m, b->last),
                   *merge = m->code + b->merge;
    bool all = true;
    if (op == OP_BRANCH) all = is_label(m, w[1]);
    if (op == OP_BRANCH_CONDITIONAL) all = is_label(m, w[2]) && is_label(m, w[3]);
    for (uint32_t i = 2; op == OP_SWITCH && i < n; i += 2) all = all && is_label(m, w[i]);
    if (b->merge)
        all = all && is_label(m, merge[1]) && (op_at(m, b->merge) != OP_LOOP_MERGE || is_label(m, merge[2]));
    return all;
}

/* Constants, types, and the blocks' extents. */
static bool read_module(module *m, const uint32_t *constant, uint32_t count) {
    block *b = NULL;
    uint32_t number = 0;
    bool first = false;
    for (size_t at = HEADER; at < m->words; at += length_at(m, at)) {
        const uint32_t op = op_at(m, at), *w = m->code + at;
        if (op == OP_DECORATE && w[2] == DECORATION_SPEC_ID && length_at(m, at) == 4)
            m->spec[w[1]] = w[3] + 1;
        if (op == OP_TYPE_BOOL) m->kind[w[1]] = 1;
        if (op == OP_TYPE_INT && w[2] == 32) m->kind[w[1]] = 2;
        if (is_constant(op)) read_constant(m, at, constant, count);
        if (op == OP_FUNCTION) first = true;
        if (op == OP_LABEL) {
            b = &m->block[number++];
            *b = (block){.first = at + 2, .label = w[1], .runs = first};
            first = false;
        } else if (op == OP_LOOP_MERGE || op == OP_SELECTION_MERGE) {
            b->merge = at;
        } else if (b && is_terminator(op)) {
            b->last = at;
            b = NULL;
        } else if (b && (op == OP_PHI || is_folded(op)) && m->kind[w[1]]) {
            m->value[w[2]].state = UNKNOWN;
        }
    }
    for (uint32_t i = 0; i < m->blocks; i++)
        if (!are_labels(m, &m->block[i])) return false;
    return true;
}

/* ---- writing ---- */

static void put(module *m, uint32_t op, uint32_t n, const uint32_t *operand) {
    m->out[m->count++] = (n + 1) << 16 | op;
    memcpy(m->out + m->count, operand, n * sizeof *operand);
    m->count += n;
}

static void copy(module *m, size_t at) {
    put(m, op_at(m, at), length_at(m, at) - 1, m->code + at + 1);
}

static void write_phi(module *m, size_t at, uint32_t label) {
    const size_t begin = m->count;
    const uint32_t n = length_at(m, at), *w = m->code + at;
    put(m, OP_PHI, 2, w + 1);
    for (uint32_t i = 3; i + 1 < n; i += 2)
        if (comes_from(m, w[i + 1], label)) {
            m->out[m->count++] = w[i];
            m->out[m->count++] = w[i + 1];
        }
    m->out[begin] = (uint32_t)(m->count - begin) << 16 | OP_PHI;
}

/* The jump at a block's end. A known switch stays one, without cases, for inner blocks may leave it by its merge block. */
static void write_end(module *m, block *b) {
    const uint32_t op = op_at(m, b->last), *w = m->code + b->last;
    const targets t = targets_of(m, b);
    const bool known =
        t.count == 1 && (op == OP_BRANCH_CONDITIONAL || op == OP_SWITCH) && m->value[w[1]].state == KNOWN;
    const bool loop = b->merge && op_at(m, b->merge) == OP_LOOP_MERGE;
    if (b->merge && (loop || !known || op == OP_SWITCH)) {
        copy(m, b->merge);
        m->block[m->block_of[m->code[b->merge + 1]] - 1].named = true;
        if (loop) m->block[m->block_of[m->code[b->merge + 2]] - 1].named = true;
    }
    if (known && op == OP_SWITCH && b->merge)
        put(m, OP_SWITCH, 2, (uint32_t[]){w[1], t.at[0]});
    else if (known)
        put(m, OP_BRANCH, 1, t.at);
    else
        copy(m, b->last);
}

static void write_block(module *m, block *b) {
    put(m, OP_LABEL, 1, &b->label);
    for (size_t at = b->first; at < b->last && at != b->merge; at += length_at(m, at)) {
        if (op_at(m, at) == OP_PHI)
            write_phi(m, at, b->label);
        else
            copy(m, at);
    }
    write_end(m, b);
}

static void write_constant(module *m, size_t at) {
    const uint32_t *w = m->code + at, op = op_at(m, at);
    const value v = m->value[w[2]];
    const bool spec = op == OP_SPEC || op == OP_SPEC_TRUE || op == OP_SPEC_FALSE || op == OP_SPEC_OP;
    if (!spec || v.state != KNOWN)
        copy(m, at);
    else if (m->kind[w[1]] == 1)
        put(m, v.bits ? OP_CONSTANT_TRUE : OP_CONSTANT_FALSE, 2, w + 1);
    else
        put(m, OP_CONSTANT, 3, (uint32_t[]){w[1], w[2], v.bits});
}

/* Of constants that are known all. */
static bool is_known_composite(const module *m, size_t at) {
    for (uint32_t i = 3; i < length_at(m, at); i++)
        if (m->code[at + i] >= m->bound || m->value[m->code[at + i]].state != KNOWN) return false;
    return true;
}

/* The results of a block that never runs. (What has none, but ids where others have theirs, is listed.) */
static void forget(module *m, const block *b) {
    for (size_t at = b->first; at < b->last; at += length_at(m, at)) {
        const uint32_t op = op_at(m, at), *w = m->code + at;
        if (op == OP_STORE || op == OP_MATRIX_STORE || op == OP_MATRIX_STORE_NV || op == OP_SELECTION_MERGE ||
            op == OP_LOOP_MERGE || op == OP_CONTROL_BARRIER || op == OP_MEMORY_BARRIER ||
            op == OP_ATOMIC_STORE)
            continue;
        if (length_at(m, at) > 2 && w[2] < m->bound) m->spec[w[2]] = GONE;
    }
}

/* All but what never runs; a loop whose way back never runs is not dealt with. Merge blocks that never run have a stub. */
static bool write_module(module *m) {
    uint32_t number = 0;
    memcpy(m->out, m->code, HEADER * sizeof *m->out);
    m->count = HEADER;
    for (size_t at = HEADER; at < m->words; at += length_at(m, at)) {
        const uint32_t op = op_at(m, at), *w = m->code + at;
        if (op == OP_LABEL) {
            block *b = &m->block[number++];
            if (b->runs) write_block(m, b);
            if (!b->runs) forget(m, b);
            if (!b->runs && b->named) {
                put(m, OP_LABEL, 1, &b->label);
                put(m, OP_UNREACHABLE, 0, &b->label);
            }
            at = b->last;
        } else if (is_constant(op)) {
            write_constant(m, at);
        } else if (op == OP_SPEC_COMPOSITE && is_known_composite(m, at)) {
            put(m, OP_CONSTANT_COMPOSITE, length_at(m, at) - 1, w + 1);
        } else if (op != OP_NAME && op != OP_MEMBER_NAME &&
                   (op != OP_DECORATE || w[2] != DECORATION_SPEC_ID)) {
            copy(m, at);
        }
    }
    for (uint32_t i = 0; i < m->blocks; i++) {
        const block *b = &m->block[i];
        if (b->runs && b->merge && op_at(m, b->merge) == OP_LOOP_MERGE &&
            !m->block[m->block_of[m->code[b->merge + 2]] - 1].runs)
            return false;
    }
    return true;
}

/* ---- sweeping ---- */

static void count_uses(uint32_t *uses, uint32_t bound, const uint32_t *w, uint32_t change) {
    const uint32_t op = w[0] & 0xffff, n = w[0] >> 16, result = is_pure(op) ? 2 : 0;
    for (uint32_t i = 1; i < n; i++)
        if (w[i] < bound && i != result) uses[w[i]] += change;
}

/* Backwards, for what is read is read behind where it is made. `start` [count] lists the instructions. */
static void sweep(module *m, const size_t *start, size_t count, uint32_t *uses, uint32_t *stores) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t *w = m->out + start[i], op = w[0] & 0xffff;
        if (!is_decoration(op)) count_uses(uses, m->bound, w, 1);
        if (op == OP_DECORATE && w[2] == DECORATION_BUILT_IN)
            uses[w[1]]++; /* the workgroup's size is a constant */
        if (op == OP_STORE) stores[w[1]]++;
    }
    for (size_t i = count; i-- > 0;) {
        uint32_t *w = m->out + start[i];
        const uint32_t op = w[0] & 0xffff;
        const bool store = op == OP_STORE && stores[w[1]] == uses[w[1]] && m->block_of[w[1]] == UINT32_MAX;
        if (!store && (!is_pure(op) || uses[w[2]])) continue;
        count_uses(uses, m->bound, w, UINT32_MAX); /* one less */
        if (store) stores[w[1]]--;
        if (!store) m->spec[w[2]] = GONE;
        w[0] &= 0xffff0000;
    }
}

/* Squeezes out what was swept, and what decorates it. */
static void squeeze(module *m) {
    size_t to = HEADER;
    for (size_t at = HEADER, n; at < m->count; at += n) {
        const uint32_t *w = m->out + at, op = w[0] & 0xffff;
        n = w[0] >> 16;
        if (!op || (is_decoration(op) && m->spec[w[1]] == GONE)) continue;
        memmove(m->out + to, w, n * sizeof *w);
        to += n;
    }
    m->count = to;
}

static bool tidy(module *m) {
    size_t *start = malloc(m->count * sizeof *start), count = 0;
    uint32_t *uses = calloc(m->bound, sizeof *uses), *stores = calloc(m->bound, sizeof *stores);
    const bool ok = start && uses && stores;
    for (size_t at = HEADER; at < m->count && ok; at += m->out[at] >> 16) {
        const uint32_t *w = m->out + at;
        start[count++] = at;
        if ((w[0] & 0xffff) == OP_VARIABLE && w[3] == 7)
            m->block_of[w[2]] = UINT32_MAX; /* of a function, nobody else's */
    }
    if (ok) {
        sweep(m, start, count, uses, stores);
        squeeze(m);
    }
    free(start);
    free(uses);
    free(stores);
    return ok;
}

/* ---- all of it ---- */

static bool specialize(module *m, const uint32_t *constant, uint32_t count) {
    for (uint32_t i = 0; i < m->bound; i++) m->value[i] = varying;
    if (!survey(m)) return false;
    m->block = calloc(m->blocks + 1, sizeof *m->block);
    m->out = malloc(m->words * sizeof *m->out);
    if (!m->block || !m->out || !read_module(m, constant, count)) return false;
    for (bool news = true; news;) {
        news = false;
        for (uint32_t i = 0; i < m->blocks; i++)
            if (m->block[i].runs) news |= visit(m, &m->block[i]);
    }
    return write_module(m) && tidy(m);
}

bool nn_vk_specialize(const uint32_t *code, size_t words, const uint32_t *constant, uint32_t count,
                      uint32_t **out, size_t *out_words) {
    *out = NULL;
    *out_words = 0;
    if (words < HEADER || code[3] > MOST_ID) return false;
    module m = {.code = code, .words = words, .bound = code[3]};
    m.value = calloc(m.bound + 1, sizeof *m.value);
    m.block_of = calloc(m.bound + 1, sizeof *m.block_of);
    m.spec = calloc(m.bound + 1, sizeof *m.spec);
    m.kind = calloc(m.bound + 1, sizeof *m.kind);
    const bool ok = m.value && m.block_of && m.spec && m.kind && specialize(&m, constant, count);
    free(m.value);
    free(m.block_of);
    free(m.spec);
    free(m.kind);
    free(m.block);
    if (ok) {
        *out = m.out;
        *out_words = m.count;
    } else {
        free(m.out);
    }
    return ok;
}
