/* device.c - opens and closes Vulkan devices, alone or beside another; submits command buffers. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan.h"

/* ---- the instance ---- */

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

static bool validation_wanted(void) {
    const char *v = getenv("RVC_VULKAN_VALIDATION");
    return v && *v && strcmp(v, "0") != 0;
}

static nn_code has_validation(const nn_vk_api *api, nn_error *e) {
    uint32_t count = 0;
    bool found = false;
    api->EnumerateInstanceLayerProperties(&count, NULL);
    VkLayerProperties *list = calloc((size_t)count + 1, sizeof *list);
    if (!list) return nn_fail_memory(e, "Vulkan's list of layers");
    if (api->EnumerateInstanceLayerProperties(&count, list) < 0) count = 0;
    for (uint32_t i = 0; i < count; i++) found |= !strcmp(list[i].layerName, validation_layer);
    free(list);
    if (found) return NN_OK;
    return nn_fail(e, NN_ERROR_DEVICE,
                   "RVC_VULKAN_VALIDATION is set, and the layer %s is not installed (package "
                   "vulkan-validationlayers)",
                   validation_layer);
}

static nn_code new_instance(nn_vk_api *api, VkInstance *out, nn_error *e) {
    static const VkValidationFeatureEnableEXT enables[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    static const VkValidationFeaturesEXT validation = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                                       .enabledValidationFeatureCount = 1,
                                                       .pEnabledValidationFeatures = enables};
    static const char *const layers[] = {validation_layer};
    static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                             VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                     .pApplicationName = "rvc",
                                     .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pApplicationInfo = &application};
    nn_code code = nn_vk_api_open(api, e);
    if (!code && validation_wanted()) {
        code = has_validation(api, e);
        info.pNext = &validation;
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = layers;
        info.enabledExtensionCount = 2;
        info.ppEnabledExtensionNames = extensions;
    }
    uint32_t version = 0;
    if (!code)
        code =
            nn_vk_check(api->EnumerateInstanceVersion(&version), "Vulkan", "asking the loader's version", e);
    if (!code && version < VK_API_VERSION_1_2)
        code = nn_fail(e, NN_ERROR_DEVICE,
                       "the Vulkan loader of this machine knows Vulkan %u.%u only; 1.2 is needed: update it",
                       VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    if (code) return code;
    const VkResult result = api->CreateInstance(&info, NULL, out);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return nn_fail(e, NN_ERROR_DEVICE,
                       "this machine has a Vulkan loader, but no driver: install one (Debian: "
                       "mesa-vulkan-drivers, or the card maker's), or take --device cpu");
    code = nn_vk_check(result, "Vulkan", "creating an instance", e);
    if (!code && (code = nn_vk_api_instance(api, *out, e))) {
        if (api->DestroyInstance) api->DestroyInstance(*out, NULL);
        *out = VK_NULL_HANDLE;
    }
    return code;
}

nn_code nn_vulkan_list(void (*each)(void *user, const char *line), void *user, nn_error *e) {
    nn_vk_api api;
    nn_error none = {0};
    VkInstance instance = VK_NULL_HANDLE;
    if (new_instance(&api, &instance, &none)) {
        if (none.code == NN_ERROR_MEMORY) return nn_fail(e, none.code, "%s", none.text);
        return NN_OK; /* no Vulkan, no devices */
    }
    nn_vk_card *cards = NULL;
    uint32_t count = 0;
    nn_code code = nn_vk_cards(&api, instance, &cards, &count, e);
    for (uint32_t i = 0; i < count && !code; i++) {
        char line[400];
        nn_vk_describe(&cards[i], i, line, sizeof line);
        each(user, line);
    }
    free(cards);
    api.DestroyInstance(instance, NULL);
    return code;
}

/* ---- the device ---- */

/* The layer takes a dispatch to touch the whole of a bound buffer, and the slab is one buffer. It says nothing of two
 * dispatches that write it without a barrier in between, for it knows that it cannot know; but of one that only reads it, as
 * embed.comp reads its indices, it complains whatever the bytes. Where the recorder has just compared the bytes and found
 * them apart, it is right and the layer is not. Any other complaint stands. */
static bool is_mistaken(const nn_vk_home *h, const VkDebugUtilsMessengerCallbackDataEXT *data) {
    const char *id = data->pMessageIdName ? data->pMessageIdName : "", *text = data->pMessage;
    const bool mixed =
        strstr(id, "SYNC-HAZARD-READ-AFTER-WRITE") || strstr(id, "SYNC-HAZARD-WRITE-AFTER-READ");
    return h->apart && mixed && strstr(text, "vkCmdDispatch") && strstr(text, "binding #0");
}

static VKAPI_ATTR VkBool32 VKAPI_CALL complain(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                               VkDebugUtilsMessageTypeFlagsEXT types,
                                               const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
    (void)severity, (void)types;
    nn_vk_home *h = user;
    if (!*h->complaint && !is_mistaken(h, data))
        snprintf(h->complaint, sizeof h->complaint, "%s", data->pMessage);
    return VK_FALSE;
}

static void listen_to_validation(nn_vk_device *d) {
    if (!validation_wanted() || !d->api.CreateDebugUtilsMessengerEXT) return;
    VkDebugUtilsMessengerCreateInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = complain,
        .pUserData = d->home};
    d->api.CreateDebugUtilsMessengerEXT(d->instance, &info, NULL, &d->home->messenger);
}

/* With the lock held, or before anyone else knows of the home. Of four queues two devices that come one after the other
 * have two each; four have one each (see nn_vk_is_crowded). */
static void take_queues(nn_vk_device *d) {
    const uint32_t own = d->home->next_queue++, side = own + d->card.queues / 2;
    d->api.GetDeviceQueue(d->device, d->card.family, own % d->card.queues, &d->queue);
    d->api.GetDeviceQueue(d->device, d->card.family, side % d->card.queues, &d->side_queue);
}

/* Asks for all features that a device of either precision uses, and no others. */
static nn_code new_device(nn_vk_device *d, nn_error *e) {
    const nn_vk_traits *t = &d->card.can;
    const char *const extensions[] = {t->matrix_khr ? VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME
                                                    : VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME};
    float priority[NN_VK_QUEUES];
    for (int i = 0; i < NN_VK_QUEUES; i++) priority[i] = 1;
    VkPhysicalDeviceCooperativeMatrixFeaturesNV nv = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_NV,
        .cooperativeMatrix = VK_TRUE};
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR khr = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .cooperativeMatrix = VK_TRUE};
    void *matrices = t->matrix_khr ? (void *)&khr : (void *)&nv;
    VkPhysicalDeviceVulkan12Features v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                            .pNext = t->matrix ? matrices : NULL,
                                            .shaderFloat16 = t->f16,
                                            .vulkanMemoryModel = d->card.memory_model,
                                            .vulkanMemoryModelDeviceScope = d->card.memory_model};
    VkPhysicalDeviceVulkan11Features v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                            .pNext = &v12,
                                            .storageBuffer16BitAccess = t->f16};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &v11};
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = d->card.family,
                                     .queueCount = d->card.queues,
                                     .pQueuePriorities = priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = t->matrix ? 1 : 0,
                               .ppEnabledExtensionNames = extensions};
    nn_code code =
        NN_VK_TRY(d, CreateDevice(d->card.handle, &info, NULL, &d->device), "opening the device", e);
    if (!code) code = nn_vk_api_device(&d->api, d->device, e);
    if (code) return code;
    take_queues(d);
    return NN_OK;
}

/* The one layout of all shaders: slab, weights, staging; 128 bytes of push constants. */
static nn_code new_layout(nn_vk_device *d, nn_error *e) {
    VkDescriptorSetLayoutBinding binding[3];
    for (uint32_t i = 0; i < 3; i++)
        binding[i] = (VkDescriptorSetLayoutBinding){.binding = i,
                                                    .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                    .descriptorCount = 1,
                                                    .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                           .bindingCount = 3,
                                           .pBindings = binding};
    nn_code code =
        NN_VK_TRY(d, CreateDescriptorSetLayout(d->device, &set, NULL, &d->set_layout), "a layout", e);
    if (code) return code;
    VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, NN_VK_PUSH_BYTES};
    VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                       .setLayoutCount = 1,
                                       .pSetLayouts = &d->set_layout,
                                       .pushConstantRangeCount = 1,
                                       .pPushConstantRanges = &push};
    return NN_VK_TRY(d, CreatePipelineLayout(d->device, &info, NULL, &d->layout), "a layout", e);
}

static nn_code new_commands(nn_vk_device *d, nn_error *e) {
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = d->card.family};
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    nn_code code = NN_VK_TRY(d, CreateCommandPool(d->device, &pool, NULL, &d->pool), "a command pool", e);
    return code ? code : NN_VK_TRY(d, CreateFence(d->device, &fence, NULL, &d->fence), "a fence", e);
}

static long environment_number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 10) : otherwise;
}

/* What of the card's abilities a device of this precision uses. */
static nn_code set_precision(nn_vk_device *d, int precision, nn_error *e) {
    nn_vk_traits *t = &d->card.traits;
    const char *name = d->card.properties.deviceName, *conv = getenv("RVC_VULKAN_CONV");
    if (precision == 16 && !t->f16)
        return nn_fail(e, NN_ERROR_DEVICE,
                       "%s cannot compute in f16 (16-bit storage, shaderFloat16): take --precision f32",
                       name);
    t->f16 = precision == 16;
    t->matrix = t->matrix && !environment_number("RVC_VULKAN_PLAIN", 0);
    t->matrix_khr = t->matrix && t->matrix_khr;
    t->conv = conv && *conv ? conv : NULL;
    d->base.value_bytes = t->f16 ? sizeof(uint16_t) : sizeof(float);
    d->base.overlap_bytes = (size_t)32 << 20; /* what is larger fills a device by itself */
    d->card.wide = *t;
    d->card.wide.f16 = false;
    snprintf(d->base.name, sizeof d->base.name, "%.70s (Vulkan, %s)", name, t->f16 ? "f16" : "f32");
    return NN_OK;
}

static nn_code choose_card(nn_vk_device *d, const char *selector, nn_error *e) {
    nn_vk_card *cards = NULL;
    uint32_t count = 0, chosen = 0;
    nn_code code = nn_vk_cards(&d->api, d->instance, &cards, &count, e);
    if (!code) code = nn_vk_choose(cards, count, selector, &chosen, e);
    if (!code) d->card = cards[chosen];
    free(cards);
    return code;
}

/* What every device can allocate in one piece (Vulkan, maxMemoryAllocationSize), and a shader of this one can see. */
static size_t page_bytes(const nn_vk_card *c) {
    const long wanted = environment_number("RVC_VULKAN_PAGE", 1L << 30);
    const VkDeviceSize range = c->range & ~(VkDeviceSize)255;
    return wanted > 0 && (VkDeviceSize)wanted < range ? (size_t)wanted : (size_t)range;
}

/* A home with one device in it, of no card yet. */
static nn_vk_device *new_home(void) {
    nn_vk_device *d = calloc(1, sizeof *d);
    nn_vk_home *h = calloc(1, sizeof *h);
    pthread_mutexattr_t recursive;
    if (!d || !h || pthread_mutexattr_init(&recursive)) {
        free(d);
        free(h);
        return NULL;
    }
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&h->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_rwlock_init(&h->writing, NULL);
    h->devices = 1;
    h->limit = (size_t)environment_number("RVC_VULKAN_MEMORY", 0);
    h->runs_left = environment_number("RVC_VULKAN_LOSE", -1);
    h->staged = environment_number("RVC_VULKAN_STAGED", 0) != 0;
    d->home = h;
    d->base.backend = &nn_vk_backend;
    d->base.threads = 1;
    snprintf(d->base.name, sizeof d->base.name, "Vulkan");
    return d;
}

static nn_code check_precision(int precision, nn_error *e) {
    if (precision == 32 || precision == 16) return NN_OK;
    return nn_fail(e, NN_ERROR_ARGUMENT, "a Vulkan device computes in f32 or f16, not in %d bits", precision);
}

nn_code nn_vulkan_open(nn_device **out, const char *selector, int precision, nn_error *e) {
    *out = NULL;
    nn_code code = check_precision(precision, e);
    if (code) return code;
    nn_vk_device *d = new_home();
    if (!d) return nn_fail_memory(e, "a device");
    code = new_instance(&d->api, &d->instance, e);
    if (!code) listen_to_validation(d);
    if (!code) code = choose_card(d, selector, e);
    if (!code) code = set_precision(d, precision, e);
    if (!code) d->home->page = page_bytes(&d->card);
    if (!code) code = new_device(d, e);
    if (!code) code = new_layout(d, e);
    if (!code) code = new_commands(d, e);
    if (!code) code = nn_vk_cache_load(d, e);
    if (code)
        nn_vk_close(&d->base);
    else
        *out = &d->base;
    return code;
}

bool nn_vulkan_is(const nn_device *d) {
    return d->backend == &nn_vk_backend;
}

nn_code nn_vulkan_open_beside(nn_device **out, nn_device *other, int precision, bool matrices, nn_error *e) {
    const nn_vk_device *o = (const nn_vk_device *)other;
    *out = NULL;
    nn_code code = check_precision(precision, e);
    if (code) return code;
    nn_vk_device *d = malloc(sizeof *d);
    if (!d) return nn_fail_memory(e, "a device");
    *d = *o;
    d->slab = (nn_vk_buffer){0};
    d->generation = 0;
    d->pool = VK_NULL_HANDLE;
    d->fence = VK_NULL_HANDLE;
    d->card.traits = d->card.can;
    d->card.traits.matrix &= matrices;
    nn_vk_lock(d);
    d->home->devices++;
    take_queues(d);
    nn_vk_unlock(d);
    code = set_precision(d, precision, e);
    if (!code) code = new_commands(d, e);
    if (code)
        nn_vk_close(&d->base);
    else
        *out = &d->base;
    return code;
}

int nn_vulkan_abreast(const nn_device *device) {
    const nn_vk_device *d = (const nn_vk_device *)device;
    const size_t each =
                     (size_t)2 << 30, /* bytes: what a chunk of 40 s is worked out in, with room to spare */
        memory = d->home->limit ? d->home->limit : (size_t)d->card.bytes;
    int most = (int)d->card.queues;
    if (most > device->threads) most = device->threads;
    if ((size_t)most > memory / each) most = (int)(memory / each);
    return most > 1 ? most : 1;
}

size_t nn_vulkan_memory(nn_device *device) {
    nn_vk_device *d = (nn_vk_device *)device;
    nn_vk_lock(d);
    const size_t bytes = d->home->most_bytes;
    nn_vk_unlock(d);
    return bytes;
}

void nn_vk_lock(nn_vk_device *d) {
    pthread_mutex_lock(&d->home->lock);
}
void nn_vk_unlock(nn_vk_device *d) {
    pthread_mutex_unlock(&d->home->lock);
}

/* The last device of its home is gone; also of one that was opened halfway. */
static void close_home(nn_vk_device *d) {
    const nn_vk_api *vk = &d->api;
    nn_vk_home *h = d->home;
    if (d->device && vk->DestroyDevice && vk->DeviceWaitIdle) {
        nn_vk_cache_save(d);
        nn_vk_stores_free(d, false);
        nn_vk_buffer_free(&h->upload, d);
        nn_vk_pipelines_free(d);
        if (d->cache) vk->DestroyPipelineCache(d->device, d->cache, NULL);
        if (d->layout) vk->DestroyPipelineLayout(d->device, d->layout, NULL);
        if (d->set_layout) vk->DestroyDescriptorSetLayout(d->device, d->set_layout, NULL);
        vk->DestroyDevice(d->device, NULL);
    }
    if (h->messenger) vk->DestroyDebugUtilsMessengerEXT(d->instance, h->messenger, NULL);
    if (d->instance && vk->DestroyInstance) vk->DestroyInstance(d->instance, NULL);
    pthread_rwlock_destroy(&h->writing);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void nn_vk_close(nn_device *device) {
    nn_vk_device *d = (nn_vk_device *)device;
    const nn_vk_api *vk = &d->api;
    nn_vk_lock(d);
    if (d->device && vk->DeviceWaitIdle) {
        vk->DeviceWaitIdle(d->device);
        nn_vk_buffer_free(&d->slab, d);
        if (d->fence) vk->DestroyFence(d->device, d->fence, NULL);
        if (d->pool) vk->DestroyCommandPool(d->device, d->pool, NULL);
    }
    const bool last = --d->home->devices == 0;
    nn_vk_unlock(d);
    if (last) close_home(d);
    free(d);
}

/* ---- command buffers ---- */

nn_code nn_vk_begin(nn_vk_device *d, VkCommandBuffer *out, nn_error *e) {
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = d->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    nn_code code = NN_VK_TRY(d, AllocateCommandBuffers(d->device, &info, out), "a command buffer", e);
    if (code) return code;
    code = NN_VK_TRY(d, BeginCommandBuffer(*out, &begin), "a command buffer", e);
    if (code) d->api.FreeCommandBuffers(d->device, d->pool, 1, out);
    return code;
}

/* The validation layer's complaint, if it has one. */
static nn_code complaint_of(nn_vk_device *d, nn_error *e) {
    nn_vk_lock(d);
    nn_code code = NN_OK;
    if (*d->home->complaint)
        code = nn_fail(e, NN_ERROR_DEVICE, "%s: Vulkan's validation layer: %s", d->base.name,
                       d->home->complaint);
    nn_vk_unlock(d);
    return code;
}

nn_code nn_vk_submit(nn_vk_device *d, VkCommandBuffer commands, nn_error *e) {
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
    nn_vk_lock(d);
    const VkResult result =
        d->home->runs_left ? d->api.QueueSubmit(d->queue, 1, &info, d->fence) : VK_ERROR_DEVICE_LOST;
    nn_vk_unlock(d);
    return nn_vk_check(result, d->base.name, "a submission", e);
}

bool nn_vk_is_crowded(const nn_vk_device *d) {
    const int pairs = d->card.queues > 1 ? (int)d->card.queues / 2 : 1,
              others = 1; /* the one that holds the weights */
    return d->home->devices - others > pairs;
}

/* Every wait is for what was submitted before it, so that devices which share a queue never wait for each other in a ring. */
nn_code nn_vk_submit_branched(nn_vk_device *d, VkCommandBuffer commands, VkCommandBuffer beside,
                              VkCommandBuffer behind, VkSemaphore joined, nn_error *e) {
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    const VkSubmitInfo side = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &beside,
                               .signalSemaphoreCount = 1,
                               .pSignalSemaphores = &joined};
    const VkSubmitInfo own[2] = {
        {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands},
        {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
         .waitSemaphoreCount = 1,
         .pWaitSemaphores = &joined,
         .pWaitDstStageMask = &stage,
         .commandBufferCount = 1,
         .pCommandBuffers = &behind}};
    nn_vk_lock(d);
    VkResult result = VK_ERROR_DEVICE_LOST;
    if (d->home->runs_left) result = d->api.QueueSubmit(d->side_queue, 1, &side, VK_NULL_HANDLE);
    if (!result) result = d->api.QueueSubmit(d->queue, 2, own, d->fence);
    nn_vk_unlock(d);
    return nn_vk_check(result, d->base.name, "a submission", e);
}

nn_code nn_vk_wait(nn_vk_device *d, nn_error *e) {
    nn_code code = NN_VK_TRY(d, WaitForFences(d->device, 1, &d->fence, VK_TRUE, UINT64_MAX), "a run", e);
    if (!code) code = NN_VK_TRY(d, ResetFences(d->device, 1, &d->fence), "a run", e);
    return code ? code : complaint_of(d, e);
}

nn_code nn_vk_finish(nn_vk_device *d, VkCommandBuffer commands, nn_error *e) {
    nn_code code = NN_VK_TRY(d, EndCommandBuffer(commands), "a command buffer", e);
    if (!code) code = nn_vk_submit(d, commands, e);
    if (!code) code = nn_vk_wait(d, e);
    d->api.FreeCommandBuffers(d->device, d->pool, 1, &commands);
    return code;
}
