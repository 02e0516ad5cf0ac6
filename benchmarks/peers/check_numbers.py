#!/usr/bin/env python3
"""check_numbers.py - do the networks of models.py give the tensors a reference file records?

    check_numbers.py --models DIR STAGES.npz...

Each stage is fed what the file records before it, as `rvc verify` does, so an error shows where it is made.
The models of a file are DIR/hubert_base.npz, DIR/rmvpe.npz and DIR/rvc_MODEL.npz (MODEL: the file's own entry
"model"); --voice, --hubert and --rmvpe name others. Exit status 1 unless every tensor that could be checked
has 100 dB.
"""

import argparse
import os
import sys

import numpy as np
import torch

import models
import signals


def load(network, path, place):
    """The network of a file on place, (device, dtype); None where there is no file. Once for each file."""
    if path not in load.cache:
        load.cache[path] = network(models.Weights(path)).to(*place) if os.path.exists(path) else None
        if load.cache[path] is None:
            print(f"    {path} is not there: skipped")
    return load.cache[path]


load.cache = {}


def tensor(array, module):
    """As the module's weights are: on its device, and of its precision where it is no index."""
    like = next(module.parameters())
    x = torch.from_numpy(np.ascontiguousarray(array)).to(like.device)
    return x.to(like.dtype) if x.is_floating_point() else x.long()


def array(value):
    return value.float().cpu().numpy() if isinstance(value, torch.Tensor) else value


def pitch_stages(record, rmvpe):
    if "mel" in record:
        yield "mel", signals.log_mel(record["audio16k"])
    if "salience" in record:
        if rmvpe:
            yield "salience", rmvpe.padded(tensor(record["mel"], rmvpe))
        yield "f0", signals.decode_f0(record["salience"])


def content_stages(record, hubert):
    names = [n for n in ("hubert_l0", "hubert_v1", "hubert_v2") if n in record]
    if names and hubert:
        out = hubert.stages(tensor(record["audio16k"], hubert))
        yield from ((name, out[name]) for name in names)


def voice_stages(record, voice):
    if "phone" not in record or not voice:
        return
    pitch = source = None
    if voice.f0:
        pitch = tensor(record["pitch"], voice)
        source = signals.sine_source(record["pitchf"], voice.upp, voice.rate, record["noise_source"])
        source = tensor(source, voice)
    noise = tensor(record["noise_z"] * signals.NOISE_SCALE, voice)
    speaker = tensor(record["sid"], voice).view(1)
    out = voice.stages(tensor(record["phone"], voice), pitch, source, noise, speaker)
    names = ("m", "logs", "z_p", "z", "har_source", "audio")
    yield from ((name, out[name]) for name in names if name in record)


def check(path, options):
    """Prints one line per tensor; whether all of them passed, None where no model was there to check any."""
    with np.load(path) as archive:
        record = {name: archive[name] for name in archive.files}
    name = bytes(record["model"]).decode() if "model" in record else ""
    voice = options.voice or os.path.join(options.models, f"rvc_{name}.npz")
    print(f"{path} ({name})")
    rmvpe = load(models.Rmvpe, options.rmvpe, options.place) if "salience" in record else None
    hubert = load(models.Hubert, options.hubert, options.place) if "hubert_v2" in record else None
    stages = (*pitch_stages(record, rmvpe), *content_stages(record, hubert),
              *voice_stages(record, load(models.Synthesizer, voice, options.place)))
    passed = True if stages else None
    for stage, value in stages:
        value, want = array(value), record[stage]
        snr = signals.snr_db(value, want) if value.shape == want.shape else float("nan")
        ok = snr >= options.decibels
        passed = passed and ok
        shape = "x".join(map(str, value.shape))
        error = np.abs(value - want).max() if value.shape == want.shape else float("nan")
        print(f"    {stage:12} {shape:>9}  max error {error:.3g}  {snr:7.2f} dB  {'PASS' if ok else 'FAIL'}")
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", metavar="STAGES.npz")
    parser.add_argument("--models", default="build/demo/models", metavar="DIR")
    parser.add_argument("--voice", metavar="FILE")
    parser.add_argument("--hubert", metavar="FILE")
    parser.add_argument("--rmvpe", metavar="FILE")
    parser.add_argument("--decibels", type=float, default=100.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.hubert = options.hubert or os.path.join(options.models, "hubert_base.npz")
    options.rmvpe = options.rmvpe or os.path.join(options.models, "rmvpe.npz")
    options.place = ("cpu", torch.float32)
    torch.set_num_threads(options.threads)
    results = [check(path, options) for path in options.records]
    passed = False not in results and True in results
    print("numbers:", "PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
