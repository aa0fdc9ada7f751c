"""The specs of the papers' tables and figures, loaded once for all tests."""

from functools import cache
from pathlib import Path

from published.layout import Layout, read_layout

from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.loading import load_spec

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPECS = sorted(
    path for paper in ("incorruptible", "m-rwp") for path in (BENCHMARKS / paper).glob("*.toml") if path.stem != "base"
)
NAMES = [f"{path.parent.name}/{path.stem}" for path in SPECS]


@cache
def loaded(name: str, scale: str | None = None) -> ComparisonSpec:
    """The spec called `paper/file`."""
    return load_spec(BENCHMARKS / f"{name}.toml", scale=scale)


@cache
def layout(name: str) -> Layout:
    """The published table of the spec called `paper/file`."""
    return read_layout(loaded(name).name)


def recipes(*names: str) -> set[str]:
    """What has to be trained for these specs, for one seed."""
    return {loaded(name).recipe(label, 0) for name in names for label in loaded(name).labels}
