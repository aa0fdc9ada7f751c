"""Further columns of a task keep what the task says of them: title, unit, direction, and the bounds of intervals."""

import json
import shutil

import pytest

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.report.write import write_report

MAE = [0.0, 0.1, 0.0, 9.0]  # of chips: the Student interval of their mean reaches below 0


def as_task(folder, out, kind, metric, others):
    """A copy of a results folder whose accuracies are another metric; `others` are functions of a row."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("report.*", "*.csv", "tables", "figures", "*.jsonl.zst"))
    question = json.loads((out / "question.json").read_text())
    for key in ("metrics", "diagnostics", "landscapes"):
        question.pop(key, None)
    (out / "question.json").write_text(json.dumps(question | {"task": {"kind": kind}}))
    for path in out.glob("*.jsonl"):
        path.unlink()  # explanations, in units of an accuracy
    for path in out.glob("runs/*/evaluations.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row[metric] = row.pop("accuracy")
            row.pop("top5", None)
            row |= {name: function(row) for name, function in others.items()}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


@pytest.fixture
def regression(finished_evaluation, tmp_path):
    others = {"mae": lambda row: MAE[row["chip"] % 4], "r2": lambda row: 0.9 + 0.01 * row["chip"]}
    return as_task(finished_evaluation.folder, tmp_path / "out", "regression", "rmse", others)


def test_an_interval_of_a_further_column_ends_at_its_bounds_and_its_worst_chip_is_the_highest(regression):
    found = EvaluationResults.open(regression).estimates()["exact", "wan"].for_column("mae")
    assert found.ci[0] == 0.0
    assert found.worst.value == 9.0


def test_an_evaluations_page_names_further_columns_by_title_and_direction(regression):
    write_report(regression)
    text = (regression / "report.md").read_text()
    assert "mean absolute error, lower is better<br>95 % interval" in text
    assert "R²<br>95 % interval" in text
    assert "2.275<br>[0.000, " in text


def test_a_comparisons_page_shows_further_columns_with_their_unit(finished_comparison, tmp_path):
    others = {"pixel_accuracy": lambda row: 99.0 + 0.25 * row["chip"]}
    folder = as_task(finished_comparison, tmp_path / "out", "segmentation", "miou", others)
    chips = ComparisonResults.open(folder).spec.chips
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "pixel accuracy [%]" in text
    mean = 99.0 + 0.25 * (chips - 1) / 2.0
    assert f"| {mean:.2f}<br>[" in text
    assert "pixel_accuracy" not in text
