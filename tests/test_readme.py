"""What README tells people to do works."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.spec.comparison import load_spec
from aimc_robust.report.write import write_report

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block(mark):
    """The code block that follows the comment `mark`."""
    return re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1].strip()


def test_the_python_example_runs_and_learns():
    done = subprocess.run([sys.executable, "-c", block("example")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    accuracy = float(re.match(r"on RRAM ([\d.]+) %, 95 % interval \(", done.stdout)[1])
    assert accuracy > 70  # chance is 10
    assert len(block("example").splitlines()) <= 17


def test_the_two_commands_install_and_name_files_that_exist():
    assert block("test") == "pip install '.[test]' && pytest"
    install, job = block("run").split(" && ")
    assert install == "pip install ."
    program, command, spec = shlex.split(job)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[program] == "aimc_robust.cli:main"
    assert command == "compare"
    assert (ROOT / spec).is_file()


def test_the_quickstart_runs_from_end_to_end_when_shortened(tmp_path):
    text = (ROOT / "benchmarks" / "quickstart.toml").read_text()
    for line, short in {
        "train_seeds = [0, 1, 2]": "train_seeds = [0]",
        "chips = 25": "chips = 2",
        "epochs = 60": "epochs = 1",
    }.items():
        assert line in text
        text = text.replace(line, short)
    path = tmp_path / "short.toml"
    path.write_text(text)
    assert not compare(load_spec(path), text, tmp_path / "out", data_folder=ROOT, progress=ComparisonProgress()).failed
    assert "rwp-quadratic" in write_report(tmp_path / "out").read_text()


def test_the_evaluation_of_a_quickstart_model_runs(done, tmp_path, monkeypatch, capsys):
    """As README has it, but for fewer chips and the small comparison's weights in place of the quickstart's."""
    from typer.testing import CliRunner

    from aimc_robust.cli.app import app

    program, *words = shlex.split(block("evaluate").replace("\\\n", " "))
    assert program == "aimc-robust"
    name = Path(words[1])
    assert name.parts[:3] == ("results", "quickstart", "runs")
    assert name.parts[3].removesuffix("-seed0") in (ROOT / "benchmarks" / "quickstart.toml").read_text()
    changed = {
        words[1]: str(done / "runs" / "m-rwp-seed0" / name.name),
        "channels=8": "channels=4",
        "stages=3": "stages=2",
        "results/rwp": str(tmp_path / "rwp"),
    }
    assert changed.keys() <= set(words)
    few = ["--chips", "3", "--explain-chips", "2", "--images", "100", "--jobs", "1"]
    found = CliRunner().invoke(app, [*(changed.get(word, word) for word in words), *few])
    assert found.exit_code == 0, found.output
    page = (tmp_path / "rwp" / "report.html").read_text()
    for part in ("What is to blame", "Prediction without Monte Carlo", "rram-wan2022-drift-1d"):
        assert part in page


def test_every_file_that_readme_links_or_names_exists():
    links = re.findall(r"\]\((?!https?://)([^)]+)\)", README)
    paths = re.findall(r"`((?:benchmarks|device_models)/[\w./]*)`", README)
    assert links
    assert paths
    for path in links + paths:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("word", ["report.html", "report.md", "summary.csv", "evaluations.csv", "spec.toml"])
def test_readme_names_what_a_comparison_writes(word, done):
    assert (done / word).is_file()
    assert word in README
