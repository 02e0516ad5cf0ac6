/* synthesizer.c - RVC's synthesizer as graphs, in the names of RVC-WebUI's infer_pack/models.py.
 *
 * Prior:
 *   phone [T][768] - linear -+                                              speaker - emb_g = g [gin]
 *   pitch [T] - emb_pitch ---+ * sqrt(hidden), leaky 0.1                        |
 *      | 6 layers: x = LN(x + attention(x));  x = LN(x + conv3(ReLU(conv3(x)))) |
 *      | conv1 -> m | logs                                                      |
 *      | z_p = m + exp(logs) * noise                                            |
 *      | 4 times, backward: flip channels; x0 | x1;  x1 -= post(WN(pre(x0), g)) +
 *      v
 *      z [T][192]
 *
 * Generator:
 *   z - conv7 -> 512, + cond(g)                            source [T*upp] - linear, tanh = har
 *      | per level i (rates u):                                              |
 *      |   leaky 0.1, transposed conv: length * u, channels / 2              |
 *      |   + noise_convs.i <-------------------------------------------------+
 *      |   mean of 3 residual blocks (k = 3, 7, 11):
 *      |     3 times x += conv_1(leaky(conv_d(leaky(x)))), d = 1, 3, 5
 *      | leaky 0.01, conv7 -> 1, tanh
 *      v
 *      audio [T*upp]
 *
 * Invariant: lengths are exact at every level, frames times the product of the rates so far. */
#include "synthesizer.h"

#include <math.h>

nn_tensor rvc_speaker(nn_graph *g) {
    return nn_embed(g, nn_input_index(g, "speaker", 1), "emb_g");
}

/* A convolution that keeps the length. */
static nn_tensor same_conv(nn_graph *g, nn_tensor x, const char *name, int dilation) {
    int reach = dilation * (nn_weight_dim(g, name, 2) - 1) / 2;
    return nn_conv1d(g, x, name, .pad = reach > 0 ? reach : 0, .dilation = dilation);
}

/* ---- text encoder ---- */

static nn_tensor encoder_layer(nn_graph *g, nn_tensor x, int heads, int i) {
    const char *name = nn_name(g, "enc_p.encoder.attn_layers.%d", i);
    nn_tensor q = nn_linear(g, x, nn_name(g, "%s.conv_q", name));
    nn_tensor k = nn_linear(g, x, nn_name(g, "%s.conv_k", name));
    nn_tensor v = nn_linear(g, x, nn_name(g, "%s.conv_v", name));
    nn_tensor y = nn_linear(g, nn_attention(g, q, k, v, heads, name), nn_name(g, "%s.conv_o", name));
    x = nn_layer_norm(g, nn_add(g, x, y), nn_name(g, "enc_p.encoder.norm_layers_1.%d", i));

    const char *ffn = nn_name(g, "enc_p.encoder.ffn_layers.%d", i);
    y = nn_relu(g, same_conv(g, x, nn_name(g, "%s.conv_1", ffn), 1));
    y = same_conv(g, y, nn_name(g, "%s.conv_2", ffn), 1);
    return nn_layer_norm(g, nn_add(g, x, y), nn_name(g, "enc_p.encoder.norm_layers_2.%d", i));
}

/* ---- flow ---- */

/* to - post(WaveNet(x)), post's channels reversed where `turned`. WaveNet (van den Oord et al. 2016) without dilation: gated
 * convolutions, each conditioned on the speaker; what counts is the sum of their outputs. post is linear, so it takes these
 * one by one, its bias with the first: the planner makes a single matrix of it and the layer before it. */
static nn_tensor less_wavenet(nn_graph *g, nn_weights *w, nn_tensor to, nn_tensor x, nn_tensor speaker_vector,
                              const char *name, bool turned) {
    int c = nn_shape_of(x).c, layers = nn_count(w, nn_name(g, "%s.enc.in_layers", name));
    nn_tensor condition = nn_conv1d(g, speaker_vector, nn_name(g, "%s.enc.cond_layer", name));
    for (int i = 0; i < layers; i++) {
        bool first = i == 0, last = i + 1 == layers;
        nn_tensor y = same_conv(g, x, nn_name(g, "%s.enc.in_layers.%d", name, i), 1);
        y = nn_gated_tanh(g, nn_add(g, y, nn_slice(g, condition, i * 2 * c, 2 * c)));
        y = nn_conv1d(g, y, nn_name(g, "%s.enc.res_skip_layers.%d", name, i));
        if (!last) x = nn_add(g, x, nn_slice(g, y, 0, c));
        y = nn_conv1d(g, last ? y : nn_slice(g, y, c, c), nn_name(g, "%s.post", name), .no_bias = !first);
        to = nn_sub(g, to, turned ? nn_flip(g, y) : y);
    }
    return to;
}

/* Each coupling begins with a flip of all channels. Here the halves stay where they are, and x is [half 0 | half 1] or,
 * where `turned`, the reverse of that: every other coupling takes its layers' channels in reverse order. */
static nn_tensor flow_backward(nn_graph *g, nn_weights *w, nn_tensor x, nn_tensor speaker_vector) {
    int c = nn_shape_of(x).c / 2, flows = nn_count(w, "flow.flows");
    nn_tensor half[2] = {nn_slice(g, x, 0, c), nn_slice(g, x, c, c)};
    bool turned = false;
    for (int i = flows - 1 - (flows + 1) % 2; i >= 0;
         i -= 2) { /* couplings are even, flips odd and without weights */
        const char *name = nn_name(g, "flow.flows.%d", i);
        turned = !turned;
        nn_tensor x0 = turned ? nn_flip(g, half[1]) : half[0], *x1 = &half[turned ? 0 : 1];
        nn_tensor h = nn_linear(g, x0, nn_name(g, "%s.pre", name));
        *x1 = less_wavenet(g, w, *x1, h, speaker_vector, name, turned);
    }
    x = nn_concat(g, half[0], half[1]);
    return turned ? nn_flip(g, x) : x;
}

nn_tensor rvc_prior(nn_graph *g, nn_weights *w, const rvc_voice_config *c, rvc_prior_inputs in,
                    unsigned outputs) {
    nn_tensor x = nn_linear(g, in.phone, "enc_p.emb_phone");
    if (c->f0) x = nn_add(g, x, nn_embed(g, in.pitch, "enc_p.emb_pitch"));
    x = nn_leaky_relu(g, nn_scale(g, x, sqrtf((float)c->hidden)), 0.1f);
    for (int i = 0; i < c->layers; i++) x = encoder_layer(g, x, c->heads, i);

    x = nn_linear(g, x, "enc_p.proj");
    nn_tensor m = nn_slice(g, x, 0, c->inter), logs = nn_slice(g, x, c->inter, c->inter);
    nn_tensor z_p = nn_add(g, m, nn_mul(g, nn_exp(g, logs), in.noise));
    if (outputs & RVC_PRIOR_STATS) {
        nn_output(g, m, "m");
        nn_output(g, logs, "logs");
        nn_output(g, z_p, "z_p");
    }
    return flow_backward(g, w, z_p, in.speaker);
}

nn_graph *rvc_prior_graph(nn_weights *w, const rvc_voice_config *c, int frames, unsigned outputs) {
    nn_graph *g = nn_graph_new(w);
    if (!g) return NULL;
    rvc_prior_inputs in = {.phone = nn_input(g, "phone", 1, frames, c->feature_width),
                           .pitch = c->f0 ? nn_input_index(g, "pitch", frames) : NULL,
                           .noise = nn_input(g, "noise", 1, frames, c->inter),
                           .speaker = rvc_speaker(g)};
    nn_output(g, rvc_prior(g, w, c, in, outputs), "z");
    return g;
}

/* ---- generator ---- */

/* x + conv(leaky(conv(leaky(x)))) for each dilation. */
static nn_tensor residual_block(nn_graph *g, nn_tensor x, const rvc_voice_config *c, int level, int j) {
    const char *name = nn_name(g, "dec.resblocks.%d", level * c->kernels + j);
    for (int d = 0; d < c->dilations[j]; d++) {
        nn_tensor h =
            same_conv(g, nn_leaky_relu(g, x, 0.1f), nn_name(g, "%s.convs1.%d", name, d), c->dilation[j][d]);
        h = same_conv(g, nn_leaky_relu(g, h, 0.1f), nn_name(g, "%s.convs2.%d", name, d), 1);
        x = nn_add(g, x, h);
    }
    return x;
}

/* The source as level `i` hears it: every `stride` output samples one value, stride the product of the rates
 * to come. */
static nn_tensor noise_conv(nn_graph *g, nn_tensor har, const rvc_voice_config *c, int i) {
    int stride = 1;
    for (int j = i + 1; j < c->levels; j++) stride *= c->up_rate[j];
    return nn_conv1d(g, har, nn_name(g, "dec.noise_convs.%d", i), .stride = stride,
                     .pad = stride > 1 ? stride / 2 : 0);
}

/* The source through its linear layer. NULL where the voice takes no pitch. */
static nn_tensor excitation(nn_graph *g, nn_tensor source) {
    return source ? nn_tanh(g, nn_linear(g, source, "dec.m_source.l_linear")) : NULL;
}

static nn_tensor source_input(nn_graph *g, const rvc_voice_config *c, int samples) {
    return c->f0 ? nn_input(g, "source", 1, samples, 1) : NULL;
}

static nn_tensor first_layer(nn_graph *g, nn_tensor z, nn_tensor speaker) {
    return nn_add(g, same_conv(g, z, "dec.conv_pre", 1), nn_linear(g, speaker, "dec.cond"));
}

static nn_tensor level(nn_graph *g, nn_tensor x, nn_tensor har, const rvc_voice_config *c, int i) {
    nn_tensor noise = har ? noise_conv(g, har, c, i) : NULL, sum = NULL;
    x = nn_leaky_relu(g, x, 0.1f);
    x = nn_conv_transpose1d(g, x, nn_name(g, "dec.ups.%d", i), .stride = c->up_rate[i],
                            .pad = (c->up_kernel[i] - c->up_rate[i]) / 2);
    if (noise) x = nn_add(g, x, noise);
    for (int j = 0; j < c->kernels; j++) {
        nn_tensor y = residual_block(g, x, c, i, j);
        sum = sum ? nn_add(g, sum, y) : y;
    }
    return nn_scale(g, sum, 1.0f / (float)c->kernels);
}

static nn_tensor last_layer(nn_graph *g, nn_tensor x) {
    x = nn_conv1d(g, nn_leaky_relu(g, x, 0.01f), "dec.conv_post", .pad = 3, .no_bias = true);
    return nn_tanh(g, x);
}

nn_tensor rvc_generator_network(nn_graph *g, const rvc_voice_config *c, nn_tensor z, nn_tensor source,
                                nn_tensor speaker, unsigned outputs) {
    nn_tensor har = excitation(g, source), x = first_layer(g, z, speaker);
    if (outputs & RVC_GENERATOR_SOURCE) nn_output(g, har, "har_source");
    for (int i = 0; i < c->levels; i++) x = level(g, x, har, c, i);
    return last_layer(g, x);
}

nn_graph *rvc_generator_graph(nn_weights *w, const rvc_voice_config *c, int frames, unsigned outputs) {
    nn_graph *g = nn_graph_new(w);
    if (!g) return NULL;
    nn_tensor source = source_input(g, c, frames * c->upp), z = nn_input(g, "z", 1, frames, c->inter);
    nn_output(g, rvc_generator_network(g, c, z, source, rvc_speaker(g), outputs), "audio");
    return g;
}

nn_graph *rvc_generator_front_graph(nn_weights *w, const rvc_voice_config *c, int frames) {
    nn_graph *g = nn_graph_new(w);
    if (!g) return NULL;
    nn_tensor har = excitation(g, source_input(g, c, frames * c->upp));
    nn_tensor x = first_layer(g, nn_input(g, "z", 1, frames, c->inter), rvc_speaker(g));
    for (int i = 0; i < rvc_generator_front(c).levels; i++) x = level(g, x, har, c, i);
    nn_output(g, x, "x");
    return g;
}

nn_graph *rvc_generator_back_graph(nn_weights *w, const rvc_voice_config *c, int samples) {
    nn_graph *g = nn_graph_new(w);
    if (!g) return NULL;
    rvc_generator_part front = rvc_generator_front(c);
    nn_tensor har = excitation(g, source_input(g, c, samples * (c->upp / front.rate)));
    nn_tensor x = nn_input(g, "x", 1, samples, front.channels);
    for (int i = front.levels; i < c->levels; i++) x = level(g, x, har, c, i);
    nn_output(g, last_layer(g, x), "audio");
    return g;
}

rvc_generator_part rvc_generator_front(const rvc_voice_config *c) {
    enum { NARROW = 64 };
    rvc_generator_part part = {.rate = 1, .channels = c->channels};
    while (part.levels < c->levels && part.channels / 2 > NARROW) {
        part.rate *= c->up_rate[part.levels++];
        part.channels /= 2;
    }
    return part;
}

/* From the last sample back to the input of level `first`: how far each layer reaches, in samples of its own
 * level. */
static int reach_of_levels(const rvc_voice_config *c, int first) {
    int reach = 3; /* conv_post */
    for (int i = c->levels - 1; i >= first; i--) {
        int widest = 0;
        for (int j = 0; j < c->kernels; j++) {
            int block = 0, half = (c->kernel[j] - 1) / 2;
            for (int d = 0; d < c->dilations[j]; d++) block += half * (c->dilation[j][d] + 1);
            widest = block > widest ? block : widest;
        }
        reach += widest;
        /* a transposed convolution reaches (kernel - rate)/2 + rate - 1 samples of its output, a noise
         * convolution 2 */
        int up = (c->up_kernel[i] + c->up_rate[i]) / 2 - 1;
        reach = (reach + (up > 2 ? up : 2) + c->up_rate[i] - 1) / c->up_rate[i];
    }
    return reach + 1;
}

int rvc_receptive_frames(const rvc_voice_config *c) {
    return reach_of_levels(c, 0) + 3 /* conv_pre */;
}

int rvc_receptive_back(const rvc_voice_config *c) {
    return reach_of_levels(c, rvc_generator_front(c).levels);
}
