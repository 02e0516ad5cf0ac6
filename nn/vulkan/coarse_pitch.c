/* coarse_pitch.c - the class 1..255 of each f0 as int32 (pitch.h), by search among the classes' lower edges:
 * exactly what the formula in double gives. */
#include "../pitch.h"
#include "load.h"

/* The least float that is in class b, for b = 2..255; found by halving over the bits, which order positive
 * floats. */
static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                    nn_error *e) {
    (void)c, (void)w;
    *bytes = (NN_COARSE_BINS - 1) * sizeof(float);
    float *edge = *out = malloc(*bytes);
    if (!edge) return nn_fail_memory(e, stem);
    for (int b = 2; b <= NN_COARSE_BINS; b++) {
        uint32_t below = 0, bits = 0x45000000; /* 0 Hz; 2048 Hz, which is in class 255 */
        while (bits - below > 1) {
            const uint32_t middle = below + (bits - below) / 2;
            float hz;
            memcpy(&hz, &middle, sizeof hz);
            if (nn_coarse_of((double)hz) >= b)
                bits = middle;
            else
                below = middle;
        }
        memcpy(&edge[b - 2], &bits, sizeof bits);
    }
    return NN_OK;
}

static nn_code coarse_pitch_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    return nn_vk_pack(k, c, "", "coarse_pitch", make, e);
}

static void coarse_pitch_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const struct {
        uint32_t f0, y, count, edges;
    } push = {nn_vk_in(c, 0), nn_vk_out(c), (uint32_t)nn_elements(c->node->shape), nn_vk_word(c->blob[0])};
    nn_vk_run_elements(r, c, "coarse_pitch", false, &push, sizeof push);
}

const nn_vk_op nn_vk_coarse_pitch = {coarse_pitch_pack, coarse_pitch_record};
