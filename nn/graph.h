/* graph.h - nodes as the planner and the back ends see them. Models include nn.h only.
 *
 * After planning, every node is one kernel call: its element-wise neighbours have become its steps (applied to each
 * value before it is stored) or its pre-activation (applied to each value as it is read). */
#ifndef NN_GRAPH_H
#define NN_GRAPH_H

#include "nn.h"

typedef enum nn_op {
    NN_OP_input,
#define NN_OP(name) NN_OP_##name,
#include "ops.def"
#undef NN_OP
    NN_OP_COUNT
} nn_op;

extern const char *const nn_op_names[NN_OP_COUNT];

enum { NN_MAX_IN = 8, NN_MAX_STEPS = 6, NN_MAX_BLOBS = 8 };

/* One element-wise step on a value v at (row, channel); t is the operand's value there. */
typedef enum nn_step_kind {
    NN_STEP_ADD,          /* v + t */
    NN_STEP_SUB,          /* v - t */
    NN_STEP_RSUB,         /* t - v */
    NN_STEP_MUL,          /* v * t */
    NN_STEP_SCALE,        /* v * value */
    NN_STEP_AFFINE,       /* v * scale[channel] + shift[channel], blob of the node: scale [c], then shift [c] */
    NN_STEP_RELU,
    NN_STEP_LEAKY_RELU,   /* v < 0 ? v * value : v */
    NN_STEP_GELU,
    NN_STEP_TANH,
    NN_STEP_SIGMOID,
    NN_STEP_EXP,
    NN_STEP_COUNT
} nn_step_kind;

typedef struct nn_step {
    nn_step_kind kind;
    float value;
    int operand;          /* index into node->in (ADD, SUB, RSUB, MUL), else -1 */
    const char *name;     /* AFFINE: the batch norm's stem */
    int blob;             /* AFFINE: index into node->blob after planning */
} nn_step;

typedef struct nn_conv_params {
    int kernel_h, kernel_w;
    int stride;           /* along w; 2 on both axes where transposed and kernel_h > 1 */
    int pad_h, pad_w;     /* input rows and columns of zeros before the first */
    int dilation, groups;
    int drop_last;
    bool transposed;
    bool bias, exact;     /* exact: float products */
    nn_step pre;          /* applied to what is read; kind NN_STEP_COUNT: none */

    /* written by the planner: what is folded into the weights at load, in this order (conv_fold.h) */
    const char *batch_norm;   /* or NULL */
    int from, of;         /* of > 0: of the layer's `of` output channels those from `from` on */
    const char *then;     /* a linear layer that follows, made one with this one's `middle` channels; or NULL */
    int middle;
    bool then_bias;
    bool flip_in, flip_out;   /* channels in reverse order */
} nn_conv_params;

typedef struct nn_node {
    nn_op op;
    int index;            /* position in the graph */
    const char *name;     /* weight stem, or the input's name; "" where there is none */
    const char *output;   /* name it is read under, or NULL */
    nn_shape shape;
    bool is_index;        /* int32 instead of float32 */
    bool wide;            /* float32 also on a device that computes with float16 */
    int branch;           /* 1: independent of branch 0 until that reads it; see nn_branch */
    nn_weights *weights;  /* that its layer's tensors come from */
    int n_in;
    struct nn_node *in[NN_MAX_IN];   /* in[0] is what the op works on; steps' operands follow the op's own inputs */
    int n_steps;
    nn_step steps[NN_MAX_STEPS];
    union {
        nn_conv_params conv;
        struct { int heads, window; bool relative; } attention;
        struct { int groups; } group_norm;
        struct { int hidden; } gru;
        struct { int from, row; } slice;
        struct { int samples, lead, frames; } spectrogram;
        struct { float threshold; } pitch_decode;
        struct { uint32_t stream; int row; } normal;
        struct { int upp, rate, row; } source;
        struct { const nn_vectors *vectors; } retrieve;
    } u;

    /* written by the planner */
    bool dead;            /* merged into another node */
    bool view;            /* of in[0]: lies where that lies, and is not computed */
    int uses;             /* nodes that read it */
    int last_use;         /* index of the last of them */
    size_t offset;        /* byte offset in the slab */
    size_t workspace, workspace_offset;   /* bytes the back end wants in the slab while the node runs, and where */
    double share;         /* of the direct form's multiplications that the kernel does; 0: all */
    int n_blobs;
    const void *blob[NN_MAX_BLOBS];  /* packed weights, owned by the nn_weights; meaning is the op's */
} nn_node;

struct nn_graph {
    nn_weights *weights;       /* of layers to come */
    nn_error error;
    bool exact;
    int branch;
    nn_node **node;
    int count, capacity;
    struct nn_arena *arena;    /* nodes and names */
};

static inline size_t nn_rows(nn_shape s) { return (size_t)s.h * (size_t)s.w; }
static inline size_t nn_elements(nn_shape s) { return nn_rows(s) * (size_t)s.c; }

/* The node is something to be computed. */
static inline bool nn_node_runs(const nn_node *n) { return n->op != NN_OP_input && !n->view; }

#endif
