/* test_vulkan_specialize.c - shaders with their constants put in (nn/vulkan/specialize.h), and float16 in bulk (half.h).
 *
 * That a specialised shader computes what it should is what the tests of the ops show, for they run no other. Here: what is
 * known is left out, what is not stays, and damaged code is refused. */
#include "check.h"

#include <stdbool.h>

#include "../nn/vulkan/device.h"
#include "../nn/vulkan/specialize.h"

enum {
    HEADER = 5,
    OP_NAME = 5,
    OP_DECORATE = 71,
    OP_STORE = 62,
    OP_BRANCH = 249,
    OP_BRANCH_CONDITIONAL = 250,
    SPEC_ID = 1
};

/* void main() { if (K == 7) slab = 1; else slab = 2; } with specialisation constant 3 as K, 5 where it is not given. */
/* clang-format off */
static const uint32_t either[] = {
    0x07230203, 0x00010300, 0, 32, 0,
    2u << 16 | 17, 1,                                  /* capability Shader */
    3u << 16 | 14, 0, 1,                               /* memory model */
    5u << 16 | 15, 5, 1, 0x6e69616d, 0,                /* entry point "main" */
    6u << 16 | 16, 1, 17, 1, 1, 1,                     /* local size */
    4u << 16 | 71, 10, 1, 3,                           /* K is constant 3 */
    2u << 16 | 19, 2, 3u << 16 | 33, 3, 2,             /* void, its function */
    4u << 16 | 21, 4, 32, 0, 2u << 16 | 20, 5,         /* uint, bool */
    4u << 16 | 32, 6, 6, 4, 4u << 16 | 59, 6, 7, 6,    /* a private uint */
    4u << 16 | 50, 4, 10, 5,                           /* K */
    4u << 16 | 43, 4, 11, 7, 4u << 16 | 43, 4, 12, 1, 4u << 16 | 43, 4, 13, 2,
    5u << 16 | 54, 2, 1, 0, 3, 2u << 16 | 248, 20,
    5u << 16 | 170, 5, 21, 10, 11,                     /* K == 7 */
    3u << 16 | 247, 24, 0, 4u << 16 | 250, 21, 22, 23,
    2u << 16 | 248, 22, 3u << 16 | 62, 7, 12, 2u << 16 | 249, 24,
    2u << 16 | 248, 23, 3u << 16 | 62, 7, 13, 2u << 16 | 249, 24,
    2u << 16 | 248, 24, 1u << 16 | 253, 1u << 16 | 56,
};
/* clang-format on */
enum { WORDS = sizeof either / sizeof *either };

/* How many instructions of that kind there are; *last is the last one's place. */
static int count_op(const uint32_t *code, size_t words, uint32_t op, size_t *last) {
    int n = 0;
    for (size_t at = HEADER; at < words; at += code[at] >> 16)
        if ((code[at] & 0xffff) == op) {
            n++;
            *last = at;
        }
    return n;
}

/* What main() stores where constant 3 is `k`, or is not given. */
static uint32_t stored(const uint32_t *k) {
    const uint32_t constant[4] = {0, 0, 0, k ? *k : 0};
    uint32_t *out;
    size_t words, at = 0;
    assert_true(nn_vk_specialize(either, WORDS, constant, k ? 4 : 3, &out, &words));
    assert_int_equal(count_op(out, words, OP_STORE, &at), 1);
    const uint32_t value = out[at + 2];
    assert_int_equal(count_op(out, words, OP_BRANCH_CONDITIONAL, &at), 0);
    assert_int_equal(count_op(out, words, OP_DECORATE, &at), 0);
    free(out);
    return value;
}

static void test_branch(void **state) {
    (void)state;
    assert_int_equal(stored(&(uint32_t){7}), 12);
    assert_int_equal(stored(&(uint32_t){8}), 13);
    assert_int_equal(stored(NULL), 13);
}

static void test_what_is_not_known_stays(void **state) {
    (void)state;
    uint32_t code[WORDS], *out;
    size_t words, at = 0;
    memcpy(code, either, sizeof code);
    for (size_t i = HEADER; i < WORDS; i += code[i] >> 16)
        if ((code[i] & 0xffff) == 50) { /* K from memory: a load in place of the comparison's operand */
            code[i] = 4u << 16 | 43;
            code[i + 1] = 5; /* of a type that is no integer */
        }
    assert_true(nn_vk_specialize(code, WORDS, NULL, 0, &out, &words));
    assert_int_equal(count_op(out, words, OP_BRANCH_CONDITIONAL, &at), 1);
    assert_int_equal(count_op(out, words, OP_STORE, &at), 2);
    free(out);
}

/* Cut anywhere, or with any word changed, it is refused or dealt with, within its memory. */
static void test_damaged_code(void **state) {
    (void)state;
    static const uint32_t wrong[] = {0, 1, 31, 32, 0xffff, 0x10000, 0xffffffff};
    uint32_t code[WORDS], *out;
    size_t words;
    int refused = 0;
    for (size_t n = 0; n < WORDS; n++) {
        uint32_t *part = malloc((n + 1) * sizeof *part); /* of its own, so that the sanitizer sees its end */
        assert_non_null(part);
        memcpy(part, either, n * sizeof *part);
        refused += !nn_vk_specialize(part, n, NULL, 0, &out, &words);
        free(out);
        free(part);
    }
    assert_in_range(refused, 20, WORDS);
    refused = 0;
    for (size_t i = 3; i < WORDS; i++)
        for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
            memcpy(code, either, sizeof code);
            code[i] = wrong[k];
            refused += !nn_vk_specialize(code, WORDS, NULL, 0, &out, &words);
            free(out);
        }
    assert_in_range(refused, 100, 7 * WORDS);
}

/* What is left is what SPIR-V allows, says spirv-val; but of dialects that are younger than it. */
static void validate(const char *name, const uint32_t *code, size_t words) {
    char *path = check_tmp("special.spv"), command[1200];
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(code, sizeof *code, words, f), words);
    assert_int_equal(fclose(f), 0);
    snprintf(command, sizeof command, "spirv-val --target-env vulkan1.2 '%s'", path);
    if (!strstr(name, ".khr") && system(command) != 0) fail_msg("%s, specialised, is not valid", name);
    free(path);
}

/* All shaders, as if without steps: no specialisation constant is left, and what was long is short. */
static void test_shaders(void **state) {
    (void)state;
    uint32_t constant[NN_VK_ALL_CONSTANTS] = {255, 255, 255, 255, 255, 255, [NN_VK_LANES] = 32};
    size_t longest = 0, longest_special = 0;
    int refused = 0; /* a loop that is left at once is not dealt with */
    for (int i = 0; i < nn_vk_shader_count; i++) {
        const nn_vk_shader *s = &nn_vk_shaders[i];
        uint32_t *out;
        size_t words, at;
        for (uint32_t k = NN_VK_FIRST_CONSTANT; k < NN_VK_ALL_CONSTANTS; k++) constant[k] = 64;
        if (!nn_vk_specialize(s->code, s->bytes / 4, constant, NN_VK_ALL_CONSTANTS, &out, &words)) {
            print_message("not %s, with such constants\n", s->name);
            refused++;
            continue;
        }
        assert_int_equal(count_op(out, words, OP_NAME, &at), 0);
        for (at = HEADER; at < words; at += out[at] >> 16)
            assert_false((out[at] & 0xffff) == OP_DECORATE && out[at + 2] == SPEC_ID);
        assert_int_equal(at, words);
        assert_true(words <= s->bytes / 4);
        validate(s->name, out, words);
        if (s->bytes > longest) {
            longest = s->bytes;
            longest_special = words * 4;
        }
        free(out);
    }
    print_message("the longest: %zu bytes, %zu when specialised\n", longest, longest_special);
    assert_true(longest_special * 4 < longest);
    assert_true(refused <= nn_vk_shader_count / 8);
}

/* Every float16, and floats all over their range, ties and what is too large among them. */
static void test_halves(void **state) {
    (void)state;
    enum { N = 8 * 512 + 5 };
    float from[N], back[N];
    uint16_t half[N];
    uint64_t seed = 1;
    for (uint32_t first = 0; first < 65536; first += N) {
        for (uint32_t i = 0; i < N; i++) half[i] = (uint16_t)(first + i);
        nn_vk_floats(back, half, N);
        for (uint32_t i = 0; i < N; i++) {
            const float want = nn_vk_float(half[i]);
            assert_true(isnan(want) ? isnan(back[i]) : nn_vk_bits(back[i]) == nn_vk_bits(want));
        }
    }
    for (int round = 0; round < 64; round++) {
        for (int i = 0; i < N; i++) {
            const uint32_t exponent = (uint32_t)(check_random_float(&seed) * 28 + 112) & 255,
                           bits = (uint32_t)(seed >> 20) & 0x7fffff;
            from[i] = nn_vk_of_bits(exponent << 23 | (i % 3 ? bits : bits & 0x7ff000) | (uint32_t)i << 31);
        }
        nn_vk_halves(half, from, N);
        for (int i = 0; i < N; i++) assert_int_equal(half[i], nn_vk_half(from[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_branch),       cmocka_unit_test(test_what_is_not_known_stays),
        cmocka_unit_test(test_damaged_code), cmocka_unit_test(test_shaders),
        cmocka_unit_test(test_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
