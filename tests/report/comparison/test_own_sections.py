"""Sections of a user's own: `report_sections` of a spec names functions of a comparison's content."""

import re
import subprocess
import sys

import pytest

from aimc_robust.errors import InputError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.engines.serial import SerialEngine
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.user_code import import_callable, user_code
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.comparison.run import compare_and_report
from aimc_robust.report.freshness import report_is_current
from aimc_robust.report.write import write_report
from aimc_robust.training.fabric import Machine

MODULE = """
from aimc_robust.report.page_model import Files, Section


def best(content):
    (label, target), estimate = max(content.estimates.items(), key=lambda item: item[1].mean)
    text = f"The highest mean is that of {label} on {target}."
    return Section("Highest mean", [text, Files({"tables/best.csv": lambda: f"method,target\\n{label},{target}\\n"})])


def nothing(content):
    return None


def number(content):
    return 3


def broken(content):
    raise ZeroDivisionError("no rows at all")


def compared(content):
    pair = ("sgd", "gaussian-0.2"), ("sgd", "digital")
    return Section("Noise", [f"{content.comparisons[pair].difference.mean:.3f} of {content.comparison_count}"])


compared.pairs = lambda spec, estimates: [(("sgd", "gaussian-0.2"), ("sgd", "digital"))]
nothing.pairs = lambda spec, estimates: 1 / 0
"""


@pytest.fixture
def own_sections(tmp_path, monkeypatch):
    """A module of sections two folders above the results, which nothing but their place makes known."""
    (tmp_path / "our_sections.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "our_sections"
    sys.modules.pop("our_sections", None)


def test_a_section_stands_before_the_others_and_its_files_beside_them(change_question, own_sections):
    folder = change_question(report_sections=[f"{own_sections}:best"])
    page = write_report(folder).read_text()
    assert page.index("<h2>Highest mean <") < page.index("<h2>Summary <")
    assert "The highest mean is that of " in (folder / "report.md").read_text()
    assert (folder / "tables" / "best.csv").read_text().startswith("method,target\n")


def test_the_pairs_of_a_section_are_tested_and_count_in_the_correction(change_question, own_sections):
    alone = gather(ComparisonResults.open(change_question(report_sections=[])))
    folder = change_question(report_sections=[f"{own_sections}:compared"])
    content = gather(ComparisonResults.open(folder))
    assert content.comparison_count == alone.comparison_count + 1
    (difference,) = (found.difference for pair, found in content.comparisons.items() if pair not in alone.comparisons)
    assert f"{difference.mean:.3f} of {content.comparison_count}" in write_report(folder).read_text()


def test_pairs_that_cannot_be_found_are_named(change_question, own_sections):
    folder = change_question(report_sections=[f"{own_sections}:nothing"])
    with pytest.warns(UserWarning, match="our_sections:nothing.*ZeroDivisionError.*correction"):
        assert "<h2>Accuracy <" in write_report(folder).read_text()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("broken", "no rows at all"), ("number", "returned int"), ("missing", "has no function missing")],
)
def test_what_a_section_lacks_is_said_in_its_place_and_the_rest_is_written(change_question, own_sections, name, reason):
    folder = change_question(report_sections=[f"{own_sections}:{name}"])
    with pytest.warns(UserWarning, match=f"our_sections:{name}.*{reason}.*left out"):
        page = write_report(folder).read_text()
    assert reason in page
    assert "<h2>Accuracy <" in page


MISSING = "report section is_nowhere.at_all:section: there is no module is_nowhere here; run the command in the folder"


def test_a_report_without_the_module_of_a_section_says_what_it_lacks_and_what_that_changes(change_question):
    folder = change_question(report_sections=["is_nowhere.at_all:section"])
    with pytest.warns(UserWarning, match=re.escape(MISSING)):
        page = write_report(folder).read_text()
    assert f'<p class="warning">{MISSING}' in page
    assert "The section is left out; what it compares is neither tested nor counted." in page


def test_a_report_is_written_where_code_of_users_is_refused(change_question, own_sections):
    folder = change_question(report_sections=[f"{own_sections}:best"])
    with user_code(False), pytest.warns(UserWarning, match=r"our_sections:best.*--no-user-code.*left out"):
        assert "--no-user-code" in write_report(folder).read_text()
    assert not report_is_current(folder)  # where the code may run, the section is there


def test_a_missing_section_is_told_before_anything_is_trained_with_the_way_to_do_without(write_spec, tmp_path):
    path = write_spec(
        ('name = "tiny"', 'name = "tiny"\nreport_sections = ["is_nowhere.at_all:section"]'),
        ("epochs = 3", "epochs = 1"),
    )
    options = {"progress": ExperimentProgress(), "machine": Machine(), "engine": SerialEngine()}
    with pytest.raises(InputError, match=re.escape(MISSING) + ".*PYTHONPATH.*--set 'report_sections=") as caught:
        compare_and_report(path, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    override = str(caught.value).split("'")[-2]
    report, failed = compare_and_report(path, tmp_path / "out", overrides=(override,), **options)
    assert failed == []
    assert "is_nowhere" not in report.read_text().split("How to reproduce <")[0]


def test_a_report_is_outdated_once_the_file_of_a_section_changes(change_question, own_sections, tmp_path):
    folder = change_question(report_sections=[f"{own_sections}:best"])
    write_report(folder)
    assert report_is_current(folder)
    (tmp_path / "our_sections.py").write_text(MODULE.replace("Highest mean", "Best mean"), encoding="utf-8")
    assert not report_is_current(folder)


def test_only_import_paths_are_taken(write_spec):
    with pytest.raises(InputError, match=r"report_sections.*our_sections\.py"):
        load_spec(write_spec(('name = "tiny"', 'name = "tiny"\nreport_sections = ["our_sections.py"]')))


def test_a_module_is_found_from_any_working_directory(own_sections, tmp_path):
    """In a process of its own, whose working directory knows nothing of it."""
    deep = tmp_path / "specs" / "mine"
    deep.mkdir(parents=True)
    code = (
        "from pathlib import Path; from aimc_robust.io.user_code import import_callable; "
        f"print(import_callable('our_sections:best', what='section', near=[Path({str(deep)!r})]).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "best"
    with pytest.raises(InputError, match="our_sections"):
        import_callable("our_sections:best", what="section")
