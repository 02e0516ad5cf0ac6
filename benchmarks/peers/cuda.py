#!/usr/bin/env python3
"""cuda.py - this project through Vulkan and PyTorch through CUDA on the same NVIDIA card, in one call.

    cuda.py --models DIR [--voice FILE] [--programs build/benchmarks] [--seconds 5,30,60,300]
            [--precisions f32,tf32,f16] [--records STAGES.npz...] [--device cuda] [--ours vulkan]
            --output FILE.json

PyTorch gets what makes it fast: every network is one CUDA graph, cuDNN tries its algorithms (for inputs of
up to --tuned seconds; beyond, it takes what its heuristics say, for trying takes minutes), images lie in the
faster of two layouts, inputs on the card. f32 is float32
throughout, tf32 lets the matrix units round the factors, f16 is module.half(). Each figure is the median of
--num-runs runs after a warm-up, by CUDA events; by the wall clock too in the JSON. After --patience seconds
of counted runs none is begun.

Two ways to count, in two groups of columns:

    bare      HuBERT, RMVPE and synthesizer over exactly that length, each in one piece. "-": no memory
    padded    what a conversion computes: a second of mirrored signal at each end; above 41 s HuBERT and
              synthesizer in chunks of 38 s, each with a second at both ends, as RVC-WebUI cuts; RMVPE over
              all of it. What RVC-WebUI does around the networks is not in it: spectrogram, f0, source

Ours is the whole conversion, from samples to samples, all padding included: "device" is what the card and
the transfers take, "all" adds the host's part (resampling, filters, loudness). Ratios are ours/theirs.

With --records the networks must first give the tensors that reference files hold (check_numbers.py).
Without an NVIDIA card --device cpu shows that the program works.
"""

import argparse
import collections
import copy
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import torch

import check_numbers
import networks

DTYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16}
AGREEMENT = {"f32": 80, "tf32": 30, "f16": 30}  # dB
PAD, CENTER, LONGEST = 1, 38, 41                # seconds; RVC-WebUI's


# ---- what there is to compute ------------------------------------------------------------------------------

def chunks(seconds):
    """{length of a chunk with its pads: how many there are}."""
    if seconds + 0.01 <= LONGEST:
        return {seconds + 2 * PAD: 1}
    starts = list(range(0, int(-(-seconds // CENTER)) * CENTER, CENTER))
    ends = [*starts[1:], seconds]
    return dict(collections.Counter(b - a + 2 * PAD for a, b in zip(starts, ends)))


def pieces(seconds, way):
    """{network: {length: how many}}."""
    if way == "bare":
        return {name: {seconds: 1} for name in networks.NAMES}
    return {name: {seconds + 2 * PAD: 1} if name == "rmvpe" else chunks(seconds) for name in networks.NAMES}


# ---- PyTorch -----------------------------------------------------------------------------------------------

def is_out_of_memory(error):
    """Also where the end of a graph's recording complains about it in other words."""
    while error and "out of memory" not in str(error):
        error = error.__context__
    return error is not None


class Peer:
    """The networks in one precision on one device, and what their runs took."""

    def __init__(self, options, precision, loaded, inputs):
        self.options, self.inputs, self.times = options, inputs, {}
        self.cuda = options.device.startswith("cuda")
        self.dtype, self.reduced = DTYPES[precision], precision != "f32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.modules = {name: (copy.deepcopy(module).to(options.device, self.dtype), names)
                        for name, (module, names) in loaded.items()}

    def arguments(self, names, seconds):
        """An input file's arrays on the device."""
        placed = [x.to(self.options.device) for x in networks.arguments(self.inputs(seconds), names)]
        return [x.to(self.dtype) if x.is_floating_point() else x for x in placed]

    def runner(self, name, seconds):
        """A function that runs the network once: on CUDA the replay of a graph."""
        module, names = self.modules[name]
        arguments = self.arguments(names, seconds)
        if not self.cuda:
            return lambda: module(*arguments)
        torch.backends.cudnn.benchmark = seconds <= self.options.tuned
        aside = torch.cuda.Stream()
        with torch.cuda.stream(aside):
            for _ in range(3 if torch.backends.cudnn.benchmark else 1):
                module(*arguments)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.out = module(*arguments)  # stays, for the graph writes there
        return graph.replay

    def run_once(self, run):
        """(seconds by the card's clock, by the wall clock) of a run that nothing overlaps."""
        if not self.cuda:
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start,) * 2
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        torch.cuda.synchronize()
        start = time.perf_counter()
        events[0].record()
        run()
        events[1].record()
        torch.cuda.synchronize()
        return events[0].elapsed_time(events[1]) * 1e-3, time.perf_counter() - start

    def measure(self, name, seconds):
        """In the layout that is faster: only RMVPE has images, channels after one another or innermost, which
        is what matrix units want."""
        module = self.modules[name][0]
        layouts = [torch.contiguous_format] + [torch.channels_last] * (name == "rmvpe" and self.reduced)
        results = []
        for layout in layouts:
            module.to(memory_format=layout)
            results.append(self.measure_once(name, seconds))
        return min(results, key=lambda t: t["events"])

    def measure_once(self, name, seconds):
        run, times = self.runner(name, seconds), []
        self.run_once(run)
        while len(times) < self.options.num_runs and sum(t[1] for t in times) < self.options.patience:
            times.append(self.run_once(run))
        return {"events": statistics.median(t[0] for t in times),
                "wall": statistics.median(t[1] for t in times), "runs": len(times)}

    def time(self, name, seconds):
        """measure(), once for every length; None where memory is too little."""
        if (name, seconds) not in self.times:
            try:
                self.times[name, seconds] = self.measure(name, seconds)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.times[name, seconds] = None
            self.out = None
            if self.cuda:
                torch.cuda.empty_cache()
        return self.times[name, seconds]

    def column(self, seconds, way):
        """{network or "sum": {"events": , "wall": , "runs": the fewest of its pieces}}, None where one is."""
        result = {}
        for name, lengths in pieces(seconds, way).items():
            times = [(self.time(name, length), count) for length, count in lengths.items()]
            if any(t is None for t, _ in times):
                result[name] = None
                continue
            result[name] = {key: sum(t[key] * count for t, count in times) for key in ("events", "wall")}
            result[name]["runs"] = min(t["runs"] for t, _ in times)
        if None in result.values():
            return {**result, "sum": None}
        total = {key: sum(t[key] for t in result.values()) for key in ("events", "wall")}
        return {**result, "sum": {**total, "runs": min(t["runs"] for t in result.values())}}


def agree(options, precision, peer):
    """Whether the networks give what the reference files hold, closely enough for the precision."""
    place = {**vars(options), "voice": None, "place": (options.device, DTYPES[precision])}
    check = argparse.Namespace(**place, decibels=AGREEMENT[precision])
    check_numbers.load.cache = {getattr(options, file): peer.modules[name][0] for name, file in
                                (("hubert", "hubert"), ("rmvpe", "rmvpe"), ("synthesizer", "voice"))}
    print(f"{precision}: {AGREEMENT[precision]} dB or better", flush=True)
    return False not in [check_numbers.check(path, check) for path in options.records]


def race_torch(options, work):
    """Yields (seconds, precision), {"bare": column, "padded": column}."""
    files = {}

    def inputs(seconds):
        if seconds not in files:
            files[seconds] = os.path.join(work, f"inputs_{seconds:g}.npz")
            networks.make_inputs(files[seconds], options.voice, seconds)
        return files[seconds]

    loaded = {name: networks.load(name, options) for name in networks.NAMES}
    for precision in options.precisions:
        peer = Peer(options, precision, loaded, inputs)
        if not agree(options, precision, peer):
            raise SystemExit("cuda.py: PyTorch computes something else than the reference files hold")
        for seconds in options.seconds:
            start = time.monotonic()
            yield (seconds, precision), {way: peer.column(seconds, way) for way in ("bare", "padded")}
            print(f"PyTorch {precision}, {seconds:g} s: measured in {time.monotonic() - start:.0f} s",
                  flush=True)


# ---- ours --------------------------------------------------------------------------------------------------

def run_ours(options, work, program, precision, extra):
    """The record that one of our benchmarks writes."""
    output = os.path.join(work, f"{program}_{precision}.json")
    command = [os.path.join(options.programs, program), "--device", options.ours, "--precision", precision,
               "--seconds", ",".join(f"{s:g}" for s in options.seconds), "--models", options.models,
               "--num-warmup", "2", "--num-runs", str(options.num_runs), "--output", output, *extra]
    print(" ".join(command), flush=True)
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"cuda.py: {program} failed")
    with open(output, encoding="utf-8") as file:
        return json.load(file)


def race_ours(options, work):
    """{(seconds, precision): {"device": , "all": , "pitch": seconds}}, and the device's name."""
    result, device = {}, ""
    for precision in sorted({p.replace("tf32", "f32") for p in options.precisions}):
        whole = run_ours(options, work, "benchmark_pipeline", precision,
                         ["--voice", options.voice, "--batch-sizes", "1"])
        pitch = run_ours(options, work, "benchmark_rmvpe", precision, [])
        device = whole["device"].replace(f", {precision})", ")")
        for row in whole["results"]:
            if "batch_size" not in row:
                parts = ("mel", "rmvpe", "hubert", "retrieval", "synthesis")
                result[row["seconds"], precision] = {"device": sum(row[p] for p in parts),
                                                     "all": row["total"]}
        for row in pitch["results"]:
            result[row["seconds"], precision]["pitch"] = row["total"]
    return result, device


# ---- the table ---------------------------------------------------------------------------------------------

def row_of(seconds, precision, columns, own):
    """Flat: milliseconds, ratios ours/theirs."""
    row = {"seconds": seconds, "precision": precision}
    for way, column in columns.items():
        for name, t in column.items():
            row[f"{way} {name}"] = round(1e3 * t["events"], 3) if t else None
    if not own:
        return row
    for key, value in own.items():
        row[f"ours {key}"] = round(1e3 * value, 3)
    ratios = {"ours / bare": ("device", "bare", "sum"), "ours / padded": ("device", "padded", "sum"),
              "pitch / rmvpe": ("pitch", "bare", "rmvpe")}
    for head, (key, way, name) in ratios.items():
        t = columns[way][name]
        row[head] = round(own[key] / t["events"], 3) if t else None
    return row


def print_table(rows):
    keys = list(rows[0])
    shown = [["-" if row[k] is None else str(row[k]) if k == "precision" else
              f"{row[k]:.2f}" if "/" in k else f"{row[k]:g}" if k == "seconds" else f"{row[k]:.1f}"
              for k in keys] for row in rows]
    heads = [k.split(" ", 1) if " " in k and "/" not in k else ["", k] for k in keys]
    widths = [max(len(c) for c in column) for column in zip(*heads_by_line(heads), *shown)]
    for line in [*heads_by_line(heads), *shown]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))


def heads_by_line(heads):
    """Two lines: the group, where it is another than before, and the column."""
    groups = [h[0] if i == 0 or h[0] != heads[i - 1][0] else "" for i, h in enumerate(heads)]
    return groups, [h[1] for h in heads]


def read_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="build/demo/models", metavar="DIR")
    parser.add_argument("--voice", metavar="FILE.npz", help="default: rvc_v2_40k.npz of --models")
    parser.add_argument("--programs", default="build/benchmarks", metavar="DIR")
    parser.add_argument("--seconds", default="5,30,60,300", metavar="LIST")
    parser.add_argument("--precisions", default="f32,tf32,f16", metavar="LIST")
    parser.add_argument("--records", nargs="*", default=[], metavar="STAGES.npz")
    parser.add_argument("--device", default="cuda", help="PyTorch's")
    parser.add_argument("--ours", default="vulkan", help="this project's; \"\": it does not take part")
    parser.add_argument("--num-runs", type=int, default=30)
    parser.add_argument("--patience", type=float, default=15.0, help="seconds")
    parser.add_argument("--tuned", type=float, default=62.0, help="seconds")
    parser.add_argument("--output", metavar="FILE.json")
    options = parser.parse_args()
    options.seconds = [float(s) for s in options.seconds.split(",")]
    options.precisions = options.precisions.split(",")
    unknown = [p for p in options.precisions if p not in DTYPES]
    if unknown:
        parser.error(f"--precisions {unknown[0]}: {', '.join(DTYPES)} are known")
    options.voice = options.voice or os.path.join(options.models, "rvc_v2_40k.npz")
    options.hubert = os.path.join(options.models, "hubert_base.npz")
    options.rmvpe = os.path.join(options.models, "rmvpe.npz")
    return options


def save(options, theirs, ours, own_device):
    """The report so far, in the order of the lengths; into the file too, if one is wanted."""
    card = torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.machine()
    done = [(s, p) for s in options.seconds for p in options.precisions if (s, p) in theirs]
    report = {"benchmark": "cuda", "date": datetime.date.today().isoformat(), "machine": card,
              "device": f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}; {own_device}",
              "num_runs": options.num_runs, "num_warmup": 3, "tuned": options.tuned,
              "voice": os.path.splitext(os.path.basename(options.voice))[0],
              "results": [row_of(s, p, theirs[s, p], ours.get((s, p.replace("tf32", "f32"))))
                          for s, p in done],
              "pytorch": [{"seconds": s, "precision": p, **theirs[s, p]} for s, p in done]}
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
    return report


def main():
    options = read_options()
    torch.inference_mode().__enter__()  # for the life of the process
    with tempfile.TemporaryDirectory(prefix="cuda.") as work:
        ours, own_device = race_ours(options, work) if options.ours else ({}, "without this project")
        theirs, report = {}, None
        for key, columns in race_torch(options, work):
            theirs[key] = columns
            report = save(options, theirs, ours, own_device)
    print(f"\n{report['machine']}; {report['device']}\nmilliseconds, medians of up to {options.num_runs} runs")
    print("bare: the networks alone, one piece; padded: with a second of mirrored signal at each end, above "
          f"{LONGEST} s in chunks of {CENTER} s")
    print_table(report["results"])


if __name__ == "__main__":
    sys.exit(main())
