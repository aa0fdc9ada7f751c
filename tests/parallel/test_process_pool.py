"""Work in processes: the same results in the same order, as little in vain as promised, and no process left over."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from support.nets import batches, deployed, everything, net
from torch import nn

from aimc_robust import Gaussian, evaluate
from aimc_robust.errors import InputError, UnknownNameError, exits_as_errors
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.parallel import process_pool
from aimc_robust.parallel.process_pool import (
    QUEUED_PER_WORKER,
    WorkerError,
    check_jobs,
    ordered_map,
    use_threads,
)

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="forked workers, /proc")
CONDITIONS = {"everything": everything, "gaussian": lambda: Gaussian(0.3), "digital": lambda: None}


def running(pid):
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def all_end(pids, within_s=20.0):
    deadline = time.monotonic() + within_s
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(running(pid) for pid in pids)


@pytest.mark.parametrize("name", CONDITIONS)
def test_chips_are_the_same_bit_for_bit_whatever_the_number_of_jobs(name):
    options = {"chips": range(5), "deployment": deployed() if name == "everything" else None}
    found = [list(evaluate_chips(net(), batches(), CONDITIONS[name](), jobs=jobs, **options)) for jobs in (1, 2, 3)]
    assert found[0] == found[1] == found[2]
    assert len({measured.loss for _, measured in found[0]}) == (1 if name == "digital" else 5)


def test_without_jobs_and_with_one_thread_the_numbers_are_those_of_one_job():
    with use_threads(1):
        alone = list(evaluate_chips(net(), batches(), everything(), chips=range(3), deployment=deployed()))
    assert alone == list(evaluate_chips(net(), batches(), everything(), chips=range(3), deployment=deployed(), jobs=2))


@pytest.mark.parametrize("jobs", [None, 1, 2, 3, 8])
def test_results_come_in_the_order_of_the_items_also_when_later_ones_are_done_first(jobs):
    def slow_at_first(item):
        time.sleep(0.05 if item == 0 else 0.0)
        return item * item

    assert list(ordered_map(slow_at_first, range(12), jobs=jobs)) == [item * item for item in range(12)]
    assert list(ordered_map(slow_at_first, [], jobs=jobs)) == []


@LINUX
def test_several_processes_do_the_work_and_none_of_it_here():
    def who(_):
        time.sleep(0.02)
        return os.getpid()

    pids = set(ordered_map(who, range(8), jobs=2))
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert set(ordered_map(who, range(2), jobs=1)) == {os.getpid()}


@pytest.mark.parametrize("jobs", [None, 1])
def test_in_this_process_only_what_is_asked_for_is_done(jobs):
    done = []
    results = ordered_map(done.append, range(10), jobs=jobs)
    next(results)
    next(results)
    results.close()
    assert done == [0, 1]


@LINUX
@pytest.mark.parametrize("jobs", [2, 3])
def test_when_the_caller_stops_little_was_done_in_vain(jobs, tmp_path):
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = ordered_map(lambda item: (tmp_path / str(item)).write_text("done"), items(), jobs=jobs)
    for _ in range(4):
        next(results)
    results.close()
    assert len(taken) <= 4 + QUEUED_PER_WORKER * jobs
    assert {str(item) for item in range(4)} <= {path.name for path in tmp_path.iterdir()} <= set(map(str, taken))


@LINUX
def test_when_the_caller_stops_it_does_not_wait_for_work_that_goes_on():
    def first_is_quick(item):
        time.sleep(0.0 if item == 0 else 60.0)
        return os.getpid()

    results = ordered_map(first_is_quick, range(6), jobs=2)
    worker = next(results)
    before = time.monotonic()
    results.close()
    assert time.monotonic() - before < 20.0
    assert all_end([worker])


@pytest.mark.parametrize("jobs", [None, 1, 2])
def test_an_exception_of_the_work_arrives_as_itself_after_the_results_before_it(jobs):
    def work(item):
        if item == 3:
            raise InputError("the metric 'f1' failed; it returns one number.")
        return item

    found = []
    with pytest.raises(InputError, match=r"^the metric 'f1' failed; it returns one number\.$"):
        found.extend(ordered_map(work, range(6), jobs=jobs))
    assert found == [0, 1, 2]


@LINUX
def test_an_exception_of_another_class_arrives_too():
    def work(item):
        raise UnknownNameError(f"unknown {item}")

    with pytest.raises(UnknownNameError, match="unknown 0"):
        next(ordered_map(work, range(4), jobs=2))


@LINUX
def test_an_exception_that_no_pickle_can_carry_arrives_with_its_text():
    class TwoArgumentsError(Exception):
        def __init__(self, layer, reason):
            super().__init__(f"{layer}: {reason}")

    def work(item):
        raise TwoArgumentsError("conv1", "no such channel")

    with pytest.raises(WorkerError, match="TwoArgumentsError in a worker process: conv1: no such channel"):
        next(ordered_map(work, range(4), jobs=2))


@LINUX
def test_a_metric_that_raises_in_a_worker_is_named():
    def broken(outputs, labels):
        raise ZeroDivisionError("no positives")

    with pytest.raises(InputError, match="the metric 'broken' failed with ZeroDivisionError: no positives"):
        evaluate(net(), batches(), Gaussian(0.1), chips=4, jobs=2, metrics={"broken": broken})


@LINUX
@pytest.mark.parametrize("jobs", [2, None])
def test_work_that_leaves_is_named(jobs):
    def leave(item):
        raise SystemExit(0)

    with (
        pytest.raises(InputError, match=r"\.leave \(.*test_process_pool\.py, line \d+\) raised SystemExit\(0\)"),
        exits_as_errors(),
    ):
        next(ordered_map(leave, range(4), jobs=jobs))


@LINUX
@pytest.mark.parametrize(
    "end", [lambda: os._exit(3), lambda: os.kill(os.getpid(), signal.SIGKILL)], ids=["exit", "kill"]
)
def test_a_worker_that_dies_is_told_and_nothing_hangs(end):
    def work(item):
        if item == 5:
            time.sleep(0.2)
            end()
        return item

    found = []
    with pytest.raises(WorkerError, match="one of 2 worker processes died"):
        found.extend(ordered_map(work, range(20), jobs=2))
    assert found == list(range(len(found)))
    assert len(found) <= 5


SCRIPT = """
    import os, pathlib, sys, time
    from aimc_robust.parallel.process_pool import ordered_map

    def work(item):
        pathlib.Path(sys.argv[1], str(os.getpid())).touch()
        time.sleep(60.0)

    print("started", flush=True)
    list(ordered_map(work, range(10), jobs=2))
"""


def start_script(folder):
    """A process with two workers, and the pids of these."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, [int(path.name) for path in folder.iterdir()]


@pytest.mark.slow
@LINUX
def test_workers_end_when_their_parent_is_killed(tmp_path):
    process, workers = start_script(tmp_path)
    assert all(running(pid) for pid in workers)
    process.kill()
    process.wait(timeout=30)
    assert all_end(workers)
    process.communicate()


@pytest.mark.slow
@LINUX
def test_control_c_ends_parent_and_workers_at_once_with_one_traceback(tmp_path):
    process, workers = start_script(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
    _, errors = process.communicate(timeout=30)
    assert all_end(workers)
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")


@LINUX
def test_no_worker_and_no_file_is_left_after_the_work():
    def who(_):
        time.sleep(0.01)
        return os.getpid()

    open_before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert not any(running(pid) for pid in set(ordered_map(who, range(8), jobs=2)))
    assert len(os.listdir("/proc/self/fd")) <= open_before + 1  # multiprocessing keeps one for itself


@LINUX
def test_work_with_torch_is_done_after_torch_has_used_threads_here():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        large = torch.randn(600, 600)
        here = nn.functional.conv2d((large @ large)[None, None], torch.ones(1, 1, 3, 3)).sum()
        assert math.isfinite(float(here))
        table = evaluate(net(), batches(), everything(), chips=4, deployment=deployed(), jobs=2).table
    finally:
        torch.set_num_threads(before)
    assert table.equals(evaluate(net(), batches(), everything(), chips=4, deployment=deployed(), jobs=1).table)


@pytest.mark.parametrize("jobs", [None, 1, 2])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_is_as_before_also_between_results_and_after_an_error(jobs, threads):
    def work(item):
        assert item < 2, "stop"
        return torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        results = ordered_map(work, range(4), jobs=jobs)
        assert next(results) == (threads if jobs is None else 1)
        assert torch.get_num_threads() == threads
        with pytest.raises(AssertionError, match="stop"):
            list(results)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@LINUX
def test_functions_made_on_the_spot_do_as_work_and_as_metrics():
    shift = 7
    assert list(ordered_map(lambda item: item + shift, range(3), jobs=2)) == [7, 8, 9]
    found = evaluate(
        net(),
        batches(),
        Gaussian(0.1),
        chips=3,
        jobs=2,
        metrics={"shifted": lambda outputs, labels: len(labels) + shift},
    )
    assert set(found.table["shifted"]) == {127.0}


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("condition", [None, Gaussian(0.1)], ids=["digital", "noise"])
@pytest.mark.parametrize("chips", [1, 3])
def test_a_number_of_jobs_that_cannot_be_is_refused(jobs, condition, chips):
    with pytest.raises(InputError, match="jobs"):
        next(ordered_map(abs, [1], jobs=jobs))
    with pytest.raises(InputError, match="jobs"):
        evaluate(net(), batches(), condition, chips=chips, jobs=jobs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_are_refused_for_a_model_on_another_device(jobs):
    elsewhere = nn.Linear(2, 2, device="meta")
    with pytest.raises(InputError, match="meta"):
        check_jobs(elsewhere, jobs)
    check_jobs(elsewhere, None)
    check_jobs(nn.Linear(2, 2), jobs)
    check_jobs(nn.ReLU(), jobs)


@pytest.mark.gpu
def test_jobs_are_refused_for_a_model_on_a_gpu(accelerator):
    on_gpu = [(x.to(accelerator), y.to(accelerator)) for x, y in batches()]
    with pytest.raises(InputError, match=accelerator.type):
        evaluate(net().to(accelerator), on_gpu, Gaussian(0.1), chips=2, jobs=2)
    assert evaluate(net().to(accelerator), on_gpu, Gaussian(0.1), chips=2).chips == 2


def test_spawned_processes_refuse_what_no_pickle_can_carry(monkeypatch):
    monkeypatch.setattr(process_pool, "spawns_processes", lambda: True)
    with pytest.raises(InputError, match=r"by pickle.*lambda.*one job"):
        next(ordered_map(lambda item: item, range(2), jobs=2))
