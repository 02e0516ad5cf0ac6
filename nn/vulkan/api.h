/* api.h - Vulkan's functions, found at run time: the program starts on machines without a Vulkan loader. */
#ifndef NN_VULKAN_API_H
#define NN_VULKAN_API_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "../error.h"

/* VK_KHR_cooperative_matrix, for headers before 1.3.255; the numbers are the registry's. */
#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_cooperative_matrix 1
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
typedef enum VkComponentTypeKHR {
    VK_COMPONENT_TYPE_FLOAT16_KHR = 0, VK_COMPONENT_TYPE_FLOAT32_KHR = 1, VK_COMPONENT_TYPE_MAX_ENUM_KHR = 0x7FFFFFFF
} VkComponentTypeKHR;
typedef enum VkScopeKHR { VK_SCOPE_SUBGROUP_KHR = 3, VK_SCOPE_MAX_ENUM_KHR = 0x7FFFFFFF } VkScopeKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    VkComponentTypeKHR AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(VkPhysicalDevice, uint32_t *,
                                                                                  VkCooperativeMatrixPropertiesKHR *);
#endif

#define NN_VK_GLOBAL_FUNCTIONS(X)                                                                                     \
    X(EnumerateInstanceVersion) X(EnumerateInstanceLayerProperties) X(CreateInstance)

#define NN_VK_INSTANCE_FUNCTIONS(X)                                                                                   \
    X(DestroyInstance) X(EnumeratePhysicalDevices) X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2)      \
    X(GetPhysicalDeviceMemoryProperties) X(GetPhysicalDeviceQueueFamilyProperties)                                    \
    X(EnumerateDeviceExtensionProperties) X(CreateDevice) X(GetDeviceProcAddr)

/* Of extensions: may be absent. */
#define NN_VK_EXTRA_FUNCTIONS(X)                                                                                      \
    X(GetPhysicalDeviceCooperativeMatrixPropertiesNV) X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR) \
    X(CreateDebugUtilsMessengerEXT) X(DestroyDebugUtilsMessengerEXT)

#define NN_VK_DEVICE_FUNCTIONS(X)                                                                                     \
    X(DestroyDevice) X(GetDeviceQueue) X(QueueSubmit) X(DeviceWaitIdle)                                               \
    X(CreateBuffer) X(DestroyBuffer) X(GetBufferMemoryRequirements) X(AllocateMemory) X(FreeMemory)                   \
    X(BindBufferMemory) X(MapMemory)                                                                                  \
    X(CreateDescriptorSetLayout) X(DestroyDescriptorSetLayout) X(CreatePipelineLayout) X(DestroyPipelineLayout)       \
    X(CreateDescriptorPool) X(DestroyDescriptorPool) X(AllocateDescriptorSets) X(UpdateDescriptorSets)                \
    X(CreateShaderModule) X(DestroyShaderModule) X(CreateComputePipelines) X(DestroyPipeline)                         \
    X(CreatePipelineCache) X(DestroyPipelineCache) X(GetPipelineCacheData)                                            \
    X(CreateCommandPool) X(DestroyCommandPool) X(AllocateCommandBuffers) X(FreeCommandBuffers) X(BeginCommandBuffer)                     \
    X(EndCommandBuffer) X(CmdBindPipeline) X(CmdBindDescriptorSets) X(CmdPushConstants) X(CmdDispatch)                \
    X(CmdPipelineBarrier) X(CmdCopyBuffer) X(CmdFillBuffer) X(CmdResetQueryPool) X(CmdWriteTimestamp)                 \
    X(CreateQueryPool) X(DestroyQueryPool) X(GetQueryPoolResults)                                                     \
    X(CreateFence) X(DestroyFence) X(ResetFences) X(WaitForFences) X(CreateSemaphore) X(DestroySemaphore)

typedef struct nn_vk_api {
#define X(name) PFN_vk##name name;
    NN_VK_GLOBAL_FUNCTIONS(X)
    NN_VK_INSTANCE_FUNCTIONS(X)
    NN_VK_EXTRA_FUNCTIONS(X)
    NN_VK_DEVICE_FUNCTIONS(X)
#undef X
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
} nn_vk_api;

/* Opens the loader (once per process; it stays open) and finds the global functions. */
nn_code nn_vk_api_open(nn_vk_api *api, nn_error *e);
nn_code nn_vk_api_instance(nn_vk_api *api, VkInstance instance, nn_error *e);
nn_code nn_vk_api_device(nn_vk_api *api, VkDevice device, nn_error *e);

/* Records what a failed call means: out of memory is NN_ERROR_MEMORY, all else NN_ERROR_DEVICE. VK_SUCCESS is NN_OK. */
nn_code nn_vk_check(VkResult result, const char *device, const char *what, nn_error *e);

#endif
