/* conv.c - linear layers, 1-D and 2-D convolutions and their transposes as one shifted-rows matrix product.
 *
 * Channels are innermost, so the input of one tap is the input's rows shifted by a constant, and a convolution is a sum
 * of matrix products of shifted rows with the taps' matrices (tile.h); nothing like im2col is ever written.
 *
 *   line     The input as one sequence of rows with zeros where padding is read. A signal [T][C] is a line as it stands;
 *            of an image [h][w][C] the rows of pixels follow one another with pad_w zero pixels between them, so that
 *            tap (dy, dx) is an offset of dy * (w + pad_w) + dx for every pixel. Outputs at the zero pixels are not kept.
 *            A tall image is laid out by columns instead: fewer zero pixels.
 *   block    What one task takes of the line, copied into its scratch with the zeros and the pre-activation. Layers
 *            without padding read their input in place.
 *   phase    A transposed convolution of stride s is s (s*s) convolutions, each giving every s-th output.
 *   panel    NN_NR output channels: bias, then one line of weights per (tap, input channel), packed once at load.
 *
 * Layers whose shape allows it take a form with fewer multiplications instead, which is the same product over other
 * rows: Toom-Cook (toom_cook.h), that of stride 2 (toom_strided.h), products by halves (strassen.h). Every output is
 * summed by one task in one order: threads and blocks change no bit. */
#include "conv_pack.h"
#include "strassen.h"
#include "toom_cook.h"
#include "toom_strided.h"

/* Input rows of a block: they and a panel stay in L2. In place they cost nothing to be taken, but panels to be read. */
enum { BLOCK_BYTES = 160 * 1024, BLOCK_BYTES_IN_PLACE = 384 * 1024 };

enum { PLAN_BLOCK, PLAN_BLOCKS, PLAN_PARTS, PLAN_LINES, PLAN_PITCH, PLAN_IN_PLACE };

static const nn_conv_pack *packed(const nn_node *n) {
    return n->blob[0];
}

/* Channels in a row of the line: one group's where there are groups. */
static int line_channels(const nn_node *n) {
    return n->in[0]->shape.c / n->u.conv.groups;
}

/* The line holds pairs of bfloat16 instead of floats. */
static bool in_pairs(const nn_node *n) {
    return NN_HAS_BF16 && nn_conv_pairs(n);
}

/* Floats, or pairs, in a row of the line. */
static int line_width(const nn_node *n) {
    return in_pairs(n) ? line_channels(n) / 2 : line_channels(n);
}

static bool is_image(const nn_conv_params *p) {
    return p->kernel_h > 1;
}

/* The image goes into its line by columns. */
static bool by_columns(const nn_node *n) {
    const nn_shape in = n->in[0]->shape;
    return is_image(&n->u.conv) && !n->u.conv.transposed && in.h > in.w;
}

/* Line rows from one row (or column) of the image to the next. */
static int pitch(const nn_node *n) {
    const nn_conv_params *p = &n->u.conv;
    const nn_shape in = n->in[0]->shape;
    return by_columns(n) ? in.h + p->pad_h : in.w + (is_image(p) ? p->pad_w : 0);
}

/* Floats from line row to line row. Rows a multiple of the cache's 4096-byte period apart would all fall into one of its
 * sets, so those are spread: the block is then always copied. */
static int line_row(const nn_node *n) {
    const int width = line_width(n), step = n->u.conv.transposed ? 1 : n->u.conv.stride;
    return width * step * (int)sizeof(float) % 4096 ? width : width + 16;
}

/* Offset in line rows of a tap, or of one beside it that is merged with it. */
static int tap_offset(const nn_node *n, const nn_conv_tap *t, int beside) {
    const int dx = t->dx + beside;
    return by_columns(n) ? dx * pitch(n) + t->dy : t->dy * pitch(n) + dx;
}

/* Line rows from the first one a phase's output reads to the last, that one not counted. */
static int phase_span(const nn_node *n, const nn_conv_phase *phase) {
    return tap_offset(n, &phase->tap[phase->taps - 1], phase->merged - 1) - tap_offset(n, &phase->tap[0], 0);
}

/* How a layer is computed. */
typedef struct form {
    bool (*suits)(const nn_node *n);
    void (*setup)(nn_call *c);
    void (*run)(const nn_call *c, int stage, int task, void *scratch);
} form;

static bool suits_toom(const nn_node *n) {
    return nn_toom_suits(n, NN_VW);
}
static bool suits_strided(const nn_node *n) {
    return !in_pairs(n) && nn_toom_suits_strided(n, NN_VW);
}
static bool suits_strassen(const nn_node *n) {
    return !in_pairs(n) && strassen_suits(n);
}

static const form *form_of(const nn_node *n) {
    static const form forms[] = {{suits_toom, toom_setup, toom_run},
                                 {suits_strided, strided_setup, strided_run},
                                 {suits_strassen, strassen_setup, strassen_run}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].suits(n)) return &forms[i];
    return NULL;
}

nn_code NN_KERNEL(conv, pack)(nn_node *n, nn_weights *w, nn_error *e) {
    nn_code code = suits_toom(n) || suits_strided(n)
                       ? nn_toom_pack_weights(n, w, NN_VW, NN_ISA_NAME, e)
                       : nn_conv_pack_weights(n, w, NN_VW, in_pairs(n), NN_ISA_NAME, e);
    if (form_of(n) && !suits_toom(n)) n->share = (n->share > 0 ? n->share : 1) * 7 / 8;
    return code ? code : NN_KERNEL(map, pack)(n, w, e);
}

void NN_KERNEL(conv, setup)(nn_call *c) {
    const nn_node *n = c->node;
    const form *other = form_of(n);
    if (other) {
        other->setup(c);
        return;
    }
    const nn_conv_params *p = &n->u.conv;
    const nn_conv_pack *k = packed(n);
    const nn_shape in = n->in[0]->shape;
    bool in_place = !p->pad_w && !p->pad_h && p->pre.kind == NN_STEP_COUNT && p->groups == 1 &&
                    !p->transposed && line_row(n) == line_channels(n) && !in_pairs(n);
    int lines =
        p->transposed || is_image(p) ? (by_columns(n) ? in.w : in.h) * pitch(n) : (int)nn_rows(n->shape);
    int width = line_row(n), span = 0;
    for (int f = 0; f < k->phases; f++) {
        int reach = phase_span(n, nn_conv_phase_at(k, f));
        if (reach > span) span = reach;
    }
    int wanted = 4 * c->threads, panels = k->panels * p->groups * k->phases;
    int block = (int)((size_t)(in_place ? BLOCK_BYTES_IN_PLACE : BLOCK_BYTES) /
                      ((size_t)width * sizeof(float) * (size_t)p->stride));
    int fair = (lines * (panels < wanted ? panels : wanted) + wanted - 1) / wanted; /* panels are tasks too */
    if (block > fair) block = fair;
    block = (block + NN_MR - 1) / NN_MR * NN_MR;
    if (block < 2 * NN_MR) block = 2 * NN_MR;
    int blocks = (lines + block - 1) / block;
    int parts = (wanted + blocks * p->groups * k->phases - 1) / (blocks * p->groups * k->phases);
    if (parts > k->panels) parts = k->panels;
    c->plan[PLAN_BLOCK] = block;
    c->plan[PLAN_BLOCKS] = blocks;
    c->plan[PLAN_PARTS] = parts;
    c->plan[PLAN_LINES] = lines;
    c->plan[PLAN_PITCH] = pitch(n);
    c->plan[PLAN_IN_PLACE] = in_place;
    c->stages = 1;
    c->tasks[0] = blocks * parts * p->groups * k->phases;
    size_t rows = in_place ? 0 : (size_t)(block * (p->transposed ? 1 : p->stride) + span + 1);
    c->scratch_bytes = (rows * (size_t)width + NN_VW + NN_MR * NN_NR) * sizeof(float) + 128;
}

#ifdef __AVX512BF16__
/* As copy_rows, rounded to bfloat16. */
static void copy_pairs(const nn_step *pre, const float *x, size_t x_row, int count, int channels, float *to,
                       int to_row) {
    for (int r = 0; r < count; r++, x += x_row, to += to_row)
        for (int i = 0; i < channels; i += NN_VW) {
            const nn_v v = nn_step_unary(pre, nn_load_most(x + i, channels - i));
            const __m256bh half = _mm512_cvtneps_pbh((__m512)v);
            memcpy(to + i / 2, &half, (size_t)nn_least(NN_VW, channels - i) * 2);
        }
}
#endif

/* Copies `count` input rows, every step-th from row `from`, channels from `first` on that make a line row, with the
 * pre-activation. */
static void copy_rows(const nn_call *c, int from, int step, int count, int first, float *to, int to_row) {
    const nn_step *pre = &c->node->u.conv.pre;
    const size_t channels = (size_t)c->node->in[0]->shape.c, x_row = channels * (size_t)step;
    const float *x = c->in[0] + (size_t)from * channels + first;
    const int width = line_channels(c->node);
#ifdef __AVX512BF16__
    if (in_pairs(c->node)) {
        copy_pairs(pre, x, x_row, count, width, to, to_row);
        return;
    }
#endif
    if (pre->kind == NN_STEP_COUNT) {
        for (int r = 0; r < count; r++, x += x_row, to += to_row) memcpy(to, x, (size_t)width * sizeof *to);
        return;
    }
    for (int r = 0; r < count; r++, x += x_row, to += to_row)
        for (int i = 0; i < width; i += NN_VW)
            nn_store_most(to + i, nn_step_unary(pre, nn_load_most(x + i, width - i)), width - i);
}

/* Line rows from .. from+count-1, zeros where the line has no input. */
static void fill_line(const nn_call *c, int from, int count, int first, float *to, int to_row) {
    const nn_shape in = c->node->in[0]->shape;
    const bool columns = by_columns(c->node);
    const int line_pitch = (int)c->plan[PLAN_PITCH], majors = columns ? in.w : in.h,
              minors = columns ? in.h : in.w;
    while (count > 0) {
        int major = from >= 0 ? from / line_pitch : -1;
        int minor = from - major * line_pitch, n, source = -1;
        if (major < 0)
            n = -from; /* before the first */
        else if (major >= majors)
            n = count;
        else if (minor < minors) {
            n = minors - minor;
            source = columns ? minor * in.w + major : major * in.w + minor;
        } else
            n = line_pitch - minor;
        if (n > count) n = count;
        if (source >= 0)
            copy_rows(c, source, columns ? in.w : 1, n, first, to, to_row);
        else
            memset(to, 0, (size_t)n * (size_t)to_row * sizeof *to);
        to += (size_t)n * (size_t)to_row;
        from += n;
        count -= n;
    }
}

/* The output rows of line rows from .. from+count-1 under a phase; -1 for those that are not kept. */
static void output_rows(const nn_call *c, const nn_conv_phase *phase, int from, int count, ptrdiff_t *row) {
    const nn_conv_params *p = &c->node->u.conv;
    const nn_shape in = c->node->in[0]->shape, out = c->node->shape;
    const int line_pitch = (int)c->plan[PLAN_PITCH], step = p->transposed ? p->stride : 1;
    if (!is_image(p)) {
        for (int i = 0; i < count; i++) row[i] = (ptrdiff_t)(from + i) * step + phase->x;
        return;
    }
    const bool columns = by_columns(c->node);
    const int minors = columns ? in.h : in.w;
    for (int i = 0, major = from / line_pitch, minor = from % line_pitch; i < count; i++) {
        const int y = columns ? minor : major, x = columns ? major : minor;
        row[i] = minor < minors ? (ptrdiff_t)(y * step + phase->y) * out.w + x * step + phase->x : -1;
        if (++minor == line_pitch) minor = 0, major++;
    }
}

/* Where the taps of a phase lie in a line whose rows of `width` floats are `row` floats apart: merged taps are one
 * segment where the line has them side by side without a gap. */
static void set_segments(nn_rows_of *a, const nn_node *n, const nn_conv_phase *phase, ptrdiff_t *segment,
                         int width, int row) {
    const int low = tap_offset(n, &phase->tap[0], 0),
              split = row == width && !by_columns(n) ? 1 : phase->merged;
    a->segments = 0;
    a->length = width * phase->merged / split;
    for (int s = 0; s < phase->taps; s++)
        for (int i = 0; i < split; i++)
            segment[a->segments++] = (ptrdiff_t)(tap_offset(n, &phase->tap[s], i) - low) * row;
}

void NN_KERNEL(conv, run)(const nn_call *c, int stage, int task, void *scratch) {
    const nn_node *n = c->node;
    const form *other = form_of(n);
    if (other) {
        other->run(c, stage, task, scratch);
        return;
    }
    const nn_conv_params *p = &n->u.conv;
    const nn_conv_pack *k = packed(n);
    const int parts = (int)c->plan[PLAN_PARTS], block = (int)c->plan[PLAN_BLOCK];
    const int part = task % parts, b = task / parts % (int)c->plan[PLAN_BLOCKS];
    const int rest = task / parts / (int)c->plan[PLAN_BLOCKS], group = rest % p->groups, f = rest / p->groups;
    const nn_conv_phase *phase = nn_conv_phase_at(k, f);
    const int from = b * block, lines = (int)c->plan[PLAN_LINES];
    const int count = nn_least(block, lines - from), step = p->transposed ? 1 : p->stride;
    const int width = line_width(n);
    const bool pairs = in_pairs(n);

    float *tile = scratch, *line = tile + NN_MR * NN_NR;
    ptrdiff_t segment[NN_CONV_TAPS];
    nn_rows_of a = {.segment = segment};
    if (c->plan[PLAN_IN_PLACE]) {
        a.row = (ptrdiff_t)step * width;
        a.x = c->in[0] + (ptrdiff_t)from * a.row;
        set_segments(&a, n, phase, segment, width, width);
    } else {
        const int row = line_row(n), low = tap_offset(n, &phase->tap[0], 0);
        const int span = phase_span(n, phase);
        fill_line(c, from * step + low, (count - 1) * step + span + 1, group * line_channels(n), line, row);
        a.row = (ptrdiff_t)step * row;
        a.x = line;
        set_segments(&a, n, phase, segment, width, row);
    }
    const int out_channels = n->shape.c / p->groups;
    for (int panel = k->panels * part / parts; panel < k->panels * (part + 1) / parts; panel++) {
        const int channel = panel * NN_NR, channels = nn_least(NN_NR, out_channels - channel);
        const float *w = nn_conv_panel(k, phase, group, panel);
        for (int i = 0; i < count; i += NN_MR) {
            const int rows = nn_least(NN_MR, count - i);
            ptrdiff_t row[NN_MR];
            nn_rows_of part_of = a;
            part_of.x += (ptrdiff_t)i * a.row;
            nn_tile_product(part_of, w, tile, NN_NR, rows, channels > NN_VW ? 2 : 1, pairs);
            output_rows(c, phase, from + i, rows, row);
            nn_steps_apply(c, tile, NN_NR, row, rows, group * out_channels + channel, channels);
            nn_tile_store(c, tile, NN_NR, row, rows, group * out_channels + channel, channels);
        }
    }
}
