/* network.c - RMVPE's network as a graph (Wei et al. 2023, after the authors' E2E0 model).
 *
 *   mel [T][128]
 *    | BN
 *    v
 *   level 0: 4 blocks 1->16 ----------- kept ----------> concat, 4 blocks 32->16   <- up
 *    | 2x2 mean                                            ^ transposed conv 3x3, stride 2, BN, ReLU
 *   level 1: 4 blocks 16->32 ---------- kept ----------> concat, 4 blocks 64->32   <- up
 *    | 2x2 mean                                            ^
 *    ...  (5 levels)                                      ...
 *    v                                                     |
 *   intermediate: 4 levels of 4 blocks, 256 -> 512 --------+
 *
 *   out of level 0 again: conv3x3 16->3, [T][128][3] -> [T][3*128] channel-major, BiGRU 2x256,
 *                         linear 360, sigmoid
 *
 *   block: y = ReLU(BN(conv3x3(ReLU(BN(conv3x3(x)))))), plus x,
 *              or plus shortcut(x) (1x1) where channels change
 *
 * Time is the image's height, mel bands its width. Invariant: how many levels and blocks there are, and how
 * wide, is read off the checkpoint, so the frames must be a multiple of 2^levels. */
#include "rmvpe.h"

#include <stdio.h>

enum { MEL_WIDTH = 128, MAX_LEVELS = 8 };

/* One residual block under `name`. The shortcut stands beside the convolution that does not wait for it, so
 * that a device runs both at once. */
static nn_tensor block(nn_graph *g, nn_tensor x, const char *name) {
    nn_tensor y = nn_conv2d(g, x, nn_name(g, "%s.conv.0", name), .no_bias = true);
    y = nn_relu(g, nn_batch_norm(g, y, nn_name(g, "%s.conv.1", name)));
    const char *shortcut = nn_name(g, "%s.shortcut", name);
    bool changes = nn_shape_of(x).c != nn_shape_of(y).c || nn_has(g, nn_name(g, "%s.weight", shortcut));
    if (changes) x = nn_conv2d(g, x, shortcut);
    y = nn_conv2d(g, y, nn_name(g, "%s.conv.3", name), .no_bias = true);
    y = nn_relu(g, nn_batch_norm(g, y, nn_name(g, "%s.conv.4", name)));
    return nn_add(g, y, x);
}

/* The blocks NAME.0, NAME.1, ...; at least the first, so that a lack of it is reported. */
static nn_tensor blocks(nn_graph *g, nn_weights *w, nn_tensor x, const char *name) {
    int i = 0, n = nn_count(w, name);
    do x = block(g, x, nn_name(g, "%s.%d", name, i));
    while (++i < n);
    return x;
}

static int levels(const nn_weights *w) {
    int n = nn_count(w, "unet.encoder.layers");
    return n < MAX_LEVELS ? n : MAX_LEVELS;
}

int rmvpe_frame_multiple(const nn_weights *w) {
    return 1 << levels(w);
}

/* Convolutions in the blocks of part `i` of `stem`; `tail` is where a part keeps them. */
static int convs(const nn_weights *w, const char *stem, int i, const char *tail) {
    char name[96];
    snprintf(name, sizeof name, "%s.%d.%s", stem, i, tail);
    return 2 * nn_count(w, name);
}

/* A conv3x3 reaches one pixel of its level to each side, which is 2^level frames; a pool and its transposed
 * convolution at most one pixel of the finer level and one of the coarser. */
int rmvpe_receptive_frames(const nn_weights *w) {
    int n = levels(w), reach = 1 /* cnn */;
    for (int i = 0; i < n; i++)
        reach += (convs(w, "unet.encoder.layers", i, "conv") +
                  convs(w, "unet.decoder.layers", n - 1 - i, "conv2") + 3)
                 << i;
    for (int i = 0; i < nn_count(w, "unet.intermediate.layers"); i++)
        reach += convs(w, "unet.intermediate.layers", i, "conv") << n;
    return reach;
}

nn_tensor rmvpe_network(nn_graph *g, nn_weights *w, nn_tensor x) {
    nn_tensor kept[MAX_LEVELS];
    int n = levels(w), deep = nn_count(w, "unet.intermediate.layers");

    nn_graph_use(g, w, true); /* a tenth of a cent is heard as another phase a second later */
    x = nn_batch_norm(g, x, "unet.encoder.bn");
    for (int i = 0; i < n; i++) {
        kept[i] = blocks(g, w, x, nn_name(g, "unet.encoder.layers.%d.conv", i));
        x = nn_avg_pool2x2(g, kept[i]);
    }
    for (int i = 0; i < deep; i++) x = blocks(g, w, x, nn_name(g, "unet.intermediate.layers.%d.conv", i));
    for (int i = 0; i < n; i++) {
        x = nn_conv_transpose2d(g, x, nn_name(g, "unet.decoder.layers.%d.conv1.0", i), .no_bias = true);
        x = nn_relu(g, nn_batch_norm(g, x, nn_name(g, "unet.decoder.layers.%d.conv1.1", i)));
        x = nn_concat(g, x, kept[n - 1 - i]);
        x = blocks(g, w, x, nn_name(g, "unet.decoder.layers.%d.conv2", i));
    }
    x = nn_planar(g, nn_conv2d(g, x, "cnn"));
    x = nn_bigru(g, x, "fc.0.gru");
    return nn_sigmoid(g, nn_linear(g, x, "fc.1"));
}

nn_graph *rmvpe_graph(nn_weights *w, int frames) {
    nn_graph *g = nn_graph_new(w);
    if (!g) return NULL;
    nn_graph_use(g, w, true);
    nn_output(g, rmvpe_network(g, w, nn_input(g, "mel", frames, MEL_WIDTH, 1)), "salience");
    return g;
}
