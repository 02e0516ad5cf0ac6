/* device.h - an open Vulkan device: its memory, its pipelines, the weights it holds.
 *
 * Invariant: a plan's command buffer names the slab and one set of weights as they were when it was recorded; both count
 * their generations, and a plan that finds another generation than its own is recorded anew before it runs. */
#ifndef NN_VULKAN_DEVICE_H
#define NN_VULKAN_DEVICE_H

#include "../plan.h"
#include "api.h"
#include "op.h"

typedef struct nn_vk_device nn_vk_device;

/* ---- choice (choose.c) -------------------------------------------------------------------------------------------- */

/* What a physical device is and can do, asked before it is opened. */
typedef struct nn_vk_card {
    VkPhysicalDevice handle;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    nn_vk_traits traits;
    uint32_t family;                 /* of its compute queue */
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
    VkDeviceSize bytes;
    void *map;                       /* host's view, where it has one */
} nn_vk_buffer;

/* A storage buffer on the device, or (host) in mapped memory. `what` names it in messages. */
nn_code nn_vk_buffer_new(nn_vk_buffer *b, nn_vk_device *d, VkDeviceSize bytes, bool host, const char *what, nn_error *e);
void nn_vk_buffer_free(nn_vk_buffer *b, nn_vk_device *d);

typedef struct nn_vk_blob {
    char *key;
    size_t offset;                   /* in the store's buffer */
    void *data;                      /* not uploaded yet, owned; NULL: is there */
    size_t bytes;
} nn_vk_blob;

/* The weights of one checkpoint on this device. Plans hold them; without plans they stay for the next one until memory is
 * short. The checkpoint is known by a mark that is kept among its packed weights. */
typedef struct nn_vk_store {
    struct nn_vk_store *next;
    uint64_t mark;
    int plans;                       /* that use it */
    nn_vk_buffer buffer;
    uint64_t generation;
    size_t used, pending;            /* bytes given out; bytes of them that wait for upload */
    nn_vk_blob *blob;
    size_t blobs, capacity;
} nn_vk_store;

/* The store of `w`, new or not, held until nn_vk_store_release. */
nn_code nn_vk_store_hold(nn_vk_store **out, nn_vk_device *d, nn_weights *w, nn_error *e);
void nn_vk_store_release(nn_vk_store *s);
const nn_vk_blob *nn_vk_store_find(const nn_vk_store *s, const char *key);
/* Takes data (free()) over; uploads now and then. *offset: where it will lie. */
nn_code nn_vk_store_add(nn_vk_store *s, nn_vk_device *d, const char *key, void *data, size_t bytes, size_t *offset, nn_error *e);
nn_code nn_vk_store_upload(nn_vk_store *s, nn_vk_device *d, nn_error *e);    /* all that waits */
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
/* Every shader NAME_matrix is there in the device's dialect: the compiler may have known one only. */
bool nn_vk_matrices_built(const nn_vk_traits *t);

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

struct nn_vk_device {
    nn_device base;
    nn_vk_api api;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    nn_vk_card card;
    VkDevice device;
    VkQueue queue;
    VkCommandPool pool;
    VkFence fence;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipelineCache cache;
    size_t cache_bytes;              /* of the cache file as loaded */
    nn_vk_pipeline **pipeline;
    int pipelines, pipeline_capacity;
    nn_vk_buffer slab;
    uint64_t generation;             /* of the slab */
    nn_vk_buffer upload;             /* staging for weights, made when first needed */
    nn_vk_store *stores;
    char complaint[600];             /* the validation layer's first, or "" */
};

/* A command buffer for one use: begin, then submit, which waits and frees it (in failure too). */
nn_code nn_vk_begin(nn_vk_device *d, VkCommandBuffer *out, nn_error *e);
nn_code nn_vk_submit(nn_vk_device *d, VkCommandBuffer commands, bool keep, nn_error *e);

#define NN_VK_TRY(d, call, what, e) nn_vk_check((d)->api.call, (d)->base.name, what, e)

/* plan.c */
extern const nn_backend nn_vk_backend;
void nn_vk_close(nn_device *d);

#endif
