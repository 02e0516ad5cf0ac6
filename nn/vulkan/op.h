/* op.h - what a Vulkan op is given and what it must provide.
 *
 * For every line NN_OP(NAME) of ops.def there is a NAME.c that defines `const nn_vk_op nn_vk_NAME`, and shaders *.comp.
 *
 *   pack     once per plan: puts the node's weights on the device (nn_vk_pack finds what is there already), sets
 *            node->workspace (bytes in the slab while the node runs)
 *   record   appends the node's dispatches to the command buffer: states what each reads and writes, and the recorder
 *            puts barriers where tensors really depend
 *
 * Every .comp is compiled twice, as NAME with float32 and with -DNN_F16 with float16 elements in the slab; a dispatch
 * names the shader and the recorder takes the device's variant. What a shader sees stands in common.glsl: binding 0 is
 * the slab, 1 the weights, 2 the staging memory; push constants of at most 128 bytes; specialisation constants 0 to 5 are the
 * node's steps (steps.glsl), 6 the invocations of a subgroup, 8 and up the shader's own.
 *
 * Invariant: what a node computes depends on its shape and the device only, so runs repeat to the bit. */
#ifndef NN_VULKAN_OP_H
#define NN_VULKAN_OP_H

#include "../graph.h"
#include "half.h"

/* What every device here has at least: 256 invocations in a workgroup, 16 KiB of shared memory (32 with f16). */
enum { NN_VK_PUSH_BYTES = 128, NN_VK_CONSTANTS = 24, NN_VK_LANES = 6, NN_VK_FIRST_CONSTANT = 8, NN_VK_MAX_GROUPS = 65535 };

/* What the device can do, as far as an op may care. */
typedef struct nn_vk_traits {
    bool f16;                        /* values in the slab are float16, and so are matrices among the weights */
    bool matrix;                     /* cooperative matrices 16x16x16 of float16, sums in float32 */
    bool matrix_khr;                 /* through VK_KHR_cooperative_matrix, not VK_NV_cooperative_matrix */
    bool subgroup_arithmetic;        /* subgroupAdd and its like in compute shaders */
    uint32_t subgroup;               /* invocations in a subgroup */
    uint32_t shared_bytes;           /* shared memory of a workgroup */
    uint32_t invocations;            /* largest workgroup */
    uint32_t units;                  /* compute units ("SMs"), or a guess */
    const char *conv;                /* path that the environment forces, or NULL */
} nn_vk_traits;

typedef struct nn_vk_call {
    nn_node *node;
    const nn_vk_traits *traits;
    int part;                        /* where its weights lie: the plan's stores, numbered */
    int blobs;
    size_t blob[NN_MAX_BLOBS];       /* byte offsets in the weights buffer, multiples of 256 */
    intptr_t plan[16];               /* the op's own numbers, from pack to record */
} nn_vk_call;

typedef struct nn_vk_packer nn_vk_packer;
typedef struct nn_vk_recorder nn_vk_recorder;

typedef struct nn_vk_op {
    nn_code (*pack)(nn_vk_packer *k, nn_vk_call *c, nn_error *e);
    void (*record)(nn_vk_recorder *r, const nn_vk_call *c);
} nn_vk_op;

/* ---- packing ------------------------------------------------------------------------------------------------------ */

nn_weights *nn_vk_weights(const nn_vk_packer *k);

/* Makes what is uploaded: *out from malloc, *bytes of it, in the layout that the shader reads. */
typedef nn_code nn_vk_make(void **out, size_t *bytes, const nn_vk_call *c, const char *stem, nn_weights *w, nn_error *e);

/* Appends the place of blob "STEM|KIND" to c->blob[]: uploaded before, or now made. KIND tells layouts apart (f32 and f16
 * need no telling apart: a device has one precision). */
nn_code nn_vk_pack(nn_vk_packer *k, nn_vk_call *c, const char *stem, const char *kind, nn_vk_make *make, nn_error *e);

/* What the node's steps need (batch norms as float32 scale [c], shift [c]); sets steps[i].blob. Every op whose nodes may
 * have steps calls this in pack, after its own blobs. */
nn_code nn_vk_pack_steps(nn_vk_packer *k, nn_vk_call *c, nn_error *e);

/* ---- recording ---------------------------------------------------------------------------------------------------- */

/* Offsets in elements of the slab (float32 or float16, as the device computes); index tensors and wide ones, which are
 * float32 on every device: in 32-bit words. */
uint32_t nn_vk_element(const nn_vk_call *c, size_t slab_bytes);
uint32_t nn_vk_in(const nn_vk_call *c, int k);        /* of node->in[k] */
uint32_t nn_vk_out(const nn_vk_call *c);
static inline bool nn_vk_is_word(const nn_node *n) { return n->is_index || n->wide; }
static inline uint32_t nn_vk_word(size_t bytes) { return (uint32_t)(bytes / 4); }   /* 32-bit words of slab or weights */

static inline uint32_t nn_vk_parts(size_t n, size_t of) { return (uint32_t)((n + of - 1) / of); }

/* The arguments of the node's steps, for the push constants' member `step` that steps.glsl reads. */
void nn_vk_step_arguments(const nn_vk_call *c, uint32_t step[NN_MAX_STEPS]);

/* What the next dispatch reads and writes: bytes of the slab. Whole tensors: */
void nn_vk_reads(nn_vk_recorder *r, size_t offset, size_t bytes);
void nn_vk_writes(nn_vk_recorder *r, size_t offset, size_t bytes);
void nn_vk_reads_inputs(nn_vk_recorder *r, const nn_vk_call *c);    /* all of node->in */
void nn_vk_writes_output(nn_vk_recorder *r, const nn_vk_call *c);

typedef struct nn_vk_dispatch {
    const char *shader;              /* "map": file map.comp */
    const nn_vk_call *steps;         /* the node whose steps are specialised in, or NULL: none */
    int constants;
    uint32_t constant[NN_VK_CONSTANTS];   /* ids 8, 9, ... */
    const void *push;
    size_t push_bytes;               /* <= NN_VK_PUSH_BYTES, a multiple of 4 */
    uint32_t x, y, z;                /* workgroups, 1 .. NN_VK_MAX_GROUPS; y and z 0 mean 1 */
} nn_vk_dispatch;

/* Records one dispatch, behind a barrier if it depends on one since the last barrier. An error is kept in the recorder. */
void nn_vk_run(nn_vk_recorder *r, const nn_vk_dispatch *d);

/* The plan fails with this message. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void nn_vk_fail(nn_vk_recorder *r, const char *format, ...);

#endif
