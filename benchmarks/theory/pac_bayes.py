"""Theorem 4.1 and Lemma A.1 of the Incorruptible paper on models trained on digits.

    python benchmarks/theory/pac_bayes.py

A linear classifier and the quickstart's small CNN, trained by RWP with the theorem's noise (absolute, on all
parameters) at several sigmas. Prints the bound with its terms beside the measured error of held-out digits
(`ar.pac_bayes_bound`), and whether the held-out loss grows with sigma (`ar.loss_growth`).
"""

import math
from collections.abc import Callable

import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import aimc_robust as ar
from aimc_robust.analysis.pac_bayes import bound_terms
from aimc_robust.models.networks.small_cnn import SmallCNN

TRAINING = 1400  # of 1797 digits
EPOCHS = 20
DELTA = 0.05
TRAINED_AT = (0.0, 0.05, 0.1)
SIGMA_TRAIN, SIGMA_TEST = (0.05, 0.1, 0.2, 0.3), (0.05,)
GRID = (0.01, 0.02, 0.05, 0.1, 0.2)
DRAWS = 10
Data = tuple[Tensor, Tensor]


def digits() -> tuple[Data, Data]:
    """Training and held-out digits, (n, 1, 8, 8) from -1 to 1, and labels."""
    data = load_digits()
    images, labels = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1, torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    first, rest = order[:TRAINING], order[TRAINING:]
    return (images[first], labels[first]), (images[rest], labels[rest])


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    "small-cnn": lambda: SmallCNN(in_channels=1, classes=10, channels=8, stages=3),
}


def trained(name: str, sigma: float, training: Data, held_out: Data, epochs: int = EPOCHS) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[name]()
    method = ar.RWP(sigma=sigma, scale="absolute", scope="all")
    config = ar.TrainingConfig(epochs=epochs, batch_size=64, lr=0.1)
    return ar.train(model, method, config, training_set=training, validation_set=held_out).model


def examples_needed(row: pd.Series) -> int:
    """Examples from which on the bound would be below 1, at the same weights, sigma and empirical error."""

    def is_vacuous(n: int) -> bool:
        terms = bound_terms(row.weights, n, row.squared_norm, row.sigma_train, DELTA)
        return row.empirical_high + math.sqrt(sum(terms.values()) / (n - 1)) >= 1.0

    if row.empirical_high >= 1.0:
        return -1
    low, high = 1, 2
    while is_vacuous(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_vacuous(middle) else (low, middle)
    return high


def print_bounds(label: str, model: nn.Module, training: Data, held_out: Data) -> None:
    table = ar.pac_bayes_bound(
        model, training, sigma_train=SIGMA_TRAIN, sigma_test=SIGMA_TEST, held_out=held_out, delta=DELTA, draws=DRAWS
    )
    for _, row in table.iterrows():
        logarithms = row.constant_term + row.delta_term + row.size_term
        print(
            f"| {label} | {row.weights} | {row.sigma_train:g} | {row.empirical:.3f} "
            f"({row.empirical_low:.3f} to {row.empirical_high:.3f}) | {row.weight_term:.0f} | {logarithms:.0f} | "
            f"{row.complexity:.2f} | {row.bound:.2f} | {'yes' if row.vacuous else 'no'} | {row.held_out:.3f} | "
            f"{examples_needed(row)} |",
            flush=True,
        )


def print_growth(label: str, model: nn.Module, held_out: Data, **noise) -> None:
    for loss in ("cross-entropy", "error"):
        table = ar.loss_growth(model, held_out, GRID, loss=loss, draws=DRAWS, probes=20, **noise)
        for row in table.itertuples():
            expansion = (
                "" if math.isnan(row.second_order) else f"{row.second_order:.4f} ± {1.96 * row.second_order_se:.4f}"
            )
            print(
                f"| {label} | {loss} | {row.sigma:g} | {row.loss:.4f} ({row.low:.4f} to {row.high:.4f}) | "
                f"{row.verdict} | {expansion} |",
                flush=True,
            )


def main() -> None:
    torch.set_num_threads(1)
    training, held_out = digits()
    models = {
        f"{name}, trained at {sigma:g}": trained(name, sigma, training, held_out)
        for name in MODELS
        for sigma in TRAINED_AT
    }
    print(f"Bound on the error at sigma_test {SIGMA_TEST[0]:g}, {TRAINING} digits, delta {DELTA:g}\n")
    print(
        "| model | parameters | sigma_train | training error (95 %) | weight term | other terms | complexity | bound | "
        "vacuous | held-out error | examples needed |\n|" + "---|" * 11
    )
    for label, model in models.items():
        print_bounds(label, model, training, held_out)
    print("\nLoss of held-out digits: the theorem's noise, then noise relative to each filter's largest weight\n")
    print("| model | loss | sigma | perturbed loss (95 %) | from the row above | second order |\n|" + "---|" * 6)
    for label, model in models.items():
        print_growth(label, model, held_out)
    for label, model in models.items():
        print_growth(f"{label}, filter_max", model, held_out, scale="filter_max", scope="weights")


if __name__ == "__main__":
    main()
