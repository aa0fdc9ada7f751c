"""The fixed part of a benchmark, and which specs keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.inheritance import read_spec
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.targets.target import CrossbarTarget

BENCHMARK = Path(__file__).with_name("leaderboard-1.toml")
FREE = frozenset(
    {
        "lr",
        "momentum",
        "weight_decay",
        "label_smoothing",
        "early_stopping",
        "optimizer",
        "schedule",
        "warmup_epochs",
        "clip_norm",
        "weight_clipping",
    }
)
"""Keys of `training` that a method may set for itself; epochs and batch size are the budget, which is fixed."""


def fixed_part(path: Path) -> dict[str, Any]:
    """Return everything that a benchmark fixes, as plain values with device cards written out."""
    values = read_spec(path) | {"methods": {"sgd": {}}}  # any method, so that the spec is complete
    return _without_methods(spec_from_dict(values, source=str(path), folder=path.parent))


def check_fixed_part(spec: ComparisonSpec, fixed: dict[str, Any]) -> None:
    """Raise InputError unless a spec differs from the benchmark in its methods only."""
    own = _without_methods(spec)
    changed = [key for key in {**fixed, **own} if own.get(key) != fixed.get(key)]
    if changed:
        raise InputError(
            f"the spec differs from {fixed['name']} in {', '.join(changed)}, which the benchmark fixes; extend "
            f"{fixed['name']}.toml and change [methods] only."
        )
    for label in spec.labels:
        tables = spec.overrides_of(label)
        refused = [key for key in ("data", "model") if tables.get(key)]
        refused += [f"training.{key}" for key in tables.get("training") or {} if key not in FREE]
        if refused:
            raise InputError(
                f"methods.{label} sets {', '.join(refused)}, which the benchmark fixes; a method may set keys of its "
                f"kind, and in its `training` {', '.join(sorted(FREE))}."
            )


def device_targets(spec: ComparisonSpec) -> list[str]:
    """Return the names of the devices that count: those with drift compensation in place of those without."""
    crossbars = [target for target in spec.build_targets() if isinstance(target, CrossbarTarget)]
    uncompensated = {target.corrects for target in crossbars}
    return [target.name for target in crossbars if target.name not in uncompensated]


def _without_methods(spec: ComparisonSpec) -> dict[str, Any]:
    values = spec.identity()
    del values["methods"]
    return values
