"""A crossbar is composed of frozen parts; variants are new objects, and a warning is given once."""

import copy
import dataclasses
import pickle
import warnings

import pytest
import torch
from support.for_each import for_each
from torch import nn

from aimc_robust import (
    ADC,
    DAC,
    ArraySize,
    BitSliced,
    ConverterRanges,
    Crossbar,
    Deployment,
    Device,
    LayerRanges,
    Parasitics,
    Periphery,
    WeightLayout,
    attribute,
    load_card,
)  # fmt: skip
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.hardware.config.standard_mappings import MAPPINGS, find_mapping

OPTIONS = {
    "window": (60.0, 200.0), "mapping": "offset", "cell_bits": 4, "weight_percentile": 0.99, "scaling": "column",
    "bias_rows": 2, "rows": 64, "columns": 32, "dac": DAC(bits=6, kind="signed", full_scale=2.0),
    "adc": ADC(bits=7, range="worst-case"), "output_noise": 0.1, "read_noise": False,
    "programming": False, "drift": False,
    "error_scale": 0.5, "stuck": (0.01, 0.02), "on_out_of_range": "error",
    "parasitics": Parasitics(row_ohm=1.0, interleaved=True),
}  # fmt: skip
PARTS = {
    "device": Device(
        cell=load_card("rram-milo2021"),
        window=(60.0, 200.0),
        programming=False,
        drift=False,
        read_noise=False,
        error_scale=0.5,
        stuck=(0.01, 0.02),
        on_out_of_range="error",
    ),
    "weights": WeightLayout(
        mapping=find_mapping("offset"), scaling="column", weight_percentile=0.99, cell_bits=4
    ),
    "arrays": ArraySize(rows=64, columns=32, bias_rows=2, parasitics=Parasitics(row_ohm=1.0, interleaved=True)),
    "periphery": Periphery(
        dac=DAC(bits=6, kind="signed", full_scale=2.0), adc=ADC(bits=7, range="worst-case"), output_noise=0.1
    ),
}  # fmt: skip


def test_each_keyword_is_a_field_of_one_part():
    crossbar = Crossbar("rram-milo2021", **OPTIONS)
    assert {name: getattr(crossbar, name) for name in PARTS} == PARTS
    fields = [field.name for part in PARTS.values() for field in dataclasses.fields(part)]
    assert sorted(fields) == sorted([*OPTIONS, "cell"])


def test_equal_crossbars_are_equal_and_hashable_also_after_a_copy():
    crossbar = Crossbar("rram-milo2021", crosssim={"xbar": {}}, **OPTIONS)
    for twin in (copy.copy(crossbar), copy.deepcopy(crossbar), pickle.loads(pickle.dumps(crossbar))):
        assert twin == crossbar
        assert hash(twin) == hash(crossbar)
    assert crossbar != crossbar.replace(rows=65)
    with pytest.raises(dataclasses.FrozenInstanceError):
        crossbar.arrays = ArraySize()
    with pytest.raises(dataclasses.FrozenInstanceError):
        crossbar.arrays.rows = 3


@for_each("option", [*OPTIONS, "device", "crosssim"])
def test_replace_changes_one_option_and_keeps_the_others(option):
    plain, values = Crossbar("rram-milo2021"), {"device": "rram-wan2022", "crosssim": {"xbar": {}}, **OPTIONS}
    changed = plain.replace(**{option: values[option]})
    assert changed == Crossbar(**{"device": "rram-milo2021", option: values[option]})
    assert plain == Crossbar("rram-milo2021")


def test_replace_checks_as_the_constructor_does():
    crossbar = Crossbar("rram-milo2021", bias_rows=1)
    with pytest.raises(UnknownNameError, match=r"colums.*columns"):
        crossbar.replace(colums=3)
    with pytest.raises(InputError, match="full_scale"):
        crossbar.replace(dac=DAC(bits=8, kind="signed", full_scale=0.5))
    with pytest.raises(InputError, match="cell_bits"):
        crossbar.replace(cell_bits=99)


def test_only_a_new_window_warns_again_and_where_it_is_chosen():
    with pytest.warns(UserWarning, match="window"):
        crossbar = Crossbar("rram-milo2021", window=(25.0, 225.0))
    model, batches = nn.Linear(4, 3), [(torch.randn(6, 4), torch.arange(6) % 3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crossbar.replace(drift=False)
        crossbar.ideal()
        attribute(model, batches, crossbar, chips=1)
    with pytest.warns(UserWarning, match="window") as caught:
        crossbar.replace(window=(20.0, 225.0))
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.raises(InputError, match="window"):
        crossbar.replace(on_out_of_range="error")


def test_an_ideal_crossbar_computes_the_digital_product():
    crossbar, layer = Crossbar("rram-milo2021", **OPTIONS).ideal(), nn.Linear(6, 4)
    weight = layer.weight.detach()
    torch.testing.assert_close(crossbar.perturb("", weight, torch.Generator()), weight)
    assert not crossbar.computes_in_arrays


def test_parts_check_their_own_values():
    with pytest.raises(InputError, match="cell"):
        Device(cell="rram-milo2021")
    with pytest.raises(InputError, match="rows"):
        ArraySize(rows=-1)
    with pytest.raises(InputError, match="adc"):
        Periphery(adc=8)
    with pytest.raises(UnknownNameError, match="scaling"):
        WeightLayout(scaling="columns")


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_mapping_is_found_by_name_class_or_object(name):
    mapping = MAPPINGS[name]
    assert find_mapping(name) is find_mapping(mapping) is mapping
    assert find_mapping(type(mapping)) == mapping
    assert mapping.description.startswith(name)


def test_a_deployment_takes_any_mapping_of_ranges_and_names_what_is_wrong():
    layers = {"fc": LayerRanges(inputs=(0.0, 2.0), outputs=((-1.0, 1.0),))}
    assert Deployment(ranges=layers) == Deployment(ranges=ConverterRanges(layers))
    assert ConverterRanges(layers) == layers
    for options, name in (
        ({"backend": "nativ"}, "native"),
        ({"compensation": ("drfit",)}, "drift"),
        ({"compensation": "drift"}, "compensation"),
        ({"ranges": {"fc": (0.0, 1.0)}}, "LayerRanges"),
        ({"ranges": [1]}, "LayerRanges"),
    ):
        with pytest.raises((InputError, UnknownNameError), match=name):
            Deployment(**options)
    assert BitSliced(weight_bits=6, slices=2).description == "bit-sliced (6 bits in 2 slices)"


def test_another_device_has_its_own_window_and_stuck_cells():
    crossbar = Crossbar("rram-wan2022", window=(5.0, 20.0), stuck=(0.1, 0.0), rows=64)
    other = crossbar.replace(device="sonos-agrawal2022")
    assert (other.device.window, other.device.stuck, other.arrays.rows) == (None, None, 64)
    assert crossbar.replace(device="sonos-agrawal2022", window=(0.0, 800.0)).device.window == (0.0, 800.0)


def test_an_unknown_option_of_replace_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="rows") as caught:
        Crossbar("ideal").replace(row=3)
    assert "return" not in str(caught.value)
