"""Tables made from rows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate

COLUMNS = ["method", "seed", "target", "backend", "time_s", "chip", "accuracy", "loss", "n"]


def group_estimates(frame: pd.DataFrame) -> dict[tuple[str, str], AccuracyEstimate]:
    """(method, target) -> estimate, in the order of the rows."""
    numbers = frame.groupby(["method", "target"], sort=False).ngroup().to_numpy()
    order = np.argsort(numbers, kind="stable")
    # Slices of a table in order: a hundredth of what taking rows group by group costs.
    ordered, firsts = frame.iloc[order], np.flatnonzero(np.diff(numbers[order], prepend=-1))
    keys = zip(ordered["method"].iloc[firsts], ordered["target"].iloc[firsts], strict=True)
    ends = [*firsts[1:], len(frame)][: len(firsts)]
    return {key: AccuracyEstimate(ordered.iloc[a:b]) for key, a, b in zip(keys, firsts, ends, strict=True)}


def summary_table(found: Mapping[tuple[str, str], AccuracyEstimate]) -> pd.DataFrame:
    """A row per method and target: mean, both deviations, 95 % interval, chips, seeds (accuracies in percent)."""
    rows = [
        {
            "method": method,
            "target": target,
            "time_s": estimate.table["time_s"].iat[0],
            "mean": estimate.mean,
            "sd_noise": estimate.sd_noise,
            "sd_seed": estimate.sd_seed,
            "ci_low": estimate.ci[0],
            "ci_high": estimate.ci[1],
            "chips": estimate.chips,
            "seeds": estimate.seeds,
        }
        for (method, target), estimate in found.items()
    ]
    columns = ["method", "target", "time_s", "mean", "sd_noise", "sd_seed", "ci_low", "ci_high", "chips", "seeds"]
    return pd.DataFrame(rows, columns=columns)
