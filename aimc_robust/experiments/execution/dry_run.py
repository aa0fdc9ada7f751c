"""Build, program and evaluate untrained models on a few images, so that errors surface before training starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import nn

from aimc_robust.analysis.landscape import filter_directions
from aimc_robust.data.batches import Batches, InputBatches
from aimc_robust.data.dataset import DataSet
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import AimcError, DivergenceError, InputError, join_names
from aimc_robust.evaluation.monte_carlo import ChipEvaluation, chip_evaluation
from aimc_robust.experiments.execution.array_mappings import array_mappings
from aimc_robust.experiments.execution.start import build_start
from aimc_robust.experiments.execution.trial_runner import TrialRunner, out_of_memory_as_divergence
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.hardware.calibration.converter_ranges import calibrate_deployment
from aimc_robust.hardware.config.placement import Placement
from aimc_robust.hardware.conversion.prepare import coverage
from aimc_robust.models.registry import ModelSpec
from aimc_robust.targets.target import CrossbarTarget, Target
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.metrics import evaluate_metric, load_metrics
from aimc_robust.tasks.task import Task
from aimc_robust.training.fabric import Machine, check_even_split

IMAGES = 8


class DryRun(NamedTuple):
    """What a dry run found.

    Attributes:
        coverage: Which part of each network is analog: a sentence, or one per network with its name.
        mappings: The arrays of each network, see `array_mappings`.
        failures: Label -> why its methods cannot run: its network does not fit in memory.
    """

    coverage: list[str]
    mappings: list[dict[str, Any]]
    failures: dict[str, str]


def dry_run(runner: TrialRunner, trials: Iterable[Trial]) -> DryRun:
    """Load the data and build, program and evaluate the untrained network of each trial, each combination once.

    Raises:
        AimcError: what training or evaluation would raise later for this spec and machine.
    """
    spec = runner.results.spec
    reasons: dict[str, str | None] = {}  # network and images -> why it does not fit
    lines: list[tuple[ModelSpec, str]] = []
    mappings: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for label in dict.fromkeys(trial.model for trial in trials):
        _check_batch_size(spec, label, runner.machine)
        data_spec, model_spec = spec.data_of(label), spec.model_of(label)
        key = f"{data_spec.model_dump_json()} {model_spec.model_dump_json()}"
        if key not in reasons:
            reasons[key] = None
            try:
                with out_of_memory_as_divergence():
                    line, found = _dry_run_network(runner, data_spec, model_spec)
                    lines.append((model_spec, line))
                    mappings += found
            except DivergenceError as error:
                reasons[key] = str(error)
        if (reason := reasons[key]) is not None:
            failures[label] = reason
    if len({model_spec.model_dump_json() for model_spec, _ in lines}) > 1:
        return DryRun([f"{model_spec.name}: {line}" for model_spec, line in lines], mappings, failures)
    return DryRun([line for _, line in lines[:1]], mappings, failures)


def _dry_run_network(
    runner: TrialRunner, data_spec: DataSpec, model_spec: ModelSpec
) -> tuple[str, list[dict[str, Any]]]:
    """Evaluate one untrained network under every target; return which part of it is analog, and its arrays."""
    spec, data = runner.results.spec, runner.data(data_spec)
    runner.images(data_spec)  # raises for an augmentation that does not fit the images
    folder, seed = runner.context.data_folder, spec.train_seeds[0]
    model, _ = build_start(model_spec, data, folder, seed=seed, task=runner.task)
    batch = next(iter(data.batches("training", IMAGES, next(model.parameters()).device)))
    dry_run_targets([*spec.build_targets(), *spec.landscapes], model, batch, runner.task)
    dry_run_metrics(spec.metrics, model, data, runner.task)
    inputs, targets = runner.task.example([batch]), spec.build_targets()
    return describe_coverage(model, inputs, targets), array_mappings(model_spec.name, model, inputs, targets)


def describe_coverage(model: nn.Module, example: Any, targets: Iterable[Target]) -> str:
    """Return which part of a model is analog, for each way in which targets fold its BatchNorms and place layers."""
    crossbars = [target for target in targets if isinstance(target, CrossbarTarget)]
    ways: list[tuple[tuple[bool, Placement | None], list[str]]] = []  # and names of their targets
    for target in sorted(crossbars, key=lambda target: not target.deployment.fold):
        way = target.deployment.fold, target.placement
        names = next((names for other, names in ways if other == way), None)
        if names is None:
            ways.append((way, [target.name]))
        else:
            names.append(target.name)
    texts = [coverage(model, example, crossbar=placement, fold=fold).summary() for (fold, placement), _ in ways]
    if len(ways) < 2:
        return texts[0] if texts else coverage(model, example).summary()
    if all(placement is None for (_, placement), _ in ways):
        return " ".join(f"With fold={fold}: {text}" for ((fold, _), _), text in zip(ways, texts, strict=True))
    return " ".join(f"On {join_names(names)}: {text}" for (_, names), text in zip(ways, texts, strict=True))


def _check_batch_size(spec: ComparisonSpec, label: str, machine: Machine) -> None:
    """Raise InputError if a method's batches cannot be divided among the machine's processes."""
    try:
        shards = spec.method(label, seed=0).shard(0, machine.processes).num_shards
        check_even_split(spec.config_of(label).batch_size, shards)
    except AimcError as error:
        raise InputError(f"methods.{label}: {error}") from None


def dry_run_targets(targets: Iterable[Target | LandscapeSpec], model: nn.Module, batch: Batch, task: Task) -> None:
    """Evaluate the model on one chip of every target, or one point of a landscape, calibrated on `batch`."""
    for target in targets:
        run = dry_run_chip(target, model, [batch], batch, task)
        if not task.takes_any_batches:  # a score of the whole model may take long, and need all batches
            run()


def dry_run_chip(
    target: Target | LandscapeSpec, model: nn.Module, batches: Batches, example: Batch, task: Task
) -> Callable[[], None]:
    """Return what measures an untrained model on a chip of a target, calibrated on the inputs of `example`."""
    evaluation = _evaluation(target, model, batches, example, task)

    def run() -> None:
        with suppress(DivergenceError):  # NaN of an untrained network says nothing of the trained one
            evaluation(0)

    return run


def _evaluation(
    target: Target | LandscapeSpec, model: nn.Module, batches: Batches, example: Batch, task: Task
) -> ChipEvaluation:
    if isinstance(target, LandscapeSpec):
        return chip_evaluation(model, batches, target.grid.step(filter_directions(model, seed=0), 0), task=task)
    deployment = None
    if isinstance(target, CrossbarTarget):
        deployment = calibrate_deployment(
            model, target.condition, target.deployment, InputBatches([task.unpack(example)[0]])
        )
    condition = target.condition_for(model, [example], task)
    return chip_evaluation(model, batches, condition, time_s=target.time_s, deployment=deployment, task=task)


def dry_run_metrics(names: Sequence[str], model: nn.Module, data: DataSet, task: Task) -> None:
    """Call each metric with outputs of a few examples, repeated, and all test labels: some metrics need every class."""
    if not names:
        return
    _, labels = data.split("test")
    with torch.inference_mode():
        outputs = task.predict(model.eval(), data.example)
    if outputs.ndim > 2:  # all labels would take too much memory
        labels = labels[: len(outputs)]
    outputs = outputs.repeat(-(-len(labels) // len(outputs)), *[1] * (outputs.ndim - 1))[: len(labels)]
    aligned = task.align(outputs, labels)
    for column, metric in load_metrics(names).items():
        evaluate_metric(column, metric, *aligned)
