"""Reports of the finished comparison of real digits, with another question or with a published table."""

import json
import shutil

import pytest
from support.fixtures.report import figures_as_stubs
from support.published_tables import PAPER
from support.shared_build import build_once

from aimc_robust.report.write import write_report


@pytest.fixture(autouse=True)
def _figures_are_drawn_on_request(request):
    if request.node.get_closest_marker("drawn_figures") is None:
        request.getfixturevalue("stub_figures")


@pytest.fixture
def change_question(finished_comparison, tmp_path):
    """A copy of the finished comparison whose question has other keys; `methods` are laid over each method's table."""

    def change(methods=None, **keys):
        folder = shutil.copytree(finished_comparison, tmp_path / "changed", dirs_exist_ok=True)
        path = folder / "question.json"
        question = json.loads(path.read_text())
        for label, table in (methods or {}).items():
            question["methods"][label] |= table
        path.write_text(json.dumps(question | keys))
        return folder

    return change


@pytest.fixture(scope="session")
def comparison_with_paper(finished_comparison, tmp_path_factory):
    """The finished comparison with PAPER, and its report; to be read only."""

    def build(folder):
        shutil.copytree(finished_comparison, folder, dirs_exist_ok=True)
        path = folder / "question.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"paper": PAPER}))
        with figures_as_stubs():
            write_report(folder)

    return build_once(tmp_path_factory, "comparison-with-paper", build)
