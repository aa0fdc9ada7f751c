"""What the statistical words of the pages mean: each is explained here, for all pages."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from aimc_robust.hardware.config.deployment import Compensation
from aimc_robust.report.metric_text import at_least, best_mean, threshold_text
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.targets.target import CrossbarTarget, Target, compensation_suffix

COMPENSATIONS: dict[Compensation, str] = {
    "drift": "global drift compensation",
    "batchnorm": "BatchNorm recalibrated on the chip",
}

SETTLED = (
    "A difference is settled if its p value is below 0.05 after Holm's correction for all comparisons of the page, so "
    "that with 95 % confidence none of the settled differences is due to chance. Differences are paired by training "
    "seed and chip."
)
SINGLE = "The intervals of differences are single ones, not corrected."
OF_A_METHOD = "the models of the same method or label"
SD_NOISE = f"**sd_noise**: standard deviation over the chips of one trained model, averaged over {OF_A_METHOD}."
SD_SEED = "**sd_seed**: standard deviation over the trained models of their means."
WITHOUT_NOISE = (
    "**without noise**: sd_seed after subtracting the variance that a finite number of chips adds to the differences "
    "between models; this unbiased estimate of the variance can be negative (`var_seed` in summary.csv)."
)
SKEWED = (
    "**skewed**: interval that allows for the chips' skewness, shown where it exceeds 1 (Hall's transformation; "
    "`skewness` in summary.csv): it covers better than the first one."
)


def mean(metric: PrimaryMetric) -> str:
    """Explain the mean of a metric."""
    unit = {"%": " in percent", "": ""}.get(metric.unit, f" in {metric.unit}")
    lower = "" if metric.is_higher_better else " Lower is better."
    chips = "averaged over the chips of each trained model"
    return f"**mean**: {metric.title}{unit}, {chips}, then over {OF_A_METHOD}.{lower}"


def reached(metric: PrimaryMetric) -> str:
    """Explain the value that 95 % of the chips reach."""
    return f"**reached by 95 % of chips**: 95 % of the chips have {at_least(metric)} this {metric.title}."


def interval(metric: PrimaryMetric, estimates: Iterable[Estimate], *, two_stage: bool = False) -> str:
    """Explain the 95 % interval of means; `two_stage`: chips were added until it was narrow enough."""
    estimates = list(estimates)
    kinds = {estimate.ci_covers for estimate in estimates}
    chips = "Student t over the chips"
    if two_stage:
        chips = (
            "Stein's two-stage interval: ten pilot chips determine the number of chips, so stopping early does not "
            "reduce the coverage"
        )
    models = "newly trained models of the same recipe and further chips"
    scope = f"{models} where several models were trained, and chips only where one was ({chips})"
    if kinds == {"models"}:
        scope = f"{models} (all models meet the same chips, and the interval accounts for that)"
    elif kinds == {"chips"}:
        scope = f"chips only, not another training, because one model was trained ({chips})"
    term = "**95 % interval**, in brackets: confidence interval of the mean."
    no_width = any(low == high for low, high in (estimate.ci for estimate in estimates))
    equal = " One without width says that all values are equal, not that others are impossible." if no_width else ""
    return f"{term} It covers {scope}.{_ends(metric)}{equal}"


def _ends(metric: PrimaryMetric) -> str:
    ends = " and ".join(f"{end:g}" for end in metric.bounds if math.isfinite(end))
    return f" It ends at {f'{ends} {metric.unit}'.rstrip()}." if ends else ""


def ranks(metric: PrimaryMetric, baselines: Collection[str], *, same_data: bool) -> str:
    """Explain the marks of the methods; `same_data`: only methods with the same data are compared."""
    group = " among the methods with the same data" if same_data else ""
    best = f"**best**: {best_mean(metric)} on a target{group}."
    if not baselines:
        return best
    return (
        f"{best} **better**, **worse**: the difference from the baseline ({', '.join(baselines)}) is settled. "
        "**unpaired**: no training seed in common with the baseline."
    )


def settled(comparisons: int) -> str:
    """Explain when a difference is settled on a page with this number of comparisons."""
    return f"**settled**: {SETTLED} This page makes {comparisons} comparisons. {SINGLE}"


def chip_yield(metric: PrimaryMetric, threshold: float, *, two_stage: bool, replicated: bool) -> str:
    """Explain the yield at a threshold; `replicated`: some label has several models."""
    limit = "; that interval is exact for a fixed number of chips" if two_stage else ""
    passing = f"{at_least(metric)} {threshold_text(metric, threshold)}"
    common = (
        " Of several models: the mean of their shares, with the interval of as many chips as one model has, because "
        "all models meet the same chips; it covers further chips of these models."
    )
    return (
        f"**yield**: share of the chips whose {metric.title} is {passing}, with its exact binomial (Clopper-Pearson) "
        f"interval; none with a single chip, as of digital weights, where nothing is random{limit}."
        f"{common if replicated else ''}"
    )


def compensations(targets: Iterable[Target]) -> list[str]:
    """Explain the names of targets with a digital correction, each kind once."""
    corrected = [target for target in targets if isinstance(target, CrossbarTarget) and target.corrects is not None]
    return [compensation(names) for names in dict.fromkeys(target.deployment.compensation for target in corrected)]


def compensation(names: Sequence[Compensation]) -> str:
    """Explain what the name of a target with these compensations ends in."""
    corrections = " and ".join(COMPENSATIONS[name] for name in names)
    return f"**{compensation_suffix(names)}** after the name of another target: with {corrections}, on the same chips."


def better_sign(metric: PrimaryMetric) -> str:
    """Say which sign of a difference is an improvement, where it is not the positive one; else empty."""
    return "" if metric.is_higher_better else "Lower is better: a negative difference is in favour of the first side. "


def corrected_p(metric: PrimaryMetric, items: str, *, over: str) -> str:
    """Explain the p values of a table of paired differences of these items; `over`: what the test pairs."""
    return (
        f"Both sides of a difference use the same chips and {items}, so common variation cancels. "
        f"{better_sign(metric)}**p**: two-sided test of the paired differences, over {over}. **p, corrected**: by "
        f"Holm's method for all rows of the table. **settled**: {SETTLED} {SINGLE} **unpaired**: no training seed in "
        "common."
    )


def sampling_note(
    metric: PrimaryMetric, items: str, counts: Collection[int], half_widths: Collection[float]
) -> str | None:
    """Say how much another test set would change means with these 95 % half-widths [points]; None if not known."""
    if not half_widths or not metric.is_proportion:
        return None
    widths = " to ".join(dict.fromkeys(f"±{width:.1f}" for width in (min(half_widths), max(half_widths))))
    return (
        f"The results hold for these {' and '.join(map(str, counts))} test {items}. Another test set of this size "
        f"would change a mean {metric.title} by {widths} points (95 %, binomial; more near 50 %)."
    )
