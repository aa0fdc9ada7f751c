"""Build, program and evaluate untrained models on a few images, so that errors surface before training starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from aimc_robust.analysis.landscape import filter_directions
from aimc_robust.data.dataset import DataSet
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import AimcError, DivergenceError, InputError
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.execution.trial_runner import TrialRunner, out_of_memory_as_divergence
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.hardware.calibration.converter_ranges import calibrate_deployment
from aimc_robust.hardware.conversion.prepare import coverage
from aimc_robust.metrics import evaluate_metric, load_metrics
from aimc_robust.models.registry import ModelSpec, build_model
from aimc_robust.targets.target import CrossbarTarget, Target
from aimc_robust.training.fabric import Machine, check_even_split

IMAGES = 8


def dry_run(runner: TrialRunner, trials: Iterable[Trial]) -> tuple[list[str], dict[str, str]]:
    """Load the data and build, program and evaluate the untrained network of each trial, each combination once.

    Args:
        runner: Loads the data.
        trials: The trials.

    Returns:
        Which part of each network is analog: a sentence, or one per network with its name. And why methods cannot run,
        by label: their networks do not fit in memory. The others may.

    Raises:
        AimcError: what training or evaluation would raise later for this spec and machine.
    """
    spec = runner.results.spec
    outcomes: list[tuple[DataSpec, ModelSpec, str | None, str]] = []  # with why it failed, and its coverage
    failures: dict[str, str] = {}
    for label in dict.fromkeys(trial.model for trial in trials):
        _check_batch_size(spec, label, runner.machine)
        data_spec, model_spec = spec.data_of(label), spec.model_of(label)
        known = [reason for data, model, reason, _ in outcomes if (data, model) == (data_spec, model_spec)]
        reason, line = known[0] if known else None, ""
        if not known:
            try:
                with out_of_memory_as_divergence():
                    line = _dry_run_network(runner, data_spec, model_spec)
            except DivergenceError as error:
                reason = str(error)
            outcomes.append((data_spec, model_spec, reason, line))
        if reason is not None:
            failures[label] = reason
    lines = [(model_spec, line) for _, model_spec, reason, line in outcomes if reason is None]
    if len({model_spec.model_dump_json() for model_spec, _ in lines}) > 1:
        return [f"{model_spec.name}: {line}" for model_spec, line in lines], failures
    return [line for _, line in lines[:1]], failures


def _dry_run_network(runner: TrialRunner, data_spec: DataSpec, model_spec: ModelSpec) -> str:
    """Evaluate one untrained network under every target; return which part of it is analog."""
    spec, data = runner.results.spec, runner.data(data_spec)
    runner.images(data_spec)  # raises for an augmentation that does not fit the images
    model = build_model(model_spec, data, seed=spec.train_seeds[0])
    inputs, labels = next(iter(data.batches("training", IMAGES, next(model.parameters()).device)))
    dry_run_targets(spec.build_targets(), model, inputs, labels)
    dry_run_metrics(spec.metrics, model, data)
    for landscape in spec.landscapes:
        step = landscape.grid.step(filter_directions(model, seed=0), 0)
        list(evaluate_chips(model, [(inputs, labels)], step, chips=[0]))
    return coverage(model, data.example[:1]).summary()


def _check_batch_size(spec: ComparisonSpec, label: str, machine: Machine) -> None:
    """Raise InputError if a method's batches cannot be divided among the machine's processes."""
    try:
        shards = spec.method(label, seed=0).shard(0, machine.processes).num_shards
        check_even_split(spec.config_of(label).batch_size, shards)
    except AimcError as error:
        raise InputError(f"methods.{label}: {error}") from None


def dry_run_targets(targets: Iterable[Target], model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    """Evaluate the model on one chip of every target, calibrated on `inputs` (N, ...)."""
    batches = [(inputs, labels)]
    for target in targets:
        condition, deployment = target.condition_for(model, batches), None
        if isinstance(target, CrossbarTarget):
            deployment = calibrate_deployment(model, target.crossbar, target.deployment, [inputs])
        list(evaluate_chips(model, batches, condition, chips=[0], time_s=target.time_s, deployment=deployment))


def dry_run_metrics(names: Sequence[str], model: nn.Module, data: DataSet) -> None:
    """Call each metric with outputs of a few images, repeated, and all test labels: some metrics need every class."""
    labels = data.test[1]
    with torch.inference_mode():
        outputs = model.eval()(data.example)
    outputs = outputs.repeat(-(-len(labels) // len(outputs)), 1)[: len(labels)]
    for column, metric in load_metrics(names).items():
        evaluate_metric(column, metric, outputs, labels)
