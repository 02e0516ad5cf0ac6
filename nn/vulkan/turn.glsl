// turn.glsl - cosine and sine of an angle that is a fraction of a turn, and normal numbers by position; normal.h has the
// formulas. What the language promises of its own sin, cos and log is far less than 1e-7.

// (cos, sin) of 2 pi phase/2^32: a quarter turn and a rest in [-pi/4, pi/4), exactly from the integer.
vec2 nn_turn(uint phase) {
    const uint quadrant = (phase + 0x20000000u) >> 30;
    const float a = float(int(phase - (quadrant << 30))) * (1.5707963267948966 / 1073741824.0), q = a * a;
    const float s = a * (1 + q * (-1.0 / 6 + q * (1.0 / 120 + q * (-1.0 / 5040 + q * (1.0 / 362880)))));
    const float c = 1 + q * (-0.5 + q * (1.0 / 24 + q * (-1.0 / 720 + q * (1.0 / 40320 + q * (-1.0 / 3628800)))));
    const vec2 r = (quadrant & 1) != 0 ? vec2(s, c) : vec2(c, s);
    return vec2(quadrant == 1 || quadrant == 2 ? -r.x : r.x, quadrant >= 2 ? -r.y : r.y);
}

// ln u: u = 2^e m with m in [sqrt 1/2, sqrt 2), and the series of 2 atanh((m - 1)/(m + 1)).
float nn_log(float u) {
    const int bits = floatBitsToInt(u), exponent = (bits - 0x3f3504f3) >> 23;
    const float m = intBitsToFloat(bits - (exponent << 23)), s = (m - 1) / (m + 1), q = s * s;
    return float(exponent) * 0.693147180559945 +
           2 * s * (1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9)))));
}

// Philox 4x32-10: four words from a counter and a key.
uvec4 nn_philox(uvec4 c, uvec2 key) {
    for (int i = 0; i < 10; i++) {
        uint p1, p0, q1, q0;
        umulExtended(0xD2511F53u, c.x, p1, p0);
        umulExtended(0xCD9E8D57u, c.z, q1, q0);
        c = uvec4(q1 ^ c.y ^ key.x, q0, p1 ^ c.w ^ key.y, p0);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

vec2 nn_box_muller(uint w0, uint w1) {
    return sqrt(-2 * nn_log((float(w0) + 1.0) * (1.0 / 4294967296.0))) * nn_turn(w1);
}

// Elements 4 block .. 4 block + 3.
vec4 nn_normal(uvec2 seed, uint stream, uvec2 block) {
    const uvec4 w = nn_philox(uvec4(block, stream, 0), seed);
    return vec4(nn_box_muller(w.x, w.y), nn_box_muller(w.z, w.w));
}

// hz q in turns times 2^32, without the whole ones, for q below 1 given times 2^64; 0 where hz is not positive.
// hz = m 2^(e-23) with m of 24 bits, so this is a product of integers, of which 32 bits are kept.
uint nn_turns(float hz, uint q1, uint q0) {
    const uint bits = floatBitsToUint(hz);
    const int shift = 150 - int(bits >> 23 & 255);          // 23 - e
    if (int(bits) <= 0 || shift < 1 || shift > 63) return 0;        // above 2^23 Hz or hardly any, too
    const uint m = (bits & 0x7fffff) | 0x800000;
    uint a1, a0, b1, b0, carry;
    umulExtended(m, q1, a1, a0);
    umulExtended(m, q0, b1, b0);
    const uint p1 = uaddCarry(a0, b1, carry), p2 = a1 + carry;      // m q = p2 + p1 2^-32 + b0 2^-64
    // all but the last bit that goes, and that one to round by: a bias would add up over the frames
    const uint twice = shift < 33 ? (shift == 1 ? p1 : p1 >> (shift - 1) | p2 << (33 - shift)) : p2 >> (shift - 33);
    return (twice >> 1 | (shift < 33 ? p2 >> (shift - 1) & 1 : 0) << 31) + (twice & 1);
}
