// common.glsl - what every shader sees: elements, the slab, the weights.
//
// The slab holds values, the weights what was packed at load; both are seen as several types. Offsets count elements
// of the type that is read. Values are computed with in float32; only what is stored is `element`.
#extension GL_EXT_control_flow_attributes : require

#ifdef NN_F16
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define element float16_t
#define element4 f16vec4
#else
#define element float
#define element4 vec4
#endif

layout(set = 0, binding = 0) buffer Slab { element slab[]; };
layout(set = 0, binding = 0) buffer Slab4 { element4 slab4[]; };       // slab4[i] is slab[4 i] .. slab[4 i + 3]
layout(set = 0, binding = 0) buffer SlabFloat { float slab_float[]; }; // workspaces; words of 32 bits
layout(set = 0, binding = 0) buffer SlabInt { int slab_int[]; };       // index tensors

layout(set = 0, binding = 1) readonly buffer Weights { element weights[]; };
layout(set = 0, binding = 1) readonly buffer Weights4 { element4 weights4[]; };
layout(set = 0, binding = 1) readonly buffer WeightsFloat { float weights_float[]; };
layout(set = 0, binding = 1) readonly buffer WeightsFloat4 { vec4 weights_float4[]; };
layout(set = 0, binding = 1) readonly buffer WeightsUint { uint weights_uint[]; };
