"""Plan a comparison: what is done, what is left, and an estimate of its cost on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aimc_robust.errors import AimcError, InputError, UnknownNameError, warn
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import available_gpus
from aimc_robust.experiments.execution.engines.local import threads_per_job
from aimc_robust.experiments.planning.cost_model import CostModel
from aimc_robust.experiments.planning.remaining import RemainingWork, Speeds, remaining_work, time_left
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import is_locked
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.files import with_file_digests
from aimc_robust.parallel.process_pool import use_threads
from aimc_robust.training.fabric import Machine


@dataclass(frozen=True)
class Plan:
    """The trials of a comparison, in the order in which they run, and the cost of what is left."""

    spec: ComparisonSpec
    trials: tuple[RemainingWork, ...]
    speeds: Speeds  # on this machine, with the threads that each of several trials at a time has
    disk_bytes: int  # of the checkpoints that will be written
    jobs: int  # requested number of trials at a time
    workers: int  # actual number: at most that of the GPUs
    device: str
    measured: tuple[str, ...]  # as text
    problems: tuple[str, ...]  # why some trials have no estimate

    @property
    def pending(self) -> list[RemainingWork]:
        """The trials that `compare` would run."""
        return [work for work in self.trials if work.is_pending]

    @property
    def seconds(self) -> float:
        """Time of all pending trials with an estimate, `workers` at a time [s]."""
        return time_left(self.pending, self.speeds, self.workers)


def plan(
    spec: ComparisonSpec,
    folder: Path,
    *,
    data_folder: Path = Path(),
    model_cache: Path | None = None,
    machine: Machine | None = None,
    jobs: int = 1,
    on_status: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Return the state of every trial, and estimate what is left by timing it on this machine. Writes nothing.

    If data are missing or a network cannot be built, the trials are listed without estimates, and the reason is among
    `problems`. For the arguments see `compare`; `jobs` trials run at a time, each with its share of the cores, and
    `on_status` is called with a line about each measurement before it starts.

    Raises:
        ResultsError: if the folder holds results of another spec.
        InputError, UnknownNameError: if a target or method does not fit a network, as in `compare`.
    """
    machine = machine or Machine()
    spec = with_file_digests(spec, data_folder)
    results = ComparisonResults(folder, spec)
    results.check()
    if is_locked(folder):
        warn(f"another process works on {folder}, which slows these measurements.")
    trials = remaining_work(results, results.trials, model_cache)
    on_cpu = machine.device.type == "cpu"
    cost_model = CostModel(spec, data_folder, machine, on_status)
    problems: dict[str, None] = {}  # each once, in order
    disk_bytes = 0
    with use_threads(threads_per_job(jobs) if jobs > 1 and on_cpu else None):
        for label in spec.labels:
            pending = [work for work in trials if work.is_pending and work.trial.model == label]
            try:
                cost_model.measure(label, {name for work in pending for name in work.chips_left})
            except AimcError as error:
                if label in cost_model.weights_bytes and isinstance(error, InputError | UnknownNameError):
                    raise  # the network is built, and the spec does not fit it
                problems[str(error)] = None
            trainings = sum(work.epochs_left > 0 for work in pending)
            disk_bytes += trainings * len(spec.config_of(label).selections) * cost_model.weights_bytes.get(label, 0)
    return Plan(
        spec,
        tuple(trials),
        cost_model.speeds,
        disk_bytes,
        jobs,
        workers=jobs if on_cpu else min(jobs, len(available_gpus(machine)) or 1),
        device=machine.device_name,
        measured=tuple(cost_model.measured),
        problems=tuple(problems),
    )
