"""The tables and names in the documentation are those of the package: keys, kinds, columns, files, data sets."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch
from support.command_line import invoke
from support.draws import draws
from support.fixtures.comparison import run_spec
from support.measurements import measure

from aimc_robust import Card, Crossbar, Deployment, load_card, program
from aimc_robust.data.sources.torchvision_catalog import DATASETS
from aimc_robust.devices.states import cell_states
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.fitting.measurements import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from aimc_robust.fitting.std_fit import DEGREES
from aimc_robust.models.registry import find_network
from aimc_robust.report.write import write_report
from aimc_robust.targets.build import build_targets

ROOT = Path(__file__).parents[1]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


README, CARDS = text_of("README.md"), text_of("docs/reference/device-cards.md")
COMPARING, FITTING, HARDWARE = (
    text_of(f"docs/how-to/{page}.md") for page in ("compare-methods", "add-a-device", "describe-hardware")
)


def block(page: str, language: str, part: str = "") -> str:
    """The page's first block of a language that contains `part`."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return next(text for text in found if part in text)


# README -------------------------------------------------------------------------------------------------------------


def marked(comment: str) -> str:
    """README's block under a comment."""
    return re.search(rf"<!-- {comment} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1].strip()


def test_the_two_commands_install_and_name_files_that_exist():
    assert marked("test") == "pip install '.[test]' && pytest"
    install, command = marked("run").split(" && ")
    assert install == "pip install ."
    program_name, _, spec, *_ = shlex.split(command)
    assert tomllib.loads(text_of("pyproject.toml"))["project"]["scripts"][program_name] == "aimc_robust.__main__:main"
    assert (ROOT / spec).is_file()


def test_the_example_is_short():
    assert len(block(README, "python").splitlines()) <= 17


@pytest.mark.slow
@pytest.mark.usefixtures("stub_figures")
def test_the_quickstart_runs_from_end_to_end_when_shortened(tmp_path):
    text = text_of("benchmarks/quickstart.toml")
    changes = {
        "train_seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]": "train_seeds = [0]",
        "chips = 10": "chips = 2",
        "epochs = 60": "epochs = 1",
    }
    for line, short in (changes | {"[data]": "[data]\ntrain_images = 100"}).items():
        assert line in text
        text = text.replace(line, short)
    path = tmp_path / "short.toml"
    path.write_text(text)
    assert not run_spec(path, tmp_path / "out").failed
    assert "m-rwp" in write_report(tmp_path / "out").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("stub_figures")
def test_the_evaluation_of_a_quickstart_model_runs(finished_comparison, tmp_path):
    """As README has it, but for fewer chips and the small comparison's weights in place of the quickstart's."""
    _, *words = shlex.split(marked("evaluate").replace("\\\n", " "))
    name = Path(words[1])
    assert name.parts[:3] == ("results", "quickstart", "runs")
    assert name.parts[3].removesuffix("-seed0") in text_of("benchmarks/quickstart.toml")
    changed = {
        words[1]: str(finished_comparison / "runs" / "m-rwp-seed0" / name.name),
        "channels=8": "channels=4",
        "stages=3": "stages=2",
        "results/rwp": str(tmp_path / "rwp"),
    }
    assert changed.keys() <= set(words)
    options = ["--chips", "3", "--explain-chips", "2", "--images", "100", "--jobs", "1"]
    found = invoke(*[changed.get(word, word) for word in words], *options)
    assert found.returncode == 0, found.stderr
    assert "rram-wan2022-drift-1d" in (tmp_path / "rwp" / "report.html").read_text()


@pytest.mark.parametrize("name", ["report.html", "report.md", "summary.csv", "evaluations.csv", "spec.toml"])
def test_readme_names_what_a_comparison_writes(name, finished_comparison):
    assert (finished_comparison / name).is_file()
    assert name in README


# Cards --------------------------------------------------------------------------------------------------------------


def card_models() -> dict[str, dict]:
    """The fields' schemas of the card and each of its tables, by model."""
    schema = Card.model_json_schema()
    return {"Card": schema["properties"]} | {
        name: model["properties"] for name, model in schema["$defs"].items() if "properties" in model
    }


@pytest.mark.parametrize("name", card_models())
def test_every_key_of_a_card_is_explained_in_a_table(name):
    rows = re.findall(r"^\|(.*)\|$", CARDS, re.MULTILINE)
    explained = {key for row in rows for key in re.findall(r"`\[?([\w.]+)\]?`", row)}
    explained |= {key.removeprefix("at.") for key in explained}
    sections = set(re.findall(r"^### `\[(\w+)\]`", CARDS, re.MULTILINE)) | {"at"}
    assert set(card_models()[name]) <= explained | sections


def test_every_kind_of_law_is_explained():
    kinds = {model["kind"]["const"] for model in card_models().values() if "kind" in model}
    assert len(kinds) >= 8
    assert {kind for kind in kinds if f'"{kind}"' not in CARDS} == set()


def test_the_example_card_has_every_table_and_ages():
    card = load_card(tomllib.loads(block(CARDS, "toml", "[source]")))
    assert all(getattr(card, table) is not None for table in ("drift", "read", "stuck"))
    target = torch.linspace(2.0, 50.0, 4000)
    states = cell_states(card, target, draws(1), time_s=3600.0)
    assert 0 < float((states.programmed - target).std()) < 2
    assert states.now.mean() < 0.99 * states.programmed.mean()
    assert (card.read_std(states, 3600.0) > 0).all()


# Comparing, fitting, hardware ---------------------------------------------------------------------------------------


def test_the_example_spec_has_its_methods_targets_and_scale(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(block(COMPARING, "toml", "[methods"), encoding="utf-8")
    spec = load_spec(path)
    assert spec.labels == ["sgd", "rwp-0.05", "rwp-0.1", "wide-sgd"]
    assert [target.split for target in spec.build_targets()] == ["test", "test", "test", "training"]
    small = load_spec(path, scale="small", overrides=["training.epochs=2"])
    assert (small.train_seeds, small.config().epochs) == ([0], 2)


def test_networks_and_data_sets_have_these_names():
    line = COMPARING[COMPARING.index("Networks by name") : COMPARING.index("## Data")]
    names = re.findall(r"`([a-z0-9-]+)`", line)
    assert {"resnet18", "wrn-16-5", "pyramidnet50", "vgg16-bn", "vit-s"} <= set(names)
    assert [name for name in names if find_network(name) is None and name != "timm"] == []
    sets = set(re.findall(r"`torchvision:(\w+)`", COMPARING)) - {"NAME"}
    assert sets
    assert sets <= set(DATASETS)


@pytest.mark.parametrize("column", [*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS])
def test_every_column_of_measurements_is_explained(column):
    assert f"| `{column}` |" in FITTING


def test_the_degrees_of_the_page_are_those_tried():
    assert f"polynomial of degree {DEGREES[0]} to {DEGREES[-1]}" in FITTING


@pytest.mark.slow
def test_the_commands_fit_draw_and_verify(tmp_path):
    lines = re.findall(r"^ *(aimc-robust (?:fit|verify) .*)$", FITTING, re.MULTILINE)
    commands = [shlex.split(line)[1:] for line in lines]
    assert [command[0] for command in commands] == ["fit", "verify", "verify", "verify"]
    measure("rram-milo2021", cells=300).to_csv(tmp_path / "measurements.csv", index=False)
    (tmp_path / "my_device.py").write_text(block(FITTING, "python", "class MyCell"))
    outputs = [invoke(*command, cwd=tmp_path).stdout for command in commands]
    assert "card: my-rram.toml\nplot: my-rram.png\n" in outputs[0]
    assert (tmp_path / "my-rram.png").read_bytes().startswith(b"\x89PNG")
    assert "my-rram verified at alpha = 0.01" in outputs[1]
    assert "rram-wan2022-drift verified at alpha = 0.01" in outputs[2]
    assert "my-python-cell verified at alpha = 0.01" in outputs[3]


def test_the_targets_on_crossbars_have_these_names():
    tables = tomllib.loads(block(HARDWARE, "toml", "targets"))["targets"]
    assert [target.name for table in tables for target in build_targets(table)] == [
        "digital",
        "sonos-8bit",
        "pcm-nandakumar2019-1d",
        "pcm-nandakumar2019-1d-drift-batchnorm",
        "sliced",
    ]


def test_what_crosssim_alone_has_is_reached_as_shown():
    pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed; its own parameters cannot be tried")
    shown = [ast.literal_eval(text) for text in re.findall(r"\(`(\{\"xbar\".*?\})`\)", HARDWARE)]
    assert len(shown) == 2
    torch.manual_seed(0)
    model, x = torch.nn.Linear(32, 8).eval(), torch.rand(4, 32)
    with torch.no_grad():
        plain = program(model, Crossbar("rram-milo2021"), deployment=Deployment(backend="crosssim"))(x)
        for parameters in shown:
            analog = program(
                model, Crossbar("rram-milo2021", crosssim=parameters), deployment=Deployment(backend="crosssim")
            )
            assert not torch.allclose(analog(x), plain)
