/* conv_image.h - convolutions of images in float32 on cooperative matrices (conv_image_matrix.comp), and the
 * sum of parts that every split convolution ends with. */
#ifndef NN_VULKAN_CONV_IMAGE_H
#define NN_VULKAN_CONV_IMAGE_H

#include "op.h"

/* Whether this path takes the node; then pack and record are its op's. */
bool nn_vk_conv_image_takes(const nn_node *n, const nn_vk_traits *traits);
nn_code nn_vk_conv_image_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e);
void nn_vk_conv_image_record(nn_vk_recorder *r, const nn_vk_call *c);

/* `splits` parts [rows][channels] of float32 in the node's workspace become its output; bias: floats of the
 * weights. */
void nn_vk_conv_add_parts(nn_vk_recorder *r, const nn_vk_call *c, uint32_t bias, uint32_t rows,
                          uint32_t splits);

#endif
