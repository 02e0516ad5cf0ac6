/* hubert.h - the content: HuBERT base / ContentVec (Hsu et al. 2021; Qian et al. 2022), from 16 kHz samples to one
 * feature vector every 20 ms. */
#ifndef RVC_HUBERT_H
#define RVC_HUBERT_H

#include <stddef.h>
#include "../nn/nn.h"

/* What can be read from the graph; layers that nothing asked for needs are not built. */
enum {
    RVC_HUBERT_L0 = 1, /* "l0" [1][frames][width]: encoder input, after the positional convolution and its norm */
    RVC_HUBERT_V1 = 2, /* "v1" [1][frames][256]: layer 9 through final_proj, for voices of version 1 */
    RVC_HUBERT_V2 = 4, /* "v2" [1][frames][width]: layer 12, for voices of version 2 */
};

/* The graph for n samples: input "audio" [1][n][1]; outputs as asked for. A checkpoint of fewer layers (tests have
 * some) gives its last layer as "v2", and the smaller of 9 and its last as the layer behind "v1". */
nn_graph *rvc_hubert_graph(nn_weights *w, int n, unsigned outputs);

/* Feature frames for n samples: (n - 400)/320 + 1, none below 400. */
size_t rvc_hubert_frames(size_t n);

/* Channels of the features a voice of `version` 1 or 2 takes: the width of final_proj (256), or of the encoder (768);
 * 0 where the checkpoint lacks them. */
int rvc_hubert_width(const nn_weights *w, int version);

#endif
