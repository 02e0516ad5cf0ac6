#version 460
// group_norm_blocks.comp - of each channel, mean and M2 = sum (x - mean)^2 over blocks of 256 rows.
//
// A workgroup takes 32 channels of one block, a thread 32 rows of one channel, in registers: first their mean, then M2
// about it. Eight threads' results are combined (Chan, Golub & LeVeque 1983): n = sum n_i, mean = sum n_i mean_i / n,
// M2 = sum M2_i + n_i (mean_i - mean)^2.
#include "group_norm.glsl"

layout(local_size_x = 32, local_size_y = 8) in;
const uint TILE = 32, PARTS = 8, EACH = BLOCK / PARTS;

shared vec3 partial[PARTS][TILE];     // n, mean, M2

vec3 own_rows(uint channel, uint row0, uint rows) {
    float v[EACH], sum = 0, m2 = 0;
    [[unroll]] for (uint i = 0; i < EACH; i++) {
        v[i] = i < rows ? float(slab[push.x + (row0 + i * PARTS) * push.channels + channel]) : 0;
        sum += v[i];
    }
    const float mean = rows > 0 ? sum / float(rows) : 0;
    [[unroll]] for (uint i = 0; i < EACH; i++) {
        const float d = v[i] - mean;
        m2 += i < rows ? d * d : 0;
    }
    return vec3(rows, mean, m2);
}

void main() {
    const uint lane = gl_LocalInvocationID.x, part = gl_LocalInvocationID.y;
    const uint channel = gl_WorkGroupID.x * TILE + lane;
    for (uint block = gl_WorkGroupID.y; block < push.blocks; block += gl_NumWorkGroups.y) {
        const uint all = min(BLOCK, push.rows - block * BLOCK);
        const uint rows = channel < push.channels ? (all + PARTS - 1 - part) / PARTS : 0;
        partial[part][lane] = own_rows(channel, block * BLOCK + part, rows);
        barrier();
        if (part == 0 && channel < push.channels) {
            float mean = 0, m2 = 0;
            [[unroll]] for (uint i = 0; i < PARTS; i++) mean += partial[i][lane].x * partial[i][lane].y;
            mean /= float(all);
            [[unroll]] for (uint i = 0; i < PARTS; i++) {
                const float d = partial[i][lane].y - mean;
                m2 += partial[i][lane].z + partial[i][lane].x * d * d;
            }
            slab_float[push.partial + channel * push.blocks + block] = mean;
            slab_float[push.partial + (push.channels + channel) * push.blocks + block] = m2;
        }
        barrier();
    }
}
