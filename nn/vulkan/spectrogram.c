/* spectrogram.c - out[t][b] = ln(max(sum_k bank[b][k] |X_t[k]|, 1e-5)), X_t the Fourier transform of 1024
 * windowed samples; a workgroup per frame. */
#include <math.h>

#include "load.h"

enum { SIZE = 1024, BINS = SIZE / 2 + 1 };

/* The blob, in 32-bit words: window [1024]; exp(-2 pi i j/1024) for j < 512 as pairs; each band's first bin,
 * count of bins and place of its weights; the weights. */
static void fill(float *blob, const float *window, const float *bank, int bands) {
    float *turn = blob + SIZE, *next = turn + SIZE + 3 * (size_t)bands;
    uint32_t *band = (uint32_t *)(void *)(turn + SIZE);
    const float *const weights = next;
    memcpy(blob, window, SIZE * sizeof *window);
    for (int j = 0; j < SIZE / 2; j++) {
        const double angle = 6.283185307179586477 * j / SIZE;
        turn[2 * j] = (float)cos(angle);
        turn[2 * j + 1] = (float)-sin(angle);
    }
    for (int b = 0; b < bands; b++, band += 3) {
        int first = 0, end = BINS;
        while (first < BINS && bank[b * BINS + first] == 0) first++;
        while (end > first && bank[b * BINS + end - 1] == 0) end--;
        band[0] = (uint32_t)first;
        band[1] = (uint32_t)(end - first);
        band[2] = (uint32_t)(next - weights);
        memcpy(next, bank + b * BINS + first, (size_t)(end - first) * sizeof *next);
        next += end - first;
    }
}

static nn_code make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                    nn_error *e) {
    const int bands = c->node->shape.w;
    float *window = NULL, *bank = NULL, *blob = NULL;
    nn_code code = nn_vk_load(&window, w, stem, ".window", 1, (int64_t[]){SIZE}, e);
    if (!code) code = nn_vk_load(&bank, w, stem, ".bank", 2, (int64_t[]){bands, BINS}, e);
    *bytes = (2 * SIZE + (size_t)bands * (3 + BINS)) * sizeof *blob;
    if (!code && !(blob = calloc(1, *bytes))) code = nn_fail_memory(e, stem);
    if (!code) fill(blob, window, bank, bands);
    free(window);
    free(bank);
    *out = blob;
    return code;
}

static nn_code spectrogram_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    return nn_vk_pack(k, c, c->node->name, "spectrogram", make, e);
}

static void spectrogram_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const struct {
        uint32_t x, y, tables, samples, lead, frames, rows, bands;
    } push = {nn_vk_in(c, 0),
              nn_vk_out(c),
              nn_vk_word(c->blob[0]),
              (uint32_t)n->u.spectrogram.samples,
              (uint32_t)n->u.spectrogram.lead,
              (uint32_t)n->u.spectrogram.frames,
              (uint32_t)n->shape.h,
              (uint32_t)n->shape.w};
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "spectrogram",
                                   .push = &push,
                                   .push_bytes = sizeof push,
                                   .x = nn_vk_grid(push.rows, 1)});
}

const nn_vk_op nn_vk_spectrogram = {spectrogram_pack, spectrogram_record};
