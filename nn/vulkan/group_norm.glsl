// group_norm.glsl - what group norm's three dispatches share: push constants and the workspace's layout.
#include "common.glsl"

layout(push_constant) uniform Push {
    uint x, y;              // offsets in elements
    uint gamma;             // offset in the weights, floats; beta stands behind it
    uint rows, channels, blocks;
    uint partial;           // workspace, floats: mean [channels][blocks], then M2 [channels][blocks]
    uint result;            // workspace, floats: of each channel's group mean [channels], then scale [channels]
    uint groups;
    uint count;             // elements, or groups of four where FOUR
    uint step[6];
} push;

const uint BLOCK = 256;     // rows

float block_rows(uint block) { return float(min(BLOCK, push.rows - block * BLOCK)); }
