"""While `compare` runs, what it takes to be left is what `plan` reads from the files, and the time follows from it."""

import pytest

from aimc_robust.experiments.callbacks.progress import ExperimentSize, ForwardingProgress, ProgressGroup
from aimc_robust.experiments.callbacks.time_left import TimeLeft
from aimc_robust.experiments.planning.remaining import RemainingWork, State, remaining_work, time_left
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial

SGD, AGAIN, SAM = Trial("sgd", 0), Trial("sgd", 1), Trial("sam", 0)


def todo(trial, **chips):
    return RemainingWork(trial, State.TODO, 4, 4, chips or {"digital": 1, "noise": 2})


@pytest.mark.slow
@pytest.mark.parametrize(("shared", "part"), [(True, (1, 1)), (False, (1, 1)), (True, (2, 2))])
def test_what_is_left_of_a_running_comparison_is_what_plan_finds(write_quick_spec, tmp_path, run, shared, part):
    again = ("[methods.sgd]", '[methods.sgd]\n[methods.again]\nkind = "sgd"')
    landscape = ("[data]", '[[landscapes]]\nname = "plane"\npoints = 2\n[data]')
    path = write_quick_spec(("epochs = 1", "epochs = 2"), again, landscape)
    clock, compared, estimates = TimeLeft(), [], []
    models = tmp_path / "models" if shared else None

    def compare_with_plan(call):
        if not clock.work:
            return
        results = ComparisonResults.open(tmp_path / "out")
        planned = remaining_work(results, results.trials[part[0] - 1 :: part[1]], models)
        left = {work.trial: (work.epochs_left, work.chips_left) for work in planned if work.is_pending}
        known = {trial: (work.epochs_left, work.chips_left) for trial, work in clock.work.items()}
        assert {trial: content for trial, content in known.items() if any(content)} == left, call
        if clock.seconds is not None:
            assert clock.seconds == time_left(planned, clock.speeds, 1)
            estimates.append(clock.seconds)
        compared.append(call[0])

    run(path, progress=ProgressGroup([clock, ForwardingProgress(compare_with_plan)]), model_cache=models, part=part)
    assert {"started", "training", "epoch", "evaluating", "chip", "evaluated", "finished"} <= set(compared)
    assert max(estimates) > 0
    assert clock.work == {}
    assert clock.seconds is None


def test_speeds_are_means_and_unmeasured_work_is_like_similar_work(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = TimeLeft()
    clock.started(ExperimentSize(trials=3, work=[todo(SGD), todo(AGAIN), todo(SAM, noise=2, other=1)]))
    clock.training(SGD, done=2)
    assert clock.seconds is None  # nothing is measured
    for epoch, seconds in ((3, 10.0), (4, 30.0)):
        clock.epoch(SGD, {"epoch": epoch, "seconds": seconds, "probe_seconds": 2.0})
    assert clock.seconds is None  # no chip is measured
    for target, chips in (("digital", 1), ("noise", 2)):
        clock.evaluating(SGD, target, done=0, chips=chips)
        for chip in range(chips):
            now[0] += 1.0 if target == "digital" else 3.0 + 2 * chip
            clock.chip(SGD, target, [50.0])
    clock.finished(SGD, {})
    assert clock.speeds.epoch_s == {"sgd": 22.0, "sam": 22.0}
    expected = {("sgd", "digital"): 1.0, ("sgd", "noise"): 4.0, ("sam", "noise"): 4.0, ("sam", "other"): 2.5}
    assert clock.speeds.chip_s == expected
    assert clock.seconds == (4 * 22 + 1 + 2 * 4) + (4 * 22 + 2 * 4 + 2.5)


def test_trials_at_the_same_time_share_the_time_left_and_a_restart_puts_epochs_back():
    clock = TimeLeft()
    clock.started(ExperimentSize(trials=2, work=[todo(SGD, digital=0), todo(SAM, digital=0)]))
    clock.training(SGD, done=0)
    clock.epoch(SGD, {"epoch": 1, "seconds": 5.0})
    assert clock.seconds == 3 * 5 + 4 * 5
    clock.training(SAM, done=0)
    assert clock.seconds == 4 * 5
    clock.epoch(SGD, {"epoch": 2, "seconds": 5.0})
    clock.training(SGD, done=0)  # its process died before it had written a checkpoint
    assert clock.work[SGD].epochs_left == 4
    clock.failed(SGD, "its process died")
    assert list(clock.work) == [SAM]
