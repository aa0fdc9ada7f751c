"""What is shown of a comparison adds up, also with several models under way."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from aimc_robust.cli.progress_display import PlainProgress, RichProgress, _TimeLeftColumn
from aimc_robust.experiments.callbacks.progress import ExperimentSize
from aimc_robust.experiments.planning.remaining import RemainingWork, State
from aimc_robust.experiments.results.trial import Trial

FIRST, SECOND, THIRD = (Trial("sgd", seed) for seed in range(3))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_the_bar_of_all_models_never_goes_back_with_two_under_way(console):
    bars = Bars(console=console)
    view = RichProgress(console, bars)
    everything = bars.tasks[0]
    view.started(ExperimentSize(trials=2, epochs=4, coverage=""))
    steps = [lambda: view.training(FIRST, done=0), lambda: view.training(SECOND, done=2)]
    for epoch in (1, 2):
        steps += [lambda e=epoch: view.epoch(FIRST, {"epoch": e}), lambda e=epoch: view.epoch(SECOND, {"epoch": e + 2})]
    steps += [
        lambda: view.evaluating(SECOND, "digital", done=0, chips=1),
        lambda: view.finished(SECOND, {"digital": 90.0}),
    ]
    steps += [lambda: view.failed(FIRST, "no memory")]
    reached = []
    for step in steps:
        step()
        reached.append(everything.completed)
    assert reached == [0, 2, 3, 4, 5, 6, 6, 6, 8]
    assert everything.total == 8
    assert bars.tasks[1].description == f"{FIRST}: failed"


def test_a_failed_trial_is_counted_once(console):
    view = PlainProgress(console)
    view.started(ExperimentSize(trials=2, epochs=2, coverage=""))
    view.failed(FIRST, "no memory")
    assert [line for line in console.file.getvalue().splitlines() if "sgd" in line] == [
        "[1/2] sgd-seed0: FAILED, no memory"
    ]


def work(trial):
    return RemainingWork(trial, State.TODO, 4, 4, {"digital": 1})


def run_trial(view, now, trial, epochs):
    view.training(trial, done=4 - epochs)
    for epoch in range(4 - epochs, 4):
        view.epoch(trial, {"epoch": epoch + 1, "seconds": 20.0})
    view.evaluating(trial, "digital", done=0, chips=1)
    now[0] += 10.0
    view.chip(trial, "digital", [70.0])
    view.finished(trial, {"digital": 70.0})


def test_the_time_that_is_left_is_that_of_what_is_left_at_the_measured_speeds(console, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    view = PlainProgress(console)
    view.started(ExperimentSize(trials=3, epochs=4, coverage="", work=[work(SECOND), work(THIRD)]))
    view.finished(FIRST, {"digital": 90.0})  # by an earlier call
    run_trial(view, now, SECOND, epochs=1)
    run_trial(view, now, THIRD, epochs=4)
    assert console.file.getvalue().splitlines()[1:] == [
        f"[1/3] {FIRST}: digital 90.0",
        f"[2/3] {SECOND}: digital 70.0  (about 2 min left)",  # 4 epochs of 20 s and a chip of 10 s
        f"[3/3] {THIRD}: digital 70.0",
    ]


def test_many_lines_in_a_second_have_one_estimate(console, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    view = PlainProgress(console)
    view.started(ExperimentSize(trials=3, epochs=4, coverage="", work=[work(SECOND), work(THIRD)]))
    run_trial(view, now, SECOND, epochs=1)
    for after_s in (0.5, 0.5):
        now[0] += after_s
        view.finished(FIRST, {"digital": 90.0})
    lines = console.file.getvalue().splitlines()[1:]
    assert ["left" in line for line in lines] == [True, False, True]


def test_the_bar_shows_the_same_time_left(console, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bars = Bars(_TimeLeftColumn(), console=console)
    view = RichProgress(console, bars)
    view.started(ExperimentSize(trials=2, epochs=4, work=[work(SECOND), work(THIRD)]))
    run_trial(view, now, SECOND, epochs=4)
    assert bars.tasks[0].fields["left"] == "about 2 min left"
    console.print(bars.get_renderable())
    assert "about 2 min left" in console.file.getvalue()
