"""How many trained models settle a difference of a given size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

import pandas as pd
from scipy import special

from aimc_robust.errors import InputError
from aimc_robust.statistics.estimate_keys import Key
from aimc_robust.statistics.paired_difference import Comparison, PairedDifference
from aimc_robust.statistics.t_interval import LEVEL, t_quantile

POWER = 0.8
MOST_SEEDS = 100


def power_of(pilot: PairedDifference, size: float, seeds: int, comparisons: int) -> float:
    """Return the probability that a true difference is settled by so many trained models, on the pilot's chips.

    The level is that of the first step of Holm's correction, LEVEL / comparisons, which later steps only relax. The
    error of the mean has the pilot's variance between models over `seeds`, and a part of its chips, which more models
    do not reduce.

    Args:
        pilot: A difference of the same two methods, with at least two models.
        size: True difference, in the metric's unit.
        seeds: Number of trained models of each method, at least 2.
        comparisons: Number of comparisons of the page.
    """
    error, level = pilot.error, LEVEL / comparisons
    chips = max(error.chip_variance - error.noise_variance, 0.0)
    variance, df = error.variance * pilot.seeds / seeds + chips, seeds - 1
    if variance == 0.0:
        return 1.0  # all models of the pilot agree
    quantile = t_quantile(min(df, error.chip_df) if chips else df, level)
    return 1.0 - float(special.nctdtr(df, size / math.sqrt(variance), quantile))


def seeds_to_settle(pilot: PairedDifference, size: float, comparisons: int, *, power: float = POWER) -> int | None:
    """Return the fewest trained models that settle a true difference with the given probability.

    None: no number up to `MOST_SEEDS` does (more chips may), or the pilot has one model and does not show the spread.

    Raises:
        InputError: if `size` is not positive.
    """
    if not 0.0 < size < math.inf:
        raise InputError(f"the difference to settle must be above 0, in the metric's unit, got {size}.")
    if pilot.seeds < 2 or not math.isfinite(pilot.error.variance):
        return None
    enough = (n for n in range(2, MOST_SEEDS + 1) if power_of(pilot, size, n, comparisons) >= power)
    return next(enough, None)


def seeds_table(comparisons: Mapping[tuple[Key, Key], Comparison], size: float) -> pd.DataFrame:
    """Compute how many trained models settle a difference of `size` on each target, by the spread of a pilot.

    Args:
        comparisons: All comparisons of a page, from `compare_pairs`; their number is part of the correction.
        size: True difference to settle, in the metric's unit.

    Returns:
        A row per target: `target`, `pairs` (comparisons on it), `sd` (between models, of the median pair), and the
        seeds that settle the difference with a probability of `POWER` for the median pair and for the most uncertain
        one, `seeds_median` and `seeds_largest`; infinite where `seeds_to_settle` is None.
    """
    rows: dict[str, list[tuple[float, float]]] = {}
    for (first, _), comparison in comparisons.items():
        if (pilot := comparison.difference) is not None and pilot.seeds > 1:
            seeds = seeds_to_settle(pilot, size, len(comparisons)) or math.inf
            rows.setdefault(first[1], []).append((math.sqrt(pilot.error.variance * pilot.seeds), seeds))
    columns = ["target", "pairs", "sd", "seeds_median", "seeds_largest"]
    # The upper of two middle values: half of a model is not trained, and infinity has no mean.
    middle = {target: sorted(n for _, n in values)[len(values) // 2] for target, values in rows.items()}
    return pd.DataFrame(
        [
            [target, len(values), statistics.median(sd for sd, _ in values), middle[target], max(n for _, n in values)]
            for target, values in rows.items()
        ],
        columns=columns,
    )
