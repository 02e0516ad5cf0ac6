/* hubert.h - the content: HuBERT base / ContentVec (Hsu et al. 2021; Qian et al. 2022), from 16 kHz samples
 * to one feature vector every 20 ms. */
#ifndef RVC_HUBERT_H
#define RVC_HUBERT_H

#include <stddef.h>
#include "../nn/nn.h"

/* What can be read from the graph; layers that nothing asked for needs are not built. */
enum {
    RVC_HUBERT_L0 =
        1, /* "l0" [1][frames][width]: encoder input, after the positional convolution and its norm */
    RVC_HUBERT_V1 = 2, /* "v1" [1][frames][256]: layer 9 through final_proj, for voices of version 1 */
    RVC_HUBERT_V2 = 4, /* "v2" [1][frames][width]: layer 12, for voices of version 2 */
};

/* The graph for n samples: input "audio" [1][n][1]; outputs as asked for. A checkpoint of fewer layers (tests
 * have some) gives its last layer as "v2", and the smaller of 9 and its last as the layer behind "v1". */
nn_graph *rvc_hubert_graph(nn_weights *w, int n, unsigned outputs);

/* The same as a part of another graph: audio [1][n][1] -> the last of the outputs. */
nn_tensor rvc_hubert_network(nn_graph *g, nn_weights *w, nn_tensor audio, unsigned outputs);

/* The same in two parts. The extractor takes "audio", and the first convolution's normalisation as rows "scale" and
 * "shift" [1][1][512]; output "features" [1][frames][512]. The encoder takes "features". */
nn_graph *rvc_hubert_extractor_graph(nn_weights *w, int n);
nn_graph *rvc_hubert_encoder_graph(nn_weights *w, int frames, unsigned outputs);

/* Feature frames for n samples: (n - 400)/320 + 1, none below 400. */
size_t rvc_hubert_frames(size_t n);

/* Channels of the features a voice of `version` 1 or 2 takes: the width of final_proj (256), or of the
 * encoder (768); 0 where the checkpoint lacks them. */
int rvc_hubert_width(const nn_weights *w, int version);

/* ---- over any number of samples (content.c) ---- */

typedef struct rvc_hubert rvc_hubert;       /* one thread's runner: plans and buffers */

/* Weights and device are borrowed. */
nn_code rvc_hubert_new(rvc_hubert **out, nn_weights *w, nn_device *d, nn_error *e);
void rvc_hubert_free(rvc_hubert *h);        /* NULL is fine */

/* audio [n], n >= 400 -> one of the outputs, [rvc_hubert_frames(n)][its width]. The extractor runs in tiles, so memory grows
 * with the features, not with what the first layers make of the samples. */
nn_code rvc_hubert_run(rvc_hubert *h, const float *audio, size_t n, unsigned output, float *features, nn_error *e);

#endif
