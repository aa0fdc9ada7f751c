"""`plan` lists what is done and what is left, `merge` joins, `report` counts what is missing; from the command line."""

import shutil
from dataclasses import replace

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from aimc_robust.cli.app import app
from aimc_robust.cli.progress_display import duration
from aimc_robust.cli.views.plan import lines, rows
from aimc_robust.experiments.planning import cost_model
from aimc_robust.experiments.planning.plan import Plan
from aimc_robust.experiments.planning.remaining import RemainingWork, Speeds, State
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import LOCK
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.loading import load_spec


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def planned(write_spec):
    """A plan of made-up numbers for the small spec."""
    spec = load_spec(write_spec())
    left = {"gaussian-0.2": 3}
    trials = (
        RemainingWork(Trial("sgd", 0), State.DONE, 3, 0, {}),
        RemainingWork(Trial("m-rwp", 0), State.TODO, 3, 3, left),
        RemainingWork(Trial("sgd", 1), State.STARTED, 3, 1, left),
        RemainingWork(Trial("m-rwp", 1), State.TODO, 3, 3, left),
    )
    speeds = Speeds({"sgd": 480.0, "m-rwp": 2280.0}, {("sgd", "gaussian-0.2"): 40.0, ("m-rwp", "gaussian-0.2"): 120.0})
    return Plan(spec, trials, speeds, 6_000_000, 2, 2, "cpu", ("small-cnn, SGD: 0.1 s for an update",), ())


def test_models_of_a_method_that_stand_alike_share_a_row(planned):
    assert rows(planned) == [
        ("sgd", "0", "done", "", ""),
        ("sgd", "1", "2 of 3 epochs", "3", "10 min"),
        ("m-rwp", "0 1", "to do, 3 epochs", "6", "2 x 2 h 00 min"),
    ]


def test_the_totals_say_what_they_are(planned):
    text = lines(planned)
    assert text[0] == "4 models: 1 done, 1 started, 2 to do."
    assert text[1] == "Time left: about 2 h 10 min 2 at a time, on this machine (cpu)."
    alone = lines(replace(planned, jobs=1, workers=1))
    assert alone[1] == "Time left: about 4 h 10 min one after the other, on this machine (cpu)."
    assert text[2] == "Disk space of new checkpoints: 6.0 MB."
    assert "  small-cnn, SGD: 0.1 s for an update" in text


def test_what_cannot_be_estimated_is_said_not_guessed(planned):
    failed = RemainingWork(Trial("sgd", 0), State.FAILED, 3, 3, {"digital": 1}, reason="out of memory")
    del planned.speeds.epoch_s["sgd"]
    some = replace(
        planned,
        trials=(failed, *planned.trials[1:]),
        jobs=1,
        workers=1,
        measured=(),
        problems=("there is no data file x.npz.",),
    )
    assert ("sgd", "1", "2 of 3 epochs", "3", "unknown") in rows(some)
    assert ("sgd", "0", "failed: out of memory", "", "") in rows(some)
    text = lines(some)
    assert text[0].endswith("1 failed.")
    assert text[1].startswith("Time left: at least about 4 h 00 min one after the other, on")
    assert text[-1] == "Some costs cannot be estimated: there is no data file x.npz."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5370, "1 h 30 min"), (129_000, "35 h 50 min"), (180_000, "2 d 02 h")],
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text


def test_plan_tells_states_and_costs_and_writes_nothing(write_spec, tmp_path, monkeypatch):
    path = write_spec()
    store = ComparisonResults(tmp_path / "out", load_spec(path))
    store.record_failure(Trial("m-rwp", 1), "not finite at update 7")
    with FileLock(store.folder / LOCK):
        pass  # what is left of it is no lock
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(cost_model, "ENOUGH_S", 0.0)
    folders = ["--out", tmp_path / "out", "--models", tmp_path / "models"]
    done = invoke("plan", path, *folders, "--set", "training.epochs=2", "--accelerator", "cpu")
    assert done.exit_code == 0, done.output
    assert "tiny: 4 models" in done.output
    assert "failed: not finite at update 7" in done.output
    assert "to do, 2 epochs" in done.output
    assert "Time left: about" in done.output
    assert "Disk space of new checkpoints:" in done.output
    assert "another process" not in done.output
    assert sorted(tmp_path.rglob("*")) == before
    with FileLock(store.folder / LOCK):
        assert f"note: another process works on {store.folder}" in invoke("plan", path, *folders).stderr


def test_plan_without_data_lists_the_models_and_gives_the_datas_sentence(write_spec, tmp_path):
    path = write_spec(('name = "digits"', 'name = "npz:missing.npz"'), ("test_share = 0.1", ""))
    done = invoke("plan", path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "sgd     0 1    to do, 3 epochs" in done.output
    assert "Costs cannot be estimated: there is no data file" in done.output


def test_plan_refuses_a_pattern_that_matches_no_layer(write_spec, tmp_path):
    path = write_spec(('"rram-wan2022"]', '{ device = "rram-wan2022", layers = { fc = "digital" } }]'))
    done = invoke("plan", path, "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert "no layer of the model matches the pattern 'fc'. Layers: " in done.stderr


def test_merge_joins_writes_the_report_and_says_what_there_is(finished_comparison, tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        shutil.copytree(finished_comparison, tmp_path / name)
        for folder in (tmp_path / name / "runs").glob(f"*-seed{seed}"):
            shutil.rmtree(folder)
    merged = invoke("merge", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "all")
    assert merged.exit_code == 0, merged.output
    assert "4 of 4 models trained; 28 evaluation rows." in merged.output
    assert (tmp_path / "all" / "report.html").exists()
    assert (tmp_path / "all" / "evaluations.csv").read_bytes() == (finished_comparison / "evaluations.csv").read_bytes()


def test_report_says_how_many_models_have_no_result(comparison_copy):
    assert "note" not in invoke("report", comparison_copy).output
    (comparison_copy / "runs" / "sgd-seed0" / "evaluations.jsonl").unlink()
    path = comparison_copy / "runs" / "sgd-seed1" / "evaluations.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    done = invoke("report", comparison_copy)
    assert done.exit_code == 0
    assert "note: 2 of 4 models without all their results" in done.stderr


def test_merge_of_other_questions_ends_with_one_sentence(write_spec, tmp_path):
    for name, chips in (("one", 3), ("two", 4)):
        (tmp_path / name).mkdir()
        ComparisonResults.create(tmp_path / name, load_spec(write_spec(("chips = 3", f"chips = {chips}"))))
    merged = invoke("merge", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "all")
    assert merged.exit_code == 2
    assert "different questions (chips: 3 and 4)" in merged.output


def test_it_names_the_seeds_that_settle_a_difference(finished_comparison):
    result = invoke("plan", finished_comparison / "spec.toml", "--settle", 5, "--pilot", finished_comparison)
    assert result.exit_code == 0, result.output
    assert "seeds, largest" in result.output
    assert "gaussian" in result.output


def test_results_of_another_question_are_no_pilot(finished_comparison):
    other = finished_comparison.parent / "other.toml"
    text = (finished_comparison / "spec.toml").read_text()
    other.write_text(text.replace("gaussian-0.2", "gaussian-0.25"))
    assert other.read_text() != text
    result = invoke("plan", other, "--settle", 5, "--pilot", finished_comparison)
    assert result.exit_code == 2
    assert "no targets gaussian-0.25" in result.stderr


def test_a_pilot_without_a_size_is_refused(finished_comparison):
    result = invoke("plan", finished_comparison / "spec.toml", "--pilot", finished_comparison)
    assert result.exit_code == 2
    assert "--settle" in result.stderr
