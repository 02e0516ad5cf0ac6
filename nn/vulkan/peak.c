/* peak.c - what the device can do at most, measured: bytes a second out of its memory and back, and
 * operations a second.
 *
 * One dispatch of peak.comp or peak_matrix.comp between two timestamps. Of arithmetic it gets more to do
 * until it takes long enough for the clock; of copies it does as many bytes as no cache holds. The best of
 * several counts.
 *
 * A float32 product in matrices is three of float16 (conv_matrix.comp), so float32's ceiling is a third of
 * the matrices' where that is more than plain multiply-adds do. */
#include <stdlib.h>

#include "../cost.h"
#include "record.h"

enum {
    FACTOR_BYTES = 4096, /* of the matrices, at the memory's beginning */
    RUNS = 5,
    GROUPS_A_UNIT = 8,
    THREADS = 256,
    MATRIX_BYTES = 1024,
    SUMS = 16,
    FIRST_COUNT = 64,
    LAST_COUNT = 1 << 22
};
#define LONG_ENOUGH 2e-3 /* seconds */

typedef struct bench {
    nn_vk_device *device;
    nn_vk_buffer memory, unused; /* unused: stands for weights and staging */
    VkDescriptorPool pool;
    VkDescriptorSet set;
    VkQueryPool queries;
    uint32_t groups;
} bench;

static nn_code new_set(bench *b, nn_error *e) {
    nn_vk_device *d = b->device;
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 3};
    const VkDescriptorPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                             .maxSets = 1,
                                             .poolSizeCount = 1,
                                             .pPoolSizes = &size};
    nn_code code =
        NN_VK_TRY(d, CreateDescriptorPool(d->device, &pool, NULL, &b->pool), "a descriptor pool", e);
    if (code) return code;
    const VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                              .descriptorPool = b->pool,
                                              .descriptorSetCount = 1,
                                              .pSetLayouts = &d->set_layout};
    code = NN_VK_TRY(d, AllocateDescriptorSets(d->device, &info, &b->set), "a descriptor set", e);
    if (code) return code;
    const VkDescriptorBufferInfo buffer[3] = {{b->memory.buffer, 0, VK_WHOLE_SIZE},
                                              {b->unused.buffer, 0, VK_WHOLE_SIZE},
                                              {b->unused.buffer, 0, VK_WHOLE_SIZE}};
    const VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                        .dstSet = b->set,
                                        .descriptorCount = 3,
                                        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                        .pBufferInfo = buffer};
    d->api.UpdateDescriptorSets(d->device, 1, &write, 0, NULL);
    return NN_OK;
}

/* More than caches hold, less than a shader sees or a small card has. */
static VkDeviceSize memory_bytes(const nn_vk_card *c) {
    const VkDeviceSize least = 256 << 20, most = 1 << 30;
    VkDeviceSize bytes = c->bytes / 128 < least ? least : c->bytes / 128;
    if (bytes > most) bytes = most;
    return bytes < c->range ? bytes : c->range;
}

static nn_code open_bench(bench *b, nn_vk_device *d, nn_error *e) {
    *b = (bench){.device = d, .groups = GROUPS_A_UNIT * d->card.traits.units};
    const VkDeviceSize bytes = memory_bytes(&d->card);
    const uint32_t most =
        (uint32_t)((bytes - FACTOR_BYTES) / (THREADS / d->card.traits.subgroup * SUMS * MATRIX_BYTES));
    if (b->groups > most) b->groups = most;
    if (d->card.tick <= 0)
        return nn_fail(e, NN_ERROR_DEVICE, "%s has no timestamps to measure it by", d->base.name);
    const VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                           .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                           .queryCount = 2};
    nn_code code = nn_vk_buffer_new(&b->memory, d, bytes, false, "measurements", e);
    if (!code) code = nn_vk_buffer_new(&b->unused, d, 256, false, "measurements", e);
    if (!code) code = NN_VK_TRY(d, CreateQueryPool(d->device, &queries, NULL, &b->queries), "timestamps", e);
    return code ? code : new_set(b, e);
}

static void close_bench(bench *b) {
    nn_vk_device *d = b->device;
    if (b->pool) d->api.DestroyDescriptorPool(d->device, b->pool, NULL);
    if (b->queries) d->api.DestroyQueryPool(d->device, b->queries, NULL);
    nn_vk_buffer_free(&b->memory, d);
    nn_vk_buffer_free(&b->unused, d);
}

/* Matrices of one small number: sums stay finite. */
static void record_factors(const bench *b, VkCommandBuffer commands) {
    const uint32_t two_halves = nn_vk_half(0.01f) * 0x10001u;
    const VkMemoryBarrier written = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                     .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                     .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    const nn_vk_api *vk = &b->device->api;
    vk->CmdFillBuffer(commands, b->memory.buffer, 0, FACTOR_BYTES, two_halves);
    vk->CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0,
                           1, &written, 0, NULL, 0, NULL);
}

/* Into `commands`, or (none) only asks for the pipeline. */
static nn_code record(bench *b, const nn_vk_dispatch *what, VkCommandBuffer commands, nn_error *e) {
    nn_vk_device *d = b->device;
    nn_vk_recorder r = {.device = d, .commands = commands, .set = b->set, .traits = &d->card.traits};
    if (commands) {
        record_factors(b, commands);
        d->api.CmdResetQueryPool(commands, b->queries, 0, 2);
        d->api.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, b->queries, 0);
    }
    nn_vk_run(&r, what);
    if (commands) d->api.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, b->queries, 1);
    return r.error.code ? nn_fail(e, r.error.code, "%s", r.error.text) : NN_OK;
}

static nn_code time_once(bench *b, const nn_vk_dispatch *what, double *seconds, nn_error *e) {
    nn_vk_device *d = b->device;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    uint64_t tick[2];
    nn_code code = record(b, what, VK_NULL_HANDLE, e);
    if (!code) code = nn_vk_pipelines_make(d, e);
    if (!code) code = nn_vk_begin(d, &commands, e);
    if (code) return code;
    const nn_code recorded = record(b, what, commands, e);
    code = nn_vk_finish(d, commands, recorded ? NULL : e);
    if (recorded || code) return recorded ? recorded : code;
    code = NN_VK_TRY(d,
                     GetQueryPoolResults(d->device, b->queries, 0, 2, sizeof tick, tick, sizeof *tick,
                                         VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
                     "timestamps", e);
    *seconds = (double)(tick[1] - tick[0]) * (double)d->card.tick * 1e-9;
    return code;
}

/* What is done a second, at best, where one count of `what` is `each` of it; `grows`: the count may be
 * raised. */
static nn_code best_rate(bench *b, nn_vk_dispatch what, uint32_t count, bool grows, double each, double *rate,
                         nn_error *e) {
    struct {
        uint32_t count;
        float factor;
    } push = {count, 1e-3f};
    what.push = &push;
    what.push_bytes = sizeof push;
    what.x = b->groups < NN_VK_MAX_GROUPS ? b->groups : NN_VK_MAX_GROUPS;
    const double all = each * (grows ? what.x : 1);
    double seconds = 0;
    nn_code code = NN_OK;
    *rate = 0;
    for (int run = -1; run < RUNS && !code; run++) {
        code = time_once(b, &what, &seconds, e);
        if (!code && grows && seconds < LONG_ENOUGH && push.count < LAST_COUNT) {
            push.count *= 2;
            run = -2; /* and once to warm up */
        } else if (!code && run >= 0 && seconds > 0 && all * push.count / seconds > *rate) {
            *rate = all * push.count / seconds;
        }
    }
    return code;
}

static nn_code measure(bench *b, nn_peak *out, nn_error *e) {
    const nn_vk_traits *traits = &b->device->card.traits;
    const nn_vk_dispatch copy = {.shader = "peak", .constants = 1, .constant = {true}},
                         multiply = {.shader = "peak", .constants = 1, .constant = {false}},
                         matrices = {.shader = "peak_matrix"};
    double in_matrices = 0;
    nn_code code = best_rate(b, copy, (uint32_t)(b->memory.bytes / 32), false, 32, &out->bytes, e);
    if (!code) code = best_rate(b, multiply, FIRST_COUNT, true, THREADS * 8 * 4 * 2, &out->f32, e);
    if (!code && traits->matrix)
        code = best_rate(b, matrices, FIRST_COUNT, true,
                         THREADS / traits->subgroup * SUMS * 2 * 16.0 * 16 * 16, &in_matrices, e);
    out->f16 = traits->matrix && in_matrices > out->f32 ? in_matrices : out->f32;
    if (in_matrices / 3 > out->f32) out->f32 = in_matrices / 3;
    return code;
}

nn_code nn_vulkan_peak(nn_device *device, nn_peak *out, nn_error *e) {
    nn_vk_device *d = (nn_vk_device *)device;
    bench b;
    *out = (nn_peak){0};
    nn_vk_lock(d);
    nn_code code = open_bench(&b, d, e);
    if (!code) code = measure(&b, out, e);
    close_bench(&b);
    nn_vk_unlock(d);
    return code;
}
