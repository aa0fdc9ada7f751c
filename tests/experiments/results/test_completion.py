"""A finished question is known again in a moment, and any other question is not taken for it."""

import shutil

import pytest

from aimc_robust.devices.library import cards_folder
from aimc_robust.experiments.results.completion import read_marker, spec_digest, write_marker

SPEC = """
name = "one"
targets = ["digital", { device = 'mine.toml' }, { device = "other.toml" }]
[data]
name = "digits"
"""


@pytest.fixture
def spec(tmp_path):
    for name in ("mine", "other"):
        shutil.copy(cards_folder() / "rram-milo2021.toml", tmp_path / f"{name}.toml")
    path = tmp_path / "spec.toml"
    path.write_text(SPEC, encoding="utf-8")
    return path


def test_the_same_question_is_known_with_its_failures(spec, tmp_path):
    write_marker(tmp_path, spec_digest(spec), ["sam-seed0"])
    assert read_marker(tmp_path, spec_digest(spec)) == ["sam-seed0"]


@pytest.mark.parametrize("name", ["spec.toml", "mine.toml", "other.toml"])
def test_a_changed_spec_or_card_is_another_question(spec, tmp_path, name):
    write_marker(tmp_path, spec_digest(spec), [])
    path = tmp_path / name
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    assert read_marker(tmp_path, spec_digest(spec)) is None


def test_an_override_is_another_question(spec, tmp_path):
    write_marker(tmp_path, spec_digest(spec), [])
    assert read_marker(tmp_path, spec_digest(spec, overrides=["chips=3"])) is None


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"question": 1}'])
def test_a_damaged_note_answers_nothing(spec, tmp_path, note):
    (tmp_path / ".answered.json").write_text(note, encoding="utf-8")
    assert read_marker(tmp_path, spec_digest(spec)) is None
