/* config.h - what a voice's checkpoint says about itself: the `config` list of RVC-WebUI and the keys beside
 * it. */
#ifndef RVC_CONFIG_H
#define RVC_CONFIG_H

#include <stdbool.h>
#include "../nn/error.h"
#include "../nn/weights.h"

enum { RVC_MAX_LEVELS = 8, RVC_MAX_KERNELS = 8, RVC_MAX_DILATIONS = 8 };

typedef struct rvc_voice_config {
    int version;                      /* 1: features of layer 9 through final_proj; 2: of layer 12 */
    bool f0;                          /* takes pitch */
    int rate;                         /* Hz, = 100 * upp */
    int upp;                          /* output samples per 10 ms frame: the product of the upsample rates */
    int feature_width;                /* channels of the features it takes: 256 (v1), 768 (v2) */
    int speakers;                     /* rows of emb_g */
    int inter, hidden, heads, layers; /* channels of z, of the text encoder; its heads and layers */
    int kernels;                      /* residual blocks of a generator level */
    int kernel[RVC_MAX_KERNELS];      /* taps of each */
    int dilations[RVC_MAX_KERNELS];
    int dilation[RVC_MAX_KERNELS][RVC_MAX_DILATIONS];
    int channels; /* of the generator's first layer; each level halves them */
    int levels;   /* upsampling levels of the generator */
    int up_rate[RVC_MAX_LEVELS], up_kernel[RVC_MAX_LEVELS];
} rvc_voice_config;

/* Reads and checks the config.json of voice `w`, and the shapes that config leaves open. What this program
 * cannot do (a vocoder other than HiFi-GAN, residual blocks of type 2) is refused by name. */
nn_code rvc_voice_config_read(rvc_voice_config *c, const nn_weights *w, nn_error *e);

#endif
