/* fuzz_npz.c - archives of arrays: libzip's view of a zip, .npy headers, config.json. */
#include "../../nn/npz.h"
#include "checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    npz *z;
    if (!npz_open(&z, fuzz_file(data, size), NULL)) {
        for (size_t i = 0; i < npz_count(z); i++) {
            const npz_array *a = npz_at(z, i);
            float *x = a->count < 1 << 20 ? malloc((size_t)a->count * sizeof *x + 1) : NULL;
            if (x) npz_read_f32(z, a, x, NULL);
            free(x);
        }
        npz_close(z);
    }
    if (size >= 2 && memcmp(data, "PK", 2) == 0) fuzz_checkpoint(data, size);
    return 0;
}
