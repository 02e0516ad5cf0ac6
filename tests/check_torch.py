#!/usr/bin/env python3
"""check_torch.py - full-size checkpoints written by the real PyTorch, imported and converted with.

    python3 tests/check_torch.py BUILD/rvc MODELS [SCRATCH]

MODELS holds hubert_base.npz, rmvpe.npz and rvc_v2_40k.npz (`make demo-models` makes them). Each is written in PyTorch's
zip format and in the one of before 1.6, in float16 and float32, as their .pth and .pt are built; HuBERT also with
Transformers' names as a folder. Then:
  1. `rvc import` must give every tensor bit for bit, under the same name, with the config;
  2. it must take less than 1.2 times the file's size in memory; its seconds are printed;
  3. a recording converted with the imported models and with the .pth and .pt themselves must be the same bytes.
Needs torch and numpy; `make test` does not run it, `make check-torch` does.
"""
import json
import os
import re
import subprocess
import sys
import time

import numpy
import torch

RVC, MODELS = sys.argv[1], sys.argv[2]
SCRATCH = sys.argv[3] if len(sys.argv) > 3 else os.path.join(os.path.dirname(RVC), "check-torch")
SAMPLE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "samples", "short.wav")
failed = []


def check(what, fine, note=""):
    print(f"{'ok  ' if fine else 'FAIL'} {what}{'  ' + note if note else ''}", flush=True)
    if not fine:
        failed.append(what)


# A child starts with the memory of its parent on its account, so a small parent stands between this program and rvc.
BETWEEN = """import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"""


def run(*words):
    """Exit status, seconds and peak memory in bytes of one run of rvc."""
    start = time.time()
    child = subprocess.run([sys.executable, "-S", "-c", BETWEEN, RVC, *words], capture_output=True, text=True)
    seconds = time.time() - start
    status, memory = map(int, child.stdout.split())
    if status:
        print(child.stderr)
    return status, seconds, memory


def arrays(archive):
    return [name for name in archive.files if name != "config.json"]


def tensors_of(name, half):
    with numpy.load(os.path.join(MODELS, name + ".npz")) as archive:
        tensors = {k: torch.from_numpy(archive[k]) for k in arrays(archive)}
    return {k: v.half() if half and v.is_floating_point() else v for k, v in tensors.items()}


def config_of(name):
    import zipfile
    with zipfile.ZipFile(os.path.join(MODELS, name + ".npz")) as archive:
        return json.loads(archive.read("config.json")) if "config.json" in archive.namelist() else None


def dressed(name, tensors):
    """What a published file holds: HuBERT's under "model" beside fairseq's bookkeeping, RMVPE's bare, a voice's under
    "weight" beside its config."""
    if name == "hubert_base":
        return {"args": None, "cfg": {"model": {"encoder_layers": 12}}, "model": tensors, "extra_state": {"epoch": 1}}
    config = config_of(name)
    return {"weight": tensors, **config} if config else tensors


def compare(npz, tensors, what):
    with numpy.load(npz) as archive:
        same = sorted(arrays(archive)) == sorted(tensors)
        for name in tensors if same else []:
            got, want = archive[name], tensors[name].numpy()
            if got.dtype != want.dtype or got.shape != want.shape or got.tobytes() != want.tobytes():
                print("     differs:", name)
                same = False
    check(f"{what}: {len(tensors)} tensors bit for bit", same)


def import_and_compare(source, npz, tensors, what):
    size = os.path.getsize(source) if os.path.isfile(source) else os.path.getsize(source + "/model.safetensors")
    status, seconds, memory = run("import", source, "-o", npz, "--force")
    check(f"{what}: import", status == 0, f"{size / 1e6:.0f} MB, {seconds:.2f} s, {memory / 1e6:.0f} MB of memory")
    check(f"{what}: memory under 1.2 times the file", memory < 1.2 * size)
    if status == 0:
        compare(npz, tensors, what)


TRANSFORMERS = [("post_extract_proj.", "feature_projection.projection."), ("mask_emb", "masked_spec_embed"),
                (".self_attn_layer_norm.", ".layer_norm."), (".self_attn.", ".attention."),
                (".fc1.", ".feed_forward.intermediate_dense."), (".fc2.", ".feed_forward.output_dense."),
                ("encoder.pos_conv.0.weight_g", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
                ("encoder.pos_conv.0.weight_v", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
                ("encoder.pos_conv.0.", "encoder.pos_conv_embed.conv.")]


def transformers_name(name):
    if name.startswith("layer_norm."):
        return "feature_projection." + name
    if name.startswith("feature_extractor."):
        name = re.sub(r"(conv_layers\.\d+)\.0\.", r"\1.conv.", name)
        return re.sub(r"(conv_layers\.\d+)\.2\.", r"\1.layer_norm.", name)
    for old, new in TRANSFORMERS:
        if old in name:
            return name.replace(old, new)
    return name


def write_safetensors(path, tensors):
    head, data, at = {}, [], 0
    for name, tensor in tensors.items():
        raw = tensor.contiguous().numpy().tobytes()
        kind = {"float32": "F32", "float16": "F16", "int64": "I64"}[str(tensor.numpy().dtype)]
        head[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(head).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for raw in data:
            file.write(raw)


def convert(voice, hubert, rmvpe, out):
    status, seconds, _ = run("convert", SAMPLE, "-o", out, "--overwrite", "-m", voice, "--hubert", hubert, "--rmvpe",
                             rmvpe, "--quiet")
    check(f"convert with {os.path.basename(voice)}", status == 0, f"{seconds:.1f} s")
    return open(out, "rb").read() if status == 0 else b""


def main():
    os.makedirs(SCRATCH, exist_ok=True)
    at = lambda name: os.path.join(SCRATCH, name)
    endings = {"hubert_base": "pt", "rmvpe": "pt", "rvc_v2_40k": "pth"}
    for half in (True, False):
        bits = "f16" if half else "f32"
        for name, ending in endings.items():
            tensors = tensors_of(name, half)
            for zipped in (True, False):
                what = f"{name} {bits} {'zip' if zipped else 'legacy'}"
                source = at(f"{what.replace(' ', '_')}.{ending}")
                torch.save(dressed(name, tensors), source, _use_new_zipfile_serialization=zipped)
                import_and_compare(source, at(f"{what.replace(' ', '_')}.npz"), tensors, what)
        for style in ("zip", "legacy"):
            files = {n: at(f"{n}_{bits}_{style}") for n in endings}
            imported = convert(*(files[n] + ".npz" for n in ("rvc_v2_40k", "hubert_base", "rmvpe")), at("a.wav"))
            direct = convert(files["rvc_v2_40k"] + ".pth", files["hubert_base"] + ".pt", files["rmvpe"] + ".pt", at("b.wav"))
            check(f"{bits} {style}: imported and direct give the same {len(imported)} bytes", imported == direct != b"")
    tensors = tensors_of("hubert_base", False)
    folder = at("contentvec")
    os.makedirs(folder, exist_ok=True)
    write_safetensors(folder + "/model.safetensors", {transformers_name(k): v for k, v in tensors.items()})
    with open(folder + "/config.json", "w") as file:
        json.dump({"architectures": ["HubertModelWithFinalProj"], "num_hidden_layers": 12}, file)
    import_and_compare(folder, at("contentvec.npz"), tensors, "Transformers folder f32")
    folder_wav = convert(at("rvc_v2_40k_f32_zip.npz"), folder, at("rmvpe_f32_zip.npz"), at("c.wav"))
    check("the Transformers folder given directly gives the same bytes", folder_wav == open(at("a.wav"), "rb").read())
    print(f"{len(failed)} failed")
    return bool(failed)


sys.exit(main())
