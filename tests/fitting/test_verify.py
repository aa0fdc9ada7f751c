"""`verify` passes for every device, and fails for an implementation or a device that is wrong."""

import sys

import numpy as np
import pytest
import torch
from scipy import stats

from aimc_robust.devices import states
from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.errors import InputError
from aimc_robust.fitting import simulated_cells
from aimc_robust.fitting.verify import verify_card
from aimc_robust.hardware.programming import banks

CELLS = 500
PROGRAM = sys.modules["aimc_robust.hardware.program"]  # the module; the package's attribute is its function


@pytest.mark.slow
@pytest.mark.parametrize("name", card_names())
def test_every_card_of_the_library_is_verified(name):
    verdict = verify_card(name, cells=CELLS)
    assert verdict.verified, verdict.sentence()
    assert len(verdict.checks) >= 7
    assert all(np.isfinite(check.p) for check in verdict.checks)
    assert f"verified at alpha = 0.01: {len(verdict.checks)} checks" in verdict.sentence()


STUCK = {"stuck": {"low": 0.02, "high": 0.01}}


def changed(name, **tables):
    return load_card(load_card(name).model_dump() | tables)


def test_stuck_cells_window_clips_and_uniform_errors_are_verified():
    programming = {"kind": "polynomial", "coefficients": [0.1], "distribution": "uniform", "clip": "window"}
    card = changed("independent-uniform", programming=programming, **STUCK)
    verdict = verify_card(card, cells=CELLS)
    assert verdict.verified, verdict.sentence()
    assert {"the fraction of cells stuck low", "the fraction of cells stuck high"} <= {c.name for c in verdict.checks}


def failed(name, **options):
    verdict = verify_card(name, cells=CELLS, **options)
    assert not verdict.verified
    assert "NOT verified" in verdict.sentence()
    return {check.name for check in verdict.failed}


def test_a_standard_deviation_that_is_10_percent_off_is_found(monkeypatch):
    right = states.programming_std
    monkeypatch.setattr(states, "programming_std", lambda card, state: right(card, state) * 1.1)
    assert "the standard deviation" in failed("rram-milo2021")


def test_a_mean_that_is_off_by_a_tenth_of_the_error_is_found(monkeypatch):
    right = states.spread_
    monkeypatch.setattr(states, "spread_", lambda std, center, error, scale: right(std, center, error.add(0.1), scale))
    assert "the mean" in failed("rram-milo2021")


def test_another_shape_of_the_error_is_found(monkeypatch):
    monkeypatch.setattr(
        states, "programming_error", lambda cell, target, draw: draw("stuck", target).sub(0.5).mul(12.0**0.5)
    )
    assert "the distribution (distance)" in failed("rram-milo2021")


def test_a_chip_that_is_drawn_anew_at_each_time_is_found(monkeypatch):
    right = PROGRAM.chip_axes
    clock = iter(range(10**6))
    monkeypatch.setattr(PROGRAM, "chip_axes", lambda seed, chip: right(seed, chip).at(time=next(clock)))
    for name in ("rram-wan2022-drift", "pcm-nandakumar2019", "reram-cmo-falcone2025"):
        assert "the standard deviation of the change since the time before," in failed(name)


def test_chips_that_are_alike_are_found(monkeypatch):
    right = PROGRAM.chip_axes
    monkeypatch.setattr(PROGRAM, "chip_axes", lambda seed, chip: right(seed, 0))
    assert "the correlation between chips" in failed("rram-milo2021")


def test_cells_that_share_their_errors_are_found(monkeypatch):
    right = states.programming_error
    monkeypatch.setattr(
        states, "programming_error", lambda *a: right(*a).add(right(*a).roll(1, dims=0)).mul(0.5**0.5)
    )  # fmt: skip
    assert "the correlation between neighbouring cells" in failed("rram-milo2021")


def test_read_noise_that_is_5_percent_off_is_found(monkeypatch):
    right = banks.read_std
    monkeypatch.setattr(banks, "read_std", lambda *args, **options: right(*args, **options) * 1.05)
    assert "the standard deviation of read noise (relative)" in failed("sonos-agrawal2022")


def test_read_noise_that_is_frozen_is_found(monkeypatch):
    right = simulated_cells.program

    def frozen(*args, **options):
        analog = right(*args, **options)
        return lambda inputs: analog(inputs[: inputs.shape[1]]).repeat(len(inputs) // inputs.shape[1], 1)

    class Frozen:
        def __call__(self, *args, **options):
            crossbar = args[1]
            return frozen(*args, **options) if crossbar.device.read_noise else right(*args, **options)

    monkeypatch.setattr(simulated_cells, "program", Frozen())
    assert "the correlation of one read and the next" in failed("sonos-agrawal2022")


@pytest.mark.parametrize(
    ("name", "table", "key", "factor"),
    [
        ("pcm-nandakumar2019", "drift", "t0_s", 1.5),
        ("reram-cmo-falcone2025", "drift", "std_ln", 1.2),
        ("reram-cmo-falcone2025", "read", "coefficient", 1.05),
        ("pcm-nandakumar2019", "read", "exponent", 1.1),
    ],
)
def test_cells_of_a_card_with_another_coefficient_are_found(name, table, key, factor, monkeypatch):
    values = load_card(name).model_dump()
    values[table][key] *= factor
    other = load_card(values)
    right = simulated_cells.simulate_cells
    monkeypatch.setattr("aimc_robust.fitting.verify.simulate_cells", lambda card, **options: right(other, **options))
    assert failed(name)


def test_wrong_fractions_of_stuck_cells_are_found(monkeypatch):
    right = states._set_stuck

    def twice(cells, draw, bounds, fractions):
        right(cells, draw, bounds, tuple(2 * fraction for fraction in fractions))

    monkeypatch.setattr(states, "_set_stuck", twice)
    assert "the fraction of cells stuck low" in failed(changed("rram-milo2021", **STUCK))


@pytest.mark.slow
def test_a_right_implementation_fails_as_often_as_alpha_says():
    alpha, runs = 0.3, 60
    false = sum(
        not verify_card("pcm-joshi2020", cells=200, alpha=alpha, chip_seed=seed).verified for seed in range(runs)
    )
    assert stats.binomtest(false, runs, alpha, alternative="greater").pvalue > 0.001
    assert false > 0  # the corrected p values do reach alpha


class Relaxing(CellModel):
    """A cell model that loses up to a tenth of its state, and scatters as it does."""

    name, unit, window = "relaxing", "uS", (1.0, 20.0)
    stuck_fractions = (0.02, 0.01)

    def programming_std(self, target):
        return 0.2 + 0.03 * target

    def age(self, cells, draw, time_s):
        return cells.programmed * (1.0 - (0.1 + 0.01 * draw("drift", cells.target)) * time_s / (time_s + 1000.0))

    def read_std(self, states, time_s):
        return 0.05 + 0.01 * states.now


class Influenced(Relaxing):
    """Its cells' errors depend on their neighbours' targets."""

    def programming_std(self, target):
        return super().programming_std(target) * target.mean() / 9.0


class Restless(Relaxing):
    """It draws at each time anew, from a generator of its own."""

    generator = torch.Generator().manual_seed(0)

    def age(self, cells, draw, time_s):
        return super().age(cells, lambda _, like: like.new_empty(like.shape).normal_(generator=self.generator), time_s)


def test_a_cell_model_in_python_is_verified():
    verdict = verify_card(Relaxing(), cells=CELLS)
    assert verdict.verified, verdict.sentence()
    assert verdict.times_s[0] == 0.0
    assert len(verdict.times_s) == 4
    names = {check.name for check in verdict.checks}
    assert {"the standard deviation of read noise (relative)", "the fraction of cells stuck high"} <= names


@pytest.mark.parametrize(
    ("cell", "name"),
    [(Influenced, "the standard deviation"), (Restless, "a chip that is programmed again (largest difference)")],
)
def test_a_cell_model_in_python_that_breaks_the_rules_is_found(cell, name):
    assert name in failed(cell)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"cells": 10}, "cells"),
        ({"times_s": [0.0, 60.0]}, "drift"),
        ({"times_s": [-1.0]}, "time_s"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        verify_card("rram-milo2021", **options)


def test_times_are_the_users_if_given():
    verdict = verify_card("rram-wan2022-drift", cells=CELLS, times_s=[3600.0])
    assert verdict.times_s == (0.0, 3600.0)
    assert verdict.verified


def test_nothing_is_drawn_from_the_global_generator():
    before = torch.random.get_rng_state()
    verify_card("rram-milo2021", cells=200)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_read_noise_that_grows_is_verified_over_time_without_a_drift():
    card = changed("pcm-nandakumar2019", drift=None)
    verdict = verify_card(card, cells=CELLS)
    assert verdict.times_s == (0.0, 3600.0)
    assert verdict.verified, verdict.sentence()
    with pytest.raises(InputError, match="drift"):
        verify_card("rram-milo2021", cells=CELLS, times_s=[60.0])
