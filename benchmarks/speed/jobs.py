"""Claim: on two cores, `compare --jobs 2` takes at most 1 / 1.8 of the time of one process with one thread.

    python benchmarks/speed/jobs.py                 # 4 equal cells of about a minute: half an hour, on an idle machine
    python benchmarks/speed/jobs.py --epochs 60     # shorter ones, in which the imports of the workers, made once, show

Both start from nothing in a new process, as a command does, and train and evaluate the same cells of digits into a new
folder. Equal numbers are checked too.
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
seeds = [0, 1, 2, 3]
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
COMPARE = """
import sys, torch
from pathlib import Path
from aimc_robust.bench import Progress, compare, load_spec
from aimc_robust.bench.engines import Jobs, Serial
torch.set_num_threads(1)
if __name__ == "__main__":
    path, folder, jobs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    engine = Jobs(jobs, threads=1) if jobs else Serial()
    compare(load_spec(path), path.read_text(), folder, data_folder=path.parent, progress=Progress(), engine=engine)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        spec, script = Path(scratch, "spec.toml"), Path(scratch, "script.py")
        spec.write_text(SPEC.format(epochs=arguments.epochs))
        script.write_text(COMPARE)
        found = set()

        def run(jobs: int) -> None:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, script, spec, folder, str(jobs)]
                subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
                found.add(Path(folder, "evaluations.csv").read_bytes())

        measured = ratios(lambda: run(0), {"--jobs 2": lambda: run(2)}, arguments.rounds)
    print_ratios(
        f"4 cells of {arguments.epochs} epochs against one process, one thread", measured, {"--jobs 2": 1 / 1.8}
    )
    print("equal numbers" if len(found) == 1 else "DIFFERENT numbers")


if __name__ == "__main__":
    main()
