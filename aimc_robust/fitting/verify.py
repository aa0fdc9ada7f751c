"""Check by simulation that the implementation reproduces a card's statistics, with a stated rate of false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aimc_robust.devices.card import Card
from aimc_robust.devices.library import load_card
from aimc_robust.devices.limits import require_time, time_text
from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.fitting.checks import (
    Check,
    ageing_checks,
    independence_checks,
    read_checks,
    state_checks,
    stuck_checks,
)
from aimc_robust.fitting.reference import Reference
from aimc_robust.fitting.simulated import simulate
from aimc_robust.seeding import Axes

CHIPS, TARGETS = 4, 7


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All checks of a card; `failed` are those whose corrected p value (Bonferroni) is below alpha."""

    card: Card
    alpha: float
    cells: int
    times_s: tuple[float, ...]
    checks: tuple[Check, ...]

    @property
    def smallest_p(self) -> float:
        """The smallest p value, times the number of checks, at most 1."""
        return min(1.0, min(check.p for check in self.checks) * len(self.checks))

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed; one whose p value is not a number did."""
        return tuple(check for check in self.checks if not check.p * len(self.checks) >= self.alpha)

    @property
    def verified(self) -> bool:
        return not self.failed

    def sentence(self) -> str:
        """The verdict in one sentence."""
        count = len(self.checks)
        if self.verified:
            return (
                f"{self.card.name} verified at alpha = {self.alpha:g}: {count} checks, smallest corrected p = "
                f"{self.smallest_p:.2g}"
            )
        named = "; ".join(check_text(check, self.card.unit) for check in self.failed[:5])
        more = f"; and {len(self.failed) - 5} more" if len(self.failed) > 5 else ""
        return (
            f"{self.card.name} NOT verified at alpha = {self.alpha:g}: {len(self.failed)} of {count} checks failed: "
            f"{named}{more}"
        )


def check_text(check: Check, unit: str) -> str:
    """A check in words."""
    where = f" of target {check.target:.4g} {unit}" if check.target is not None else ""
    when = f" at {time_text(check.time_s)}" if check.time_s is not None else ""
    return f"{check.what}{where}{when}: expected {check.expected:.5g}, found {check.found:.5g}"


def verify_card(
    device: Card | str | Path | dict[str, Any],
    *,
    alpha: float = 0.01,
    cells: int = 2000,
    times_s: Sequence[float] | None = None,
    seed: int = 0,
) -> Verification:
    """Hold simulated cells of a card against an independent reference of its formulas (`fitting.reference`).

    Cells are programmed by `program`, as any network is: `cells` for each of 7 targets on each of 4 chips. Checked at
    each target and time: mean, variance (with the reference's own fourth moment), at time 0 and the last also the
    distribution; read noise of every read; that cells, targets and chips are independent; that a chip ages on one
    trajectory, drawn as the card says; the fractions of stuck cells.
    alpha: the probability that a right implementation fails, over all checks together (Bonferroni's correction).
    times_s: since programming [s]; None: times that the card's drift covers. seed: of the chips.
    Raises InputError for arguments that cannot be.
    """
    card = load_card(device)
    require_finite("alpha", alpha, low=1e-9, high=0.5)
    require_whole("cells", cells, low=200, high=1_000_000)
    times = _times(card, times_s)
    found = simulate(card, targets=TARGETS, cells=cells, chips=CHIPS, times_s=times, seed=seed)
    rng = np.random.default_rng(Axes(seed).at(effect="verify").seed())
    references = [[Reference(card, float(target), t) for target in found.targets] for t in times]
    scores, checks = state_checks(found, references, rng)
    checks += independence_checks(scores)
    checks += ageing_checks(found, references, scores)
    checks += read_checks(card, found)
    checks += stuck_checks(card, found)
    return Verification(card=card, alpha=alpha, cells=cells, times_s=times, checks=tuple(checks))


def _read_noise_grows(card: Card) -> bool:
    return hasattr(card.read, "t_read_s")


def _times(card: Card, times_s: Sequence[float] | None) -> tuple[float, ...]:
    """Time 0 and the others, rising."""
    if times_s is not None:
        for time_s in times_s:
            require_time(time_s)
        if card.drift is None and not _read_noise_grows(card) and any(times_s):
            raise InputError(f"{card.name} has no drift, so no time but 0 can be verified; leave times away.")
        return tuple(sorted({0.0, *map(float, times_s)}))
    drift = card.drift
    if drift is None:
        return (0.0, 3600.0) if _read_noise_grows(card) else (0.0,)
    if drift.kind == "table":
        at = [row.time_s for row in drift.at]
        log = drift.interpolation == "log"
        between = [(a * b) ** 0.5 if log else (a + b) / 2.0 for a, b in (at[:2], at[-2:])]
        return tuple(sorted({0.0, *between, at[len(at) // 2], at[-1]}))
    last = drift.limits_s[1]
    return (0.0, last ** (1.0 / 3.0), last ** (2.0 / 3.0), last)
