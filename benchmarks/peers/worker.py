#!/usr/bin/env python3
"""worker.py - PyTorch or ONNX Runtime as a competitor; bench.py starts it.

    worker.py torch|onnxruntime --threads N --inputs FILE.npz [--onnx DIR] --hubert FILE --rmvpe FILE --voice
    FILE

The protocol is that of benchmark_networks.c: a line of JSON that says who this is, then for every line
"NETWORK" or "NETWORK PATH" on standard input one run, its seconds on a line, and with PATH its output in that
file.
"""

import argparse
import json
import os
import sys
import time

import numpy as np


def torch_runs(options):
    import torch

    import networks
    torch.set_num_threads(options.threads)
    runs = {}
    for name in networks.NAMES:
        module, names = networks.load(name, options)
        inputs = networks.arguments(options.inputs, names)
        runs[name] = lambda module=module, inputs=inputs: module(*inputs)
    torch.inference_mode().__enter__()  # for the life of the process
    return runs, torch.__version__, torch.get_num_threads()


def onnxruntime_runs(options):
    import onnxruntime

    import export
    runs = {}
    for name in export.networks.NAMES:
        network = export.open_network(os.path.join(options.onnx, f"{name}.onnx"), options.threads)
        names = [i.name for i in network.get_inputs()]
        feeds = export.feeds(names, export.networks.arguments(options.inputs, names))
        runs[name] = lambda network=network, feeds=feeds: network.run(None, feeds)[0]
    return runs, onnxruntime.__version__, options.threads


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=("torch", "onnxruntime"))
    parser.add_argument("--threads", type=int, required=True)
    for name in ("inputs", "onnx", "hubert", "rmvpe", "voice"):
        parser.add_argument(f"--{name}")
    options = parser.parse_args()
    make = {"torch": torch_runs, "onnxruntime": onnxruntime_runs}[options.peer]
    runs, version, threads = make(options)
    about = {"name": options.peer, "version": version, "device": "cpu", "threads": threads}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        name, _, path = line.rstrip("\n").partition(" ")
        start = time.perf_counter()
        out = runs[name]()
        seconds = time.perf_counter() - start
        if path:
            np.asarray(out, np.float32).tofile(path)
        print(f"{seconds:.6f}", flush=True)


if __name__ == "__main__":
    main()
