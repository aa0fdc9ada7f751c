"""Claim: on two cores, `compare --jobs 2` takes at most 1 / 1.8 of the time of one process with one thread.

    python benchmarks/speed/jobs.py                 # 4 equal trials of about a minute: 10 minutes, on an idle machine
    python benchmarks/speed/jobs.py --epochs 60     # shorter trials, in which imports and the report matter more

Times the whole command, from an empty folder to the report, with the same trials on digits. Also checks that the
numbers are equal.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import print_ratios, ratios

SPEC = """
name = "jobs"
train_seeds = [0, 1, 2, 3]
chips = 10
targets = ["digital", "gaussian-0.1"]
[data]
name = "digits"
[model]
name = "small-cnn"
options = {{ channels = 8, stages = 3 }}
[training]
epochs = {epochs}
batch_size = 32
[methods.sgd]
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        spec = Path(scratch, "spec.toml")
        spec.write_text(SPEC.format(epochs=arguments.epochs))
        tables = set()

        def run(jobs: int) -> None:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder, "out")
                command = [sys.executable, "-m", "aimc_robust", "compare", spec, "--out", out]
                command += ["--jobs", str(jobs)] if jobs else []
                quiet = {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "stdout": subprocess.DEVNULL}
                subprocess.run(command, check=True, **quiet)
                tables.add((out / "evaluations.csv").read_bytes())

        measured = ratios(lambda: run(0), {"--jobs 2": lambda: run(2)}, arguments.rounds, warm_up=False)
    print_ratios(
        f"4 trials of {arguments.epochs} epochs against one process, one thread", measured, {"--jobs 2": 1 / 1.8}
    )
    print("equal numbers" if len(tables) == 1 else "DIFFERENT numbers")


if __name__ == "__main__":
    main()
