"""Claim: 95 % intervals over models that share their chips cover 94 to 98 %, for 2 to 20 models and 5 to 50 chips.

    python benchmarks/statistics/coverage.py

Accuracies are normal: mean + model effect + chip effect + residual, with shares of the variance from 0 to 50 % for
models and 0 to 30 % for chips. The distribution of the mean squares is integrated by quadrature, so the table has no
sampling error. For comparison: Student t over the model means alone, which takes chips for independent between models,
and Satterthwaite's approximation.
"""

import itertools

import numpy as np
from scipy import special

from aimc_robust.statistics.t_interval import LEVEL, MeanError, t_quantile

MODELS, CHIPS = (2, 3, 5, 10, 20), (5, 10, 25, 50)
MODEL_SHARES, CHIP_SHARES = (0.0, 0.05, 0.2, 0.5), (0.0, 0.05, 0.14, 0.3)


def mean_squares(df: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the distribution of chi-square / df, by Gauss-Legendre over its logarithm."""
    low = 2.0 * (1e-9 * special.gamma(df / 2 + 1)) ** (2 / df) if df < 100 else special.chdtri(df, 1.0 - 1e-9)
    low, high = np.log(low), np.log(special.chdtri(df, 1e-9))
    x, w = np.polynomial.legendre.leggauss(nodes)
    x = (high - low) / 2 * x + (high + low) / 2
    density = x * df / 2 - np.exp(x) / 2
    w = w * np.exp(density - density.max())
    return np.exp(x) / df, w / w.sum()


def estimated_errors(models: int, chips: int, model_share: float, chip_share: float) -> tuple[MeanError, np.ndarray]:
    """Errors that balanced tables lead to, as arrays, with the probability of each."""
    residual = 1.0 - model_share - chip_share
    dfs = models - 1, chips - 1, (models - 1) * (chips - 1)
    expected = residual + chips * model_share, residual + models * chip_share, residual
    parts, weights = [], []
    for axis, (df, mean, nodes) in enumerate(zip(dfs, expected, (80, 40, 16), strict=True)):
        shape = [1, 1, 1]
        shape[axis] = nodes
        x, w = mean_squares(df, nodes)
        parts.append(mean * x.reshape(shape) / (models * chips))
        weights.append(w.reshape(shape))
    error = MeanError(parts[0], dfs[0], parts[1], dfs[1], parts[2], dfs[2])
    return error, weights[0] * weights[1] * weights[2]


def student_over_models(error: MeanError, level: float) -> np.ndarray:
    return t_quantile(error.df, level) * np.sqrt(error.variance)


def satterthwaite(error: MeanError, level: float) -> np.ndarray:
    parts = (error.variance, error.df), (error.chip_variance, error.chip_df), (error.noise_variance, error.noise_df)
    variance = np.maximum(error.variance + error.chip_variance - error.noise_variance, 1e-12)
    df = np.maximum(variance**2 / sum(part**2 / df for part, df in parts), 1.0)
    return -special.stdtrit(df, level / 2) * np.sqrt(variance)


RULES = {"t over models": student_over_models, "Satterthwaite": satterthwaite, "aimc-robust": MeanError.half_width}


def miss_rate(rule, models: int, chips: int, *, model_share: float, chip_share: float, level: float = LEVEL) -> float:
    """Probability that the interval of confidence 1 - level does not hold the true mean."""
    error, weights = estimated_errors(models, chips, model_share, chip_share)
    residual = 1.0 - model_share - chip_share
    variance = model_share / models + chip_share / chips + residual / (models * chips)
    return float((weights * special.erfc(rule(error, level) / np.sqrt(2.0 * variance))).sum())


def percent_range(miss_rates: list[float]) -> str:
    return f"{100 - 100 * max(miss_rates):.1f} to {100 - 100 * min(miss_rates):.1f}"


def main() -> None:
    print("Coverage of 95 % intervals [%], lowest to highest over model effects of 0 to 50 % of the variance\n")
    effects = " | ".join(f"chip effect {100 * share:g} %" for share in CHIP_SHARES)
    print(f"| models | chips | t over models | Satterthwaite | aimc-robust: {effects} |")
    print("|---|---|---|---|" + "---|" * len(CHIP_SHARES))
    for models, chips in itertools.product(MODELS, CHIPS):
        rates = {
            name: [
                [miss_rate(rule, models, chips, model_share=a, chip_share=b) for a in MODEL_SHARES] for b in CHIP_SHARES
            ]
            for name, rule in RULES.items()
        }
        last = rates.pop("aimc-robust")
        cells = [percent_range(list(itertools.chain(*each))) for each in rates.values()] + [
            percent_range(each) for each in last
        ]
        print(f"| {models} | {chips} | " + " | ".join(cells) + " |", flush=True)
    print("\nHighest ratio of the true to the nominal error rate of tests, over all cases\n")
    print("| level | " + " | ".join(RULES) + " |\n|---|" + "---|" * len(RULES))
    for level in (0.05, 0.001, 1e-5):
        ratios = [
            max(
                miss_rate(rule, models, chips, model_share=a, chip_share=b, level=level) / level
                for models, chips, a, b in itertools.product(MODELS, CHIPS, MODEL_SHARES, CHIP_SHARES)
            )
            for rule in RULES.values()
        ]
        print(f"| {level:g} | " + " | ".join(f"{ratio:.3g}" for ratio in ratios) + " |")


if __name__ == "__main__":
    main()
