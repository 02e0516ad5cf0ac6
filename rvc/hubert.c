/* hubert.c - HuBERT base as a graph, in fairseq's names (Hsu et al. 2021, "HuBERT: Self-Supervised Speech
 * Representation Learning by Masked Prediction of Hidden Units").
 *
 *   audio [n][1]
 *    | conv k10 s5 -> 512, GroupNorm per channel over time, GELU
 *    | conv k3 s2, GELU   (4 times)
 *    | conv k2 s2, GELU   (2 times)            -> [(n - 400)/320 + 1][512]
 *    | LayerNorm, linear 512 -> 768
 *    |--- conv k128, 16 groups, GELU ---+
 *    + <--------------------------------+
 *    | LayerNorm                                                     -> "l0"
 *    | 12 layers:  x = LayerNorm(x + attention(x));  x = LayerNorm(x + fc2(GELU(fc1(x))))
 *    |               after layer 9:  linear 768 -> 256               -> "v1"
 *    v               after layer 12                                  -> "v2"
 *
 * Nothing is masked, dropped or normalised: inference on one recording, as RVC calls it. */
#include "hubert.h"

enum { HEAD_WIDTH = 64, V1_LAYER = 9 };

/* The strides of the seven convolutions; their kernels are in the weights. */
static const int strides[] = {5, 2, 2, 2, 2, 2, 2};
enum { CONVS = sizeof strides / sizeof *strides };

size_t rvc_hubert_frames(size_t n) {
    return n < 400 ? 0 : (n - 400) / 320 + 1;
}

int rvc_hubert_width(const nn_weights *w, int version) {
    const nn_weight *t = nn_weights_peek(w, version == 1 ? "final_proj.weight" : "post_extract_proj.weight");
    return t && t->rank == 2 && t->shape[0] > 0 && t->shape[0] < 65536 ? (int)t->shape[0] : 0;
}

static nn_tensor extractor_layer(nn_graph *g, nn_tensor x, int i) {
    return nn_conv1d(g, x, nn_name(g, "feature_extractor.conv_layers.%d.0", i), .stride = strides[i],
                     .no_bias = true);
}

static nn_tensor other_layers(nn_graph *g, nn_tensor x) {
    for (int i = 1; i < CONVS; i++) x = nn_gelu(g, extractor_layer(g, x, i));
    return x;
}

/* x + GELU(conv(x)): where a frame stands among its neighbours. */
static nn_tensor positions(nn_graph *g, nn_tensor x) {
    const char *name = "encoder.pos_conv.0";
    int inner = nn_weight_dim(g, name, 1), taps = nn_weight_dim(g, name, 2), c = nn_shape_of(x).c;
    /* 64 to each side of an even kernel gives one frame too many: the last is dropped */
    nn_tensor y =
        nn_conv1d(g, x, name, .pad = taps / 2, .groups = inner ? c / inner : 1, .drop_last = taps % 2 == 0);
    return nn_add(g, x, nn_gelu(g, y));
}

static nn_tensor layer(nn_graph *g, nn_tensor x, const char *name) {
    nn_tensor q = nn_linear(g, x, nn_name(g, "%s.self_attn.q_proj", name));
    nn_tensor k = nn_linear(g, x, nn_name(g, "%s.self_attn.k_proj", name));
    nn_tensor v = nn_linear(g, x, nn_name(g, "%s.self_attn.v_proj", name));
    nn_tensor y = nn_attention(g, q, k, v, nn_shape_of(q).c / HEAD_WIDTH, NULL);
    y = nn_linear(g, y, nn_name(g, "%s.self_attn.out_proj", name));
    x = nn_layer_norm(g, nn_add(g, x, y), nn_name(g, "%s.self_attn_layer_norm", name));

    y = nn_gelu(g, nn_linear(g, x, nn_name(g, "%s.fc1", name)));
    y = nn_linear(g, y, nn_name(g, "%s.fc2", name));
    return nn_layer_norm(g, nn_add(g, x, y), nn_name(g, "%s.final_layer_norm", name));
}

/* The last of the outputs asked for. */
static nn_tensor encoder(nn_graph *g, nn_tensor x, int layers, unsigned outputs) {
    if (layers < 1) layers = 1; /* so that the lack of the first is reported */
    int v1_layer = layers < V1_LAYER ? layers : V1_LAYER;
    int needed = outputs & RVC_HUBERT_V2 ? layers : outputs & RVC_HUBERT_V1 ? v1_layer : 0;

    x = nn_linear(g, nn_layer_norm(g, x, "layer_norm"), "post_extract_proj");
    x = nn_layer_norm(g, positions(g, x), "encoder.layer_norm");
    nn_tensor last = x;
    if (outputs & RVC_HUBERT_L0) nn_output(g, x, "l0");
    for (int i = 0; i < needed; i++) {
        x = layer(g, x, nn_name(g, "encoder.layers.%d", i));
        last = x;
        if (i + 1 == v1_layer && outputs & RVC_HUBERT_V1)
            nn_output(g, last = nn_linear(g, x, "final_proj"), "v1");
    }
    if (outputs & RVC_HUBERT_V2) nn_output(g, x, "v2");
    return last;
}

nn_tensor rvc_hubert_network(nn_graph *g, nn_weights *w, nn_tensor audio, unsigned outputs) {
    nn_graph_use(g, w, false);
    nn_tensor x = extractor_layer(g, audio, 0);
    x = nn_gelu(g, nn_group_norm(g, x, "feature_extractor.conv_layers.0.2", nn_shape_of(x).c));
    return encoder(g, other_layers(g, x), nn_count(w, "encoder.layers"), outputs);
}

nn_graph *rvc_hubert_graph(nn_weights *w, int n, unsigned outputs) {
    nn_graph *g = nn_graph_new(w);
    if (!g) return NULL;
    rvc_hubert_network(g, w, nn_input(g, "audio", 1, n, 1), outputs);
    return g;
}

nn_graph *rvc_hubert_extractor_graph(nn_weights *w, int n) {
    nn_graph *g = nn_graph_new(w);
    if (!g) return NULL;
    nn_tensor x = extractor_layer(g, nn_input(g, "audio", 1, n, 1), 0);
    int c = nn_shape_of(x).c;
    x = nn_add(g, nn_mul(g, x, nn_input(g, "scale", 1, 1, c)), nn_input(g, "shift", 1, 1, c));
    nn_output(g, other_layers(g, nn_gelu(g, x)), "features");
    return g;
}

nn_graph *rvc_hubert_encoder_graph(nn_weights *w, int frames, unsigned outputs) {
    nn_graph *g = nn_graph_new(w);
    if (!g) return NULL;
    nn_tensor x = nn_input(g, "features", 1, frames, nn_dim(g, "layer_norm.weight", 0));
    encoder(g, x, nn_count(w, "encoder.layers"), outputs);
    return g;
}
