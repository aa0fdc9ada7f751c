"""Claims: of a comparison at mini scale at most 2 % is the harness's (all but training, its validation and diagnostics,
and evaluations); the same command on a finished comparison takes under 3 s.

    python benchmarks/speed/harness.py SPEC [--scale mini] [--set KEY=VALUE ...]

Each run is a new process, imports and report included, with one thread. Validation and diagnostics after an epoch count
as training. --set may cut a table to a few models: what is done once for it (imports, images, rehearsal, report) is
told apart from what each model takes, and the share of the whole table follows from both.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aimc_robust.experiments.spec.comparison import load_spec

# Runs the command, and says how long the parts took that are not the harness's.
WATCHED = """
import json, sys, time
import torch
torch.set_num_threads(1)
from aimc_robust.bench import evaluating
from aimc_robust.training import loop

useful = 0.0

def counted(function):
    def run(*args, **more):
        global useful
        began = time.perf_counter()
        try:
            return function(*args, **more)
        finally:
            useful += time.perf_counter() - began
    return run

def counted_chips(function):
    def run(*args, **more):
        global useful
        found = function(*args, **more)
        while True:
            began = time.perf_counter()
            try:
                measured = next(found)
            except StopIteration:
                return
            finally:
                useful += time.perf_counter() - began
            yield measured
    return run

for name in ("train_epoch", "validate", "_probed"):
    setattr(loop, name, counted(getattr(loop, name)))
evaluating.evaluate_chips = counted_chips(evaluating.evaluate_chips)

from aimc_robust.bench.engines import Serial
in_cells, plain = 0.0, Serial.run

def run(self, work, cells, progress):
    global in_cells
    began = time.perf_counter()
    found = plain(self, work, cells, progress)
    in_cells += time.perf_counter() - began
    return found

Serial.run = run

from aimc_robust.cli.app import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print("USEFUL", json.dumps([useful, in_cells]), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", type=Path)
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--warm", type=int, default=5, help="how often the finished comparison is run again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        command = ["compare", str(arguments.spec), "--scale", arguments.scale, "--out", f"{scratch}/out"]
        command += [part for text in arguments.set for part in ("--set", text)]
        began = time.perf_counter()
        run = subprocess.run([sys.executable, "-c", WATCHED, *command], text=True, stderr=subprocess.PIPE, check=True)
        wall = time.perf_counter() - began
        useful, in_cells = json.loads(run.stderr.rsplit("USEFUL ", 1)[1])
        cut, whole = (load_spec(arguments.spec, scale=arguments.scale, overrides=o) for o in (arguments.set, []))
        models, all_models = (len(spec.labels) * len(spec.train_seeds) for spec in (cut, whole))
        once, each, work = wall - in_cells, (in_cells - useful) / models, useful / models
        share = 100 * (once + all_models * each) / (once + all_models * (each + work))
        print(
            f"{models} models: {wall:.1f} s, {useful:.1f} s of it training and evaluations; harness {once:.1f} s once"
        )
        print(f"and {each:.2f} s for each model, so {share:.2f} % of the table's {all_models} models (limit 2)")
        times = []
        for _ in range(arguments.warm):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "aimc_robust", *command], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - began)
        print(f"the same command again: {min(times):.2f} to {max(times):.2f} s (limit 3)")


if __name__ == "__main__":
    main()
