/* checkpoint_names.c - the names under which the same tensors are known, as one table of patterns.
 *
 * In a pattern '*' stands for a number and '~' for anything. In what it becomes, each '*' is the next number,
 * '%' twice the next number, each '~' the next text. The first line that fits a name is applied, once.
 *
 * Where the names come from: fairseq's HuBERT (hubert_base.pt) is canonical; Transformers' HubertModel
 * renames most of it. PyTorch's newer weight norm calls length and direction
 * parametrizations.weight.original0 and 1. RVC-MLX has no lists of modules, so it numbers attributes
 * (attn_0), drops the flips between the flow's layers (hence twice the number) and spells gamma and beta as
 * weight and bias; it also puts channels last, which checkpoint.c undoes. */
#include "checkpoint_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CAPTURES = 4 };

typedef struct capture {
    const char *at;
    size_t length;
} capture;

typedef struct captures {
    capture number[MOST_CAPTURES], text[MOST_CAPTURES];
    int numbers, texts;
} captures;

/* ---- tables -------------------------------------------------------------------------------------------- */

/* A tensor that tells the kind, whatever stands before its name. */
static const struct sign {
    rvc_kind kind;
    const char *name;
} signs[] = {
    {RVC_KIND_VOICE, "enc_p.emb_phone.weight"},
    {RVC_KIND_RMVPE, "unet.encoder.bn.weight"},
    {RVC_KIND_HUBERT, "post_extract_proj.weight"},
    {RVC_KIND_HUBERT, "feature_projection.projection.weight"},
    {RVC_KIND_HUBERT, "mask_emb"},
    {RVC_KIND_HUBERT, "masked_spec_embed"},
    {RVC_KIND_HUBERT, "label_embs_concat"},
};

typedef struct renaming {
    const char *from, *to;
} renaming;

static const renaming voice_names[] = {
    {"enc_p.encoder.attn_*.~", "enc_p.encoder.attn_layers.*.~"},
    {"enc_p.encoder.ffn_*.~", "enc_p.encoder.ffn_layers.*.~"},
    {"enc_p.encoder.norm1_*.weight", "enc_p.encoder.norm_layers_1.*.gamma"},
    {"enc_p.encoder.norm1_*.bias", "enc_p.encoder.norm_layers_1.*.beta"},
    {"enc_p.encoder.norm1_*.~", "enc_p.encoder.norm_layers_1.*.~"},
    {"enc_p.encoder.norm2_*.weight", "enc_p.encoder.norm_layers_2.*.gamma"},
    {"enc_p.encoder.norm2_*.bias", "enc_p.encoder.norm_layers_2.*.beta"},
    {"enc_p.encoder.norm2_*.~", "enc_p.encoder.norm_layers_2.*.~"},
    {"flow.flow_*.enc.in_layer_*.~", "flow.flows.%.enc.in_layers.*.~"},
    {"flow.flow_*.enc.res_skip_layer_*.~", "flow.flows.%.enc.res_skip_layers.*.~"},
    {"flow.flow_*.~", "flow.flows.%.~"},
    {"dec.up_*.~", "dec.ups.*.~"},
    {"dec.noise_conv_*.~", "dec.noise_convs.*.~"},
    {"dec.resblock_*.c1_*.~", "dec.resblocks.*.convs1.*.~"},
    {"dec.resblock_*.c2_*.~", "dec.resblocks.*.convs2.*.~"},
    {"~.parametrizations.weight.original0", "~.weight_g"},
    {"~.parametrizations.weight.original1", "~.weight_v"},
    {NULL, NULL},
};

static const renaming hubert_names[] = {
    {"masked_spec_embed", "mask_emb"},
    {"feature_extractor.conv_layers.*.conv.~", "feature_extractor.conv_layers.*.0.~"},
    {"feature_extractor.conv_layers.*.layer_norm.~", "feature_extractor.conv_layers.*.2.~"},
    {"feature_projection.layer_norm.~", "layer_norm.~"},
    {"feature_projection.projection.~", "post_extract_proj.~"},
    {"encoder.pos_conv_embed.conv.parametrizations.weight.original0", "encoder.pos_conv.0.weight_g"},
    {"encoder.pos_conv_embed.conv.parametrizations.weight.original1", "encoder.pos_conv.0.weight_v"},
    {"encoder.pos_conv_embed.conv.~", "encoder.pos_conv.0.~"},
    {"encoder.pos_conv_embed.~", "encoder.pos_conv.0.~"},
    {"encoder.layers.*.attention.~", "encoder.layers.*.self_attn.~"},
    {"encoder.layers.*.layer_norm.~", "encoder.layers.*.self_attn_layer_norm.~"},
    {"encoder.layers.*.feed_forward.intermediate_dense.~", "encoder.layers.*.fc1.~"},
    {"encoder.layers.*.feed_forward.output_dense.~", "encoder.layers.*.fc2.~"},
    {"~.parametrizations.weight.original0", "~.weight_g"},
    {"~.parametrizations.weight.original1", "~.weight_v"},
    {NULL, NULL},
};

static const renaming rmvpe_names[] = {
    {"unet.decoder.layers.*.conv1_trans.~", "unet.decoder.layers.*.conv1.0.~"},
    {"unet.decoder.layers.*.bn1.~", "unet.decoder.layers.*.conv1.1.~"},
    {"unet.decoder.layers.*.blocks.*.conv1.~", "unet.decoder.layers.*.conv2.*.conv.0.~"},
    {"unet.decoder.layers.*.blocks.*.bn1.~", "unet.decoder.layers.*.conv2.*.conv.1.~"},
    {"unet.decoder.layers.*.blocks.*.conv2.~", "unet.decoder.layers.*.conv2.*.conv.3.~"},
    {"unet.decoder.layers.*.blocks.*.bn2.~", "unet.decoder.layers.*.conv2.*.conv.4.~"},
    {"unet.decoder.layers.*.blocks.*.~", "unet.decoder.layers.*.conv2.*.~"},
    {"unet.~.layers.*.blocks.*.conv1.~", "unet.~.layers.*.conv.*.conv.0.~"},
    {"unet.~.layers.*.blocks.*.bn1.~", "unet.~.layers.*.conv.*.conv.1.~"},
    {"unet.~.layers.*.blocks.*.conv2.~", "unet.~.layers.*.conv.*.conv.3.~"},
    {"unet.~.layers.*.blocks.*.bn2.~", "unet.~.layers.*.conv.*.conv.4.~"},
    {"unet.~.layers.*.blocks.*.~", "unet.~.layers.*.conv.*.~"},
    {"fc.bigru.forward_grus.*.~", "fc.0.gru.~_l*"},
    {"fc.bigru.backward_grus.*.~", "fc.0.gru.~_l*_reverse"},
    {"fc.linear.~", "fc.1.~"},
    {NULL, NULL},
};

static const renaming no_names[] = {{NULL, NULL}};

static const renaming *const names_of[] = {
    [RVC_KIND_VOICE] = voice_names,
    [RVC_KIND_HUBERT] = hubert_names,
    [RVC_KIND_RMVPE] = rmvpe_names,
    [RVC_KIND_OTHER] = no_names,
};

/* What training leaves behind. The posterior encoder enc_q sees the recording to be learned; conversion has
 * none. */
static const struct leftover {
    rvc_kind kind;
    const char *pattern;
} leftovers[] = {
    {RVC_KIND_VOICE, "enc_q.~"},      {RVC_KIND_VOICE, "optimizer.~"},
    {RVC_KIND_HUBERT, "optimizer.~"}, {RVC_KIND_HUBERT, "last_optimizer_state.~"},
    {RVC_KIND_RMVPE, "optimizer.~"},
};

/* Networks that resemble ours. */
static const struct foreign {
    rvc_kind kind;
    const char *pattern, *meaning;
} foreigners[] = {
    {RVC_KIND_VOICE, "dec.mrfs.~",
     "a voice with the vocoder MRF HiFi-GAN; only HiFi-GAN is supported, so take a voice trained with "
     "HiFi-GAN"},
    {RVC_KIND_VOICE, "dec.upsample_conv_blocks.~",
     "a voice with the vocoder RefineGAN; only HiFi-GAN is supported, so take a voice trained with HiFi-GAN"},
    {RVC_KIND_HUBERT, "~.gru_rel_pos_~", "a WavLM, not a HuBERT; take hubert_base.pt or ContentVec"},
    {RVC_KIND_HUBERT, "~.self_attn.grep_~", "a WavLM, not a HuBERT; take hubert_base.pt or ContentVec"},
    {RVC_KIND_HUBERT, "feature_extractor.conv_layers.1.2.~",
     "a HuBERT of the large kind (a norm in every convolution); voices are trained with the base kind, so "
     "take "
     "hubert_base.pt or ContentVec"},
    {RVC_KIND_OTHER, "discriminators.~",
     "the discriminator of a training (D_*.pth), which has no voice; take the finished voice, or G_*.pth "
     "beside it"},
};

/* ---- patterns ------------------------------------------------------------------------------------------ */

static bool capture_name(const char *pattern, const char *name, captures *c) {
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            size_t digits = strspn(name, "0123456789");
            if (digits == 0 || c->numbers == MOST_CAPTURES) return false;
            c->number[c->numbers++] = (capture){name, digits};
            name += digits;
        } else if (*pattern == '~') {
            captures before = *c;
            if (c->texts == MOST_CAPTURES) return false;
            for (size_t n = 0;; n++) { /* the shortest text that lets the rest fit */
                *c = before;
                c->text[c->texts++] = (capture){name, n};
                if (pattern[1] == '\0') n = c->text[c->texts - 1].length = strlen(name);
                if (capture_name(pattern + 1, name + n, c)) return true;
                if (name[n] == '\0') return false;
            }
        } else if (*pattern != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

bool rvc_name_matches(const char *pattern, const char *name) {
    captures c = {.numbers = 0};
    return capture_name(pattern, name, &c);
}

/* Writes `to` with its captures into out; false where it does not fit there. */
static bool expand(const char *to, const captures *c, char out[RVC_NAME_SIZE]) {
    int number = 0, text = 0;
    size_t used = 0;
    for (; *to; to++) {
        int n;
        size_t room = RVC_NAME_SIZE - used;
        if (*to == '*' || *to == '~') {
            const capture *from = *to == '*' ? &c->number[number++] : &c->text[text++];
            if (from->length >= room) return false;
            n = snprintf(out + used, room, "%.*s", (int)from->length, from->at);
        } else if (*to == '%') {
            n = snprintf(out + used, room, "%lu", 2 * (strtoul(c->number[number++].at, NULL, 10) & 0xffff));
        } else {
            n = snprintf(out + used, room, "%c", *to);
        }
        used += (size_t)n;
        if (used >= RVC_NAME_SIZE) return false;
    }
    return true;
}

/* ---- the four questions -------------------------------------------------------------------------------- */

rvc_kind rvc_names_recognise(const char *name, size_t *prefix) {
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        size_t n = strlen(signs[i].name);
        if (n > length || strcmp(name + length - n, signs[i].name) != 0) continue;
        *prefix = length - n;
        if (*prefix == 0 || name[*prefix - 1] == '.') return signs[i].kind;
    }
    *prefix = 0;
    return RVC_KIND_OTHER;
}

void rvc_names_canonical(rvc_kind kind, const char *name, char out[RVC_NAME_SIZE]) {
    for (const renaming *r = names_of[kind]; r->from; r++) {
        captures c = {.numbers = 0};
        if (capture_name(r->from, name, &c) && expand(r->to, &c, out)) return;
    }
    snprintf(out, RVC_NAME_SIZE, "%s", name);
}

bool rvc_names_leftover(rvc_kind kind, const char *name) {
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++)
        if (leftovers[i].kind == kind && rvc_name_matches(leftovers[i].pattern, name)) return true;
    return false;
}

const char *rvc_names_foreign(rvc_kind kind, const char *name) {
    for (size_t i = 0; i < sizeof foreigners / sizeof *foreigners; i++)
        if (foreigners[i].kind == kind && rvc_name_matches(foreigners[i].pattern, name))
            return foreigners[i].meaning;
    return NULL;
}
