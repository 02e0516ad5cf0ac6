/* conv_weights.h - a convolution's weights as the shaders read them (conv.glsl). */
#ifndef NN_VULKAN_CONV_WEIGHTS_H
#define NN_VULKAN_CONV_WEIGHTS_H

#include "op.h"

enum { NN_VK_CONV_PHASE = 8 };       /* words of a phase in the table */

/* The blob: a table of the phases (output y, x; taps along y, x; offset of the first tap along y, x; its matrices' offset
 * in elements), bias [c_out] in float32, then per phase, group and tap a matrix [c_in of the group][pitch]. Bias and
 * matrices start at multiples of 256 bytes. */
typedef struct nn_vk_conv_layout {
    int phases_y, phases_x;
    bool flat;                       /* taps and channels are one axis: 1-D, few channels */
    int channels, taps;              /* of a matrix, as packed; most taps of a phase */
    int pitch;                       /* output channels of a group, rounded up to 8 */
    size_t bias_at, matrices_at, bytes;
} nn_vk_conv_layout;

nn_vk_conv_layout nn_vk_conv_layout_of(const nn_node *n, bool f16);

/* Elements of the matrices: float32, float16, or pairs: the float16 nearest to the float32 and 2048 times what that lacks,
 * eight firsts before eight seconds. */
typedef enum nn_vk_conv_form { NN_VK_CONV_F32, NN_VK_CONV_F16, NN_VK_CONV_PAIRS } nn_vk_conv_form;

/* Makes the blob in the slab's precision, or in pairs: see nn_vk_make. */
nn_code nn_vk_conv_make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w, nn_error *e);
nn_code nn_vk_conv_make_pairs(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w, nn_error *e);

/* Puts the node's weights, laid out by `maker`, and what its steps need on the device. `layout` names its layout; precisions
 * and what is folded in have blobs of their own. */
nn_code nn_vk_conv_pack(nn_vk_packer *k, nn_vk_call *c, const char *layout, nn_vk_make *maker, nn_error *e);

/* The kind of the node's pre-activation as the shaders number steps; 255: none. */
uint32_t nn_vk_conv_pre(const nn_node *n);

/* Reach of a 1-D convolution's taps: rows from the first tap's to the last's. */
int nn_vk_conv_span(const nn_node *n);

#endif
