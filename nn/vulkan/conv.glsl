// conv.glsl - a convolution as a product of shifted rows, tile by tile: all of conv.comp but the products, and the terms of
// conv_matrix.comp, which walks its sum in other ways.
//
//   y[m][n] = bias[n] + sum over taps t, channels c of  x[place(m) + offset(t)][c] * w[t][c][n]
//
// A workgroup makes BM rows x BN channels of the output. Its sum is walked in steps of one tap and BK channels; a step's
// rows of x and of w lie in shared memory, zeros and pre-activation already applied, while the next step's are on their
// way in registers. Channels are innermost, so a tap is a shift by whole rows: of a signal, the rows that all taps need are
// fetched once per BK channels and stay (RESIDENT); of an image, each tap fetches its own.
//
//   phase   a transposed convolution of stride s is s (s*s) convolutions, each giving every s-th output
//   group   channels group*group_in .. of x make channels group*group_out .. of y
//   split   part of the sum, where there are too few tiles to fill the device: conv_sum.comp adds the parts, in order
//   flat    few input channels, side by side with their taps: the taps are then the channels, x a row that starts anywhere
//
// gl_WorkGroupID: x is the tile of channels, y of rows, z = (phase * groups + group) * splits + split.
layout(local_size_x_id = 19) in;

layout(push_constant) uniform Push {
    uint x, y;                   // offsets in the slab
    uint table, bias, weights;   // offsets in the weights: words, floats, elements
    uint rows;                   // of a phase's output
    uint h, w;                   // of the input; flat: w counts elements
    uint columns, out_w;         // output columns of a phase, of all
    uint c_in, group_in, c_out, group_out;
    uint pitch;                  // elements from row to row of w
    uint stride, dilation;       // flat: stride counts elements
    uint step_y, step_x;         // from output to output of a phase
    uint groups, splits;
    uint partial;                // offset of the parts in the slab, floats
    float slope;                 // of the pre-activation
    uint step[6];
} push;

layout(constant_id = 8) const uint BM = 64;
layout(constant_id = 9) const uint BN = 64;
layout(constant_id = 10) const uint BK = 16;
layout(constant_id = 11) const uint ROWS = 64;         // rows of x in shared memory
layout(constant_id = 12) const bool RESIDENT = false;
layout(constant_id = 13) const uint BUFFERS = 1;       // 2: one barrier a step instead of two
layout(constant_id = 14) const uint PRE = 255;         // pre-activation, a step's kind
layout(constant_id = 15) const uint FETCH = 0;         // 0: vectors of channels, 1: single ones, 2: flat
layout(constant_id = 16) const bool IMAGE = false;
layout(constant_id = 17) const bool SPLIT = false;
layout(constant_id = 18) const bool WIDE = false;      // output channels come in whole vectors
layout(constant_id = 19) const uint THREADS = 256;
layout(constant_id = 20) const uint TILE_M = 4;        // of one invocation, or of one subgroup
layout(constant_id = 21) const uint TILE_N = 4;

#define STEP_CHANNELS push.c_out
#include "steps.glsl"

const uint PER_ROW = BK / VECTOR;                      // vectors of x in a step's row
const uint X_LOADS = (ROWS * PER_ROW + THREADS - 1) / THREADS;
const uint W_LOADS = (BK * (BN / VECTOR) + THREADS - 1) / THREADS;

// ---- where this workgroup is

uint group, split, first_row, first_channel;           // first_channel: within the group
uint taps_x, taps, first_step, last_step;
int first_y, first_x;                                  // offset of the first tap
uint phase_y, phase_x;
uint weights_at;

void find_place() {
    const uint zs = gl_WorkGroupID.z / push.splits;
    split = gl_WorkGroupID.z - zs * push.splits;
    const uint phase = zs / push.groups;
    group = zs - phase * push.groups;
    first_row = gl_WorkGroupID.y * BM;
    first_channel = gl_WorkGroupID.x * BN;
    const uint at = push.table + 8 * phase;
    phase_y = weights_uint[at];
    phase_x = weights_uint[at + 1];
    taps_x = weights_uint[at + 3];
    taps = weights_uint[at + 2] * taps_x;
    first_y = int(weights_uint[at + 4]);
    first_x = int(weights_uint[at + 5]);
    weights_at = push.weights + weights_uint[at + 6] + group * taps * push.group_in * push.pitch;
    const uint steps = (push.group_in + BK - 1) / BK * taps;
    first_step = steps * split / push.splits;
    last_step = steps * (split + 1) / push.splits;
}

// The output's row of row m of the phase.
uint output_row(uint m) {
    if (push.step_x == 1) return m;
    if (!IMAGE) return m * push.step_x + phase_x;
    const uint y = m / push.columns;
    return (y * push.step_y + phase_y) * push.out_w + (m - y * push.columns) * push.step_x + phase_x;
}

// ---- fetching

int row_y[X_LOADS], row_x[X_LOADS];                    // input's place of the rows that this invocation fetches
vector x_next[X_LOADS], w_next[W_LOADS];               // on their way

const int NOWHERE = -0x40000000;

void place_rows() {
    const uint needed = (BM - 1) * push.stride + (taps - 1) * push.dilation + 1;      // ROWS or less, where RESIDENT
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint q = (gl_LocalInvocationID.x + i * THREADS) / PER_ROW;
        row_y[i] = 0;
        if (RESIDENT) {
            row_x[i] = q < needed ? int(first_row * push.stride + q) + first_x : NOWHERE;
        } else {
            const uint m = first_row + q;
            const uint y = IMAGE ? m / push.columns : 0;
            row_y[i] = int(y);
            row_x[i] = q < BM && m < push.rows ? int((m - y * push.columns) * push.stride) : NOWHERE;
        }
    }
}

#define PRE_ACTIVATE(type, v)                                                                                          \
    (PRE == STEP_RELU ? max(v, type(0)) : PRE == STEP_LEAKY_RELU ? max(v, type(0)) + min(v, type(0)) * float(push.slope) \
                                        : PRE == STEP_SCALE      ? v * float(push.slope) : v)

float fetch_one(int y, int x, uint c) {
    const int last = int(push.w);
    if (FETCH == 2) {
        const int at = x + int(c);
        return c < push.group_in && at >= 0 && at < last ? float(slab[push.x + uint(at)]) : 0.0;
    }
    const bool inside = c < push.group_in && x >= 0 && x < last && (!IMAGE || (y >= 0 && y < int(push.h)));
    if (!inside) return 0.0;
    return float(slab[push.x + uint(IMAGE ? y * last + x : x) * push.c_in + group * push.group_in + c]);
}

void fetch_x(uint chunk, uint tap) {
    int dy = 0, dx = 0;
    if (!RESIDENT) {
        const uint ty = IMAGE ? tap / taps_x : 0;
        dy = first_y + int(ty);
        dx = first_x + int((tap - ty * taps_x) * push.dilation);
    }
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        const uint c = chunk * BK + (gl_LocalInvocationID.x + i * THREADS) % PER_ROW * VECTOR;
        const int y = row_y[i] + dy, x = row_x[i] + dx;
        if (FETCH == 0) {
            const bool inside = c < push.group_in && x >= 0 && x < int(push.w) && (!IMAGE || (y >= 0 && y < int(push.h)));
            x_next[i] = zero_vector();
            if (inside)
                x_next[i] = fetch_vector(push.x + uint(IMAGE ? y * int(push.w) + x : x) * push.c_in + group * push.group_in + c);
        } else {
            x_next[i] = gather_vector(y, x, c);
        }
    }
}

void fetch_w(uint chunk, uint tap) {
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        const uint index = gl_LocalInvocationID.x + i * THREADS;
        const uint k = index / (BN / VECTOR), n = first_channel + index % (BN / VECTOR) * VECTOR, c = chunk * BK + k;
        w_next[i] = zero_vector();
        if (k < BK && c < push.group_in && n < push.pitch)
            w_next[i] = fetch_weights(weights_at + (tap * push.group_in + c) * push.pitch + n);
    }
}

// ---- the sum

// The row of x in shared memory that the tile's row 0 reads at a tap; its row r reads r * row_step() further on.
uint first_tap_row(uint tap) { return RESIDENT ? tap * push.dilation : 0; }
uint row_step() { return RESIDENT ? push.stride : 1; }

void sum_up() {
    uint chunk = first_step / taps, tap = first_step - chunk * taps, x_buffer = 0;
    bool fresh = true;
    if (first_step < last_step) {
        fetch_x(chunk, tap);
        fetch_w(chunk, tap);
    }
    for (uint s = first_step; s < last_step; s++) {
        const uint w_buffer = BUFFERS == 2 ? s & 1 : 0;
        if (BUFFERS == 1) barrier();
        if (fresh) {
            if (BUFFERS == 2) x_buffer ^= 1;
            store_x(x_buffer);
        }
        store_w(w_buffer);
        barrier();
        const uint tap_now = tap;
        if (++tap == taps) {
            tap = 0;
            chunk++;
        }
        fresh = !RESIDENT || tap == 0;
        if (s + 1 < last_step) {
            if (fresh) fetch_x(chunk, tap);
            fetch_w(chunk, tap);
        }
        multiply(x_buffer, w_buffer, first_tap_row(tap_now));
    }
}

// ---- the end: bias, steps, store

// Four channels from n (within the group) on of row m.
void finish(vec4 v, uint m, uint n) {
    if (m >= push.rows) return;
    const uint channel = group * push.group_out + n;
    if (SPLIT) {
        const uint at = push.partial + (split * push.rows + m) * push.c_out + channel;
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (n + i < push.group_out) slab_float[at + i] = v[i];
        return;
    }
    const uint row = output_row(m);
    if (WIDE) {
        if (n >= push.group_out) return;
        v += weights_float4[(push.bias + channel) / 4];
        slab4[(push.y + row * push.c_out + channel) / 4] = element4(apply_steps(v, row, channel));
    } else {
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (n + i < push.group_out) {
                const float t = v[i] + weights_float[push.bias + channel + i];
                slab[push.y + row * push.c_out + channel + i] = element(apply_steps(t, row, channel + i));
            }
    }
}
