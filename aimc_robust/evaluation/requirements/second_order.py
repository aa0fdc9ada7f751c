"""Where a search starts: the level at which the loss has grown by a given amount, to second order."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
import torch

from aimc_robust.evaluation.loss_prediction import predict_loss
from aimc_robust.evaluation.requirements.budget import ErrorBudget, Nodes
from aimc_robust.evaluation.requirements.quantities import Quantity, Setting
from aimc_robust.evaluation.requirements.simulator import Simulator
from aimc_robust.hardware.device_states import device_states

PROBE_STD, PROBE_FRACTION = 0.03, 0.001  # levels at which the loss is predicted
BINS = 8  # of the states in the window
LARGEST_STD = 0.5  # of a bin of the curve, as a fraction of the window's top: far beyond second order


def excess_losses(simulator: Simulator, budgets: Mapping[str, ErrorBudget]) -> dict[str, float]:
    """Return how much the expected loss grows under each budget, to second order."""
    conditions = {name: simulator.budget_hardware(budget) for name, budget in budgets.items()}
    times_s = {name: simulator.time_s if budget.drifts else 0.0 for name, budget in budgets.items()}
    prediction = predict_loss(
        simulator.model,
        simulator.batches,
        conditions,
        time_s=times_s,
        chip_seed=simulator.chip_seed,
        task=simulator.task,
    )
    rows = prediction.table.set_index("condition")
    return {name: float(rows.at[name, "predicted"] - rows.at[name, "clean_loss"]) for name in budgets}


def growth(simulator: Simulator, quantities: Mapping[str, Quantity], setting: Setting) -> dict[str, float]:
    """Return c of each quantity in `loss = clean loss + c level**grows`; only those whose c is positive."""
    probed = {name: quantity for name, quantity in quantities.items() if quantity.grows}
    levels = {
        name: PROBE_FRACTION if quantity.grows == 1.0 else 1.0 if name == "programming-curve" else PROBE_STD
        for name, quantity in probed.items()
    }
    budgets = {
        name: ErrorBudget(**(quantity.predicted_as or quantity.fields)(levels[name], setting))
        for name, quantity in probed.items()
    }
    excess = excess_losses(simulator, budgets) if budgets else {}
    factors = {name: excess[name] / levels[name] ** quantity.grows for name, quantity in probed.items()}
    return {name: factor for name, factor in factors.items() if factor > 0 and math.isfinite(factor)}


def state_sensitivities(simulator: Simulator) -> pd.DataFrame:
    """Return how much the programming error at each state costs, and how many devices are there.

    Returns:
        One row per bin of states: `low` and `high` as fractions of the window's top, `devices_percent` with a target
        in it, and `sensitivity`: the growth of the loss per squared standard deviation of these devices alone, to
        second order, in units of the loss per (fraction of the window's top)**2.
    """
    (crossbar,) = set(simulator.hardware.crossbars)
    low, high = crossbar.device.programming_window
    edges = [low / high + (1.0 - low / high) * k / BINS for k in range(BINS + 1)]
    names = [str(number) for number in range(BINS)]
    budgets = {name: ErrorBudget(programming=only_bin(edges, int(name), PROBE_STD)) for name in names}
    excess = excess_losses(simulator, budgets)
    example = simulator.calibration[0]
    targets = device_states(simulator.model, simulator.budget_hardware(ErrorBudget()), example=example).target.values()
    inner = torch.tensor(edges[1:-1], dtype=torch.float64)
    counts = sum(
        torch.bincount(torch.bucketize(target.double().flatten() / high, inner, right=True), minlength=BINS)
        for target in targets
    )
    assert isinstance(counts, torch.Tensor)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "devices_percent": (100.0 * counts / counts.sum()).tolist(),
            "sensitivity": [excess[name] / PROBE_STD**2 for name in names],
        }
    )


def only_bin(edges: list[float], number: int, std: float) -> Nodes:
    """Return an error in one bin only: a step to `std` and one back to 0."""
    return curve_of_bins(edges, [std if k == number else 0.0 for k in range(len(edges) - 1)])


def curve_of_bins(edges: list[float], stds: list[float]) -> Nodes:
    """Return the error that is constant in each bin."""
    inner = [(edge, std) for k, edge in enumerate(edges[1:-1]) for std in (stds[k], stds[k + 1])]
    return ((edges[0], stds[0]), *inner, (edges[-1], stds[-1]))


def equal_cost_curve(states: pd.DataFrame, excess: float) -> list[float]:
    """Return the standard deviation of each bin with which all bins add the same part of the excess loss.

    It is limited to `LARGEST_STD`, which is also that of bins that cost nothing.
    """
    part = excess / len(states)
    return [
        min(math.sqrt(part / sensitivity), LARGEST_STD) if sensitivity > 0 else LARGEST_STD
        for sensitivity in states["sensitivity"]
    ]
