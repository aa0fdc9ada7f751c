"""What device requirements are: levels of quantities, a budget of all errors together, devices that meet them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from aimc_robust.devices.card import Card
from aimc_robust.evaluation.requirements.budget import ErrorBudget
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.statistics.primary_metric import PrimaryMetric


@dataclass(frozen=True, kw_only=True)
class DeviceRequirements:
    """The largest errors with which a model loses at most a given drop on a required share of chips.

    Each level of `table` is for this error alone, all else as in the template; `together` is for all of them at once.
    A level is confirmed on chips that took no part in its choice: with a confidence of 95 % each, not for all
    statements jointly, at least `required_yield` of further chips lose at most `drop` on these data.

    Attributes:
        metric: The primary metric.
        digital: Its value with digital weights.
        examples: Number of items that it is of.
        items: What these are, in the plural, such as `images`.
        device_count: Number of devices that hold the model.
        drop: The allowed drop, in points of a percentage or in the metric's unit.
        required_yield: Required share of chips, 0 to 1.
        chips: Number of chips of each search, and as many others of each confirmation.
        allowed_failures: How many of them may lose more.
        time_s: Seconds since programming, for drift.
        t0_s: Seconds from the programming pulse to time 0, see `PowerLawDrift`.
        drift_spread: Standard deviation of the drift exponent over devices, in units of its mean.
        template: The crossbar that the device is for.
        table: One row per quantity: its name `quantity`, `title`, `unit` of the level; `level`, the confirmed
            level, NaN if none is; `found`, that of the search; `predicted` to second order from the loss at the level
            of the first quantity, NaN where it is not; `passing` of the `chips` of the confirmation, `yield_bound`
            [percent], the lower 95 % bound of the yield; and `status`. `confirmed`: see above. `exact`: the same on all
            chips, so that one was measured. `no limit`: the largest level of the search is tolerated. `not met`: no
            level is. `not confirmed`: the level that was found failed on other chips, with all easier ones that were
            tried. The column `together` is the level in the budget of all errors; the last row is that budget's scale.
        together: The confirmed budget of all errors together; None if it was not asked for, or none is confirmed.
        scale: Factor on the standard deviations of the levels alone that it has: its errors have `scale`**2 of their
            variances.
        states: The programming error over the state, a row per bin, see `state_sensitivities`; with `std`, the
            confirmed budget curve as a fraction of the window's top. None without the quantity `programming-curve`.
        devices: One row per device that was judged, see `judge_devices`.
    """

    metric: PrimaryMetric
    digital: float
    examples: int
    items: str
    device_count: int
    drop: float
    required_yield: float
    chips: int
    allowed_failures: int
    time_s: float
    t0_s: float
    drift_spread: float
    template: Crossbar
    table: pd.DataFrame
    together: ErrorBudget | None
    scale: float
    states: pd.DataFrame | None
    devices: pd.DataFrame

    def level(self, quantity: str) -> float:
        """Return the confirmed level of a quantity; NaN if none is."""
        return float(self.table.set_index("quantity").at[quantity, "level"])

    def card(self) -> Card | None:
        """Return a device with all errors of `together`, as a card; None without it."""
        return None if self.together is None else self.together.card(self.template, t0_s=self.t0_s)

    @property
    def sentence(self) -> str:
        """What the levels stand for."""
        metric = self.metric
        drop = f"{metric.number(self.drop)} {metric.difference_unit}".rstrip()
        return (
            f"At least {100 * self.required_yield:g} % of chips lose at most {drop} of {metric.title} against the "
            f"{metric.text(self.digital)} of digital weights."
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        window = self.template.device.programming_window
        return {
            "metric": self.metric.name,
            "digital": self.digital,
            "examples": self.examples,
            "device_count": self.device_count,
            "drop": self.drop,
            "required_yield": self.required_yield,
            "chips": self.chips,
            "allowed_failures": self.allowed_failures,
            "time_s": self.time_s,
            "t0_s": self.t0_s,
            "drift_spread": self.drift_spread,
            "window": list(window),
            "unit": self.template.device.cell.unit,
            "quantities": records(self.table),
            "together": None if self.together is None else asdict(self.together) | {"scale": self.scale},
            "states": None if self.states is None else records(self.states),
            "devices": records(self.devices),
        }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as plain values, with None for NaN."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows
