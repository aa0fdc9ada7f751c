"""The accuracy of trained models under several conditions and times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import pandas as pd
from torch import nn

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.devices.limits import require_time
from aimc_robust.errors import InputError, short_repr, unknown_name
from aimc_robust.evaluation.evaluate import as_models, evaluate
from aimc_robust.evaluation.monte_carlo import Condition
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware, Layers
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.estimate_keys import require_estimates, require_timed
from aimc_robust.tasks.metrics import Metrics
from aimc_robust.tasks.registry import TaskLike

GridKey = tuple[str, float]
"""(name of the condition, seconds since programming)."""


class EvaluationGrid(Mapping[GridKey, Estimate]):
    """Estimates by (condition, time_s): an immutable mapping in the order of conditions, then of times.

    Examples:
        >>> grid = evaluate_grid(model, batches, {"rram": rram}, time_s=[0.0, 3600.0])  # doctest: +SKIP
        >>> grid["rram", 3600.0].mean  # doctest: +SKIP
        >>> grid.to_frame()  # doctest: +SKIP
    """

    def __init__(self, estimates: Mapping[GridKey, Estimate]) -> None:
        require_estimates(estimates)
        require_timed("EvaluationGrid", estimates)
        self._estimates = dict(estimates)

    def __getitem__(self, key: GridKey) -> Estimate:
        return self._estimates[key]

    def __iter__(self) -> Iterator[GridKey]:
        return iter(self._estimates)

    def __len__(self) -> int:
        return len(self._estimates)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, in order."""
        return list(dict.fromkeys(condition for condition, _ in self))

    @property
    def times_s(self) -> list[float]:
        """Times [s], in order."""
        return list(dict.fromkeys(time_s for _, time_s in self))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per (condition, time_s), in order.

        Returns:
            Columns `condition`, `time_s` [s]; `mean`, `sd_noise`, `sd_seed`, `ci_low`, `ci_high` of the accuracy
                [percent], see
            `Estimate`; and the number of `chips`.
        """
        rows = [
            {
                "condition": condition,
                "time_s": time_s,
                "mean": estimate.mean,
                "sd_noise": estimate.sd_noise,
                "sd_seed": estimate.sd_seed,
                "ci_low": estimate.ci[0],
                "ci_high": estimate.ci[1],
                "chips": estimate.chips,
            }
            for (condition, time_s), estimate in self.items()
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return f"EvaluationGrid(conditions={self.conditions}, times_s={self.times_s})"


def evaluate_grid(
    model: nn.Module | Sequence[nn.Module],
    batches: Batches,
    conditions: Mapping[str, Condition],
    *,
    layers: Layers | None = None,
    chips: int = 25,
    chip_seed: int = 0,
    time_s: float | Sequence[float] = 0.0,
    deployment: Deployment | Mapping[str, Deployment] | None = None,
    jobs: int | None = None,
    precision: float | None = None,
    metrics: Metrics = None,
    strict: bool | None = None,
    task: TaskLike = None,
) -> EvaluationGrid:
    """Estimate the accuracy of a model under several conditions and times, on the same chips.

    Conditions other than crossbars do not depend on time: they are evaluated once and appear at every time.

    Args:
        model: A trained model, or several that were trained with the same recipe.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        conditions: Name -> a Crossbar, a `Placement`, a weight noise, or None for digital weights.
        layers: Layers that are on none of the crossbars, see `evaluate`.
        chips: As for `evaluate`.
        chip_seed: Root seed of all chips.
        time_s: Seconds since programming of the crossbars, one time or several.
        deployment: One deployment for all crossbars, or name of a crossbar -> its deployment.
        jobs: As for `evaluate`.
        precision: As for `evaluate`.
        metrics: As for `evaluate`.
        strict: As for `evaluate`.
        task: As for `evaluate`.

    Raises:
        InputError: if an argument is invalid.
        UnknownNameError: if `deployment` names a condition that does not exist.
        DataError: if there are no images, or labels do not match the outputs.
    """
    if not isinstance(conditions, Mapping) or not conditions:
        raise InputError(f"conditions must map at least one name to a condition, got {short_repr(conditions)}.")
    times_s = _times(time_s)
    if isinstance(deployment, Mapping):
        for name in deployment:
            if name not in conditions:
                raise unknown_name("condition of a deployment", name, conditions)
            if not isinstance(conditions[name], Hardware):
                raise InputError(
                    f"the deployment {name!r} must belong to a crossbar, got {short_repr(conditions[name])}."
                )
    estimate = partial(
        evaluate,
        as_models(model),
        as_reiterable(batches, task),
        chips=chips,
        chip_seed=chip_seed,
        jobs=jobs,
        precision=precision,
        metrics=metrics,
        strict=strict,
        task=task,
    )
    estimates: dict[GridKey, Estimate] = {}
    for name, condition in conditions.items():
        if isinstance(condition, Hardware):
            deployed = deployment.get(name) if isinstance(deployment, Mapping) else deployment
            estimates |= {(name, t): estimate(condition, layers=layers, time_s=t, deployment=deployed) for t in times_s}
        else:
            estimates |= dict.fromkeys([(name, t) for t in times_s], estimate(condition))
    return EvaluationGrid(estimates)


def _times(time_s: float | Sequence[float]) -> list[float]:
    """Return one or several times as a list, after a check."""
    times_s: list[Any] = [time_s] if np.ndim(time_s) == 0 else list(cast(Sequence[float], time_s))
    if not times_s:
        raise InputError("time_s must be at least one time, got none.")
    for value in times_s:
        require_time(value)
    return [float(value) for value in times_s]
