"""What docs/evaluation.md shows works."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))


def test_every_example_is_run():
    assert EXAMPLES.keys() == {"evaluate"}
    assert PAGE.count("```python") == len(EXAMPLES)


def test_the_example_runs_and_finds_that_a_day_costs_accuracy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", EXAMPLES["evaluate"]],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"a day costs ([\d.]+) points", done.stdout)[1]) > 0
    for word in ("programming", "drift", "curvature", "wan 86400.0"):
        assert word in done.stdout


def test_the_options_that_the_page_names_exist():
    from typer.main import get_command

    from aimc_robust.cli.app import app

    known = {
        name
        for command in get_command(app).commands.values()
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    named = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert named
    assert named <= known
