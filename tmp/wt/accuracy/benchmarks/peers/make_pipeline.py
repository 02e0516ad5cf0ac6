#!/usr/bin/env python3
"""make_pipeline.py - a whole conversion in PyTorch, in float32 and in float64: what of a recording is the music,
and what is rounding?

    make_pipeline.py --voice VOICE.npz --hubert FILE --rmvpe FILE [-o PIPELINE.npz] RECORDING.wav
    make_pipeline.py --voice VOICE.npz --hubert FILE --rmvpe FILE PIPELINE.npz

Of a recording it makes a file for `rvc verify`, computed in float32 as RVC-WebUI does, its roundings of the pitch
and of the sine's phase included. Of such a file it takes audio, transposition and noise. Either way the float32
samples are then compared with a run in float64, and with runs in which one of those roundings is left in: the sine
integrates the pitch, so the last bits of it become a phase, and the difference is a matter of chance and of length.

One chunk (x_max of the options, 41 s), a voice with f0, no index. Loudness and 16-bit samples are left out.
"""

import argparse
import json
import os
import sys

import numpy as np
import torch

import models
import signals

X_PAD, X_MAX = 1, 41
# scipy.signal.butter(5, 48, btype="high", fs=16000) and lfilter_zi of it, as in rvc/filter.c
B = 0.96996064518384473 * np.array([1, -5, 10, -10, 5, -1])
A = [1.0, -4.9390018191683636, 9.757863526739543, -9.6395448494134577, 4.7615067973562093, -0.94082365320546057]
STEADY = [-0.96996047969958465, 3.8798419288925783, -5.8197629081730433, 3.879841948472456, -0.96996048949233871]
EDGE = 18


def one_pass(x):
    z, y = [s * x[0] for s in STEADY] + [0.0], np.empty_like(x)
    for n, v in enumerate(x.tolist()):
        out = B[0] * v + z[0]
        z[:5] = [z[i + 1] + B[i + 1] * v - A[i + 1] * out for i in range(5)]
        y[n] = out
    return y


def conditioned(audio):
    """Peak, high-pass forward and backward, pads: [n] -> [n + 2 pads] in float32."""
    x = np.asarray(audio, np.float64)
    x = x / max(1, np.abs(x).max() / 0.95)
    x = np.concatenate([2 * x[0] - x[EDGE:0:-1], x, 2 * x[-1] - x[-2:-EDGE - 2:-1]])
    x = one_pass(one_pass(x)[::-1])[::-1][EDGE:-EDGE]
    return np.pad(x, X_PAD * signals.RATE, mode="reflect").astype(np.float32)


class Run:
    """The networks in one precision, on one padded signal."""

    def __init__(self, networks, padded, dtype):
        self.dtype = dtype
        self.hubert, self.rmvpe, self.voice = (n.to(dtype) for n in networks)
        self.padded = padded
        features = self.hubert(torch.from_numpy(padded).to(dtype))
        self.phone = features.repeat_interleave(2, dim=0)[: len(padded) // signals.HOP]

    def pitch(self, weights):
        """Hz in double, before transposing."""
        mel = signals.log_mel(self.padded, self.dtype)
        return signals.decode_hz(self.rmvpe.padded(torch.from_numpy(mel)).numpy(), weights)

    def audio(self, hz, record, source):
        """hz [>= frames], transposed; `source` makes the sine of it."""
        frames, voice = self.phone.shape[0], self.voice
        hz = hz[:frames]
        sine = source(hz, voice.upp, voice.rate, record["noise_source_0"]).to(self.dtype)
        noise = (torch.from_numpy(record["noise_z_0"]) * signals.NOISE_SCALE).to(self.dtype)
        coarse = torch.from_numpy(signals.coarse_pitch(hz)).long()
        return voice(self.phone, coarse, sine, noise, torch.tensor([record["sid"]])).numpy()


def fresh_record(path, voice, speaker, transpose, seed):
    rng = np.random.default_rng(seed)
    audio = signals.read_wav(path)
    frames = 2 * ((len(audio) + 2 * X_PAD * signals.RATE - 400) // 320 + 1)
    return {"audio16k": audio, "noise_z_0": rng.standard_normal((voice.enc_p.proj.out_channels // 2, frames), np.float32),
            "noise_source_0": rng.standard_normal(frames * voice.upp, np.float32), "sid": speaker,
            "transpose": transpose}


def recorded(path):
    with np.load(path) as archive:
        record = {name: archive[name] for name in archive.files}
    params = json.loads(bytes(record["params"]))
    if params.get("index_rate", 0) > 0 or params["x_pad"] != X_PAD:
        raise SystemExit(f"{path}: made with an index, or with other pads")
    return {**record, "sid": int(params["sid"]), "transpose": params["transpose"]}


def write(path, record, voice_path):
    params = {"x_pad": X_PAD, "x_query": 6, "x_center": 38, "x_max": X_MAX, "unvoiced": "zero", "index": "",
              "index_rate": 0.0, "rms_mix_rate": 0.25, "protect": 0.33, "resample_sr": 0, "rmvpe_pad": "zero-log",
              "sid": record["sid"], "transpose": record["transpose"]}
    name = os.path.splitext(os.path.basename(voice_path))[0]
    text = lambda s: np.frombuffer(s.encode(), np.uint8)
    names = ("audio16k", "noise_z_0", "noise_source_0", "f0_raw", "segment_0")
    np.savez(path, model=text(name), params=text(json.dumps(params)), **{n: record[n] for n in names})


def cents(got, want):
    both = (got > 0) & (want > 0)
    apart = np.abs(1200 * np.log2(got[both].astype(np.float64) / want[both]))
    return f"{apart.max():.6f} cents at most, {np.sqrt((apart ** 2).mean()):.6f} rms"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", metavar="RECORDING.wav|PIPELINE.npz")
    parser.add_argument("--voice", metavar="FILE.npz", required=True)
    parser.add_argument("--hubert", metavar="FILE.npz", required=True)
    parser.add_argument("--rmvpe", metavar="FILE.npz", required=True)
    parser.add_argument("--speaker", type=int, default=0)
    parser.add_argument("--transpose", type=float, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", metavar="PIPELINE.npz")
    o = parser.parse_args()
    torch.set_grad_enabled(False)
    networks = [make(models.Weights(path)) for make, path in
                ((models.Hubert, o.hubert), (models.Rmvpe, o.rmvpe), (models.Synthesizer, o.voice))]
    voice = networks[2]
    if not voice.f0:
        raise SystemExit(f"{o.voice} takes no pitch: its stages tell everything")
    made = not o.recording.endswith(".npz")
    record = fresh_record(o.recording, voice, o.speaker, o.transpose, o.seed) if made else recorded(o.recording)
    if len(record["audio16k"]) + signals.HOP > X_MAX * signals.RATE:
        raise SystemExit(f"{o.recording}: longer than one chunk, {X_MAX} s")
    padded, factor = conditioned(record["audio16k"]), 2 ** (record["transpose"] / 12)

    if made:
        run = Run(networks, padded, torch.float32)
        hz = run.pitch(np.float32)
        record["f0_raw"] = hz.astype(np.float32)
        record["segment_0"] = run.audio((hz * factor).astype(np.float32), record, signals.sine_source)
        if o.output:
            write(o.output, record, o.voice)
    exact = Run(networks, padded, torch.float64)
    hz = exact.pitch(np.float64)
    want = exact.audio(hz * factor, record, signals.true_sine)
    f0 = record["f0_raw"].astype(np.float64)
    runs = (("samples, float32 against float64", record["segment_0"]),
            ("  float64 but for the pitch", exact.audio(f0 * factor, record, signals.true_sine)),
            ("  float64 but for the sine's phase",
             exact.audio((hz * factor).astype(np.float32), record, signals.sine_source)))
    print(f"f0: {cents(f0, hz)}, float32 against float64")
    for name, got in runs:
        print(f"{name}: {signals.snr_db(got, want):.2f} dB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
