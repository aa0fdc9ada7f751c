"""The empirical law: draws follow the table of quantiles, moments have a closed form, invalid tables are refused."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from support.device_oracle import Reference, reference_std
from support.draws import draws, fixed

from aimc_robust import CellModel
from aimc_robust.devices.cell_model_checks import check_cell_model, programming_std
from aimc_robust.devices.library import load_card
from aimc_robust.devices.moments import integrated_moments
from aimc_robust.devices.states import cell_states
from aimc_robust.errors import InputError
from aimc_robust.fitting.verify import verify_card
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.crosssim.devices import device_parameters

P = [0.0, 0.02, 0.25, 0.5, 0.9, 1.0]
ROWS = {
    2.0: [-0.9, -0.5, -0.1, 0.1, 0.2, 2.0],
    10.0: [-6.0, -1.0, 0.0, 0.0, 0.5, 0.6],
    25.0: [-1.0, 1.0, 2.0, 3.0, 4.0, 9.0],
}
LAW = {
    "kind": "empirical",
    "probabilities": P,
    "at": [{"state": state, "quantiles": quantiles} for state, quantiles in ROWS.items()],
}
TABLE_DRIFT = {
    "kind": "table",
    "limits_s": [0.0, 1e6],
    "at": [
        {"time_s": 0.0, "std": {"kind": "polynomial", "coefficients": [1.0]}},
        {"time_s": 1e6, "shift": [-0.5], "std": {"kind": "polynomial", "coefficients": [2.0]}},
    ],
}


def card(law=LAW, **tables):
    values = load_card("pcm-joshi2020").model_dump(exclude_none=True) | {"programming": law} | tables
    return load_card(values | {"name": "measured"})


CARDS = {
    "no drift": card(),
    "table": card(drift=TABLE_DRIFT),
    "power law": card(drift=load_card("pcm-nandakumar2019").drift.model_dump()),
}


def quantile(target, u):
    """Q(target, u) of a target between two rows, from the table as it is written."""
    (low, first), (high, second) = next(
        pair for pair in itertools.pairwise(ROWS.items()) if pair[0][0] <= target <= pair[1][0]
    )
    w = (target - low) / (high - low)
    return (1 - w) * np.interp(u, P, first) + w * np.interp(u, P, second)


@pytest.mark.parametrize("target", [2.0, 7.0, 10.0, 24.0])
def test_draws_are_the_quantiles_of_their_uniform_numbers(target):
    u = torch.linspace(0.0, 1.0, 1001, dtype=torch.float64)
    states = cell_states(card(), torch.full_like(u, target), fixed(programming_uniform=u)).now
    assert states.numpy() == pytest.approx(np.maximum(target + quantile(target, u.numpy()), 0.0), abs=1e-12)


def test_drawn_cells_have_the_distribution_and_no_normal_one():
    target = torch.full((40_000,), 17.5, dtype=torch.float64)
    error = (cell_states(card(), target, draws(4)).now - target).numpy()
    u = np.linspace(0.0, 1.0, 2001)
    q = quantile(17.5, u)
    assert stats.kstest(error, lambda x: np.interp(x, q, u)).pvalue > 0.01
    normal = stats.norm(error.mean(), error.std())
    assert stats.kstest(error, normal.cdf).pvalue < 1e-6


def test_mean_and_std_have_their_closed_form():
    law, target = card().programming, torch.linspace(2.0, 25.0, 47, dtype=torch.float64)
    dense = (np.arange(200_000) + 0.5) / 200_000
    rows = [quantile(t, dense) for t in target.tolist()]
    assert law.mean(target).numpy() == pytest.approx([q.mean() for q in rows], abs=1e-7)
    assert law.std(target).numpy() == pytest.approx([q.std() for q in rows], rel=1e-7)
    assert law.std(target).numpy() == pytest.approx(reference_std(law, target.numpy()), rel=1e-5)
    high = target[target > 8.0]  # not clipped at 0
    moments = integrated_moments(card(), high)
    torch.testing.assert_close(moments.mean, high + law.mean(high), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.variance, law.std(high).square(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("time_s", [0.0, 3e5])
def test_states_have_the_moments_of_the_second_implementation(name, time_s):
    target = torch.tensor([2.0, 6.0, 12.0, 25.0], dtype=torch.float64)
    found = integrated_moments(CARDS[name], target, time_s=time_s)
    expected = np.array([Reference(CARDS[name], t, time_s).moments() for t in target.tolist()])
    std = np.sqrt(expected[:, 1])
    assert np.abs(found.mean.numpy() - expected[:, 0]) / std == pytest.approx(0.0, abs=1e-3)
    assert found.variance.sqrt().numpy() == pytest.approx(std, rel=1e-3)


@pytest.mark.parametrize("name", CARDS)
def test_simulated_cells_are_verified(name):
    verdict = verify_card(CARDS[name], cells=300)
    assert verdict.verified, verdict.sentence()


def test_a_table_of_another_mean_is_not_what_the_cells_follow(monkeypatch):
    shifted = {**LAW, "at": [{**row, "quantiles": [q + 0.2 for q in row["quantiles"]]} for row in LAW["at"]]}
    other, right = card(shifted), verify_card.__globals__["simulate_cells"]
    monkeypatch.setitem(verify_card.__globals__, "simulate_cells", lambda cell, **options: right(other, **options))
    assert "the mean" in verify_card(card()).sentence()


def test_beyond_the_table_its_ends_hold():
    law = card().programming
    ends = law.std(torch.tensor([2.0, 25.0], dtype=torch.float64))
    torch.testing.assert_close(law.std(torch.tensor([0.0, 60.0], dtype=torch.float64)), ends, rtol=1e-15, atol=0)


def test_a_state_without_error_is_programmed_exactly():
    law = {**LAW, "at": [{"state": 0.0, "quantiles": [0.0] * 6}, LAW["at"][2]]}
    target = torch.tensor([0.0, 25.0])
    states = cell_states(card(law), target.expand(1000, 2).contiguous(), draws(0)).now
    assert (states[:, 0] == 0.0).all()
    assert states[:, 1].std() > 0.5


def test_the_scale_of_the_error_acts_on_its_mean_too():
    target = torch.full((100,), 25.0, dtype=torch.float64)
    whole, half = (cell_states(card(), target, draws(1), error_scale=scale).now for scale in (1.0, 0.5))
    torch.testing.assert_close(half - target, (whole - target) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_are_those_of_the_targets(dtype):
    target = torch.linspace(2.0, 25.0, 12, dtype=dtype).reshape(3, 4)
    states = cell_states(card(), target, draws(1)).now
    assert (states.shape, states.dtype) == (target.shape, dtype)
    torch.testing.assert_close(states.flatten(), cell_states(card(), target.flatten(), draws(1)).now)


def edited(**changes):
    return {**LAW, **changes}


def row(state, quantiles):
    return {"state": state, "quantiles": quantiles}


BAD = {
    "not from 0": (edited(probabilities=[0.1, 0.2, 0.25, 0.5, 0.9, 1.0]), ["probabilities", "0 to 1", "0.1, 0.2"]),
    "not rising": (edited(probabilities=[0.0, 0.5, 0.25, 0.5, 0.9, 1.0]), ["probabilities", "rise", "0.5, 0.25"]),
    "too many": (edited(probabilities=np.linspace(0, 1, 130).tolist()), ["probabilities", "129"]),
    "one state": (edited(at=LAW["at"][:1]), ["at", "2"]),
    "states that fall": (edited(at=LAW["at"][::-1]), ["state", "rise", "25, 10, 2"]),
    "too few quantiles": (edited(at=[row(1.0, [0.0, 1.0]), *LAW["at"]]), ["6 quantiles", "2 at", "state 1"]),
    "quantiles that fall": (edited(at=[row(1.0, [0, 1, 2, 1, 2, 3]), *LAW["at"]]), ["at.0.quantiles", "never fall"]),
    "an offset alone": (edited(at=[row(1.0, [0.5] * 6), *LAW["at"]]), ["at.0.quantiles", "differ", "0.5"]),
    "a shape": (edited(distribution="normal"), ["distribution", "'empirical'", "'normal'"]),
    "a table without its law": (
        {"kind": "polynomial", "coefficients": [1.0], "distribution": "empirical"},
        ["'normal'"],
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_an_invalid_table_is_refused(fault):
    law, wanted = BAD[fault]
    with pytest.raises(InputError) as caught:
        card(law)
    assert [part for part in wanted if part not in str(caught.value)] == []


def test_crosssim_refuses_it_by_name():
    with pytest.raises(InputError, match="measured"):
        device_parameters(Crossbar(card()))


class Lognormal(CellModel):
    """A cell model in Python whose error is neither normal nor uniform."""

    name, unit, window = "lognormal", "uS", (1.0, 20.0)
    programming_distribution = "empirical"

    def programming_std(self, target):
        return 0.1 * target

    def programming_error(self, target, draw):
        u = draw("programming-uniform", target).clamp(1e-6, 1 - 1e-6)
        error = torch.special.ndtri(u).mul(0.5).exp()
        mean, square = np.exp(0.125), np.exp(0.5)
        return (error - mean) / (square - mean**2) ** 0.5


def test_a_cell_model_in_python_has_a_shape_of_its_own():
    assert verify_card(Lognormal, cells=300).verified
    target = torch.full((50_000,), 10.0, dtype=torch.float64)
    states = cell_states(check_cell_model(Lognormal()), target, draws(2)).now
    assert stats.skew(states.numpy()) == pytest.approx(1.75, abs=0.3)
    moments = integrated_moments(Lognormal(), target[:1])
    assert float(moments.variance.sqrt()) == pytest.approx(1.0, rel=0.02)
    assert float(programming_std(Lognormal(), target[:1])) == 1.0


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"programming_distribution": "normal"}, "programming_distribution.*'normal'"),
        ({"programming_error": CellModel.programming_error}, "programming_error is overridden.*'empirical'"),
        ({"programming_knots": (0.0, 0.5)}, "programming_knots.*0.5"),
        ({"programming_error": lambda self, target, draw: draw("programming", target)}, "'programming-uniform' only"),
        ({"programming_error": lambda self, target, draw: target[:1]}, "programming_error must return.*shape"),
    ],
)
def test_a_cell_model_that_says_otherwise_is_refused(changes, match):
    with pytest.raises(InputError, match=match):
        cell_states(check_cell_model(type("Bad", (Lognormal,), changes)()), torch.ones(4), draws(0))
