"""What a comparison has done and what is left: each state from real files, and estimates that add up."""

import itertools
import json
from dataclasses import replace

import pytest
import torch

from aimc_robust.errors import ResultsError
from aimc_robust.experiments.planning import cost_model
from aimc_robust.experiments.planning.cost_model import (
    CostModel,
    affordable_batch,
    linear_cost,
    median_s,
    method_kind,
    target_kind,
)
from aimc_robust.experiments.planning.plan import plan
from aimc_robust.experiments.planning.remaining import RemainingWork, Speeds, State, remaining_work, time_left
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.parallel.process_pool import use_threads
from aimc_robust.targets.build import build_target
from aimc_robust.training.fabric import Machine
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD

CPU = Machine(accelerator="cpu")
SAM_AND_MATCHED = """
[methods.sam]
rho = 0.05
[methods.matched]
kind = "rwp"
noise = "rram-wan2022"
"""


@pytest.fixture(autouse=True)
def _a_few_repetitions_are_enough(monkeypatch):
    monkeypatch.setattr(cost_model, "ENOUGH_S", 0.0)


def touch(store, trial, *names, rows=(), epochs=0, folder=None):
    folder = folder or store.run_folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    rows = [row | {"model": trial.model, "train_seed": trial.train_seed} for row in rows]
    for name, content in (("evaluations.jsonl", rows), ("history.jsonl", [{"epoch": n + 1} for n in range(epochs)])):
        if content:
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content))


def rows(*targets, chips=3):
    row = {"backend": "x", "time_s": 0, "n": 9} | dict.fromkeys(("accuracy", "sigma", "loss"), 50.0)
    return [row | {"target": t, "chip": n} for t in targets for n in range(1 if t == "digital" else chips)]


def created(tmp_path, spec):
    (tmp_path / "out").mkdir()
    return ComparisonResults.create(tmp_path / "out", spec)


@pytest.fixture
def store(write_spec, tmp_path):
    return created(tmp_path, load_spec(write_spec()))


def test_each_state_is_told_from_the_files(store, tmp_path):
    models = tmp_path / "models"
    done, trained, started, failed = Trial("sgd", 0), Trial("m-rwp", 0), Trial("sgd", 1), Trial("m-rwp", 1)
    touch(store, done, rows=rows("digital", "gaussian-0.2", "rram-wan2022"))  # published without weights
    touch(store, trained, "checkpoint.safetensors", rows=rows("digital", "gaussian-0.2", chips=2), epochs=3)
    touch(store, started, "unfinished.safetensors", epochs=2)
    store.record_failure(failed, "not finite")
    found = {work.trial: work for work in remaining_work(store, store.trials, models)}
    assert [found[trial].state for trial in (done, trained, started, failed)] == [
        State.DONE,
        State.TRAINED,
        State.STARTED,
        State.FAILED,
    ]
    assert found[done].chips_left == {}
    assert found[trained].chips_left == {"gaussian-0.2": 1, "rram-wan2022": 3}
    assert (found[started].epochs_left, found[started].all_epochs) == (1, 3)
    assert found[failed].reason == "not finite"
    assert [found[trial].is_pending for trial in (done, trained, started, failed)] == [False, True, True, False]
    assert list(found) == store.trials


def test_epochs_without_a_state_to_go_on_from_begin_anew(store):
    touch(store, Trial("sgd", 0), epochs=2)
    work = remaining_work(store, store.trials)[0]
    assert (work.state, work.epochs_left) == (State.TODO, 3)


def test_models_that_are_shared_are_not_trained_again(write_spec, tmp_path):
    path = write_spec(("[methods.sgd]", '[methods.sgd]\n[methods.again]\nkind = "sgd"'))
    store, models = ComparisonResults(tmp_path / "out", load_spec(path)), tmp_path / "models"
    touch(store, None, "checkpoint.safetensors", folder=models / store.spec.recipe("sgd", 1))
    touch(store, None, "unfinished.safetensors", epochs=1, folder=models / store.spec.recipe("m-rwp", 0))
    works = remaining_work(store, store.trials, models)
    found = {str(work.trial): (work.state, work.epochs_left) for work in works}
    assert found["sgd-seed0"] == (State.TODO, 3)
    assert found["again-seed0"] == (State.SHARED, 0)  # the trial before it makes the model
    assert found["sgd-seed1"][0] == found["again-seed1"][0] == State.SHARED
    assert found["m-rwp-seed0"] == (State.STARTED, 2)
    assert {work.state for work in remaining_work(store, store.trials)} == {
        State.TODO
    }  # without the folder nothing is shared


def test_what_is_left_is_estimated_from_a_timed_step_and_chip(write_spec, tmp_path):
    spec = load_spec(write_spec())
    store = created(tmp_path, spec)
    touch(store, Trial("sgd", 0), "checkpoint.safetensors", rows=rows("digital", "rram-wan2022"))
    touch(store, Trial("sgd", 1), "unfinished.safetensors", epochs=2)
    found = plan(spec, store.folder, data_folder=tmp_path, machine=CPU)
    assert not found.problems
    by = {str(work.trial): found.speeds.seconds(work) for work in found.trials}
    assert 0 < by["sgd-seed0"] < by["sgd-seed1"]
    assert by["m-rwp-seed0"] == by["m-rwp-seed1"]
    assert found.seconds == pytest.approx(sum(by.values()))
    weights = sum(v.numel() * v.element_size() for v in _network(spec, tmp_path).state_dict().values())
    assert found.disk_bytes == 3 * weights  # one model is trained already
    words = " ".join(found.measured)
    for part in (
        "SGD (clean pass)",
        "MixedRWP (clean and perturbed pass)",
        "on rram-wan2022",
        "10 of 42 updates timed",
        "s for a chip of 180 examples",
    ):
        assert part in words
    assert "images" not in words
    # Each kind once for two methods and four trials: two kinds of epoch, three of target.
    assert len(found.measured) == len(set(found.measured)) == 2 + 3


def _network(spec, folder):
    from aimc_robust.data.loading import load_data
    from aimc_robust.models.registry import build_model

    return build_model(spec.model, load_data(spec.data, data_seed=0, folder=folder), seed=0)


def test_estimates_are_epochs_and_chips_times_their_cost(write_spec, tmp_path, monkeypatch):
    device = 'targets = ["digital", "gaussian-0.2", { device = "rram-wan2022", selected_at = 0.1 }]'
    two = ("sigma = 0.1, draws", "sigma = [0.0, 0.1], draws")
    spec = load_spec(write_spec(two, ('targets = ["digital", "gaussian-0.2", "rram-wan2022"]', device)))
    store = created(tmp_path, spec)
    touch(store, Trial("sgd", 0), "unfinished.safetensors", epochs=2)
    touch(store, Trial("sgd", 1), "checkpoint.safetensors", rows=rows("digital", "gaussian-0.2"))
    chip_s = {"digital": 1.0, "gaussian-0.2": 10.0, "rram-wan2022": 100.0}

    def measure(self, label, targets):
        self.speeds.epoch_s[label], self.weights_bytes[label] = 1000.0, 7
        self.speeds.chip_s.update({(label, target): chip_s[target] for target in targets})

    monkeypatch.setattr(CostModel, "measure", measure)
    found = plan(spec, store.folder, data_folder=tmp_path, machine=CPU, jobs=2)
    seconds = {str(work.trial): found.speeds.seconds(work) for work in found.trials}
    assert seconds == {"sgd-seed0": 1331.0, "m-rwp-seed0": 3331.0, "sgd-seed1": 300.0, "m-rwp-seed1": 3331.0}
    assert found.seconds == 3331.0 + 1331.0  # beside 3331 + 300
    assert replace(found, workers=1).seconds == 8293.0
    assert found.disk_bytes == 3 * 2 * 7  # three trainings with two selections each


def test_missing_data_leave_the_trials_without_an_estimate_and_give_the_reason_once(write_spec, tmp_path):
    spec = load_spec(write_spec(('name = "digits"', 'name = "npz:missing.npz"'), ("test_share = 0.1", "")))
    found = plan(spec, tmp_path / "out", data_folder=tmp_path, machine=CPU)
    assert [planned.state for planned in found.trials] == [State.TODO] * 4
    assert {found.speeds.seconds(work) for work in found.trials} == {None}
    assert len(found.problems) == 1
    assert "missing.npz" in found.problems[0]


def test_a_finished_comparison_needs_neither_data_nor_time(store, tmp_path, monkeypatch):
    for trial in store.trials:
        touch(store, trial, rows=rows("digital", "gaussian-0.2", "rram-wan2022"))
    monkeypatch.setattr(CostModel, "_once", None)
    found = plan(store.spec, store.folder, data_folder=tmp_path / "nowhere", machine=CPU)
    assert {planned.state for planned in found.trials} == {State.DONE}
    assert (found.seconds, found.disk_bytes) == (0, 0)


def test_another_specs_folder_is_refused_naming_the_key(store, write_spec, tmp_path):
    other = load_spec(write_spec(("epochs = 3", "epochs = 4")))
    with pytest.raises(ResultsError, match=r"training\.epochs.*3.*4"):
        plan(other, store.folder, data_folder=tmp_path, machine=CPU)


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("costs", [[], [5.0], [3, 3, 2, 2, 2], [7, 6, 5, 4, 3, 2, 1], [0, 0, 1]])
def test_jobs_side_by_side_are_within_grahams_bound_of_the_best_order(costs, jobs):
    best = min(
        (
            max(sum(cost for cost, worker in zip(costs, workers, strict=True) if worker == j) for j in range(jobs))
            for workers in itertools.product(range(jobs), repeat=len(costs))
        ),
        default=0,
    )
    speeds = Speeds(chip_s={("sgd", "digital"): 1.0})
    works = [RemainingWork(Trial("sgd", i), State.TODO, 0, 0, {"digital": cost}) for i, cost in enumerate(costs)]
    assert best <= time_left(works, speeds, jobs) <= best * (4 / 3 - 1 / (3 * jobs)) + 1e-9
    assert time_left(works, speeds, 1) == sum(costs)


def test_two_timings_tell_what_is_fixed_from_what_grows_with_the_images():
    cost = linear_cost((10, 0.5 + 10 * 0.02), (100, 0.5 + 100 * 0.02))
    assert cost == (pytest.approx(0.5), pytest.approx(0.02))
    assert linear_cost((10, 0.3), (100, 0.2)) == (0.3, 0.0)  # a clock that was disturbed gives no negative part
    assert linear_cost((8, 0.4), (8, 0.4)) == (0.0, pytest.approx(0.05))  # there are no more images than few


def test_the_median_leaves_out_the_first_time_and_what_disturbs_one(monkeypatch):
    now, durations = [0.0], iter([9.0, 1.0, 1.0, 7.0, 9.0])
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def work():
        now[0] += next(durations)

    assert median_s(work, torch.device("cpu")) == 1.0  # of 1, 1, 7: no more are needed
    assert next(durations) == 9.0


def test_a_batch_that_takes_too_long_is_timed_in_part():
    assert affordable_batch(0.001, 16, 128) == 128
    assert affordable_batch(1.0, 16, 128) == 32  # four of these, one to warm up, take 8 s
    assert affordable_batch(100.0, 16, 128) == 16


def test_work_of_the_same_cost_is_of_one_kind_and_other_work_is_not():
    ramp = Ramp(shape="linear", fraction=0.5)
    same = [RWP(sigma=0.1), RWP(sigma=0.2, ramp=ramp), RWP(sigma=0.1, seed=3)]
    assert len({method_kind(method) for method in same}) == 1
    mixed = [MixedRWP(sigma=0.1), MixedRWP(sigma=0.1, lam=1.0, bn_stats="perturbed")]
    methods = [SGD(), SAM(rho=0.1), RWP(sigma=0.1), RWP(sigma=0.1, draws=2), *mixed]
    assert len({method_kind(method) for method in methods}) == len(methods)
    assert len({target_kind(build_target(target)) for target in ("gaussian-0.1", "gaussian-0.3")}) == 1
    targets = ["digital", "gaussian-0.1", "laplace-0.1", "rram-wan2022", "pcm-nandakumar2019"]
    tables = [
        {"device": "pcm-nandakumar2019", "time_s": 3600.0},
        {"device": "pcm-nandakumar2019", "time_s": 3600.0, "compensation": ["drift"]},
        {"device": "rram-wan2022", "adc": {"bits": 8}},
        {"name": "step", "noise": "ascent", "radius": 0.1},
    ]
    assert len({target_kind(build_target(target)) for target in (*targets, *tables)}) == len(targets) + len(tables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "targets"),
    [
        (("[methods.sgd]", f"[methods.sgd]\n{SAM_AND_MATCHED}"), None),
        (
            ("chips = 3", "chips = 2"),
            '[{ name = "r", noise = "gaussian", radius = 0.3 }, { name = "a", noise = "ascent", radius = 0.3 },'
            '{ name = "t", split = "training" }, { name = "w", device = "sonos-agrawal2022", adc = { bits = 6 } }]',
        ),
        (("lr = 0.1", "lr = 0.1\nclip_norm = 1.0\nprecision = 'bf16-mixed'\nchannels_last = true"), None),
        (("[methods.sgd]", "[diagnostics]\nsigmas = [0.1]\nimages = 32\n[methods.sgd]"), None),
    ],
)
def test_every_kind_of_work_can_be_timed_and_leaves_the_generators_alone(changes, targets, write_spec, tmp_path):
    more = [] if targets is None else [('["digital", "gaussian-0.2", "rram-wan2022"]', targets)]
    spec = load_spec(write_spec(changes, *more))
    before = torch.random.get_rng_state()
    found = plan(spec, tmp_path / "out", data_folder=tmp_path, machine=CPU)
    assert not found.problems
    assert all(found.speeds.seconds(work) > 0 for work in found.trials)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("jobs", "threads"), [(1, 3), (2, 1), (9, 1)])
def test_costs_are_measured_with_the_threads_of_each_trial(jobs, threads, store, monkeypatch):
    seen = []
    monkeypatch.setattr(CostModel, "measure", lambda *args: seen.append(torch.get_num_threads()))
    monkeypatch.setattr("aimc_robust.experiments.execution.engines.local.available_cpus", lambda: [0, 1])
    with use_threads(3):
        plan(store.spec, store.folder, machine=CPU, jobs=jobs)
        assert (set(seen), torch.get_num_threads()) == ({threads}, 3)
