"""The spec of an evaluation: which weights, on which images, under which targets."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from aimc_robust.data.dataset import DataSet
from aimc_robust.errors import InputError
from aimc_robust.evaluation.evaluate import check_precision
from aimc_robust.evaluation.forward_precision import check_forward_precision
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.base import ExperimentSpec
from aimc_robust.io.toml import StrictModel
from aimc_robust.models.registry import ModelSpec
from aimc_robust.models.weight_selection import WeightSelection
from aimc_robust.targets.build import build_targets
from aimc_robust.targets.command_line import deployable
from aimc_robust.targets.entries import Entry
from aimc_robust.targets.target import NAME, CrossbarTarget, DeployableTarget, DigitalTarget, as_name, require_name
from aimc_robust.training.config import Precision
from aimc_robust.training.epoch import EVALUATION_BATCH_SIZE

# File names that say nothing about the model; the name of the folder is the label instead.
GENERIC_STEMS = ("checkpoint", "model", "model_best", "best", "last", "weights", "pytorch_model")
ENDINGS = re.compile(r"(\.\w+)?\.index\.json$|\.(pth|pt)\.tar$|\.[^.]*$")


class TrainedModel(StrictModel):
    """Trained weights, as the hash `id` of those that are selected from a file, and their name.

    Models of one label share a recipe and differ by their seed.
    """

    label: str = pydantic.Field(pattern=NAME)
    seed: int
    file: str
    id: str

    @property
    def trial(self) -> Trial:
        """The model's name in rows and folders."""
        return Trial(self.label, self.seed)


class ImagesInfo(StrictModel):
    """The test data: the name that they were loaded by, a hash `id` of their content, and what else a report says.

    `outputs` is the number that a network needs for them, `calibrated_on` tells the data that converter ranges and
    compensations are estimated on, `notes` what inputs and labels are.
    """

    name: str
    id: str
    count: int
    outputs: int
    normalization: str
    calibrated_on: str
    notes: list[str] = pydantic.Field(default_factory=list)


def describe_images(data: DataSet) -> ImagesInfo:
    """Return the name and identity of test images."""
    facts = {key: getattr(data, key) for key in ("name", "id", "count", "outputs", "normalization")}
    return ImagesInfo(**facts, calibrated_on=data.calibration_source, notes=list(data.notes))


class EvaluationSpec(ExperimentSpec):
    """Trained models x targets x chips on one set of images.

    An evaluation can be continued with other values of `chips`, `precision` and `threshold`.

    Attributes:
        models: The trained models.
        selection: Which weights of their files were loaded.
        model: Their network.
        images: The test images.
        targets: Tables as in a comparison's spec, with cards written out.
        precision: Half-width of the 95 % interval over chips at which a model's evaluation stops, in the unit of the
            primary metric; `chips` is then the largest number of them.
        threshold: Value of the primary metric that a chip must reach to count for the yield.
        forward_precision: `bf16-mixed`: forward passes of the chips under autocast, see `ar.evaluate`.
        batch_size: Examples per batch. Only under targets that draw noise at every read can numbers depend on it.
    """

    kind: Literal["evaluation"] = "evaluation"
    models: list[TrainedModel] = pydantic.Field(min_length=1)
    selection: WeightSelection = pydantic.Field(default_factory=WeightSelection)
    model: ModelSpec
    images: ImagesInfo
    targets: list[Entry] = pydantic.Field(min_length=1)
    precision: float | None = None
    threshold: float | None = None
    forward_precision: Precision = "32-true"
    batch_size: int = pydantic.Field(default=EVALUATION_BATCH_SIZE, ge=1)

    @pydantic.model_validator(mode="after")
    def _check_precision(self) -> EvaluationSpec:
        check_precision(self.precision, self.chips)
        return self

    @pydantic.model_validator(mode="after")
    def _check_forward_precision(self) -> EvaluationSpec:
        for target in self.build_targets() if self.forward_precision != "32-true" else ():
            deployment = target.deployment if isinstance(target, CrossbarTarget) else None
            check_forward_precision(self.forward_precision, target.condition, deployment)
        return self

    @property
    def trials(self) -> list[Trial]:
        """The trained models, in their order."""
        return [model.trial for model in self.models]

    def build_targets(self) -> list[DeployableTarget]:
        """Return digital weights, then the targets in their order.

        Warnings about values outside a card's limits are suppressed: the evaluation issues them once, before it starts.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return [DigitalTarget(), *(deployable(built) for target in self.targets for built in build_targets(target))]

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for a run to continue in a folder; how weights and images are described may differ.

        The id of images follows from their normalization too.
        """
        paths: dict[str, Any] = {
            "models": {"__all__": {"file"}},
            "selection": True,
            "images": {"name", "notes", "normalization"},
        }
        free = {"chips": True, "precision": True, "threshold": True}
        if not any(map(_draws_at_reads, self.build_targets())):
            free["batch_size"] = True
        return self.model_dump(mode="json", exclude=free | paths)


def _draws_at_reads(target: DeployableTarget) -> bool:
    """Whether reads draw noise, so that numbers may depend on the batch (docs/explanation/noise-lifetimes.md)."""
    return isinstance(target, CrossbarTarget) and any(
        own.device.reads_with_noise or own.periphery.has_noise or own.crosssim is not None
        for own in target.condition.crossbars
    )


def parse_models(arguments: Sequence[str], ids: Sequence[str]) -> list[TrainedModel]:
    """Parse models from arguments `FILE` or `LABEL=FILE`, with the hash of each file.

    A repeated label is another seed of the same recipe.

    Raises:
        InputError: if a label is invalid, a file is given twice under one label, or two files name the same model.
    """
    models: list[TrainedModel] = []
    for argument, file_id in zip(arguments, ids, strict=True):
        label, seed, path = split_argument(argument)
        require_name(f"the label of a model, as in LABEL=FILE such as rwp={path},", label)
        others = {model.seed: model for model in models if model.label == label}
        if any(model.id == file_id for model in others.values()):
            raise InputError(f"{path} is given twice under {label!r}; each trained model counts once.")
        if seed in others:
            raise InputError(f"{others[seed].file} and {path} are both {Trial(label, seed)}; give each as LABEL=FILE.")
        if seed is None:
            seed = next(number for number in itertools.count() if number not in others)
        models.append(TrainedModel(label=label, seed=seed, file=str(path), id=file_id))
    return models


def split_argument(argument: str) -> tuple[str, int | None, Path]:
    """Split `FILE` or `LABEL=FILE` into (label, training seed or None, path).

    The label of a bare FILE or folder is its stem, or the name of the folder around it if a stem such as `checkpoint`
    names no model. `rwp-seed0`, as `compare` names folders, is seed 0 of `rwp`.
    """
    label, sign, file = argument.partition("=")
    if sign and "/" not in label:
        return label, None, Path(file)
    path = Path(argument)
    folder, stem = path.resolve().parent.name, ENDINGS.sub("", path.absolute().name)
    name = as_name(folder if stem.lower() in GENERIC_STEMS and folder else stem, "model")
    trial = re.fullmatch(r"(.+)-seed(\d{1,18})", name)
    return (trial[1], int(trial[2]), path) if trial else (name, None, path)
