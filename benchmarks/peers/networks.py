"""networks.py - the three networks as competitors see them: their files, inputs and outputs.

An input file (.npz) holds what every competitor is fed, channels innermost as the C side has them: audio [n],
mel [T][128], phone [T][width], noise [T][192] times its scale, speaker [1], and for voices with f0 pitch [T]
and source [T*upp], the sine before its linear layer.
"""

import math

import numpy as np
import torch
from torch import nn

import models
import signals

NAMES = ("hubert", "rmvpe", "synthesizer")


class WithoutPitch(nn.Module):
    """A voice without f0, with the inputs it has and no others."""

    def __init__(self, voice):
        super().__init__()
        self.voice = voice

    def forward(self, phone, noise, speaker):
        return self.voice(phone, None, None, noise, speaker)


def load(name, options):
    """The module of network `name` and the names of its inputs, in forward()'s order."""
    if name == "hubert":
        return models.Hubert(models.Weights(options.hubert)), ("audio",)
    if name == "rmvpe":
        return models.Rmvpe(models.Weights(options.rmvpe)), ("mel",)
    voice = models.Synthesizer(models.Weights(options.voice))
    if voice.f0:
        return voice, ("phone", "pitch", "source", "noise", "speaker")
    return WithoutPitch(voice).eval(), ("phone", "noise", "speaker")


def arguments(path, names):
    """The named arrays of an input file as the modules take them: mel and noise with their channels first,
    indices as int64."""
    with np.load(path) as archive:
        arrays = [archive[name] for name in names]
    arrays = [a.T if name in ("mel", "noise") else a for name, a in zip(names, arrays)]
    return tuple(torch.from_numpy(np.ascontiguousarray(a, np.int64 if a.dtype == np.int32 else np.float32))
                 for a in arrays)


def make_inputs(path, voice_path, seconds, seed=1):
    """Writes an input file for `seconds` of speech; returns the sizes. HuBERT gets 80 samples more, so that
    it gives a whole number of 20 ms frames; RMVPE's frames are rounded up to what its U-Net takes, as any
    program has to. The synthesizer has 100 frames a second, none of them skipped. Times do not depend on the
    values, so noise will do."""
    rng = np.random.default_rng(seed)
    weights = models.Weights(voice_path)
    c = weights.config["config"]
    upp, rate, inter, width = math.prod(c[12]), c[17], c[2], weights["enc_p.emb_phone.weight"].shape[1]
    frames = round(100 * seconds)
    normal = lambda *shape: rng.standard_normal(shape, np.float32)
    audio = 0.1 * normal(signals.HOP * frames + 80)
    mel = signals.log_mel(audio[: signals.HOP * frames])
    f0 = 200 + 60 * np.sin(np.arange(frames) / 20).astype(np.float32)
    f0[:: 5] = 0
    arrays = {"audio": audio, "mel": np.pad(mel, ((0, 0), (0, -mel.shape[1] % 32))).T,
              "phone": normal(frames, width), "noise": signals.NOISE_SCALE * normal(frames, inter),
              "speaker": np.zeros(1, np.int32)}
    if weights.config.get("f0", 1):
        arrays["pitch"] = signals.coarse_pitch(f0)
        arrays["source"] = signals.sine_source(f0, upp, rate, normal(frames * upp)).numpy()
    np.savez(path, **{name: np.ascontiguousarray(a) for name, a in arrays.items()})
    return {"hubert": f"{len(audio)} samples, {(len(audio) - 400) // 320 + 1} frames",
            "rmvpe": f"{arrays['mel'].shape[0]} frames",
            "synthesizer": f"{frames} frames of 10 ms, {rate} Hz, version {1 if width == 256 else 2}"}
