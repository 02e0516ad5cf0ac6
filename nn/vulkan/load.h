/* load.h - what the ops' pack and record functions share: tensors by stem and suffix, grids over elements. */
#ifndef NN_VULKAN_LOAD_H
#define NN_VULKAN_LOAD_H

#include "op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NN_VK_NAME = 1024 };

static inline nn_code nn_vk_join(char name[NN_VK_NAME], const char *stem, const char *suffix, nn_error *e) {
    if (snprintf(name, NN_VK_NAME, "%s%s", stem, suffix) < NN_VK_NAME) return NN_OK;
    return nn_fail(e, NN_ERROR_MODEL, "layer name %.60s... is longer than %d bytes", stem, NN_VK_NAME);
}

/* The tensor STEM + SUFFIX of that shape as float32, for free(). */
static inline nn_code nn_vk_load(float **out, nn_weights *w, const char *stem, const char *suffix, int rank,
                                 const int64_t *shape, nn_error *e) {
    char name[NN_VK_NAME];
    const nn_code code = nn_vk_join(name, stem, suffix, e);
    return code ? code : nn_weights_load(w, name, rank, shape, out, e);
}

/* A blob of two vectors of `channels` floats, STEM + SUFFIX each, the second behind the first. */
static inline nn_code nn_vk_load_pair(void **out, size_t *bytes, nn_weights *w, const char *stem,
                                      const char *const suffix[2], int channels, nn_error *e) {
    const size_t n = (size_t)channels;
    float *pair = malloc(2 * n * sizeof(float));
    nn_code code = pair ? NN_OK : nn_fail_memory(e, stem);
    for (int i = 0; i < 2 && !code; i++) {
        float *part = NULL;
        code = nn_vk_load(&part, w, stem, suffix[i], 1, (int64_t[]){channels}, e);
        if (!code) memcpy(pair + (size_t)i * n, part, n * sizeof(float));
        free(part);
    }
    if (code) free(pair);
    *out = code ? NULL : pair;
    *bytes = 2 * n * sizeof(float);
    return code;
}

/* `pack` of an op that has neither weights nor steps. */
static inline nn_code nn_vk_pack_nothing(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    (void)k, (void)c, (void)e;
    return NN_OK;
}

/* Workgroups of `each` for `count` of something, when a shader walks on by the whole grid (common.glsl's ops
 * do). */
static inline uint32_t nn_vk_grid(size_t count, size_t each) {
    const size_t groups = (count + each - 1) / each;
    return groups < NN_VK_MAX_GROUPS ? (uint32_t)groups : NN_VK_MAX_GROUPS;
}

/* One dispatch of 256 invocations a workgroup that reads all inputs and writes every element of the output,
 * in groups of four where `four`, which is constant 8. */
static inline void nn_vk_run_elements(nn_vk_recorder *r, const nn_vk_call *c, const char *shader, bool four,
                                      const void *push, size_t push_bytes) {
    nn_vk_reads_inputs(r, c);
    nn_vk_writes_output(r, c);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = shader,
                                   .constants = 1,
                                   .constant = {four},
                                   .push = push,
                                   .push_bytes = push_bytes,
                                   .x = nn_vk_grid(nn_elements(c->node->shape) / (four ? 4 : 1), 256)});
}

#endif
