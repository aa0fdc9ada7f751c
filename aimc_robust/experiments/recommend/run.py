"""Recommend a training method for a device: measure, propose, sweep, judge."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.data.loading import load_data
from aimc_robust.errors import InputError, ResultsError
from aimc_robust.evaluation.forward_precision import check_forward_precision
from aimc_robust.evaluation.keep_digital import check_required
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.recommend.arrays import array_settings
from aimc_robust.experiments.recommend.digital_layers import digital_layers
from aimc_robust.experiments.recommend.measurement import before_training, measure_device
from aimc_robust.experiments.recommend.places import Places, digital_by_choice, given_places
from aimc_robust.experiments.recommend.proposal import Proposal, propose
from aimc_robust.experiments.recommend.sweep import measurement_identity, sweep_spec
from aimc_robust.experiments.recommend.verdict import Verdict, judge
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.atomic import atomic_write, read_json
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.models.pretrained import WHOLE_FILE, load_weights, read_weights
from aimc_robust.models.registry import build_model
from aimc_robust.models.weight_selection import WeightSelection
from aimc_robust.targets.build import build_targets
from aimc_robust.targets.target import CrossbarTarget
from aimc_robust.tasks.task import Task
from aimc_robust.training.config import Precision
from aimc_robust.training.fabric import Machine
from aimc_robust.training.resumption import FINISHED

MEASUREMENT, RECOMMENDATION = "measurement.json", "advice.json"
BASELINE, MODELS = "baseline", "models"  # subfolders: the trained baseline, and models that it shares with the sweep


@dataclass(frozen=True)
class Recommendation:
    """A recommended training method for a device.

    Attributes:
        folder: The results folder.
        target: Name of the device's target.
        task: What the models are for.
        measurement: The device's errors on the model, see `measurement.measure_device`.
        proposal: The proposed method.
        verdict: What the sweep says of it; None without a sweep.
        digital_layers: Which layers of the measured model to keep digital, as `KeptDigital.to_json`; None: not asked.
        places: The target's own `layers`.
        digital_by_choice: Which layers these keep digital.
    """

    folder: Path
    target: str
    task: Task
    measurement: dict[str, Any]
    proposal: Proposal
    verdict: Verdict | None
    digital_layers: dict[str, Any] | None = None
    places: Places = field(default_factory=list)
    digital_by_choice: list[str] = field(default_factory=list)

    @property
    def layers(self) -> pd.DataFrame:
        """The device's relative errors, a row per layer, see `evaluation.equivalent_noise.layer_errors`."""
        return pd.DataFrame(self.measurement["layers"])

    @property
    def sweep(self) -> Path:
        """Results folder of the comparison that judged the proposal."""
        return self.folder / "sweep"


def recommend(
    spec: ComparisonSpec,
    target: Any,
    folder: Path,
    *,
    data_folder: Path = Path(),
    weights: Path | None = None,
    selection: WeightSelection = WHOLE_FILE,
    seeds: int | None = None,
    epochs: int | None = None,
    chips: int | None = None,
    sweep: bool = True,
    required: float | None = None,
    jobs: int | None = None,
    machine: Machine | None = None,
    forward_precision: Precision = "32-true",
    progress: ExperimentProgress | None = None,
) -> Recommendation:
    """Recommend a training method so that the model of `spec` loses least on a device.

    The model is trained with plain SGD, or read from `weights`. The device's errors are measured on it with the
    validation data, and the proposal follows from them. A sweep with rivals on the test data then confirms or
    refutes the proposal, which it does not change: so the test data judge it fairly.

    Args:
        spec: Data, model and training configuration.
        target: The device, as in a spec's targets.
        folder: The results folder. The same call continues after an interruption.
        data_folder: Where relative data paths start.
        weights: File of trained weights to measure on; None: train with plain SGD first.
        selection: Which of the weights in that file.
        seeds: Number of training seeds of the sweep; None: the spec's, as of `epochs` and `chips`.
        epochs: Epochs of each training.
        chips: Chips per model of the sweep.
        sweep: False stops after the proposal.
        required: Required value of the primary metric on the device: propose which layers to keep digital for it.
        jobs: Processes of the measurement, on the CPU; None: this process.
        machine: Where models are trained and measured; None: as `auto` of `Machine.for_evaluation`.
        forward_precision: Of the measurement and of the choice of digital layers, as for `ar.evaluate`; the sweep
            trains in the spec's precision, and evaluates in float32.
        progress: Callbacks of the comparisons; each step is a note.

    Raises:
        InputError: if the target is no device, its `layers` do not suit the model, or the baseline cannot be trained;
            with `jobs` on another device than a CPU.
        ResultsError: if the folder holds the recommendation of another spec or device, or data or code have changed.
        AimcError: see `compare`.
    """
    device = build_targets(target)[-1]  # with its compensation
    if not isinstance(device, CrossbarTarget):
        raise InputError(f"a recommendation needs a device, got the target {device.name!r}.")
    if device.backend != "native" or not device.deployment.fold:
        raise InputError(
            f"a recommendation is for the native backend with folded BatchNorms: set them so in {device.name!r}."
        )
    check_forward_precision(forward_precision, device.condition, device.deployment)
    machine = machine or Machine.for_evaluation("auto", jobs)
    machine.check_jobs(jobs)
    progress, task = progress or ExperimentProgress(), spec.task.build()
    if required is not None:
        check_required(task.primary, required)
    if weights is None and selection != WHOLE_FILE:
        raise InputError(f"{selection.options} choose among the weights of a file; give --weights too.")
    data = load_data(spec.data, data_seed=spec.data_seed, folder=data_folder, task=task)
    own_digital = []
    if device.placement is not None:  # its patterns are checked before anything is trained
        own_digital = digital_by_choice(build_model(spec.model, data, seed=0, task=task), device.placement)
    pretrained = None if weights is None else read_weights(weights, selection)
    identity = measurement_identity(spec, target, data, data_folder, epochs, pretrained)
    if forward_precision != "32-true":  # folders from before there was a choice continue
        identity["forward_precision"] = forward_precision
    measurement = read_json(folder / MEASUREMENT)
    if measurement is not None and measurement["question"] != identity:
        raise ResultsError(
            f"{folder} holds the recommendation of another question: another spec or device, or data, cards, files "
            "or code that have changed since; give --out another folder."
        )

    @functools.cache
    def trained_model() -> nn.Module:
        if pretrained is None:
            return _train_baseline(spec, data, folder, data_folder, epochs, machine, progress).to(machine.device).eval()
        model = build_model(spec.model, data, seed=0, task=task)
        if spec.data.validation == "split":
            progress.note(
                f"{weights} are measured on the spec's validation examples; if they were trained on those, the "
                "accuracies are too high: use the spec and data_seed of the training, or data.validation=test."
            )
        progress.note(f"normalization of inputs, which the weights must know: {data.normalization}")
        for note in (*pretrained.notes, *load_weights(model, pretrained, source=str(weights))):
            progress.note(f"{weights}: {note}")
        return model.to(machine.device).eval()

    options: dict[str, Any] = {"chip_seed": spec.chip_seed, "jobs": jobs, "forward_precision": forward_precision}
    if measurement is None:
        progress.note(f"measuring the errors of {device.name} on {weights or 'the trained model'}")
        measurement = {"question": identity, **measure_device(trained_model(), data, device, task, **options)}
        measurement["arrays"] = array_settings(target, device, trained_model(), data, task)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / MEASUREMENT, json.dumps(measurement, indent=1, allow_nan=False))
    proposal = propose(measurement["sigma"], identified=measurement["identified"], arrays=measurement.get("arrays"))
    proposal = replace(proposal, reasons=(*before_training(measurement, device), *proposal.reasons))
    kept = None
    if required is not None:
        options |= {"required": required, "on_status": progress.note}
        kept = digital_layers(folder, identity, trained_model, data, device, task, **options)
    verdict = None
    if sweep:
        progress.note(f"proposal: {proposal.label}; a sweep of {len(proposal.methods)} methods judges it")
        judging_spec = sweep_spec(spec, target, proposal.methods, seeds=seeds, epochs=epochs, chips=chips)
        compared = compare(
            judging_spec,
            folder / "sweep",
            data_folder=data_folder,
            model_cache=folder / MODELS,
            machine=machine,
            progress=progress,
        )
        verdict = judge(proposal.label, "sgd", device.name, compared.results.estimates())
    placed = given_places(target), own_digital
    recommendation = Recommendation(folder, device.name, task, measurement, proposal, verdict, kept, *placed)
    atomic_write(folder / RECOMMENDATION, json.dumps(_as_json(recommendation), indent=1))
    return recommendation


def _train_baseline(
    spec: ComparisonSpec,
    data: DataSet,
    folder: Path,
    data_folder: Path,
    epochs: int | None,
    machine: Machine,
    progress: ExperimentProgress,
) -> nn.Module:
    """Train the model with plain SGD; the sweep finds it among the shared models."""
    baseline_spec = sweep_spec(spec, "digital", {"sgd": {}}, seeds=1, epochs=epochs, chips=1)
    results = compare(
        baseline_spec,
        folder / BASELINE,
        data_folder=data_folder,
        model_cache=folder / MODELS,
        machine=machine,
        progress=progress,
    ).results
    trial = Trial("sgd", baseline_spec.train_seeds[0])
    reason = results.failure(trial)
    if reason is not None:
        raise InputError(f"the model cannot be trained with plain SGD: {reason}. Correct the spec's training settings.")
    model = build_model(spec.model, data, seed=trial.train_seed, task=spec.task.build())
    tensors, _ = read_checkpoint(results.run_folder(trial) / FINISHED)
    model.load_state_dict(tensors)
    return model


def _as_json(recommendation: Recommendation) -> dict[str, Any]:
    proposal, verdict, layers = recommendation.proposal, recommendation.verdict, recommendation.digital_layers
    judged = verdict and {
        "word": verdict.judgement,
        "sentence": verdict.sentence,
        "best": verdict.best,
        "comparisons": json.loads(verdict.table.to_json(orient="records")),
    }
    proposed = {"label": proposal.label, "settings": proposal.settings, "reasons": list(proposal.reasons)}
    values = {"target": recommendation.target, "proposal": proposed, "verdict": judged, "digital_layers": layers}
    return values | {"digital_by_choice": recommendation.digital_by_choice}
