/* record.h - what plan.c and op.c know of a plan, its packing and its recording. */
#ifndef NN_VULKAN_RECORD_H
#define NN_VULKAN_RECORD_H

#include "device.h"

/* One of the stores that a plan's nodes take their weights from. */
typedef struct nn_vk_part {
    nn_vk_store *store;              /* NULL: of nodes that take none */
    VkDescriptorSet set;             /* with the store's buffer as weights */
    uint64_t generation;             /* of the store, that the set names */
} nn_vk_part;

enum { NN_VK_PARTS = 48 };

typedef struct nn_vk_plan {
    nn_vk_call *call;                /* [plan->count] */
    nn_vk_part part[NN_VK_PARTS];
    int parts;
    nn_vk_buffer staging;            /* inputs and outputs as float32 */
    size_t *outside;                 /* [plan->count]: byte offset in staging of an input or output */
    VkDescriptorPool pool;
    VkCommandBuffer commands[3];     /* a branched plan's: before the join, the branch beside, behind the join; else the first */
    VkSemaphore joined;              /* of a branched plan: the branch is done */
    bool branched;
    VkQueryPool queries;             /* count + 1 timestamps, under profile */
    uint64_t slab_generation;        /* that `commands` was recorded for */
    bool recorded, profiled;
} nn_vk_plan;

/* For one node. */
struct nn_vk_packer {
    nn_vk_device *device;
    nn_vk_plan *plan;
    nn_weights *weights;
    uint64_t mark;                   /* of the weights */
    nn_vk_store *store;              /* of the node's blobs; NULL: has none yet */
};

typedef struct nn_vk_range {
    size_t from, to;                 /* bytes of the slab */
    bool write;
} nn_vk_range;

/* Once without a command buffer, to learn which pipelines are wanted; once with it.
 *
 * Invariant: `since` holds what dispatches behind the last barrier touch; no two of them depend on each other. */
enum { NN_VK_NEXT = 2 * NN_MAX_IN + 4, NN_VK_SINCE = 256 };
struct nn_vk_recorder {
    nn_vk_device *device;
    VkCommandBuffer commands;        /* VK_NULL_HANDLE: only asks for pipelines */
    VkPipeline bound;
    VkDescriptorSet set, bound_set;  /* what the next dispatch sees; what was bound last */
    const nn_vk_traits *traits;      /* of the node whose dispatches are recorded */
    nn_error error;
    nn_vk_range next[NN_VK_NEXT], since[NN_VK_SINCE];
    int nexts, sinces;
    bool apart;                      /* the next dispatch waits for all before it */
};

#endif
