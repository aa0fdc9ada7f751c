"""Placement: which pattern decides for which layer, and what is refused."""

import pickle
import re

import pytest
from support.nets import net
from torch import nn

from aimc_robust import ADC, Crossbar, Gaussian, Placement, program
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.hardware.config.placement import place

A, B = Crossbar("rram-milo2021"), Crossbar("sonos-agrawal2022", rows=64, adc=ADC(bits=8))


def names(layers: int = 3) -> nn.Module:
    """Layers `blocks.0.first`, `blocks.0.second`, ..., and `head`."""
    block = {"first": nn.Linear(4, 4), "second": nn.Linear(4, 4)}
    blocks = [nn.ModuleDict({name: nn.Linear(4, 4) for name in block}) for _ in range(layers)]
    return nn.ModuleDict({"blocks": nn.ModuleList(blocks), "head": nn.Linear(4, 2)})


def test_the_first_pattern_that_matches_decides():
    placement = Placement({"*.first": "digital", "blocks.1.*": A, "*": B})
    places = {"blocks.0.first": None, "blocks.1.first": None, "blocks.1.second": A, "blocks.0.second": B, "head": B}
    assert {layer: placement.crossbar_of(layer) for layer in places} == places
    placement.check_model(names())


def test_a_module_places_every_layer_inside_it():
    placement = Placement({"blocks.0": "digital", "blocks": A, "*": B})
    assert placement.crossbar_of("blocks.0.second") is None
    assert placement.crossbar_of("blocks.2.second") == A
    assert placement.crossbar_of("blocks.10") == A
    assert placement.crossbar_of("head") == B
    assert Placement({"attention": A, "*": B}).crossbar_of("attention.in_proj_weight") == A
    assert Placement({"attention": A, "*": B}).crossbar_of("attentions") == B


def test_patterns_are_case_sensitive_and_know_sets():
    placement = Placement({"Head": "digital", "blocks.[02]": A, "*": B})
    assert [placement.crossbar_of(f"blocks.{n}.first") for n in range(3)] == [A, B, A]
    assert placement.crossbar_of("head") == B


def test_a_crossbar_may_be_named_or_given_by_its_arguments():
    placement = Placement({"a": "rram-milo2021", "b": {"device": "sonos-agrawal2022", "rows": 64}, "*": "digital"})
    assert placement.crossbar_of("a") == A
    assert placement.crossbar_of("b") == B.replace(adc=None)
    assert placement.crossbars == (A, B.replace(adc=None))


def test_placements_are_values():
    placement = Placement({"a": "digital", "*": A})
    assert placement == Placement({"a": "digital", "*": Crossbar("rram-milo2021")})
    assert placement != Placement({"a": A, "*": A})
    assert Placement({"a": A, "b": B}) != Placement({"b": B, "a": A})
    placement.crossbar_of("a")
    assert hash(pickle.loads(pickle.dumps(placement))) == hash(placement)
    assert placement.computes_in_arrays is False
    assert Placement({"a": B, "*": A}).computes_in_arrays is True


def test_map_changes_every_crossbar():
    changed = Placement({"a": "digital", "b": B, "*": A}).map(lambda crossbar: crossbar.replace(error_scale=0.0))
    assert changed == Placement({"a": "digital", "b": B.replace(error_scale=0.0), "*": A.replace(error_scale=0.0)})


def test_place_puts_the_rest_on_the_crossbar():
    assert place(A, None) == A
    assert place(A, {"head": "digital"}) == Placement({"head": "digital", "*": A})
    with pytest.raises(InputError, match=r"pattern '\*', which leaves no layer to the crossbar"):
        place(A, {"head": "digital", "*": B})
    with pytest.raises(InputError, match="has patterns already"):
        place(Placement({"*": A}), {"head": "digital"})


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, "needs a crossbar for some layers"),
        ({"*": "digital"}, "needs a crossbar for some layers"),
        ({"a": None}, "takes 'digital' or a crossbar, got None"),
        ({"a": Gaussian(0.1)}, "takes 'digital' or a crossbar"),
        ({"a": 3}, "a device is the name of a card"),
        ({3: A}, "a pattern must be text"),
        ({"": A}, "a pattern must be text"),
        ([("a", A)], "layers must be a mapping of patterns"),
    ],
)
def test_what_is_no_placement_is_refused(layers, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Placement(layers)


def test_an_unknown_device_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'rram-milo2021'"):
        Placement({"a": "rram-milo2012"})
    with pytest.raises(UnknownNameError, match="argument of Crossbar"):
        Placement({"a": {"device": "rram-milo2021", "row": 3}})


def test_a_pattern_without_a_layer_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no layer .* 'haed': did you mean 'head'\? Layers: blocks\.0\.first"):
        Placement({"haed": "digital", "*": A}).check_model(names())
    with pytest.raises(UnknownNameError, match=r"did you mean 'blocks\.0'\?"):
        Placement({"block.0": "digital", "*": A}).check_model(names())


def test_patterns_that_contradict_are_refused():
    with pytest.raises(InputError, match=r"'head' contradicts '\*', which comes first and places 'head' elsewhere"):
        Placement({"*": A, "head": "digital"}).check_model(names())
    with pytest.raises(InputError, match=r"'\*\.first' contradicts 'blocks'"):
        Placement({"blocks": B, "*.first": A, "*": A}).check_model(names())
    Placement({"blocks": B, "*.first": B, "*": A}).check_model(names())  # says twice the same
    Placement({"blocks.0": B, "*.first": A, "*": "digital"}).check_model(names())  # decides for some


def test_a_layer_that_no_pattern_covers_is_named():
    with pytest.raises(InputError, match=r"no pattern covers 'blocks\.0\.second', .* add one, such as '\*'"):
        Placement({"*.first": A, "head": "digital"}).check_model(names())
    with pytest.raises(InputError, match="no pattern covers 'head'"):
        Placement({"blocks": A}).crossbar_of("head")


def test_layers_that_share_a_weight_are_on_one_crossbar():
    model = names()
    model["blocks"][1]["first"].weight = model["blocks"][0]["first"].weight
    Placement({"*.first": B, "*": A}).check_model(model)
    with pytest.raises(InputError, match=r"'blocks\.0\.first' and 'blocks\.1\.first' share one weight"):
        Placement({"blocks.0": B, "*": A}).check_model(model)


def test_program_refuses_what_the_model_does_not_have():
    with pytest.raises(UnknownNameError, match="no layer of the model matches the pattern '5'"):
        program(net(), A, layers={"5": "digital"})
    with pytest.raises(InputError, match=r"crossbar must be a Crossbar such as .* or a Placement"):
        program(net(), {"0": "digital", "*": A})
    with pytest.raises(InputError, match=r"the patterns before '\*' take all layers, such as '0', and leave none"):
        program(net(), A, layers={"0": "digital", "4": "digital", "6": "digital"})


def test_a_wrapped_model_has_the_same_names():
    model = nn.DataParallel(net())
    Placement({"0": "digital", "*": A}).check_model(model)


def test_a_device_without_drift_is_accepted_at_any_time_beside_one_that_drifts(recwarn):
    program(net(), Crossbar("pcm-nandakumar2019"), layers={"0": A}, time_s=3600.0)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="rram-milo2021: the device has no drift"):
        program(net(), A, layers={"0": A.replace(error_scale=2.0)}, time_s=3600.0)
