"""A user's own mapping and noise, by import path: bit-equal to the built-in ones, refused in one sentence if wrong."""

import sys

import pytest
import torch
from support.methods import build_method
from torch import nn

import aimc_robust as ar
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.noise.base import WeightNoise
from aimc_robust.report.comparison.text import method_settings
from aimc_robust.targets.build import build_target, self_contained_target
from aimc_robust.targets.command_line import target_tables

SOURCE = '''
from dataclasses import dataclass

import torch

from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.standard_mappings import BitSliced
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian


@dataclass(frozen=True)
class Pair(WeightMapping):
    """One-sided differential pairs, written again."""

    signs = (1.0, -1.0)

    def to_states(self, u, g_min, cell_bits):
        for sign in self.signs:
            yield u.mul(sign).clamp(min=0.0).mul_(1.0 - g_min).add_(g_min)

    def factors(self, g_min, cell_bits):
        return (1.0 / (1.0 - g_min),), 0.0


class Noise(WeightNoise):
    """Gaussian noise of scale filter_max, written again."""

    accepts_axes = True

    def __init__(self, sigma=0.1):
        self.sigma = sigma

    def perturb(self, name, weight, generator):
        return Gaussian(self.sigma).perturb(name, weight, generator)


def sliced():
    return BitSliced(weight_bits=6, slices=2)


def digital():
    return Noise(0.2)


def named_digital():
    from aimc_robust.devices.cell_model import CellModel

    class Cell(CellModel):
        name = "digital"
        unit = "1"
        window = (0.0, 1.0)

        def programming_std(self, target):
            return torch.full_like(target, 0.1)

    return Cell()


def crossbar():
    from aimc_robust import Crossbar

    return Crossbar("rram-milo2021", rows=64)


def fails():
    raise RuntimeError("no time today")


def text():
    return "a mapping"


def strong_noise(sigma):
    return Noise(sigma)
'''


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """The path of a module `own_code` in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own_code.py"
    path.write_text(SOURCE, encoding="utf-8")
    yield path
    sys.modules.pop("own_code", None)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def weights_on_chip(model, crossbar):
    return [p.detach() for p in ar.program(model, crossbar, chip=2, time_s=3600.0).parameters()]


@pytest.mark.parametrize(
    ("own", "built_in"), [("own_code:Pair", "one-sided"), ("own_code:sliced", ar.BitSliced(weight_bits=6, slices=2))]
)
@pytest.mark.parametrize("scaling", ["layer", "column"])
def test_a_mapping_in_python_is_bit_equal_to_the_built_in_one(model, own, built_in, scaling):
    options = {"scaling": scaling, "bias_rows": 1, "read_noise": False}
    expected = ar.Crossbar("sonos-agrawal2022", mapping=built_in, **options)
    by_path = ar.Crossbar("sonos-agrawal2022", mapping=own, **options)
    by_object = ar.Crossbar("sonos-agrawal2022", mapping=by_path.weights.mapping, **options)
    from_spec = build_target({"device": "sonos-agrawal2022", "mapping": own, **options}).condition
    assert by_path == by_object == from_spec
    for crossbar in (by_path, by_object, from_spec):
        pairs = zip(weights_on_chip(model, crossbar), weights_on_chip(model, expected), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_mapping_in_python_computes_in_arrays_as_the_built_in_one(model):
    x, converters = torch.randn(5, 6), {"rows": 4, "dac": ar.DAC(bits=6), "adc": ar.ADC(bits=6)}
    outputs = []
    for mapping in ("own_code:Pair", "one-sided"):
        crossbar = ar.Crossbar("rram-wan2022", mapping=mapping, **converters)
        deployment = ar.Deployment(ranges=ar.calibrate(model, crossbar, [x]))
        outputs.append(ar.program(model, crossbar, deployment=deployment)(x).detach())
    assert torch.equal(*outputs)


def test_a_noise_in_python_is_bit_equal_to_the_built_in_one(model):
    batches = [(torch.randn(40, 6), torch.arange(40) % 3)]
    expected = ar.evaluate(model, batches, ar.Gaussian(0.1), chips=3).table
    targets = [
        build_target("own_code:Noise"),
        build_target({"noise": "own_code:Noise"}),
        build_target({"name": "mine", "noise": "own_code:strong_noise", "sigma": 0.1}),
    ]
    assert [target.name for target in targets] == ["Noise", "Noise", "mine"]
    for target in targets:
        assert isinstance(target.condition, WeightNoise)
        assert ar.evaluate(model, batches, target.condition, chips=3).table.equals(expected)


def test_a_method_trains_with_a_noise_or_a_mapping_of_the_users():
    assert build_method("rwp", {"noise": "own_code:Noise"}, seed=0).noise.sigma == 0.1
    named = {"name": "mine", "noise": "own_code:strong_noise", "sigma": 0.3}
    assert build_method("rwp", {"noise": named}, seed=0).noise.sigma == 0.3
    device = {"device": "rram-milo2021", "mapping": "own_code:Pair"}
    noise = build_method("rwp", {"noise": device}, seed=0).noise
    assert isinstance(noise.weights.mapping, WeightMapping)
    weight, generators = torch.randn(4, 5), [torch.Generator().manual_seed(0) for _ in range(2)]
    expected = ar.Crossbar("rram-milo2021").perturb("", weight, generators[0])
    assert torch.equal(noise.perturb("", weight, generators[1]), expected)


def test_a_function_may_return_a_crossbar():
    assert build_target("own_code:crossbar").condition == ar.Crossbar("rram-milo2021", rows=64)


@pytest.mark.parametrize("key", ["mapping", "noise"])
@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("own_code:text", ["returned str"]),
        ("own_code:fails", ["cannot be built", "no time today"]),
        ("own_code:absent", ["no function absent"]),
        ("nowhere:thing", ["there is no module nowhere"]),
    ],
)
def test_wrong_code_is_refused_in_a_sentence_that_names_it(key, function, parts):
    table = {"device": "rram-milo2021", "mapping": function} if key == "mapping" else {"noise": function}
    with pytest.raises(InputError) as caught:
        build_target(table)
    message = str(caught.value)
    assert [part for part in [key, function, *parts] if part not in message] == []
    assert "\n" not in message


def test_a_target_that_returns_neither_a_device_nor_a_noise_is_refused():
    with pytest.raises(InputError, match=r"own_code:text.*CellModel or a WeightNoise"):
        build_target("own_code:text")
    with pytest.raises(InputError, match="own_code:text"):
        ar.Crossbar("rram-milo2021", mapping="own_code:text")
    with pytest.raises(InputError, match=r"own_code:Noise.*sgima"):
        build_target({"noise": "own_code:Noise", "sgima": 0.1})
    with pytest.raises(UnknownNameError, match="own_code"):
        build_target("own_code")  # a name without a colon is the name of a card


@pytest.mark.parametrize("entry", [{"noise": "own_code:digital"}, {"device": "own_code:named_digital"}])
def test_only_exact_weights_are_named_digital(entry, tiny, tmp_path):
    with pytest.raises(InputError, match=r"the name of a target .*`digital` is reserved"):
        build_target(entry)
    assert build_target(entry | {"name": "mine"}).name == "mine"
    path = tmp_path / "spec.toml"
    path.write_text(
        tiny.replace('"gaussian-0.2"', "{" + " ".join(f'{key} = "{code}"' for key, code in entry.items()) + "}")
    )
    with pytest.raises(InputError, match=r"targets: .*`digital` is reserved"):
        ar.load_spec(path)


def test_a_results_folder_records_a_digest_of_the_users_code(module):
    tables = [
        self_contained_target({"device": "rram-milo2021", "mapping": "own_code:Pair"}, module.parent),
        self_contained_target({"noise": "own_code:Noise"}, module.parent),
        *target_tables(["own_code:Noise"], [0.0], {}),
    ]
    assert tables[1] == tables[2]
    assert [list(table["code_digests"]) for table in tables] == [["own_code:Pair"], *[["own_code:Noise"]] * 2]
    module.write_text(SOURCE + "\n", encoding="utf-8")
    changed = self_contained_target({"noise": "own_code:Noise"}, module.parent)
    assert changed["code_digests"] != tables[1]["code_digests"]
    assert build_target(changed).name == "Noise"


def test_changed_code_of_a_target_is_named(tiny, module, tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(tiny.replace('"gaussian-0.2"', '"own_code:Noise"'))
    before = ar.load_spec(path)
    module.write_text(SOURCE + "\n", encoding="utf-8")
    assert before.differences(ar.load_spec(path)) == ["the code of own_code:Noise"]


def test_a_methods_noise_by_import_path_is_shown_by_its_reference(tiny, tmp_path):
    path = tmp_path / "spec.toml"
    text = tiny.replace("[methods.m-rwp]\nsigma = 0.1\n", '[methods.m-rwp]\nnoise = "own_code:Noise"\n')
    assert text != tiny
    path.write_text(text)
    assert "noise own_code:Noise" in method_settings(ar.load_spec(str(path)), "m-rwp")
