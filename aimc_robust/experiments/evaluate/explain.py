"""What is to blame for the loss, and what is predicted without Monte Carlo, for the models of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.data.evaluation_set import EvaluationImages
from aimc_robust.evaluation.attribution import attribute
from aimc_robust.evaluation.error_sources import active_sources
from aimc_robust.evaluation.loss_prediction import predict_loss
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.evaluation.prediction_check import validate_prediction
from aimc_robust.experiments.callbacks.evaluation import EvaluationProgress
from aimc_robust.experiments.evaluate.calibrated_target import calibrate_target
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.evaluation_tables import group_by_device
from aimc_robust.experiments.spec.evaluation import EvaluationSpec, TrainedModel
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.atomic import Row
from aimc_robust.parallel.process_pool import single_thread
from aimc_robust.targets.target import Target

Named = Sequence[tuple[TrainedModel, nn.Module]]


def attribute_models(
    results: EvaluationResults,
    models: Named,
    images: EvaluationImages,
    chips: int,
    jobs: int | None,
    progress: EvaluationProgress,
) -> list[str]:
    """Attribute the loss of the first model of each label on each device, at its last time; rows go to attribution.

    Returns remarks on devices that are left out.
    """
    devices = last_crossbars(results.spec)
    blameless = [t for t in devices if not active_sources(t.condition, time_s=t.deployment.time_s)]
    others = [t for t in results.spec.build_targets() if isinstance(t.condition, Crossbar) and not _is_plain(t)]
    remarks = [f"{target.name} has no source of error to blame." for target in blameless]
    remarks += [f"{t.name}: errors are switched off one by one on the native backend, uncompensated." for t in others]
    done = results.explanation("attribution")
    for model, trained in _first_of_each(models):
        for target in [target for target in devices if target not in blameless]:
            if (
                len(done)
                and ((done["model"] == str(model)) & (done["target"] == target.name) & (done["chips"] == chips)).any()
            ):
                continue
            crossbar, how = calibrate_target(results, model, trained, images, target)

            def on_chip(number: int, total: int, what: str = f"{model} on {target.name}: what is to blame") -> None:
                progress.explaining(what, done=number, total=total)

            found = attribute(
                trained,
                images,
                crossbar,
                chips=chips,
                seed=results.spec.chip_seed,
                deployment=how,
                jobs=jobs,
                on_chip=on_chip,
            )
            facts = {
                "model": str(model),
                "target": target.name,
                "chips": chips,
                "exact": found.exact,
                "whole": found.whole,
            }
            table = found.table.astype({"weights": object}).where(found.table.notna(), None)
            results.add_explanation("attribution", [facts | row for row in table.to_dict("records")])
    return remarks


def predict_models(
    results: EvaluationResults,
    models: Named,
    images: EvaluationImages,
    chips: int,
    jobs: int | None,
    progress: EvaluationProgress,
) -> list[str]:
    """Predict the loss of the first model of each label on each target, and test the prediction on some.

    Rows go to prediction (each target), prediction_layers, and validity (beside Monte Carlo of `chips` chips at several
    strengths of the error: each device at its last time, and the noises). Returns a remark where nothing is predicted.
    """
    targets = _predictable(results.spec)
    if not targets:
        return ["No loss is predicted: that needs a noise, or a device on the native backend without compensation."]
    done = results.explanation("validity")
    for model, trained in _first_of_each(models):
        if len(done) and ((done["model"] == str(model)) & (done["chips"] == chips)).any():
            continue
        progress.explaining(f"{model}: prediction without Monte Carlo", done=0, total=2)
        conditions = {
            t.name: (calibrate_target(results, model, trained, images, t)[0], t.deployment.time_s) for t in targets
        }
        tested = {t.name: conditions[t.name] for family in group_by_device(targets) for t in family[-1:]}
        with single_thread() if jobs else nullcontext():
            found = predict_loss(trained, images, conditions, seed=results.spec.chip_seed)
        progress.explaining(f"{model}: Monte Carlo beside the prediction", done=1, total=2)
        beside = validate_prediction(trained, images, tested, chips=chips, seed=results.spec.chip_seed, jobs=jobs)
        facts = {
            "model": str(model),
            "cost": found.seconds / _chip_s(results, model, trained, images, targets[0], jobs),
        }
        results.add_explanation("prediction_layers", _named(found.layers, {"model": str(model)}))
        left_out = [{"left_out": ", ".join(found.left_out[name])} for name in found.table["condition"]]
        rows = _named(found.table, facts)
        results.add_explanation("prediction", [row | more for row, more in zip(rows, left_out, strict=True)])
        results.add_explanation("validity", _named(beside.table, {"model": str(model)}))
    return []


def _chip_s(
    results: EvaluationResults,
    model: TrainedModel,
    trained: nn.Module,
    images: EvaluationImages,
    target: Target,
    jobs: int | None,
) -> float:
    """Seconds of one chip, alone, under the threads of the prediction: the quicker of two."""
    condition, how = calibrate_target(results, model, trained, images, target)
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        with single_thread() if jobs else nullcontext():
            list(evaluate_chips(trained, images, condition, chips=[0], deployment=how))
        taken.append(time.perf_counter() - began)
    return min(taken)


def _named(frame: pd.DataFrame, facts: dict[str, Any]) -> list[Row]:
    """The rows of a table, its `condition` called by the name of the target that it is, after `facts`."""
    return [facts | row for row in frame.rename(columns={"condition": "target"}).to_dict("records")]


def _predictable(question: EvaluationSpec) -> list[Target]:
    """Targets whose weight errors the prediction is made for."""
    return [target for target in question.build_targets() if target.condition is not None and _is_plain(target)]


def _is_plain(target: Target) -> bool:
    return target.deployment.backend == "native" and not target.deployment.compensation


def last_crossbars(question: EvaluationSpec) -> list[Target]:
    """Each device at its last time, where its errors can be switched on and off; compensated ones left out."""
    crossbars = [target for target in _predictable(question) if isinstance(target.condition, Crossbar)]
    return [family[-1] for family in group_by_device(crossbars)]


def _first_of_each(models: Named) -> Named:
    return [(model, trained) for model, trained in models if model.seed == 0]
