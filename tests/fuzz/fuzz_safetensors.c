/* fuzz_safetensors.c - safetensors: a length, JSON, data. The length is set right, so that the JSON is what
 * is tried. */
#include "checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t file[(1 << 16) + 8];
    if (size > 1 << 16) return 0;
    fuzz_checkpoint(data, size);
    uint64_t length = 0; /* of the JSON: up to the last brace */
    for (size_t i = 8; i < size; i++)
        if (data[i] == '}') length = i - 7;
    if (length == 0 || memcmp(data, &length, 8) == 0) return 0;
    memcpy(file, data, size);
    memcpy(file, &length, 8);
    fuzz_checkpoint(file, size);
    return 0;
}
