"""Which layers to keep digital, so that a model reaches a required accuracy on a crossbar."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import nn

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.errors import InputError, exact_text, require_finite, require_type, require_whole
from aimc_robust.evaluation.digital_sets import DigitalSets, first_sizes, interval_ends, smallest_set
from aimc_robust.evaluation.layer_ranking import RANKING_CHIPS, Ranking, Size, rank_layers
from aimc_robust.evaluation.monte_carlo import MAX_CHIPS, ChipOptions, chip_evaluation
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware, Layers
from aimc_robust.parallel.process_pool import check_jobs
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.registry import TaskLike
from aimc_robust.training.config import Precision

Judgement = Literal["confirmed", "refuted", "not settled", "no proposal"]
NO_PROPOSAL = "no proposal"


@dataclass(frozen=True)
class KeptDigital:
    """Which layers to keep digital for a required value of the primary metric, and how sure that is.

    Attributes:
        metric: The primary metric.
        required: Its required value.
        digital: Its value with all layers digital.
        layers: The proposed layers; empty if none need be digital.
        ranking: One row per layer, the first to keep digital first: `layer`, its `weights`, its `multiplies` per
            example, the `cost` of its errors alone, and the 95 % interval over chips of a measured cost, `cost_low` and
            `cost_high`. Layers whose intervals overlap could also be in the other order.
        curve: One row per set that was measured: `kept`, the number of first layers of the ranking that are digital;
            the shares `weights_percent` and `multiplies_percent` of all layers that these have; `mean`, `ci_low`,
            `ci_high` (95 %, over chips), `sd_noise` and `chips`.
        confirmation: The metric on other chips, with the proposed layers digital.
        confirmation_digital: The metric with all layers digital, on the data of the confirmation.
        judgement: `confirmed`: the interval of the confirmation reaches the required value as a whole. `refuted`: no
            part of it does. Else `not settled`. `no proposal`: only all layers reach it, none is left to the crossbar.
    """

    metric: PrimaryMetric
    required: float
    digital: float
    layers: tuple[str, ...]
    ranking: pd.DataFrame
    curve: pd.DataFrame
    confirmation: Estimate
    confirmation_digital: float
    judgement: Judgement

    @property
    def placement(self) -> dict[str, str]:
        """The proposed layers as `layers=` of `program`, `evaluate`, ... takes them."""
        return dict.fromkeys(self.layers, "digital")

    @property
    def proposal(self) -> dict[str, Any]:
        """The row of the curve that is proposed."""
        row: dict[str, Any] = self.curve[self.curve["kept"] == len(self.layers)].iloc[0].to_dict()
        return row

    @property
    def sentence(self) -> str:
        """What is proposed, and what the confirmation says of it."""
        row, count, total = self.proposal, len(self.layers), len(self.ranking)
        if count == total:
            return self._no_proposal
        text = f"Keep {count} of {total} layers digital" if count else "No layer need be digital"
        text += f" for the required {self.metric.title} of {self.metric.text(self.required)}"
        if count:
            weights, multiplies = (f"{row[f'{name}_percent']:.1f} %" for name in ("weights", "multiplies"))
            text += f": {weights} of the weights and {multiplies} of the multiplies"
        found, digital = self.confirmation, self.metric.text(self.confirmation_digital)
        return (
            f"{text}. {self.judgement.capitalize()} on {found.chips} other chips: "
            f"{self._with_interval(found.mean, *found.ci)}, {digital} with all layers digital."
        )

    @property
    def _no_proposal(self) -> str:
        """That no set leaves a layer to the crossbar, and how near the best of them comes."""
        total = len(self.ranking)
        sets = self.curve[self.curve["kept"] < total]
        row = sets.iloc[self.metric.best(sets["mean"].to_numpy())]
        low, high = row["ci_low"], row["ci_high"]
        text = (
            "No proposal: no set that leaves a layer to the crossbar is shown to reach the required "
            f"{self.metric.title} of {self.metric.text(self.required)}; all {total} layers digital reach "
            f"{self.metric.text(self.digital)}. The best smaller set, {row['kept']:.0f} of {total} layers, reaches "
            f"{self._with_interval(row['mean'], low, high)} on {row['chips']:.0f} chips"
        )
        contained = "; this interval contains the requirement, so more chips may settle it"
        return f"{text}{contained if low <= self.required <= high else ''}."

    def _with_interval(self, value: float, low: float, high: float) -> str:
        return f"{self.metric.text(value)} [{self.metric.number(low)}, {self.metric.number(high)}]"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        found = self.confirmation
        low, high = (None if math.isnan(end) else end for end in found.ci)
        return {
            "required": self.required,
            "digital": self.digital,
            "layers": list(self.layers),
            "sentence": self.sentence,
            "judgement": self.judgement,
            "confirmation": {"mean": found.mean, "ci_low": low, "ci_high": high, "chips": found.chips},
            "confirmation_digital": self.confirmation_digital,
            "curve": json.loads(self.curve.to_json(orient="records", double_precision=15)),
            "ranking": json.loads(self.ranking.to_json(orient="records", double_precision=15)),
        }


@float32_convolutions()
def keep_digital(
    model: nn.Module,
    batches: Batches,
    crossbar: Hardware,
    *,
    required: float,
    chips: int = 10,
    chip_seed: int = 0,
    time_s: float = 0.0,
    deployment: Deployment | None = None,
    layers: Layers | None = None,
    confirm_on: Batches | None = None,
    rank_by: Ranking = "auto",
    ranking_chips: int = RANKING_CHIPS,
    size: Size = "weights",
    points: int = 10,
    jobs: int | None = None,
    task: TaskLike = None,
    on_set: Callable[[int, int], None] | None = None,
    forward_precision: Precision = "32-true",
) -> KeptDigital:
    """Propose which layers to keep digital, so that a model reaches a required accuracy on a crossbar.

    Layers are ranked by the loss that their errors cost per weight (`rank_layers`). The sets are the first 0, 1, 2, ...
    layers of the ranking; up to `points` of them, and those around the required value, are measured on the chips 0 to
    `chips` - 1. Proposed is the smallest measured set whose 95 % interval reaches the required value as a whole; chips
    that took no part in this choice confirm it. A measured ranking has
    further chips of its own, `ranking_chips` for each layer.

    Args:
        model: The trained model; not modified.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        crossbar: Where the other layers are: a crossbar, or a `Placement`.
        required: The required value of the task's primary metric, such as an accuracy [%].
        chips: Number of chips for each set, and as many others for the confirmation; at least 2.
        chip_seed: Root seed of all chips.
        time_s: Seconds since programming.
        deployment: Converter ranges and compensation; the backend must be native.
        layers: Layers that are not on the crossbar, see `program`; those that are digital stay so.
        confirm_on: Labelled data for the confirmation; None: `batches`.
        rank_by: Whether the cost of a layer is `predicted` or `measured`; `auto` measures what the
            prediction does not contain: read noise, converters, compensation.
        ranking_chips: Number of chips for each layer of a measured ranking, chips of its own; at least 2.
        size: Whether the layers that cost most per `weights` or per `multiplies` come first.
        points: Number of sets of the curve; at least 2.
        jobs: As for `evaluate`.
        task: As for `evaluate`.
        on_set: Called with (number of digital layers, number of layers) before each set is measured.
        forward_precision: As for `evaluate`.

    Raises:
        InputError: if an argument is invalid, or the required value is better than digital weights reach.
        DataError: if there are no images, or labels do not match the outputs.
    """
    require_whole("chips", chips, low=2, high=MAX_CHIPS)
    require_whole("points", points, low=2)
    require_type("deployment", deployment, (Deployment, NoneType), example="a Deployment or None")
    if not isinstance(crossbar, Hardware) or (deployment is not None and deployment.backend != "native"):
        raise InputError("layers are kept digital beside a Crossbar on the native backend; give one.")
    options: ChipOptions = {"chip_seed": chip_seed, "time_s": time_s, "deployment": deployment}
    options |= {"task": task, "layers": layers, "forward_precision": forward_precision}
    base = chip_evaluation(model, batches, crossbar, **options)
    check_jobs(base.model, jobs)
    metric = base.task.primary
    check_required(metric, required)
    digital = replace(base, programmed=frozenset())(0).value
    if metric.is_better(required, digital):
        raise InputError(
            f"the required {metric.title} of {metric.text(required)} is better than the {metric.text(digital)} that "
            "this model reaches with all layers digital; require less, or train another model."
        )
    ranking = rank_layers(model, base, by=rank_by, size=size, chips=ranking_chips, jobs=jobs, first_chip=2 * chips)
    sets = DigitalSets(base, ranking["layer"].tolist(), chips, jobs, on_set)
    kept = smallest_set(sets, required, first_sizes(ranking[size].to_numpy(), points))
    confirming = base if confirm_on is None else replace(base, batches=as_reiterable(confirm_on, base.task))
    confirmation = DigitalSets(confirming, sets.order, chips, jobs, on_set).measure(kept, first=chips)
    return KeptDigital(
        metric=metric,
        required=required,
        digital=digital,
        layers=tuple(sets.order[:kept]),
        ranking=ranking,
        curve=_curve(sets, ranking),
        confirmation=confirmation,
        confirmation_digital=replace(confirming, programmed=frozenset())(0).value,
        judgement="no proposal" if kept == len(sets.order) else _judge(confirmation, required),
    )


def check_required(metric: PrimaryMetric, required: float) -> None:
    """Raise InputError for a value that the metric cannot have, or a fraction in place of a percentage."""
    require_finite(f"required {metric.title}", required, low=metric.bounds[0], high=metric.bounds[1])
    if metric.unit == "%" and 0 < required <= 1:
        raise InputError(
            f"the required {metric.title} is in percent: write {exact_text(100 * required)}, "
            f"not {exact_text(required)}."
        )


def _judge(estimate: Estimate, required: float) -> Judgement:
    worst, best = interval_ends(estimate)
    if not estimate.metric.is_better(required, worst):
        return "confirmed"
    return "refuted" if estimate.metric.is_better(required, best) else "not settled"


def _curve(sets: DigitalSets, ranking: pd.DataFrame) -> pd.DataFrame:
    shares = {
        f"{name}_percent": np.concatenate([[0.0], 100.0 * ranking[name].cumsum() / max(ranking[name].sum(), 1)])
        for name in ("weights", "multiplies")
    }
    rows = []
    for kept, estimate in sorted(sets.estimates.items()):
        low, high = estimate.ci
        rows.append(
            {"kept": kept}
            | {name: float(values[kept]) for name, values in shares.items()}
            | {"mean": estimate.mean, "ci_low": low, "ci_high": high}
            | {"sd_noise": estimate.sd_noise, "chips": estimate.chips}
        )
    return pd.DataFrame(rows)
