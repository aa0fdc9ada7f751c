"""docs/comparing.md: its spec is a real one, its names are known, its commands take the options that it shows."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aimc_robust.cli.app import app
from aimc_robust.data.sources.torchvision import DATASETS
from aimc_robust.experiments.spec.comparison import load_spec
from aimc_robust.models.networks.registry import find_network

PAGE = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(re.search(r"<!-- example: spec -->\n```toml\n(.*?)```", PAGE, re.DOTALL)[1], encoding="utf-8")
    return path


def test_the_example_is_a_spec(spec):
    found = load_spec(spec)
    assert found.labels == ["sgd", "rwp-0.05", "rwp-0.1", "wide-sgd"]
    assert [target.split for target in found.build_targets()] == ["test", "test", "test", "training"]
    small = load_spec(spec, scale="small", overrides=["training.epochs=2"])
    assert (small.seeds, small.config().epochs) == ([0], 2)


def test_networks_and_data_sets_go_by_these_names():
    line = PAGE[PAGE.index("Networks by name") : PAGE.index("## Data")]
    names = re.findall(r"`([a-z0-9-]+)`", line)
    assert {"resnet18", "wrn-16-5", "pyramidnet50", "vgg16-bn", "vit-s"} <= set(names)
    assert [name for name in names if find_network(name) is None] == []
    sets = re.search(r"`torchvision:CIFAR10`, (.*?), \.\.\.", PAGE)[1]
    assert set(re.findall(r"`(\w+)`", sets)) <= set(DATASETS)


@pytest.mark.parametrize("command", ["compare", "plan"])
def test_commands_take_the_options_that_the_page_shows(command):
    shown = set(re.findall(rf"aimc-robust {command} [^\n]*?(--[a-z-]+)", PAGE))
    help_text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert shown
    assert [option for option in shown if option not in help_text] == []
