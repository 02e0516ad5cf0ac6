/* layers.c - the layer functions of nn.h: each checks shapes against the weights and appends one node.
 *
 * What the checkpoint must hold is decided here, from names and shapes alone; values are read at plan time.
 */
#include "build.h"

#include <stdio.h>
#include <string.h>

/* ---- convolutions: linear, 1-D, 2-D and their transposes are one op ---- */

/* The tensor that has NAME's weight shape: plain, or the direction part of a weight norm. */
static const nn_weight *conv_weight(nn_graph *g, const char *name) {
    static const char *const forms[] = {"%s.weight", "%s.weight_v", "%s.parametrizations.weight.original1"};
    char full[256];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(full, sizeof full, forms[i], name);
#pragma GCC diagnostic pop
        const nn_weight *t = nn_weights_peek(g->weights, full);
        if (t) return t;
    }
    const char *part = nn_has(g, nn_name(g, "%s.weight_g", name)) ? "weight_v" : "weight";
    nn_graph_fail(g, name,
                  "tensor \"%s.%s\" is missing; this is not the checkpoint it is used as, or it is damaged",
                  name, part);
    return NULL;
}

/* Checks NAME's weight against rank and input channels, its bias against the output channels. On success *t.
 */
static bool conv_check(nn_graph *g, nn_tensor x, const char *name, int min_rank, int max_rank, int in_axis,
                       int groups, bool bias, const nn_weight **t) {
    if (!g || g->error.code || !x) return false;
    const nn_weight *w = conv_weight(g, name);
    if (!w) return false;
    if (w->rank < min_rank || w->rank > max_rank) {
        nn_graph_fail(g, name, "tensor \"%s\" has %d axes, expected %d", w->name, w->rank, max_rank);
        return false;
    }
    for (int i = 0; i < w->rank; i++)
        if (w->shape[i] < 1 || w->shape[i] > 65536) {
            nn_graph_fail(g, name, "tensor \"%s\" has an axis of length %lld", w->name,
                          (long long)w->shape[i]);
            return false;
        }
    if (w->shape[in_axis] * groups != x->shape.c) {
        nn_graph_fail(g, name, "tensor \"%s\" takes %lld channels, its input has %d (shape [%d][%d][%d])",
                      w->name, (long long)w->shape[in_axis] * groups, x->shape.c, x->shape.h, x->shape.w,
                      x->shape.c);
        return false;
    }
    int64_t c_out = w->shape[1 - in_axis];
    if (bias) {
        const char *full = nn_name(g, "%s.bias", name);
        const nn_weight *b = nn_weights_peek(g->weights, full);
        if (!b) {
            nn_graph_fail(g, name, "tensor \"%s\" is missing; the checkpoint is damaged", full);
            return false;
        }
        if (b->rank != 1 || b->shape[0] != c_out) {
            nn_graph_fail(g, name, "tensor \"%s\" has shape [%lld], expected [%lld]", full,
                          b->rank == 1 ? (long long)b->shape[0] : -1LL, (long long)c_out);
            return false;
        }
    }
    *t = w;
    return true;
}

static nn_tensor conv_node(nn_graph *g, nn_tensor x, const char *name, nn_shape shape, nn_conv_params p) {
    nn_node *n = nn_node_new(g, NN_OP_conv, name, shape, 1, &x);
    if (!n) return NULL;
    p.pre.kind = NN_STEP_COUNT;
    p.exact = g->exact;
    n->u.conv = p;
    return n;
}

nn_tensor nn_linear(nn_graph *g, nn_tensor x, const char *name) {
    const nn_weight *t;
    if (!conv_check(g, x, name, 2, 3, 1, 1, true, &t)) return NULL;
    if (t->rank == 3 && t->shape[2] != 1)
        return nn_graph_fail(g, name, "tensor \"%s\" has %lld taps, expected 1", t->name,
                             (long long)t->shape[2]);
    nn_shape shape = {x->shape.h, x->shape.w, (int)t->shape[0]};
    return conv_node(
        g, x, name, shape,
        (nn_conv_params){
            .kernel_h = 1, .kernel_w = 1, .stride = 1, .dilation = 1, .groups = 1, .bias = true});
}

nn_tensor nn_conv1d_(nn_graph *g, nn_tensor x, nn_conv1d_options o) {
    const nn_weight *t;
    int stride = o.stride ? o.stride : 1, dilation = o.dilation ? o.dilation : 1,
        groups = o.groups ? o.groups : 1;
    if (!conv_check(g, x, o.name, 3, 3, 1, groups, !o.no_bias, &t)) return NULL;
    if (x->shape.h != 1 || t->shape[0] % groups)
        return nn_graph_fail(g, o.name, "a 1-D convolution of %d groups does not fit shape [%d][%d][%d]",
                             groups, x->shape.h, x->shape.w, x->shape.c);
    int k = (int)t->shape[2];
    int span = x->shape.w + 2 * o.pad - dilation * (k - 1) - 1;
    nn_shape shape = {1, span < 0 ? 0 : span / stride + 1 - o.drop_last, (int)t->shape[0]};
    return conv_node(g, x, o.name, shape,
                     (nn_conv_params){.kernel_h = 1,
                                      .kernel_w = k,
                                      .stride = stride,
                                      .pad_w = o.pad,
                                      .dilation = dilation,
                                      .groups = groups,
                                      .drop_last = o.drop_last,
                                      .bias = !o.no_bias});
}

nn_tensor nn_conv_transpose1d_(nn_graph *g, nn_tensor x, nn_conv_transpose1d_options o) {
    const nn_weight *t;
    if (!conv_check(g, x, o.name, 3, 3, 0, 1, true, &t)) return NULL;
    int k = (int)t->shape[2], stride = o.stride ? o.stride : 1;
    if (x->shape.h != 1 || k - stride != 2 * o.pad)
        return nn_graph_fail(g, o.name,
                             "a transposed convolution of %d taps, stride %d and padding %d does not give %d "
                             "frames for each; the config does not fit the weights",
                             k, stride, o.pad, stride);
    nn_shape shape = {1, x->shape.w * stride, (int)t->shape[1]};
    return conv_node(g, x, o.name, shape,
                     (nn_conv_params){.kernel_h = 1,
                                      .kernel_w = k,
                                      .stride = stride,
                                      .pad_w = o.pad,
                                      .dilation = 1,
                                      .groups = 1,
                                      .transposed = true,
                                      .bias = true});
}

nn_tensor nn_conv2d_(nn_graph *g, nn_tensor x, nn_conv2d_options o) {
    const nn_weight *t;
    if (!conv_check(g, x, o.name, 4, 4, 1, 1, !o.no_bias, &t)) return NULL;
    int kh = (int)t->shape[2], kw = (int)t->shape[3];
    if (kh % 2 == 0 || kw % 2 == 0)
        return nn_graph_fail(g, o.name, "tensor \"%s\" has %dx%d taps, expected odd numbers", t->name, kh,
                             kw);
    nn_shape shape = {x->shape.h, x->shape.w, (int)t->shape[0]};
    return conv_node(g, x, o.name, shape,
                     (nn_conv_params){.kernel_h = kh,
                                      .kernel_w = kw,
                                      .stride = 1,
                                      .pad_h = kh / 2,
                                      .pad_w = kw / 2,
                                      .dilation = 1,
                                      .groups = 1,
                                      .bias = !o.no_bias});
}

nn_tensor nn_conv_transpose2d_(nn_graph *g, nn_tensor x, nn_conv2d_options o) {
    const nn_weight *t;
    if (!conv_check(g, x, o.name, 4, 4, 0, 1, !o.no_bias, &t)) return NULL;
    if (t->shape[2] != 3 || t->shape[3] != 3)
        return nn_graph_fail(g, o.name, "tensor \"%s\" has %lldx%lld taps, expected 3x3", t->name,
                             (long long)t->shape[2], (long long)t->shape[3]);
    nn_shape shape = {2 * x->shape.h, 2 * x->shape.w, (int)t->shape[1]};
    return conv_node(g, x, o.name, shape,
                     (nn_conv_params){.kernel_h = 3,
                                      .kernel_w = 3,
                                      .stride = 2,
                                      .pad_h = 1,
                                      .pad_w = 1,
                                      .dilation = 1,
                                      .groups = 1,
                                      .transposed = true,
                                      .bias = !o.no_bias});
}

/* ---- element-wise: a map node of one step; the planner joins neighbours ---- */

static nn_tensor step_node(nn_graph *g, nn_tensor x, nn_tensor operand, nn_step step, const char *name) {
    nn_tensor in[2] = {x, operand};
    nn_node *n = nn_node_new(g, NN_OP_map, name, nn_shape_of(x), operand ? 2 : 1, in);
    if (!n) return NULL;
    step.operand = operand ? 1 : -1;
    n->n_steps = 1;
    n->steps[0] = step;
    return n;
}

static nn_tensor unary(nn_graph *g, nn_tensor x, nn_step_kind kind, float value) {
    return x ? step_node(g, x, NULL, (nn_step){.kind = kind, .value = value}, "") : NULL;
}

static nn_tensor binary(nn_graph *g, nn_tensor a, nn_tensor b, nn_step_kind kind, const char *what) {
    if (!a || !b) return NULL;
    nn_shape s = a->shape, t = b->shape;
    bool equal = s.h == t.h && s.w == t.w && s.c == t.c, row = t.h == 1 && t.w == 1 && s.c == t.c;
    if (!equal && !row)
        return nn_graph_fail(g, what, "shapes [%d][%d][%d] and [%d][%d][%d] do not go together", s.h, s.w,
                             s.c, t.h, t.w, t.c);
    return step_node(g, a, b, (nn_step){.kind = kind}, "");
}

nn_tensor nn_add(nn_graph *g, nn_tensor a, nn_tensor b) {
    return binary(g, a, b, NN_STEP_ADD, "add");
}
nn_tensor nn_sub(nn_graph *g, nn_tensor a, nn_tensor b) {
    return binary(g, a, b, NN_STEP_SUB, "sub");
}
nn_tensor nn_mul(nn_graph *g, nn_tensor a, nn_tensor b) {
    return binary(g, a, b, NN_STEP_MUL, "mul");
}
nn_tensor nn_scale(nn_graph *g, nn_tensor x, float factor) {
    return unary(g, x, NN_STEP_SCALE, factor);
}
nn_tensor nn_relu(nn_graph *g, nn_tensor x) {
    return unary(g, x, NN_STEP_RELU, 0);
}
nn_tensor nn_leaky_relu(nn_graph *g, nn_tensor x, float slope) {
    return unary(g, x, NN_STEP_LEAKY_RELU, slope);
}
nn_tensor nn_gelu(nn_graph *g, nn_tensor x) {
    return unary(g, x, NN_STEP_GELU, 0);
}
nn_tensor nn_tanh(nn_graph *g, nn_tensor x) {
    return unary(g, x, NN_STEP_TANH, 0);
}
nn_tensor nn_sigmoid(nn_graph *g, nn_tensor x) {
    return unary(g, x, NN_STEP_SIGMOID, 0);
}
nn_tensor nn_exp(nn_graph *g, nn_tensor x) {
    return unary(g, x, NN_STEP_EXP, 0);
}

/* Presence and length of vectors NAME.SUFFIX [c] for normalisations. */
static bool check_vectors(nn_graph *g, nn_tensor x, const char *name, int n, const char *const *suffix) {
    if (!g || g->error.code || !x) return false;
    for (int i = 0; i < n; i++) {
        const char *full = nn_name(g, "%s.%s", name, suffix[i]);
        const nn_weight *t = nn_weights_peek(g->weights, full);
        if (!t) {
            nn_graph_fail(g, name, "tensor \"%s\" is missing; the checkpoint is damaged", full);
            return false;
        }
        if (t->rank != 1 || t->shape[0] != x->shape.c) {
            nn_graph_fail(g, name, "tensor \"%s\" has length %lld, expected %d", full,
                          t->rank == 1 ? (long long)t->shape[0] : -1LL, x->shape.c);
            return false;
        }
    }
    return true;
}

nn_tensor nn_batch_norm(nn_graph *g, nn_tensor x, const char *name) {
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    if (!check_vectors(g, x, name, 4, parts)) return NULL;
    nn_tensor y = step_node(g, x, NULL, (nn_step){.kind = NN_STEP_AFFINE}, name);
    if (y) y->steps[0].name = y->name;
    return y;
}

/* ---- everything else ---- */

nn_tensor nn_layer_norm(nn_graph *g, nn_tensor x, const char *name) {
    static const char *const torch[] = {"weight", "bias"}, *const vits[] = {"gamma", "beta"};
    bool gamma = g && (nn_has(g, nn_name(g, "%s.gamma", name)) || nn_has(g, nn_name(g, "%s.beta", name)));
    if (!check_vectors(g, x, name, 2, gamma ? vits : torch)) return NULL;
    return nn_node_new(g, NN_OP_layer_norm, name, x->shape, 1, &x);
}

nn_tensor nn_group_norm(nn_graph *g, nn_tensor x, const char *name, int groups) {
    static const char *const parts[] = {"weight", "bias"};
    if (!check_vectors(g, x, name, 2, parts)) return NULL;
    if (groups < 1 || x->shape.c % groups)
        return nn_graph_fail(g, name, "%d channels do not divide into %d groups", x->shape.c, groups);
    nn_node *n = nn_node_new(g, NN_OP_group_norm, name, x->shape, 1, &x);
    if (n) n->u.group_norm.groups = groups;
    return n;
}

nn_tensor nn_gated_tanh(nn_graph *g, nn_tensor x) {
    if (!x) return NULL;
    if (x->shape.c % 2) return nn_graph_fail(g, "gate", "%d channels have no two halves", x->shape.c);
    return nn_node_new(g, NN_OP_gate, "", (nn_shape){x->shape.h, x->shape.w, x->shape.c / 2}, 1, &x);
}

nn_tensor nn_attention(nn_graph *g, nn_tensor q, nn_tensor k, nn_tensor v, int heads, const char *relative) {
    if (!q || !k || !v) return NULL;
    nn_shape s = q->shape, t = k->shape, u = v->shape;
    const char *name = relative ? relative : "attention";
    if (s.h != 1 || heads < 1 || s.c % heads || t.h != 1 || t.w != s.w || t.c != s.c || u.h != 1 ||
        u.w != s.w || u.c != s.c)
        return nn_graph_fail(g, name, "q [%d][%d], k [%d][%d] and v [%d][%d] do not fit %d heads", s.w, s.c,
                             t.w, t.c, u.w, u.c, heads);
    int window = 0;
    if (relative) {
        for (int i = 0; i < 2; i++) {
            const char *full = nn_name(g, "%s.emb_rel_%c", relative, "kv"[i]);
            const nn_weight *e = nn_weights_peek(g->weights, full);
            if (!e)
                return nn_graph_fail(g, name, "tensor \"%s\" is missing; the checkpoint is damaged", full);
            if (e->rank != 3 || e->shape[0] != 1 || e->shape[1] % 2 == 0 || e->shape[2] != s.c / heads ||
                (i && e->shape[1] != 2 * window + 1))
                return nn_graph_fail(g, name, "tensor \"%s\" does not have the shape [1][2*window+1][%d]",
                                     full, s.c / heads);
            window = (int)e->shape[1] / 2;
        }
    }
    nn_tensor in[3] = {q, k, v};
    nn_node *n = nn_node_new(g, NN_OP_attention, relative ? relative : "", s, 3, in);
    if (!n) return NULL;
    n->u.attention.heads = heads;
    n->u.attention.window = window;
    n->u.attention.relative = relative != NULL;
    return n;
}

nn_tensor nn_bigru(nn_graph *g, nn_tensor x, const char *name) {
    if (!g || g->error.code || !x) return NULL;
    int hidden = 0;
    for (int reverse = 0; reverse < 2; reverse++) {
        static const char *const parts[] = {"weight_hh", "weight_ih", "bias_ih", "bias_hh"};
        for (int i = 0; i < 4; i++) {
            const char *full = nn_name(g, "%s.%s_l0%s", name, parts[i], reverse ? "_reverse" : "");
            const nn_weight *t = nn_weights_peek(g->weights, full);
            if (!t)
                return nn_graph_fail(g, name, "tensor \"%s\" is missing; the checkpoint is damaged", full);
            if (!hidden && t->rank == 2) hidden = (int)t->shape[1];
            int64_t second = i == 0 ? hidden : x->shape.c;
            if (t->rank != (i < 2 ? 2 : 1) || t->shape[0] != 3 * (int64_t)hidden ||
                (i < 2 && t->shape[1] != second))
                return nn_graph_fail(g, name,
                                     "tensor \"%s\" does not fit a GRU of %d channels and %d hidden units",
                                     full, x->shape.c, hidden);
        }
    }
    nn_node *n = nn_node_new(g, NN_OP_gru, name, (nn_shape){1, x->shape.w, 2 * hidden}, 1, &x);
    if (n) n->u.gru.hidden = hidden;
    return n;
}

nn_tensor nn_avg_pool2x2(nn_graph *g, nn_tensor x) {
    if (!x) return NULL;
    if (x->shape.h % 2 || x->shape.w % 2)
        return nn_graph_fail(g, "avg_pool", "shape [%d][%d] is not even on both axes", x->shape.h,
                             x->shape.w);
    return nn_node_new(g, NN_OP_avg_pool, "", (nn_shape){x->shape.h / 2, x->shape.w / 2, x->shape.c}, 1, &x);
}

nn_tensor nn_embed(nn_graph *g, nn_tensor index, const char *name) {
    if (!g || g->error.code || !index) return NULL;
    const char *full = nn_name(g, "%s.weight", name);
    const nn_weight *t = nn_weights_peek(g->weights, full);
    if (!t) return nn_graph_fail(g, name, "tensor \"%s\" is missing; the checkpoint is damaged", full);
    if (t->rank != 2 || !index->is_index)
        return nn_graph_fail(g, name, "tensor \"%s\" has %d axes, expected 2", full, t->rank);
    return nn_node_new(g, NN_OP_embed, name, (nn_shape){1, index->shape.w, (int)t->shape[1]}, 1, &index);
}

nn_tensor nn_concat(nn_graph *g, nn_tensor a, nn_tensor b) {
    if (!a || !b) return NULL;
    nn_shape s = a->shape, t = b->shape;
    if (s.h != t.h || s.w != t.w)
        return nn_graph_fail(g, "concat", "shapes [%d][%d] and [%d][%d] differ", s.h, s.w, t.h, t.w);
    nn_tensor in[2] = {a, b};
    return nn_node_new(g, NN_OP_concat, "", (nn_shape){s.h, s.w, s.c + t.c}, 2, in);
}

nn_tensor nn_slice(nn_graph *g, nn_tensor x, int from, int count) {
    if (!x) return NULL;
    if (from < 0 || count < 1 || from + count > x->shape.c)
        return nn_graph_fail(g, "slice", "channels %d..%d of %d", from, from + count - 1, x->shape.c);
    nn_node *n = nn_node_new(g, NN_OP_slice, "", (nn_shape){x->shape.h, x->shape.w, count}, 1, &x);
    if (n) n->u.slice.from = from;
    return n;
}

nn_tensor nn_frames(nn_graph *g, nn_tensor x, int from, int count) {
    if (!x) return NULL;
    if (x->shape.h != 1 || from < 0 || count < 1 || from + count > x->shape.w)
        return nn_graph_fail(g, "slice", "frames %d..%d of shape [%d][%d]", from, from + count - 1,
                             x->shape.h, x->shape.w);
    nn_node *n = nn_node_new(g, NN_OP_slice, "", (nn_shape){1, count, x->shape.c}, 1, &x);
    if (n) n->u.slice.row = from;
    return n;
}

nn_tensor nn_flip(nn_graph *g, nn_tensor x) {
    return x ? nn_node_new(g, NN_OP_flip, "", x->shape, 1, &x) : NULL;
}

nn_tensor nn_planar(nn_graph *g, nn_tensor x) {
    return x ? nn_node_new(g, NN_OP_planar, "", (nn_shape){1, x->shape.h, x->shape.c * x->shape.w}, 1, &x)
             : NULL;
}

/* ---- around the networks ---- */

nn_tensor nn_spectrogram_(nn_graph *g, nn_tensor x, nn_spectrogram_options o) {
    if (!g || g->error.code || !x) return NULL;
    const char *window = nn_name(g, "%s.window", o.name), *bank = nn_name(g, "%s.bank", o.name);
    const nn_weight *w = nn_weights_peek(g->weights, window), *b = nn_weights_peek(g->weights, bank);
    if (!w || w->rank != 1 || w->shape[0] != 1024 || !b || b->rank != 2 || b->shape[1] != 513)
        return nn_graph_fail(g, o.name, "tensors \"%s\" [1024] and \"%s\" [bands][513] are needed", window,
                             bank);
    if (x->shape.h != 1 || x->shape.c != 1 || !x->wide || o.samples < 1 || o.samples > x->shape.w ||
        o.frames < 1 || o.rows < o.frames || o.lead < 0)
        return nn_graph_fail(g, o.name, "%d of %d samples do not give %d frames in %d rows", o.samples,
                             x->shape.w, o.frames, o.rows);
    nn_node *n = nn_node_new(g, NN_OP_spectrogram, o.name, (nn_shape){o.rows, (int)b->shape[0], 1}, 1, &x);
    if (!n) return NULL;
    n->u.spectrogram.samples = o.samples;
    n->u.spectrogram.lead = o.lead;
    n->u.spectrogram.frames = o.frames;
    return n;
}

/* One value a frame, as float32: what f0 is. */
static bool is_track(nn_tensor x) {
    return x && x->wide && x->shape.h == 1 && x->shape.c == 1;
}

nn_tensor nn_pitch_decode(nn_graph *g, nn_tensor salience, nn_tensor factor, int frames, float threshold) {
    if (!salience || !factor) return NULL;
    nn_shape s = salience->shape;
    if (s.h != 1 || s.c != 360 || frames < 1 || frames > s.w || !is_track(factor) || factor->shape.w != 2)
        return nn_graph_fail(g, "pitch_decode", "shape [%d][%d][%d] does not hold %d frames of 360 classes",
                             s.h, s.w, s.c, frames);
    if (!g->exact || !salience->wide)
        return nn_graph_fail(g, "pitch_decode",
                             "pitch is worked out in float32 on every device: nn_graph_use(..., true)");
    nn_tensor in[2] = {salience, factor};
    nn_node *n = nn_node_new(g, NN_OP_pitch_decode, "", (nn_shape){1, frames, 1}, 2, in);
    if (n) n->u.pitch_decode.threshold = threshold;
    return n;
}

nn_tensor nn_coarse_pitch(nn_graph *g, nn_tensor f0, int frames) {
    if (!f0) return NULL;
    if (!is_track(f0) || frames > f0->shape.w)
        return nn_graph_fail(g, "coarse_pitch", "%d frames of pitch from shape [%d][%d][%d]", frames,
                             f0->shape.h, f0->shape.w, f0->shape.c);
    nn_node *n = nn_node_new(g, NN_OP_coarse_pitch, "", (nn_shape){1, frames, 1}, 1, &f0);
    if (!n) return NULL;
    n->is_index = true;
    n->wide = false;
    return n;
}

nn_tensor nn_normal(nn_graph *g, nn_tensor place, nn_tensor factor, int frames, int channels, uint32_t stream,
                    int from) {
    if (!place) return NULL;
    if (!place->is_index || place->shape.w != 4 || (factor && (!is_track(factor) || factor->shape.w != 1)) ||
        from < 0)
        return nn_graph_fail(g, "normal", "a place of %d words, from %d", place->shape.w, from);
    nn_tensor in[2] = {place, factor};
    nn_node *n = nn_node_new(g, NN_OP_normal, "", (nn_shape){1, frames, channels}, factor ? 2 : 1, in);
    if (!n) return NULL;
    n->u.normal.stream = stream;
    n->u.normal.row = from;
    return n;
}

nn_tensor nn_sine_source(nn_graph *g, nn_tensor f0, nn_tensor noise, int from, int frames, int upp,
                         int rate) {
    if (!f0 || !noise) return NULL;
    nn_shape s = noise->shape;
    if (!is_track(f0) || from < 0 || frames < 1 || from > f0->shape.w - frames || upp < 1 || rate <= upp ||
        s.h != 1 || s.w * s.c != frames * upp || noise->wide != g->exact)
        return nn_graph_fail(g, "source", "%d frames from %d of %d, with noise of %d", frames, from,
                             f0->shape.w, s.w * s.c);
    nn_tensor in[2] = {f0, noise};
    nn_node *n = nn_node_new(g, NN_OP_source, "", (nn_shape){1, frames * upp, 1}, 2, in);
    if (!n) return NULL;
    n->u.source.upp = upp;
    n->u.source.rate = rate;
    n->u.source.row = from;
    return n;
}

nn_tensor nn_retrieve(nn_graph *g, nn_tensor x, nn_tensor rate, const nn_vectors *v) {
    if (!x || !rate) return NULL;
    if (x->shape.h != 1 || x->shape.c != v->width || x->wide != g->exact || !is_track(rate) ||
        rate->shape.w != 1 || v->lists < 0 || (v->lists && (v->probes < 1 || v->probes > 8)))
        return nn_graph_fail(g, v->name,
                             "vectors of %d channels, %d probes, and features of shape [%d][%d][%d]",
                             v->width, v->probes, x->shape.h, x->shape.w, x->shape.c);
    nn_tensor in[2] = {x, rate};
    nn_node *n = nn_node_new(g, NN_OP_retrieve, v->name, x->shape, 2, in);
    if (n) n->u.retrieve.vectors = v;
    return n;
}

nn_tensor nn_spread(nn_graph *g, nn_tensor x, int frames, nn_tensor own, nn_tensor f0, nn_tensor protect) {
    if (!x) return NULL;
    nn_shape s = x->shape;
    if (s.h != 1 || x->wide != g->exact || frames < 1 || (frames + 1) / 2 > s.w ||
        (own && (own->shape.w != s.w || own->shape.c != s.c)) ||
        (own && (!is_track(f0) || f0->shape.w < frames || !is_track(protect) || protect->shape.w != 1)))
        return nn_graph_fail(g, "spread", "%d frames of shape [%d][%d][%d]", frames, s.h, s.w, s.c);
    nn_tensor in[4] = {x, own, f0, protect};
    return nn_node_new(g, NN_OP_spread, "", (nn_shape){1, frames, s.c}, own ? 4 : 1, in);
}
