"""Targets whose layers are on several crossbars: from a spec's table or a command line to rows and report."""

import json
import sys
import tomllib

import jsonschema
import pandas as pd
import pytest
from support.command_line import invoke
from support.fixtures.comparison import run_spec
from support.fixtures.report import figures_as_stubs
from support.methods import build_method

from aimc_robust import ADC, DAC, Crossbar, Placement
from aimc_robust.devices.library import cards_folder, load_card
from aimc_robust.errors import InputError, ResultsError, UnknownNameError
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.experiments.spec.schema import spec_schema
from aimc_robust.io.toml import load_toml, parse_settings
from aimc_robust.report.write import write_report
from aimc_robust.targets.build import build_target, build_targets, self_contained_target
from aimc_robust.targets.command_line import target_tables

MILO, SONOS = Crossbar("rram-milo2021"), Crossbar("sonos-agrawal2022")
TABLE = """
{ name = "mixed", device = "rram-milo2021", rows = 32, layers = { "conv1" = "digital", "*.head" = "sonos-agrawal2022",
  "*.attn" = { device = "rram-wan2022", rows = 64, dac = { bits = 8 }, adc = { bits = 6 } } } }
"""
PLACEMENT = Placement(
    {
        "conv1": "digital",
        "*.head": SONOS,
        "*.attn": Crossbar("rram-wan2022", rows=64, dac=DAC(bits=8), adc=ADC(bits=6)),
        "*": MILO.replace(rows=32),
    }
)


def parsed(text: str):
    return load_toml("target = " + " ".join(text.split()), source="test")["target"]


def test_a_table_of_patterns_becomes_a_placement():
    target = build_target(parsed(TABLE))
    assert target.condition == target.placement == PLACEMENT
    assert target.crossbar == MILO.replace(rows=32)
    assert build_target({"device": "rram-milo2021"}).placement is None


def test_a_recorded_target_keeps_its_order_and_needs_no_card(tmp_path):
    (tmp_path / "own.toml").write_text((cards_folder() / "rram-wan2022.toml").read_text())
    text = TABLE.replace('"sonos-agrawal2022"', '"own.toml"')
    recorded = self_contained_target(parsed(text), tmp_path)
    (tmp_path / "own.toml").unlink()
    again = json.loads(json.dumps(recorded))
    assert [pattern for pattern, _ in again["layers"]] == ["conv1", "*.head", "*.attn"]
    assert again["layers"][0][1] == "digital"
    assert again["layers"][2][1]["device"] == load_card("rram-wan2022").model_dump(mode="json", exclude_none=True)
    assert build_target(again).condition.crossbar_of("a.head") == Crossbar("rram-wan2022")
    assert build_target(again).condition.crossbar_of("a.attn.q") == PLACEMENT.crossbar_of("a.attn.q")
    assert self_contained_target(again, tmp_path) == recorded


def test_a_compensated_target_places_its_layers_too():
    plain, compensated = build_targets(parsed(TABLE) | {"compensation": ["drift"], "time_s": 60.0})
    assert plain.condition == compensated.condition == PLACEMENT


def test_code_of_the_users_own_has_a_digest_wherever_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "own_cell_of_layers.py").write_text(
        "from aimc_robust import CellModel\n\n\nclass Cell(CellModel):\n    name, limits = 'cell', (0.0, 1.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    recorded = self_contained_target({"device": "rram-milo2021", "layers": {"a": "own_cell_of_layers:Cell"}}, tmp_path)
    sys.modules.pop("own_cell_of_layers", None)
    assert list(recorded["code_digests"]) == ["own_cell_of_layers:Cell"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"a": 3}, "expected a text or a table"),
        ({"a": "rram-milo2012"}, "did you mean 'rram-milo2021'"),
        ({"a": {"device": "rram-milo2021", "row": 3}}, "did you mean 'rows'"),
        ({"a": {"rows": 3}}, "device"),
        ({"a": {"device": "rram-milo2021", "time_s": 3.0}}, "time_s"),
        ({"*": "digital"}, "layers: the pattern '*' leaves no layer to the crossbar of the table"),
        ([["a", "digital"], ["a", "rram-milo2021"]], "'a' is given twice"),
        ([["a"]], "layers"),
        ("conv1", "expected a table or a list"),
    ],
)
def test_what_places_no_layers_is_told_by_its_name(layers, message):
    with pytest.raises((InputError, UnknownNameError), match=message.replace("*", r"\*")):
        build_target({"device": "rram-milo2021", "layers": layers})


def test_methods_train_with_a_placement():
    noise = {"device": "rram-milo2021", "layers": {"conv1": "digital"}}
    expected = Placement({"conv1": "digital", "*": MILO})
    assert build_method("rwp", {"noise": noise}, seed=0).noise == expected
    assert build_method("array-aware", {"crossbar": noise}, seed=0).crossbar == expected


# Command line -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["conv1=digital"], "gaussian-0.2 is none"),
        (["typo=digital"], "gaussian-0.2 is none"),
        (["conv1=rram-milo2021"], "gaussian-0.2 is none"),
    ],
)
@pytest.mark.parametrize("devices", [["gaussian-0.2"], ["rram-milo2021", "gaussian-0.2"]])
def test_a_noise_has_no_layers_to_place(devices, layers, message):
    with pytest.raises(InputError, match=message):
        target_tables(devices, [0.0], {}, layers)
    with pytest.raises(InputError, match=message):
        target_tables(devices, [0.0], {"layers": {"conv1": "digital"}})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("classifier=digtal", "the pattern 'classifier': unknown device 'digtal': did you mean 'digital'"),
        ("fc=rash2023", "the pattern 'fc': unknown device 'rash2023': did you mean 'rasch2023'"),
        ("a.b={device = 'rram-milo2012'}", "layers.a.b: unknown device 'rram-milo2012'"),
        ("*.b={device = 'rram-milo2021', rows = -1}", r"layers.'\*.b': rows .* must be"),
        ("*=digital", r"--layer '\*=digital' leaves no layer to --device"),
    ],
)
def test_a_mistake_in_a_place_names_the_pattern(layer, message):
    with pytest.raises((InputError, UnknownNameError), match=message) as raised:
        target_tables(["rram-milo2021"], [0.0], {}, [layer])
    assert "Placement" not in str(raised.value)


def test_layers_of_a_command_line_are_placed_in_order_with_the_common_options():
    options = parse_settings(["rows=32", "adc.bits=8"]) | {"compensation": ["drift"]}
    given = ["conv1=digital", "*.head = sonos-agrawal2022", "fc={ device = 'rram-wan2022', rows = 5 }"]
    (table,) = target_tables(["rram-milo2021"], [0.0], options, given)
    adc = ADC(bits=8)
    assert build_target(table).condition == Placement(
        {
            "conv1": "digital",
            "*.head": SONOS.replace(rows=32, adc=adc),
            "fc": Crossbar("rram-wan2022", rows=5, adc=adc),
            "*": MILO.replace(rows=32, adc=adc),
        }
    )
    (same,) = target_tables(["rram-milo2021"], [0.0], {"rows": 32}, ["conv1=digital"])
    settings = parse_settings(["rows=32", "layers.conv1=digital"])
    assert target_tables(["rram-milo2021"], [0.0], settings) == [same]


def test_a_layer_that_ages_gives_the_target_its_times():
    tables = target_tables(["rram-milo2021"], [0.0, 3600.0], {}, ["fc=sonos-agrawal2022"])
    assert [table["name"] for table in tables] == ["rram-milo2021", "rram-milo2021-1h"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["conv1"], "PATTERN=digital"),
        (["=digital"], "PATTERN=digital"),
        (["a=digital", "a=rram-milo2021"], "'a' twice"),
        (["a=gaussian-0.1"], "gaussian-0.1"),
        (["a={ rows = "], "--layer"),
    ],
)
def test_a_layer_option_that_cannot_be_is_quoted_back(given, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        target_tables(["rram-milo2021"], [0.0], {}, given)


@pytest.fixture(scope="module")
def digits(finished_comparison, tmp_path_factory):
    """A finished evaluation of a network on digits from the command line, with layers on three places."""
    folder = tmp_path_factory.mktemp("digits")
    on_wan = "{ device = 'rram-wan2022', rows = 16, dac = { bits = 8 }, adc = { bits = 8 } }"
    arguments = [
        *("evaluate", finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors", "--data", "digits"),
        *("--model", "small-cnn", "--option", "channels=4", "--option", "stages=2", "--device", "rram-milo2021"),
        *("--layer", "features.0=digital", "--layer", f"classifier={on_wan}", "--attribute", "--explain-chips", "2"),
        *("--chips", "3", "--images", "100", "--jobs", "1", "--out", folder / "out"),
    ]
    with figures_as_stubs():
        done = invoke(*arguments, cwd=folder)
    return folder / "out", done, arguments


def test_a_command_evaluates_attributes_and_reports_where_layers_are(digits):
    folder, done, _ = digits
    assert done.returncode == 0, done.stderr
    spec = json.loads((folder / "question.json").read_text())
    assert spec["targets"][0]["layers"][0] == ["features.0", "digital"]
    rows = pd.read_csv(folder / "evaluations.csv")
    assert (rows["target"] == "rram-milo2021").sum() == 3
    page = (folder / "report.md").read_text()
    assert "kept digital by choice: features.0 (" in page
    assert "Where the layers are: rram-milo2021" in page or "| `features.0` | digital |" in page
    assert "rram-wan2022: one-sided mapping" in page
    assert "8-bit uniform ADC" in page
    attributed = pd.read_csv(folder / "attribution.csv")
    assert set(attributed.loc[attributed["kind"] == "layer", "name"]) == {"features.4", "classifier"}


def test_a_pattern_without_a_layer_ends_a_command_in_one_line(digits):
    _, _, arguments = digits
    done = invoke(*["clasifier=digital" if part == "features.0=digital" else part for part in arguments])
    assert done.returncode == 2
    assert "no layer of the model matches the pattern 'clasifier': did you mean 'classifier'?" in done.stderr


def test_a_recommendation_measures_the_placed_layers(finished_comparison, tmp_path):
    with figures_as_stubs():
        done = invoke(
            *("recommend", "--spec", finished_comparison.parent / "spec.toml", "--out", tmp_path / "advice"),
            *("--weights", finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors", "--no-sweep"),
            *("--device", "rram-milo2021", "--layer", "features.0=digital", "--jobs", "1"),
        )
    assert done.returncode == 0, done.stderr
    layers = json.loads((tmp_path / "advice" / "measurement.json").read_text())["layers"]
    errors = {row["layer"]: row["rms_filter_max"] for row in layers}
    assert errors["features.0"] == 0.0
    assert min(errors["features.4"], errors["classifier"]) > 0.0


# Results ------------------------------------------------------------------------------------------------------------

LAYERS = 'layers = { "features.0" = "digital", "features.*" = "rram-wan2022" }'
SPEC = f"""
targets = [
  "digital",
  {{ name = "mixed", device = "rram-milo2021", {LAYERS} }},
  {{ name = "same-chips", device = "rram-milo2021" }},
]
"""
METHOD = f"""
[methods.rwp]
noise = {{ device = "rram-milo2021", {LAYERS} }}
"""


@pytest.fixture(scope="module")
def compared(tiny, trained_models, tmp_path_factory):
    """The folder of a comparison with placements as a target and in training."""
    folder = tmp_path_factory.mktemp("placed")
    text = tiny.replace('targets = ["digital", "gaussian-0.2", "rram-wan2022"]', SPEC.strip()) + METHOD
    (folder / "spec.toml").write_text(text.replace("epochs = 3", "epochs = 1"))
    run_spec(folder / "spec.toml", folder / "out", model_cache=folder / "models")
    with figures_as_stubs():
        write_report(folder / "out")
    return folder


def test_a_spec_with_placements_is_valid_for_editors(compared):
    validator = jsonschema.Draft202012Validator(spec_schema())
    for text in ((compared / "spec.toml").read_text(), (compared / "out" / "spec.toml").read_text()):
        assert [error.message for error in validator.iter_errors(tomllib.loads(text))] == []
    broken = (compared / "spec.toml").read_text().replace('"digital", "features.*"', '3, "features.*"')
    assert list(validator.iter_errors(tomllib.loads(broken)))


def test_a_recorded_spec_is_the_same_question(compared):
    spec, recorded = load_spec(compared / "spec.toml"), load_spec(compared / "out" / "spec.toml")
    assert spec.differences(recorded) == []
    (_, mixed, _) = recorded.build_targets()
    assert mixed.condition == Placement({"features.0": "digital", "features.*": "rram-wan2022", "*": MILO})
    assert recorded.method("rwp", seed=0).noise == mixed.condition


def test_a_finished_comparison_is_found_finished(compared):
    before = (compared / "out" / "evaluations.csv").read_text()
    run_spec(compared / "spec.toml", compared / "out")
    assert (compared / "out" / "evaluations.csv").read_text() == before


def test_results_are_not_continued_with_the_patterns_in_another_order(compared):
    one, two = '"features.0" = "digital"', '"features.*" = "rram-wan2022"'
    swapped = f"layers = {{ {two}, {one} }}"
    text = (compared / "spec.toml").read_text()
    other = compared / "other.toml"
    other.write_text(text.replace(SPEC.strip(), SPEC.strip().replace(LAYERS, swapped)))
    with pytest.raises(ResultsError, match="targets"):
        run_spec(other, compared / "out")
    first, second = load_spec(compared / "spec.toml"), load_spec(other)
    assert first.recipe("rwp", 0) == second.recipe("rwp", 0)
    other.write_text(text.replace(METHOD, METHOD.replace(LAYERS, swapped)))
    assert first.recipe("rwp", 0) != load_spec(other).recipe("rwp", 0)


def test_the_page_of_a_comparison_says_where_layers_are(compared):
    page = (compared / "out" / "report.md").read_text()
    assert "On mixed: " in page
    assert "kept digital by choice: features.0" in page
    assert "| `features.0` | digital |" in page


def test_options_of_crossbars_are_refused_where_there_is_none():
    with pytest.raises(InputError, match=r"--set rows is an option of crossbars, and gaussian-0\.1 is none"):
        target_tables(["gaussian-0.1"], [0.0], {"rows": 64})
    assert len(target_tables(["gaussian-0.1", "rram-milo2021"], [0.0], {"rows": 64})) == 2  # of the device alone
