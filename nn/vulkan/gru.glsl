// gru.glsl - what the recurrence's two forms share: push constants, where things lie, one unit's gates.
//
//   r = s(x_r + W_hr h)    z = s(x_z + W_hz h)    n = tanh(x_n + r (W_hn h + b_hn))    h' = n + z (h - n)
//
// where x is the projected input, biases added (gru_input.comp). Units are padded to UNITS with zero weights and biases:
// a padding unit's state stays 0. Everything but the input and the output is float32. Cho et al. 2014, arXiv:1406.1078,
// in PyTorch's form.
#include "common.glsl"
#include "math.glsl"

layout(set = 0, binding = 0) buffer SlabWord { uint slab_word[]; };

layout(push_constant) uniform Push {
    uint x, y;              // offsets in elements: [frames][channels], [frames][2][hidden]
    uint frames, channels, hidden;
    uint projected;         // workspace, words: [2][frames][3][UNITS]
    uint exchange;          // workspace, words: [2][frames][UNITS]; gru.comp keeps the state in the first [2][UNITS]
    uint input_weights;     // in the weights, floats: [channels][2][3][UNITS]
    uint input_bias;        // [2][3][UNITS]
    uint hidden_weights;    // [2][UNITS in][3][UNITS out]
    uint hidden_bias;       // of W_hn h alone: [2][UNITS]
    uint first, count;      // steps of this dispatch (gru.comp)
} push;

// A state's word before it is there; h is never this NaN.
const uint EMPTY = 0xffffffffu, NOT_A_NUMBER = 0x7fc00000u;

vec3 projected(uint direction, uint frame, uint unit, uint units) {
    const uint at = push.projected + (direction * push.frames + frame) * 3 * units + unit;
    return vec3(slab_float[at], slab_float[at + units], slab_float[at + 2 * units]);
}

// x: projected input of r, z, n; sum: W_h h of r, z, n; bias: of W_hn h.
float next_state(vec3 x, vec3 sum, float bias, float h) {
    const float r = nn_sigmoid(x.x + sum.x), z = nn_sigmoid(x.y + sum.y), n = nn_tanh(x.z + r * (sum.z + bias));
    return n + z * (h - n);
}

void store_state(uint direction, uint frame, uint unit, float h) {
    if (unit < push.hidden) slab[push.y + (frame * 2 + direction) * push.hidden + unit] = element(h);
}
