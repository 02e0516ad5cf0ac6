/* pitch_decode.c - f0 [frames] of salience [frames][360], times a factor (pitch.h).
 *
 * In float32 the mean is taken relative to the largest class, whose frequency comes from a table: cents of
 * some thousand would leave 1e-3 cent of rounding. The phase sums f0 up, so its last bit should be right:
 * frequencies and factor are sums of two floats. */
#include "../pitch.h"
#include "load.h"

static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                    nn_error *e) {
    (void)c, (void)w;
    *bytes = 2 * NN_PITCH_CLASSES * sizeof(float);
    float *hz = *out = malloc(*bytes);
    if (!hz) return nn_fail_memory(e, stem);
    for (int i = 0; i < NN_PITCH_CLASSES; i++) {
        const double exact = 10 * exp2(nn_pitch_cents(i) / 1200);
        hz[2 * i] = (float)exact;
        hz[2 * i + 1] = (float)(exact - (double)hz[2 * i]);
    }
    return NN_OK;
}

static nn_code pitch_decode_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    return nn_vk_pack(k, c, "", "pitch_decode", make, e);
}

static void pitch_decode_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const struct {
        uint32_t x, factor, y, frames, table;
        float threshold;
    } push = {nn_vk_in(c, 0),         nn_vk_in(c, 1),
              nn_vk_out(c),           (uint32_t)c->node->shape.w,
              nn_vk_word(c->blob[0]), c->node->u.pitch_decode.threshold};
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "pitch_decode",
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = nn_vk_grid(push.frames, 1)});
}

const nn_vk_op nn_vk_pitch_decode = {pitch_decode_pack, pitch_decode_record};
