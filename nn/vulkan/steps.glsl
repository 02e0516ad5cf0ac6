// steps.glsl - a node's fused element-wise steps, applied to a value before it is stored.
//
// Include after the push constants are declared: they have a member `uint step[6]` (nn_vk_step_arguments fills it) and
// the name `push`. STEP_CHANNELS, channels of the node's rows, is defined before.
//
//   float apply_steps(float v, uint row, uint channel)
//   vec4 apply_steps(vec4 v, uint row, uint channel)     four channels from `channel` on; it and STEP_CHANNELS are
//                                                        multiples of 4
//
// A step's code is a specialisation constant: its kind, plus 256 where the operand is one row for all. So what remains
// after specialisation has no branches. A step's argument is the operand's offset in the slab (elements), the value's bits,
// or the offset of scale and shift in the weights (floats).
layout(constant_id = 0) const uint step_code_0 = 255;
layout(constant_id = 1) const uint step_code_1 = 255;
layout(constant_id = 2) const uint step_code_2 = 255;
layout(constant_id = 3) const uint step_code_3 = 255;
layout(constant_id = 4) const uint step_code_4 = 255;
layout(constant_id = 5) const uint step_code_5 = 255;

// The order of nn_step_kind (graph.h), which op.c asserts.
const uint STEP_ADD = 0, STEP_SUB = 1, STEP_RSUB = 2, STEP_MUL = 3, STEP_SCALE = 4, STEP_AFFINE = 5, STEP_RELU = 6,
           STEP_LEAKY_RELU = 7, STEP_GELU = 8, STEP_TANH = 9, STEP_SIGMOID = 10, STEP_EXP = 11, STEP_NONE = 255;

#include "math.glsl"

float step_operand(float like, uint at) { return float(slab[at]); }
vec4 step_operand(vec4 like, uint at) { return vec4(slab4[at / 4]); }
float step_weight(float like, uint at) { return weights_float[at]; }
vec4 step_weight(vec4 like, uint at) {
    return vec4(weights_float[at], weights_float[at + 1], weights_float[at + 2], weights_float[at + 3]);
}

#define NN_STEP_FUNCTIONS(type)                                                                                        \
    type apply_step(uint code, uint argument, type v, uint row, uint channel) {                                        \
        const uint kind = code & 255;                                                                                  \
        const float value = uintBitsToFloat(argument);                                                                 \
        if (kind <= STEP_MUL) {                                                                                        \
            const type t = step_operand(v, argument + (code < 256 ? row * (STEP_CHANNELS) : 0) + channel);             \
            return kind == STEP_ADD ? v + t : kind == STEP_SUB ? v - t : kind == STEP_RSUB ? t - v : v * t;            \
        }                                                                                                              \
        if (kind == STEP_SCALE) return v * value;                                                                      \
        if (kind == STEP_AFFINE)                                                                                       \
            return v * step_weight(v, argument + channel) + step_weight(v, argument + (STEP_CHANNELS) + channel);      \
        if (kind == STEP_RELU) return max(v, type(0));                                                                 \
        if (kind == STEP_LEAKY_RELU) return mix(v, v * value, lessThan4(v));                                           \
        if (kind == STEP_GELU) return nn_gelu(v);                                                                      \
        if (kind == STEP_TANH) return nn_tanh(v);                                                                      \
        if (kind == STEP_SIGMOID) return nn_sigmoid(v);                                                                \
        if (kind == STEP_EXP) return exp(v);                                                                           \
        return v;                                                                                                      \
    }                                                                                                                  \
    type apply_steps(type v, uint row, uint channel) {                                                                 \
        v = apply_step(step_code_0, push.step[0], v, row, channel);                                                    \
        v = apply_step(step_code_1, push.step[1], v, row, channel);                                                    \
        v = apply_step(step_code_2, push.step[2], v, row, channel);                                                    \
        v = apply_step(step_code_3, push.step[3], v, row, channel);                                                    \
        v = apply_step(step_code_4, push.step[4], v, row, channel);                                                    \
        return apply_step(step_code_5, push.step[5], v, row, channel);                                                 \
    }

bool lessThan4(float v) { return v < 0; }
bvec4 lessThan4(vec4 v) { return lessThan(v, vec4(0)); }

NN_STEP_FUNCTIONS(float)
NN_STEP_FUNCTIONS(vec4)
