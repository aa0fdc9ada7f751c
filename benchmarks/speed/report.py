"""Claim: a comparison of 100 000 evaluation rows is read and its report rendered in under 5 s on two cores of a laptop.

    python benchmarks/speed/report.py [--methods 40] [--seeds 5] [--targets 21] [--chips 25]

Makes a folder as `compare` does, with random numbers. A new Python process writes tables, figures and pages, as
`aimc-robust report` does. Prints the time of the whole and of its parts, of plain pandas reading the same rows, and of
checking that a report is current.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import COVERAGE, ENVIRONMENT, EVALUATIONS, HISTORY
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.io.atomic import read_rows

CLAIM_S = 5.0
DEVICES = ["rram-milo2021", "rram-wan2022", "pcm-joshi2020", "sonos-agrawal2022"]
EPOCHS = 100
TIMED = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from aimc_robust.report.freshness import report_is_current
from aimc_robust.report.write import write_report
loaded = time.perf_counter()
write_report(Path(sys.argv[1]))
written = time.perf_counter()
assert report_is_current(Path(sys.argv[1]))
print(loaded - start, written - loaded, time.perf_counter() - written)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("methods", 40), ("seeds", 5), ("targets", 21), ("chips", 25)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path, help="results folder to keep, instead of a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "results"
        rows = write_results(folder, options.methods, options.seeds, options.targets, options.chips)
        pandas_s = min(read_with_pandas(folder) for _ in range(3))
        command = [sys.executable, "-c", TIMED, str(folder)]
        timings = [[float(s) for s in subprocess.check_output(command, text=True).split()] for _ in range(3)]
        imports, writing, checking = min(timings, key=lambda times: times[1])
        print(f"{rows} rows of {options.methods * options.seeds} models")
        print(f"pandas reads them in           {pandas_s:6.2f} s")
        holds = "" if rows > 110_000 else f"  claim < {CLAIM_S:g} s {'holds' if writing < CLAIM_S else 'FAILS'}"
        print(f"report, from rows to pages     {writing:6.2f} s{holds}")
        print(f"    relative to pandas         {writing / pandas_s:6.1f}")
        for part, seconds in part_times(folder).items():
            print(f"    {part:<27}{seconds:6.2f} s")
        print(f"imports before it              {imports:6.2f} s")
        print(f"checking that it is current    {checking:6.2f} s")


def write_results(folder: Path, methods: int, seeds: int, targets: int, chips: int) -> int:
    """Write a finished comparison with random accuracies; return its number of rows."""
    noises = [f"gaussian-{0.01 * (i + 1):.2f}" for i in range(targets - 1 - len(DEVICES))]
    names = ["digital", *DEVICES, *noises][:targets]
    values = {
        "name": "many-rows",
        "train_seeds": list(range(seeds)),
        "chips": chips,
        "targets": names,
        "data": {"name": "digits"},
        "model": {"name": "small-cnn"},
        "training": {"epochs": EPOCHS, "early_stopping": {"sigma": 0.1}},
        "methods": {"sgd": {}} | {f"rwp-{i}": {"kind": "rwp", "sigma": 0.01 * i} for i in range(1, methods)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    results = ComparisonResults.create(folder, spec_from_dict(values))
    results.write_spec_text("# made by benchmarks/speed/report.py\n")
    results.write_json_file(ENVIRONMENT, [{"python": sys.version.split()[0]}])
    results.write_json_file(COVERAGE, {"line": "every weight"})
    rng, written = np.random.default_rng(0), 0
    for trial in results.trials:
        run = results.run_folder(trial)
        run.mkdir(parents=True, exist_ok=True)
        lines = []
        for target in results.spec.build_targets():
            for chip in range(target.chips(chips)):
                row = {
                    "model": trial.model,
                    "train_seed": trial.train_seed,
                    "target": target.name,
                    "backend": target.backend,
                }
                accuracy, loss = rng.normal(70.0 + trial.train_seed, 2.0), rng.gamma(2.0)
                row |= {
                    "sigma": target.sigma,
                    "time_s": 0.0,
                    "chip": chip,
                    "accuracy": round(accuracy, 2),
                    "loss": loss,
                    "n": 10_000,
                }
                lines.append(json.dumps(row))
        (run / EVALUATIONS).write_text("\n".join(lines) + "\n")
        written += len(lines)
        history = [
            {"epoch": epoch, "train_loss": 2.0 / epoch, "accuracy": 70.0, "perturbed_accuracy": 60.0, "seconds": 3.0}
            for epoch in range(1, EPOCHS + 1)
        ]
        (run / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in history))
    return written


def read_with_pandas(folder: Path) -> float:
    """Time that pandas takes to read the rows, file by file, and to average them [s]."""
    start = time.perf_counter()
    frame = pd.concat([pd.read_json(path, lines=True) for path in sorted(folder.glob(f"runs/*/{EVALUATIONS}"))])
    frame.groupby(["model", "target"])["accuracy"].mean()
    return time.perf_counter() - start


def part_times(folder: Path) -> dict[str, float]:
    """Time the parts one after the other in a warm process [s]."""
    from aimc_robust.report.comparison.content import gather
    from aimc_robust.report.comparison.page import comparison_page
    from aimc_robust.report.page_files import page_files

    results, times, gathered = ComparisonResults.open(folder), {}, {}
    parts = {
        "reading lines": lambda: [read_rows(path) for path in folder.glob(f"runs/*/{EVALUATIONS}")],
        "a table of them": results.table,
        "table and statistics": lambda: gathered.update(content=gather(results)),
        "figures, tables, pages": lambda: page_files(comparison_page(gathered["content"])),
    }
    for name, part in parts.items():
        start = time.perf_counter()
        part()
        times[name] = time.perf_counter() - start
    return times


if __name__ == "__main__":
    main()
