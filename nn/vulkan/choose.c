/* choose.c - the devices of this machine: what each can do, and which of them a selector means. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

enum { LEAST_INVOCATIONS = 256, LEAST_SHARED = 16384, LEAST_SHARED_F16 = 32768 };

static bool has_extension(const VkExtensionProperties *list, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(list[i].extensionName, name)) return true;
    return false;
}

enum { MOST_KINDS = 128 };

/* 16x16x16, float16 factors, float32 sums, at subgroup scope; in NVIDIA's dialect. */
static bool has_matrices_nv(const nn_vk_api *api, VkPhysicalDevice card) {
    VkCooperativeMatrixPropertiesNV list[MOST_KINDS];
    uint32_t count = MOST_KINDS;
    if (!api->GetPhysicalDeviceCooperativeMatrixPropertiesNV) return false;
    for (int i = 0; i < MOST_KINDS; i++)
        list[i] =
            (VkCooperativeMatrixPropertiesNV){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_NV};
    if (api->GetPhysicalDeviceCooperativeMatrixPropertiesNV(card, &count, list) < 0) return false;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesNV *m = &list[i];
        if (m->MSize == 16 && m->NSize == 16 && m->KSize == 16 && m->AType == VK_COMPONENT_TYPE_FLOAT16_NV &&
            m->BType == VK_COMPONENT_TYPE_FLOAT16_NV && m->CType == VK_COMPONENT_TYPE_FLOAT32_NV &&
            m->DType == VK_COMPONENT_TYPE_FLOAT32_NV && m->scope == VK_SCOPE_SUBGROUP_NV)
            return true;
    }
    return false;
}

/* The same in that of all makers. */
static bool has_matrices_khr(const nn_vk_api *api, VkPhysicalDevice card) {
    VkCooperativeMatrixPropertiesKHR list[MOST_KINDS];
    uint32_t count = MOST_KINDS;
    if (!api->GetPhysicalDeviceCooperativeMatrixPropertiesKHR) return false;
    for (int i = 0; i < MOST_KINDS; i++)
        list[i] =
            (VkCooperativeMatrixPropertiesKHR){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    if (api->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(card, &count, list) < 0) return false;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *m = &list[i];
        if (m->MSize == 16 && m->NSize == 16 && m->KSize == 16 && m->AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            m->BType == VK_COMPONENT_TYPE_FLOAT16_KHR && m->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            m->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && m->scope == VK_SCOPE_SUBGROUP_KHR &&
            !m->saturatingAccumulation)
            return true;
    }
    return false;
}

/* Families are better with several queues, for those of a device's that run beside one another and for the devices opened
 * beside it; and best without graphics: what is on several queues of an NVIDIA card's graphics family runs in turns, on those
 * of its computing family together. */
static void read_queue(const nn_vk_api *api, nn_vk_card *c) {
    enum { MOST = 32 };
    VkQueueFamilyProperties family[MOST];
    uint32_t count = MOST;
    int best = -1;
    api->GetPhysicalDeviceQueueFamilyProperties(c->handle, &count, family);
    c->family = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const int worth =
            (family[i].queueCount > 1 ? 2 : 0) + (family[i].queueFlags & VK_QUEUE_GRAPHICS_BIT ? 0 : 1);
        if (!(family[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || worth <= best) continue;
        best = worth;
        c->family = i;
        c->queues = family[i].queueCount < NN_VK_QUEUES ? family[i].queueCount : NN_VK_QUEUES;
        c->tick = family[i].timestampValidBits ? c->properties.limits.timestampPeriod : 0;
    }
}

/* Multiprocessors, where the driver tells; a number of the right order where it does not. */
static uint32_t units_of(const nn_vk_api *api, const nn_vk_card *c, const VkExtensionProperties *list,
                         uint32_t count) {
    if (has_extension(list, count, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) {
        VkPhysicalDeviceShaderSMBuiltinsPropertiesNV sm = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
        VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                         .pNext = &sm};
        api->GetPhysicalDeviceProperties2(c->handle, &p);
        if (sm.shaderSMCount) return sm.shaderSMCount;
    }
    return c->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ? 40 : 8;
}

static void read_features(const nn_vk_api *api, nn_vk_card *c, const VkExtensionProperties *list,
                          uint32_t count) {
    VkPhysicalDeviceCooperativeMatrixFeaturesNV nv = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_NV};
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR khr = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    VkPhysicalDeviceVulkan12Features v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceVulkan11Features v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                            .pNext = &v12};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &v11};
    const bool has_nv = has_extension(list, count, VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME);
    const bool has_khr = has_extension(list, count, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
    if (has_khr) v12.pNext = &khr;
    if (has_nv) {
        nv.pNext = v12.pNext;
        v12.pNext = &nv;
    }
    api->GetPhysicalDeviceFeatures2(c->handle, &features);

    VkPhysicalDeviceVulkan11Properties p11 = {.sType =
                                                  VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES};
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &p11};
    api->GetPhysicalDeviceProperties2(c->handle, &p);
    const VkPhysicalDeviceLimits *limits = &c->properties.limits;
    nn_vk_traits *t = &c->traits;
    t->subgroup = p11.subgroupSize;
    t->subgroup_arithmetic = p11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT &&
                             p11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_BASIC_BIT &&
                             p11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
    t->shared_bytes = limits->maxComputeSharedMemorySize;
    t->invocations = limits->maxComputeWorkGroupInvocations;
    if (limits->maxComputeWorkGroupSize[0] < t->invocations)
        t->invocations = limits->maxComputeWorkGroupSize[0];
    t->units = units_of(api, c, list, count);
    t->f16 = v11.storageBuffer16BitAccess && v12.shaderFloat16 && t->shared_bytes >= LEAST_SHARED_F16;
    const bool can = t->f16 && v12.vulkanMemoryModel && t->subgroup >= 8 && t->subgroup <= 64;
    const bool by_nv = can && has_nv && nv.cooperativeMatrix && has_matrices_nv(api, c->handle);
    t->matrix_khr = can && has_khr && khr.cooperativeMatrix && has_matrices_khr(api, c->handle);
    t->matrix = t->matrix_khr || by_nv;
    c->memory_model = v12.vulkanMemoryModel && v12.vulkanMemoryModelDeviceScope;
    c->range = limits->maxStorageBufferRange;
    c->can = *t;
}

static nn_code read_card(const nn_vk_api *api, nn_vk_card *c, nn_error *e) {
    VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    api->GetPhysicalDeviceProperties2(c->handle, &p);
    c->properties = p.properties;
    api->GetPhysicalDeviceMemoryProperties(c->handle, &c->memory);
    for (uint32_t i = 0; i < c->memory.memoryHeapCount; i++)
        if (c->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT &&
            c->memory.memoryHeaps[i].size > c->bytes)
            c->bytes = c->memory.memoryHeaps[i].size;
    read_queue(api, c);
    const uint32_t version = c->properties.apiVersion;
    if (c->family == UINT32_MAX)
        snprintf(c->unusable, sizeof c->unusable, "has no queue for computing");
    else if (version < VK_API_VERSION_1_2)
        snprintf(c->unusable, sizeof c->unusable, "has Vulkan %u.%u only; 1.2 is needed: update its driver",
                 VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    if (*c->unusable) return NN_OK;

    uint32_t count = 0;
    api->EnumerateDeviceExtensionProperties(c->handle, NULL, &count, NULL);
    VkExtensionProperties *list = calloc((size_t)count + 1, sizeof *list);
    if (!list) return nn_fail_memory(e, "Vulkan's list of extensions");
    if (api->EnumerateDeviceExtensionProperties(c->handle, NULL, &count, list) < 0) count = 0;
    read_features(api, c, list, count);
    free(list);
    if (c->traits.invocations < LEAST_INVOCATIONS || c->traits.shared_bytes < LEAST_SHARED)
        snprintf(c->unusable, sizeof c->unusable, "has workgroups of %u invocations and %u bytes only",
                 c->traits.invocations, c->traits.shared_bytes);
    return NN_OK;
}

nn_code nn_vk_cards(const nn_vk_api *api, VkInstance instance, nn_vk_card **out, uint32_t *count,
                    nn_error *e) {
    enum { MOST = 32 };
    VkPhysicalDevice handles[MOST];
    *count = MOST;
    *out = NULL;
    VkResult result = api->EnumeratePhysicalDevices(instance, count, handles);
    if (result != VK_INCOMPLETE && nn_vk_check(result, "Vulkan", "listing the devices", e))
        return NN_ERROR_DEVICE;
    nn_vk_card *cards = calloc(MOST, sizeof *cards);
    if (!cards) return nn_fail_memory(e, "Vulkan's list of devices");
    nn_code code = NN_OK;
    for (uint32_t i = 0; i < *count && !code; i++) {
        cards[i].handle = handles[i];
        code = read_card(api, &cards[i], e);
    }
    if (code)
        free(cards);
    else
        *out = cards;
    return code;
}

void nn_vk_describe(const nn_vk_card *c, uint32_t index, char *line, size_t size) {
    const uint32_t v = c->properties.apiVersion;
    int n =
        snprintf(line, size, "vulkan:%u  %s, %.1f GiB, Vulkan %u.%u", index, c->properties.deviceName,
                 (double)c->bytes / (1024.0 * 1024 * 1024), VK_API_VERSION_MAJOR(v), VK_API_VERSION_MINOR(v));
    if (n < 0 || (size_t)n >= size) return;
    if (*c->unusable)
        snprintf(line + n, size - (size_t)n, " (unusable: %s)", c->unusable);
    else
        snprintf(line + n, size - (size_t)n, ", f32%s%s", c->traits.f16 ? ", f16" : "",
                 c->traits.matrix ? " with cooperative matrices" : "");
}

/* `part` occurs in `text`, whatever the case of their letters. */
static bool contains(const char *text, const char *part) {
    for (; *text; text++) {
        size_t i = 0;
        while (part[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) i++;
        if (!part[i]) return true;
    }
    return false;
}

enum { LEAST_REAL = 2 }; /* rank of what is hardware for sure */

static int rank(const nn_vk_card *c) {
    static const int ranks[] = {[VK_PHYSICAL_DEVICE_TYPE_OTHER] = 1,
                                [VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = 3,
                                [VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = 4,
                                [VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = 2,
                                [VK_PHYSICAL_DEVICE_TYPE_CPU] = 0};
    const int type = (int)c->properties.deviceType;
    return *c->unusable ? -1 : type >= 0 && type < (int)(sizeof ranks / sizeof *ranks) ? ranks[type] : 0;
}

nn_code nn_vk_choose(const nn_vk_card *cards, uint32_t count, const char *selector, uint32_t *chosen,
                     nn_error *e) {
    char list[700] = "", line[200];
    uint32_t best = count;
    unsigned number = 0;
    int end = 0;
    const bool any = !strcmp(selector, "vulkan"), real = !strcmp(selector, "auto");
    const bool by_number = sscanf(selector, "vulkan:%u%n", &number, &end) == 1 && !selector[end];
    for (uint32_t i = 0; i < count; i++) {
        const bool meant = any || (real        ? rank(&cards[i]) >= LEAST_REAL
                                   : by_number ? i == number
                                               : contains(cards[i].properties.deviceName, selector));
        if (meant && (best == count || rank(&cards[i]) > rank(&cards[best]))) best = i;
        nn_vk_describe(&cards[i], i, line, sizeof line);
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? "; " : "", line);
    }
    if (best == count)
        return nn_fail(e, NN_ERROR_DEVICE,
                       "there is no device \"%.64s\"; there are: cpu%s%s (`rvc devices` lists them)",
                       selector, count ? "; " : ", and no Vulkan device", list);
    if (*cards[best].unusable)
        return nn_fail(e, NN_ERROR_DEVICE, "%s %s", cards[best].properties.deviceName, cards[best].unusable);
    *chosen = best;
    return NN_OK;
}
