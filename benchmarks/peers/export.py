#!/usr/bin/env python3
"""export.py - writes hubert.onnx, rmvpe.onnx and synthesizer.onnx for the shapes of an input file, and checks
that ONNX Runtime gives what PyTorch gives.

    export.py --models DIR [--voice FILE] [--seconds 5 | --inputs FILE.npz] [--threads N] --output DIR

Shapes are fixed: that is where ONNX Runtime is fastest. Batch norms are folded into convolutions by the
exporter, weight norm is folded already. Exit status 1 where an output differs by more than 80 dB allow.
"""

import argparse
import os
import sys
import warnings

import onnxruntime
import torch

import networks
import signals

OPSET = 17
AGREEMENT = 80  # dB


def export(module, inputs, names, path):
    warnings.filterwarnings("ignore")  # of tracing: the shapes are meant to be constant
    torch.onnx.export(module, inputs, path, input_names=list(names), output_names=["out"],
                      opset_version=OPSET, do_constant_folding=True, training=torch.onnx.TrainingMode.EVAL)


def open_network(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(names, inputs):
    return {name: x.numpy() for name, x in zip(names, inputs)}


def export_checked(name, options):
    """Exports one network to options.output; whether ONNX Runtime's output is PyTorch's."""
    module, names = networks.load(name, options)
    inputs = networks.arguments(options.inputs, names)
    path = os.path.join(options.output, f"{name}.onnx")
    export(module, inputs, names, path)
    with torch.inference_mode():
        want = module(*inputs).numpy()
    got = open_network(path, options.threads).run(None, feeds(names, inputs))[0]
    snr = signals.snr_db(got, want)
    size = os.path.getsize(path) / 1e6
    print(f"    {name}.onnx  {size:.0f} MB  opset {OPSET}  against PyTorch {snr:.1f} dB", flush=True)
    return snr >= AGREEMENT


def add_model_options(parser):
    parser.add_argument("--models", default="build/demo/models", metavar="DIR",
                        help="of hubert_base.npz, rmvpe.npz")
    parser.add_argument("--hubert", metavar="FILE")
    parser.add_argument("--rmvpe", metavar="FILE")
    parser.add_argument("--voice", metavar="FILE", help="default: rvc_v2_40k.npz of --models")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))


def fill_model_options(options):
    options.hubert = options.hubert or os.path.join(options.models, "hubert_base.npz")
    options.rmvpe = options.rmvpe or os.path.join(options.models, "rmvpe.npz")
    options.voice = options.voice or os.path.join(options.models, "rvc_v2_40k.npz")
    for path in (options.hubert, options.rmvpe, options.voice):
        if not os.path.exists(path):
            raise SystemExit(f"{path} is not there: `make demo-models` makes synthetic models, `rvc import` "
                             "reads .pth")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    parser.add_argument("--inputs", metavar="FILE.npz", help="of networks.py; default: made for --seconds")
    parser.add_argument("--output", default="build/peers/onnx", metavar="DIR")
    options = parser.parse_args()
    fill_model_options(options)
    torch.set_num_threads(options.threads)
    os.makedirs(options.output, exist_ok=True)
    if not options.inputs:
        options.inputs = os.path.join(options.output, "inputs.npz")
        networks.make_inputs(options.inputs, options.voice, options.seconds)
    agree = [export_checked(name, options) for name in networks.NAMES]
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
