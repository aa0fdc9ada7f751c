"""Claim: finding what is done costs time in proportion to the rows, however many targets they belong to.

    python benchmarks/speed/rows.py [--targets 40] [--chips 25]

An evaluation asks for the finished chips of every target of a model, and appends a row after each chip. Prints the time
of that with rows that are parsed once (`RowFile`), beside parsing the whole file for each target, for growing files.
"""

import argparse
import tempfile
import time
from pathlib import Path

from aimc_robust.io.atomic import RowFile, append_rows, read_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=40)
    parser.add_argument("--chips", type=int, default=25)
    options = parser.parse_args()
    print("   rows   parsed once [ms]   parsed for each target [ms]   ratio   parsed once, per row [us]")
    for factor in (1, 2, 4, 8):
        rows, once_s, each_s = timed(options.targets * factor, options.chips)
        print(
            f"{rows:7d}   {1e3 * once_s:16.1f}   {1e3 * each_s:27.1f}   {each_s / once_s:5.1f}   "
            f"{1e6 * once_s / rows:25.2f}"
        )


def timed(targets: int, chips: int) -> tuple[int, float, float]:
    """Return (number of rows, time with rows parsed once [s], time with rows parsed for each target [s])."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "rows.jsonl"
        append_rows(path, [row(target, chip) for target in range(targets) for chip in range(chips)])
        start = time.perf_counter()
        file = RowFile(path)
        for _ in range(targets):
            file.read()
        once = time.perf_counter()
        for _ in range(targets):
            read_rows(path)
        return targets * chips, once - start, time.perf_counter() - once


def row(target: int, chip: int) -> dict[str, object]:
    return {
        "model": "sgd",
        "train_seed": 0,
        "target": f"device-{target}",
        "time_s": 0.0,
        "chip": chip,
        "accuracy": 91.234567,
    }


if __name__ == "__main__":
    main()
