"""The PAC-Bayes bound of the Incorruptible paper on the loss under weight noise (Theorem 4.1, in full Theorem A.2).

With probability 1 - delta over the n training examples S, for a loss within 0 and M and k parameters w,

    E[L_D(w + eps_test)] <= E[L_S(w + eps_train)] + M sqrt(c / (n - 1))
    c = k/4 log(1 + ||w||^2 / (k sigma_train^2)) + 1/4 + log(n / delta) + 2 log(6 n + 3 k)

where eps ~ N(0, sigma^2 I) on all parameters and sigma_test <= sigma_train. At sigma_test = sigma_train this is a
theorem. Below, it assumes in addition that the loss grows with sigma from sigma_test to sigma_train (`loss_growth`).

The paper prints M = 1 and a loss in R+. Its proof starts from a bound for losses within 0 and 1 (Foret et al., 2021,
App. A), and a loss within 0 and M, divided by M, gives the factor. docs/explanation/theory.md has the derivation.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial

import pandas as pd
from torch import Tensor, nn

from aimc_robust.analysis.loss_growth import increasing
from aimc_robust.analysis.perturbed_loss import ExampleLoss, LossName, example_loss, perturbed_losses
from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.errors import DataError, InputError, join_names, require_finite, require_whole
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.registry import as_task


@float32_convolutions()
def pac_bayes_bound(
    model: nn.Module,
    batches: Batches,
    *,
    sigma_train: Sequence[float],
    sigma_test: Sequence[float],
    held_out: Batches | None = None,
    loss: LossName | ExampleLoss = "error",
    max_loss: float | None = None,
    delta: float = 0.05,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Evaluate the bound of Theorem 4.1 of the Incorruptible paper for a trained model.

    BatchNorm is folded into the weights of a copy first: its running statistics come from the training data and are no
    parameters, so that the theorem does not cover a model that has them.

    Args:
        model: The trained model, on the device of the batches; not modified. Any training method.
        batches: All examples that it was trained on, without augmentation.
        sigma_train: Standard deviations of the noise on the training loss, absolute (in units of the weights) and on
            all parameters. Each row holds with probability 1 - delta on its own: to take the smallest bound of m
            values, divide delta by m.
        sigma_test: Standard deviations of the noise that the bound is on, in the same unit.
        held_out: Examples that were not trained on, to measure the left side of the bound.
        loss: `error` (1 for a wrong prediction, else 0), `cross-entropy` in nats, or a function (outputs, labels) ->
            one loss per example, at least 0.
        max_loss: M. None is 1 for `error`; other losses need a value, larger losses of an example are clipped to it,
            and the bound is on the clipped loss.
        delta: Probability with which the bound may fail.
        draws: Independent perturbations that a loss is averaged over, at least 2, each in both directions.
        seed: Root seed of the draws.

    Returns:
        One row per pair of sigmas: `sigma_train`, `sigma_test`; `empirical`, the perturbed training loss, with its 95 %
        Monte Carlo interval `empirical_low` to `empirical_high`; `weights` (k), `examples` (n) and `squared_norm`
        (||w||^2); the terms of c, `weight_term`, `constant_term`, `delta_term`, `size_term`; `complexity`, M times the
        root; `bound`, the sum of `empirical` and `complexity`, and `bound_high`, that of `empirical_high`. `vacuous`
        is True unless `bound_high` is below M: it then says no more than that a loss is at most M. `bound` is NaN where
        sigma_test > sigma_train, of which the theorem says nothing. With `held_out`: the perturbed loss at sigma_test,
        `held_out`, `held_out_low`, `held_out_high`.

    Raises:
        DataError: If there are fewer than two examples, or labels do not suit the loss.
        DivergenceError: If a loss is not finite.
        InputError: If an argument is invalid, or running statistics cannot be folded.

    References:
        Incorruptible paper, Theorems 4.1 and A.2; Foret et al., ICLR 2021, App. A.
    """
    train_grid, test_grid = increasing("sigma_train", sigma_train), increasing("sigma_test", sigma_test)
    require_whole("draws", draws, low=2)
    require_finite("delta", delta, high=1.0)
    if not 0.0 < delta < 1.0:
        raise InputError(f"delta must be a probability between 0 and 1, without these two, got {delta}.")
    largest = _largest(loss, max_loss)
    function, data = _clipped(example_loss(loss), largest), as_reiterable(batches)
    folded = _without_statistics(model, data)
    weights = [parameter.detach().double() for parameter in folded.parameters()]
    k, squared_norm = sum(weight.numel() for weight in weights), sum(float(w.square().sum()) for w in weights)
    losses, n = perturbed_losses(folded, data, train_grid, function, draws=draws, seed=seed)
    if n < 2:
        raise DataError(f"the bound needs at least two training examples, got {n}.")
    held_out_losses = None
    if held_out is not None:
        held_out_losses, _ = perturbed_losses(folded, held_out, test_grid, function, draws=draws, seed=seed)
    rows = []
    for sigma, values in zip(train_grid, losses, strict=True):
        terms = bound_terms(k, n, squared_norm, sigma, delta)
        complexity = largest * math.sqrt(sum(terms.values()) / (n - 1))
        empirical, (low, high) = float(values.mean()), t_interval(values)
        for number, test in enumerate(test_grid):
            applies = test <= sigma
            row = {"sigma_train": sigma, "sigma_test": test}
            row |= {"empirical": empirical, "empirical_low": low, "empirical_high": high}
            row |= {"weights": k, "examples": n, "squared_norm": squared_norm, **terms, "complexity": complexity}
            row["bound"] = empirical + complexity if applies else math.nan
            row["bound_high"] = high + complexity if applies else math.nan
            row["vacuous"] = not row["bound_high"] < largest
            if held_out_losses is not None:
                low_out, high_out = t_interval(held_out_losses[number])
                row |= {"held_out": float(held_out_losses[number].mean())}
                row |= {"held_out_low": low_out, "held_out_high": high_out}
            rows.append(row)
    return pd.DataFrame(rows)


def bound_terms(k: int, n: int, squared_norm: float, sigma: float, delta: float) -> dict[str, float]:
    """Return the terms of c: the paper's Eq. 4, numerator under the root, for k parameters and n examples."""
    return {
        "weight_term": k / 4 * math.log1p(squared_norm / (k * sigma**2)),
        "constant_term": 0.25,
        "delta_term": math.log(n / delta),
        "size_term": 2 * math.log(6 * n + 3 * k),
    }


def _largest(loss: LossName | ExampleLoss, max_loss: float | None) -> float:
    if max_loss is None:
        if loss != "error":
            raise InputError("the bound holds for a bounded loss; give max_loss, to which larger losses are clipped.")
        return 1.0
    require_finite("max_loss", max_loss)
    if max_loss == 0.0 or (loss == "error" and max_loss != 1.0):
        raise InputError(f"max_loss must be above 0, and 1 (or left out) for the loss 'error', got {max_loss}.")
    return float(max_loss)


def _clipped(loss: ExampleLoss, largest: float) -> ExampleLoss:
    def clipped(outputs: Tensor, labels: Tensor) -> Tensor:
        values = loss(outputs, labels)
        if isinstance(values, Tensor) and bool((values < 0).any()):
            raise InputError(f"the bound needs losses of at least 0, got {float(values.min()):g}.")
        return values.clamp(max=largest) if isinstance(values, Tensor) else values

    return clipped


def _without_statistics(model: nn.Module, batches: Iterable[Batch]) -> nn.Module:
    """Return a copy in evaluation mode whose outputs depend on parameters alone."""
    folded, coverage = prepare(model, partial(as_task(None).example, batches))
    if coverage.folding.not_folded:
        reasons = [f"{name} ({reason})" for name, reason in coverage.folding.not_folded.items()]
        raise InputError(
            "the theorem covers parameters, not running statistics that were estimated from the training data, and "
            f"these BatchNorms cannot be folded into weights: {join_names(reasons)}. Use a model without them."
        )
    return folded
