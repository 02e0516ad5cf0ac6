"""models.py - the three networks of RVC in PyTorch: HuBERT base / ContentVec, RMVPE, the synthesizer.

A second definition beside the one in C (rvc/hubert.c, rmvpe/network.c, rvc/synthesizer.c), written from the
same formulas: it proves our numbers another way, makes reference files from anybody's models, and is what
PyTorch and ONNX Runtime run when we race them.

Submodules carry the state-dict names of the published checkpoints, and every size is read off the checkpoint.
The one liberty: weight norm is folded when the file is read (w = v g/|v|, in double), as every inference
program does, so NAME.weight_g and NAME.weight_v become NAME.weight. After that, load_state_dict is strict
about names and shapes.

Papers: Hsu et al. 2021 (HuBERT), Qian et al. 2022 (ContentVec), Wei et al. 2023 (RMVPE), Kim et al. 2021
(VITS), Shaw et al. 2018 (relative positions), Kong et al. 2020 (HiFi-GAN), Wang et al. 2019 (neural source
filter).
"""

import json
import math
import os
import re
import zipfile

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# What a checkpoint may hold and no conversion needs: the training-time posterior encoder, masking and label
# tables.
UNUSED = re.compile(r"enc_q\.|mask_emb$|label_embs_concat$|.*num_batches_tracked$")


# ---- checkpoints -------------------------------------------------------------------------------------------

class Weights(dict):
    """A checkpoint: {state-dict name: float32 array}, weight norm folded; .config is its config.json or
    {}."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        with np.load(path) as archive:
            for name in archive.files:
                if not name.endswith(".json") and not UNUSED.match(name):
                    self[name] = np.asarray(archive[name], dtype=np.float32)
        self.config = read_config(path)
        self.fold("weight_g", "weight_v")
        self.fold("parametrizations.weight.original0", "parametrizations.weight.original1")

    def fold(self, magnitude, direction):
        """v g/|v|; the norm is over the axes where g has length 1 (HuBERT's positional conv: all but the
        taps)."""
        for name in [n for n in self if n.endswith("." + magnitude)]:
            stem = name[: -len(magnitude)]
            g, v = self.pop(name).astype(np.float64), self.pop(stem + direction).astype(np.float64)
            axes = tuple(i for i, n in enumerate(g.shape) if n == 1)
            folded = v * (g / np.sqrt((v * v).sum(axis=axes, keepdims=True)))
            self[stem + "weight"] = folded.astype(np.float32)

    def shape(self, name):
        if name not in self:
            raise SystemExit(f"{self.path}: tensor {name} is missing")
        return self[name].shape

    def count(self, stem):
        """How many parts STEM.0, STEM.1, ... there are: 1 + the largest number."""
        numbers = [int(n[len(stem) + 1:].split(".")[0]) for n in self if n.startswith(stem + ".")]
        return 1 + max(numbers, default=-1)

    def into(self, module):
        """The checkpoint's numbers in `module`, which must have exactly its names and shapes."""
        state = {name: torch.from_numpy(array) for name, array in self.items()}
        missing, unexpected = module.load_state_dict(state, strict=False)
        missing = [name for name in missing if not UNUSED.match(name)]
        if missing or unexpected:
            raise SystemExit(f"{self.path}: missing {missing[:5]}, unknown {list(unexpected)[:5]}")
        return module.eval().requires_grad_(False)


def read_config(path):
    """config.json inside the archive (as text, or as numpy writes a string back), or NAME.json beside it."""
    with zipfile.ZipFile(path) as archive:
        if "config.json" in archive.namelist():
            return json.loads(archive.read("config.json"))
        if "config.json.npy" in archive.namelist():
            return json.loads(np.load(path)["config.json"].item())
    beside = os.path.splitext(path)[0] + ".json"
    if os.path.exists(beside):
        with open(beside, encoding="utf-8") as file:
            return json.load(file)
    return {}


# Layers with the sizes that the checkpoint gives them.

def linear(w, name):
    out, inner = w.shape(name + ".weight")[:2]
    return nn.Linear(inner, out)


def conv1d(w, name, stride=1, padding=0, dilation=1, groups=1, bias=True):
    out, inner, taps = w.shape(name + ".weight")
    return nn.Conv1d(inner * groups, out, taps, stride, padding, dilation, groups, bias)


def same_conv1d(w, name, dilation=1, bias=True):
    """A convolution that keeps the length."""
    taps = w.shape(name + ".weight")[2]
    return conv1d(w, name, padding=dilation * (taps - 1) // 2, dilation=dilation, bias=bias)


def conv2d(w, name, bias=False):
    out, inner, height, width = w.shape(name + ".weight")
    return nn.Conv2d(inner, out, (height, width), padding=(height // 2, width // 2), bias=bias)


def norm(w, name):
    return nn.LayerNorm(w.shape(name + ".weight")[0])


def batch_norm(w, name):
    return nn.BatchNorm2d(w.shape(name + ".weight")[0])


def sequence(make, stem, n):
    return nn.ModuleList(make(f"{stem}.{i}") for i in range(n))


def heads_of(x, heads):
    """[T, heads*d] -> [heads, T, d]."""
    return x.view(x.shape[0], heads, -1).transpose(0, 1)


def attention(q, k, v):
    """softmax(q k^T / sqrt d) v; PyTorch's own kernel for it where it has one (2.0 and later)."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]
    return torch.softmax((q / math.sqrt(q.shape[2])) @ k.transpose(1, 2), dim=-1) @ v


# ---- HuBERT ------------------------------------------------------------------------------------------------

class HubertLayer(nn.Module):
    """x = LN(x + attention(x)); x = LN(x + fc2(GELU(fc1(x)))); heads of 64."""

    def __init__(self, w, name):
        super().__init__()
        self.self_attn = nn.Module()
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self.self_attn, part, linear(w, f"{name}.self_attn.{part}"))
        self.self_attn_layer_norm = norm(w, f"{name}.self_attn_layer_norm")
        self.fc1, self.fc2 = linear(w, f"{name}.fc1"), linear(w, f"{name}.fc2")
        self.final_layer_norm = norm(w, f"{name}.final_layer_norm")

    def forward(self, x):
        a, heads = self.self_attn, x.shape[1] // 64
        q, k, v = (heads_of(p(x), heads) for p in (a.q_proj, a.k_proj, a.v_proj))
        y = attention(q, k, v).transpose(0, 1).reshape(x.shape)
        x = self.self_attn_layer_norm(x + a.out_proj(y))
        return self.final_layer_norm(x + self.fc2(F.gelu(self.fc1(x))))


class Hubert(nn.Module):
    """audio [n] at 16 kHz -> features [(n - 400)/320 + 1, 768] (version 2) or 256 (version 1)."""

    STRIDES = (5, 2, 2, 2, 2, 2, 2)
    V1_LAYER = 9

    def __init__(self, w):
        super().__init__()
        layers = nn.ModuleList()
        for i, stride in enumerate(self.STRIDES):
            conv = conv1d(w, f"feature_extractor.conv_layers.{i}.0", stride, bias=False)
            group = nn.GroupNorm(conv.out_channels, conv.out_channels) if i == 0 else nn.Identity()
            layers.append(nn.Sequential(conv, nn.Identity(), group, nn.GELU()))
        self.feature_extractor = nn.Module()
        self.feature_extractor.conv_layers = layers
        self.layer_norm = norm(w, "layer_norm")
        self.post_extract_proj = linear(w, "post_extract_proj")
        self.encoder = nn.Module()
        out, inner, taps = w.shape("encoder.pos_conv.0.weight")
        self.encoder.pos_conv = nn.Sequential(
            conv1d(w, "encoder.pos_conv.0", padding=taps // 2, groups=out // inner))
        self.encoder.layer_norm = norm(w, "encoder.layer_norm")
        stem = "encoder.layers"
        self.encoder.layers = sequence(lambda n: HubertLayer(w, n), stem, w.count(stem))
        self.final_proj = linear(w, "final_proj") if "final_proj.weight" in w else None
        w.into(self)

    def embed(self, audio):
        """The encoder's input [T, 768]."""
        x = audio.view(1, 1, -1)
        for layer in self.feature_extractor.conv_layers:
            x = layer(x)
        x = self.post_extract_proj(self.layer_norm(x[0].transpose(0, 1)))
        y = self.encoder.pos_conv(x.transpose(0, 1)[None])[0].transpose(0, 1)
        y = y[: x.shape[0]]  # an even kernel gives one frame too many
        return self.encoder.layer_norm(x + F.gelu(y))

    def stages(self, audio):
        x = self.embed(audio)
        out = {"hubert_l0": x}
        for i, layer in enumerate(self.encoder.layers, 1):
            x = layer(x)
            if i == min(self.V1_LAYER, len(self.encoder.layers)) and self.final_proj is not None:
                out["hubert_v1"] = self.final_proj(x)
        out["hubert_v2"] = x
        return out

    def forward(self, audio):
        x = self.embed(audio)
        for layer in self.encoder.layers:
            x = layer(x)
        return x


# ---- RMVPE -------------------------------------------------------------------------------------------------

class Block(nn.Module):
    """y = ReLU(BN(conv(ReLU(BN(conv(x)))))), plus x, or a 1x1 convolution of x where the channels change."""

    def __init__(self, w, name):
        super().__init__()
        self.conv = nn.Sequential(
            conv2d(w, f"{name}.conv.0"), batch_norm(w, f"{name}.conv.1"), nn.ReLU(),
            conv2d(w, f"{name}.conv.3"), batch_norm(w, f"{name}.conv.4"), nn.ReLU())
        if f"{name}.shortcut.weight" in w:
            self.shortcut = conv2d(w, f"{name}.shortcut", bias=True)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x):
        return self.conv(x) + self.shortcut(x)


class Blocks(nn.Module):
    """Blocks one after another under the name `conv`: a level of the encoder, or of the part below it."""

    def __init__(self, w, name):
        super().__init__()
        self.conv = sequence(lambda n: Block(w, n), f"{name}.conv", w.count(f"{name}.conv"))

    def forward(self, x):
        for block in self.conv:
            x = block(x)
        return x


class UpBlocks(nn.Module):
    """A level of the decoder: twice the size, beside what the encoder kept, through blocks."""

    def __init__(self, w, name):
        super().__init__()
        inner, out = w.shape(f"{name}.conv1.0.weight")[:2]
        up = nn.ConvTranspose2d(inner, out, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.conv1 = nn.Sequential(up, batch_norm(w, f"{name}.conv1.1"), nn.ReLU())
        self.conv2 = sequence(lambda n: Block(w, n), f"{name}.conv2", w.count(f"{name}.conv2"))

    def forward(self, x, kept):
        x = torch.cat((self.conv1(x), kept), dim=1)
        for block in self.conv2:
            x = block(x)
        return x


class BiGRU(nn.Module):
    def __init__(self, w, name):
        super().__init__()
        rows, inner = w.shape(f"{name}.gru.weight_ih_l0")
        self.gru = nn.GRU(inner, rows // 3, bidirectional=True)

    def forward(self, x):
        return self.gru(x)[0]


class Rmvpe(nn.Module):
    """mel [128, T], T a multiple of 32 -> salience [T, 360]. Time is the image's height, mel its width."""

    def __init__(self, w):
        super().__init__()
        self.unet = nn.Module()
        for part, make in (("encoder", Blocks), ("intermediate", Blocks), ("decoder", UpBlocks)):
            stem = f"unet.{part}.layers"
            holder = nn.Module()
            holder.layers = sequence(lambda n, make=make: make(w, n), stem, w.count(stem))
            setattr(self.unet, part, holder)
        self.unet.encoder.bn = batch_norm(w, "unet.encoder.bn")
        self.cnn = conv2d(w, "cnn", bias=True)
        self.fc = nn.Sequential(BiGRU(w, "fc.0"), linear(w, "fc.1"))
        self.multiple = 2 ** len(self.unet.encoder.layers)
        w.into(self)

    def forward(self, mel):
        x = self.unet.encoder.bn(mel.transpose(0, 1)[None, None])
        kept = []
        for level in self.unet.encoder.layers:
            kept.append(level(x))
            x = F.avg_pool2d(kept[-1], 2)
        for level in self.unet.intermediate.layers:
            x = level(x)
        for level in self.unet.decoder.layers:
            x = level(x, kept.pop())
        x = self.cnn(x)[0].transpose(0, 1).flatten(1)  # [T, 3*128], channel-major
        return torch.sigmoid(self.fc(x[:, None])[:, 0])

    def padded(self, mel):
        """The same for any T: frames are added as 0.0, which is loud in the log domain, and cut off again."""
        frames = mel.shape[1]
        return self(F.pad(mel, (0, -frames % self.multiple)))[:frames]


# ---- synthesizer: the prior --------------------------------------------------------------------------------

class ChannelNorm(nn.Module):
    """Layer norm over the channels of [1, C, T], with VITS's names."""

    def __init__(self, w, name):
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(w.shape(f"{name}.gamma")))
        self.beta = nn.Parameter(torch.empty(w.shape(f"{name}.beta")))

    def forward(self, x):
        return F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta).transpose(1, 2)


def band_to_square(a):
    """a [h, T, 2r+1] -> b [h, T, T] with b[i, i + m - r] = a[i, m], zero elsewhere. Rows of 2r+1 entries,
    padded to T + 2r + 1 and read again as rows of T + 2r, move one place to the right each."""
    h, t, n = a.shape
    a = F.pad(a, (0, t)).reshape(h, t * (t + n))[:, : t * (t + n - 1)]
    return a.reshape(h, t, t + n - 1)[:, :, n // 2: n // 2 + t]


def square_to_band(p, n):
    """The inverse: p [h, T, T] -> a [h, T, n] with a[i, m] = p[i, i + m - r]."""
    h, t, _ = p.shape
    p = F.pad(p, (n // 2, n // 2)).reshape(h, t * (t + n - 1))
    return F.pad(p, (0, t)).reshape(h, t, t + n)[:, :, :n]


class RelativeAttention(nn.Module):
    """scores[i,j] = q_i . (k_j + k_rel[j - i])/sqrt d;  out_i = sum_j p_ij (v_j + v_rel[j - i]); rel is 0
    beyond 10."""

    def __init__(self, w, name, heads):
        super().__init__()
        self.heads = heads
        for part in ("conv_q", "conv_k", "conv_v", "conv_o"):
            setattr(self, part, conv1d(w, f"{name}.{part}"))
        self.emb_rel_k = nn.Parameter(torch.empty(w.shape(f"{name}.emb_rel_k")))
        self.emb_rel_v = nn.Parameter(torch.empty(w.shape(f"{name}.emb_rel_v")))

    def forward(self, x):
        q, k, v = (heads_of(c(x)[0].transpose(0, 1), self.heads)
                   for c in (self.conv_q, self.conv_k, self.conv_v))
        q = q / math.sqrt(q.shape[2])
        scores = q @ k.transpose(1, 2) + band_to_square(q @ self.emb_rel_k.transpose(1, 2))
        p = torch.softmax(scores, dim=-1)
        y = p @ v + square_to_band(p, self.emb_rel_v.shape[1]) @ self.emb_rel_v
        return self.conv_o(y.transpose(1, 2).reshape(x.shape))


class FeedForward(nn.Module):
    def __init__(self, w, name):
        super().__init__()
        self.conv_1, self.conv_2 = same_conv1d(w, f"{name}.conv_1"), same_conv1d(w, f"{name}.conv_2")

    def forward(self, x):
        return self.conv_2(F.relu(self.conv_1(x)))


class TextEncoder(nn.Module):
    """phone [T, 768 or 256], pitch [T] -> m, logs [1, 192, T]."""

    def __init__(self, w, heads):
        super().__init__()
        name = "enc_p.encoder"
        layers = w.count(f"{name}.attn_layers")
        self.emb_phone = linear(w, "enc_p.emb_phone")
        pitch = "enc_p.emb_pitch.weight"
        self.emb_pitch = nn.Embedding(*w.shape(pitch)) if pitch in w else None
        self.encoder = nn.Module()
        parts = {"attn_layers": lambda n: RelativeAttention(w, n, heads),
                 "ffn_layers": lambda n: FeedForward(w, n), "norm_layers_1": lambda n: ChannelNorm(w, n),
                 "norm_layers_2": lambda n: ChannelNorm(w, n)}
        for part, make in parts.items():
            setattr(self.encoder, part, sequence(make, f"{name}.{part}", layers))
        self.proj = conv1d(w, "enc_p.proj")

    def forward(self, phone, pitch):
        x = self.emb_phone(phone)
        if self.emb_pitch is not None:
            x = x + self.emb_pitch(pitch)
        x = F.leaky_relu(x * math.sqrt(x.shape[1]), 0.1).transpose(0, 1)[None]
        e = self.encoder
        layers = zip(e.attn_layers, e.norm_layers_1, e.ffn_layers, e.norm_layers_2)
        for attention, norm_1, ffn, norm_2 in layers:
            x = norm_1(x + attention(x))
            x = norm_2(x + ffn(x))
        return self.proj(x).chunk(2, dim=1)


class WaveNet(nn.Module):
    def __init__(self, w, name):
        super().__init__()
        layers = w.count(f"{name}.in_layers")
        self.cond_layer = conv1d(w, f"{name}.cond_layer")
        self.in_layers = sequence(lambda n: same_conv1d(w, n), f"{name}.in_layers", layers)
        self.res_skip_layers = sequence(lambda n: conv1d(w, n), f"{name}.res_skip_layers", layers)

    def forward(self, x, g):
        c, skip = x.shape[1], 0
        conditions = self.cond_layer(g).chunk(len(self.in_layers), dim=1)
        for conv, res_skip, condition in zip(self.in_layers, self.res_skip_layers, conditions):
            a, b = (conv(x) + condition).chunk(2, dim=1)
            y = res_skip(torch.tanh(a) * torch.sigmoid(b))
            skip = skip + y[:, -c:]  # the last layer has no residual half
            if y.shape[1] > c:
                x = x + y[:, :c]
        return skip


class Coupling(nn.Module):
    """Backward: x1 -= post(WN(pre(x0)))."""

    def __init__(self, w, name):
        super().__init__()
        self.pre, self.post = conv1d(w, f"{name}.pre"), conv1d(w, f"{name}.post")
        self.enc = WaveNet(w, f"{name}.enc")

    def forward(self, x, g):
        x0, x1 = x.chunk(2, dim=1)
        return torch.cat((x0, x1 - self.post(self.enc(self.pre(x0), g))), dim=1)


class Flow(nn.Module):
    """Backward through couplings at even places; the odd places are channel flips without weights."""

    def __init__(self, w):
        super().__init__()
        self.flows = nn.ModuleList(
            Coupling(w, f"flow.flows.{i}") if i % 2 == 0 else nn.Identity()
            for i in range(w.count("flow.flows")))

    def forward(self, x, g):
        for coupling in reversed(self.flows[::2]):
            x = coupling(torch.flip(x, (1,)), g)
        return x


# ---- synthesizer: the generator ----------------------------------------------------------------------------

class ResidualBlock(nn.Module):
    """Per dilation d: x += conv_1(leaky(conv_d(leaky(x))))."""

    def __init__(self, w, name, dilations):
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv1d(w, f"{name}.convs1.{i}", d) for i, d in enumerate(dilations))
        self.convs2 = nn.ModuleList(same_conv1d(w, f"{name}.convs2.{i}") for i in range(len(dilations)))

    def forward(self, x):
        for first, second in zip(self.convs1, self.convs2):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Generator(nn.Module):
    """z [1, 192, T], source [1, 1, T*upp] (voices with f0), g [1, 256, 1] -> audio [T*upp]."""

    def __init__(self, w, rates, dilations, f0):
        super().__init__()
        self.conv_pre, self.cond = same_conv1d(w, "dec.conv_pre"), conv1d(w, "dec.cond")
        self.ups = nn.ModuleList()
        for i, rate in enumerate(rates):
            inner, out, taps = w.shape(f"dec.ups.{i}.weight")
            self.ups.append(nn.ConvTranspose1d(inner, out, taps, rate, padding=(taps - rate) // 2))
        if f0:
            self.m_source = nn.Module()
            self.m_source.l_linear = linear(w, "dec.m_source.l_linear")
            strides = [math.prod(rates[i + 1:]) for i in range(len(rates))]
            self.noise_convs = nn.ModuleList(
                conv1d(w, f"dec.noise_convs.{i}", s, padding=s // 2 if s > 1 else 0)
                for i, s in enumerate(strides))
        self.kernels = len(dilations)
        self.resblocks = nn.ModuleList(
            ResidualBlock(w, f"dec.resblocks.{i}", dilations[i % self.kernels])
            for i in range(len(rates) * self.kernels))
        self.conv_post = same_conv1d(w, "dec.conv_post", bias=False)

    def excitation(self, source):
        """The sine as the generator hears it."""
        return torch.tanh(self.m_source.l_linear(source.transpose(1, 2))).transpose(1, 2)

    def forward(self, z, source, g):
        har = self.excitation(source) if source is not None else None
        x = self.conv_pre(z) + self.cond(g)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            if har is not None:
                x = x + self.noise_convs[i](har)
            blocks = self.resblocks[i * self.kernels: (i + 1) * self.kernels]
            x = sum(block(x) for block in blocks) / self.kernels
        return torch.tanh(self.conv_post(F.leaky_relu(x, 0.01)))[0, 0]  # slope 0.01 here, 0.1 everywhere else


class Synthesizer(nn.Module):
    """phone [T, 768 or 256], pitch [T] and source [T*upp] (voices with f0, else None), noise [192, T] already
    times its scale, speaker [1] -> audio [T*upp]."""

    def __init__(self, w):
        super().__init__()
        c = w.config.get("config")
        if not c:
            raise SystemExit(f"{w.path}: no config: neither config.json inside nor a .json beside it")
        heads, dilations, rates, self.rate = c[5], c[11], c[12], c[17]
        self.f0 = bool(w.config.get("f0", 1))
        self.upp = math.prod(rates)
        self.version = 1 if w.config.get("version", "v1") == "v1" else 2
        self.enc_p = TextEncoder(w, heads)
        self.flow = Flow(w)
        self.dec = Generator(w, rates, dilations, self.f0)
        self.emb_g = nn.Embedding(*w.shape("emb_g.weight"))
        w.into(self)

    def stages(self, phone, pitch, source, noise, speaker):
        g = self.emb_g(speaker).transpose(0, 1)[None]
        m, logs = self.enc_p(phone, pitch)
        z_p = m + torch.exp(logs) * noise[None]
        out = {"m": m[0], "logs": logs[0], "z_p": z_p[0], "z": self.flow(z_p, g)}
        if source is not None:
            source = source.view(1, 1, -1)
            out["har_source"] = self.dec.excitation(source).flatten()
        out["audio"] = self.dec(out["z"], source, g)
        out["z"] = out["z"][0]
        return out

    def forward(self, phone, pitch, source, noise, speaker):
        g = self.emb_g(speaker).transpose(0, 1)[None]
        m, logs = self.enc_p(phone, pitch)
        z = self.flow(m + torch.exp(logs) * noise[None], g)
        return self.dec(z, None if source is None else source.view(1, 1, -1), g)
