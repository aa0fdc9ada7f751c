"""Evaluate trained models under targets, skip chips that are done, and store each chip at once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from aimc_robust.data.evaluation_set import EvaluationImages
from aimc_robust.evaluation.evaluate import evaluate_until_precise
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.callbacks.evaluation import EvaluationProgress
from aimc_robust.experiments.evaluate.calibrated_target import calibrate_target
from aimc_robust.experiments.evaluate.explain import attribute_models, predict_models
from aimc_robust.experiments.execution.dry_run import dry_run_crossbar
from aimc_robust.experiments.results.environment import describe_environment
from aimc_robust.experiments.results.evaluation import NOTES, EvaluationResults
from aimc_robust.experiments.results.evaluation_tables import write_tables
from aimc_robust.experiments.results.filenames import COVERAGE, ENVIRONMENT
from aimc_robust.experiments.results.locking import lock_folder
from aimc_robust.experiments.spec.evaluation import EvaluationSpec, TrainedModel
from aimc_robust.hardware.conversion.prepare import coverage
from aimc_robust.metrics import Metric, measure
from aimc_robust.statistics.two_stage_sampling import DEFAULT_PILOT
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget
from aimc_robust.training.fabric import Machine

CHANCE_FACTOR = 1.5  # an accuracy below this multiple of chance is reported


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of an evaluation that change no number.

    Attributes:
        jobs: Processes, as for `ar.evaluate`.
        metrics: Name -> further metric.
        attribution_chips: Chips per variant of the error attribution; None: no attribution.
        prediction_chips: Chips of the Monte Carlo evaluation beside the loss prediction; None: no prediction.
    """

    jobs: int | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    attribution_chips: int | None = None
    prediction_chips: int | None = None


def evaluate_models(
    spec: EvaluationSpec,
    networks: Sequence[nn.Module],
    images: EvaluationImages,
    folder: Path,
    *,
    options: RunOptions | None = None,
    progress: EvaluationProgress | None = None,
    notes: Sequence[str] = (),
) -> EvaluationResults:
    """Evaluate every model of a spec under every target, and write rows and tables.

    Finished chips are not evaluated again: after any interruption the same call continues, and ends with the numbers of
    an uninterrupted run. A call with more chips adds them.

    Args:
        spec: The spec.
        networks: The networks with trained weights, in the order of `spec.models`.
        images: The evaluation images.
        folder: The results folder; created if it does not exist.
        options: Number of processes and explanations.
        progress: Callbacks.
        notes: Remarks for the report.

    Raises:
        DataError: if the labels do not fit the outputs.
        InputError: if an argument is invalid.
        ResultsError: if the folder holds other results, is locked, or is not writable.
        WorkerError: if a worker process fails.
    """
    options, progress = options or RunOptions(), progress or EvaluationProgress()
    models = list(zip(spec.models, networks, strict=True))
    targets = spec.build_targets()
    analog_part = coverage(networks[0], images.example).summary()
    dry_run_warnings = _dry_run(networks[0], images, targets, options)
    with lock_folder(folder), warnings.catch_warnings():
        for text in dry_run_warnings:  # once is enough
            warnings.filterwarnings("ignore", message=re.escape(text))
        results = EvaluationResults.create(folder, spec)
        _record_environment(results, options.jobs)
        results.write_json_file(COVERAGE, {"line": analog_part})
        pilot = None if spec.precision is None else DEFAULT_PILOT
        progress.started(models=len(models), targets=len(targets), coverage=analog_part, pilot=pilot)
        remarks = _Remarks(results, progress)
        remarks.add([*notes, *dry_run_warnings])
        for model, network in models:
            for target in targets:
                remarks.add(_evaluate_target(results, model, network, images, target, options, progress))
        write_tables(results)
        if options.attribution_chips is not None:
            remarks.add(attribute_models(results, models, images, options.attribution_chips, options.jobs, progress))
        if options.prediction_chips is not None:
            remarks.add(predict_models(results, models, images, options.prediction_chips, options.jobs, progress))
        write_tables(results)
    return results


def _evaluate_target(
    results: EvaluationResults,
    model: TrainedModel,
    network: nn.Module,
    images: EvaluationImages,
    target: DeployableTarget,
    options: RunOptions,
    progress: EvaluationProgress,
) -> list[str]:
    """Evaluate the missing chips of a model under a target. Return a remark if digital weights score near chance."""
    spec = results.spec
    chips = target.chips(spec.chips)
    known = {chip: accuracy for chip, accuracy in results.accuracies(model, target.name).items() if chip < chips}
    progress.evaluating(model, target.name, done=len(known), chips=chips)
    deployment = calibrate_target(results, model, network, images, target)
    accuracies = dict(known)
    for chip, measured in evaluate_until_precise(
        network,
        images,
        target.condition,
        chips=chips,
        precision=None if target.condition is None else spec.precision,
        known=known,
        chip_seed=spec.chip_seed,
        time_s=target.time_s,
        deployment=deployment,
        jobs=options.jobs,
        metrics=options.metrics,
    ):
        results.add_chip(model, target.name, target.time_s, chip, measured)
        accuracies[chip] = measured.accuracy
        progress.chip(model, target.name, list(accuracies.values()))
    progress.finished(model, target.name, list(accuracies.values()))
    chance = 100.0 / spec.images.classes
    if target.condition is None and accuracies[0] < CHANCE_FACTOR * chance:
        return [
            f"{model} scores {accuracies[0]:.1f} % with digital weights, near chance ({chance:.1f} %): check that "
            "weights, normalization and order of classes are those of its training."
        ]
    return []


@dataclass
class _Remarks:
    """Remarks for the user: shown at once, and stored for the report."""

    results: EvaluationResults
    progress: EvaluationProgress
    texts: list[str] = field(default_factory=list)

    def add(self, texts: Sequence[str]) -> None:
        self.texts += texts
        self.results.write_json_file(NOTES, self.texts)
        for text in texts:
            self.progress.note(text)


def _dry_run(
    model: nn.Module, images: EvaluationImages, targets: Sequence[DeployableTarget], options: RunOptions
) -> list[str]:
    """Evaluate two images under every target, so that errors surface at once.

    Returns the warnings, such as that of a time outside the range that a card's source covers.
    """
    inputs, labels = images.example, torch.stack(images.labels.aminmax())  # the labels that may exceed the outputs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for target in targets:
            if isinstance(target, CrossbarTarget):
                dry_run_crossbar(target, model, inputs, labels)
            else:
                list(evaluate_chips(model, [(inputs, labels)], target.condition, chips=[0]))
    if options.metrics:
        measure(model.eval(), images, options.metrics)  # on all images: some metrics need every class
    return list(dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning))


def _record_environment(results: EvaluationResults, jobs: int | None) -> None:
    """Keep every distinct environment that computed these results, in order."""
    environment = describe_environment(Machine(accelerator="cpu")) | {"processes": jobs or 1}
    if jobs is not None:
        environment["threads"] = 1
    known = results.environments
    if environment not in known:
        results.write_json_file(ENVIRONMENT, [*known, environment])
