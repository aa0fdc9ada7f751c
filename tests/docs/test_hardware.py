"""What docs/hardware.md shows works."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from aimc_robust import Crossbar, program
from aimc_robust.targets.target import build_targets

PAGE = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text()


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def test_the_python_example_runs_without_a_warning():
    command = [sys.executable, "-W", "error::UserWarning", "-c", block("python")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "100.0 % of the multiplies" in done.stdout


def test_the_targets_are_valid():
    targets = [built for target in tomllib.loads(block("toml"))["targets"] for built in build_targets(target)]
    assert [target.name for target in targets] == [
        "digital",
        "sonos-8bit",
        "pcm-nandakumar2019-1d",
        "pcm-nandakumar2019-1d-drift-batchnorm",
        "sliced",
    ]


def test_what_crosssim_alone_has_is_reached_as_shown():
    pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed; its own parameters cannot be tried")
    shown = [ast.literal_eval(text) for text in re.findall(r"\(`(\{\"xbar\".*?\})`\)", PAGE)]
    assert len(shown) == 2
    torch.manual_seed(0)
    model, x = torch.nn.Linear(32, 8).eval(), torch.rand(4, 32)
    with torch.no_grad():
        plain = program(model, Crossbar("rram-milo2021"), backend="crosssim")(x)
        for parameters in shown:
            analog = program(model, Crossbar("rram-milo2021", crosssim=parameters), backend="crosssim")
            assert not torch.allclose(analog(x), plain)
