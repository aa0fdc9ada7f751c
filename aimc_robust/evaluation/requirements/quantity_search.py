"""Search and confirm the largest tolerable level of one quantity after another, and of all together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aimc_robust.evaluation.requirements.budget import ErrorBudget
from aimc_robust.evaluation.requirements.quantities import (
    QUANTITIES,
    Setting,
    alternatives_removed,
    budget_at,
    geometric_levels,
)
from aimc_robust.evaluation.requirements.search import LevelSearch, Passes, confirm
from aimc_robust.evaluation.requirements.simulator import Simulator
from aimc_robust.statistics.binomial import yield_bounds

TOGETHER = "together"
SCALES = geometric_levels(1.0, 1 / 64)
START_LEVEL, START_BITS = 0.03, 8  # where nothing is predicted
JUMP, BITS_JUMP = 8, 2  # first steps of a search, in levels


@dataclass(kw_only=True)
class QuantitySearch:
    """Finds the largest tolerable levels by simulation, each search from where the second order says.

    Attributes:
        simulator: Simulates the chips.
        setting: What the quantities depend on.
        chips: Number of chips of each search, and as many others of each confirmation.
        allowed: How many of them may fail.
        growth: c of each quantity in `loss = clean loss + c level**grows`, see `second_order.growth`.
        excess: Growth of the loss at the level that was found for the first of these quantities; before that a guess.
        is_template_random: Whether chips differ even without a budget, by noise of the periphery.
    """

    simulator: Simulator
    setting: Setting
    chips: int
    allowed: int
    growth: dict[str, float]
    excess: float
    is_template_random: bool
    is_excess_measured: bool = False

    def row(self, name: str) -> dict[str, Any]:
        """Search and confirm one quantity; return its row of `DeviceRequirements.table`."""
        quantity = QUANTITIES[name]
        levels = quantity.levels[1:] if quantity.effect == "adc" and self._has_sign_bit else quantity.levels
        factor = self.growth.get(name)
        expected = math.nan if factor is None else (self.excess / factor) ** (1.0 / quantity.grows)
        row = self._search(
            {"quantity": name, "title": quantity.title, "unit": quantity.unit},
            lambda level: budget_at({name: level}, self.setting),
            levels,
            start=(START_BITS if quantity.is_bits else START_LEVEL) if math.isnan(expected) else expected,
            jump=BITS_JUMP if quantity.is_bits else JUMP,
            is_random=quantity.differs_between_chips(self.setting),
        )
        row["predicted"] = expected if self.is_excess_measured else math.nan
        if row["level"] == quantity.levels[0] and not quantity.is_bits:
            row["status"] = "no limit"
        if not self.is_excess_measured and factor is not None and row["found"] > 0 and not quantity.predicted_as:
            self.excess, self.is_excess_measured = factor * row["found"] ** quantity.grows, True
        return row

    def together(self, rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any] | None, dict[str, float]]:
        """Search and confirm the factor on the standard deviations of the confirmed levels when all act at once.

        Returns:
            Its row of the table, None if fewer than two effects have a level; and the scaled level of each quantity.
        """
        found = {row["quantity"]: row["level"] for row in rows if row["status"] in ("confirmed", "exact")}
        chosen = alternatives_removed({name: QUANTITIES[name] for name in found})
        if len(chosen) < 2:
            return None, {}

        def levels(scale: float) -> dict[str, float]:
            return {name: quantity.scaled(found[name], scale) for name, quantity in chosen.items()}

        start = 1.0 / math.sqrt(len(chosen))
        row = self._search(
            {"quantity": TOGETHER, "title": "all of these errors together", "unit": "x the levels alone"},
            lambda scale: budget_at(levels(scale), self.setting),
            SCALES,
            start=start,
            jump=JUMP // 2,
            is_random=any(quantity.differs_between_chips(self.setting) for quantity in chosen.values()),
        )
        row["predicted"] = start
        return row, {} if math.isnan(row["level"]) else levels(row["level"])

    @property
    def _has_sign_bit(self) -> bool:
        """Whether one bit of the template's ADCs is a sign, which is too few."""
        (template,) = set(self.simulator.hardware.crossbars)
        adc = template.periphery.adc
        return adc is not None and adc.kind == "sign-magnitude"

    def _search(
        self,
        names: dict[str, Any],
        budget: Callable[[float], ErrorBudget],
        levels: Sequence[float],
        *,
        start: float,
        jump: int,
        is_random: bool,
    ) -> dict[str, Any]:
        is_random = is_random or self.is_template_random
        search_on = range(self.chips) if is_random else range(1)
        confirm_on = range(self.chips, 2 * self.chips) if is_random else search_on
        allowed = self.allowed if is_random else 0
        passes = self._passes(budget, levels)
        nearest = min(range(len(levels)), key=lambda k: abs(math.log(levels[k] / start)))
        found = LevelSearch(passes, len(levels), search_on, allowed).hardest(nearest, jump)
        row = names | {"level": math.nan, "found": math.nan, "passing": 0, "chips": 0, "yield_bound": math.nan}
        if found is None:
            return row | {"status": "not met"}
        row["found"] = float(levels[found])
        confirmed = confirm(passes, found, levels=len(levels), chips=confirm_on, allowed=allowed)
        if confirmed is None:
            return row | {"status": "not confirmed"}
        row |= {"level": float(levels[confirmed.level]), "passing": confirmed.passing, "chips": confirmed.chips}
        if not is_random:
            return row | {"status": "exact"}
        return row | {
            "yield_bound": 100.0 * yield_bounds(confirmed.passing, confirmed.chips)[0],
            "status": "confirmed",
        }

    def _passes(self, budget: Callable[[float], ErrorBudget], levels: Sequence[float]) -> Passes:
        def passes(level: int, chips: Sequence[int]) -> list[bool]:
            return self.simulator.passes(self.simulator.losses_within(budget(levels[level]), chips))

        return passes
