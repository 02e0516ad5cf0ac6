/* plan.c - the Vulkan back end: a plan is one command buffer, recorded once and submitted at each run.
 *
 *   inputs (staging, float32) -> slab | the nodes' dispatches | slab -> outputs (staging, float32)
 *
 * Invariant: after reserve, a run allocates nothing, unless another plan has made the slab or the weights' buffer grow: then
 * the command buffer is recorded anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

#define NN_OP(name) extern const nn_vk_op nn_vk_##name;
#include "../ops.def"
#undef NN_OP

static const nn_vk_op *const ops[NN_OP_COUNT] = {
#define NN_OP(name) [NN_OP_##name] = &nn_vk_##name,
#include "../ops.def"
#undef NN_OP
};

static nn_vk_device *device_of(const nn_plan *p) { return (nn_vk_device *)p->device; }

/* ---- preparing ---- */

/* Packs every node's weights; the lock on the weights keeps other threads from loading the same. */
static nn_code pack_all(nn_plan *p, nn_vk_plan *s, nn_error *e) {
    nn_vk_device *d = device_of(p);
    nn_vk_packer packer = {d, s->store, p->graph->weights};
    nn_code code = NN_OK;
    for (int i = 0; i < p->count && !code; i++) {
        nn_node *n = p->node[i];
        s->call[i] = (nn_vk_call){.node = n, .traits = &d->card.traits};
        if (n->op != NN_OP_input) code = ops[n->op]->pack(&packer, &s->call[i], e);
    }
    return code ? code : nn_vk_store_upload(s->store, d, e);
}

static nn_code vk_prepare(nn_plan *p, nn_error *e) {
    nn_vk_device *d = device_of(p);
    nn_vk_plan *s = calloc(1, sizeof *s);
    if (s) s->call = calloc((size_t)p->count + 1, sizeof *s->call);
    if (s) s->outside = calloc((size_t)p->count + 1, sizeof *s->outside);
    p->state = s;
    if (!s || !s->call || !s->outside) return nn_fail_memory(e, "a plan");
    nn_weights_lock(p->graph->weights);
    nn_code code = nn_vk_store_hold(&s->store, d, p->graph->weights, e);
    if (!code) code = pack_all(p, s, e);
    nn_weights_unlock(p->graph->weights);
    return code;
}

/* ---- reserving ---- */

/* Plans of a device never run at the same time, so nothing of the old slab is worth keeping. */
static nn_code grow_slab(nn_vk_device *d, size_t bytes, nn_error *e) {
    enum { SPARE = 1024 };               /* shaders may read a vector beyond the last value */
    if (bytes + SPARE <= d->slab.bytes) return NN_OK;
    nn_vk_buffer_free(&d->slab, d);
    d->generation++;
    return nn_vk_buffer_new(&d->slab, d, bytes + SPARE, false, "intermediate values", e);
}

static nn_code new_staging(nn_plan *p, nn_vk_plan *s, nn_error *e) {
    size_t bytes = 0;
    for (int i = 0; i < p->count; i++) {
        const nn_node *n = p->node[i];
        if (n->op != NN_OP_input && !n->output) continue;
        s->outside[i] = bytes;
        bytes += (nn_elements(n->shape) * sizeof(float) + 63) & ~(size_t)63;
    }
    return nn_vk_buffer_new(&s->staging, device_of(p), bytes, true, "inputs and outputs", e);
}

static nn_code new_descriptors(nn_vk_device *d, nn_vk_plan *s, nn_error *e) {
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 3};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = 1, .poolSizeCount = 1, .pPoolSizes = &size};
    nn_code code = NN_VK_TRY(d, CreateDescriptorPool(d->device, &pool, NULL, &s->pool), "a descriptor pool", e);
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = s->pool,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &d->set_layout};
    return code ? code : NN_VK_TRY(d, AllocateDescriptorSets(d->device, &info, &s->set), "a descriptor set", e);
}

static nn_code new_queries(nn_vk_device *d, nn_vk_plan *s, int count, nn_error *e) {
    if (s->queries || d->card.tick <= 0) return NN_OK;
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = (uint32_t)count + 1};
    return NN_VK_TRY(d, CreateQueryPool(d->device, &info, NULL, &s->queries), "timestamps", e);
}

/* ---- recording ---- */

static void bind_buffers(nn_vk_device *d, nn_vk_plan *s) {
    /* a checkpoint may have nothing on the device (a graph of maps): anything may stand for it */
    const VkBuffer weights = s->store->buffer.buffer ? s->store->buffer.buffer : d->slab.buffer;
    const VkDescriptorBufferInfo buffer[3] = {
        {d->slab.buffer, 0, VK_WHOLE_SIZE}, {weights, 0, VK_WHOLE_SIZE}, {s->staging.buffer, 0, VK_WHOLE_SIZE}};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = s->set,
                                  .descriptorCount = 3,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = buffer};
    d->api.UpdateDescriptorSets(d->device, 1, &write, 0, NULL);
}

/* An input into the slab, or an output out of it. */
static void record_edge(nn_vk_recorder *r, const nn_plan *p, int i, bool out) {
    const nn_vk_plan *s = p->state;
    const nn_vk_call *c = &s->call[i];
    const nn_node *n = c->node;
    const bool words = n->is_index;
    uint32_t push[3] = {words ? nn_vk_word(n->offset) : nn_vk_out(c), nn_vk_word(s->outside[i]), (uint32_t)nn_elements(n->shape)};
    const size_t bytes = nn_elements(n->shape) * (c->traits->f16 && !words ? 2 : 4);
    if (out)
        nn_vk_reads(r, n->offset, bytes);
    else
        nn_vk_writes(r, n->offset, bytes);
    const uint32_t groups = nn_vk_parts(push[2], 256);
    nn_vk_run(r, &(nn_vk_dispatch){.shader = "edge",
                                   .constants = 2,
                                   .constant = {out, words},
                                   .push = push,
                                   .push_bytes = sizeof push,
                                   .x = groups < NN_VK_MAX_GROUPS ? groups : NN_VK_MAX_GROUPS});
}

/* Under profile each node starts when the one before is done, so that its time is its own. */
static void stamp(nn_vk_recorder *r, const nn_vk_plan *s, int i) {
    if (!r->commands || !s->profiled || !s->queries) return;
    r->device->api.CmdWriteTimestamp(r->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, s->queries, (uint32_t)i);
    r->apart = true;
}

static void record_nodes(nn_vk_recorder *r, const nn_plan *p) {
    nn_vk_plan *s = p->state;
    for (int i = 0; i < p->count; i++)
        if (p->node[i]->op == NN_OP_input) record_edge(r, p, i, false);
    stamp(r, s, 0);
    for (int i = 0; i < p->count && !r->error.code; i++) {
        if (p->node[i]->op != NN_OP_input) ops[p->node[i]->op]->record(r, &s->call[i]);
        stamp(r, s, i + 1);
    }
    for (int i = 0; i < p->count; i++)
        if (p->node[i]->output) record_edge(r, p, i, true);
}

/* Values and weights of earlier submissions before, the host behind. */
static void record_barrier(nn_vk_recorder *r, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                           VkAccessFlags reads) {
    const VkMemoryBarrier all = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = reads};
    r->device->api.CmdPipelineBarrier(r->commands, from, to, 0, 1, &all, 0, NULL, 0, NULL);
}

static nn_code record_commands(nn_plan *p, nn_vk_plan *s, nn_error *e) {
    nn_vk_device *d = device_of(p);
    const nn_vk_api *vk = &d->api;
    nn_vk_recorder r = {.device = d};
    nn_code code = nn_vk_begin(d, &s->commands, e);
    if (code) {
        s->commands = VK_NULL_HANDLE;
        return code;
    }
    r.commands = s->commands;
    const VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, transfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkAccessFlags both = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
    record_barrier(&r, compute | transfer, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, compute, both);
    if (s->profiled && s->queries) vk->CmdResetQueryPool(r.commands, s->queries, 0, (uint32_t)p->count + 1);
    vk->CmdBindDescriptorSets(r.commands, VK_PIPELINE_BIND_POINT_COMPUTE, d->layout, 0, 1, &s->set, 0, NULL);
    record_nodes(&r, p);
    record_barrier(&r, compute, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    code = NN_VK_TRY(d, EndCommandBuffer(s->commands), "a command buffer", e);
    return r.error.code ? nn_fail(e, r.error.code, "%s", r.error.text) : code;
}

static nn_code record(nn_plan *p, nn_error *e) {
    nn_vk_device *d = device_of(p);
    nn_vk_plan *s = p->state;
    if (s->commands) d->api.FreeCommandBuffers(d->device, d->pool, 1, &s->commands);
    s->commands = VK_NULL_HANDLE;
    s->recorded = false;
    s->profiled = p->profile;
    nn_code code = grow_slab(d, p->slab_bytes, e);
    if (!code && s->profiled) code = new_queries(d, s, p->count, e);
    if (code) return code;
    nn_vk_recorder asks = {.device = d};
    record_nodes(&asks, p);
    if (asks.error.code) return nn_fail(e, asks.error.code, "%s", asks.error.text);
    code = nn_vk_pipelines_make(d, e);
    if (code) return code;
    bind_buffers(d, s);
    code = record_commands(p, s, e);
    if (code) return code;
    s->slab_generation = d->generation;
    s->store_generation = s->store->generation;
    s->recorded = true;
    return NN_OK;
}

static nn_code vk_reserve(nn_plan *p, nn_error *e) {
    nn_vk_plan *s = p->state;
    nn_code code = new_staging(p, s, e);
    if (!code) code = new_descriptors(device_of(p), s, e);
    return code ? code : record(p, e);
}

/* ---- running ---- */

static void read_times(nn_plan *p, nn_vk_plan *s) {
    nn_vk_device *d = device_of(p);
    uint64_t *tick = calloc((size_t)p->count + 1, sizeof *tick);
    if (!tick || !s->queries ||
        d->api.GetQueryPoolResults(d->device, s->queries, 0, (uint32_t)p->count + 1, ((size_t)p->count + 1) * sizeof *tick,
                                   tick, sizeof *tick, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT)) {
        free(tick);
        return;                          /* no times, no harm */
    }
    for (int i = 0; i < p->count; i++) p->seconds[i] = (double)(tick[i + 1] - tick[i]) * (double)d->card.tick * 1e-9;
    free(tick);
}

static nn_code vk_run(nn_plan *p, nn_error *e) {
    nn_vk_device *d = device_of(p);
    nn_vk_plan *s = p->state;
    nn_code code = NN_OK;
    if (!s->recorded || s->slab_generation != d->generation || s->store_generation != s->store->generation ||
        s->profiled != p->profile)
        code = record(p, e);
    if (!code) code = nn_vk_submit(d, s->commands, true, e);
    if (!code && p->profile) read_times(p, s);
    return code;
}

static int position(const nn_plan *p, const nn_node *n) {
    int i = 0;
    while (p->node[i] != n) i++;
    return i;
}

static void vk_write(nn_plan *p, const nn_node *n, const void *data, size_t bytes) {
    nn_vk_plan *s = p->state;
    memcpy((char *)s->staging.map + s->outside[position(p, n)], data, bytes);
}

static void vk_read(nn_plan *p, const nn_node *n, void *data, size_t bytes) {
    const nn_vk_plan *s = p->state;
    memcpy(data, (const char *)s->staging.map + s->outside[position(p, n)], bytes);
}

static void vk_release(nn_plan *p) {
    nn_vk_device *d = device_of(p);
    nn_vk_plan *s = p->state;
    if (!s) return;
    if (s->commands) d->api.FreeCommandBuffers(d->device, d->pool, 1, &s->commands);
    if (s->pool) d->api.DestroyDescriptorPool(d->device, s->pool, NULL);
    if (s->queries) d->api.DestroyQueryPool(d->device, s->queries, NULL);
    nn_vk_buffer_free(&s->staging, d);
    nn_vk_store_release(s->store);
    free(s->outside);
    free(s->call);
    free(s);
}

static size_t vk_bytes(const nn_plan *p) {
    const nn_vk_plan *s = p->state;
    return (size_t)s->staging.bytes;
}

const nn_backend nn_vk_backend = {vk_prepare, vk_reserve, vk_run,   vk_write,
                                  vk_read,    vk_release, vk_bytes, nn_vk_close};
