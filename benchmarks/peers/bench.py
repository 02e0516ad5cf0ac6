#!/usr/bin/env python3
"""bench.py - races this project against PyTorch and ONNX Runtime, network by network, in alternation.

    bench.py --program build/benchmarks/benchmark_networks --models DIR [--voice FILE] [--seconds 5]
             [--threads N] [--heats 3] [--num-warmup 2] [--num-runs 7] --output FILE.json

Every competitor is a process of its own that opens its models once and then runs one network whenever it is
told to. They take turns, run by run, in an order that rotates, with a pause in between so that no idle thread
still spins: what disturbs one disturbs all. A heat starts all processes anew; its figures are medians over
--num-runs runs.

Same weights, same shapes, same inputs, same threads. The outputs are compared before anything is timed: a
competitor that computes something else has not won. Exit status 1 where they differ by more than 80 dB allow.
"""

import argparse
import datetime
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import export
import networks
import signals

HERE = os.path.dirname(os.path.abspath(__file__))
OPENBLAS_OPENMP = "/usr/lib/x86_64-linux-gnu/openblas-openmp"
PAUSE = 0.1     # seconds; OpenBLAS, OpenMP and ONNX Runtime let idle threads spin for some of them
AGREEMENT = 80  # dB
BUSY = 0.05     # of the machine taken by others: above it, a measurement says little


class Competitor:
    """A running process and the line it introduced itself with."""

    def __init__(self, key, command, environment):
        self.key = key
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **environment})
        self.about = json.loads(self.line())

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            raise SystemExit(f"bench.py: {self.key} ended with status {self.process.wait()}")
        return text

    def run(self, network, path=""):
        time.sleep(PAUSE)
        self.process.stdin.write(f"{network} {path}".rstrip() + "\n")
        self.process.stdin.flush()
        return float(self.line())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def cpu_flags():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        return next((set(line.split()) for line in file if line.startswith("flags")), set())


def torch_environment():
    """OpenBLAS at its best: older ones take AVX2 kernels on processors they do not know, and Debian's default
    one has threads of its own beside PyTorch's."""
    environment = {}
    has_avx512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= cpu_flags()
    if has_avx512 and "OPENBLAS_CORETYPE" not in os.environ:
        environment["OPENBLAS_CORETYPE"] = "SkylakeX"
    if os.path.isdir(OPENBLAS_OPENMP) and "LD_LIBRARY_PATH" not in os.environ:
        environment["LD_LIBRARY_PATH"] = OPENBLAS_OPENMP
    return environment


def shared_options(options, work):
    """What every program of the race is told."""
    return ["--threads", str(options.threads), "--inputs", os.path.join(work, "inputs.npz"),
            "--hubert", options.hubert, "--rmvpe", options.rmvpe, "--voice", options.voice]


def start(options, work):
    """All competitors, ours first."""
    shared = shared_options(options, work)
    worker = [sys.executable, "-B", os.path.join(HERE, "worker.py")]
    started = [Competitor("rvc", [options.program, *shared], {})]
    for key in options.peers:
        environment = torch_environment() if key == "torch" else {}
        started.append(Competitor(key, [*worker, key, "--onnx", work, *shared], environment))
        started[-1].about["environment"] = environment
    return started


def agreement(competitors, work):
    """{network: {competitor: dB against the last of the competitors}}; the runs count as the first
    warm-up."""
    result = {}
    for network in networks.NAMES:
        outputs = {}
        for c in competitors:
            path = os.path.join(work, f"{network}.{c.key}.f32")
            c.run(network, path)
            outputs[c.key] = np.fromfile(path, np.float32)
            os.remove(path)
        want = outputs[competitors[-1].key]
        result[network] = {key: round(signals.snr_db(got, want), 1) if got.shape == want.shape else -999.0
                           for key, got in outputs.items() if key != competitors[-1].key}
    return result


def run_heat(competitors, options):
    """{network: {competitor: [seconds of each run]}}."""
    times = {network: {c.key: [] for c in competitors} for network in networks.NAMES}
    for i in range(-options.num_warmup, options.num_runs):
        turn = i % len(competitors)
        for network in networks.NAMES:
            for c in competitors[turn:] + competitors[:turn]:
                seconds = c.run(network)
                if i >= 0:
                    times[network][c.key].append(seconds)
    return times


def medians(times):
    """{network or "sum": {competitor: seconds}}."""
    result = {n: {key: statistics.median(x) for key, x in runs.items()} for n, runs in times.items()}
    keys = next(iter(result.values()))
    result["sum"] = {key: sum(result[n][key] for n in times) for key in keys}
    return result


def print_heat(number, table):
    keys = list(table["sum"])
    print(f"{f'heat {number}':17}" + "".join(f"{key:>14}" for key in keys)
          + "".join(f"{'rvc / ' + key:>20}" for key in keys[1:]))
    for network, row in table.items():
        print(f"    {network:13}" + "".join(f"{row[key]:12.3f} s" for key in keys)
              + "".join(f"{row['rvc'] / row[key]:20.2f}" for key in keys[1:]), flush=True)


def cpu_seconds():
    """(seconds all processors were busy, of which by this process and its ended children). Time that a
    hypervisor gave to others counts as busy."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = (int(n) for n in file.readline().split()[1:9])
    own = os.times()
    return ((user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"),
            own.user + own.system + own.children_user + own.children_system)


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model} ({os.cpu_count()} cores)"


def race(options, work):
    sizes = networks.make_inputs(os.path.join(work, "inputs.npz"), options.voice, options.seconds)
    if "onnxruntime" in options.peers:
        print("exporting to ONNX", flush=True)
        command = [sys.executable, "-B", os.path.join(HERE, "export.py"), "--output", work,
                   *shared_options(options, work)]
        if subprocess.run(command, env={**os.environ, **torch_environment()}, check=False).returncode:
            raise SystemExit("bench.py: the export failed")
    report = {"benchmark": "peers", "date": datetime.date.today().isoformat(), "machine": machine(),
              "system": platform.system(), "threads": options.threads,
              "seconds": options.seconds, "sizes": sizes,
              "voice": os.path.splitext(os.path.basename(options.voice))[0],
              "num_warmup": options.num_warmup, "num_runs": options.num_runs, "heats": []}
    for number in range(1, options.heats + 1):
        began, (busy, own) = time.monotonic(), cpu_seconds()
        competitors = start(options, work)
        try:
            report["competitors"] = {c.key: c.about for c in competitors}
            report["agreement_db"] = agreement(competitors, work)
            times = run_heat(competitors, options)
        finally:
            for c in competitors:
                c.close()
        wall, (busy_after, own_after) = time.monotonic() - began, cpu_seconds()
        others = max(0.0, (busy_after - busy) - (own_after - own)) / (wall * os.cpu_count())
        report["heats"].append({"others": round(others, 3), "runs": times, "medians": medians(times)})
        print_heat(number, report["heats"][-1]["medians"])
    return report


def summary(report):
    """Prints the ratios of all heats; whether the outputs agree."""
    tables = [s["medians"] for s in report["heats"]]
    for peer in [key for key in report["competitors"] if key != "rvc"]:
        for network in tables[0]:
            ratios = [t[network]["rvc"] / t[network][peer] for t in tables]
            print(f"rvc / {peer:12} {network:12} {statistics.median(ratios):.2f}   ("
                  + ", ".join(f"{r:.2f}" for r in ratios) + ")")
    others = max(heat["others"] for heat in report["heats"])
    print(f"other programs took up to {100 * others:.0f} % of the machine"
          + (": too busy, these figures say little" if others > BUSY else ""))
    lowest = min(db for row in report["agreement_db"].values() for db in row.values())
    print(f"outputs agree to {lowest:.1f} dB or better: {json.dumps(report['agreement_db'])}")
    return lowest >= AGREEMENT


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    export.add_model_options(parser)
    parser.add_argument("--program", default="build/benchmarks/benchmark_networks")
    parser.add_argument("--peers", default="onnxruntime,torch", help="competitors beside ours")
    parser.add_argument("--heats", type=int, default=3)
    parser.add_argument("--num-warmup", type=int, default=2)
    parser.add_argument("--num-runs", type=int, default=7)
    parser.add_argument("--output", default="build/bench/peers.json", metavar="FILE.json")
    options = parser.parse_args()
    export.fill_model_options(options)
    options.peers = [p for p in options.peers.split(",") if p]
    os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # its exit removes the exported files, nearly 1 GB
    with tempfile.TemporaryDirectory(prefix="peers.", dir=os.path.dirname(options.output) or ".") as work:
        report = race(options, work)
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    return 0 if summary(report) else 1


if __name__ == "__main__":
    sys.exit(main())
