"""Named-axis seeding: the same names give the same numbers anywhere, and nothing touches the global generators."""

import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from aimc_robust import Axes, Crossbar, Gaussian, Laplace, perturbed, program, seeding
from aimc_robust.seeding import global_seed


def draw(axes: Axes) -> list[float]:
    return torch.randn(4, generator=axes.generator()).tolist()


names = st.text(min_size=1, max_size=8)
values = st.one_of(st.text(max_size=8), st.integers(-(2**40), 2**40))


@given(axes=st.dictionaries(names, values, min_size=1, max_size=5), data=st.data())
def test_the_order_of_axes_does_not_matter(axes, data):
    shuffled = dict(data.draw(st.permutations(list(axes.items()))))
    one_by_one = Axes(0)
    for name, value in shuffled.items():
        one_by_one = one_by_one.at(**{name: value})
    assert one_by_one == Axes(0).at(**axes)
    assert one_by_one.seed() == Axes(0).at(**axes).seed()


@pytest.mark.parametrize(
    "other",
    [
        Axes(1).at(chip=3, layer="conv1"),
        Axes(0).at(chip=4, layer="conv1"),
        Axes(0).at(chip=3, layer="conv2"),
        Axes(0).at(step=3, layer="conv1"),
        Axes(0).at(chip="3", layer="conv1"),
        Axes(0).at(chip=3),
        Axes(0).at(chip=3, layer="conv1", effect="read"),
        Axes(0).at(layer=3, chip="conv1"),
    ],
)
def test_names_and_values_matter(other):
    axes = Axes(0).at(chip=3, layer="conv1")
    assert axes.seed() != other.seed()
    assert draw(axes) != draw(other)


def test_an_axis_given_twice_takes_the_last_value():
    assert Axes(0).at(chip=1).at(chip=2) == Axes(0).at(chip=2)


def test_each_generator_starts_afresh():
    axes = Axes(0).at(chip=3)
    assert draw(axes) == draw(axes)


def numbers():
    axes = Axes(7).at(chip=3, layer="layer1.0.conv\u00e9")
    return [axes.seed(), *torch.randn(4, generator=axes.generator()).double().tolist()]


@pytest.mark.slow
def test_another_process_gets_the_same_numbers(other_process):
    assert other_process["numbers"] == numbers()


def test_thousands_of_axes_do_not_collide():
    layers = [f"layer{i}.{j}.conv{k}" for i, j, k in itertools.product(range(4), range(2), range(1, 3))]
    seeds = [
        Axes(root).at(chip=chip, layer=layer).seed()
        for root, chip, layer in itertools.product(range(5), range(50), layers)
    ]
    assert len(seeds) == 4000
    assert len({seed % 2**32 for seed in seeds}) == 4000  # the part of the seed that torch's CPU generator uses


def test_neighbouring_chips_are_uncorrelated():
    draws = torch.stack([torch.randn(20_000, generator=Axes(0).at(chip=chip).generator()) for chip in range(6)])
    correlation = torch.corrcoef(draws) - torch.eye(6)
    assert correlation.abs().max() < 5 / 20_000**0.5


@pytest.mark.parametrize("noise", [Gaussian(0.1), Laplace(0.1), Crossbar("rram-milo2021")], ids=["g", "l", "crossbar"])
@pytest.mark.parametrize("generator", [torch.Generator().manual_seed(0), Axes(0)], ids=["generator", "axes"])
def test_perturbing_leaves_the_global_generators_alone(noise, generator):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with perturbed(model, noise, generator=generator):
        pass
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


def test_programming_leaves_the_global_generators_alone_and_does_not_heed_them():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    programmed = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        programmed.append(program(model, Crossbar("rram-milo2021"), chip_seed=0, chip=3)[0].weight)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*programmed)


@pytest.mark.parametrize("has_accelerator", [False, True])
def test_a_global_seed_gives_the_numbers_of_manual_seed_and_the_state_comes_back(has_accelerator, monkeypatch):
    monkeypatch.setattr(seeding, "_has_accelerator", lambda: has_accelerator)
    torch.manual_seed(7)
    expected = torch.rand(3)
    before = torch.get_rng_state()
    with global_seed(7):
        assert torch.equal(torch.rand(3), expected)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_a_global_seed_is_one_of_the_gpu_too(accelerator):
    rng = torch.get_device_module(accelerator)
    expected = torch.rand(3, device=accelerator, generator=torch.Generator(accelerator).manual_seed(7))
    before = rng.get_rng_state()
    with global_seed(7, accelerator):
        assert torch.equal(torch.rand(3, device=accelerator), expected)
    assert torch.equal(rng.get_rng_state(), before)


def test_a_global_seed_restores_a_device_whose_functions_take_none(monkeypatch):
    """MPS has one device."""
    module = SimpleNamespace(state=5)
    module.get_rng_state = lambda: module.state
    module.set_rng_state = lambda state: setattr(module, "state", state)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    with global_seed(7, torch.device("mps")):
        module.state = 7
    assert module.state == 5
