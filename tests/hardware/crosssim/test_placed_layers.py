"""Layers on several crossbars, in CrossSim."""

import pytest
import torch
from support.models import fill
from torch import nn

from aimc_robust import Crossbar, Deployment, Placement, program
from aimc_robust.errors import InputError
from aimc_robust.hardware.crosssim.json_export import crosssim_json

A, B = Crossbar("rram-milo2021"), Crossbar("rram-wan2022", mapping="offset", cell_bits=5)


def test_parameters_of_a_placement_are_those_of_each_crossbar():
    with pytest.raises(InputError, match="of a Placement, its crossbar_of"):
        crosssim_json(Placement({"0": "digital", "*": A}))


def test_each_layer_is_computed_with_the_parameters_of_its_own_crossbar():
    pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed")
    model = fill(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Linear(4, 3)))
    deployment = Deployment(backend="crosssim")
    placed = program(model, Placement({"0": "digital", "2": B, "*": A}), chip=2, deployment=deployment)
    on_a, on_b = (program(model, crossbar, chip=2, deployment=deployment) for crossbar in (A, B))
    assert torch.equal(placed[0].weight, model[0].weight)
    for number, whole in ((2, on_b), (3, on_a)):
        assert torch.equal(placed[number].arrays.programmed, whole[number].arrays.programmed)
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = on_a[3](on_b[2](model[:2](x)))
        assert torch.allclose(placed(x), expected, atol=1e-6)


def test_layers_that_crosssim_lacks_may_be_digital():
    pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed")
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 4), "fc": nn.Linear(4, 2)})
    deployment = Deployment(backend="crosssim")
    with pytest.raises(InputError, match="has no form of"):
        program(model, A, deployment=deployment)
    placed = program(model, A, layers={"lstm": "digital"}, deployment=deployment)
    assert isinstance(placed["lstm"], nn.LSTM)
