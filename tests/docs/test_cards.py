"""docs/cards.md: its example is a card that works everywhere, and it explains every key there is."""

import re
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest
import torch
from support.draws import draws

from aimc_robust import Card, load_card
from aimc_robust.devices import laws
from aimc_robust.devices.checked_calls import read_std
from aimc_robust.devices.states import cell_states

PAGE = (Path(__file__).parents[2] / "docs" / "cards.md").read_text(encoding="utf-8")


def block(mark):
    """The code block that follows the comment `mark`."""
    return re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "my-cell.toml"
    path.write_text(block("example card"), encoding="utf-8")
    return path


def run(folder, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_loads_with_every_table_in_use_and_ages(path):
    card = load_card(path)
    assert all(getattr(card, table) is not None for table in ("drift", "read", "stuck"))
    assert card.has_read_noise
    target = torch.linspace(2.0, 50.0, 4000)
    states = cell_states(card, target, draws(1), time_s=3600.0)
    assert 0 < float((states.programmed - target).std()) < 2
    assert states.now.mean() < 0.99 * states.programmed.mean()
    assert (read_std(card, states, time_s=3600.0) > 0).all()


def test_the_example_in_python_runs(path):
    assert run(path.parent, "-W", "error", "-c", block("example use")) == "torch.Size([1, 2])\n"


def test_the_command_of_the_page_shows_and_draws_it(path):
    command = re.search(r"^    aimc-robust (devices .*)$", PAGE, re.MULTILINE)[1]
    shown = run(path.parent, "-m", "aimc_robust", *command.split())
    for word in ("my-cell", "lot 7", "[stuck]", "0.0005", "drift: mean", "read noise"):
        assert word in shown
    assert (path.parent / "my-cell.png").read_bytes().startswith(b"\x89PNG")


def test_the_example_of_a_table_is_one():
    table = re.search(r'```toml\n(\[drift\]\nkind = "table".*?)```', PAGE, re.DOTALL)[1]
    card = re.sub(r"\[drift\].*?(?=\[read\])", lambda _: table, block("example card"), flags=re.DOTALL)
    import tomllib

    assert load_card(tomllib.loads(card)).drift.kind == "table"


def schemas():
    found = [getattr(laws, name) for name in dir(laws)]
    own = [kind for kind in found if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)]
    return [Card, *[kind for kind in own if kind.__module__ == laws.__name__]]


@pytest.mark.parametrize("schema", schemas(), ids=lambda schema: schema.__name__)
def test_every_key_is_explained_in_a_table(schema):
    explained = {
        key for row in re.findall(r"^\|(.*)\|$", PAGE, re.MULTILINE) for key in re.findall(r"`\[?([\w.]+)\]?`", row)
    }
    explained |= {key.removeprefix("at.") for key in explained}
    sections = set(re.findall(r"^### `\[(\w+)\]`", PAGE, re.MULTILINE)) | {"at"}
    assert set(schema.model_fields) <= explained | sections


def test_every_kind_is_explained():
    laws_there = {
        value
        for schema in schemas()
        if "kind" in schema.model_fields
        for value in schema.model_fields["kind"].annotation.__args__
    }
    assert len(laws_there) >= 8
    assert {kind for kind in laws_there if f'"{kind}"' not in PAGE} == set()
