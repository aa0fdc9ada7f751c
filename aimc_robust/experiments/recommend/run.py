"""Measure, propose, sweep, judge."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.data.batches import split_batches
from aimc_robust.data.dataset import DataSet, load_data
from aimc_robust.errors import InputError, ResultsError
from aimc_robust.evaluation.equivalent_noise import equivalent_sigma, layer_errors
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.recommend.proposal import Proposal, propose
from aimc_robust.experiments.recommend.verdict import Verdict, judge
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.comparison_tables import group_estimates
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec, spec_from_dict
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.atomic import atomic_write, read_json
from aimc_robust.io.toml import to_toml
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.models.pretrained import load_weights, read_weights
from aimc_robust.models.registry import build_model
from aimc_robust.targets.target import Target, build_target
from aimc_robust.training.resumption import FINISHED

MEASUREMENT, RECOMMENDATION = "measurement.json", "advice.json"
BASELINE = "sgd"
BATCH = 500
CHIPS = 20  # of the measurement; its interval says whether they were enough


@dataclass(frozen=True)
class Recommendation:
    """measurement: the device's errors on the model (keys of `_measure`). verdict: None without a sweep."""

    folder: Path
    target: str
    measurement: dict[str, Any]
    proposal: Proposal
    verdict: Verdict | None

    @property
    def layers(self) -> pd.DataFrame:
        """A row per layer of the device's relative error (`evaluation.layer_errors`)."""
        return pd.DataFrame(self.measurement["layers"])

    @property
    def sweep(self) -> Path:
        """The comparison that judged the proposal."""
        return self.folder / "sweep"


def recommend(
    spec: ComparisonSpec,
    target: Any,
    folder: Path,
    *,
    data_folder: Path,
    weights: Path | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    chips: int | None = None,
    sweep: bool = True,
    jobs: int | None = None,
    progress: ComparisonProgress,
    told: Callable[[str], None] = lambda text: None,
) -> Recommendation:
    """What to train so that the model of `spec` survives the device of `target`.

    The model is trained with plain SGD by the spec's recipe, or read from `weights`, and the device's errors are
    measured on it and the validation split (`evaluation.layer_errors`, `evaluation.equivalent_sigma`); from that
    follows the proposal (`propose`), which a comparison with rivals on the test images confirms or refutes (`judge`).
    The proposal is made before the sweep and not changed by it, so that the test images judge it fairly.

    target: a device as in a spec's targets. seeds, epochs, chips: fewer or more than the spec's; a spec keeps its own.
    sweep: False stops at the proposal. folder: keeps all; the same call goes on after any interruption.
    Raises InputError when the target is no device, and as `compare` does.
    """
    device = build_target(target)
    if not isinstance(device.condition, Crossbar):
        raise InputError(f"expected a device to give advice for, got {device.name!r}.")
    if device.deployment.compensation or device.deployment.backend != "native":
        raise InputError("advice is for a device as it is, on the native backend: leave compensation and backend out.")
    data = load_data(spec.data, seed=spec.seed, folder=data_folder)
    kept = _question(spec, target, epochs, weights)
    measurement = read_json(folder / MEASUREMENT)
    if measurement is not None and measurement["question"] != kept:
        raise ResultsError(f"{folder} holds the advice on another question; give --out another folder.")
    if measurement is None:
        model = (
            _trained(spec, data, folder / "baseline", data_folder, epochs, progress)
            if weights is None
            else _read(spec, data, weights)
        )
        told(f"measuring the errors of {device.name} on {'the trained model' if weights is None else weights}")
        measurement = {"question": kept, **_measure(model, data, device, seed=spec.seed, jobs=jobs)}
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / MEASUREMENT, json.dumps(measurement, indent=1, allow_nan=False))
    proposal = propose(measurement["sigma"], identified=measurement["identified"])
    verdict = None
    if sweep:
        told(f"proposal: {proposal.label}; a sweep of {len(proposal.methods)} methods judges it")
        question = _sweep_spec(spec, target, proposal.methods, seeds=seeds, epochs=epochs, chips=chips)
        _reuse(folder / "baseline", folder / "sweep", question)
        store = _compared(question, folder / "sweep", data_folder, progress)
        verdict = judge(proposal.label, BASELINE, device.name, group_estimates(store.table()))
    advice = Recommendation(folder, device.name, measurement, proposal, verdict)
    atomic_write(folder / RECOMMENDATION, json.dumps(_written(advice), indent=1))
    return advice


def device_name(target: Any) -> str:
    """What a target of a spec is called."""
    return build_target(target).name


def _measure(model: nn.Module, data: DataSet, device: Target, *, seed: int, jobs: int | None) -> dict[str, Any]:
    crossbar, time_s = device.condition, device.deployment.time_s
    if crossbar.needs_ranges:
        crossbar = calibrate(model, crossbar, [data.training[0][:BATCH]])
    layers = layer_errors(model, crossbar, time_s=time_s)
    found = equivalent_sigma(
        model, split_batches(data.validation, BATCH), crossbar, chips=CHIPS, seed=seed, time_s=time_s, jobs=jobs
    )
    return {
        "sigma": found.sigma,
        "low": _finite(found.low),
        "high": _finite(found.high),
        "identified": found.identified,
        "reason": found.reason,
        "device_accuracy": found.device.mean,
        "digital_accuracy": found.digital_accuracy,
        "device_interval": list(found.device.ci),
        "rms": found.rms,
        "chips": CHIPS,
        "images": len(data.validation[1]),
        "layers": json.loads(layers.to_json(orient="records")),
    }


def _trained(
    spec: ComparisonSpec,
    data: DataSet,
    folder: Path,
    data_folder: Path,
    epochs: int | None,
    progress: ComparisonProgress,
) -> nn.Module:
    question = _sweep_spec(spec, "digital", {BASELINE: {}}, seeds=1, epochs=epochs, chips=1)
    store = _compared(question, folder, data_folder, progress)
    cell = Trial(BASELINE, question.train_seeds[0])
    if store.failure(cell) is not None:
        raise InputError(f"the model cannot be trained with plain SGD: {store.failure(cell)}. Mend the spec's recipe.")
    model = build_model(spec.model, data, seed=cell.seed)
    tensors, _ = read_checkpoint(store.run_folder(cell) / FINISHED)
    model.load_state_dict(tensors)
    return model.eval()


def _read(spec: ComparisonSpec, data: DataSet, weights: Path) -> nn.Module:
    model = build_model(spec.model, data, seed=0)
    load_weights(model, read_weights(weights), source=str(weights))
    return model.eval()


def _sweep_spec(
    spec: ComparisonSpec,
    target: Any,
    methods: dict[str, dict[str, Any]],
    *,
    seeds: int | None,
    epochs: int | None,
    chips: int | None,
) -> ComparisonSpec:
    values = spec.model_dump(mode="json", exclude_none=True)
    if seeds is not None:
        more = [seed for seed in range(seeds + max(spec.train_seeds) + 1) if seed not in spec.train_seeds]
        values["seeds"] = [*spec.train_seeds, *more][:seeds]
    if epochs is not None:
        values["training"] = {**values["training"], "epochs": epochs}
    values |= {
        "name": f"{spec.name[:60]}-advice",
        "question": "Does the proposed training keep the most accuracy on this device?",
        "chips": chips or spec.chips,
        "targets": ["digital"] if target == "digital" else ["digital", target],
        "methods": methods,
    }
    values.pop("diagnostics", None)
    return spec_from_dict(values)


def _compared(
    question: ComparisonSpec, folder: Path, data_folder: Path, progress: ComparisonProgress
) -> ComparisonResults:
    text = to_toml(question.model_dump(mode="json", exclude_none=True))
    return compare(question, text, folder, data_folder=data_folder, progress=progress).store


def _reuse(baseline: Path, sweep: Path, question: ComparisonSpec) -> None:
    """Give the sweep the baseline that is trained already: the same recipe, seed and data."""
    cell = str(Trial(BASELINE, question.train_seeds[0]))
    source, destination = baseline / "runs" / cell, sweep / "runs" / cell
    if (source / FINISHED).exists() and not destination.exists():
        destination.parent.mkdir(parents=True, exist_ok=True)
        ComparisonResults.create(sweep, question, to_toml(question.model_dump(mode="json", exclude_none=True)))
        copied = destination.with_name(f".{cell}")
        shutil.rmtree(copied, ignore_errors=True)  # of a copy that was interrupted
        shutil.copytree(source, copied)
        copied.rename(destination)


def _question(spec: ComparisonSpec, target: Any, epochs: int | None, weights: Path | None) -> dict[str, Any]:
    """What the measurement depends on."""
    values = spec.model_dump(mode="json", include={"seed", "data", "model", "training"})
    given = None if weights is None else read_weights(weights).id
    first = spec.train_seeds[0] if weights is None else None
    return json.loads(json.dumps(values | {"target": target, "epochs": epochs, "weights": given, "first": first}))


def _written(advice: Recommendation) -> dict[str, Any]:
    proposal, verdict = advice.proposal, advice.verdict
    judged = None
    if verdict is not None:
        judged = {"word": verdict.word, "sentence": verdict.sentence, "best": verdict.best}
        judged["comparisons"] = json.loads(verdict.table.to_json(orient="records"))
    return {
        "target": advice.target,
        "proposal": {"label": proposal.label, "settings": proposal.settings, "reasons": list(proposal.reasons)},
        "verdict": judged,
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
