"""Tables made from rows."""

import pandas as pd

from aimc_robust.evaluation.estimate import AccuracyEstimate

COLUMNS = ["method", "seed", "target", "backend", "time_s", "chip", "accuracy", "loss", "n"]


def estimates(frame: pd.DataFrame) -> dict[tuple[str, str], AccuracyEstimate]:
    """(method, target) -> estimate, in the order of the rows."""
    groups = frame.groupby(["method", "target"], sort=False)
    return {key: AccuracyEstimate(rows) for key, rows in groups}


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per method and target: mean, both deviations, 95 % interval, chips, seeds (accuracies in percent)."""
    rows = [
        {
            "method": method,
            "target": target,
            "time_s": estimate.table["time_s"].iloc[0],
            "mean": estimate.mean,
            "sd_noise": estimate.sd_noise,
            "sd_seed": estimate.sd_seed,
            "ci_low": estimate.ci[0],
            "ci_high": estimate.ci[1],
            "chips": estimate.chips,
            "seeds": estimate.seeds,
        }
        for (method, target), estimate in estimates(frame).items()
    ]
    columns = ["method", "target", "time_s", "mean", "sd_noise", "sd_seed", "ci_low", "ci_high", "chips", "seeds"]
    return pd.DataFrame(rows, columns=columns)
