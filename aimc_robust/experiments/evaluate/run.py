"""Evaluate trained models on targets as far as that is not done, and keep every chip at once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from aimc_robust.data.evaluation_set import EvaluationImages
from aimc_robust.evaluation.evaluate import until_precise
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.callbacks.evaluation import EvaluationProgress
from aimc_robust.experiments.evaluate.calibrated_target import calibrate_target
from aimc_robust.experiments.evaluate.explain import attribute_models, predict_models
from aimc_robust.experiments.results.environment import describe_environment
from aimc_robust.experiments.results.evaluation import NOTES, EvaluationResults
from aimc_robust.experiments.results.evaluation_tables import paired_differences, summary_table
from aimc_robust.experiments.results.filenames import COVERAGE, ENVIRONMENT
from aimc_robust.experiments.results.locking import lock_folder
from aimc_robust.experiments.spec.evaluation import EvaluationSpec, TrainedModel
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.conversion.prepare import coverage
from aimc_robust.io.atomic import atomic_write
from aimc_robust.metrics import Metric, measure
from aimc_robust.statistics.two_stage import DEFAULT_PILOT
from aimc_robust.targets.target import Target
from aimc_robust.training.fabric import Machine

CHANCE = 1.5  # an accuracy below so many times that of guessing is told


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to work, none of which changes a number: jobs as for `ar.evaluate`; and what to find out besides.

    attribution_chips: chips of each variant of an attribution; None: no attribution. prediction_chips: of the Monte
    Carlo shown beside a prediction without it; None: no prediction.
    """

    jobs: int | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    attribution_chips: int | None = None
    prediction_chips: int | None = None


def evaluate_models(
    question: EvaluationSpec,
    models: Sequence[nn.Module],
    images: EvaluationImages,
    folder: Path,
    *,
    request: RunOptions,
    progress: EvaluationProgress,
    notes: Sequence[str] = (),
) -> EvaluationResults:
    """Run what is not done yet of `question`, into `folder`, and write the tables.

    models: in the order of question.models. A finished chip is not evaluated again: the same call after any
    interruption ends with the numbers of an undisturbed run; with more chips it adds them.
    Raises DataError, InputError, ResultsError or WorkerError; what was finished is kept.
    """
    named = list(zip(question.models, models, strict=True))
    targets = question.build_targets()
    covered = coverage(models[0], images.example)
    warned = _rehearse(models[0], images, targets, request)
    with lock_folder(folder), warnings.catch_warnings():
        for text in warned:
            warnings.filterwarnings("ignore", message=re.escape(text))
        results = EvaluationResults.create(folder, question)
        _note_environment(results, request.jobs)
        results.write_json_file(COVERAGE, {"line": covered.line()})
        pilot = None if question.precision is None else DEFAULT_PILOT
        progress.started(models=len(models), targets=len(targets), coverage=covered.line(), pilot=pilot)
        told: list[str] = []
        _tell(results, progress, told, [*notes, *warned])
        for model, trained in named:
            for target in targets:
                _tell(results, progress, told, _evaluate(results, model, trained, images, target, request, progress))
        write_tables(results)
        if request.attribution_chips is not None:
            left_out = attribute_models(results, named, images, request.attribution_chips, request.jobs, progress)
            _tell(results, progress, told, left_out)
        if request.prediction_chips is not None:
            left_out = predict_models(results, named, images, request.prediction_chips, request.jobs, progress)
            _tell(results, progress, told, left_out)
        write_tables(results)
    return results


def write_tables(results: EvaluationResults) -> None:
    """evaluations.csv, summary.csv and differences.csv, from the rows alone."""
    estimates = results.estimates()
    tables = {
        "evaluations": results.table(),
        "summary": summary_table(estimates, results.spec.threshold),
        "differences": paired_differences(results.spec, estimates),
        "attribution": results.explanation("attribution"),
        "prediction": results.explanation("prediction"),
        "prediction_layers": results.explanation("prediction_layers"),
        "validity": results.explanation("validity"),
    }
    for name, table in tables.items():
        if len(table):
            atomic_write(results.folder / f"{name}.csv", table.to_csv(index=False))


def _evaluate(
    results: EvaluationResults,
    model: TrainedModel,
    trained: nn.Module,
    images: EvaluationImages,
    target: Target,
    request: RunOptions,
    progress: EvaluationProgress,
) -> list[str]:
    question = results.spec
    chips = target.chips(question.chips)
    known = {chip: accuracy for chip, accuracy in results.accuracies(model, target.name).items() if chip < chips}
    progress.evaluating(model, target.name, done=len(known), chips=chips)
    condition, how = calibrate_target(results, model, trained, images, target)
    accuracies = dict(known)
    for chip, measured in until_precise(
        trained,
        images,
        condition,
        chips,
        None if target.condition is None else question.precision,
        known=known,
        seed=question.chip_seed,
        deployment=how,
        jobs=request.jobs,
        metrics=request.metrics,
    ):
        results.add_chip(model, target.name, target.deployment.time_s, chip, measured)
        accuracies[chip] = measured.accuracy
        progress.chip(model, target.name, list(accuracies.values()))
    progress.finished(model, target.name, list(accuracies.values()))
    guessing = 100.0 / question.images.classes
    if target.condition is None and accuracies[0] < CHANCE * guessing:
        return [
            f"{model} scores {accuracies[0]:.1f} % with digital weights, where guessing gives {guessing:.1f} %: are "
            "these the weights, the normalisation and the order of classes that it was trained with?"
        ]
    return []


def _tell(results: EvaluationResults, progress: EvaluationProgress, told: list[str], texts: Sequence[str]) -> None:
    """Add notes to those `told`, for who watches and for the report of what is done so far."""
    told += texts
    results.write_json_file(NOTES, told)
    for text in texts:
        progress.note(text)


def _rehearse(model: nn.Module, images: EvaluationImages, targets: Sequence[Target], request: RunOptions) -> list[str]:
    """Two images on every target: what cannot be evaluated is told before the first hour, not after it.

    Returns the warnings, such as of a time that a card's source does not cover.
    """
    few, labels = images.example, torch.stack(images.labels.aminmax())  # the labels that may not fit the outputs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for target in targets:
            condition, how = target.condition, target.deployment
            if isinstance(condition, Crossbar):
                condition = calibrate(model, condition, [few]) if condition.needs_ranges else condition
                how = replace(how, data=[few])
            list(evaluate_chips(model, [(few, labels)], condition, chips=[0], deployment=how))
    if request.metrics:
        measure(model.eval(), images, request.metrics)  # on all images: some metrics need every class
    return list(dict.fromkeys(str(one.message) for one in caught if one.category is UserWarning))


def _note_environment(results: EvaluationResults, jobs: int | None) -> None:
    now = describe_environment(Machine(accelerator="cpu")) | {"processes": jobs or 1}
    if jobs is not None:
        now["threads"] = 1
    known = results.environments
    if now not in known:
        results.write_json_file(ENVIRONMENT, [*known, now])
