"""The laws of every card against a second implementation of their formulas, without random draws."""

import itertools

import numpy as np
import pytest
import torch
from support.device_oracle import Reference, reference_read_std, reference_std

from aimc_robust.devices.cell_model_checks import programming_std, read_std
from aimc_robust.devices.cells import CellStates
from aimc_robust.devices.curves import round_times_s
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.devices.moments import integrated_moments


def targets_of(card):
    return torch.linspace(card.range.min, card.range.max, 7, dtype=torch.float64)


def times_of(card):
    """Times in every range between the rows of a table, and the limit."""
    if card.drift is None:
        return [0.0]
    rows = [row.time_s for row in card.drift.at] if card.drift.kind == "table" else round_times_s(card)
    return [0.0, *rows, *(0.3 * a + 0.7 * b for a, b in itertools.pairwise(rows)), 1.5 * rows[-1]]


def wrongness(card, other):
    """Largest distance of mean and standard deviation, in standard deviations."""
    distances = [0.0]
    targets = targets_of(card)
    for time_s in times_of(card):
        found = integrated_moments(other, targets, time_s=time_s)
        expected = [Reference(card, target, time_s).moments() for target in targets.tolist()]
        mean, std = np.array([m for m, _ in expected]), np.sqrt([v for _, v in expected])
        random = std > 1e-9 * card.range.max
        assert found.mean.numpy()[~random] == pytest.approx(mean[~random], rel=1e-9, abs=1e-9)
        for ours, true in ((found.mean, mean), (found.variance.sqrt(), std)):
            distances += (np.abs(ours.numpy() - true) / np.where(random, std, np.inf)).tolist()
    return max(distances)


@pytest.mark.parametrize("name", card_names())
def test_states_have_the_mean_and_width_of_the_formulas(name):
    card = load_card(name)
    targets = targets_of(card)
    assert programming_std(card, targets).numpy() == pytest.approx(reference_std(card.programming, targets.numpy()))
    assert wrongness(card, card) < 1e-3


@pytest.mark.parametrize(
    ("name", "table", "key", "factor"),
    [
        ("rram-milo2021", "programming", "coefficients", 1.01),
        ("pcm-nandakumar2019", "drift", "t0_s", 1.1),
        ("reram-cmo-falcone2025", "drift", "std_ln", 1.02),
    ],
)
def test_a_coefficient_that_is_off_is_seen(name, table, key, factor):
    values = load_card(name).model_dump()
    value = values[table][key]
    values[table][key] = tuple(factor * v for v in value) if isinstance(value, tuple) else factor * value
    assert wrongness(load_card(name), load_card(values)) > 5e-3


@pytest.mark.parametrize("name", [name for name in card_names() if load_card(name).has_read_noise])
def test_read_noise_has_the_width_of_the_formulas(name):
    card = load_card(name)
    programmed = targets_of(card)
    now = 0.8 * programmed
    for time_s in (0.0, 60.0, 1e7):
        found = read_std(card, CellStates(programmed, now), time_s=time_s).numpy()
        expected = reference_read_std(card.read, programmed.numpy(), now.numpy(), time_s)
        assert found == pytest.approx(expected, rel=1e-9)
