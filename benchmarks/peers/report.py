#!/usr/bin/env python3
"""report.py - makes docs/BENCHMARKS.md and docs/benchmarks.svg out of the benchmarks' JSON files.

    report.py [--docs DIR] [--records DIR] [FILE.json...]          files: build/bench/*.json unless named

No figure is typed in. The files used are copied to --records, so that the page can be made again from a
clone; a benchmark that was not run this time keeps the record it has. peers.json (bench.py) has a section and
the chart; the others (benchmark_pipeline, benchmark_rmvpe, benchmark_ops, ...) become a table of their
"results" each.

Needs Python alone.
"""

import argparse
import glob
import html
import json
import math
import os
import shutil
import statistics
import sys

NAMES = {"rvc": "this project", "onnxruntime": "ONNX Runtime", "torch": "PyTorch",
         "hubert": "HuBERT", "rmvpe": "RMVPE", "synthesizer": "synthesizer", "sum": "sum"}
COLOURS = {"rvc": "#1b7f5c", "onnxruntime": "#c77d2e", "torch": "#8a6fb0"}
TITLES = {"pipeline": "The whole conversion", "rmvpe": "Pitch alone (RMVPE)", "ops": "Single layers",
          "retrieval": "Retrieval", "cuda": "One NVIDIA card: Vulkan beside PyTorch's CUDA"}
COLUMNS = {"seconds": "audio, s", "peak_mib": "peak memory, MiB", "real_time_factor": "real-time factor",
           "gflops": "GFLOP/s", "of_peak": "of the measured peak", "load": "load, s"}
ORDER = ["peers", "cuda", "pipeline", "rmvpe", "ops", "retrieval"]
HOW = """## How to measure

    make bench             # the whole conversion, the pitch, single layers, retrieval; BENCH_OPTIONS='--device vulkan'
    make bench-peers       # against ONNX Runtime and PyTorch on the CPU; makes this page

On an NVIDIA card, with any Python that has PyTorch for CUDA, PyTorch and this project in one call (what the columns
count: `cuda.py --help`):

    make benchmarks demo-models
    python3 benchmarks/peers/cuda.py --models build/demo/models --seconds 5,30,60,300 --output build/bench/cuda.json

Where the time of a chunk goes on any GPU, by component and operation, with the share of ceilings that are measured
in the same process (the larger of two shares: of the arithmetic, and of the memory's bandwidth):

    build/benchmarks/benchmark_pipeline --kernels --device vulkan --precision f16 --models build/demo/models

Operations there are those of the direct form, bytes those of every tensor and weight once; nodes run one after
another, so that the sum is more than a conversion takes.
"""


# ---- tables ------------------------------------------------------------------------------------------------

def table(header, rows):
    """A Markdown table; every column but the first is right-aligned."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def shown(key, value):
    if key == "of_peak" and isinstance(value, (int, float)):
        return f"{100 * value:.0f} %"
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return str(value)


def plain_section(record):
    """Any benchmark whose rows are flat: one column per key, in the order met."""
    rows = record["results"]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    where = ", ".join(str(record[key]) for key in ("machine", "device", "date") if record.get(key))
    runs = f" Medians of up to {record['num_runs']} runs after {record.get('num_warmup', 0)} to warm up." \
        if "num_runs" in record else ""
    title = TITLES.get(record["benchmark"], record["benchmark"].capitalize())
    body = [[shown(key, row.get(key, "")) for key in keys] for row in rows]
    header = [COLUMNS.get(k, k.replace("_", " ")) for k in keys]
    return f"## {title}\n\n{where}.{runs}\n\n" + table(header, body)


# ---- the race ----------------------------------------------------------------------------------------------

def medians(record):
    """{network: {competitor: median over the heats of the heats' medians}}."""
    heats = [s["medians"] for s in record["heats"]]
    return {network: {key: statistics.median(s[network][key] for s in heats) for key in row}
            for network, row in heats[0].items()}


def ratios(record, network, peer):
    """One a heat, in order."""
    return [s["medians"][network]["rvc"] / s["medians"][network][peer] for s in record["heats"]]


def peers_section(record):
    peers = [key for key in record["competitors"] if key != "rvc"]
    who = "; ".join(f"{NAMES.get(k, k)} {c['version']}, {c['device']}"
                    for k, c in record["competitors"].items())
    what = "; ".join(f"{NAMES.get(k, k)} {size}" for k, size in record["sizes"].items())
    agreement = min(db for row in record["agreement_db"].values() for db in row.values())
    header = [NAMES.get(k, k) for k in ["rvc", *peers]] + [f"ours / {NAMES.get(p, p)}" for p in peers]
    times = table(["seconds", *header],
                  [[NAMES.get(n, n)] + [f"{row[k]:.3f}" for k in ["rvc", *peers]]
                   + [f"{statistics.median(ratios(record, n, p)):.2f}" for p in peers]
                   for n, row in medians(record).items()])
    each = table(["ours / theirs"] + [f"heat {i + 1}" for i in range(len(record["heats"]))],
                 [[f"{NAMES.get(p, p)}, {NAMES.get(n, n)}"] + [f"{r:.2f}" for r in ratios(record, n, p)]
                  for p in peers for n in record["heats"][0]["medians"]])
    others = ", ".join(f"{100 * s['others']:.0f} %" for s in record["heats"])
    return f"""## Against ONNX Runtime and PyTorch

![Seconds for {record['seconds']:g} s of speech](benchmarks.svg)

{record['machine']}, {record['system']}, {record['date']}; {record['threads']} threads for everybody. {who}.

The networks alone, {record['seconds']:g} s of speech, voice `{record['voice']}`, float32: {what}.
Same weights, same inputs; the outputs agree to {math.floor(agreement)} dB or better. Every competitor
is a process of its own; they take turns, run by run. A heat starts them anew and takes the median of
{record['num_runs']} runs after {record['num_warmup']} to warm up; times and ratios here are the medians over {len(record['heats'])} heats.

{times}
{each}
What other programs took of the machine during each heat: {others}. `make bench-peers` measures again.
"""


# ---- the chart ---------------------------------------------------------------------------------------------

def chart(record):
    """Horizontal bars: a group per network and one for the sum, a bar per competitor."""
    groups, keys = medians(record), list(record["competitors"])
    left, width, bar, gap, top = 120, 620, 18, 16, 64
    longest = max(seconds for row in groups.values() for seconds in row.values())
    height = top + len(groups) * (len(keys) * bar + gap) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {height}" '
             'font-family="system-ui, sans-serif" font-size="13">',
             '<rect width="100%" height="100%" fill="#ffffff"/>',
             f'<text x="{left}" y="22" font-size="15" font-weight="600">'
             f'Seconds for {record["seconds"]:g} s of speech, {record["threads"]} threads '
             '(shorter is better)</text>']
    x = left
    for key in keys:
        parts.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{COLOURS.get(key, "#666666")}"/>'
                     f'<text x="{x + 18}" y="47">{NAMES.get(key, key)} '
                     f'{html.escape(record["competitors"][key]["version"])}</text>')
        x += 180
    y = top
    for network, row in groups.items():
        parts.append(f'<text x="{left - 10}" y="{y + len(keys) * bar / 2 + 4:g}" text-anchor="end">'
                     f'{NAMES.get(network, network)}</text>')
        for key in keys:
            length = width * row[key] / longest
            parts.append(f'<rect x="{left}" y="{y + 1}" width="{length:.1f}" height="{bar - 2}" '
                         f'fill="{COLOURS.get(key, "#666666")}"/>'
                         f'<text x="{left + length + 6:.1f}" y="{y + 14}">{row[key]:.3f}</text>')
            y += bar
        y += gap
    return "\n".join([*parts, "</svg>"]) + "\n"


# ---- files -------------------------------------------------------------------------------------------------

def read_records(paths):
    """{benchmark: (path, record)}; a later file of the same benchmark wins."""
    records = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        if isinstance(record, dict) and "benchmark" in record and record.get("results", record.get("heats")):
            records[record["benchmark"]] = (path, record)
        else:
            print(f"report.py: {path} is not a benchmark's record: left out", file=sys.stderr)
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE.json")
    parser.add_argument("--docs", default="docs", metavar="DIR")
    parser.add_argument("--records", default="benchmarks/results", metavar="DIR")
    options = parser.parse_args()
    kept = sorted(glob.glob(os.path.join(options.records, "*.json")))
    records = read_records(kept + (options.files or sorted(glob.glob("build/bench/*.json"))))
    if not records:
        raise SystemExit("report.py: no records: run `make bench` or `make bench-peers` first")

    os.makedirs(options.docs, exist_ok=True)
    os.makedirs(options.records, exist_ok=True)
    for name, (path, _) in records.items():
        target = os.path.join(options.records, f"{name}.json")
        if os.path.abspath(path) != os.path.abspath(target):
            shutil.copyfile(path, target)
    names = sorted(records, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    sections = [(peers_section if n == "peers" else plain_section)(records[n][1]) for n in names]
    page = ("<!-- Made by benchmarks/peers/report.py from benchmarks/results/*.json. Do not edit. -->\n\n"
            "# Benchmarks\n\n" + "\n".join([*sections, HOW]))
    with open(os.path.join(options.docs, "BENCHMARKS.md"), "w", encoding="utf-8") as file:
        file.write(page)
    if "peers" in records:
        with open(os.path.join(options.docs, "benchmarks.svg"), "w", encoding="utf-8") as file:
            file.write(chart(records["peers"][1]))
    print(f"{options.docs}/BENCHMARKS.md: " + ", ".join(names))


if __name__ == "__main__":
    main()
