/* plan.c - the Vulkan back end: a plan is a command buffer, recorded once and submitted at each run.
 *
 *   inputs (staging, float32) -> slab | the nodes' dispatches | slab -> outputs (staging, float32)
 *
 * Where the graph has a branch, and the device two queues to itself, there are three: the nodes of branch 0 before the join
 * (the first that reads from branch 1), those of branch 1, which run beside them on the second queue, and the rest behind both.
 * layout.c keeps apart what the branches work in.
 *
 * Invariant: after reserve, a run allocates nothing, unless another plan has made the slab or the weights' buffer grow, or the
 * second queue came or went: then the command buffer is recorded anew. */
#include <pthread.h>
#include <stdatomic.h>
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

static nn_vk_device *device_of(const nn_plan *p) {
    return (nn_vk_device *)p->device;
}

/* ---- preparing ---- */

/* A plan's nodes, packed by several threads: reading a checkpoint takes one at a time, laying weights out does not. */
typedef struct packing {
    nn_plan *plan;
    atomic_int next, stop; /* the first node that nobody has taken; none from here on is needed */
} packing;

typedef struct packing_thread {
    packing *packing;
    int failed; /* node; the plan's count: none */
    nn_error error;
    pthread_t thread;
} packing_thread;

static nn_code pack_node(nn_plan *p, nn_vk_call *c, nn_error *e) {
    nn_vk_packer packer = {.device = device_of(p), .plan = p->state, .weights = c->node->weights};
    if (!nn_node_runs(c->node)) return NN_OK;
    const nn_code code = nn_vk_mark(packer.weights, &packer.mark, e);
    return code ? code : ops[c->node->op]->pack(&packer, c, e);
}

/* Nodes are taken in order, so that of several that are wrong the first is told. */
static void *pack_some(void *context) {
    packing_thread *t = context;
    packing *k = t->packing;
    nn_vk_plan *s = k->plan->state;
    t->failed = k->plan->count;
    for (int i; (i = atomic_fetch_add(&k->next, 1)) < atomic_load(&k->stop);)
        if (pack_node(k->plan, &s->call[i], &t->error)) {
            t->failed = i;
            atomic_store(&k->stop, 0);
        }
    return NULL;
}

static nn_code pack_nodes(nn_plan *p, nn_error *e) {
    enum { MOST_THREADS = 16 };
    packing k = {.plan = p, .stop = p->count};
    packing_thread t[MOST_THREADS] = {{0}};
    int threads = 1, first = 0;
    t[0].packing = &k;
    while (threads < MOST_THREADS && threads < p->device->threads) {
        t[threads].packing = &k;
        if (pthread_create(&t[threads].thread, NULL, pack_some, &t[threads])) break;
        threads++;
    }
    pack_some(&t[0]);
    for (int i = 1; i < threads; i++) {
        pthread_join(t[i].thread, NULL);
        if (t[i].failed < t[first].failed) first = i;
    }
    return t[first].failed < p->count ? nn_fail(e, t[first].error.code, "%s", t[first].error.text) : NN_OK;
}

/* A node without weights is recorded with the part of the node before it; part 0 is there in any case. */
static nn_code pack_all(nn_plan *p, nn_vk_plan *s, nn_error *e) {
    nn_vk_device *d = device_of(p);
    for (int i = 0; i < p->count; i++)
        s->call[i] =
            (nn_vk_call){.node = p->node[i], .traits = p->node[i]->wide ? &d->card.wide : &d->card.traits};
    nn_code code = pack_nodes(p, e);
    for (int i = 1; i < p->count; i++)
        if (!s->call[i].blobs) s->call[i].part = s->call[i - 1].part;
    if (!s->parts) s->parts = 1;
    for (int i = 0; i < s->parts && !code; i++)
        if (s->part[i].store) code = nn_vk_store_upload(s->part[i].store, d, e);
    return code;
}

static nn_code vk_prepare(nn_plan *p, nn_error *e) {
    nn_vk_plan *s = calloc(1, sizeof *s);
    if (s) s->call = calloc((size_t)p->count + 1, sizeof *s->call);
    if (s) s->outside = calloc((size_t)p->count + 1, sizeof *s->outside);
    p->state = s;
    if (!s || !s->call || !s->outside) return nn_fail_memory(e, "a plan");
    return pack_all(p, s, e);
}

/* ---- reserving ---- */

/* Plans of a device never run at the same time, so nothing of the old slab is worth keeping. */
static nn_code grow_slab(nn_vk_device *d, size_t bytes, nn_error *e) {
    enum { SPARE = 1 << 20 }; /* shaders may read a vector beyond the last value */
    if (bytes + SPARE <= d->slab.bytes) return NN_OK;
    nn_vk_buffer_free(&d->slab, d);
    d->generation++;
    return nn_vk_buffer_new(&d->slab, d, bytes + SPARE, NN_VK_CARD, "intermediate values", e);
}

static nn_code new_staging(nn_plan *p, nn_vk_plan *s, nn_error *e) {
    size_t bytes = 0;
    for (int i = 0; i < p->count; i++) {
        const nn_node *n = p->node[i];
        if (n->op != NN_OP_input && !n->output) continue;
        s->outside[i] = bytes;
        bytes += (nn_elements(n->shape) * sizeof(float) + 63) & ~(size_t)63;
    }
    return nn_vk_buffer_new(&s->staging, device_of(p), bytes, NN_VK_HOST, "inputs and outputs", e);
}

static nn_code new_descriptors(nn_vk_device *d, nn_vk_plan *s, nn_error *e) {
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 3 * NN_VK_PARTS};
    VkDescriptorPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = NN_VK_PARTS,
                                       .poolSizeCount = 1,
                                       .pPoolSizes = &size};
    nn_code code =
        NN_VK_TRY(d, CreateDescriptorPool(d->device, &pool, NULL, &s->pool), "a descriptor pool", e);
    for (int i = 0; i < s->parts && !code; i++) {
        VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = s->pool,
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &d->set_layout};
        code = NN_VK_TRY(d, AllocateDescriptorSets(d->device, &info, &s->part[i].set), "a descriptor set", e);
    }
    return code;
}

static nn_code new_queries(nn_vk_device *d, nn_vk_plan *s, int count, nn_error *e) {
    if (s->queries || d->card.tick <= 0) return NN_OK;
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = (uint32_t)count + 1};
    return NN_VK_TRY(d, CreateQueryPool(d->device, &info, NULL, &s->queries), "timestamps", e);
}

/* ---- recording ---- */

static void bind_buffers(nn_vk_device *d, const nn_vk_plan *s, nn_vk_part *part) {
    /* a graph may need no weights (maps only): anything may stand for them */
    const VkBuffer weights = part->store ? part->store->buffer.buffer : d->slab.buffer;
    const VkDescriptorBufferInfo buffer[3] = {{d->slab.buffer, 0, VK_WHOLE_SIZE},
                                              {weights, 0, VK_WHOLE_SIZE},
                                              {s->staging.buffer, 0, VK_WHOLE_SIZE}};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = part->set,
                                  .descriptorCount = 3,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = buffer};
    d->api.UpdateDescriptorSets(d->device, 1, &write, 0, NULL);
    if (part->store) part->generation = part->store->generation;
}

/* An input into the slab, or an output out of it. */
static void record_edge(nn_vk_recorder *r, const nn_plan *p, int i, bool out) {
    const nn_vk_plan *s = p->state;
    const nn_vk_call *c = &s->call[i];
    const nn_node *n = c->node;
    const bool words = nn_vk_is_word(n);
    uint32_t push[3] = {nn_vk_out(c), nn_vk_word(s->outside[i]), (uint32_t)nn_elements(n->shape)};
    const size_t bytes = nn_elements(n->shape) * (c->traits->f16 && !words ? 2 : 4);
    r->set = s->part[c->part].set;
    r->traits = c->traits;
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
    r->device->api.CmdWriteTimestamp(r->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, s->queries,
                                     (uint32_t)i);
    r->apart = true;
}

static void record_node(nn_vk_recorder *r, const nn_plan *p, int i) {
    const nn_vk_plan *s = p->state;
    r->set = s->part[s->call[i].part].set;
    r->traits = s->call[i].traits;
    if (nn_node_runs(p->node[i])) ops[p->node[i]->op]->record(r, &s->call[i]);
}

enum { BEFORE, BESIDE, BEHIND, STRETCHES };

/* The command buffer that a node is recorded in. */
static int stretch_of(const nn_plan *p, int i, int join) {
    const nn_vk_plan *s = p->state;
    return !s->branched ? BEFORE : p->node[i]->branch ? BESIDE : i < join ? BEFORE : BEHIND;
}

/* Inputs, nodes, outputs of one stretch. A profile wants all nodes one after another, in one. */
static void record_nodes(nn_vk_recorder *r, const nn_plan *p, int stretch) {
    const nn_vk_plan *s = p->state;
    const int join = nn_plan_join(p);
    for (int i = 0; i < p->count; i++)
        if (p->node[i]->op == NN_OP_input && stretch_of(p, i, join) == stretch) record_edge(r, p, i, false);
    stamp(r, s, 0);
    for (int i = 0; i < p->count && !r->error.code; i++) {
        if (stretch_of(p, i, join) != stretch) continue;
        record_node(r, p, i);
        stamp(r, s, i + 1);
    }
    for (int i = 0; i < p->count; i++)
        if (p->node[i]->output && stretch == (s->branched ? BEHIND : BEFORE)) record_edge(r, p, i, true);
}

/* Values and weights of earlier submissions before, the host behind. */
static void record_barrier(nn_vk_recorder *r, VkPipelineStageFlags from, VkAccessFlags wrote,
                           VkPipelineStageFlags to, VkAccessFlags reads) {
    const VkMemoryBarrier all = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = reads};
    r->device->api.CmdPipelineBarrier(r->commands, from, to, 0, 1, &all, 0, NULL, 0, NULL);
}

static nn_code record_stretch(nn_plan *p, nn_vk_plan *s, int stretch, nn_error *e) {
    nn_vk_device *d = device_of(p);
    nn_vk_recorder r = {.device = d};
    nn_code code = nn_vk_begin(d, &s->commands[stretch], e);
    if (code) {
        s->commands[stretch] = VK_NULL_HANDLE;
        return code;
    }
    r.commands = s->commands[stretch];
    const VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                               transfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkAccessFlags both = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
    record_barrier(&r, compute | transfer, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, compute,
                   both);
    if (s->profiled && s->queries)
        d->api.CmdResetQueryPool(r.commands, s->queries, 0, (uint32_t)p->count + 1);
    record_nodes(&r, p, stretch);
    record_barrier(&r, compute, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                   VK_ACCESS_HOST_READ_BIT);
    code = NN_VK_TRY(d, EndCommandBuffer(r.commands), "a command buffer", e);
    return r.error.code ? nn_fail(e, r.error.code, "%s", r.error.text) : code;
}

static void free_commands(nn_vk_device *d, nn_vk_plan *s) {
    for (int i = 0; i < STRETCHES; i++) {
        if (s->commands[i]) d->api.FreeCommandBuffers(d->device, d->pool, 1, &s->commands[i]);
        s->commands[i] = VK_NULL_HANDLE;
    }
}

/* All pipelines that the plan wants, made together. */
static nn_code make_pipelines(nn_plan *p, nn_error *e) {
    const nn_vk_plan *s = p->state;
    nn_vk_recorder asks = {.device = device_of(p)};
    for (int i = 0; i < (s->branched ? STRETCHES : 1); i++) record_nodes(&asks, p, i);
    return asks.error.code ? nn_fail(e, asks.error.code, "%s", asks.error.text)
                           : nn_vk_pipelines_make(device_of(p), e);
}

/* Whether the branch is to run on a queue of its own now. */
static bool wants_branch(const nn_plan *p) {
    return !p->profile && nn_plan_join(p) < p->count && !nn_vk_is_crowded(device_of(p));
}

/* ... then with what tells that it is done. */
static nn_code set_branched(nn_plan *p, nn_vk_plan *s, nn_error *e) {
    nn_vk_device *d = device_of(p);
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    s->branched = wants_branch(p);
    return s->branched && !s->joined
               ? NN_VK_TRY(d, CreateSemaphore(d->device, &info, NULL, &s->joined), "a semaphore", e)
               : NN_OK;
}

static nn_code record(nn_plan *p, nn_error *e) {
    nn_vk_device *d = device_of(p);
    nn_vk_plan *s = p->state;
    free_commands(d, s);
    s->recorded = false;
    s->profiled = p->profile;
    nn_code code = grow_slab(d, p->slab_bytes, e);
    if (!code) code = set_branched(p, s, e);
    if (!code && s->profiled) code = new_queries(d, s, p->count, e);
    if (!code) code = make_pipelines(p, e);
    if (code) return code;
    for (int i = 0; i < s->parts; i++) bind_buffers(d, s, &s->part[i]);
    for (int i = 0; i < (s->branched ? STRETCHES : 1) && !code; i++) code = record_stretch(p, s, i, e);
    if (code) return code;
    s->slab_generation = d->generation;
    s->recorded = true;
    return NN_OK;
}

static nn_code vk_reserve(nn_plan *p, nn_error *e) {
    nn_vk_device *d = device_of(p);
    nn_vk_plan *s = p->state;
    nn_code code = new_staging(p, s, e);
    if (!code) code = new_descriptors(d, s, e);
    if (code) return code;
    nn_vk_lock(d);
    code = record(p, e);
    nn_vk_unlock(d);
    return code;
}

/* ---- running ---- */

static void read_times(nn_plan *p, nn_vk_plan *s) {
    nn_vk_device *d = device_of(p);
    uint64_t *tick = calloc((size_t)p->count + 1, sizeof *tick);
    if (!tick || !s->queries ||
        d->api.GetQueryPoolResults(d->device, s->queries, 0, (uint32_t)p->count + 1,
                                   ((size_t)p->count + 1) * sizeof *tick, tick, sizeof *tick,
                                   VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT)) {
        free(tick);
        return; /* no times, no harm */
    }
    for (int i = 0; i < p->count; i++)
        p->seconds[i] = (double)(tick[i + 1] - tick[i]) * (double)d->card.tick * 1e-9;
    free(tick);
}

static nn_code vk_run(nn_plan *p, nn_error *e) {
    nn_vk_device *d = device_of(p);
    nn_vk_plan *s = p->state;
    nn_code code = NN_OK;
    nn_vk_lock(d); /* what was recorded stays true until it is submitted */
    bool same = s->recorded && s->slab_generation == d->generation && s->profiled == p->profile &&
                s->branched == wants_branch(p);
    for (int i = 0; i < s->parts; i++)
        same = same && (!s->part[i].store || s->part[i].generation == s->part[i].store->generation);
    if (!same) code = record(p, e);
    if (!code && s->branched)
        code = nn_vk_submit_branched(d, s->commands[BEFORE], s->commands[BESIDE], s->commands[BEHIND],
                                     s->joined, e);
    else if (!code)
        code = nn_vk_submit(d, s->commands[BEFORE], e);
    if (d->home->runs_left > 0) d->home->runs_left--;
    nn_vk_unlock(d);
    if (!code) code = nn_vk_wait(d, e);
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
    free_commands(d, s);
    if (s->pool) d->api.DestroyDescriptorPool(d->device, s->pool, NULL);
    if (s->joined) d->api.DestroySemaphore(d->device, s->joined, NULL);
    if (s->queries) d->api.DestroyQueryPool(d->device, s->queries, NULL);
    nn_vk_buffer_free(&s->staging, d);
    for (int i = 0; i < s->parts; i++) nn_vk_store_release(s->part[i].store, d);
    nn_vk_lock(d);
    if (d->home->full)
        nn_vk_stores_free(d, true); /* a plan for fewer rows may want its weights laid out otherwise */
    d->home->full = false;
    nn_vk_unlock(d);
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
