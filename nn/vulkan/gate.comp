#version 460
// gate.comp - WaveNet's gated unit (van den Oord et al. 2016, arXiv:1609.03499): y = tanh(a) sigmoid(b), where a and b
// are the halves of a row of x.
#include "common.glsl"
#include "math.glsl"

layout(local_size_x = 256) in;
layout(constant_id = 8) const bool FOUR = false;

layout(push_constant) uniform Push {
    uint x, y;          // offsets in elements
    uint count;         // of the output: elements, or groups of four where FOUR
    uint channels;      // of the output
} push;

void main() {
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * 256) {
        if (FOUR) {
            const uint c = push.channels / 4, at = push.x / 4 + i / c * 2 * c + i % c;
            slab4[push.y / 4 + i] = element4(nn_tanh(vec4(slab4[at])) * nn_sigmoid(vec4(slab4[at + c])));
        } else {
            const uint c = push.channels, at = push.x + i / c * 2 * c + i % c;
            slab[push.y + i] = element(nn_tanh(float(slab[at])) * nn_sigmoid(float(slab[at + c])));
        }
    }
}
