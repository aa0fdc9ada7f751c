"""What docs/training.md shows works."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from aimc_robust.analysis.diagnostics import DiagnosticsConfig

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))


def test_every_example_is_run():
    assert EXAMPLES.keys() == {"loop", "train", "stream", "lightning"}
    assert PAGE.count("```python") == len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name, tmp_path):
    strict = [] if name == "lightning" else ["-W", "error::UserWarning"]  # Lightning warns of small loaders
    command = [sys.executable, *strict, "-c", EXAMPLES[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_diagnostics_table_is_valid():
    table = tomllib.loads(re.search(r"```toml\n(\[diagnostics\].*?)```", PAGE, re.DOTALL)[1])
    DiagnosticsConfig(**table["diagnostics"])
