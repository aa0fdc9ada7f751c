"""Claims: the harness takes at most 2 % of a comparison's time at mini scale; on a finished comparison the same command
takes under 3 s.

    python benchmarks/speed/harness.py SPEC [--scale mini] [--set KEY=VALUE ...]

The harness is everything but training (with its validation and diagnostics) and evaluations. Each run is a new process
with one thread, imports and report included. --set can reduce a table to a few models: the time that is needed once
(imports, images, rehearsal, report) is separated from the time per model, and the share of the whole table is computed
from both.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aimc_robust.experiments.spec.loading import load_spec

# Runs the command, and prints the time of the parts that are not the harness.
TIMED_COMMAND = """
import json, sys, time
import torch
torch.set_num_threads(1)
from aimc_robust.experiments.execution import trial_evaluation
from aimc_robust.training import loop

useful = 0.0

def timed(function):
    def run(*args, **kwargs):
        global useful
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            useful += time.perf_counter() - start
    return run

def timed_chips(function):
    def run(*args, **kwargs):
        global useful
        measurements = function(*args, **kwargs)
        while True:
            start = time.perf_counter()
            try:
                measured = next(measurements)
            except StopIteration:
                return
            finally:
                useful += time.perf_counter() - start
            yield measured
    return run

for name in ("train_epoch", "validate", "_run_probe"):
    setattr(loop, name, timed(getattr(loop, name)))
trial_evaluation.evaluate_chips = timed_chips(trial_evaluation.evaluate_chips)

from aimc_robust.experiments.execution.engines.serial import SerialEngine
in_trials, original_run = 0.0, SerialEngine.run

def run(self, work, trials, progress):
    global in_trials
    start = time.perf_counter()
    outcomes = original_run(self, work, trials, progress)
    in_trials += time.perf_counter() - start
    return outcomes

SerialEngine.run = run

from aimc_robust.cli.app import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print("USEFUL", json.dumps([useful, in_trials]), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", type=Path)
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--warm", type=int, default=5, help="number of runs of the finished comparison")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        command = ["compare", str(arguments.spec), "--scale", arguments.scale, "--out", f"{scratch}/out"]
        command += [part for text in arguments.set for part in ("--set", text)]
        start = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-c", TIMED_COMMAND, *command], text=True, stderr=subprocess.PIPE, check=True
        )
        wall = time.perf_counter() - start
        useful, in_trials = json.loads(run.stderr.rsplit("USEFUL ", 1)[1])
        reduced, full = (load_spec(arguments.spec, scale=arguments.scale, overrides=o) for o in (arguments.set, []))
        models, all_models = (len(spec.labels) * len(spec.train_seeds) for spec in (reduced, full))
        once, overhead, work = wall - in_trials, (in_trials - useful) / models, useful / models
        share = 100 * (once + all_models * overhead) / (once + all_models * (overhead + work))
        print(f"{models} models: {wall:.1f} s, training and evaluations {useful:.1f} s; harness {once:.1f} s once")
        print(f"and {overhead:.2f} s for each model, so {share:.2f} % of the table's {all_models} models (limit 2)")
        times = []
        for _ in range(arguments.warm):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "aimc_robust", *command], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        print(f"the same command again: {min(times):.2f} to {max(times):.2f} s (limit 3)")


if __name__ == "__main__":
    main()
