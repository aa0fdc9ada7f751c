"""A user's own cell model takes the place of a card: as an object, as an import path, with checked results."""

import json
import sys
import tomllib

import numpy as np
import pytest
import torch
from support.draws import draws
from support.moments import state_moments
from torch import nn

import aimc_robust as ar
from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import read_std
from aimc_robust.devices.library import load_card, load_cell_model
from aimc_robust.devices.states import cell_states
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.targets.build import build_target, self_contained_target
from aimc_robust.targets.command_line import target_tables

DAY_S = 86400.0
CARD = load_card(
    {
        "name": "equivalent",
        "technology": "test",
        "state": "conductance",
        "unit": "uS",
        "source": {"citation": "a polynomial error, a drift of the logarithm of time"},
        "range": {"min": 1.0, "max": 20.0, "limits": [0.0, 25.0]},
        "programming": {"kind": "polynomial", "coefficients": [0.2, 0.03]},
        "drift": {"kind": "logarithmic", "limits_s": [0.0, 1e6], "mean_ln": -0.02, "std_ln": 0.01, "std_offset": 0.1},
        "read": {"kind": "polynomial", "coefficients": [0.05]},
    }
)


class MyCell(CellModel):
    """The same device in Python."""

    name = "my-cell"
    unit = "uS"
    window = (1.0, 20.0)
    limits = (0.0, 25.0)
    read_noise_depends_on_time = False

    def programming_std(self, target):
        return torch.full_like(target, 0.03).mul_(target).add_(0.2).clamp_(min=0.0)

    def age(self, cells, draw, time_s):
        t_ln = np.log(max(time_s, 1.0))
        eta = draw("drift", cells.target)
        return eta.mul(max(0.01 * t_ln + 0.1, 0.0)).add_(-0.02 * t_ln).add_(cells.programmed)

    def read_std(self, states, time_s):
        return torch.full_like(states.now, 0.05)


SOURCE = """
import torch

from aimc_robust.devices.cell_model import CellModel


class Cell(CellModel):
    name = "from-a-file"
    unit = "1"
    window = (0.0, 1.0)

    def programming_std(self, target):
        return torch.full_like(target, 0.05)


def make():
    return Cell()


def fails():
    raise RuntimeError("no parameters found")


def text():
    return "a cell"
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The path of a module `own_cells` in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "own_cells.py"
    path.write_text(SOURCE, encoding="utf-8")
    yield path
    sys.modules.pop("own_cells", None)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize("time_s", [0.0, DAY_S])
@pytest.mark.parametrize("options", [{}, {"error_scale": 0.5}, {"programming": False}, {"stuck": (0.1, 0.1)}], ids=str)
def test_the_states_are_bit_equal_to_those_of_the_equivalent_card(time_s, options):
    target = torch.linspace(1.0, 20.0, 500)
    ours, card = (cell_states(cell, target, draws(3), time_s=time_s, **options) for cell in (MyCell(), CARD))
    assert torch.equal(ours.programmed, card.programmed)
    assert torch.equal(ours.now, card.now)
    assert torch.equal(read_std(MyCell(), ours, time_s=time_s), read_std(CARD, card, time_s=time_s))


@pytest.mark.parametrize("time_s", [0.0, DAY_S])
def test_the_chips_are_bit_equal_to_those_of_the_equivalent_card(net, time_s):
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    ours, card = (ar.program(net, ar.Crossbar(cell), chip=2, time_s=time_s)(x) for cell in (MyCell(), CARD))
    assert torch.equal(ours, card)
    assert not torch.equal(ours, net(x))


def test_the_moments_are_those_of_the_equivalent_card():
    target = torch.linspace(1.0, 20.0, 50, dtype=torch.float64)
    ours, card = (state_moments(cell, target, time_s=DAY_S) for cell in (MyCell(), CARD))
    torch.testing.assert_close(ours, card, rtol=1e-12, atol=1e-12)


def test_accuracy_is_evaluated_on_it(net):
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    batches = [(x, net(x).argmax(1))]
    ours, card = (ar.evaluate(net, batches, ar.Crossbar(cell), chips=4) for cell in (MyCell(), CARD))
    assert ours.mean == card.mean
    assert 0 < ours.mean <= 100


def test_its_defaults_have_no_drift_and_no_read_noise():
    class Plain(CellModel):
        name, unit, window = "plain", "1", (0.0, 1.0)

        def programming_std(self, target):
            return 0.1 * target

    cell = load_cell_model(Plain)
    assert not cell.has_drift
    assert not cell.has_read_noise
    assert not cell.depends_on_time
    assert cell.state_kind == "relative"
    target = torch.rand(100)
    states = cell_states(cell, target, draws(1), time_s=DAY_S)
    assert states.now is states.programmed
    assert not read_std(cell, states).any()
    with pytest.warns(UserWarning, match="drift"):
        ar.program(nn.Linear(2, 2), ar.Crossbar(cell), time_s=DAY_S)


@pytest.mark.parametrize("name", ["make", "Cell"])
def test_it_is_found_by_its_import_path(module, name):
    assert load_cell_model(f"own_cells:{name}").name == "from-a-file"
    assert ar.Crossbar(f"own_cells:{name}").device.cell.name == "from-a-file"
    for target in (f"own_cells:{name}", {"device": f"own_cells:{name}", "rows": 64}):
        assert build_target(target).name == "from-a-file"


def test_a_recorded_target_holds_the_digest_of_its_source(module):
    target = {"device": "own_cells:make", "rows": 64}
    recorded = self_contained_target(target, module.parent)
    assert recorded["device"] == "own_cells:make"
    assert list(recorded["code_digests"]) == ["own_cells:make"]
    assert self_contained_target(recorded, module.parent) == recorded
    assert build_target(recorded) == build_target(target) or build_target(recorded).name == build_target(target).name
    assert json.loads(json.dumps(recorded)) == recorded
    module.write_text(SOURCE.replace("0.05", "0.06"), encoding="utf-8")
    assert self_contained_target(target, module.parent)["code_digests"] != recorded["code_digests"]


def test_the_command_line_takes_it_as_a_device(module):
    tables = target_tables(["own_cells:make"], [0.0, DAY_S], tomllib.loads("rows = 64"))
    assert [(table["device"], table["rows"]) for table in tables] == [("own_cells:make", 64)]  # no drift: one time


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("own_cells:nothing", ["own_cells:nothing", "no function nothing"]),
        ("own_cellar:make", ["own_cellar:make", "there is no module own_cellar"]),
        ("own_cells:fails", ["own_cells:fails", "no parameters found"]),
        ("own_cells:text", ["own_cells:text", "str", "CellModel"]),
    ],
)
def test_an_import_path_without_a_cell_model_is_named(module, reference, words):
    with pytest.raises(InputError) as caught:
        load_cell_model(reference)
    assert [word for word in words if word not in str(caught.value)] == []


def test_an_unknown_device_is_answered_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="'ideal'"):
        load_cell_model("ideel")
    with pytest.raises(InputError, match="CellModel"):
        load_cell_model(3)


def test_a_card_by_name_is_a_cell_model_too():
    assert load_cell_model("ideal") == load_card("ideal")
    assert isinstance(load_card("ideal"), ar.CellModel)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"name": None}, ["name"]),
        ({"name": "My Cell"}, ["name", "My Cell"]),
        ({"unit": "S"}, ["unit", "'S'", "'uS'"]),
        ({"window": (1.0,)}, ["window", "(1.0,)"]),
        ({"window": (20.0, 1.0)}, ["window", "20 to 1"]),
        ({"window": (0.0, float("nan"))}, ["window"]),
        ({"limits": (2.0, 20.0)}, ["limits", "2 to 20"]),
        ({"stuck_fractions": (0.6, 0.6)}, ["stuck_fractions"]),
    ],
)
def test_invalid_attributes_are_named(attributes, words):
    with pytest.raises(InputError) as caught:
        load_cell_model(type("Other", (MyCell,), attributes))
    assert [word for word in words if word not in str(caught.value)] == []


def in_place(tensor):
    return tensor.mul_(2.0)


BAD_RESULTS = {
    "NaN": (lambda x: torch.full_like(x, float("nan")), "NaN"),
    "infinity": (lambda x: torch.full_like(x, float("inf")), "infinity"),
    "shape": (lambda x: x[:-1], "shape"),
    "number": (lambda x: 0.1, "float"),
    "in place": (in_place, "in place"),
}


@pytest.mark.parametrize("fault", [*BAD_RESULTS, "negative"])
def test_an_invalid_programming_error_is_refused_naming_model_and_method(fault):
    result, word = BAD_RESULTS.get(fault, (lambda x: x - 100.0, "at least 0"))
    cell = type("Bad", (MyCell,), {"programming_std": lambda self, target: result(target)})()
    with pytest.raises(InputError, match="programming_std") as caught:
        cell_states(cell, torch.linspace(1.0, 20.0, 9), draws(0))
    assert word in str(caught.value)


@pytest.mark.parametrize("fault", [*BAD_RESULTS, "effect"])
def test_an_invalid_drift_is_refused_naming_model_and_method(fault):
    def age(self, cells, draw, time_s):
        return draw("stuck", cells.target) if fault == "effect" else BAD_RESULTS[fault][0](cells.programmed)

    cell = type("Bad", (MyCell,), {"age": age})()
    with pytest.raises(InputError, match="my-cell: age") as caught:
        cell_states(cell, torch.linspace(1.0, 20.0, 9), draws(0), time_s=5.0)
    assert (BAD_RESULTS[fault][1] if fault in BAD_RESULTS else "'stuck'") in str(caught.value)


@pytest.mark.parametrize("fault", [*BAD_RESULTS, "negative"])
def test_an_invalid_read_noise_is_refused_naming_model_and_method(fault):
    result, word = BAD_RESULTS.get(fault, (lambda x: x - 100.0, "at least 0"))
    cell = type("Bad", (MyCell,), {"read_std": lambda self, states, time_s: result(states.now)})()
    states = cell_states(cell, torch.linspace(1.0, 20.0, 9), draws(0))
    with pytest.raises(InputError, match="read_std") as caught:
        read_std(cell, states)
    assert word in str(caught.value)


def test_a_result_that_shares_memory_with_its_argument_changes_nothing():
    cell = type(
        "Same", (MyCell,), {"programming_std": lambda self, target: target, "age": lambda self, c, d, t: c.target}
    )
    target = torch.linspace(1.0, 20.0, 9)
    before = target.clone()
    cell_states(cell(), target, draws(0), time_s=5.0, stuck=(0.5, 0.5))
    assert torch.equal(target, before)


def test_crosssim_refuses_it_by_name():
    from aimc_robust.hardware.crosssim.devices import device_parameters

    with pytest.raises(InputError, match=r"my-cell.*native"):
        device_parameters(ar.Crossbar(MyCell()))
