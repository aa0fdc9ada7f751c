"""What an engine tells and keeps of trials: order, deaths, calls that cross processes."""

import pickle
from collections import Counter

import pytest
from support.engine_runs import MIXED, SGD, RecordedProgress, create_results

from aimc_robust.errors import DataError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress, ForwardingProgress, replay
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import ResourceAllocation, allocate_resources
from aimc_robust.experiments.execution.engines.outcomes import OutcomeTracker, attempt, describe_exit
from aimc_robust.experiments.execution.trial_runner import RunContext
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.parallel.process_pool import WorkerError

CALLS = [name for name in vars(ExperimentProgress) if not name.startswith("_")]
TRIALS = [Trial(name, 0) for name in "abcd"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (-9, "by SIGKILL, perhaps out of memory"),
        (-11, "by SIGSEGV"),
        (-40, "by signal 40"),
        (3, "with exit code 3"),
    ],
)
def test_a_death_is_told_in_words(code, told):
    assert describe_exit(code) == told


def test_a_trial_is_begun_again_as_often_as_allowed_and_then_recorded(write_spec, tmp_path):
    store, heard = create_results(write_spec(), tmp_path / "out"), RecordedProgress()
    book = OutcomeTracker(RunContext(store.folder, tmp_path), heard, retries=2)
    assert [book.should_retry(SGD[0], "by SIGKILL") for _ in range(3)] == [True, True, False]
    assert book.should_retry(MIXED[0], "by SIGSEGV")  # deaths count for each trial
    assert store.failure(SGD[0]) == "its process died 3 times, the last time by SIGKILL"
    assert heard.calls == {"sgd-seed0": [("failed", store.failure(SGD[0]))]}
    assert store.failure(MIXED[0]) is None
    once = OutcomeTracker(RunContext(store.folder, tmp_path), heard, retries=0)
    assert not once.should_retry(SGD[1], "with exit code 3")
    assert store.failure(SGD[1]) == "its process died once, with exit code 3"


class AwkwardError(DataError):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (DataError("no images"), DataError, "no images"),
        (
            AwkwardError(1, 2),
            WorkerError,
            "a-seed0: AwkwardError: 1 and 2; finished work is kept",
        ),
        (ZeroDivisionError("x"), WorkerError, "a-seed0: ZeroDivisionError: x; finished work is kept"),
    ],
)
def test_what_a_trial_raises_reaches_another_process(error, kind, told):
    def raises(work, trial, progress):
        raise error

    reason, found = pickle.loads(pickle.dumps(attempt(raises, None, TRIALS[0], ExperimentProgress())))
    assert reason is None
    assert type(found) is kind
    assert told in str(found)
    assert "in raises" in found.__notes__[0]


def test_every_call_of_progress_crosses_as_it_was_made():
    class All(ExperimentProgress):
        pass

    made, heard = [], []
    for name in CALLS:
        setattr(All, name, lambda self, *args, name=name, **named: heard.append((name, args, named)))
    relay = ForwardingProgress(lambda call: made.append(pickle.dumps(call)))
    for name in CALLS:
        getattr(relay, name)(TRIALS[0], name, done=3)
    for call in made:
        replay(All(), pickle.loads(call))
    assert heard == [(name, (TRIALS[0], name), {"done": 3}) for name in CALLS]


@pytest.mark.parametrize("jobs", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("cores", [[0], [0, 1], [4, 5, 6, 7, 12]])
def test_cores_are_shared_out_whole(jobs, cores):
    given = allocate_resources(jobs, cores=cores, gpus=["0", "1"], threads=1)
    used = Counter(core for share in given for core in share.cores)
    assert set(used) == set(cores)  # none idle
    assert all(share.cores for share in given)
    if jobs <= len(cores):
        assert set(used.values()) == {1}  # none twice
    assert [share.gpu for share in given] == ["01"[job % 2] for job in range(jobs)]


def test_a_share_without_gpus_names_none():
    assert allocate_resources(2, cores=[0, 1, 2, 3], gpus=[], threads=2) == [
        ResourceAllocation((0, 1), 2),
        ResourceAllocation((2, 3), 2),
    ]
