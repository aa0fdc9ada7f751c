"""The notebooks of docs/tutorials run from start to end, show pictures, and are stored without outputs."""

import ast
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import aimc_robust as ar

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def read(name):
    return nbformat.read(FOLDER / name, as_version=4)


def code_of(notebook):
    """The Python of a notebook, without commands of the shell, files and lines of IPython."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    python = [source for source in cells if not source.startswith(("!", "%%"))]
    return "\n".join(re.sub(r"^%.*$", "", source, flags=re.MULTILINE) for source in python)


def test_there_are_three():
    assert [name[:2] for name in NOTEBOOKS] == ["1-", "2-", "3-"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_states_its_run_time_and_is_stored_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.search(r"\*\*Run time: \d+ seconds of processor time, one thread on an AMD EPYC\.\*\*", text)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (FOLDER / link).exists(), link


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_names_that_a_notebook_uses_exist(name):
    used = 0
    for node in ast.walk(ast.parse(code_of(read(name)))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ar":
            assert hasattr(ar, node.attr), node.attr
            used += 1
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ar.plot":
            assert hasattr(ar.plot, node.attr), node.attr
    assert used > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_every_plot_is_a_picture(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # of `aimc-robust`
    notebook = read(name)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            assert bool(pictures) >= ("ar.plot." in cell.source), cell.source
            problems = [o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
            assert problems == [], cell.source
