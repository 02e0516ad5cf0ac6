/* api.c - opens the Vulkan loader and fills the table of its functions. */
#include "api.h"

#include <dlfcn.h>
#include <string.h>

/* A function pointer out of dlsym's data pointer, as POSIX asks of us. */
static PFN_vkGetInstanceProcAddr loader_entry(void) {
    static const char *const names[] = {"libvulkan.so.1", "libvulkan.so"};
    PFN_vkGetInstanceProcAddr entry = NULL;
    void *loader = NULL;
    for (int i = 0; i < 2 && !loader; i++) loader = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    void *symbol = loader ? dlsym(loader, "vkGetInstanceProcAddr") : NULL;
    memcpy(&entry, &symbol, sizeof entry);
    return entry;
}

nn_code nn_vk_api_open(nn_vk_api *api, nn_error *e) {
    *api = (nn_vk_api){.GetInstanceProcAddr = loader_entry()};
    if (!api->GetInstanceProcAddr)
        return nn_fail(e, NN_ERROR_DEVICE,
                       "this machine has no Vulkan loader (libvulkan.so.1): install the package libvulkan1 "
                       "and a driver, "
                       "or take --device cpu");
#define X(name) api->name = (PFN_vk##name)api->GetInstanceProcAddr(NULL, "vk" #name);
    NN_VK_GLOBAL_FUNCTIONS(X)
#undef X
    if (api->EnumerateInstanceVersion && api->CreateInstance && api->EnumerateInstanceLayerProperties)
        return NN_OK;
    return nn_fail(e, NN_ERROR_DEVICE,
                   "the Vulkan loader of this machine is older than Vulkan 1.2: update it");
}

nn_code nn_vk_api_instance(nn_vk_api *api, VkInstance instance, nn_error *e) {
    const char *missing = NULL;
#define X(name)                                                                                              \
    api->name = (PFN_vk##name)api->GetInstanceProcAddr(instance, "vk" #name);                                \
    if (!api->name) missing = "vk" #name;
    NN_VK_INSTANCE_FUNCTIONS(X)
#undef X
#define X(name) api->name = (PFN_vk##name)api->GetInstanceProcAddr(instance, "vk" #name);
    NN_VK_EXTRA_FUNCTIONS(X)
#undef X
    return missing ? nn_fail(e, NN_ERROR_DEVICE, "the Vulkan loader lacks %s: update it", missing) : NN_OK;
}

nn_code nn_vk_api_device(nn_vk_api *api, VkDevice device, nn_error *e) {
    const char *missing = NULL;
#define X(name)                                                                                              \
    api->name = (PFN_vk##name)api->GetDeviceProcAddr(device, "vk" #name);                                    \
    if (!api->name) missing = "vk" #name;
    NN_VK_DEVICE_FUNCTIONS(X)
#undef X
    return missing ? nn_fail(e, NN_ERROR_DEVICE, "the Vulkan driver lacks %s: update it", missing) : NN_OK;
}

nn_code nn_vk_check(VkResult result, const char *device, const char *what, nn_error *e) {
    switch (result) {
    case VK_SUCCESS: return NN_OK;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return nn_fail(e, NN_ERROR_MEMORY, "%s: out of device memory: %s", device, what);
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return nn_fail(e, NN_ERROR_MEMORY, "%s: out of memory: %s", device, what);
    case VK_ERROR_DEVICE_LOST:
        return nn_fail(
            e, NN_ERROR_DEVICE,
            "%s was lost (%s): the driver reset it, or it was taken away; try again, or take --device cpu",
            device, what);
    case VK_ERROR_INITIALIZATION_FAILED:
        return nn_fail(e, NN_ERROR_DEVICE,
                       "%s could not be initialised (%s): check the driver's installation", device, what);
    default:
        return nn_fail(e, NN_ERROR_DEVICE, "%s: %s failed with Vulkan's code %d", device, what, (int)result);
    }
}
