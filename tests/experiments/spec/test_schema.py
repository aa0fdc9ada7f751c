"""The JSON schema for editors: every spec of the repository is valid, a broken one is not."""

import json
import tomllib

import jsonschema
import pytest
from support.command_line import invoke
from support.paper_specs import BENCHMARKS

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.inheritance import resolved_toml
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.experiments.spec.schema import spec_schema

OTHERS = {"published", "toolkit"}  # folders of tables' layouts, and of a submission, beside the specs
SPECS = sorted(path for path in BENCHMARKS.rglob("*.toml") if path.parent.name not in OTHERS)
VALIDATOR = jsonschema.Draft202012Validator(spec_schema())


def test_it_is_a_schema_and_the_command_prints_it():
    jsonschema.Draft202012Validator.check_schema(spec_schema())
    assert json.loads(invoke("schema").stdout) == json.loads(json.dumps(spec_schema()))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_spec_of_the_repository_is_valid(path):
    errors = [error.message for error in VALIDATOR.iter_errors(tomllib.loads(path.read_text(encoding="utf-8")))]
    assert errors == []


def test_the_spec_of_a_results_folder_is_valid(write_spec, tmp_path):
    path = write_spec(("[data]", "[scale.mini]\nmultiply = { sigma = 0.5 }\n[data]"))
    overrides = ["training.epochs=1"]
    (tmp_path / "out").mkdir()
    results = ComparisonResults.create(tmp_path / "out", load_spec(path, scale="mini", overrides=overrides))
    results.write_spec_text(None)
    for text in (resolved_toml(path, scale="mini", overrides=overrides), results.spec_text):
        assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))] == []


BROKEN = {
    "unknown task": ("[training]", '[task]\nkind = "regresion"\n[training]'),
    "unknown key of a task": ("[training]", '[task]\nkind = "segmentation"\nignore = 3\n[training]'),
    "unknown metric of a task": ("[training]", '[task]\nkind = "regression"\nmetric = "mse"\n[training]'),
    "a task without a module": ("[training]", '[task]\nkind = "build"\n[training]'),
    "unknown key": ("chips = ", "chip = "),
    "a number for a text": ('name = "quickstart"', "name = 3"),
    "a text for a number": ("epochs = 60", 'epochs = "60"'),
    "unknown choice": ("[training]", '[training]\nschedule = "cosin"'),
    "unknown key of a method": ("sigma = 0.2", "sgima = 0.2"),
    "unknown kind": ("[methods.sam]", '[methods.sam]\nkind = "sma"'),
    "a list of texts for seeds": ("train_seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", 'train_seeds = ["0"]'),
    "unknown key of a target": ('"digital"', '{ name = "a", noise = "gaussian", sgima = 0.1 }'),
    "a target without its strength": ('"digital"', '{ name = "a", noise = "laplace" }'),
    "unknown key of a converter": ('"digital"', '{ device = "rram-wan2022", adc = { bit = 8 } }'),
    "an unknown compensation": ('"digital"', '{ device = "rram-wan2022", compensation = ["bn"] }'),
    "a text for compensation": ('"digital"', '{ device = "rram-wan2022", compensation = "bn" }'),
    "one point": ("[data]", '[[landscapes]]\nname = "a"\npoints = 1\n[data]'),
    "a sweep over no list": ("sigma = 0.2", "sweep = { sigma = 0.2 }"),
    "unknown key of a scale": ("[data]", "[scale.mini]\nchip = 3\n[data]"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_spec_is_invalid_for_the_editor_and_for_the_tool(change, tmp_path):
    text = (BENCHMARKS / "quickstart.toml").read_text(encoding="utf-8")
    assert change[0] in text
    path = tmp_path / "spec.toml"
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    assert list(VALIDATOR.iter_errors(tomllib.loads(path.read_text(encoding="utf-8"))))
    with pytest.raises(ValueError, match=r"spec\.toml: "):
        load_spec(path, scale="mini" if "scale.mini" in change[1] else None)
