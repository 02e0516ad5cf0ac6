/* test_checkpoint.c - recognition (rvc/checkpoint.h): the same small network in other clothes is the same
 * network, and what cannot be used is refused with its name and a way on.
 *
 * The clothes are made here, by rules written apart from the table under test: names by plain replacement of
 * text, axes by a loop over indices. */
#include "../nn/npz.h"
#include "../rvc/checkpoint.h"
#include "../rvc/config.h"
#include "check.h"
#include "check_models.h"

enum { LONGEST = 512 };

/* ---- making clothes ---- */

typedef struct clothes {
    const char *prefix;      /* put before every name, or NULL; */
    const char *bare;        /* but not before those that begin so */
    const char *(*pairs)[2]; /* text to text, each applied once, in order; ends with NULL */
    bool channels_last;      /* of convolutions */
    bool (*drops)(const char *name);
} clothes;

static void replace(char *name, const char *from, const char *to) {
    char *at = strstr(name, from), rest[LONGEST];
    if (!at) return;
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    snprintf(at, LONGEST - (size_t)(at - name), "%s%s", to, rest);
}

/* dst [o][k...][i] = src [o][i][k...]; for a transposed convolution src is [i][o][k...]. */
static void move_channels(float *dst, const float *src, const int64_t *shape, int rank, bool transposed) {
    int64_t o = shape[transposed ? 1 : 0], in = shape[transposed ? 0 : 1],
            k = shape[2] * (rank == 4 ? shape[3] : 1);
    for (int64_t a = 0; a < o; a++)
        for (int64_t b = 0; b < in; b++)
            for (int64_t c = 0; c < k; c++)
                dst[(a * k + c) * in + b] = src[((transposed ? b * o + a : a * in + b) * k) + c];
}

static bool is_transposed(const char *name) {
    return strncmp(name, "dec.ups.", 8) == 0 || strstr(name, ".conv1.0.weight") != NULL;
}

/* The small network `from` (a path) as `to`, dressed. `json`: its config.json, NULL for that of `from`, ""
 * for none. */
static void dress(const char *from, const char *to, const clothes *c, const char *json) {
    npz *z;
    npz_writer *w;
    nn_error e = {0};
    if (npz_open(&z, from, &e) || npz_create(&w, to, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < npz_count(z); i++) {
        const npz_array *a = npz_at(z, i);
        float *x = malloc(a->count * 4 + 4), *y = malloc(a->count * 4 + 4);
        int64_t shape[NPZ_MAX_RANK] = {0};
        char name[LONGEST];
        assert_true(x && y && !npz_read_f32(z, a, x, &e));
        memcpy(y, x, a->count * 4);
        memcpy(shape, a->shape, sizeof shape);
        if (c->channels_last && a->rank >= 3 && !strstr(a->name, "emb_rel")) {
            bool t = is_transposed(a->name);
            move_channels(y, x, a->shape, a->rank, t);
            shape[0] = a->shape[t ? 1 : 0];
            for (int d = 2; d < a->rank; d++) shape[d - 1] = a->shape[d];
            shape[a->rank - 1] = a->shape[t ? 0 : 1];
        }
        snprintf(name, sizeof name, "%s", a->name);
        for (const char *(*p)[2] = c->pairs; p && (*p)[0]; p++) replace(name, (*p)[0], (*p)[1]);
        char full[2 * LONGEST];
        bool beside = c->bare && strncmp(name, c->bare, strlen(c->bare)) == 0;
        snprintf(full, sizeof full, "%s%s", c->prefix && !beside ? c->prefix : "", name);
        if (!c->drops || !c->drops(a->name))
            if (npz_write(w, full, NPZ_F32, a->rank, shape, y, &e)) fail_msg("%s", e.text);
        free(x), free(y);
    }
    char *config = NULL;
    assert_int_equal(npz_read_text(z, "config.json", &config, &e), 0);
    const char *kept = json ? json : config;
    if (kept && *kept) assert_int_equal(npz_write_text(w, "config.json", kept, &e), 0);
    free(config);
    npz_close(z);
    if (npz_finish(w, &e)) fail_msg("%s", e.text);
}

static const char *dressed(const char *small, const char *name, const clothes *c, const char *json) {
    const char *to = check_model_path("checkpoint", name);
    dress(check_small("checkpoint", small), to, c, json);
    return to;
}

/* Both files hold the same tensors, name for name and bit for bit, but for those `drops` names. */
static void assert_same_network(const char *path, const char *small, rvc_kind kind,
                                bool (*drops)(const char *name)) {
    nn_weights *want, *got;
    nn_error e = {0};
    size_t compared = 0;
    if (nn_weights_open(&want, check_small("checkpoint", small), &e)) fail_msg("%s", e.text);
    if (rvc_weights_open(&got, path, kind, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < nn_weights_count(want); i++) {
        const nn_weight *t = nn_weights_at(want, i);
        if (drops && drops(t->name)) continue;
        float *x, *y;
        assert_int_equal(nn_weights_load(want, t->name, -1, NULL, &x, &e), 0);
        if (nn_weights_load(got, t->name, t->rank, t->shape, &y, &e)) fail_msg("%s", e.text);
        assert_memory_equal(x, y, (size_t)t->count * 4);
        free(x), free(y);
        compared++;
    }
    assert_int_equal(nn_weights_count(got), compared);
    print_message("%s: %zu tensors\n", path, compared);
    nn_weights_free(want), nn_weights_free(got);
}

/* ---- the clothes ---- */

static const char *transformers[][2] = {
    {"feature_extractor.conv_layers.0.2.", "feature_extractor.conv_layers.0.layer_norm."},
    {"conv_layers.0.0.weight", "conv_layers.0.conv.weight"},
    {"conv_layers.1.0.weight", "conv_layers.1.conv.weight"},
    {"conv_layers.2.0.weight", "conv_layers.2.conv.weight"},
    {"conv_layers.3.0.weight", "conv_layers.3.conv.weight"},
    {"conv_layers.4.0.weight", "conv_layers.4.conv.weight"},
    {"conv_layers.5.0.weight", "conv_layers.5.conv.weight"},
    {"conv_layers.6.0.weight", "conv_layers.6.conv.weight"},

    {"post_extract_proj.", "feature_projection.projection."},
    {"mask_emb", "masked_spec_embed"},
    {".self_attn_layer_norm.", ".layer_norm."},
    {".self_attn.", ".attention."},
    {".fc1.", ".feed_forward.intermediate_dense."},
    {".fc2.", ".feed_forward.output_dense."},
    {NULL, NULL}};

/* The names that plain replacement cannot tell apart. */
static void as_transformers(const char *from, const char *to, const char *g, const char *v) {
    clothes c = {.pairs = transformers};
    const char *middle = check_model_path("checkpoint", "middle");
    dress(from, middle, &c, "");
    const char *rest[][2] = {{"encoder.pos_conv.0.weight_g", g},
                             {"encoder.pos_conv.0.weight_v", v},
                             {"encoder.pos_conv.0.bias", "encoder.pos_conv_embed.conv.bias"},
                             {NULL, NULL}};
    clothes d = {.pairs = rest};
    npz *z;
    npz_writer *w;
    nn_error e = {0};
    assert_true(!npz_open(&z, middle, &e) && !npz_create(&w, to, &e));
    for (size_t i = 0; i < npz_count(z); i++) {
        const npz_array *a = npz_at(z, i);
        char name[LONGEST];
        void *x = malloc(a->bytes + 1);
        snprintf(name, sizeof name, "%s", a->name);
        for (const char *(*p)[2] = d.pairs; (*p)[0]; p++) replace(name, (*p)[0], (*p)[1]);
        if (!strncmp(name, "layer_norm.", 11)) replace(name, "layer_norm.", "feature_projection.layer_norm.");
        assert_true(x && !npz_read(z, a, x, &e) && !npz_write(w, name, a->dtype, a->rank, a->shape, x, &e));
        free(x);
    }
    npz_close(z);
    if (npz_finish(w, &e)) fail_msg("%s", e.text);
}

static void test_transformers_hubert(void **state) {
    (void)state;
    const char *names[][2] = {
        {"encoder.pos_conv_embed.conv.weight_g", "encoder.pos_conv_embed.conv.weight_v"},
        {"encoder.pos_conv_embed.conv.parametrizations.weight.original0",
         "encoder.pos_conv_embed.conv.parametrizations.weight.original1"},
    };
    for (size_t i = 0; i < 2; i++) {
        const char *path = check_model_path("checkpoint", "transformers");
        as_transformers(check_small("checkpoint", "hubert"), path, names[i][0], names[i][1]);
        assert_same_network(path, "hubert", RVC_KIND_HUBERT, NULL);
        const char *prefixes[] = {"hubert.", "module.hubert.", "w2v_encoder.w2v_model."};
        for (size_t p = 0; p < 3; p++) {
            clothes c = {.prefix = prefixes[p]};
            const char *longer = check_model_path("checkpoint", "prefixed");
            dress(path, longer, &c, "");
            assert_same_network(longer, "hubert", RVC_KIND_HUBERT, NULL);
        }
    }
}

static bool is_final(const char *name) {
    return strncmp(name, "final_proj.", 11) == 0;
}

/* facebook/hubert-base has no final_proj; a class around HubertModel has it beside "hubert.". */
static void test_final_proj(void **state) {
    (void)state;
    clothes none = {.drops = is_final};
    const char *without = dressed("hubert", "without", &none, NULL);
    assert_same_network(without, "hubert", RVC_KIND_HUBERT, is_final);
    clothes wrapped = {.prefix = "hubert.", .bare = "final_proj."};
    assert_same_network(dressed("hubert", "wrapped", &wrapped, NULL), "hubert", RVC_KIND_HUBERT, NULL);
    rvc_models *m;
    rvc_error e = {0};
    rvc_model_paths paths = {.voice = check_small("checkpoint", "voice_v1_32k"),
                             .hubert = without,
                             .rmvpe = check_small("checkpoint", "rmvpe")};
    assert_int_equal(rvc_models_open(&m, &paths, NULL, &e), RVC_ERROR_MODEL);
    print_message("%s\n", e.text);
    assert_non_null(strstr(e.text, "final_proj"));
    assert_non_null(strstr(e.text, "hubert_base.pt"));
}

static const char *mlx_voice[][2] = {{"attn_layers.", "attn_"},
                                     {"ffn_layers.", "ffn_"},
                                     {"norm_layers_1.", "norm1_"},
                                     {"norm_layers_2.", "norm2_"},
                                     {".gamma", ".weight"},
                                     {".beta", ".bias"},
                                     {"flow.flows.0.", "flow.flow_0."},
                                     {"flow.flows.2.", "flow.flow_1."},
                                     {"flow.flows.4.", "flow.flow_2."},
                                     {"flow.flows.6.", "flow.flow_3."},
                                     {"in_layers.", "in_layer_"},
                                     {"res_skip_layers.", "res_skip_layer_"},
                                     {"dec.ups.", "dec.up_"},
                                     {"dec.noise_convs.", "dec.noise_conv_"},
                                     {"dec.resblocks.", "dec.resblock_"},
                                     {".convs1.", ".c1_"},
                                     {".convs2.", ".c2_"},
                                     {NULL, NULL}};

static const char *mlx_rmvpe[][2] = {{"conv1.0.weight", "conv1_trans.weight"},
                                     {".conv1.1.", ".bn1."},
                                     {".conv2.", ".blocks."},
                                     {".conv.0.conv.", ".blocks.0.conv."},
                                     {".conv.1.conv.", ".blocks.1.conv."},
                                     {".conv.2.conv.", ".blocks.2.conv."},
                                     {".conv.3.conv.", ".blocks.3.conv."},
                                     {".conv.0.shortcut.", ".blocks.0.shortcut."},
                                     {".conv.0.", ".conv1."},
                                     {".conv.1.", ".bn1."},
                                     {".conv.3.", ".conv2."},
                                     {".conv.4.", ".bn2."},
                                     {"fc.0.gru.weight_ih_l0_reverse", "fc.bigru.backward_grus.0.weight_ih"},
                                     {"fc.0.gru.weight_hh_l0_reverse", "fc.bigru.backward_grus.0.weight_hh"},
                                     {"fc.0.gru.bias_ih_l0_reverse", "fc.bigru.backward_grus.0.bias_ih"},
                                     {"fc.0.gru.bias_hh_l0_reverse", "fc.bigru.backward_grus.0.bias_hh"},
                                     {"fc.0.gru.weight_ih_l0", "fc.bigru.forward_grus.0.weight_ih"},
                                     {"fc.0.gru.weight_hh_l0", "fc.bigru.forward_grus.0.weight_hh"},
                                     {"fc.0.gru.bias_ih_l0", "fc.bigru.forward_grus.0.bias_ih"},
                                     {"fc.0.gru.bias_hh_l0", "fc.bigru.forward_grus.0.bias_hh"},
                                     {"fc.1.", "fc.linear."},
                                     {NULL, NULL}};

static bool is_counter(const char *name) {
    return strstr(name, "num_batches_tracked") != NULL;
}

/* Channels last, attributes instead of lists, a bare list as the config. */
static void test_mlx(void **state) {
    (void)state;
    clothes voice = {.pairs = mlx_voice, .channels_last = true};
    const char *list =
        "[1025, 32, 16, 16, 32, 2, 2, 3, 0, \"1\", [3, 7, 11], [[1, 3, 5], [1, 3, 5], [1, 3, 5]], "
        "[10, 10, 2, 2], 32, [16, 16, 4, 4], 4, 8, 40000]";
    const char *path = dressed("voice_v2_40k", "mlx-voice", &voice, list);
    assert_same_network(path, "voice_v2_40k", RVC_KIND_VOICE, NULL);
    nn_weights *w;
    nn_error e = {0};
    assert_int_equal(rvc_weights_open(&w, path, RVC_KIND_VOICE, &e), 0);
    assert_non_null(strstr(nn_weights_config(w), "\"f0\":1"));
    assert_non_null(strstr(nn_weights_config(w), "40000]"));
    nn_weights_free(w);
    clothes plain_names = {.channels_last = true};
    assert_same_network(dressed("voice_v1_32k", "mlx-voice", &plain_names, NULL), "voice_v1_32k",
                        RVC_KIND_VOICE, NULL);
    clothes rmvpe = {.pairs = mlx_rmvpe, .channels_last = true, .drops = is_counter};
    assert_same_network(dressed("rmvpe", "mlx-rmvpe", &rmvpe, NULL), "rmvpe", RVC_KIND_RMVPE, is_counter);
    clothes hubert = {.channels_last = true};
    assert_same_network(dressed("hubert", "mlx-hubert", &hubert, NULL), "hubert", RVC_KIND_HUBERT, NULL);
}

static void test_prefixes(void **state) {
    (void)state;
    const char *prefixes[] = {"module.", "model.", "net_g.module."};
    for (size_t i = 0; i < 3; i++) {
        clothes c = {.prefix = prefixes[i]};
        assert_same_network(dressed("voice_v2_40k", "prefix", &c, NULL), "voice_v2_40k", RVC_KIND_VOICE,
                            NULL);
        assert_same_network(dressed("rmvpe", "prefix", &c, NULL), "rmvpe", RVC_KIND_RMVPE, NULL);
        assert_same_network(dressed("hubert", "prefix", &c, NULL), "hubert", RVC_KIND_HUBERT, NULL);
    }
}

/* ---- a Transformers folder ---- */

/* The network at `from` as a safetensors file: u64 length, JSON, data. */
static void write_safetensors(const char *from, const char *to) {
    npz *z;
    nn_error e = {0};
    assert_int_equal(npz_open(&z, from, &e), 0);
    char *json = calloc(1, npz_count(z) * 512 + 16);
    size_t used = (size_t)sprintf(json, "{"), offset = 0;
    for (size_t i = 0; i < npz_count(z); i++) {
        const npz_array *a = npz_at(z, i);
        used +=
            (size_t)sprintf(json + used, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "", a->name);
        for (int d = 0; d < a->rank; d++)
            used += (size_t)sprintf(json + used, d ? ",%lld" : "%lld", (long long)a->shape[d]);
        used += (size_t)sprintf(json + used, "],\"data_offsets\":[%zu,%zu]}", offset, offset + a->bytes);
        offset += a->bytes;
    }
    used += (size_t)sprintf(json + used, "}");
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    uint64_t length = used;
    assert_int_equal(fwrite(&length, 1, 8, f) + fwrite(json, 1, used, f), 8 + used);
    for (size_t i = 0; i < npz_count(z); i++) {
        const npz_array *a = npz_at(z, i);
        void *x = malloc(a->bytes + 1);
        assert_true(x && !npz_read(z, a, x, &e));
        assert_int_equal(fwrite(x, 1, a->bytes, f), a->bytes);
        free(x);
    }
    assert_int_equal(fclose(f), 0);
    free(json);
    npz_close(z);
}

static void test_transformers_folder(void **state) {
    (void)state;
    char *folder = check_tmp("checkpoint-folder"),
         *weights = check_tmp("checkpoint-folder/model.safetensors"),
         *config = check_tmp("checkpoint-folder/config.json");
    rvc_checkpoint *c;
    nn_error e = {0}, none = {0};
    mkdir(folder, 0777);
    remove(weights);
    assert_int_equal(rvc_checkpoint_open(&c, folder, &none), NN_ERROR_FILE);
    assert_non_null(strstr(none.text, "pytorch_model.bin"));
    const char *path = check_model_path("checkpoint", "transformers");
    as_transformers(check_small("checkpoint", "hubert"), path, "encoder.pos_conv_embed.conv.weight_g",
                    "encoder.pos_conv_embed.conv.weight_v");
    write_safetensors(path, weights);
    FILE *f = fopen(config, "w");
    assert_non_null(f);
    fputs("{\"architectures\": [\"HubertModel\"], \"hidden_size\": 64}", f);
    fclose(f);
    assert_same_network(folder, "hubert", RVC_KIND_HUBERT, NULL);
    if (rvc_checkpoint_open(&c, folder, &e)) fail_msg("%s", e.text);
    assert_int_equal(rvc_checkpoint_kind(c), RVC_KIND_HUBERT);
    assert_string_equal(rvc_checkpoint_format(c), "safetensors");
    assert_non_null(strstr(rvc_checkpoint_config(c), "HubertModel"));
    rvc_checkpoint_close(c);
    free(folder), free(weights), free(config);
}

/* ---- refusals ---- */

static void refused(const char *path, rvc_kind kind, const char *a, const char *b) {
    nn_weights *w;
    nn_error e = {0};
    assert_int_not_equal(rvc_weights_open(&w, path, kind, &e), 0);
    assert_null(w);
    print_message("%s\n", e.text);
    if (!strstr(e.text, a) || !strstr(e.text, b)) fail_msg("\"%s\" lacks \"%s\" or \"%s\"", e.text, a, b);
    assert_true(strncmp(e.text, path, strlen(path)) == 0);
    assert_null(strchr(e.text, '\n'));
}

static void test_other_kinds(void **state) {
    (void)state;
    const char *voice = check_small("checkpoint", "voice_v2_40k"),
               *hubert = check_small("checkpoint", "hubert"), *rmvpe = check_small("checkpoint", "rmvpe"),
               *odd = check_model_path("checkpoint", "odd");
    refused(hubert, RVC_KIND_VOICE, "HuBERT", "--hubert");
    refused(rmvpe, RVC_KIND_VOICE, "RMVPE", "--rmvpe");
    refused(voice, RVC_KIND_HUBERT, "RVC voice", "--model");
    refused(voice, RVC_KIND_RMVPE, "RVC voice", "--model");
    npz_writer *w;
    float x[4] = {0};
    assert_int_equal(npz_create(&w, odd, NULL), 0);
    assert_int_equal(npz_write(w, "conv1.weight", NPZ_F32, 1, (int64_t[]){4}, x, NULL), 0);
    assert_int_equal(npz_finish(w, NULL), 0);
    refused(odd, RVC_KIND_VOICE, "not an RVC voice", "rvc info");
    const struct {
        const char *sign, *tensor, *a, *b;
        rvc_kind kind;
    } foreign[] = {
        {"enc_p.emb_phone.weight", "dec.mrfs.0.0.layers.0.conv1.bias", "MRF HiFi-GAN", "take a voice",
         RVC_KIND_VOICE},
        {"enc_p.emb_phone.weight", "dec.upsample_conv_blocks.0.input_conv.bias", "RefineGAN", "take a voice",
         RVC_KIND_VOICE},
        {"masked_spec_embed", "encoder.layers.0.attention.gru_rel_pos_const", "WavLM", "hubert_base.pt",
         RVC_KIND_HUBERT},
        {"post_extract_proj.weight", "feature_extractor.conv_layers.1.2.1.weight", "large", "hubert_base.pt",
         RVC_KIND_HUBERT},
        {"discriminators.0.conv_post.bias", "discriminators.1.conv_post.bias", "discriminator", "G_*.pth",
         RVC_KIND_VOICE},
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        assert_int_equal(npz_create(&w, odd, NULL), 0);
        assert_int_equal(npz_write(w, foreign[i].sign, NPZ_F32, 2, (int64_t[]){2, 2}, x, NULL), 0);
        assert_int_equal(npz_write(w, foreign[i].tensor, NPZ_F32, 1, (int64_t[]){4}, x, NULL), 0);
        assert_int_equal(npz_finish(w, NULL), 0);
        refused(odd, foreign[i].kind, foreign[i].a, foreign[i].b);
    }
}

/* The 40k voice with more keys in its config. */
static const char *voice_with(const char *name, const char *keys) {
    char json[1024], text[1200];
    FILE *f = fopen("tests/small/voice_v2_40k.json", "r");
    assert_non_null(f);
    size_t n = fread(json, 1, sizeof json - 1, f);
    fclose(f);
    json[n] = '\0';
    *strrchr(json, '}') = '\0';
    snprintf(text, sizeof text, "%s, %s}", json, keys);
    clothes c = {.prefix = NULL};
    return dressed("voice_v2_40k", name, &c, text);
}

static void test_voices_of_forks(void **state) {
    (void)state;
    nn_weights *w;
    nn_error e = {0};
    const char *applio =
        voice_with("applio", "\"vocoder\": \"HiFi-GAN\", \"embedder_model\": \"contentvec\", \"epoch\": 3");
    assert_int_equal(rvc_weights_open(&w, applio, RVC_KIND_VOICE, &e), 0);
    assert_non_null(strstr(nn_weights_config(w), "\"epoch\": 3")); /* kept to the byte */
    nn_weights_free(w);
    refused(voice_with("refine", "\"vocoder\": \"RefineGAN\""), RVC_KIND_VOICE, "RefineGAN", "take a voice");
    refused(voice_with("mrf", "\"vocoder\": \"MRF HiFi-GAN\""), RVC_KIND_VOICE, "MRF HiFi-GAN",
            "take a voice");
    const char *spin = voice_with("spin", "\"embedder_model\": \"spin-v2\"");
    refused(spin, RVC_KIND_VOICE, "spin-v2", "--allow-embedder");
    rvc_checkpoint *c;
    assert_int_equal(rvc_checkpoint_open(&c, spin, &e), 0);
    rvc_checkpoint_allow_embedder(c, true);
    assert_int_equal(rvc_checkpoint_check(c, RVC_KIND_VOICE, &e), 0);
    rvc_checkpoint_close(c);
    const char *allowed = voice_with("spin", "\"embedder_model\": \"spin-v2\", \"embedder_allowed\": true");
    assert_int_equal(rvc_weights_open(&w, allowed, RVC_KIND_VOICE, &e), 0);
    nn_weights_free(w);
}

/* ---- configs ---- */

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* A training's checkpoint has enc_q and no config: that of its folder makes it a voice. */
static void test_training(void **state) {
    (void)state;
    static const char training[] =
        "{\"train\": {\"seed\": 1}, \"data\": {\"sampling_rate\": 40000, \"filter_length\": 2048}, "
        "\"model\": "
        "{\"inter_channels\": 16, \"hidden_channels\": 16, \"filter_channels\": 32, \"n_heads\": 2, "
        "\"n_layers\": 2, "
        "\"kernel_size\": 3, \"p_dropout\": 0, \"resblock\": \"1\", \"resblock_kernel_sizes\": [3, 7, 11], "
        "\"resblock_dilation_sizes\": [[1, 3, 5], [1, 3, 5], [1, 3, 5]], \"upsample_rates\": [10, 10, 2, 2], "
        "\"upsample_initial_channel\": 32, \"upsample_kernel_sizes\": [16, 16, 4, 4], \"spk_embed_dim\": 4, "
        "\"gin_channels\": 8}, \"spk\": {}}";
    char *folder = check_tmp("checkpoint-training"), *path = check_tmp("checkpoint-training/G_200.npz"),
         *config = check_tmp("checkpoint-training/config.json");
    mkdir(folder, 0777);
    remove(config);
    npz *z;
    npz_writer *w;
    nn_error e = {0};
    assert_int_equal(npz_open(&z, check_small("checkpoint", "voice_v2_40k"), &e), 0);
    assert_int_equal(npz_create(&w, path, &e), 0);
    float x[4] = {1, 2, 3, 4};
    assert_int_equal(npz_write(w, "optimizer.state.0.exp_avg", NPZ_F32, 1, (int64_t[]){4}, x, &e), 0);
    assert_int_equal(npz_write(w, "enc_q.pre.weight", NPZ_F32, 1, (int64_t[]){4}, x, &e), 0);
    for (size_t i = 0; i < npz_count(z); i++) {
        const npz_array *a = npz_at(z, i);
        void *data = malloc(a->bytes + 1);
        assert_true(data && !npz_read(z, a, data, &e));
        assert_int_equal(npz_write(w, a->name, a->dtype, a->rank, a->shape, data, &e), 0);
        free(data);
    }
    npz_close(z);
    assert_int_equal(npz_write_text(w, "config.json", "{\"iteration\": 200, \"optimizer\": {\"lr\": 1}}", &e),
                     0);
    assert_int_equal(npz_finish(w, &e), 0);
    refused(path, RVC_KIND_VOICE, "G_*.pth", "config.json");
    write_text(config, "{\"architectures\": [\"HubertModel\"]}"); /* somebody else's */
    refused(path, RVC_KIND_VOICE, "G_*.pth", "config.json");
    write_text(config, training);
    assert_same_network(path, "voice_v2_40k", RVC_KIND_VOICE, NULL);
    nn_weights *v;
    rvc_voice_config c;
    assert_int_equal(rvc_weights_open(&v, path, RVC_KIND_VOICE, &e), 0);
    print_message("%s\n", nn_weights_config(v));
    assert_non_null(strstr(nn_weights_config(v), "[1025,32,16,16,32,2,2,3,0,\"1\",[3,7,11],"));
    assert_null(strstr(nn_weights_config(v), "optimizer"));
    if (rvc_voice_config_read(&c, v, &e)) fail_msg("%s", e.text);
    assert_int_equal(c.rate, 40000);
    assert_true(c.f0);
    nn_weights_free(v);
    free(folder), free(path), free(config);
}

static void test_configs(void **state) {
    (void)state;
    clothes plain = {.prefix = NULL};
    refused(dressed("voice_v2_40k", "bare", &plain, ""), RVC_KIND_VOICE, "no config.json", ".pth");
    refused(dressed("voice_v2_40k", "bare", &plain, "{\"f0\": 1}"), RVC_KIND_VOICE, "18 entries",
            "get the voice");
    refused(dressed("voice_v2_40k", "bare", &plain, "not json"), RVC_KIND_VOICE, "not a JSON object",
            "get the voice");
    const char *text =
        "{\"config\": \"[1025, 32, 16, 16, 32, 2, 2, 3, 0, \\\"1\\\", [3, 7, 11], [[1, 3, 5], [1, 3, 5], "
        "[1, 3, 5]], [10, 10, 2, 2], 32, [16, 16, 4, 4], 4, 8, 40000]\", \"version\": \"v2\"}";
    rvc_checkpoint *c;
    nn_error e = {0};
    assert_int_equal(rvc_checkpoint_open(&c, dressed("voice_v2_40k", "text", &plain, text), &e), 0);
    assert_non_null(strstr(rvc_checkpoint_config(c), "\"config\":[1025,32,"));
    assert_int_equal(rvc_checkpoint_check(c, RVC_KIND_VOICE, &e), 0);
    rvc_checkpoint_close(c);
    /* features of 256 channels under the name of v2 */
    const char *odd = check_model_path("checkpoint", "odd");
    npz_writer *w;
    float *x = calloc(256, 4);
    assert_int_equal(npz_create(&w, odd, NULL), 0);
    assert_int_equal(npz_write(w, "enc_p.emb_phone.weight", NPZ_F32, 2, (int64_t[]){1, 256}, x, NULL), 0);
    assert_int_equal(
        npz_write_text(w, "config.json", "{\"config\": [], \"f0\": 0, \"version\": \"v2\"}", NULL), 0);
    assert_int_equal(npz_finish(w, NULL), 0);
    assert_int_equal(rvc_checkpoint_open(&c, odd, &e), 0);
    assert_non_null(rvc_checkpoint_note(c));
    print_message("%s\n", rvc_checkpoint_note(c));
    assert_non_null(strstr(rvc_checkpoint_note(c), "256"));
    assert_non_null(strstr(rvc_checkpoint_note(c), "v1"));
    rvc_checkpoint_close(c);
    free(x);
}

static void test_patterns(void **state) {
    (void)state;
    assert_true(rvc_name_matches("a.*.b", "a.12.b"));
    assert_false(rvc_name_matches("a.*.b", "a..b"));
    assert_false(rvc_name_matches("a.*.b", "a.1.bc"));
    assert_true(rvc_name_matches("~", ""));
    assert_true(rvc_name_matches("~.x.~", "one.two.x.three"));
    assert_false(rvc_name_matches("~.x.~", "x.three"));
    assert_false(rvc_name_matches("ab", "a"));
    char *longest = malloc(200001); /* no stack of its length, no square of it in time */
    assert_non_null(longest);
    memset(longest, '.', 200000);
    longest[200000] = '\0';
    assert_false(rvc_name_matches("~.self_attn.grep_~", longest));
    free(longest);
}

/* ---- recorded checkpoints ---- */

static void test_fixtures(void **state) {
    (void)state;
    const struct {
        const char *name;
        rvc_kind kind;
        bool serves;
    } files[] = {
        {"voice_zip.pth", RVC_KIND_VOICE, true},          {"voice_legacy.pth", RVC_KIND_VOICE, true},
        {"voice_fork_keys.pth", RVC_KIND_VOICE, true},    {"voice_refinegan.pth", RVC_KIND_VOICE, false},
        {"hubert_fairseq_zip.pt", RVC_KIND_HUBERT, true}, {"hubert_fairseq_legacy.pt", RVC_KIND_HUBERT, true},
        {"state_dict_build.pt", RVC_KIND_OTHER, true},    {"tensors_zip.pt", RVC_KIND_OTHER, true},
        {"tensors_legacy.pt", RVC_KIND_OTHER, true},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char relative[128];
        snprintf(relative, sizeof relative, "fixtures/pth/%s", files[i].name);
        const char *path = check_shared(relative);
        if (!path) skip();
        rvc_checkpoint *c;
        nn_error e = {0};
        if (rvc_checkpoint_open(&c, path, &e)) fail_msg("%s", e.text);
        assert_int_equal(rvc_checkpoint_kind(c), files[i].kind);
        assert_int_equal(rvc_checkpoint_check(c, RVC_KIND_OTHER, &e) == NN_OK, files[i].serves);
        if (!files[i].serves) assert_non_null(strstr(e.text, "RefineGAN"));
        if (strstr(files[i].name, "fork_keys"))
            assert_non_null(strstr(rvc_checkpoint_config(c), "contentvec"));
        rvc_checkpoint_close(c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers_hubert),
        cmocka_unit_test(test_final_proj),
        cmocka_unit_test(test_mlx),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_transformers_folder),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_voices_of_forks),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_fixtures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
