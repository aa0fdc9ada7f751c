"""The proposed layers beside those that a target places itself: what is pasted into a spec is what was confirmed."""

import tomllib

import pytest
from torch import nn

from aimc_robust.errors import UnknownNameError
from aimc_robust.experiments.recommend.places import digital_by_choice, given_places
from aimc_robust.report.recommendation.digital_layers import spec_lines
from aimc_robust.targets.build import build_target
from aimc_robust.targets.command_line import target_tables

MODEL = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("0", "4", "9", "head")})
CASES = {
    "digital": (["0=digital"], ["9"], '{ 0 = "digital", 9 = "digital" }'),
    "a crossbar": (["0=digital", "4=rram-milo2021"], ["9"], '{ 0 = "digital", 9 = "digital", 4 = "rram-milo2021" }'),
    "replaced": (["4=rram-milo2021", "head=digital"], ["4"], '{ 4 = "digital", head = "digital" }'),
    "before a wider pattern": (["?=rram-milo2021"], ["9"], '{ 9 = "digital", "?" = "rram-milo2021" }'),
    "alone": ([], ["head", "0"], '{ head = "digital", 0 = "digital" }'),
}


def kept(layers, ranked):
    return {"layers": layers, "ranking": [{"layer": layer} for layer in ranked], "judgement": "confirmed"}


@pytest.mark.parametrize("case", CASES)
def test_the_own_places_stay_and_the_pasted_table_is_the_confirmed_one(case):
    options, proposed, text = CASES[case]
    (target,) = target_tables(["rram-wan2022"], [0.0], {}, options)
    before = build_target(target).condition
    own = digital_by_choice(MODEL, before) if options else []
    _, code = spec_lines(kept(proposed, [name for name in MODEL if name not in own]), given_places(target))
    assert code.text == f"layers = {text}"
    pasted = build_target({"device": "rram-wan2022", **tomllib.loads(code.text)}).condition
    pasted.check_model(MODEL)
    for name in MODEL:
        assert pasted.crossbar_of(name) == (None if name in proposed else before.crossbar_of(name))


def test_a_table_of_a_pattern_keeps_its_keys_and_a_card_that_is_no_librarys_is_whole():
    tables = ["0={device = 'rram-milo2021', adc = {bits = 6}}", "4={device = 'rram-milo2021', rows = 64}"]
    (target,) = target_tables(["rram-wan2022"], [0.0], {}, tables)
    target["layers"][1][1]["device"]["name"] = "mine"
    (_, first), (_, second) = given_places(target)
    assert first == {"device": "rram-milo2021", "adc": {"bits": 6}}
    assert second["device"]["name"] == "mine"
    _, code = spec_lines(kept(["9"], ["0", "4", "9", "head"]), given_places(target))
    assert tomllib.loads(code.text)["layers"] == {"9": "digital", "0": first, "4": second}


def test_a_pattern_that_matches_nothing_is_refused():
    (target,) = target_tables(["rram-wan2022"], [0.0], {}, ["haed=digital"])
    with pytest.raises(UnknownNameError, match="did you mean 'head'"):
        digital_by_choice(MODEL, build_target(target).condition)


def test_without_a_proposal_nothing_is_shown_to_paste():
    assert spec_lines(kept([], ["0"]), []) == []
    assert spec_lines(kept(["0"], ["0"]) | {"judgement": "no proposal"}, []) == []
