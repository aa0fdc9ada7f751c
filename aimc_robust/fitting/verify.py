"""Check by simulation that cells behave as a device states, with a stated false-alarm rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.curves import round_times_s
from aimc_robust.devices.library import load_cell_model
from aimc_robust.devices.limits import require_time, time_text
from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.fitting.checks import Check, independence_checks, read_checks, state_checks, stuck_checks
from aimc_robust.fitting.simulated_cells import simulate_cells
from aimc_robust.fitting.stated_states import stated_states
from aimc_robust.seeding import Axes

CHIPS, TARGETS = 4, 7
SHOWN_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All checks of a device.

    Attributes:
        device: The device.
        alpha: Probability that a right implementation fails, over all checks together.
        cells: Number of cells for each target on each chip.
        times_s: Times that were checked [s].
        checks: The checks.
    """

    device: CellModel
    alpha: float
    cells: int
    times_s: tuple[float, ...]
    checks: tuple[Check, ...]

    @property
    def smallest_p(self) -> float:
        """Smallest p value with Bonferroni's correction, at most 1."""
        return min(1.0, min(check.p for check in self.checks) * len(self.checks))

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks whose corrected p value is below alpha, or NaN."""
        return tuple(check for check in self.checks if not check.p * len(self.checks) >= self.alpha)

    @property
    def verified(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    def sentence(self) -> str:
        """Summarize the result in one sentence."""
        count = len(self.checks)
        if self.verified:
            return (
                f"{self.device.name} verified at alpha = {self.alpha:g}: {count} checks, smallest corrected p = "
                f"{self.smallest_p:.2g}"
            )
        named = "; ".join(_check_text(check, self.device.unit) for check in self.failed[:SHOWN_FAILURES])
        more = len(self.failed) - SHOWN_FAILURES
        return (
            f"{self.device.name} NOT verified at alpha = {self.alpha:g}: {len(self.failed)} of {count} checks failed: "
            f"{named}{f'; and {more} more' if more > 0 else ''}"
        )


def verify_card(
    device: CellModel | type[CellModel] | str | Path | dict[str, Any],
    *,
    alpha: float = 0.01,
    cells: int = 2000,
    times_s: Sequence[float] | None = None,
    chip_seed: int = 0,
) -> Verification:
    """Compare simulated cells with what a card or a cell model in Python states.

    Cells are programmed by `program`, as any network is: `cells` for each of 7 targets on each of 4 chips. Compared
    with the device's own `programming_std`, `age` and `read_std`, clips and fractions of stuck cells: mean and
    standard deviation at each target and time, and of the change from time to time, which shows that a cell drifts
    along one trajectory; the distribution at the first and last time; the noise of every read; independence of cells,
    targets and chips. A cell model that draws random numbers of its own, or whose cells influence each other, fails.

    Args:
        device: The device; see `load_cell_model`.
        alpha: Probability that a right implementation fails, over all checks together (Bonferroni's correction).
        cells: Number of cells for each target on each chip.
        times_s: Seconds since programming; None: times that the device's drift covers.
        chip_seed: Root seed of the chips.

    Returns:
        All checks.

    Raises:
        InputError: If an argument is invalid.
    """
    cell = load_cell_model(device)
    require_finite("alpha", alpha, low=1e-9, high=0.5)
    require_whole("cells", cells, low=200, high=1_000_000)
    times = _times_s(cell, times_s)
    simulated = simulate_cells(cell, targets=TARGETS, cells=cells, chips=CHIPS, times_s=times, chip_seed=chip_seed)
    rng = np.random.default_rng(Axes(chip_seed).at(effect="verify").seed())
    checks = state_checks(simulated, stated_states(cell, simulated.targets, times), rng)
    checks += independence_checks(simulated.states[0])
    checks += read_checks(cell, simulated)
    checks += stuck_checks(cell, simulated)
    return Verification(device=cell, alpha=alpha, cells=cells, times_s=times, checks=tuple(checks))


def _check_text(check: Check, unit: str) -> str:
    where = f" of target {check.target:.4g} {unit}" if check.target is not None else ""
    when = f" at {time_text(check.time_s)}" if check.time_s is not None else ""
    return f"{check.name}{where}{when}: expected {check.expected:.5g}, observed {check.observed:.5g}"


def _times_s(cell: CellModel, times_s: Sequence[float] | None) -> tuple[float, ...]:
    """Time 0 and the others, rising."""
    if times_s is not None:
        for time_s in times_s:
            require_time(time_s)
        if not cell.depends_on_time and any(times_s):
            raise InputError(f"{cell.name} has no drift, so only time 0 can be verified; leave out times_s.")
        return tuple(sorted({0.0, *map(float, times_s)}))
    if cell.drift_limits_s is None:
        return (0.0, 3600.0) if cell.depends_on_time else (0.0,)
    times = round_times_s(cell)
    return 0.0, *sorted({times[len(times) // 3], times[2 * len(times) // 3], times[-1]} - {0.0})
