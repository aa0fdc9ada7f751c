"""A finished report is told from one that would be another: by what it was made from, and by what it holds."""

import json
import shutil

import pytest

import aimc_robust
from aimc_robust.report.freshness import MANIFEST, report_is_current
from aimc_robust.report.write import write_report


@pytest.fixture
def folder(finished_comparison, tmp_path):
    copy = shutil.copytree(finished_comparison, tmp_path / "copy")
    assert report_is_current(copy)  # also after a move: contents count, not times or places
    return copy


def append(path, text):
    path.write_text(path.read_text() + text)


def append_new(path, text):
    assert not path.exists()
    path.write_text(text)


CHANGES = {
    "a row more": lambda f: append(f / "runs/sgd-seed0/evaluations.jsonl", "{}\n"),
    "a point of a landscape": lambda f: append_new(f / "runs/sgd-seed0/landscape.jsonl", "{}\n"),
    "an epoch less": lambda f: (f / "runs/sgd-seed0/history.jsonl").write_text(""),
    "a model less": lambda f: shutil.rmtree(f / "runs/sgd-seed1"),
    "a failure": lambda f: (f / "runs/sgd-seed1/failed.json").write_text('{"reason": "lost"}'),
    "another question": lambda f: append(f / "question.json", " "),
    "another environment": lambda f: (f / "environment.json").write_text("[]"),
    "no page": lambda f: (f / "report.html").unlink(),
    "a page that was edited": lambda f: append(f / "report.html", "<!-- mine -->"),
    "a picture less": lambda f: (f / "figures/sigma.png").unlink(),
    "a damaged table": lambda f: (f / "tables/accuracy.tex").write_text(""),
    "no manifest": lambda f: (f / MANIFEST).unlink(),
    "an empty manifest": lambda f: (f / MANIFEST).write_text(""),
    "half a manifest": lambda f: (f / MANIFEST).write_text((f / MANIFEST).read_text()[:100]),
    "a manifest of another kind": lambda f: (f / MANIFEST).write_text("[1, 2]"),
    "a manifest without files": lambda f: (f / MANIFEST).write_text(
        json.dumps({"inputs": json.loads((f / MANIFEST).read_text())["inputs"], "files": 3})
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_report_is_not_current_after(folder, change):
    CHANGES[change](folder)
    assert not report_is_current(folder)


def test_another_version_of_the_package_makes_another_report(folder, monkeypatch):
    monkeypatch.setattr(aimc_robust, "__version__", "0.0.0")
    assert not report_is_current(folder)


def test_what_no_page_shows_does_not_matter(folder):
    (folder / "runs/sgd-seed0/checkpoint.safetensors").unlink()
    (folder / "notes.txt").write_text("mine")
    assert report_is_current(folder)


def test_writing_it_again_makes_it_current(folder):
    (folder / "report.html").unlink()
    write_report(folder)
    assert report_is_current(folder)


def test_a_folder_without_a_report_has_no_current_one(tmp_path):
    assert not report_is_current(tmp_path)
    assert not report_is_current(tmp_path / "absent")
