/* op.c - what the ops share: packing, steps, half precision, and the recording of dispatches. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

/* ---- packing ---- */

nn_weights *nn_vk_weights(const nn_vk_packer *k) {
    return k->weights;
}

/* The number of the store among the plan's, which hold each once. Other threads are at it too. */
static nn_code part_of(nn_vk_packer *k, int *number, nn_error *e) {
    nn_vk_plan *p = k->plan;
    nn_vk_lock(k->device);
    for (*number = 0; *number < p->parts && p->part[*number].store != k->store; ++*number) continue;
    const bool found = *number < p->parts, room = p->parts < NN_VK_PARTS;
    if (!found && room) p->part[p->parts++].store = k->store;
    nn_vk_unlock(k->device);
    if (found || !room) nn_vk_store_release(k->store, k->device);
    if (found || room) return NN_OK;
    return nn_fail(e, NN_ERROR_DEVICE,
                   "%s: %s lets a shader see %.0f MB at once, which is too little for these weights; take "
                   "another device, or --device cpu",
                   nn_weights_path(k->weights), k->device->base.name, (double)k->device->home->page * 1e-6);
}

nn_code nn_vk_pack(nn_vk_packer *k, nn_vk_call *c, const char *stem, const char *kind, nn_vk_make *make,
                   nn_error *e) {
    char key[1100];
    const int n = snprintf(key, sizeof key, "%s|%s", stem, kind);
    if (n < 0 || (size_t)n >= sizeof key)
        return nn_fail(e, NN_ERROR_MODEL, "layer name %.60s... is too long", stem);
    if (c->blobs == NN_MAX_BLOBS)
        return nn_fail(e, NN_ERROR_MODEL, "%s: more than %d sets of weights in one node", stem, NN_MAX_BLOBS);
    const bool first = !k->store;
    size_t offset = 0;
    nn_code code = NN_OK;
    if (!nn_vk_store_find(&k->store, k->device, k->mark, key, &offset)) {
        void *data = NULL;
        size_t bytes = 0;
        code = make(&data, &bytes, c, stem, k->weights, e);
        if (!code && bytes > k->device->card.range) {
            free(data);
            code = nn_fail(
                e, NN_ERROR_DEVICE,
                "%s: \"%s\" is %.0f MB in one piece, and %s lets a shader see %.0f MB: take --device cpu",
                nn_weights_path(k->weights), stem, (double)bytes * 1e-6, k->device->base.name,
                (double)k->device->card.range * 1e-6);
        }
        if (!code)
            code = nn_vk_store_add(&k->store, k->device, k->weights, c->traits->f16, k->mark, key, data,
                                   bytes, &offset, e);
    }
    if (first && k->store) {
        const nn_code number = part_of(k, &c->part, code ? NULL : e);
        code = code ? code : number;
    }
    c->blob[c->blobs++] = offset;
    return code;
}

/* Inference-time batch norm, y = (x - mean) weight / sqrt(var + 1e-5) + bias, as scale and shift; in double. */
static nn_code make_affine(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                           nn_error *e) {
    static const char *const suffix[4] = {"weight", "bias", "running_mean", "running_var"};
    const size_t channels = (size_t)c->node->shape.c;
    float *part[4] = {NULL}, *blob = malloc(2 * channels * sizeof *blob);
    nn_code code = blob ? NN_OK : nn_fail_memory(e, stem);
    for (int i = 0; i < 4 && !code; i++) {
        char name[600];
        snprintf(name, sizeof name, "%.560s.%s", stem, suffix[i]);
        code = nn_weights_load(w, name, 1, (int64_t[]){(int64_t)channels}, &part[i], e);
    }
    for (size_t i = 0; i < channels && !code; i++) {
        if (part[3][i] < 0)
            code =
                nn_fail(e, NN_ERROR_MODEL, "%s: %s.running_var[%zu] is %g, and a variance is never negative",
                        nn_weights_path(w), stem, i, (double)part[3][i]);
        const double scale = part[0][i] / sqrt((double)part[3][i] + 1e-5);
        blob[i] = (float)scale;
        blob[channels + i] = (float)(part[1][i] - part[2][i] * scale);
    }
    for (int i = 0; i < 4; i++) free(part[i]);
    if (code) free(blob);
    *out = code ? NULL : blob;
    *bytes = 2 * channels * sizeof *blob;
    return code;
}

nn_code nn_vk_pack_steps(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    for (int i = 0; i < c->node->n_steps; i++) {
        nn_step *s = &c->node->steps[i];
        if (s->kind != NN_STEP_AFFINE) continue;
        s->blob = c->blobs;
        const nn_code code = nn_vk_pack(k, c, s->name, "batch_norm", make_affine, e);
        if (code) return code;
    }
    return NN_OK;
}

/* ---- places and steps ---- */

uint32_t nn_vk_element(const nn_vk_call *c, size_t slab_bytes) {
    return (uint32_t)(slab_bytes / (c->traits->f16 ? 2 : 4));
}

uint32_t nn_vk_in(const nn_vk_call *c, int k) {
    const nn_node *n = c->node->in[k];
    return nn_vk_is_word(n) ? nn_vk_word(n->offset) : nn_vk_element(c, n->offset);
}

uint32_t nn_vk_out(const nn_vk_call *c) {
    return nn_vk_is_word(c->node) ? nn_vk_word(c->node->offset) : nn_vk_element(c, c->node->offset);
}

/* steps.glsl numbers the kinds as graph.h does. */
_Static_assert(NN_STEP_ADD == 0 && NN_STEP_SUB == 1 && NN_STEP_RSUB == 2 && NN_STEP_MUL == 3 &&
                   NN_STEP_SCALE == 4 && NN_STEP_AFFINE == 5 && NN_STEP_RELU == 6 &&
                   NN_STEP_LEAKY_RELU == 7 && NN_STEP_GELU == 8 && NN_STEP_TANH == 9 &&
                   NN_STEP_SIGMOID == 10 && NN_STEP_EXP == 11 && NN_MAX_STEPS == 6,
               "steps.glsl and graph.h differ");
enum { STEP_NONE = 255, STEP_ONE_ROW = 256 };

void nn_vk_step_arguments(const nn_vk_call *c, uint32_t step[NN_MAX_STEPS]) {
    memset(step, 0, NN_MAX_STEPS * sizeof *step);
    for (int i = 0; i < c->node->n_steps; i++) {
        const nn_step *s = &c->node->steps[i];
        if (s->operand >= 0)
            step[i] = nn_vk_in(c, s->operand);
        else if (s->kind == NN_STEP_AFFINE)
            step[i] = nn_vk_word(c->blob[s->blob]);
        else
            memcpy(&step[i], &s->value, sizeof step[i]);
    }
}

static void step_codes(const nn_vk_call *c, uint32_t code[NN_MAX_STEPS]) {
    for (int i = 0; i < NN_MAX_STEPS; i++) code[i] = STEP_NONE;
    for (int i = 0; c && i < c->node->n_steps; i++) {
        const nn_step *s = &c->node->steps[i];
        code[i] = (uint32_t)s->kind;
        if (s->operand >= 0 && nn_rows(c->node->in[s->operand]->shape) == 1 && nn_rows(c->node->shape) > 1)
            code[i] |= STEP_ONE_ROW;
    }
}

/* ---- recording ---- */

static void next(nn_vk_recorder *r, size_t offset, size_t bytes, bool write) {
    if (r->nexts == NN_VK_NEXT) {
        nn_vk_fail(r, "a dispatch that touches more than %d tensors", NN_VK_NEXT);
        return;
    }
    r->next[r->nexts++] = (nn_vk_range){offset, offset + bytes, write};
}

void nn_vk_reads(nn_vk_recorder *r, size_t offset, size_t bytes) {
    next(r, offset, bytes, false);
}
void nn_vk_writes(nn_vk_recorder *r, size_t offset, size_t bytes) {
    next(r, offset, bytes, true);
}

static size_t tensor_bytes(const nn_vk_call *c, const nn_node *n) {
    return nn_elements(n->shape) * (c->traits->f16 && !nn_vk_is_word(n) ? 2 : 4);
}

void nn_vk_reads_inputs(nn_vk_recorder *r, const nn_vk_call *c) {
    for (int i = 0; i < c->node->n_in; i++)
        nn_vk_reads(r, c->node->in[i]->offset, tensor_bytes(c, c->node->in[i]));
}

void nn_vk_writes_output(nn_vk_recorder *r, const nn_vk_call *c) {
    nn_vk_writes(r, c->node->offset, tensor_bytes(c, c->node));
}

static bool depends(const nn_vk_recorder *r) {
    for (int i = 0; i < r->nexts; i++)
        for (int j = 0; j < r->sinces; j++) {
            const nn_vk_range *a = &r->next[i], *b = &r->since[j];
            if ((a->write || b->write) && a->from < b->to && b->from < a->to) return true;
        }
    return false;
}

/* A barrier, if the next dispatch needs one; what it touches joins what came since the last. */
static void order(nn_vk_recorder *r) {
    if (r->apart || depends(r) || r->sinces + r->nexts > NN_VK_SINCE) {
        const VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                     .srcAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
                                     .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
        if (r->commands)
            r->device->api.CmdPipelineBarrier(r->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &all, 0, NULL, 0,
                                              NULL);
        r->sinces = 0;
        r->apart = false;
    }
    r->device->home->apart = r->sinces > 0;
    memcpy(r->since + r->sinces, r->next, (size_t)r->nexts * sizeof *r->next);
    r->sinces += r->nexts;
    r->nexts = 0;
}

static bool fits(const nn_vk_dispatch *d) {
    return d->constants <= NN_VK_CONSTANTS && d->push_bytes <= NN_VK_PUSH_BYTES && d->x >= 1 &&
           d->x <= NN_VK_MAX_GROUPS && d->y <= NN_VK_MAX_GROUPS && d->z <= NN_VK_MAX_GROUPS;
}

void nn_vk_run(nn_vk_recorder *r, const nn_vk_dispatch *d) {
    if (r->error.code) return;
    nn_vk_device *device = r->device;
    const nn_vk_shader *shader = nn_vk_shader_find(r->traits, d->shader);
    if (!shader || !fits(d)) {
        nn_vk_fail(r,
                   "shader \"%s\" with %ux%ux%u workgroups and %zu bytes of parameters cannot be run; the "
                   "input is too long",
                   d->shader, d->x, d->y, d->z, d->push_bytes);
        return;
    }
    uint32_t constant[NN_VK_ALL_CONSTANTS] = {0};
    step_codes(d->steps, constant);
    constant[NN_VK_LANES] = r->traits->subgroup;
    memcpy(constant + NN_VK_FIRST_CONSTANT, d->constant, (size_t)d->constants * sizeof *constant);
    nn_vk_pipeline *pipeline = nn_vk_pipeline_get(device, shader, constant);
    if (!pipeline) {
        nn_fail_memory(&r->error, "a pipeline");
        return;
    }
    order(r);
    if (!r->commands) return;
    if (r->set != r->bound_set)
        device->api.CmdBindDescriptorSets(r->commands, VK_PIPELINE_BIND_POINT_COMPUTE, device->layout, 0, 1,
                                          &r->set, 0, NULL);
    r->bound_set = r->set;
    if (pipeline->handle != r->bound)
        device->api.CmdBindPipeline(r->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->handle);
    r->bound = pipeline->handle;
    device->api.CmdPushConstants(r->commands, device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                 (uint32_t)d->push_bytes, d->push);
    device->api.CmdDispatch(r->commands, d->x, d->y ? d->y : 1, d->z ? d->z : 1);
    device->home->apart = false;
}

void nn_vk_fail(nn_vk_recorder *r, const char *format, ...) {
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    nn_fail(&r->error, NN_ERROR_MEMORY, "%s: %s", r->device->base.name, text);
}
