// math.glsl - functions that GLSL lacks, or has with a range too small; for float and vec4.
//
// erf by Abramowitz & Stegun 7.1.26: |error| <= 1.5e-7, that of float32 itself.
#define NN_MATH_FUNCTIONS(type)                                                                                        \
    type nn_erf(type x) {                                                                                              \
        const type a = abs(x), t = 1.0 / (1.0 + 0.3275911 * a);                                                        \
        const type p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))); \
        return sign(x) * (1.0 - p * exp(-a * a));                                                                      \
    }                                                                                                                  \
    type nn_gelu(type x) { return 0.5 * x * (1.0 + nn_erf(x * 0.70710678118654752)); }                                  \
    type nn_sigmoid(type x) { return 1.0 / (1.0 + exp(-x)); }                                                          \
    type nn_tanh(type x) { return 1.0 - 2.0 / (1.0 + exp(2.0 * x)); }

NN_MATH_FUNCTIONS(float)
NN_MATH_FUNCTIONS(vec4)
