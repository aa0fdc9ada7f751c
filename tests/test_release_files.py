"""What a release states about itself: one version and date everywhere, and links that lead somewhere."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

import aimc_robust

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}


def test_version_and_date_are_the_same_in_package_changelog_citation_and_bibtex():
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", CHANGELOG, re.MULTILINE)
    assert (CITATION["version"], CITATION["date-released"]) == newest.groups()
    assert aimc_robust.__version__ == newest[1]
    bibtex = re.search(r"^```bibtex\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)[1]
    assert f"version = {{{newest[1]}}}" in bibtex
    assert f"title   = {{{CITATION['title']}}}" in bibtex


def test_the_citation_follows_its_format():
    schema = json.loads((ROOT / "tests/golden/citation-file-format-1.2.0.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)
    assert [error.message for error in validator.iter_errors(CITATION)] == []
    for wrong in ({"authors": []}, {"date-released": "27.11.2026"}, {"licence": "MIT"}, {"type": "code"}):
        assert not validator.is_valid(CITATION | wrong)
    assert not validator.is_valid({key: value for key, value in CITATION.items() if key != "title"})


def test_the_changelog_begins_with_what_is_unreleased_and_has_only_known_sections():
    assert re.findall(r"^## .*$", CHANGELOG, re.MULTILINE)[0] == "## [Unreleased]"
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= SECTIONS


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_workflows_and_templates_name_files_that_exist(path):
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    named = re.findall(r"(?<![\w/])(?:\.ci|docs|tests|aimc_robust)/[\w./-]*", text)
    assert [name for name in named if not (ROOT / name.rstrip(".")).exists()] == []
