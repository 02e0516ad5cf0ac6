/* conv_image.c - convolutions of images in float32 on cooperative matrices: which tile, and the weights as
 * conv_image_matrix.comp loads them.
 *
 * Taken are kernels of 3 x 3 and 1 x 1, and transposed ones of 3 x 3 and stride 2. The four outputs that such
 * a one makes of an input see its 2 x 2 neighbours to the right and below, each some of them: a convolution
 * of 2 x 2 with four times the channels, of whose weights 7 in 16 are zero.
 *
 * The weights are matrices [16 output channels][16 input channels], each 512 bytes: for every 16 output
 * channels, every 16 input channels, the taps column by column, first the float16 nearest to the weights,
 * then 2048 times what they lack. What a subgroup needs for 16 channels is thus one run of memory. */
#include "conv_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cpu/conv_fold.h"
#include "conv_weights.h"

enum { SIDE = 16, MATRIX = SIDE * SIDE, MOST_PARTS = 4, VECTOR = 16 };

/* Subgroups of a workgroup and what they share out among them: see the shader. */
typedef struct tile {
    int columns, m, r; /* matrices side by side in a wide image; subgroups along pixels; matrices of each */
    int nt, n;         /* matrices, subgroups along channels */
    int k, channels;   /* subgroups that share a sum; channels in shared memory */
    int splits;        /* workgroups that share a sum */
    float first,
        first_16;        /* microseconds until a tile is done, and for 16 channels under 9 taps (one H200) */
    float next, next_16; /* ... and for one that a unit does besides */
} tile;

static const tile tiles[] = {
    {1, 4, 2, 1, 1, 1, 16, 1, 9.4f, 2.69f, 0.8f, 0.97f},
    {1, 2, 2, 1, 2, 1, 32, 1, 5.5f, 2.25f, 1.2f, 0.89f},
    {1, 1, 2, 1, 4, 1, 64, 1, 5.7f, 2.02f, 2.5f, 0.96f},
    {1, 1, 4, 1, 2, 4, 64, 1, 12.0f, 1.09f, 0.0f, 1.83f},
    {1, 1, 4, 1, 1, 8, 128, 1, 11.1f, 0.63f, 0.0f, 0.88f},
    {1, 1, 4, 1, 2, 4, 64, 4, 3.1f, 2.00f, 3.5f, 0.89f},
};
enum { TILES = sizeof tiles / sizeof *tiles };

static int parts(int n, int of) {
    return (n + of - 1) / of;
}

/* A node as the shader sees it. */
typedef struct form {
    nn_shape in;
    int up, side; /* outputs to an input along each axis; taps along each */
    int channels; /* of the output, all of an input's, in whole matrices */
} form;

static form form_of(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    const int up = p->transposed ? p->stride : 1;
    return (form){n->in[0]->shape, up, p->transposed ? 2 : p->kernel_h,
                  up * up * parts(n->shape.c, SIDE) * SIDE};
}

static bool is_one(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    const bool square = p->kernel_h == p->kernel_w && p->pad_h == p->pad_w && p->pad_h == p->kernel_h / 2;
    if (!square || p->groups > 1 || p->dilation > 1 || p->pre.kind != NN_STEP_COUNT || n->in[0]->shape.h < 2)
        return false;
    if (p->transposed)
        return p->kernel_h == 3 && p->stride == 2 && n->shape.h == 2 * n->in[0]->shape.h &&
               n->shape.c % SIDE == 0;
    return (p->kernel_h == 3 || p->kernel_h == 1) && p->stride == 1;
}

/* A tile for a node. */
typedef struct choice {
    int threads, ty, tx, out_r; /* pixels of the tile; matrices that leave together */
    uint32_t tiles_y, tiles_x;
    bool direct; /* from the matrices to memory */
} choice;

enum { PLAN_TILE };

/* False: the tile does not suit the node or the device. */
static bool place(choice *c, const tile *t, const nn_node *n, const nn_vk_traits *traits) {
    const form f = form_of(n);
    const bool narrow = f.in.w < SIDE;
    const int gap = f.side > 1 ? 1 : 0;
    c->threads = (int)traits->subgroup * t->m * t->n * t->k;
    c->tx = narrow ? f.in.w : SIDE * t->columns;
    c->ty = narrow ? t->m * t->r * SIDE / (f.in.w + gap) : t->m / t->columns * t->r;
    if (f.in.c % t->channels || f.channels % (SIDE * t->nt * t->n) || t->splits > f.in.c / t->channels)
        return false;
    if (t->splits > 1 && n->shape.c % SIDE) return false;
    c->tiles_x = (uint32_t)parts(f.in.w, c->tx);
    c->tiles_y = (uint32_t)parts(f.in.h, c->ty);
    c->ty = narrow ? parts(f.in.h, (int)c->tiles_y) : c->ty;
    c->direct = !narrow && t->k == 1 && f.in.w % c->tx == 0 && n->shape.c % SIDE == 0;
    const int pitch = c->tx + (narrow ? gap : f.side - 1);
    const int pixels =
        narrow ? t->m * t->r * SIDE + (f.side - 1) * (pitch + 1) : (c->ty + f.side - 1) * pitch;
    const size_t in = (size_t)pixels * (size_t)(t->channels / 4 + 1) * VECTOR,
                 out = (size_t)(t->k * t->m * SIDE) * (size_t)(SIDE * t->nt * t->n / 4 + 1) * VECTOR;
    for (int p = 1; p <= MOST_PARTS; p++) {
        c->out_r = parts(t->r, p);
        if ((size_t)c->out_r * out <= (p < MOST_PARTS ? in : traits->shared_bytes)) break;
    }
    return in <= traits->shared_bytes && (c->direct || (size_t)c->out_r * out <= traits->shared_bytes) &&
           c->threads <= (int)traits->invocations;
}

/* Microseconds. */
static double cost(const tile *t, const choice *c, const nn_node *n, const nn_vk_traits *traits) {
    const form f = form_of(n);
    const double groups = (double)c->tiles_x * c->tiles_y * (f.channels / (SIDE * t->nt * t->n)) * t->splits;
    const double more = groups < traits->units ? 0 : groups / traits->units - 1;
    const double steps = (0.4 + 0.6 / 9 * f.side * f.side) * f.in.c / SIDE / t->splits;
    const double sum = t->splits > 1 ? 5 + (double)nn_elements(n->shape) * t->splits * 2e-6 : 0;
    return (double)t->first + (double)t->first_16 * steps +
           more * ((double)t->next + (double)t->next_16 * steps) + sum;
}

/* The environment's "image:3", for measuring. */
static bool forced(const nn_vk_traits *traits, int index) {
    int wanted = -1;
    return !traits->conv || sscanf(traits->conv, "image:%d", &wanted) != 1 || wanted == index;
}

static const tile *choose(choice *out, const nn_node *n, const nn_vk_traits *traits) {
    const tile *best = NULL;
    double least = 0;
    for (int obey = 1; obey >= 0 && !best; obey--)
        for (int i = 0; i < TILES; i++) {
            choice c;
            if ((obey && !forced(traits, i)) || !place(&c, &tiles[i], n, traits)) continue;
            const double time = cost(&tiles[i], &c, n, traits);
            if (best && time >= least) continue;
            least = time;
            best = &tiles[i];
            *out = c;
        }
    return best;
}

bool nn_vk_conv_image_takes(const nn_node *n, const nn_vk_traits *traits) {
    choice c;
    return traits->matrix && !traits->f16 && (!traits->conv || !strncmp(traits->conv, "image", 5)) &&
           is_one(n) && choose(&c, n, traits);
}

/* ---- weights ---- */

static size_t matrices_at(const nn_node *n) {
    return ((size_t)n->shape.c * sizeof(float) + 255) & ~(size_t)255;
}

/* The kernel's row (or column) that an output sees under tap t; -1: none. Of a transposed one the output is
 * the even or the odd one of an input. */
static int kernel_at(const form *f, int odd, int t) {
    if (f->up == 1) return t;
    return odd ? 2 - 2 * t : t ? -1 : 1;
}

/* A matrix of the nearest and one of the rests: output channels n0 .., input channels c0 .. */
static void place_pair(uint16_t *to, const nn_conv_folded *f, int n0, int c0, int ky, int kx) {
    for (int n = 0; n < SIDE && n0 + n < f->c_out; n++)
        for (int c = 0; c < SIDE; c++) {
            const float v = nn_conv_weight_at(f, n0 + n, c0 + c, ky, kx);
            to[n * SIDE + c] = nn_vk_half(v);
            to[MATRIX + n * SIDE + c] = nn_vk_half((v - nn_vk_float(to[n * SIDE + c])) * 2048);
        }
}

static void place_weights(uint16_t *to, const nn_conv_folded *w, const form *f) {
    const int channels = f->channels / (f->up * f->up);
    for (int n0 = 0; n0 < f->channels; n0 += SIDE)
        for (int c0 = 0; c0 < f->in.c; c0 += SIDE)
            for (int tap = 0; tap < f->side * f->side; tap++, to += 2 * MATRIX) {
                const int phase = n0 / channels;
                const int ky = kernel_at(f, phase / 2, tap % f->side),
                          kx = kernel_at(f, phase % 2, tap / f->side);
                if (ky >= 0 && kx >= 0) place_pair(to, w, n0 % channels, c0, ky, kx);
            }
}

static nn_code make_weights(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w,
                            nn_error *e) {
    const nn_node *n = c->node;
    const form f = form_of(n);
    nn_conv_folded folded;
    nn_code code = nn_conv_fold(&folded, n, w, e);
    if (code) return code;
    *bytes = matrices_at(n) +
             (size_t)f.channels * (size_t)f.in.c * (size_t)(f.side * f.side * 2) * sizeof(uint16_t);
    char *blob = calloc(1, *bytes);
    if (blob) {
        memcpy(blob, folded.bias, (size_t)n->shape.c * sizeof(float));
        place_weights((uint16_t *)(void *)(blob + matrices_at(n)), &folded, &f);
    } else {
        code = nn_fail_memory(e, stem);
    }
    nn_conv_unfold(&folded);
    *out = blob;
    return code;
}

nn_code nn_vk_conv_image_pack(nn_vk_packer *k, nn_vk_call *c, nn_error *e) {
    nn_node *n = c->node;
    choice h;
    const tile *t = choose(&h, n, c->traits);
    const nn_code code = nn_vk_conv_pack(k, c, "image", make_weights, e);
    c->plan[PLAN_TILE] = t - tiles;
    n->workspace = t->splits > 1 ? (size_t)t->splits * nn_elements(n->shape) * sizeof(float) : 0;
    return code;
}

/* ---- recording ---- */

void nn_vk_conv_image_record(nn_vk_recorder *r, const nn_vk_call *c) {
    const nn_node *n = c->node;
    const tile *t = &tiles[c->plan[PLAN_TILE]];
    const uint32_t bias = nn_vk_word(c->blob[0]), splits = (uint32_t)t->splits;
    const form f = form_of(n);
    choice h;
    place(&h, t, n, c->traits);
    struct {
        uint32_t x, y, bias, weights, h, tiles_x, splits, partial, step[NN_MAX_STEPS];
    } push = {nn_vk_in(c, 0),
              nn_vk_out(c),
              bias,
              (uint32_t)((c->blob[0] + matrices_at(n)) / VECTOR),
              (uint32_t)f.in.h,
              h.tiles_x,
              splits,
              nn_vk_word(n->workspace_offset),
              {0}};
    nn_vk_step_arguments(c, push.step);
    const nn_vk_dispatch d = {.shader = "conv_image_matrix",
                              .steps = splits > 1 ? NULL : c,
                              .constants = 16,
                              .constant = {(uint32_t)h.threads, (uint32_t)f.in.c, (uint32_t)n->shape.c,
                                           (uint32_t)f.in.w, (uint32_t)h.ty, (uint32_t)h.tx, (uint32_t)t->r,
                                           (uint32_t)t->nt, (uint32_t)t->n, (uint32_t)t->k,
                                           (uint32_t)t->channels, (uint32_t)h.out_r, splits > 1, h.direct,
                                           (uint32_t)f.side, (uint32_t)f.up},
                              .push = &push,
                              .push_bytes = sizeof push,
                              .x = (uint32_t)(f.channels / (SIDE * t->nt * t->n)),
                              .y = h.tiles_x * h.tiles_y,
                              .z = splits};
    nn_vk_reads_inputs(r, c);
    if (splits > 1)
        nn_vk_writes(r, n->workspace_offset, n->workspace);
    else
        nn_vk_writes_output(r, c);
    nn_vk_run(r, &d);
    if (splits > 1) nn_vk_conv_add_parts(r, c, bias, (uint32_t)nn_rows(n->shape), splits);
}
