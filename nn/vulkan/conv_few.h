/* conv_few.h - convolutions of a few factors, whose time is that of writing their output (conv_few.comp). */
#ifndef NN_VULKAN_CONV_FEW_H
#define NN_VULKAN_CONV_FEW_H

#include "op.h"

/* Whether this path takes the node; then pack and record are its op's. */
bool nn_vk_conv_few_takes(const nn_node *n, const nn_vk_traits *traits);
nn_code nn_vk_conv_few_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e);
void nn_vk_conv_few_record(nn_vk_recorder *r, const nn_vk_call *c);

#endif
