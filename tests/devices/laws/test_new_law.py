"""A new law is one class: everything that uses a device goes through its methods."""

import math
from typing import ClassVar, Literal

import pytest
import torch
from support.draws import draws
from support.moments import state_moments
from torch import nn

import aimc_robust as ar
from aimc_robust.devices.cell_model_checks import read_std
from aimc_robust.devices.curves import drift_curves, programming_curve, read_curve, read_times_s, round_times_s
from aimc_robust.devices.laws.base import DriftLaw, ProgrammingLaw, ReadLaw
from aimc_robust.devices.library import load_card
from aimc_robust.devices.states import cell_states
from aimc_robust.errors import InputError
from aimc_robust.evaluation.error_sources import active_sources
from aimc_robust.fitting.verify import verify_card
from aimc_robust.hardware.crosssim.devices import device_parameters

DAY_S = 86400.0


class SquareRoot(ProgrammingLaw):
    """sigma(state) = factor * sqrt(state)."""

    formula: ClassVar[str] = "sigma(state) = factor * sqrt(state)."
    kind: Literal["square-root"] = "square-root"
    factor: float

    def std(self, state):
        return state.sqrt().mul_(self.factor)


class Relaxation(DriftLaw):
    """state(t) = programmed * (1 - loss * (1 - exp(-t / tau)))."""

    formula: ClassVar[str] = "state(t) = programmed * (1 - loss * (1 - exp(-t / tau_s)))."
    kind: Literal["relaxation"] = "relaxation"
    tau_s: float
    loss: float

    @property
    def is_random(self):
        return False

    def age(self, cells, draw, time_s):
        return cells.programmed * (1.0 - self.loss * -math.expm1(-time_s / self.tau_s))


class Thermal(ReadLaw):
    """sigma = strength, whatever the state."""

    formula: ClassVar[str] = "sigma = strength."
    kind: Literal["thermal"] = "thermal"
    strength: float

    def read_std(self, states, time_s):
        return torch.full_like(states.now, self.strength)


@pytest.fixture(scope="module")
def card():
    """A card of three new laws; a law that is listed in the registry could come from a file."""
    return load_card("rram-milo2021").model_copy(
        update={
            "name": "new-laws",
            "programming": SquareRoot(factor=0.1),
            "drift": Relaxation(limits_s=(0.0, 1e6), tau_s=1000.0, loss=0.1),
            "read": Thermal(strength=0.5),
        }
    )


def test_states_follow_the_new_laws(card):
    target = torch.linspace(50.0, 225.0, 400, dtype=torch.float64)
    states = cell_states(card, target, draws(2), time_s=DAY_S)
    torch.testing.assert_close(states.programmed, target + 0.1 * target.sqrt() * draws(2)("programming", target))
    torch.testing.assert_close(states.now, 0.9 * states.programmed)
    assert torch.equal(read_std(card, states), torch.full_like(target, 0.5))


def test_moments_curves_and_sources_follow_the_new_laws(card):
    target = torch.linspace(60.0, 200.0, 20, dtype=torch.float64)
    moments = state_moments(card, target, time_s=DAY_S)
    torch.testing.assert_close(moments.mean, 0.9 * target, rtol=1e-3, atol=0)
    torch.testing.assert_close(moments.variance, 0.81 * 0.01 * target, rtol=1e-2, atol=0)
    assert programming_curve(card, 5).std.tolist() == pytest.approx(
        (0.1 * programming_curve(card, 5).state.sqrt()).tolist()
    )
    assert read_times_s(card) == [0.0]
    assert read_curve(card, 5, time_s=0.0).std.tolist() == [0.5] * 5
    assert drift_curves(card, round_times_s(card)).mean.shape[1] == 3
    assert active_sources(ar.Crossbar(card), time_s=DAY_S) == ("programming", "drift", "read")


def test_a_network_is_programmed_with_the_new_laws(card):
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    x = torch.randn(3, 5)
    outputs = [ar.program(model, ar.Crossbar(card), chip=1, time_s=t)(x) for t in (0.0, DAY_S)]
    assert all(torch.isfinite(output).all() for output in outputs)
    assert not torch.equal(*outputs)


def test_cells_with_the_new_laws_are_verified(card):
    verdict = verify_card(card, cells=300)
    assert verdict.verified, verdict.sentence()


def test_what_is_written_law_by_law_refuses_a_new_one_by_name(card):
    with pytest.raises(InputError, match="new-laws"):
        device_parameters(ar.Crossbar(card))
