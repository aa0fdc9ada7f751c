"""What the statistical words of the pages mean: each is explained here, for all pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from aimc_robust.statistics.estimate import Estimate

SETTLED = (
    "A difference is settled if its p value is below 0.05 after Holm's correction for all comparisons of the page, so "
    "that with 95 % confidence none of the settled differences is due to chance. Differences are paired by training "
    "seed and chip."
)
SINGLE = "The intervals of differences are single ones, not corrected."
OF_A_METHOD = "the models of the same method or label"
MEAN = f"**mean**: accuracy in percent, averaged over the chips of each trained model, then over {OF_A_METHOD}."
SD_NOISE = f"**sd_noise**: standard deviation over the chips of one trained model, averaged over {OF_A_METHOD}."
SD_SEED = "**sd_seed**: standard deviation over the trained models of their mean accuracies."
WITHOUT_NOISE = (
    "**without noise**: sd_seed after subtracting the variance that a finite number of chips adds to the differences "
    "between models; this unbiased estimate of the variance can be negative (`var_seed` in summary.csv)."
)
SKEWED = (
    "**skewed**: interval that allows for the chips' skewness, shown where it exceeds 1 (Hall's transformation; "
    "`skewness` in summary.csv): it covers better than the first one."
)
QUANTILE = "**5 % quantile**: 5 % of the chips have a lower accuracy."


def interval(estimates: Iterable[Estimate], *, two_stage: bool = False) -> str:
    """Explain the 95 % interval of mean accuracies; `two_stage`: chips were added until it was narrow enough."""
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
    return f"{term} It covers {scope}. It ends at 0 and 100 %."


def ranks(baselines: Collection[str], *, same_images: bool) -> str:
    """Explain the marks of the methods; `same_images`: only methods with the same images are compared."""
    group = " among the methods with the same images" if same_images else ""
    best = f"**best**: highest mean on a target{group}."
    if not baselines:
        return best
    return (
        f"{best} **above**, **below**: the difference from the baseline ({', '.join(baselines)}) is settled. "
        "**unpaired**: no training seed in common with the baseline."
    )


def settled(comparisons: int) -> str:
    """Explain when a difference is settled on a page with this number of comparisons."""
    return f"**settled**: {SETTLED} This page makes {comparisons} comparisons. {SINGLE}"


def chip_yield(threshold: float, *, two_stage: bool) -> str:
    """Explain the yield at a threshold [percent]."""
    limit = "; that interval is exact for a fixed number of chips" if two_stage else ""
    return (
        f"**yield**: share of the chips with at least {threshold:g} % accuracy, with its exact binomial "
        "(Clopper-Pearson) interval; none with a single chip, as of digital weights, where nothing is "
        f"random{limit}."
    )


def corrected_p(*, over: str) -> str:
    """Explain the p values of a table of paired differences; `over`: what the test pairs."""
    return (
        "Both sides of a difference use the same chips and images, so common variation cancels. **p**: two-sided test "
        f"of the paired differences, over {over}. **p, corrected**: by Holm's method for all rows of the table. "
        f"**settled**: {SETTLED} {SINGLE} **unpaired**: no training seed in common."
    )


def sampling_note(images: Collection[int], half_widths: Collection[float]) -> str | None:
    """Say how much another test set would change accuracies with these 95 % half-widths [points]; None without any."""
    if not half_widths:
        return None
    return (
        f"The accuracies hold for these {' and '.join(map(str, images))} test images. Another test set of this size "
        f"would change an accuracy by ±{min(half_widths):.1f} to ±{max(half_widths):.1f} points (95 %, binomial; more "
        "for accuracies near 50 %)."
    )
