/* to_khr.c - part of the build: SPIR-V with SPV_NV_cooperative_matrix in, the same with
 * SPV_KHR_cooperative_matrix out.
 *
 *   to_khr IN.spv OUT.spv
 *
 * Compilers learned the second dialect, which all makers' drivers understand, years after the first; so that
 * no machine depends on the compiler's age the shaders are written in the first and translated here,
 * instruction by instruction. What the first does not say is whether a matrix is a left factor, a right
 * factor or a sum: shaders mark their types by the specialisation constants 100 (left factors' columns) and
 * 101 (right factors' rows). (SPIR-V registry: both extensions.) */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OP_EXTENSION = 10,
    OP_CAPABILITY = 17,
    OP_TYPE_INT = 21,
    OP_CONSTANT_TRUE = 41,
    OP_CONSTANT = 43,
    OP_SPEC_CONSTANT_OP = 52,
    OP_DECORATE = 71,
    OP_TYPE_NV = 5358,
    OP_LOAD_NV = 5359,
    OP_STORE_NV = 5360,
    OP_MULTIPLY_ADD_NV = 5361,
    OP_LENGTH_NV = 5362,
    OP_TYPE_KHR = 4456,
    OP_LOAD_KHR = 4457,
    OP_STORE_KHR = 4458,
    OP_MULTIPLY_ADD_KHR = 4459,
    CAPABILITY_NV = 5357,
    CAPABILITY_KHR = 6022,
    DECORATION_SPEC_ID = 1,
    LEFT_COLUMNS = 100,
    RIGHT_ROWS = 101,
    HEADER = 5,
    MOST_OPERANDS = 64
};

static const char extension_nv[] = "SPV_NV_cooperative_matrix",
                  extension_khr[] = "SPV_KHR_cooperative_matrix";

typedef struct module {
    uint32_t *word; /* as read */
    size_t words;
    uint32_t *out;
    size_t count;
    uint32_t uint_type, number[3]; /* ids: of uint, and of its 0, 1, 2, made when first needed */
    uint32_t left, right;          /* ids of the marks */
    unsigned char *is_true;        /* [ids] */
} module;

static void emit(module *m, uint32_t op, uint32_t n, const uint32_t *operand) {
    m->out[m->count++] = (n + 1) << 16 | op;
    memcpy(m->out + m->count, operand, n * sizeof *operand);
    m->count += n;
}

static void emit_numbers(module *m) {
    for (uint32_t i = 0; i < 3 && !m->number[2]; i++) {
        m->number[i] = m->out[3]++; /* the bound of ids */
        emit(m, OP_CONSTANT, 3, (uint32_t[]){m->uint_type, m->number[i], i});
    }
}

/* What must be known before anything is written. */
static void survey(module *m) {
    for (size_t i = HEADER; i < m->words; i += m->word[i] >> 16) {
        const uint32_t op = m->word[i] & 0xffff, *a = m->word + i + 1;
        if (op == OP_TYPE_INT && a[1] == 32 && a[2] == 0) m->uint_type = a[0];
        if (op == OP_CONSTANT_TRUE) m->is_true[a[1]] = 1;
        if (op != OP_DECORATE || a[1] != DECORATION_SPEC_ID) continue;
        if (a[2] == LEFT_COLUMNS) m->left = a[0];
        if (a[2] == RIGHT_ROWS) m->right = a[0];
    }
}

static void translate_type(module *m, const uint32_t *a) {
    emit_numbers(m);
    const int use = a[4] == m->left && m->left ? 0 : a[3] == m->right && m->right ? 1 : 2;
    emit(m, OP_TYPE_KHR, 6, (uint32_t[]){a[0], a[1], a[2], a[3], a[4], m->number[use]});
}

/* ... pointer, stride, column major, memory access  ->  ... pointer, layout, stride, memory access */
static void translate_access(module *m, uint32_t op, uint32_t n, const uint32_t *a, uint32_t stride) {
    uint32_t b[MOST_OPERANDS];
    memcpy(b, a, n * sizeof *b);
    b[stride] = m->number[m->is_true[a[stride + 1]]];
    b[stride + 1] = a[stride];
    emit(m, op, n, b);
}

static void translate(module *m) {
    for (size_t i = HEADER; i < m->words; i += m->word[i] >> 16) {
        const uint32_t op = m->word[i] & 0xffff, n = (m->word[i] >> 16) - 1, *a = m->word + i + 1;
        uint32_t text[(sizeof extension_khr + 3) / 4] = {0};
        memcpy(text, extension_khr, sizeof extension_khr);
        if (op == OP_CAPABILITY && a[0] == CAPABILITY_NV)
            emit(m, op, 1, (uint32_t[]){CAPABILITY_KHR});
        else if (op == OP_EXTENSION && !strcmp((const char *)a, extension_nv))
            emit(m, op, sizeof text / sizeof *text, text);
        else if (op == OP_TYPE_NV)
            translate_type(m, a);
        else if (op == OP_LOAD_NV)
            translate_access(m, OP_LOAD_KHR, n, a, 3);
        else if (op == OP_STORE_NV)
            translate_access(m, OP_STORE_KHR, n, a, 2);
        else
            emit(m, op == OP_MULTIPLY_ADD_NV ? OP_MULTIPLY_ADD_KHR : op, n, a);
    }
}

/* The number of a matrix's elements is not translated: compilers make a constant of it that drivers crash on in the second
 * dialect. */
static int asks_for_length(const module *m) {
    for (size_t i = HEADER; i < m->words; i += m->word[i] >> 16) {
        const uint32_t op = m->word[i] & 0xffff, *a = m->word + i + 1;
        if (op == OP_LENGTH_NV || (op == OP_SPEC_CONSTANT_OP && m->word[i] >> 16 > 3 && a[2] == OP_LENGTH_NV))
            return 1;
    }
    return 0;
}

static int whole(const module *m) {
    if (m->words < HEADER || m->word[0] != 0x07230203) return 0;
    size_t i = HEADER;
    while (i < m->words && m->word[i] >> 16 && m->word[i] >> 16 <= m->words - i) {
        const uint32_t op = m->word[i] & 0xffff, n = (m->word[i] >> 16) - 1;
        if ((op == OP_LOAD_NV || op == OP_STORE_NV) && (n < 4 || n > MOST_OPERANDS)) return 0;
        i += n + 1;
    }
    return i == m->words;
}

static int fail(const char *what) {
    fprintf(stderr, "to_khr: %s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    module m = {0};
    if (argc != 3) return fail("usage: to_khr IN.spv OUT.spv");
    FILE *f = fopen(argv[1], "rb");
    if (!f || fseek(f, 0, SEEK_END)) return fail(argv[1]);
    const long bytes = ftell(f);
    rewind(f);
    if (bytes < 4 * HEADER || bytes % 4) return fail("this is no SPIR-V");
    m.words = (size_t)bytes / 4;
    m.word = malloc((size_t)bytes);
    m.out = malloc(2 * (size_t)bytes + 4096);
    if (!m.word || !m.out || fread(m.word, 4, m.words, f) != m.words || !whole(&m))
        return fail("this is no SPIR-V");
    fclose(f);
    if (asks_for_length(&m))
        return fail("a shader asks for a matrix's length(): loop over matrix_each instead");
    m.is_true = calloc(m.word[3] + 1, 1);
    if (!m.is_true) return fail("out of memory");
    memcpy(m.out, m.word, HEADER * sizeof *m.out);
    m.count = HEADER;
    survey(&m);
    translate(&m);
    f = fopen(argv[2], "wb");
    if (!f || fwrite(m.out, 4, m.count, f) != m.count || fclose(f)) return fail(argv[2]);
    free(m.word);
    free(m.out);
    free(m.is_true);
    return 0;
}
