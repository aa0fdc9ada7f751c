"""Many trials on a cluster where workers, a node, the driver and the head die, with the script that runs a thousand."""

import json
import sys

import pytest
from support.benchmark_scripts import BENCHMARKS, load_script
from support.engine_runs import create_results

from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.execution import trial_runner
from aimc_robust.experiments.results.files import EVALUATIONS, HISTORY
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import append_rows
from aimc_robust.training.loop import train

pytest.importorskip("ray", reason="needs the extra [cluster]")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS / "speed")
    yield load_script("speed/ray_trials.py")
    sys.modules.pop("stub_trials", None)


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_trained_twice_whatever_dies(script, tmp_path):
    report = script.run_disturbed(tmp_path, 30)
    assert "5 workers and a node were killed" in report[0]


@pytest.mark.parametrize("trials", [30, 200, 1000, 10_000])
def test_workers_die_at_every_moment_and_no_more_often_for_more_trials(script, trials):
    deaths = list(script.planned_deaths([str(number) for number in range(trials)]).values())
    assert len(deaths) == trials
    for moment in ("begin", "epoch1", "trained"):
        assert 1 <= sum(moment in moments for moments in deaths) <= 15
    assert max(map(len, deaths)) == script.RETRIES  # as often as a trial is started again
    assert all(
        sum(map(len, deaths[start : start + trials // 2])) for start in (0, trials // 2)
    )  # spread over the trials


def test_the_stub_leaves_the_process_as_it_was(script, write_quick_spec, run):
    """A test that came after one with stubs in the same process trained nothing, and found rows of stubs."""
    before = {name: vars(module).copy() for name, module in sys.modules.items() if name.startswith("aimc_robust.")}
    results = run(write_quick_spec(), engine=script.SerialEngine(run_trial=script.stub_trial)).results
    assert {row["accuracy"] for row in results.history(results.trials[0])} == {50.0}
    for name, members in before.items():
        for key in ("train", "append_rows", "atomic_write"):
            assert vars(sys.modules[name]).get(key) is members.get(key), f"{name}.{key}"
    assert trial_runner.train is train


def events(*names):
    return [{"trial": "sgd-seed0", "event": name, **({"epoch": 0} if name == "start" else {})} for name in names]


@pytest.mark.parametrize(
    ("names", "reason"),
    [(("start", "end", "start", "end"), "trained twice"), (("start", "end", "start"), "trained twice")],
)
def test_the_check_finds_a_training_that_was_finished_before(script, tmp_path, names, reason):
    append_rows(tmp_path / "trainings.jsonl", events(*names))
    with pytest.raises(AssertionError, match=reason):
        script.check_trainings(tmp_path, {"sgd-seed0": []})


def test_the_check_finds_a_training_that_began_anew_and_one_that_is_missing(script, tmp_path):
    append_rows(tmp_path / "trainings.jsonl", [events("start")[0] | {"epoch": epoch} for epoch in (1, 0)])
    append_rows(tmp_path / "trainings.jsonl", events("end"))
    with pytest.raises(AssertionError, match="began anew"):
        script.check_trainings(tmp_path, {"sgd-seed0": []})
    (tmp_path / "trainings.jsonl").unlink()
    append_rows(tmp_path / "trainings.jsonl", events("start", "start", "end"))
    assert script.check_trainings(tmp_path, {"sgd-seed0": []}) == 2
    with pytest.raises(AssertionError):
        script.check_trainings(tmp_path, {"sgd-seed0": [], "sgd-seed1": []})


@pytest.mark.parametrize("name", [EVALUATIONS, HISTORY])
def test_the_check_finds_a_row_that_is_stored_twice_or_lost(script, comparison_copy, finished_comparison, name):
    from aimc_robust.experiments.results.comparison import ComparisonResults

    here, there = ComparisonResults.open(comparison_copy), ComparisonResults.open(finished_comparison)
    script.check_rows(here, there)
    path = here.run_folder(Trial("sgd", 1)) / name
    lines = path.read_text().splitlines(keepends=True)
    for changed in ([*lines, lines[-1]], lines[:-1]):
        path.write_text("".join(changed))
        with pytest.raises(AssertionError, match="sgd-seed1"):
            script.check_rows(here, there)


def test_what_is_known_of_each_trial_is_looked_up_and_not_searched_for(write_quick_spec, tmp_path, monkeypatch):
    count = 300
    path = write_quick_spec(("train_seeds = [0, 1]", f"train_seeds = {list(range(count // 2))}"))
    results, compared = create_results(path, tmp_path / "out"), []
    for trial in results.trials:
        results.run_folder(trial).mkdir(parents=True)
        (results.run_folder(trial) / "failed.json").write_text(json.dumps({"reason": "it diverged"}))

    def equal(first, second):
        compared.append(first)
        return (first.model, first.train_seed) == (second.model, second.train_seed)

    monkeypatch.setattr(Trial, "__eq__", equal)
    failed = compare(results.spec, results.folder, data_folder=tmp_path).failed
    assert len(failed) == count
    assert len(compared) < 20 * count  # with lists: count x count / 2
