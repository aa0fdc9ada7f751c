"""The loss landscapes of a trial: a row per point, in a file of their own."""

from __future__ import annotations

from pathlib import Path

from aimc_robust.experiments.results.filenames import LANDSCAPE
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.io.atomic import Row, read_rows


def read_points(run_folder: Path) -> list[Row]:
    """Return the points of all landscapes of a trial, each once: `landscape`, `point`, `accuracy`, `loss` and `n`."""
    return list({(row["landscape"], row["point"]): row for row in read_rows(run_folder / LANDSCAPE)}.values())


def missing_points(rows: list[Row], landscape: LandscapeSpec) -> list[int]:
    """Return the points of a landscape without a row.

    Args:
        rows: Result of `read_points`.
        landscape: The landscape.
    """
    done = {row["point"] for row in rows if row["landscape"] == landscape.name}
    return [point for point in range(landscape.grid.num_points) if point not in done]
