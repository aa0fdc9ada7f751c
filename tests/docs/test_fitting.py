"""What docs/fitting.md shows works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.measurements import measure

from aimc_robust.devices.library import load_card
from aimc_robust.fitting.laws import DEGREES
from aimc_robust.fitting.measurements import NEEDED, OPTIONAL

PAGE = (Path(__file__).parents[2] / "docs" / "fitting.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [shlex.split(line) for line in re.findall(r"^    aimc-robust (.*)$", PAGE, re.MULTILINE)]


def run(folder, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_in_python_writes_a_card(tmp_path):
    assert PAGE.count("```python") == len(EXAMPLES) == 1
    run(tmp_path, "-W", "error", "-c", EXAMPLES["fit"])
    assert load_card(tmp_path / "my-rram.toml").programming.kind == "polynomial"


@pytest.mark.slow
def test_the_commands_fit_draw_and_verify(tmp_path):
    assert [command[0] for command in COMMANDS] == ["fit", "verify", "verify"]
    measure("rram-milo2021", cells=300).to_csv(tmp_path / "measurements.csv", index=False)
    outputs = [run(tmp_path, "-m", "aimc_robust", *command) for command in COMMANDS]
    assert "card: my-rram.toml\nplot: my-rram.png\n" in outputs[0]
    assert (tmp_path / "my-rram.png").read_bytes().startswith(b"\x89PNG")
    assert "my-rram verified at alpha = 0.01" in outputs[1]
    assert "rram-wan2022-drift verified at alpha = 0.01" in outputs[2]


@pytest.mark.parametrize("column", [*NEEDED, *OPTIONAL])
def test_every_column_is_explained(column):
    assert f"| `{column}` |" in PAGE


def test_the_degrees_of_the_page_are_those_tried():
    assert f"a polynomial of degree {DEGREES[0]} to {DEGREES[-1]}" in PAGE
