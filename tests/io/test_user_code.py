"""Code of the user's own: refused before it is imported where that is asked for, told by name where it fails."""

import sys

import pytest
import torch
from support.command_line import invoke
from torch import nn

from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.devices.library import load_cell_model
from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.user_code import construct, import_callable, user_code

SOURCE = """
from pathlib import Path

import torch

from aimc_robust.devices.cell_model import CellModel

Path(__file__).with_name("imported").touch()


class Cell(CellModel):
    name, unit, window = "mine", "uS", (1.0, 20.0)

    def programming_std(self, target):
        raise KeyError("no such state")


def network(**options):
    return torch.nn.Flatten()


def noise():
    from aimc_robust.noise.distributions import Gaussian
    return Gaussian(0.1)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "foreign_code.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("foreign_code", None)


USES = {
    "network": ('name = "small-cnn"', 'name = "foreign_code:network"'),
    "device": ('"gaussian-0.2"', '{ device = "foreign_code:Cell" }'),
    "target by reference": ('"gaussian-0.2"', '"foreign_code:Cell"'),
    "noise": ('"gaussian-0.2"', '{ noise = "foreign_code:noise" }'),
    "mapping": ('"gaussian-0.2"', '{ device = "rram-wan2022", mapping = "foreign_code:Mapping" }'),
    "metric": ('name = "tiny"', 'name = "tiny"\nmetrics = ["foreign_code:network"]'),
    "metric that was seen before": (
        'name = "tiny"',
        'name = "tiny"\nmetrics = ["foreign_code:network"]\ncode_digests = { "foreign_code:network" = "0" }',
    ),
    "noise of a method": ("[methods.sgd]", '[methods.sgd]\n[methods.odd]\nkind = "rwp"\nnoise = "foreign_code:noise"'),
}


@pytest.mark.parametrize("change", USES.values(), ids=list(USES))
def test_nothing_is_imported_where_code_is_refused(change, module, write_spec):
    path = write_spec(change)
    with pytest.raises(InputError, match=r"foreign_code:.*--no-user-code"):
        load_spec(path, user_code=False)
    told = invoke("--no-user-code", "plan", path, cwd=module)
    assert told.returncode == 2
    assert "foreign_code" in told.stderr
    assert not (module / "imported").exists()


def test_a_spec_without_code_is_the_same_and_the_refusal_ends_with_its_block(module, write_spec):
    assert load_spec(write_spec(), user_code=False) == load_spec(write_spec())
    with user_code(False), user_code(True), pytest.raises(InputError, match="no-user-code"):
        import_callable("foreign_code:network", what="model")
    assert isinstance(construct("foreign_code:network", nn.Module, what="model"), nn.Module)


@pytest.mark.parametrize("reference", ["os:system", "subprocess:run", "os.path:join"])
def test_functions_of_the_standard_library_are_never_called(reference):
    with pytest.raises(InputError, match="standard library"):
        construct(reference, nn.Module, what="model", options={"command": "false"})


def test_a_function_of_the_standard_library_is_refused_under_any_name(tmp_path, monkeypatch):
    (tmp_path / "borrowed_code.py").write_text("from os import system\nfrom shutil import rmtree\nrun = exec\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("system", "rmtree", "run"):
        with pytest.raises(InputError, match="standard library"):
            import_callable(f"borrowed_code:{name}", what="model")


@pytest.mark.parametrize(
    "change",
    [
        ('name = "small-cnn"', 'name = "os:system"'),
        ('name = "digits"', 'name = "os:system"'),
        ('"gaussian-0.2"', '"os:system"'),
    ],
)
def test_no_part_of_a_spec_calls_the_standard_library(change, write_spec, tmp_path):
    told = invoke("compare", write_spec(change), "--out", tmp_path / "out")
    assert told.returncode == 2
    assert "os:system" in told.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_a_class_of_another_kind_is_refused_before_it_is_called(module):
    with pytest.raises(InputError, match="is a class, but no Module"):
        import_callable("foreign_code:Cell", what="model", kind=nn.Module)


def test_what_a_users_method_raises_is_told_with_its_name(module):
    cell = load_cell_model("foreign_code:Cell")
    with pytest.raises(InputError, match=r"cell model mine: programming_std raised KeyError.*no such state"):
        programming_std(cell, torch.ones(3))
