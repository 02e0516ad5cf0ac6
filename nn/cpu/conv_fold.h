/* conv_fold.h - a convolution's weights with everything folded in that can be folded at load: weight norm, batch norm, the
 * choice of output channels, the linear layer that follows, channels in reverse order (nn_conv_params). */
#ifndef NN_CPU_CONV_FOLD_H
#define NN_CPU_CONV_FOLD_H

#include "../graph.h"

typedef struct nn_conv_folded {
    const nn_node *node;
    int c_out, c_in;              /* c_in of one group */
    float *weight;                /* PyTorch's layout: [c_out][c_in][kh][kw], transposed ones [c_in][c_out][kh][kw] */
    float *bias;                  /* [c_out] */
} nn_conv_folded;

/* The same without weights, for who only wants to know shapes. */
static inline nn_conv_folded nn_conv_shape(const nn_node *n) {
    return (nn_conv_folded){.node = n, .c_out = n->shape.c, .c_in = n->in[0]->shape.c / n->u.conv.groups};
}

/* What of that the node has, for the keys of packed weights: "" for the layer as it is. At most NN_CONV_FORM bytes. */
enum { NN_CONV_FORM = 640 };
void nn_conv_form(const nn_node *n, char form[NN_CONV_FORM]);

/* Reads the weights of conv node n; free them with nn_conv_unfold. */
nn_code nn_conv_fold(nn_conv_folded *f, const nn_node *n, nn_weights *w, nn_error *e);
void nn_conv_unfold(nn_conv_folded *f);

static inline float nn_conv_weight_at(const nn_conv_folded *f, int out, int in, int ky, int kx) {
    const nn_conv_params *p = &f->node->u.conv;
    size_t row = p->transposed ? (size_t)in * (size_t)f->c_out + (size_t)out : (size_t)out * (size_t)f->c_in + (size_t)in;
    return f->weight[(row * (size_t)p->kernel_h + (size_t)ky) * (size_t)p->kernel_w + (size_t)kx];
}

#endif
