/* specialize.h - a shader with its specialisation constants put in, before the driver sees it.
 *
 * Drivers specialise too, but read the whole shader first, and keep it: one that could do every fused step in four places is
 * twenty times as long as what is left of it. On an NVIDIA H200 a pipeline takes a third of the time so, and a tenth of the
 * room in the cache. */
#ifndef NN_VULKAN_SPECIALIZE_H
#define NN_VULKAN_SPECIALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* code [words] with constants of id 0 .. count-1, 32-bit numbers or booleans, as constant[id]; what then never runs is left
 * out. *out [*out_words] is for free(). False where that cannot be done: no memory, or code of a kind that is not known here;
 * the driver can do with the code as it is. */
bool nn_vk_specialize(const uint32_t *code, size_t words, const uint32_t *constant, uint32_t count, uint32_t **out,
                      size_t *out_words);

#endif
