"""A report section is added as docs/extending.md says: a function, and one entry in a list or in the spec."""

import re
import sys
from pathlib import Path

import pytest

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison import page
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.freshness import report_is_current
from aimc_robust.report.write import write_report

TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
(SECTION,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
(NAMED,) = re.findall(r'^report_sections = \["(.*)"\]$', TEXT, re.MULTILINE)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The file of the user's sections, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path / "my_sections.py"
    sys.modules.pop("my_sections", None)


def check(folder):
    html, markdown = ((folder / f"report.{kind}").read_text() for kind in ("html", "md"))
    estimates = gather(ComparisonResults.open(folder)).estimates
    noisy = {key: estimate.worst for key, estimate in estimates.items() if estimate.chips > 1}
    assert len(noisy) == 4
    for (method, target), worst in noisy.items():
        assert f"| {method} | {target} | {worst.accuracy:.2f} no. {worst.chip} |" in markdown
        assert f'data-method="{method}" data-target="{target}"' in html
    assert "<strong>lowest accuracy</strong>" in html
    return html


def test_a_section_that_the_spec_names_comes_first(change_question, module):
    module.write_text(SECTION)
    folder = change_question(report_sections=[NAMED])
    write_report(folder)
    html = check(folder)
    assert html.index("<h2>Worst chips</h2>") < html.index("<h2>Summary</h2>")
    assert report_is_current(folder)
    module.write_text(SECTION.replace("Worst chips", "Weakest chips"))
    assert not report_is_current(folder)  # the user's code makes the report too


def test_a_section_of_the_package_is_an_entry_in_the_list(change_question, monkeypatch):
    namespace = {}
    exec(SECTION, namespace)
    monkeypatch.setattr(page, "SECTIONS", [*page.SECTIONS, namespace["worst_chips"]])
    folder = change_question()
    write_report(folder)
    html = check(folder)
    assert html.index("<h2>Worst chips</h2>") > html.index("<h2>How to reproduce</h2>")
