/* vulkan.h - the Vulkan back end as the rest of nn sees it: open a device, list those there are.
 *
 * The Vulkan loader is opened at run time, so the program starts on machines without it. Environment, for diagnosis and
 * tests:
 *
 *   RVC_VULKAN_VALIDATION=1      loads the validation layer and makes its complaints errors of the run
 *   RVC_VULKAN_CONV=plain|matrix forces a path (conv.c); RVC_VULKAN_GRU=1|1:N|4|8 a way of the recurrence (gru.c)
 *   RVC_VULKAN_PLAIN=1           as if the card had no cooperative matrices
 *   RVC_VULKAN_MEMORY=BYTES      as if the card had no more memory than that
 *   RVC_VULKAN_PAGE=BYTES        weights lie in buffers of no more than that, if one layer's fit
 *   RVC_VULKAN_STAGED=1          as if the host did not see the card's memory
 *   RVC_VULKAN_LOSE=N            as if the device were lost after N runs of plans */
#ifndef NN_VULKAN_VULKAN_H
#define NN_VULKAN_VULKAN_H

#include "../cost.h"

/* Opens the device that `selector` names: "vulkan" (the best: a discrete GPU before an integrated one, a CPU last), "auto"
 * (the best that is no CPU), "vulkan:N" (the N-th of the list, from 0) or a part of a device's name, in any case of letters.
 * precision 32: float32 throughout. precision 16: values between nodes and the convolutions' weights are float16, sums
 * float32; the device must have 16-bit storage and arithmetic.
 * NN_ERROR_DEVICE, with a list of what there is, where there is none of that name or it cannot do what is asked. A device
 * is used by one thread at a time. */
nn_code nn_vulkan_open(nn_device **out, const char *selector, int precision, nn_error *e);

/* Another device on the card of `other`, for another thread or another precision; without cooperative matrices if so wished.
 * They share the weights on the card, as far as their precision is the same, and compiled shaders; either may be closed first. */
nn_code nn_vulkan_open_beside(nn_device **out, nn_device *other, int precision, bool matrices, nn_error *e);

bool nn_vulkan_is(const nn_device *d);          /* a device of this back end */
size_t nn_vulkan_memory(nn_device *d);          /* bytes of the card's own memory that it and those beside it have used at most */

int nn_vulkan_abreast(const nn_device *d);      /* devices on its card that queues, memory and the host's cores allow at once */

/* Measures the device's ceilings, which takes some milliseconds and at most 1 GiB of its memory: copies within it, multiply-adds,
 * products of cooperative matrices where it has them. Nothing else should be at work on it. */
nn_code nn_vulkan_peak(nn_device *d, nn_peak *out, nn_error *e);

/* Calls `each` with one line per device, "vulkan:0  NVIDIA H200, 139.8 GiB, Vulkan 1.4, f32, f16 with cooperative matrices":
 * name, memory, features. No Vulkan on this machine is no error: nothing is listed. */
nn_code nn_vulkan_list(void (*each)(void *user, const char *line), void *user, nn_error *e);

#endif
