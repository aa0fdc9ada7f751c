"""The difference of two methods on the same trained-model seeds, chips and images."""

from dataclasses import dataclass

from aimc_robust.errors import InputError
from aimc_robust.evaluation.estimate import AccuracyEstimate, t_interval


@dataclass(frozen=True)
class PairedDifference:
    """mean and 95 % interval of first - second [percentage points], over the `seeds` trained models of each."""

    mean: float
    ci: tuple[float, float]
    seeds: int

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out 0; False where there is none, or where too few values gave it no width."""
        low, high = self.ci
        return low < high and (low > 0 or high < 0)


def paired_difference(first: AccuracyEstimate, second: AccuracyEstimate) -> PairedDifference:
    """Paired by (seed, chip): what both share, such as a bad chip, cancels.

    The interval is that of `AccuracyEstimate.ci`, on the differences: over models, or over chips with one model.
    Raises InputError when the two share no pair. Source: Miller, Adding error bars to evals, arXiv 2411.00640.
    """
    keys = ["seed", "chip"]
    pairs = first.table[[*keys, "accuracy"]].merge(second.table[[*keys, "accuracy"]], on=keys)
    if pairs.empty:
        raise InputError("the two estimates share no (seed, chip) pair; evaluate both on the same seeds and chips.")
    pairs["difference"] = pairs["accuracy_x"] - pairs["accuracy_y"]
    per_model = pairs.groupby("seed")["difference"].mean()
    values = per_model if len(per_model) > 1 else pairs["difference"]
    return PairedDifference(float(per_model.mean()), t_interval(values.to_numpy()), len(per_model))
