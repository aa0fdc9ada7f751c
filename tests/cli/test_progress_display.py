"""What is shown of a comparison adds up, also with several models under way."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from aimc_robust.cli.progress_display import PlainProgress, RichProgress
from aimc_robust.experiments.results.trial import Trial

FIRST, SECOND, THIRD = (Trial("sgd", seed) for seed in range(3))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_the_bar_of_all_models_never_goes_back_with_two_under_way(console):
    bars = Bars(console=console)
    view = RichProgress(console, bars)
    everything = bars.tasks[0]
    view.started(trials=2, epochs=4, coverage="")
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
    assert bars.tasks[1].description == f"{FIRST}: done"


def test_the_time_that_is_left_counts_only_models_that_were_worked_on(console, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("aimc_robust.cli.progress_display.time.monotonic", lambda: now[0])
    view = PlainProgress(console)
    view.started(trials=3, epochs=4, coverage="")
    view.finished(FIRST, {"digital": 90.0})  # by an earlier call
    view.training(SECOND, done=0)
    view.training(THIRD, done=0)
    now[0] = 90.0
    view.finished(THIRD, {"digital": 80.0})
    view.finished(SECOND, {"digital": 70.0})
    lines = console.file.getvalue().splitlines()[1:]
    assert lines == [
        f"[1/3] {FIRST}: digital 90.0",
        f"[2/3] {THIRD}: digital 80.0  (about 1 min 30 s left)",
        f"[3/3] {SECOND}: digital 70.0",
    ]
