"""Claim: a comparison of 100 000 evaluation rows is read and its report rendered in under 5 s on two cores of a laptop.

    python benchmarks/speed/report.py [--methods 40] [--seeds 5] [--targets 21] [--chips 25]

A folder as `compare` leaves it, with invented numbers; a fresh process of Python writes tables, figures and pages, as
`aimc-robust report` does. Seconds, shares, the time beside plain pandas reading the same rows, and how long it takes to
find a report current.
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
from aimc_robust.experiments.results.filenames import COVERAGE, ENVIRONMENT, EVALUATIONS, HISTORY
from aimc_robust.experiments.spec.comparison import spec_from_dict
from aimc_robust.io.atomic import read_rows

CLAIM_S = 5.0
DEVICES = ["rram-milo2021", "rram-wan2022", "pcm-joshi2020", "sonos-agrawal2022"]
EPOCHS = 100
TIMED = """
import sys, time
began = time.perf_counter()
from pathlib import Path
from aimc_robust.report import page, stamp
loaded = time.perf_counter()
page.write_report(Path(sys.argv[1]))
written = time.perf_counter()
assert stamp.report_is_current(Path(sys.argv[1]))
print(loaded - began, written - loaded, time.perf_counter() - written)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("methods", 40), ("seeds", 5), ("targets", 21), ("chips", 25)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path, help="keep the results folder here, instead of a temporary one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary) / "results"
        rows = write_results(folder, asked.methods, asked.seeds, asked.targets, asked.chips)
        plain = min(plain_read(folder) for _ in range(3))
        command = [sys.executable, "-c", TIMED, str(folder)]
        found = [[float(s) for s in subprocess.check_output(command, text=True).split()] for _ in range(3)]
        imports, writing, checking = min(found, key=lambda times: times[1])
        print(f"{rows} rows of {asked.methods * asked.seeds} models")
        print(f"plain pandas reads them in     {plain:6.2f} s")
        holds = "" if rows > 110_000 else f"  claim < {CLAIM_S:g} s {'holds' if writing < CLAIM_S else 'FAILS'}"
        print(f"report, from rows to pages     {writing:6.2f} s{holds}")
        print(f"    times the plain read       {writing / plain:6.1f}")
        for part, seconds in shares(folder).items():
            print(f"    {part:<27}{seconds:6.2f} s")
        print(f"imports before it              {imports:6.2f} s")
        print(f"finding the report current     {checking:6.2f} s")


def write_results(folder: Path, methods: int, seeds: int, targets: int, chips: int) -> int:
    """A finished comparison with invented accuracies; returns its number of rows."""
    noises = [f"gaussian-{0.01 * (i + 1):.2f}" for i in range(targets - 1 - len(DEVICES))]
    names = ["digital", *DEVICES, *noises][:targets]
    values = {
        "name": "many-rows",
        "seeds": list(range(seeds)),
        "chips": chips,
        "targets": names,
        "data": {"name": "digits"},
        "model": {"name": "small-cnn"},
        "training": {"epochs": EPOCHS, "early_stopping": {"sigma": 0.1}},
        "methods": {"sgd": {}} | {f"rwp-{i}": {"kind": "rwp", "sigma": 0.01 * i} for i in range(1, methods)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    store = ComparisonResults.create(folder, spec_from_dict(values), "# made by benchmarks/speed/report.py\n")
    store.write_json_file(ENVIRONMENT, [{"python": sys.version.split()[0]}])
    store.write_json_file(COVERAGE, {"line": "every weight"})
    random, written = np.random.default_rng(0), 0
    for cell in store.cells:
        run = store.run_folder(cell)
        run.mkdir(parents=True, exist_ok=True)
        lines = []
        for target in store.spec.build_targets():
            for chip in range(target.chips(chips)):
                row = {"method": cell.method, "seed": cell.seed, "target": target.name, "backend": target.backend}
                accuracy, loss = random.normal(70.0 + cell.seed, 2.0), random.gamma(2.0)
                row |= {"time_s": 0.0, "chip": chip, "accuracy": round(accuracy, 2), "loss": loss, "n": 10_000}
                lines.append(json.dumps(row))
        (run / EVALUATIONS).write_text("\n".join(lines) + "\n")
        written += len(lines)
        history = [
            {"epoch": epoch, "train_loss": 2.0 / epoch, "accuracy": 70.0, "perturbed_accuracy": 60.0, "seconds": 3.0}
            for epoch in range(1, EPOCHS + 1)
        ]
        (run / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in history))
    return written


def plain_read(folder: Path) -> float:
    """Seconds that pandas takes to read the rows, file by file, and to average them."""
    began = time.perf_counter()
    frame = pd.concat([pd.read_json(path, lines=True) for path in sorted(folder.glob(f"runs/*/{EVALUATIONS}"))])
    frame.groupby(["method", "target"])["accuracy"].mean()
    return time.perf_counter() - began


def shares(folder: Path) -> dict[str, float]:
    """Seconds of the parts one after the other, in a warm process; a report draws while it reads."""
    from aimc_robust.report.comparison import figure_list
    from aimc_robust.report.comparison.content import gather
    from aimc_robust.report.comparison.training_figures import mean_rows
    from aimc_robust.report.parallel import at_once

    store, found, kept = ComparisonResults.open(folder), {}, {}
    parts = {
        "reading lines": lambda: [read_rows(path) for path in folder.glob(f"runs/*/{EVALUATIONS}")],
        "a table of them": store.table,
        "statistics": lambda: kept.update(content=gather(store)),
        "figures": lambda: at_once(
            [
                *figure_list.before_accuracies(store, mean_rows(store.spec, store.histories())),
                *figure_list.of_accuracies(kept["content"]),
            ]
        ),
    }
    for name, part in parts.items():
        began = time.perf_counter()
        part()
        found[name] = time.perf_counter() - began
    return found


if __name__ == "__main__":
    main()
