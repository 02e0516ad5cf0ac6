/* vulkan.h - the Vulkan back end as the rest of the program sees it: open a device, list those there are.
 *
 * The Vulkan loader is opened at run time, so the program starts on machines without it. */
#ifndef NN_VULKAN_VULKAN_H
#define NN_VULKAN_VULKAN_H

#include "../nn.h"

/* Opens the device that `selector` names: "vulkan" (the best: a discrete GPU before an integrated one, a CPU last),
 * "vulkan:N" (the N-th of the list, from 0) or a part of a device's name, in any case of letters.
 * precision 32: float32 throughout. precision 16: values between nodes and the convolutions' weights are float16, sums
 * float32; the device must have 16-bit storage and arithmetic.
 * NN_ERROR_DEVICE, with a list of what there is, where there is none of that name or it cannot do what is asked. A device
 * is used by one thread at a time. Environment, for diagnosis: RVC_VULKAN_VALIDATION=1 loads the validation layer and
 * makes its complaints errors of the run; RVC_VULKAN_CONV=plain|matrix forces a path (conv.c). */
nn_code nn_vulkan_open(nn_device **out, const char *selector, int precision, nn_error *e);

/* Calls `each` with one line per device, "0: NVIDIA H200, 139.8 GiB, Vulkan 1.4, f16, matrices": name, memory, features.
 * No Vulkan on this machine is no error: nothing is listed. */
nn_code nn_vulkan_list(void (*each)(void *user, const char *line), void *user, nn_error *e);

#endif
