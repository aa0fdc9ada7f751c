"""Evaluate trained models under targets, skip chips that are done, and store each chip at once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.experiments.callbacks.progress import ExperimentProgress, ExperimentSize
from aimc_robust.experiments.evaluate.device_pictures import record_device_pictures
from aimc_robust.experiments.evaluate.explain import attribute_models, predict_models
from aimc_robust.experiments.execution.array_mappings import array_mappings
from aimc_robust.experiments.execution.dry_run import describe_coverage, dry_run_metrics, dry_run_targets
from aimc_robust.experiments.execution.target_runner import TargetRunner
from aimc_robust.experiments.results.environment import describe_environment
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.files import NOTES, lock_folder
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.statistics.primary_metric import ACCURACY
from aimc_robust.statistics.two_stage_sampling import cap_note
from aimc_robust.targets.target import DeployableTarget, DigitalTarget
from aimc_robust.tasks.task import Task
from aimc_robust.training.fabric import CPU, Machine

CHANCE_FACTOR = 1.5  # an accuracy below this multiple of chance is reported


def evaluate_models(
    spec: EvaluationSpec,
    networks: Sequence[nn.Module],
    data: DataSet,
    folder: Path,
    *,
    jobs: int | None = None,
    machine: Machine = CPU,
    attribution_chips: int | None = None,
    prediction_chips: int | None = None,
    progress: ExperimentProgress | None = None,
    notes: Sequence[str] = (),
) -> EvaluationResults:
    """Evaluate every model of a spec under every target, and write rows and tables.

    Finished chips are not evaluated again: after any interruption the same call continues, and ends with the numbers of
    an uninterrupted run. A call with more chips adds them.

    The models are evaluated on the device of `machine`, one chip after another if that is no CPU.

    `networks` have the trained weights of `spec.models`, in their order; `notes` are remarks for the report. Where
    `attribution_chips` or `prediction_chips` is given, the loss is attributed with so many chips per variant of a
    crossbar, or predicted beside a Monte Carlo evaluation of so many chips.

    Raises:
        DataError: if the labels do not fit the outputs.
        InputError: if an argument is invalid; with `jobs` on another device than a CPU.
        ResultsError: if the folder holds other results, is locked, or is not writable.
        WorkerError: if a worker process fails.
    """
    progress = progress or ExperimentProgress()
    targets, task, device = spec.build_targets(), spec.task.build(), machine.device
    machine.check_jobs(jobs)
    analog_part = describe_coverage(networks[0], data.example, targets)
    mappings = array_mappings(spec.model.name, networks[0], data.example, targets)
    dry_run_warnings = _dry_run(networks[0], data, targets, task)
    dry_run_metrics(spec.metrics, networks[0], data, task)
    with lock_folder(folder), warnings.catch_warnings():
        for text in dry_run_warnings:  # once is enough
            warnings.filterwarnings("ignore", message=re.escape(text))
        results = EvaluationResults.create(folder, spec)
        results.record_environment(_environment(machine, jobs))
        results.record_coverage(analog_part, mappings)
        progress.started(
            ExperimentSize(
                trials=len(networks),
                target_names=[target.name for target in targets],
                coverage=analog_part,
                metric=results.metric,
                pilot=results.pilot,
            )
        )
        remarks: list[str] = []

        def remark(texts: Sequence[str]) -> None:  # shown at once, and stored for the report
            remarks.extend(texts)
            results.write_json_file(NOTES, remarks)
            for text in texts:
                progress.note(text)

        if spec.forward_precision != "32-true":
            remark([f"forward passes ran in {spec.forward_precision} (autocast); chips were programmed in float32."])
        remark([*notes, *dry_run_warnings])
        runners = [
            TargetRunner(
                results=results,
                trial=trial,
                model=network,
                data=data,
                device=device,
                batch_size=spec.batch_size,
                jobs=jobs,
                forward_precision=spec.forward_precision,
                precision=spec.precision,
            )
            for trial, network in zip(spec.trials, networks, strict=True)
        ]
        for runner in runners:
            means = {}
            for target in targets:
                with _on_device([runner], device):
                    values = runner.run(target, progress)
                means[target.name] = sum(values) / len(values)
                if isinstance(target, DigitalTarget):
                    remark(_near_chance(runner, values[0]))
                elif spec.precision is not None:
                    note = cap_note(values, spec.precision, unit=results.metric.difference_unit)
                    remark([f"{runner.trial} on {target.name}: {note} (more --chips)."] if note else [])
            progress.finished(runner.trial, means)
        results.write_tables()
        firsts = {runner.trial.model: runner for runner in reversed(runners)}  # the first of each label
        with _on_device(runners[:1], device):
            record_device_pictures(runners[0])
        explained = [runner for runner in runners if runner is firsts[runner.trial.model]]
        with _on_device(explained, device):
            if attribution_chips is not None:
                remark(attribute_models(explained, attribution_chips, progress))
            if prediction_chips is not None:
                remark(predict_models(explained, prediction_chips, progress))
        results.write_tables()
    return results


@contextmanager
def _on_device(runners: Sequence[TargetRunner], device: torch.device) -> Iterator[None]:
    """Context manager in which the models of these runners alone are on the device: its memory may hold few."""
    for runner in runners:
        runner.model.to(device)
    try:
        yield
    finally:
        for runner in runners:
            runner.model.to("cpu")


def _near_chance(runner: TargetRunner, accuracy: float) -> list[str]:
    """Return a remark if digital weights of a classifier score near chance."""
    if runner.results.metric != ACCURACY:
        return []
    chance = 100.0 / runner.data.outputs
    remark = (
        f"{runner.trial} scores {accuracy:.1f} % with digital weights, near chance ({chance:.1f} %): check that "
        "weights, normalization and order of classes are those of its training."
    )
    return [remark] if accuracy < CHANCE_FACTOR * chance else []


def _dry_run(model: nn.Module, data: DataSet, targets: Sequence[DeployableTarget], task: Task) -> list[str]:
    """Evaluate two examples under every target, so that errors surface at once.

    Returns the warnings, such as that of a time outside the range that a card's source covers.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dry_run_targets(targets, model, data.example_batch, task)
    return list(dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning))


def _environment(machine: Machine, jobs: int | None) -> dict[str, Any]:
    environment = describe_environment(machine) | {"processes": jobs or 1}
    return environment if jobs is None else environment | {"threads": 1}
