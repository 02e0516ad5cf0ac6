/* nn.h - the engine as a model file sees it: a graph is built by calling functions, planned once, run many times.
 *
 * Values are row-major float32 with channels innermost: [h][w][c]. A signal of T frames with C channels is
 * [1][T][C]; an image is [h][w][c]. Functions append nodes and compute nothing. Layer names are state-dict names:
 * kernel sizes and channel counts come from the weights, so a model file reads as its diagram.
 *
 * Errors are sticky: the first bad name or shape is recorded with the layer's name and shapes, every later call
 * on the graph is harmless, and nn_plan_new reports it. */
#ifndef NN_NN_H
#define NN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "error.h"
#include "weights.h"

typedef struct nn_graph nn_graph;
typedef struct nn_plan nn_plan;
typedef struct nn_device nn_device;
typedef struct nn_node *nn_tensor;      /* a value in a graph; owned by the graph */

typedef struct nn_shape { int h, w, c; } nn_shape;

/* ---- devices ------------------------------------------------------------------------------------------- */

/* NN_F32 may take a float32 factor as two float16, which is as exact but ends at 65504; NN_PLAIN, for
 * nn_device_open_beside only, does not, and is slower. */
typedef enum nn_precision { NN_F32, NN_F16, NN_BF16, NN_PLAIN } nn_precision;

/* Opens the device `name`, for products in f32:
 *
 *   "cpu"                 `threads` threads (0: one per core this process may use); the kernels are those of the best instruction
 *                         set the machine has, or of RVC_CPU=baseline|avx2|avx512
 *   "vulkan", "vulkan:N"  the best, or the N-th, of the devices that Vulkan shows; nn_device_list has the numbers
 *   a part of a name      of a Vulkan device: "h200"
 *   "auto"                what RVC_DEVICE names, if it is set; else the best GPU (never a CPU that plays one), else the CPU
 *
 * NN_ERROR_DEVICE, with a list of what there is, where that is not there. Not to be shared by threads. */
nn_code nn_device_open(nn_device **out, const char *name, int threads, nn_error *e);

/* "f32", "f16" or "bf16"; false for any other text. */
bool nn_precision_parse(const char *text, nn_precision *out);

/* The same with values and products of another precision, where the device has it: f16 on GPUs, bf16 on CPUs with
 * AVX512-BF16. */
nn_code nn_device_open_precise(nn_device **out, const char *name, nn_precision precision, int threads, nn_error *e);

/* Another device on the hardware of `other`, for another thread or another precision. On a GPU they share weights (of the same
 * precision) and shaders; either may be closed first. */
nn_code nn_device_open_beside(nn_device **out, nn_device *other, nn_precision precision, nn_error *e);

void nn_device_close(nn_device *d);                 /* NULL is fine */
const char *nn_device_name(const nn_device *d);     /* "cpu (avx512, 2 threads)", "NVIDIA H200 (Vulkan, f16)" */
int nn_device_threads(const nn_device *d);
bool nn_device_is_gpu(const nn_device *d);          /* runs through Vulkan */
const char *nn_device_layout(const nn_device *d);   /* which packed weights it wants: "avx512"; NULL: packs for itself */
size_t nn_device_memory(nn_device *d);              /* bytes of its own memory used at most so far; 0: it has none of its own */

int nn_device_abreast(const nn_device *d);          /* devices beside it, itself included, that gain from running at once; 1 on a CPU */

/* Calls `each` with one line per device, and one that says which "auto" takes. */
nn_code nn_device_list(void (*each)(void *user, const char *line), void *user, nn_error *e);

/* ---- building ------------------------------------------------------------------------------------------ */

/* A graph over `w`, which must outlive every plan made from it. NULL only when out of memory. */
nn_graph *nn_graph_new(nn_weights *w);
void nn_graph_free(nn_graph *g);                    /* NULL is fine */
const nn_error *nn_graph_error(const nn_graph *g);
/* Nodes added from here on take their tensors from `w`, which must outlive the plans too, and are float32 on every device
 * where `exact`: values ("wide" ones) and products. For graphs over several checkpoints. */
void nn_graph_use(nn_graph *g, nn_weights *w, bool exact);

/* Nodes added from here on belong to branch 0 or 1. Branch 1 reads its own nodes only (inputs too), so that a device may run
 * it beside branch 0 until that reads from it. */
void nn_branch(nn_graph *g, int branch);
nn_shape nn_shape_of(nn_tensor x);                  /* {0,0,0} for NULL */

/* printf into the graph's memory: layer names. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
const char *nn_name(nn_graph *g, const char *format, ...);

/* The checkpoint has this tensor (for optional layers); its shape's axis i, or 0. */
bool nn_has(const nn_graph *g, const char *name);
int nn_dim(const nn_graph *g, const char *name, int axis);

/* The same of NAME's weight, in whichever form it is there: NAME.weight, or the direction of a weight norm. */
int nn_weight_dim(const nn_graph *g, const char *name, int axis);

/* How many parts STEM.0, STEM.1, ... the checkpoint has: 1 + the largest N of a name "STEM.N...."; 0: none. */
int nn_count(const nn_weights *w, const char *stem);

nn_tensor nn_input(nn_graph *g, const char *name, int h, int w, int c);       /* float32 */
nn_tensor nn_input_index(nn_graph *g, const char *name, int w);              /* int32 [w], for nn_embed */
nn_tensor nn_input_wide(nn_graph *g, const char *name, int h, int w, int c); /* float32 also where values are float16 */
void nn_output(nn_graph *g, nn_tensor x, const char *name);                   /* x can be read after a run */

/* A bias NAME.bias [c_out] is required everywhere unless .no_bias says that the layer has none: a checkpoint that
 * lacks one is damaged, not different.
 *
 * x [..][c_in] -> [..][c_out], weights NAME.weight [c_out][c_in] (or [c_out][c_in][1]). */
nn_tensor nn_linear(nn_graph *g, nn_tensor x, const char *name);

/* Weights NAME.weight [c_out][c_in/groups][k], or weight-normed: NAME.weight_g and NAME.weight_v (or PyTorch's newer
 * NAME.parametrizations.weight.original0 and original1); the norm is over the axes where g has length 1.
 * Output frames: (T + 2 pad - dilation (k-1) - 1)/stride + 1. drop_last leaves out that many final frames. */
typedef struct nn_conv1d_options {
    const char *name;
    int stride, pad, dilation, groups;      /* 0 means 1 (pad: 0) */
    int drop_last;
    bool no_bias;
} nn_conv1d_options;
nn_tensor nn_conv1d_(nn_graph *g, nn_tensor x, nn_conv1d_options o);
#define nn_conv1d(g, x, ...) nn_conv1d_((g), (x), (nn_conv1d_options){.name = __VA_ARGS__})

/* Weights [c_in][c_out][k]. Output frames: T * stride, so k - stride == 2 pad must hold. */
typedef struct nn_conv_transpose1d_options {
    const char *name;
    int stride, pad;
} nn_conv_transpose1d_options;
nn_tensor nn_conv_transpose1d_(nn_graph *g, nn_tensor x, nn_conv_transpose1d_options o);
#define nn_conv_transpose1d(g, x, ...) nn_conv_transpose1d_((g), (x), (nn_conv_transpose1d_options){.name = __VA_ARGS__})

/* Weights [c_out][c_in][kh][kw]; stride 1, zero padding on both axes ((kh-1)/2, (kw-1)/2): same size out. */
typedef struct nn_conv2d_options {
    const char *name;
    bool no_bias;
} nn_conv2d_options;
nn_tensor nn_conv2d_(nn_graph *g, nn_tensor x, nn_conv2d_options o);
#define nn_conv2d(g, x, ...) nn_conv2d_((g), (x), (nn_conv2d_options){.name = __VA_ARGS__})

/* Weights [c_in][c_out][3][3]; stride 2, padding 1, output padding 1: [h][w] -> [2h][2w]. */
nn_tensor nn_conv_transpose2d_(nn_graph *g, nn_tensor x, nn_conv2d_options o);
#define nn_conv_transpose2d(g, x, ...) nn_conv_transpose2d_((g), (x), (nn_conv2d_options){.name = __VA_ARGS__})

/* Element-wise. `add` and `mul` take two equal shapes, or b of one row [1][1][c], added to every row of a. */
nn_tensor nn_add(nn_graph *g, nn_tensor a, nn_tensor b);
nn_tensor nn_sub(nn_graph *g, nn_tensor a, nn_tensor b);
nn_tensor nn_mul(nn_graph *g, nn_tensor a, nn_tensor b);
nn_tensor nn_scale(nn_graph *g, nn_tensor x, float factor);
nn_tensor nn_relu(nn_graph *g, nn_tensor x);
nn_tensor nn_leaky_relu(nn_graph *g, nn_tensor x, float slope);
nn_tensor nn_gelu(nn_graph *g, nn_tensor x);                    /* exact: x/2 (1 + erf(x/sqrt 2)) */
nn_tensor nn_tanh(nn_graph *g, nn_tensor x);
nn_tensor nn_sigmoid(nn_graph *g, nn_tensor x);
nn_tensor nn_exp(nn_graph *g, nn_tensor x);
nn_tensor nn_batch_norm(nn_graph *g, nn_tensor x, const char *name);   /* inference form, eps 1e-5, over channels */

nn_tensor nn_layer_norm(nn_graph *g, nn_tensor x, const char *name);   /* NAME.weight/.bias or .gamma/.beta; eps 1e-5 */
nn_tensor nn_group_norm(nn_graph *g, nn_tensor x, const char *name, int groups);   /* eps 1e-5 */
nn_tensor nn_gated_tanh(nn_graph *g, nn_tensor x);             /* [..][2c] -> [..][c]: tanh(x[:c]) sigmoid(x[c:]) */

/* Multi-head attention over frames: q, k, v [1][T][heads*d] -> [1][T][heads*d], scores scaled by 1/sqrt(d).
 * relative: NULL, or the stem of NAME.emb_rel_k and NAME.emb_rel_v [1][2*window+1][d], shared by the heads
 * (Shaw et al. 2018 as in VITS): scores(i,j) += q_i . k_rel[j-i+window] / sqrt(d), out_i += sum_j p_ij v_rel[j-i+window]
 * for |j-i| <= window. */
nn_tensor nn_attention(nn_graph *g, nn_tensor q, nn_tensor k, nn_tensor v, int heads, const char *relative);

/* Bidirectional GRU, PyTorch's gate order r, z, n and both biases: [1][T][c] -> [1][T][2*hidden].
 * Weights NAME.weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 and the same with _reverse. */
nn_tensor nn_bigru(nn_graph *g, nn_tensor x, const char *name);

nn_tensor nn_avg_pool2x2(nn_graph *g, nn_tensor x);            /* h and w even */
nn_tensor nn_embed(nn_graph *g, nn_tensor index, const char *name);    /* rows of NAME.weight [n][c]; index in 0..n-1 */
nn_tensor nn_concat(nn_graph *g, nn_tensor a, nn_tensor b);    /* on channels */
nn_tensor nn_slice(nn_graph *g, nn_tensor x, int from, int count);     /* channels from .. from+count-1 */
nn_tensor nn_frames(nn_graph *g, nn_tensor x, int from, int count);    /* frames from .. from+count-1 of [1][T][c] */
nn_tensor nn_flip(nn_graph *g, nn_tensor x);                   /* channels reversed */
nn_tensor nn_planar(nn_graph *g, nn_tensor x);                 /* [h][w][c] -> [1][h][c*w], index c*w_count + w */

/* ---- around the networks: what turns samples into their inputs. "wide" values are float32 on every device. ---- */

/* In an exact graph, x [1][n][1], samples -> [rows][bands][1]: ln(max(sum_k bank[b][k] |STFT(x)[t][k]|, 1e-5)) with frames of
 * 1024, hop 160; weights NAME.window [1024] and NAME.bank [bands][513]. Frame t begins at sample 160 t + lead - 512; the
 * signal is the first `samples` of x, mirrored at its ends. Rows behind the frames are 0. */
typedef struct nn_spectrogram_options {
    const char *name;
    int samples, lead, frames, rows;
} nn_spectrogram_options;
nn_tensor nn_spectrogram_(nn_graph *g, nn_tensor x, nn_spectrogram_options o);
#define nn_spectrogram(g, x, ...) nn_spectrogram_((g), (x), (nn_spectrogram_options){.name = __VA_ARGS__})

/* In an exact graph, salience [1][T][360] -> the pitch of the first `frames` in Hz, [1][frames][1], 0 where no class is above
 * the threshold; times `factor`, [1][2][1], which is the sum of its two numbers: a float's rounding, the same in every frame,
 * would add up in the phase. pitch.h has the formula. */
nn_tensor nn_pitch_decode(nn_graph *g, nn_tensor salience, nn_tensor factor, int frames, float threshold);

/* Wide Hz -> int32 1..255 of the first frames, for nn_embed. */
nn_tensor nn_coarse_pitch(nn_graph *g, nn_tensor f0, int frames);

/* [1][frames][channels]: elements (first + from) channels, and so on, of stream `stream` (normal.h) times factor, wide
 * [1][1][1], or NULL for 1. place, int32 [4]: the seed's low and high word, then those of `first`. */
nn_tensor nn_normal(nn_graph *g, nn_tensor place, nn_tensor factor, int frames, int channels, uint32_t stream, int from);

/* f0 wide [1][T][1] in Hz, noise with `frames*upp` elements -> [1][frames*upp][1]: the excitation of frames from ..
 * from+frames-1, whose phase began at 0 with frame 0. 0.1 sin + 0.003 noise where voiced, 0.1/3 noise where not. upp < rate. */
nn_tensor nn_sine_source(nn_graph *g, nn_tensor f0, nn_tensor noise, int from, int frames, int upp, int rate);

/* Vectors to be searched, in lists that each have a centroid, or in one list without. Floats and ids may lie at any address;
 * an id below 0 means that there is no vector. */
typedef float nn_loose_float __attribute__((aligned(1)));
typedef int64_t nn_loose_id __attribute__((aligned(1)));
typedef struct nn_vector_list {
    const nn_loose_float *rows;      /* [count][width] */
    const nn_loose_id *ids;          /* [count]; NULL: 0, 1, 2, ... */
    size_t count;
} nn_vector_list;
typedef struct nn_vectors {
    const char *name;                /* tells it from others on the same weights */
    int width, lists, probes;        /* 0 lists: one without centroid; probes: lists that are looked into, at most 8 */
    const nn_loose_float *centroids; /* [lists][width] */
    const nn_vector_list *list;      /* [lists], or [1] */
} nn_vectors;

/* Each row f of x [1][T][width] becomes rate sum_j w_j v_j + (1 - rate) f over the 8 vectors nearest to it, w_j = d_j^-2
 * normalised, d_j squared distances; a vector at distance 0 counts alone; a row without neighbours stays. rate: wide
 * [1][1][1]. `v` outlives the plans. Ties are broken by place. */
nn_tensor nn_retrieve(nn_graph *g, nn_tensor x, nn_tensor rate, const nn_vectors *v);

/* x [1][T][c] -> [1][frames][c]: frame t is x[t/2]; with `own` (not NULL, shape of x) where f0 is below 1 Hz it is
 * protect x[t/2] + (1 - protect) own[t/2]; f0 wide, at least `frames`; protect wide [1][1][1]. */
nn_tensor nn_spread(nn_graph *g, nn_tensor x, int frames, nn_tensor own, nn_tensor f0, nn_tensor protect);

/* ---- planning and running ------------------------------------------------------------------------------ */

/* Plans g for d and takes ownership of g, in failure too. Folds, fuses, packs weights that are not packed yet, and
 * lays every intermediate out in one slab; a run allocates nothing. */
nn_code nn_plan_new(nn_plan **out, nn_graph *g, nn_device *d, nn_error *e);
void nn_plan_free(nn_plan *p);                     /* NULL is fine */

/* Only packs the weights that g needs, so that d has them and what is wrong with them is known. Takes ownership of g. */
nn_code nn_graph_pack(nn_graph *g, nn_device *d, nn_error *e);

/* Copies a whole input in before a run, a whole output out after it. The name must be the graph's. */
void nn_plan_write(nn_plan *p, const char *input, const void *data);
void nn_plan_read(nn_plan *p, const char *output, void *data);
nn_shape nn_plan_shape(const nn_plan *p, const char *name);    /* of an input or output; {0,0,0}: no such name */
nn_code nn_plan_run(nn_plan *p, nn_error *e);

size_t nn_plan_bytes(const nn_plan *p);            /* slab and scratch */
double nn_plan_flops(const nn_plan *p);            /* multiplications and additions of one run, as direct forms */
double nn_plan_flops_done(const nn_plan *p);       /* the same as the kernels take them: Toom-Cook forms take fewer */

/* Prints the planned nodes (op, name, shape, fused steps, offset), and, after a run under nn_plan_profile(p, true),
 * each one's time. */
void nn_plan_print(const nn_plan *p, void *file /* FILE* */);
void nn_plan_profile(nn_plan *p, bool on);

/* ---- plan cache ---------------------------------------------------------------------------------------- */

/* A few plans by key (a length), least recently used out first: files of one length are planned once. */
typedef struct nn_plan_cache nn_plan_cache;
typedef nn_code nn_plan_build(void *context, const int64_t key[2], nn_plan **out, nn_error *e);
nn_plan_cache *nn_plan_cache_new(int capacity, nn_plan_build *build, void *context);    /* NULL: out of memory */
void nn_plan_cache_free(nn_plan_cache *c);
nn_code nn_plan_cache_get(nn_plan_cache *c, const int64_t key[2], nn_plan **out, nn_error *e); /* plan stays the cache's */

#endif
