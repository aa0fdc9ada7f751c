"""Results of one question from several machines become one: nothing lost, no two trainings mixed."""

import json
import shutil

import pytest
import torch

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import LANDSCAPE, lock_folder
from aimc_robust.experiments.results.merge import merge
from aimc_robust.experiments.results.rows import read_points
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.base import _differences
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.atomic import read_rows
from aimc_robust.models.checkpoint import read_checkpoint, write_checkpoint

SGD, MRWP = Trial("sgd", 0), Trial("m-rwp", 1)


def epochs(count, start=40.0):
    return [{"epoch": n, "train_loss": 1 / n, "accuracy": start + n, "seconds": 0.1 * n} for n in range(1, count + 1)]


def chips(trial, numbers, target="gaussian-0.2", accuracy=60.0):
    names = {
        "model": trial.model,
        "train_seed": trial.train_seed,
        "target": target,
        "backend": "noise",
        "sigma": None,
        "time_s": 0.0,
    }
    return [{**names, "chip": n, "accuracy": accuracy + n, "loss": 1.25, "n": 180} for n in numbers]


@pytest.fixture
def results(write_spec, tmp_path):
    """Make a results folder of the small spec."""
    spec = load_spec(write_spec())

    def make(name, spec=spec):
        (tmp_path / name).mkdir()
        made = ComparisonResults.create(tmp_path / name, spec)
        made.write_spec_text(f"# {name}")
        return made

    return make


def put(store, trial, *, history=(), rows=(), weights=None, unfinished=None, failed=None, other=None):
    """What a run leaves; weights, unfinished, other: a number that stands for a checkpoint's content."""
    folder = store.run_folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "checkpoint.safetensors": weights,
        "unfinished.safetensors": unfinished,
        "checkpoint-0.1.safetensors": other,
    }
    for name, value in kept.items():
        if value is not None:
            write_checkpoint(
                folder / name, {"w": torch.full((3,), float(value))}, {"recipe": "r", "epoch": 2, "history": []}
            )
    for name, content in (("history.jsonl", history), ("evaluations.jsonl", rows)):
        if content:
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    if failed is not None:
        store.record_failure(trial, failed)


def content(folder):
    """Every visible file of the runs, by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "runs").rglob("*")) if p.is_file()}


def weight(store, trial, name="checkpoint.safetensors"):
    return float(read_checkpoint(store.run_folder(trial) / name)[0]["w"][0])


def finished(store, trial, value=1.0, numbers=(0, 1, 2), **more):
    put(store, trial, history=epochs(3), weights=value, rows=chips(trial, numbers), **more)


def test_trials_of_two_machines_come_together(results, tmp_path):
    one, two = results("one"), results("two")
    finished(one, SGD, other=5)
    finished(two, MRWP, value=2)
    merged = merge([one.folder, two.folder], tmp_path / "all")
    assert (merged.finished, merged.rows) == (2, 6)
    assert content(tmp_path / "all") == content(one.folder) | content(two.folder)
    assert len(ComparisonResults.open(tmp_path / "all").table()) == 6
    assert (tmp_path / "all" / "evaluations.csv").read_text().count("\n") == 7
    assert (tmp_path / "all" / "spec.toml").read_text() == "# one"


def test_a_real_comparison_cut_in_two_is_whole_again(finished_comparison, tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        shutil.copytree(finished_comparison, tmp_path / name)
        for folder in (tmp_path / name / "runs").glob(f"*-seed{seed}"):
            shutil.rmtree(folder)
    merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    assert content(tmp_path / "all") == content(finished_comparison)
    for name in ("evaluations.csv", "summary.csv", "question.json", "environment.json", "coverage.json"):
        assert (tmp_path / "all" / name).read_bytes() == (finished_comparison / name).read_bytes()


def test_committed_rows_without_checkpoints_come_together_and_weights_join_their_rows(results, tmp_path):
    published, other, weights = results("published"), results("other"), results("weights")
    put(published, SGD, history=epochs(3), rows=chips(SGD, [0, 1]))
    put(other, SGD, history=epochs(3), rows=chips(SGD, [1, 2]))
    put(weights, SGD, history=epochs(3), weights=4)
    merged = merge([published.folder, other.folder, weights.folder], tmp_path / "all").results
    assert sorted(row["chip"] for row in merged.evaluations(SGD)) == [0, 1, 2]
    assert weight(merged, SGD) == 4


def test_the_finished_training_wins_whole_whatever_the_order(results, tmp_path):
    ahead, behind = results("ahead"), results("behind")
    put(behind, SGD, history=epochs(2, start=10.0), unfinished=7)
    finished(ahead, SGD)
    for name, order in (("all", [ahead, behind]), ("again", [behind, ahead])):
        merge([store.folder for store in order], tmp_path / name)
        assert content(tmp_path / name) == content(ahead.folder)


def test_of_two_unfinished_trainings_the_one_with_most_epochs_is_gone_on_with(results, tmp_path):
    one, two = results("one"), results("two")
    put(one, SGD, history=epochs(1, start=10.0), unfinished=1)
    put(two, SGD, history=epochs(2), unfinished=2)
    merged = merge([one.folder, two.folder], one.folder).results
    assert content(one.folder) == content(two.folder)
    assert (weight(merged, SGD, "unfinished.safetensors"), len(merged.history(SGD))) == (2, 2)


def test_a_training_that_can_go_on_wins_over_more_epochs_that_cannot(results, tmp_path):
    one, two = results("one"), results("two")
    put(one, SGD, history=epochs(2))
    put(two, SGD, history=epochs(1), unfinished=2)
    merge([one.folder, two.folder], tmp_path / "all")
    assert content(tmp_path / "all") == content(two.folder)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_failed_trial_loses_to_a_finished_one_and_keeps_its_reason_alone(order, results, tmp_path):
    stores = [results("one"), results("two")]
    put(stores[0], SGD, history=epochs(1), failed="not finite")
    finished(stores[1], SGD)
    put(stores[0], MRWP, failed="out of memory")
    merged = merge([stores[i].folder for i in order], tmp_path / "all").results
    assert merged.failure(SGD) is None
    assert merged.failure(MRWP) == "out of memory"
    assert merge([stores[i].folder for i in order], stores[0].folder).results.failure(SGD) is None


def test_rows_of_one_training_are_united_each_once(results, tmp_path):
    one, two = results("one"), results("two")
    finished(one, SGD, numbers=(0, 1))
    finished(two, SGD, numbers=(1, 2))
    merged = merge([one.folder, two.folder], tmp_path / "all").results
    assert [row["chip"] for row in merged.evaluations(SGD)] == [0, 1, 2]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_rows_of_the_same_weights_that_differ_are_refused_whatever_the_order(order, results, tmp_path):
    stores = [results(name) for name in ("one", "two", "three")]
    for store, numbers, accuracy in zip(stores, ([0], [1, 2], [2]), (60.0, 60.0, 60.5), strict=True):
        put(store, SGD, history=epochs(3), weights=1, rows=chips(SGD, numbers, accuracy=accuracy))
    folders = [stores[i].folder for i in order]
    both = r"sgd-seed0, chip 2 of gaussian-0\.2 in .*(two.* and .*three|three.* and .*two).*delete the rows"
    with pytest.raises(ResultsError, match=both):
        merge(folders, tmp_path / "all")
    assert not (tmp_path / "all").exists()
    (stores[2].run_folder(SGD) / "evaluations.jsonl").unlink()
    merged = merge(folders, tmp_path / "all").results
    assert sorted(row["accuracy"] for row in merged.evaluations(SGD)) == [60.0, 61.0, 62.0]


def test_two_different_finished_trainings_are_refused_and_nothing_is_written(results, tmp_path):
    one, two = results("one"), results("two")
    finished(one, SGD, value=1)
    finished(two, SGD, value=2)
    with pytest.raises(ResultsError, match="sgd-seed0"):
        merge([one.folder, two.folder], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rows": chips(SGD, [2], accuracy=61.0)}, "2.*gaussian-0.2"),
        ({"history": epochs(3, start=41.0), "rows": chips(SGD, [5])}, "epoch 1"),
        ({"rows": chips(SGD, [5])}, "epochs"),
    ],
)
def test_published_trainings_without_weights_are_told_apart_by_their_numbers(changed, words, results, tmp_path):
    one, two = results("one"), results("two")
    put(one, SGD, history=epochs(3), rows=chips(SGD, [0, 1, 2]))
    put(two, SGD, **changed)
    with pytest.raises(ResultsError, match=words):
        merge([one.folder, two.folder], tmp_path / "all")


def test_the_seconds_of_an_epoch_are_the_machines_not_the_trainings(results, tmp_path):
    one, two = results("one"), results("two")
    slower = [row | {"seconds": 99.0} for row in epochs(3)]
    put(one, SGD, history=epochs(3), rows=chips(SGD, [0]))
    put(two, SGD, history=slower, rows=chips(SGD, [1]))
    assert merge([one.folder, two.folder], tmp_path / "all").rows == 2


def test_folders_of_different_seeds_come_together(results, write_spec, tmp_path):
    def seeds(text):
        return load_spec(write_spec(("train_seeds = [0, 1]", f"train_seeds = {text}")))

    first, second = results("a", seeds("[0, 1]")), results("b", seeds("[2, 1]"))
    put(first, SGD, history=epochs(3), rows=chips(SGD, [0]), weights=1)
    put(second, Trial("sgd", 2), history=epochs(3), rows=chips(Trial("sgd", 2), [0]), weights=2)
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged").results
    assert merged.spec.train_seeds == [0, 1, 2]
    assert "train_seeds" in merged.spec_text
    assert load_spec(tmp_path / "merged" / "spec.toml").train_seeds == [0, 1, 2]
    assert sorted({row.train_seed for row in merged.table().itertuples()}) == [0, 2]
    assert merge([tmp_path / "merged", tmp_path / "a"], tmp_path / "a").results.spec.train_seeds == [0, 1, 2]


def test_another_question_is_refused_naming_what_differs(results, write_spec, tmp_path):
    one = results("one")
    changed = write_spec(("epochs = 3", "epochs = 4"), ("chips = 3", "chips = 5"))
    two = results("two", load_spec(changed, overrides=["training.lr=0.2"]))
    expected = (
        r"one and .*two \(set training\.lr=0\.2\) .*chips: 3 and 5; training\.epochs: 3 and 4; training\.lr: 0\.1 and"
    )
    with pytest.raises(InputError, match=expected):
        merge([one.folder, two.folder], tmp_path / "all")


def test_differences_name_keys_of_any_depth_on_either_side():
    one, two = {"a": {"b": 1, "c": {"d": [1]}}, "e": 1, "long": "x" * 50}, {"a": {"b": 1, "c": {}}, "f": 2, "long": ""}
    assert list(_differences(one, two)) == ["a.c.d: [1] and None", "e: 1 and None", "long", "f: None and 2"]
    assert list(_differences(one, one)) == []


def test_a_folder_gains_what_the_others_have_and_a_second_call_changes_nothing(results, tmp_path):
    one, two = results("one"), results("two")
    finished(one, SGD, numbers=(0,))
    finished(two, SGD, numbers=(0, 1))
    finished(two, MRWP, value=2)
    merge([one.folder, two.folder], one.folder)
    assert content(one.folder) == content(two.folder)
    stamps = {path: path.stat().st_mtime_ns for path in (one.folder / "runs").rglob("*") if path.is_file()}
    merge([two.folder], one.folder)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_rows_added_to_the_merged_folder_stay_out_of_the_others(results, tmp_path):
    one, two = results("one"), results("two")
    finished(one, SGD)
    before = content(one.folder)
    merged = merge([one.folder, two.folder], tmp_path / "all").results
    merged.add_evaluations(SGD, chips(SGD, [9]))
    write_checkpoint(
        merged.run_folder(SGD) / "checkpoint.safetensors", {"w": torch.zeros(3)}, {"recipe": "r", "epoch": 1}
    )
    assert content(one.folder) == before


def test_environments_are_united_in_order(results, tmp_path):
    one, two = results("one"), results("two")
    one.write_json_file("environment.json", [{"device": "cpu"}])
    two.write_json_file("environment.json", [{"device": "H100"}, {"device": "cpu"}])
    merged = merge([one.folder, two.folder], tmp_path / "all").results
    assert merged.read_json_file("environment.json") == [{"device": "cpu"}, {"device": "H100"}]


def test_a_merge_cut_off_at_any_file_is_finished_by_the_same_call(results, tmp_path, monkeypatch):
    from aimc_robust.experiments.results import merge_runs as module

    one, two = results("one"), results("two")
    put(one, SGD, history=epochs(2, start=10.0), unfinished=7)
    put(one, MRWP, failed="out of memory")
    for trial in (SGD, MRWP):
        finished(two, trial, other=5)
    whole = content(merge([one.folder, two.folder], tmp_path / "whole").results.folder)

    class Killed(BaseException):
        pass

    for fatal in range(20):
        out, writes = tmp_path / f"out{fatal}", [0]
        shutil.copytree(one.folder, out)

        def counting(real, writes=writes, fatal=fatal):
            def write(*args):
                writes[0] += 1
                if writes[0] > fatal:
                    raise Killed
                return real(*args)

            return write

        with monkeypatch.context() as patch:
            for name in ("atomic_write", "atomic_link"):
                patch.setattr(module, name, counting(getattr(module, name)))
            try:
                merge([out, two.folder], out)
                killed = False
            except Killed:
                killed = True
        store = ComparisonResults.open(out)
        for trial in (SGD, MRWP):  # no weights or rows beside what is left of another training
            if store.is_trained(trial):
                assert (store.history(trial), weight(store, trial)) == (epochs(3), 1)
                assert not (store.run_folder(trial) / "unfinished.safetensors").exists()
            assert store.is_trained(trial) or not store.evaluations(trial)
        merge([out, two.folder], out)
        assert content(out) == whole
        if not killed:
            break
    assert fatal >= 8  # four files of each trial
    assert not killed


def test_folders_at_work_or_without_results_are_refused(results, tmp_path):
    one, two = results("one"), results("two")
    with lock_folder(two.folder), pytest.raises(ResultsError, match=r"another process works on .*two"):
        merge([one.folder, two.folder], tmp_path / "all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="comparison"):
        merge([one.folder, tmp_path / "empty"], tmp_path / "all")
    with pytest.raises(InputError, match="folder"):
        merge([one.folder, tmp_path / "missing"], tmp_path / "all")
    with pytest.raises(InputError, match="folders"):
        merge([one.folder, one.folder / "."], tmp_path / "all")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("all my work")
    with pytest.raises(ResultsError, match="files"):
        merge([one.folder, two.folder], tmp_path / "thesis")


def test_a_half_written_row_is_dropped_with_a_notice(results, tmp_path):
    one, two = results("one"), results("two")
    finished(one, SGD)
    path = one.run_folder(SGD) / "evaluations.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=r"evaluations\.jsonl.*2"):
        merge([one.folder, two.folder], tmp_path / "all")
    assert [row["chip"] for row in read_rows(tmp_path / "all" / "runs" / str(SGD) / "evaluations.jsonl")] == [0, 1]


def test_points_of_a_landscape_come_together_and_differing_ones_are_refused(results, write_spec, tmp_path):
    spec = load_spec(write_spec(("[data]", '[[landscapes]]\nname = "plane"\npoints = 2\n\n[data]')))
    one, two = results("one", spec), results("two", spec)
    for store, points in ((one, (0, 1)), (two, (1, 2))):
        finished(store, SGD)
        rows = [{"landscape": "plane", "point": n, "accuracy": 10.0, "loss": 1.0 + n, "n": 180} for n in points]
        (store.run_folder(SGD) / LANDSCAPE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    merged = merge([one.folder, two.folder], tmp_path / "all").results
    assert [row["point"] for row in read_points(merged.run_folder(SGD), "accuracy")] == [0, 1, 2]
    assert merged.missing(SGD)["plane"] == [3]
    for store in (one, two):
        (store.run_folder(SGD) / "checkpoint.safetensors").unlink()  # then only the rows can tell
    path = two.run_folder(SGD) / LANDSCAPE
    path.write_text(path.read_text().replace("2.0", "2.5"))
    with pytest.raises(ResultsError, match="point 1 of plane has other numbers"):
        merge([one.folder, two.folder], tmp_path / "other")
