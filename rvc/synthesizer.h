/* synthesizer.h - the voice: a VITS synthesizer with an NSF-HiFiGAN generator (Kim et al. 2021; Wang et al.
 * 2019; Kong et al. 2020), as two graphs. The prior turns features and pitch into a latent z, all frames at
 * once (it attends); the generator turns z into samples and sees only a few frames around each, so it can run
 * in pieces. */
#ifndef RVC_SYNTHESIZER_H
#define RVC_SYNTHESIZER_H

#include "../nn/nn.h"
#include "config.h"

enum {
    RVC_PRIOR_STATS = 1,      /* "m", "logs" and "z_p" can be read too, [1][frames][inter] each */
    RVC_GENERATOR_SOURCE = 2, /* "har_source" [1][frames*upp][1] can be read too */
};

/* Inputs "phone" [1][frames][feature_width], "pitch" (voices with f0) and "speaker" index [frames] and [1],
 * "noise" [1][frames][inter], standard normal times the noise scale. Output "z" [1][frames][inter]. */
nn_graph *rvc_prior_graph(nn_weights *w, const rvc_voice_config *c, int frames, unsigned outputs);

/* Inputs "z" [1][frames][inter], "speaker", and for voices with f0 "source" [1][frames*upp][1], the sine
 * before its linear layer. Output "audio" [1][frames*upp][1]. */
nn_graph *rvc_generator_graph(nn_weights *w, const rvc_voice_config *c, int frames, unsigned outputs);

/* The two as parts of another graph, whose weights are the voice's by now (nn_graph_use). The speaker is input "speaker"
 * [1] through its table; pitch and source are NULL where the voice takes none; results as "z" and "audio" above. */
typedef struct rvc_prior_inputs { nn_tensor phone, pitch, noise, speaker; } rvc_prior_inputs;
nn_tensor rvc_speaker(nn_graph *g);
nn_tensor rvc_prior(nn_graph *g, nn_weights *w, const rvc_voice_config *c, rvc_prior_inputs in, unsigned outputs);
nn_tensor rvc_generator_network(nn_graph *g, const rvc_voice_config *c, nn_tensor z, nn_tensor source, nn_tensor speaker,
                                unsigned outputs);

/* The generator in two parts: what is wide and slow, and the last levels, which are narrow and long. The front has inputs "z",
 * "speaker" and "source" and output "x" [1][frames*rate][channels] of its last level; the back takes `samples` of it as input
 * "x", "source" [1][samples*upp/rate][1], and gives "audio". */
typedef struct rvc_generator_part { int levels, rate, channels; } rvc_generator_part;
rvc_generator_part rvc_generator_front(const rvc_voice_config *c);
nn_graph *rvc_generator_front_graph(nn_weights *w, const rvc_voice_config *c, int frames);
nn_graph *rvc_generator_back_graph(nn_weights *w, const rvc_voice_config *c, int samples);
int rvc_receptive_back(const rvc_voice_config *c);     /* samples of "x" on each side that the back's output depends on */

/* Frames of z on each side of a frame that the generator's output within that frame depends on. */
int rvc_receptive_frames(const rvc_voice_config *c);

#endif
