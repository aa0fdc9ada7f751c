"""The live table of a comparison has the means up to now, marks the best, and fits the terminal."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from aimc_robust import PrimaryMetric
from aimc_robust.cli.progress_display import RichProgress
from aimc_robust.cli.results_table import ResultsTable
from aimc_robust.experiments.callbacks.progress import ExperimentSize
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.statistics.primary_metric import ACCURACY


def size(metric=ACCURACY, targets=("digital", "rram")):
    return ExperimentSize(trials=4, epochs=3, models={"sgd": 2, "rwp": 2}, target_names=targets, metric=metric)


def rows_of(table, width=80):
    """The words of each line below the title."""
    console = Console(file=io.StringIO(), width=width)
    console.print(table.render(width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.split() for line in lines[1:]]


def test_cells_fill_up_with_the_means_over_models_and_the_best_is_marked():
    table = ResultsTable(size())
    assert rows_of(table)[1:] == [["sgd", "0/2", "–", "–"], ["rwp", "0/2", "–", "–"]]
    table.set_epoch(Trial("sgd", 0), 2)
    assert rows_of(table)[1][:4] == ["sgd", "0/2,", "epoch", "2"]
    table.finish(Trial("sgd", 0), {"digital": 96.0, "rram": 70.0})
    assert rows_of(table)[1:] == [["sgd", "1/2", "96.0", "70.0"], ["rwp", "0/2", "–", "–"]]  # one is no best
    table.set_values(Trial("rwp", 0), "rram", [80.0, 90.0])
    table.finish(Trial("sgd", 1), {"digital": 98.0, "rram": 72.0})
    assert rows_of(table)[1:] == [["sgd", "2/2", "97.0", "71.0"], ["rwp", "0/2", "–", "*85.0"]]


def test_of_a_metric_that_is_better_low_the_lowest_is_marked():
    table = ResultsTable(size(PrimaryMetric("perplexity", better="lower")))
    table.finish(Trial("sgd", 0), {"digital": 12.0})
    table.finish(Trial("rwp", 0), {"digital": 11.0})
    assert table.best("digital") == "rwp"
    assert table.best("rram") is None
    assert rows_of(table)[2][2] == "*11.00"


def test_failed_models_are_counted_and_landscapes_left_out():
    table = ResultsTable(size())
    table.set_values(Trial("sgd", 0), "plane", [10.0])
    table.fail(Trial("sgd", 0))
    assert rows_of(table)[1] == ["sgd", "1/2,", "1", "failed", "–", "–"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_of_many_targets_those_that_fit_are_shown_and_the_others_counted(width):
    names = [f"rram-of-a-long-name-{i}" for i in range(12)]
    table = ResultsTable(size(targets=names))
    table.finish(Trial("sgd", 0), dict.fromkeys(names, 50.0))
    shown = rows_of(table, width)[-2].count("50.0")
    assert 1 <= shown <= 12
    words = " ".join(word for row in rows_of(table, width)[:-2] for word in row)
    assert (f"{12 - shown} more" in words) == (shown < 12)


def test_on_a_terminal_the_table_stands_above_the_bars_in_place_of_lines():
    console = Console(file=io.StringIO(), width=100)
    view = RichProgress(console, Progress(console=console))
    view.started(size())
    view.training(Trial("rwp", 0), done=0)
    view.epoch(Trial("rwp", 0), {"epoch": 1, "seconds": 1.0})
    view.finished(Trial("sgd", 0), {"digital": 96.0, "rram": 70.0})
    view.failed(Trial("sgd", 1), "no memory")
    printed = console.file.getvalue()
    assert "FAILED, no memory" in printed
    assert "96.0" not in printed
    console.print(view)
    live = console.file.getvalue().removeprefix(printed)
    assert live.index("96.0") < live.index("all models")
    assert "0/2, epoch 1" in live


def test_an_evaluation_has_no_table():
    console = Console(file=io.StringIO(), width=100)
    view = RichProgress(console, Progress(console=console))
    view.started(ExperimentSize(trials=1, target_names=["digital"]))
    view.evaluated(Trial("model", 0), "digital", [96.0])
    assert view.table is None
    assert "model-seed0 on digital: 96.00" in console.file.getvalue()
