"""Every code block of the documentation works: Python runs, TOML loads, and commands exist with the options shown.

A comment above a block steers it: `<!-- test: skip -->` leaves it out.
"""

import contextlib
import functools
import io
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from support.command_line import invoke
from typer.main import get_command

from aimc_robust.cli.app import app
from aimc_robust.devices.card import Card
from aimc_robust.devices.library import load_card
from aimc_robust.experiments.spec.loading import load_spec, spec_from_dict

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "benchmarks/leaderboard/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
]
LANGUAGES = {"bibtex", "python", "toml", "sh", "bash", "yaml"}
OTHER_PROGRAMS = {
    "python",
    ".",
    "cd",
    "git",
    "head",
    "jupyter",
    "mkdocs",
    "mypy",
    "pip",
    "pytest",
    "python3",
    "ray",
    "ruff",
    "sleep",
    "srun",
    "torchrun",
}
SHORTER = {  # trainings whose results no test looks at, by page
    "docs/how-to/fine-tune-for-hardware.md": {"range(1, 101)": "range(1, 11)", "(epochs=10": "(epochs=3"},
    "docs/how-to/train.md": {"range(1, 301)": "range(1, 31)", "(epochs=5": "(epochs=2"},
}
MINIMAL_SPEC = """
name = "minimal"
targets = ["digital"]
data.name = "digits"
model.name = "small-cnn"
training.epochs = 1
methods.sgd = {}
"""


class Block(NamedTuple):
    """A fenced block of a page, and the number of its first line."""

    language: str
    text: str
    line: int


@functools.cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *languages: str) -> list[Block]:
    pattern = r"(?:<!-- *([^>]*?) *-->\n)?^```(\w+)\n(.*?)^```$"
    found = []
    for match in re.finditer(pattern, text_of(page), re.DOTALL | re.MULTILINE):
        comment, language, text = match.groups()
        if language in languages and comment != "test: skip":
            found.append(Block(language, text, text_of(page).count("\n", 0, match.start(3)) + 1))
    return found


def commands(page: str) -> list[list[str]]:
    """The words of each command of the page's shell blocks, indented lines and lines of ours."""
    lines = [line for block in blocks(page, "sh", "bash") for line in joined_lines(block.text)]
    lines += [line for line in joined_lines(re.sub(r"^ {4}", "", text_of(page), flags=re.MULTILINE)) if ours(line)]
    lines += [entry for block in blocks(page, "yaml") for entry in re.findall(r"aimc-robust .*", block.text)]
    lines = [re.sub(r" > \S+", "", line) for line in lines]  # without where the output goes
    parts = [part for line in lines for part in re.split(r"&&|\|| -- ", line)]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def joined_lines(text: str) -> list[str]:
    return re.sub(r" > [\w.-]+$", "", text.replace("\\\n", " "), flags=re.MULTILINE).splitlines()


def ours(line: str) -> bool:
    return line.startswith("aimc-robust ")


def check_command(words: list[str]) -> None:
    """Parse the arguments of one of our commands, without running it."""
    group = get_command(app)
    command = group.commands[words[1]]
    command.make_context(words[1], words[2:])


def shortened(text: str, page: str) -> str:
    """The code with fewer updates, where SHORTER has it; each of its texts must be on the page."""
    for long, short in SHORTER.get(page, {}).items():
        assert long in text_of(page), long
        text = text.replace(long, short)
    return text


@functools.cache
def run_page(page: str) -> tuple[str, Path]:
    """Run the page's Python in order, in one namespace, beside its cards: what it prints, and the folder it ran in."""
    folder = Path(tempfile.mkdtemp(prefix="docs-"))
    for block in blocks(page, "toml"):
        table = tomllib.loads(block.text)
        if {"name", "source"} <= table.keys():
            (folder / f"{table['name']}.toml").write_text(block.text, encoding="utf-8")
    printed, namespace = io.StringIO(), {"__name__": "__main__"}
    torch.manual_seed(0)
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", module=r"lightning|torch\.")  # of small loaders, and of their own future
        for block in blocks(page, "python"):
            lines_before = "\n" * (block.line - 1)  # so that a traceback has the page's line
            exec(compile(lines_before + shortened(block.text, page), str(ROOT / page), "exec"), namespace)
    return printed.getvalue(), folder


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_that_is_tested(page):
    opened = re.findall(r"^```(\w*)$", text_of(page), re.MULTILINE)
    assert set(opened[::2]) <= LANGUAGES


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_python_of_a_page_runs_without_a_warning(page):
    _, folder = run_page(page)  # raises what a block raises
    assert folder.is_dir()


@pytest.mark.parametrize("text", ["1 / 0", "assert False", "import warnings; warnings.warn('old')"])
def test_a_block_that_fails_or_warns_is_noticed(text, monkeypatch):
    broken = [Block("python", text, 1)]
    names = run_page.__wrapped__.__globals__
    monkeypatch.setitem(names, "blocks", lambda page, language: broken * (language == "python"))
    with pytest.raises((ZeroDivisionError, AssertionError, UserWarning)):
        run_page.__wrapped__("README.md")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_tables_are_cards_or_specs(page, tmp_path):
    card, spec = None, tomllib.loads(MINIMAL_SPEC)
    for block in blocks(page, "toml"):
        table = tomllib.loads(block.text)
        if table.keys() <= Card.model_fields.keys():
            card = load_card((card or {}) | table) and (card or {}) | table
        elif "methods" in table:
            path = tmp_path / "spec.toml"
            path.write_text(block.text, encoding="utf-8")
            if "extends" in table:  # a spec of benchmarks/, whose folder the page names
                (base,) = (ROOT / "benchmarks").rglob(table["extends"])
                shutil.copy(base, tmp_path)
            for scale in (None, *table.get("scale", {})):
                assert load_spec(path, scale=scale).labels
        else:
            assert spec_from_dict(spec | table).labels


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_exist_with_the_options_that_are_shown(page):
    for words in commands(page):
        if words[0] == "aimc-robust":
            check_command(words)
        else:
            assert words[0] in OTHER_PROGRAMS or "=" in words[0], words


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh", "bash")])
def test_shell_blocks_are_valid(page):
    for block in blocks(page, "sh", "bash"):
        done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_options_in_the_text_exist(page):
    named = set(re.findall(r"`(--[a-z][a-z-]+)[^`]*`", text_of(page)))
    commands = [get_command(app), *get_command(app).commands.values()]
    parameters = [p for command in commands for p in command.params]
    known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    assert named - known - {"--hypothesis-profile", "--disturbed"} == set()  # of pytest, and of ray_trials.py


@pytest.mark.parametrize("page", PAGES)
def test_links_and_named_files_exist(page):
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", text_of(page))
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
    paths = re.findall(r"`((?:aimc_robust|benchmarks|device_models|docs|tests)/[\w./-]*)`", text_of(page))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_wrong_option_is_noticed():
    for wrong in ("compare spec.toml --seeds 3", "compares spec.toml", "devices --jobs 2", "compare"):
        with pytest.raises((Exception, SystemExit)):
            check_command(["aimc-robust", *wrong.split()])


# What the pages promise beyond running ------------------------------------------------------------------------------


def test_readmes_example_learns():
    printed, _ = run_page("README.md")
    accuracy = float(re.search(r"on RRAM after a day: .*accuracy ([\d.]+) %, 95 % interval ", printed)[1])
    assert accuracy > 70  # chance is 10


@pytest.mark.slow
def test_a_day_costs_accuracy_in_the_example_of_evaluation():
    printed, _ = run_page("docs/how-to/predict-accuracy.md")
    assert float(re.search(r"a day costs ([\d.]+) points", printed)[1]) > 0
    for word in ("programming", "drift", "curvature", "86400.0"):
        assert word in printed


def test_all_of_the_network_is_analog_in_the_example_of_hardware():
    assert "100.0 % of the multiplies" in run_page("docs/how-to/describe-hardware.md")[0]


def test_the_card_that_is_fitted_in_the_example_loads():
    _, folder = run_page("docs/how-to/add-a-device.md")
    assert load_card(folder / "my-rram.toml").programming.kind == "polynomial"


def test_the_devices_command_of_cards_shows_and_draws_the_example_card():
    page = "docs/reference/device-cards.md"
    printed, folder = run_page(page)
    assert printed == "torch.Size([1, 2])\n"
    (words,) = [words for words in commands(page) if words[1:3] == ["devices", "my-cell.toml"]]
    done = invoke(*words[1:], cwd=folder)
    assert done.returncode == 0, done.stderr
    for word in ("my-cell", "lot 7", "[stuck]", "0.0005", "drift: mean", "read noise"):
        assert word in done.stdout
    assert (folder / "my-cell.png").read_bytes().startswith(b"\x89PNG")
