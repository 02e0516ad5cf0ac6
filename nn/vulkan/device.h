/* device.h - an open Vulkan device: its memory, its pipelines, the weights it holds.
 *
 * Devices opened beside one another share the card (nn_vk_home): the weights on it, the pipelines, the queue. What a run
 * works in, the slab, is each device's own, so that each thread may have a device.
 *
 * Invariant: a plan's command buffer names the slab and the weights' buffers as they were when it was recorded; all count
 * their generations, and a plan that finds another generation than its own is recorded anew before it runs. A buffer that
 * is replaced is not in use: its home is locked and idle. */
#ifndef NN_VULKAN_DEVICE_H
#define NN_VULKAN_DEVICE_H

#include <pthread.h>

#include "../plan.h"
#include "api.h"
#include "op.h"

typedef struct nn_vk_device nn_vk_device;

/* ---- choice (choose.c) -------------------------------------------------------------------------------------------- */

enum { NN_VK_QUEUES = 4 };           /* at most: each takes some 20 ms to open */

/* What a physical device is and can do, asked before it is opened. */
typedef struct nn_vk_card {
    VkPhysicalDevice handle;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    nn_vk_traits traits, can;        /* what a device uses; what it could */
    nn_vk_traits wide;               /* what it uses for nodes that are float32 on every device */
    uint32_t family;                 /* of its compute queues */
    uint32_t queues;                 /* of them that devices of a home take in turn */
    float tick;                      /* nanoseconds of one timestamp; 0: it has none */
    VkDeviceSize bytes;              /* of its largest device-local heap */
    VkDeviceSize range;              /* largest buffer that a shader can see */
    bool memory_model;
    char unusable[120];              /* why it cannot be taken, or "" */
} nn_vk_card;

/* The cards of the instance, in the driver's order: *out [*count], for free(). */
nn_code nn_vk_cards(const nn_vk_api *api, VkInstance instance, nn_vk_card **out, uint32_t *count, nn_error *e);
nn_code nn_vk_choose(const nn_vk_card *cards, uint32_t count, const char *selector, uint32_t *chosen, nn_error *e);
void nn_vk_describe(const nn_vk_card *card, uint32_t index, char *line, size_t size);

/* ---- memory (memory.c) -------------------------------------------------------------------------------------------- */

typedef struct nn_vk_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceSize bytes, counted;     /* counted: of the device's own memory */
    void *map;                       /* host's view, where it has one */
} nn_vk_buffer;

/* On the card; in the host's memory, mapped; on the card, and mapped if the host sees all of the card's memory and the driver
 * will. */
typedef enum nn_vk_place { NN_VK_CARD, NN_VK_HOST, NN_VK_MAPPED } nn_vk_place;

/* A storage buffer. `what` names it in messages. */
nn_code nn_vk_buffer_new(nn_vk_buffer *b, nn_vk_device *d, VkDeviceSize bytes, nn_vk_place place, const char *what, nn_error *e);
void nn_vk_buffer_free(nn_vk_buffer *b, nn_vk_device *d);

typedef struct nn_vk_blob {
    char *key;
    size_t offset;                   /* in the store's buffer */
    void *data;                      /* not uploaded yet, owned; NULL: is there, or being written */
    size_t bytes;
} nn_vk_blob;

/* Weights of one checkpoint on the card, in one precision: as much as a shader can see at once, so that a large checkpoint
 * may have several stores. All weights of a node are in one. Plans hold stores; those without plans stay for the next
 * one until memory is short. */
typedef struct nn_vk_store {
    struct nn_vk_store *next;
    uint64_t mark;                   /* of the checkpoint */
    bool f16;
    size_t expected;                 /* bytes that it is likely to be filled with */
    int plans;                       /* that use it */
    nn_vk_buffer buffer;
    uint64_t generation;
    size_t used, pending;            /* bytes given out; bytes of them that wait for upload */
    nn_vk_blob *blob;
    size_t blobs, capacity;
} nn_vk_store;

/* A number that no other set of weights of this process has; kept among its packed weights. */
nn_code nn_vk_mark(nn_weights *w, uint64_t *mark, nn_error *e);

/* Where blob `key` lies. *store NULL: in any of the checkpoint's, which is then held and put there; else in that one. */
bool nn_vk_store_find(nn_vk_store **store, nn_vk_device *d, uint64_t mark, const char *key, size_t *offset);
/* Gives a blob its place, likewise: *store NULL: in one that has room, held; or in a new one, with room for all of w, most of
 * it float16 or not. Takes data (free()) over; writes it there, or uploads now and then. */
nn_code nn_vk_store_add(nn_vk_store **store, nn_vk_device *d, const nn_weights *w, bool f16, uint64_t mark, const char *key,
                        void *data, size_t bytes, size_t *offset, nn_error *e);
void nn_vk_store_release(nn_vk_store *s, nn_vk_device *d);
nn_code nn_vk_store_upload(nn_vk_store *s, nn_vk_device *d, nn_error *e);    /* all that waits, and that others are writing */
void nn_vk_stores_free(nn_vk_device *d, bool idle_only);

/* ---- pipelines (pipeline.c) --------------------------------------------------------------------------------------- */

typedef struct nn_vk_shader {
    const char *name;                /* "map.f32" */
    const uint32_t *code;
    size_t bytes;
} nn_vk_shader;

extern const nn_vk_shader nn_vk_shaders[];      /* made by vulkan.mk */
extern const int nn_vk_shader_count;

/* The variant for the device's precision and dialect of matrices; NULL: was not built. */
const nn_vk_shader *nn_vk_shader_find(const nn_vk_traits *t, const char *stem);

enum { NN_VK_ALL_CONSTANTS = NN_VK_FIRST_CONSTANT + NN_VK_CONSTANTS };

typedef struct nn_vk_pipeline {
    const nn_vk_shader *shader;
    uint32_t constant[NN_VK_ALL_CONSTANTS];
    VkPipeline handle;               /* VK_NULL_HANDLE: wanted, not made yet */
    VkResult result;
} nn_vk_pipeline;

/* The pipeline of shader and constants; makes a note that it is wanted if there is none. NULL: out of memory. */
nn_vk_pipeline *nn_vk_pipeline_get(nn_vk_device *d, const nn_vk_shader *shader, const uint32_t *constant);
nn_code nn_vk_pipelines_make(nn_vk_device *d, nn_error *e);            /* all that are wanted, on several threads */
void nn_vk_pipelines_free(nn_vk_device *d);
nn_code nn_vk_cache_load(nn_vk_device *d, nn_error *e);
void nn_vk_cache_save(nn_vk_device *d);

/* ---- the device (device.c) ---------------------------------------------------------------------------------------- */

typedef struct nn_vk_home {
    pthread_mutex_t lock;            /* over all below */
    int devices;                     /* that share it */
    uint32_t next_queue;             /* for the next of them */
    VkDebugUtilsMessengerEXT messenger;
    size_t cache_bytes;              /* of the pipeline cache's file as loaded */
    nn_vk_pipeline **pipeline;
    int pipelines, pipeline_capacity;
    bool staged;                     /* weights go by staging memory in any case: the environment asks for it */
    pthread_rwlock_t writing;        /* read: a blob is being written into a mapped store; the lock above is taken before it */
    nn_vk_buffer upload;             /* staging for weights, made when first needed */
    nn_vk_store *stores;
    size_t bytes, most_bytes;        /* of the card's own memory in use, now and at most */
    size_t limit;                    /* of them, from the environment; 0: none */
    bool full;                       /* something found no room: weights that no plan uses go with the next plan that does */
    size_t page;                     /* bytes that a store should not exceed */
    long runs_left;                  /* of plans until the device is to seem lost; negative: never */
    char complaint[600];             /* the validation layer's first, or "" */
    bool apart;                      /* the dispatch being recorded touches other bytes than those since the last barrier */
} nn_vk_home;

/* The handles down to `cache` are the same in all devices of a home; the last one closes them. */
struct nn_vk_device {
    nn_device base;
    nn_vk_api api;
    VkInstance instance;
    nn_vk_card card;                 /* its traits are what this device uses of them */
    VkDevice device;
    VkQueue queue, side_queue;       /* devices of a home take the family's in turn; may be one and the same */
    VkCommandPool pool;              /* its own, as is the fence */
    VkFence fence;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipelineCache cache;
    nn_vk_home *home;
    nn_vk_buffer slab;
    uint64_t generation;             /* of the slab */
};

/* Held by who changes the home or submits to its queue; recursive. */
void nn_vk_lock(nn_vk_device *d);
void nn_vk_unlock(nn_vk_device *d);

/* A command buffer of the device's: begin it, then finish it (end, submit, wait, free; in failure too), or keep it: end it,
 * submit it under the lock, and wait without. A device that hangs is reset by its driver, which ends the wait. */
nn_code nn_vk_begin(nn_vk_device *d, VkCommandBuffer *out, nn_error *e);
nn_code nn_vk_finish(nn_vk_device *d, VkCommandBuffer commands, nn_error *e);

/* More devices are open than there are pairs of queues: a branch would wait behind another device's whole run, and others fill
 * the card anyway. With the lock held. */
bool nn_vk_is_crowded(const nn_vk_device *d);

nn_code nn_vk_submit(nn_vk_device *d, VkCommandBuffer commands, nn_error *e);
/* `beside` on the other queue, signalling `joined`; `commands` meanwhile, and `behind` both of them. */
nn_code nn_vk_submit_branched(nn_vk_device *d, VkCommandBuffer commands, VkCommandBuffer beside, VkCommandBuffer behind,
                              VkSemaphore joined, nn_error *e);
nn_code nn_vk_wait(nn_vk_device *d, nn_error *e);

#define NN_VK_TRY(d, call, what, e) nn_vk_check((d)->api.call, (d)->base.name, what, e)

/* plan.c */
extern const nn_backend nn_vk_backend;
void nn_vk_close(nn_device *d);

#endif
