"""Trials in worker processes: the rows of a serial run, whatever happens to the workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import engine_runs
from support.engine_runs import MIXED, SGD, RecordedProgress, assert_same_rows, create_results, process_ends

from aimc_robust.errors import InputError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.engines import local
from aimc_robust.experiments.execution.engines.local import LocalEngine
from aimc_robust.experiments.execution.engines.serial import SerialEngine
from aimc_robust.experiments.execution.trial_runner import RunContext
from aimc_robust.parallel.process_pool import WorkerError, available_cpus
from aimc_robust.training.fabric import Machine

TESTS = Path(__file__).parents[3]


def context_in(folder, **machine):
    return RunContext(folder, folder, machine=Machine(**machine))


@pytest.mark.slow
def test_two_jobs_leave_the_rows_of_a_serial_run_also_when_a_worker_is_killed(
    finished_comparison, write_spec, tmp_path
):
    store, heard = create_results(write_spec(), tmp_path / "out"), RecordedProgress()
    engine = LocalEngine(2, threads=torch.get_num_threads(), retries=1, run_trial=engine_runs.die_repeatedly)
    found = engine.run(context_in(store.folder), store.trials, heard)
    healthy = [SGD[1], *MIXED]
    # The trial that always dies is recorded, and the others went on.
    reason = "its process died 2 times, the last time by SIGKILL, perhaps out of memory"
    assert found == {SGD[0]: reason} | dict.fromkeys(healthy)
    assert list(found) == store.trials
    assert store.failure(SGD[0]) == reason
    assert heard.calls["sgd-seed0"] == [("failed", reason)]
    assert_same_rows(store.folder, finished_comparison, healthy)
    # ExperimentProgress comes in the order in which it happened; a trial that died goes on after its last whole epoch.
    end = [*(("evaluating", target.name) for target in store.spec.build_targets()), "finished"]
    once = [("training", 0), ("epoch", 1), ("epoch", 2), ("epoch", 3)]
    again = [("training", 0), ("epoch", 1), ("epoch", 2), ("training", 2), ("epoch", 3)]
    for trial, training in {SGD[1]: once, MIXED[0]: once, MIXED[1]: again}.items():
        calls = heard.calls[str(trial)]
        assert [*calls[:-1], calls[-1][0]] == [*training, *end]


@pytest.mark.slow
def test_what_a_trial_raises_is_raised_after_the_others_are_done(tmp_path):
    heard = RecordedProgress()
    with pytest.raises(OSError, match="No space left") as caught:
        LocalEngine(1, run_trial=engine_runs.raise_disk_full).run(context_in(tmp_path), [SGD[0], *MIXED], heard)
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path))
    assert any("raise_disk_full" in note for note in caught.value.__notes__)  # where it happened, for --debug
    assert heard.calls["sgd-seed0"][0][0] == "failed"
    pids = [heard.calls[str(trial)][0][1]["pid"] for trial in MIXED]
    assert pids[0] == pids[1] != os.getpid()  # a worker lives for many trials


@pytest.mark.slow
def test_after_three_trials_that_raise_no_further_one_begins(tmp_path):
    heard, trials = RecordedProgress(), [*SGD, *MIXED]
    with pytest.raises(WorkerError, match=r"sgd-seed0.*KeyError.*'a key'"):
        LocalEngine(1, run_trial=engine_runs.raise_key_error).run(context_in(tmp_path), trials, heard)
    assert list(heard.calls) == ["sgd-seed0", "sgd-seed1", "m-rwp-seed0"]


def allocations_that_kill(monkeypatch, folder, deaths):
    allocation = engine_runs.DeadlyAllocation((available_cpus()[0],), threads=1, folder=folder, deaths=deaths)
    monkeypatch.setattr(local, "allocate_resources", lambda jobs, **_: [allocation] * jobs)


@pytest.mark.slow
def test_a_worker_that_is_killed_before_its_first_trial_is_replaced(tmp_path, monkeypatch):
    allocations_that_kill(monkeypatch, tmp_path, deaths=2)
    heard = RecordedProgress()
    found = LocalEngine(1, run_trial=engine_runs.report_process).run(context_in(tmp_path), MIXED, heard)
    assert found == dict.fromkeys(MIXED)
    assert [calls[0][0] for calls in heard.calls.values()] == ["finished", "finished"]


@pytest.mark.slow
def test_workers_that_always_die_before_their_first_trial_end_the_run(tmp_path, monkeypatch):
    allocations_that_kill(monkeypatch, tmp_path, deaths=99)
    with pytest.raises(WorkerError, match=r"by SIGKILL.* before its first trial.*Finished work is kept"):
        LocalEngine(1, run_trial=engine_runs.report_process).run(context_in(tmp_path), MIXED, RecordedProgress())
    assert (tmp_path / "attempts").stat().st_size == 3  # the first, and two retries


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there is a fork server on Linux only")
def test_when_the_fork_server_dies_trials_begin_again_and_none_runs_twice_at_a_time(tmp_path):
    heard = RecordedProgress()
    found = LocalEngine(2, run_trial=engine_runs.kill_fork_server).run(context_in(tmp_path), SGD, heard)
    assert found == dict.fromkeys(SGD)
    assert heard.calls == {str(trial): [("finished", {"first has ended": True})] for trial in SGD}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not let a process choose its cores")
def test_workers_compute_on_their_share_of_the_machine(tmp_path, monkeypatch):
    # Two GPUs that only a count and their names tell of: enough, as nothing is computed on them.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    before = os.sched_getaffinity(0), dict(os.environ)
    heard = RecordedProgress()
    LocalEngine(2, threads=2, run_trial=engine_runs.report_process).run(context_in(tmp_path), SGD + MIXED, heard)
    told = [calls[0][1] for calls in heard.calls.values()]
    assert all((one["threads"], one["sum"]) == (2, 64.0**3) for one in told)
    half = len(available_cpus()) // 2
    places = {tuple(one["cores"]): one["gpu"] for one in told}
    wanted = {tuple(available_cpus()[:half] or available_cpus()): "GPU-a", tuple(available_cpus()[half:]): "GPU-b"}
    assert places.items() <= wanted.items()  # one worker may have run all four
    assert (os.sched_getaffinity(0), dict(os.environ)) == before


SCRIPT = """
import sys
from pathlib import Path
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.trial_runner import RunContext
from aimc_robust.experiments.execution.engines.local import LocalEngine
from aimc_robust.experiments.results.trial import Trial
from support.engine_runs import sleep_forever

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    trials = [Trial("sgd", 0), Trial("sgd", 1)]
    LocalEngine(2, run_trial=sleep_forever).run(RunContext(folder, folder), trials, ExperimentProgress())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(number, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    files = [tmp_path / f"pid-{trial}" for trial in SGD]
    deadline = time.monotonic() + 90
    while not all(file.exists() for file in files):
        assert parent.poll() is None, parent.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(parent.pid, number)  # as a terminal does: to workers too
    else:
        parent.kill()
    _, errors = parent.communicate(timeout=60)  # until no process holds the pipe any more
    assert parent.returncode == -number
    assert all(process_ends(int(file.read_text())) for file in files)
    assert errors.count("Traceback") == (number == signal.SIGINT)  # the parent's; workers say nothing


def test_several_devices_for_one_training_are_the_serial_engines_work(tmp_path):
    with pytest.raises(InputError, match="got 2"):
        LocalEngine(2).run(context_in(tmp_path, devices=2), SGD, ExperimentProgress())


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"jobs": 1.5}, {"jobs": 1, "threads": 0}, {"jobs": 1, "retries": -1}])
def test_numbers_that_cannot_be_right_are_refused(wrong):
    with pytest.raises(InputError, match="must be a whole number"):
        LocalEngine(**wrong)


def test_the_serial_engine_runs_trials_here_in_their_order(tmp_path):
    heard = RecordedProgress()
    assert SerialEngine(run_trial=engine_runs.report_process).run(context_in(tmp_path), MIXED, heard) == dict.fromkeys(
        MIXED
    )
    assert list(heard.calls) == ["m-rwp-seed0", "m-rwp-seed1"]


@pytest.mark.parametrize("threads", [1, 3, None])
def test_the_serial_engine_computes_with_its_number_of_threads(threads, tmp_path):
    before, heard = torch.get_num_threads(), RecordedProgress()
    SerialEngine(threads=threads, run_trial=engine_runs.report_process).run(context_in(tmp_path), SGD[:1], heard)
    assert heard.calls["sgd-seed0"][0][1]["threads"] == (threads or before)
    assert torch.get_num_threads() == before
