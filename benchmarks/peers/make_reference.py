#!/usr/bin/env python3
"""make_reference.py - records every stage of your own models on your own recording, for `rvc verify`.

    make_reference.py --voice VOICE.npz --hubert FILE --rmvpe FILE -o STAGES.npz RECORDING.wav
    rvc verify STAGES.npz -m VOICE.npz --hubert FILE --rmvpe FILE

The networks are those of models.py, in float32. The synthesizer's latent noise and its source's noise are
drawn once and recorded with the rest, so what the file holds can be computed again by anybody. Models are
.npz (`rvc import` makes them of .pth, .pt and .safetensors). Neither filter, retrieval nor chunks: each
network by itself.
"""

import argparse
import os
import sys

import numpy as np
import torch

import models
import signals


def tensor(array, dtype=torch.float32):
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def pitch_record(audio, rmvpe):
    mel = signals.log_mel(audio)
    salience = rmvpe.padded(tensor(mel)).numpy()
    return {"mel": mel, "salience": salience, "f0": signals.decode_f0(salience)}


def synthesize(voice, record, dtype):
    """The voice's stages on what is recorded, computed in `dtype`."""
    pitch = source = None
    if voice.f0:
        pitch = tensor(record["pitch"], torch.long)
        source = signals.sine_source(record["pitchf"], voice.upp, voice.rate, record["noise_source"])
        source = source.to(dtype)
    noise = tensor(record["noise_z"]) * signals.NOISE_SCALE
    return voice.to(dtype).stages(tensor(record["phone"], dtype), pitch, source, noise.to(dtype),
                                  tensor(record["sid"], torch.long).view(1))


def voice_record(record, samples, voice, speaker, seed):
    """Features twice each (20 ms to 10 ms), pitch, fresh noise, and what the voice makes of them."""
    rng = np.random.default_rng(seed)
    phone = record["hubert_v1" if voice.version == 1 else "hubert_v2"].repeat(2, axis=0)
    phone = phone[: samples // signals.HOP]
    frames = len(phone)
    given = {"phone": phone, "sid": np.array(speaker, np.int32),
             "noise_z": rng.standard_normal((voice.enc_p.proj.out_channels // 2, frames), np.float32)}
    if voice.f0:
        given["pitchf"] = record["f0"][:frames]
        given["pitch"] = signals.coarse_pitch(given["pitchf"])
        given["noise_source"] = rng.standard_normal(frames * voice.upp, np.float32)
    out = {name: x.numpy() for name, x in synthesize(voice, given, torch.float32).items()}
    exact = synthesize(voice, given, torch.float64)["audio"].numpy()
    error = np.sqrt(np.mean((out["audio"] - exact) ** 2)).astype(np.float32)
    return {**given, **out, "audio_fp32_error_rms": error}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", metavar="RECORDING.wav", help="PCM; a few seconds are enough")
    parser.add_argument("--voice", metavar="FILE.npz", required=True)
    parser.add_argument("--hubert", metavar="FILE.npz", required=True)
    parser.add_argument("--rmvpe", metavar="FILE.npz", help="may be left out for voices without f0")
    parser.add_argument("--speaker", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", metavar="STAGES.npz", required=True)
    options = parser.parse_args()

    audio = signals.read_wav(options.recording)
    if len(audio) < signals.WINDOW:
        raise SystemExit(f"{options.recording}: shorter than {signals.WINDOW} samples at 16 kHz")
    voice = models.Synthesizer(models.Weights(options.voice))
    if voice.f0 and not options.rmvpe:
        raise SystemExit(f"{options.voice} takes pitch: --rmvpe FILE is needed")
    if not 0 <= options.speaker < voice.emb_g.num_embeddings:
        raise SystemExit(f"{options.voice} has speakers 0 to {voice.emb_g.num_embeddings - 1}")
    name = os.path.splitext(os.path.basename(options.voice))[0]
    record = {"model": np.frombuffer(name.encode(), np.uint8), "audio16k": audio}
    if options.rmvpe:
        record.update(pitch_record(audio, models.Rmvpe(models.Weights(options.rmvpe))))
    hubert = models.Hubert(models.Weights(options.hubert))
    record.update({stage: x.numpy() for stage, x in hubert.stages(tensor(audio)).items()})
    record.update(voice_record(record, len(audio), voice, options.speaker, options.seed))
    np.savez(options.output, **record)
    print(f"{options.output}: {len(audio) / signals.RATE:.2f} s of {options.recording}, {len(record)} "
          f"arrays; float32 is within {record['audio_fp32_error_rms']:.1e} (rms) of float64")
    return 0


if __name__ == "__main__":
    sys.exit(main())
