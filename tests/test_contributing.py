"""CONTRIBUTING's tree is the real one, and links to headings lead to one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
TOPS = ("aimc_robust", "tests", "benchmarks", "docs", "device_models")
NOT_LISTED = ("benchmarks/results/", "benchmarks/data")  # one folder per comparison; data that users put there


def listed_folders() -> set[str]:
    """The folders of CONTRIBUTING's tree."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    parents, folders = [], set()
    for indent, name in re.findall(r"^ {4}( *)([\w-]+)/(?: +\S|$)", text[: text.index("## Floors")], re.MULTILINE):
        parents = [*parents[: len(indent) // 2], name]
        folders.add("/".join(parents))
    return folders


def real_folders() -> set[str]:
    """The folders that hold files, to depth 3."""
    files = [
        path for top in TOPS for path in (ROOT / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    folders = {folder.as_posix() for file in files for folder in file.relative_to(ROOT).parents}
    return {folder for folder in folders if folder != "." and folder.count("/") < 3}


def test_the_tree_is_the_real_one():
    listed, real = listed_folders(), real_folders()
    assert {folder for folder in listed if not (ROOT / folder).is_dir()} == set()
    mirrored = {
        f for f in real if f.startswith("tests/") and (ROOT / "aimc_robust" / f.removeprefix("tests/")).is_dir()
    }
    assert {folder for folder in real - listed - mirrored if not folder.startswith(NOT_LISTED)} == set()


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them, and of a glossary's words, as the site does."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE) + re.findall(r"^\*\*([^*,]+).*\n: ", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_to_headings_lead_to_one(page):
    path = ROOT / page
    for file, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]*)\)", path.read_text(encoding="utf-8")):
        assert anchor in anchors(path.parent / file if file else path), (file, anchor)
