"""The question of an evaluation: which weights, on which images, under which targets."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from aimc_robust.data.evaluation_set import EvaluationImages
from aimc_robust.errors import InputError
from aimc_robust.evaluation.evaluate import check_precision
from aimc_robust.io.toml import StrictModel
from aimc_robust.models.spec import ModelSpec
from aimc_robust.targets.command_line import check_deployable
from aimc_robust.targets.target import NAME, Target, build_targets

ANONYMOUS = ("checkpoint", "model", "best", "last", "weights", "pytorch_model")  # the folder says more than the file


class TrainedModel(StrictModel):
    """One file of weights. Models of one label share a recipe and differ by `seed`. id: the file's hash."""

    label: str = pydantic.Field(pattern=NAME)
    seed: int
    file: str
    id: str

    def __str__(self) -> str:
        return f"{self.label}-{self.seed}"


class Images(StrictModel):
    """The test images, as they were named, and what identifies them."""

    name: str
    id: str
    count: int
    classes: int
    normalisation: str
    calibrated_on: str


def describe_images(images: EvaluationImages) -> Images:
    """What a question says of its images."""
    return Images(
        name=images.name,
        id=images.id,
        count=images.count,
        classes=images.classes,
        normalisation=images.normalisation,
        calibrated_on=images.unlabelled_from,
    )


class EvaluationSpec(StrictModel):
    """Models x targets x chips on one set of images. `chips` and `precision` may change: more chips are added."""

    kind: Literal["evaluation"] = "evaluation"
    models: list[TrainedModel] = pydantic.Field(min_length=1)
    model: ModelSpec
    images: Images
    targets: list[Any] = pydantic.Field(min_length=1)  # tables as in a comparison's spec, cards written out
    seed: int = 0
    metrics: list[str] = pydantic.Field(default_factory=list)
    chips: int = pydantic.Field(default=25, ge=1)
    precision: float | None = None
    threshold: float | None = None  # of the yield [percent]

    @pydantic.model_validator(mode="after")
    def _can_stop(self) -> EvaluationSpec:
        check_precision(self.precision, self.chips)
        return self

    def built_targets(self) -> list[Target]:
        """Digital weights first, then the targets in their order. What leaves a card's limits has been told before."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return self._targets()

    def _targets(self) -> list[Target]:
        found = [built for target in self.targets for built in build_targets(target)]
        for target in found:
            check_deployable(target)
        return [Target("digital", None), *found]

    @property
    def labels(self) -> list[str]:
        """The models' labels, each once."""
        return list(dict.fromkeys(model.label for model in self.models))

    def identity(self) -> dict[str, Any]:
        """What may not change between two runs into one folder: weights and images themselves, wherever they lie."""
        places = {"models": {"__all__": {"file"}}, "images": {"name"}}
        return self.model_dump(mode="json", exclude={"chips": True, "precision": True, "threshold": True, **places})


def parse_models(arguments: Sequence[str], ids: Sequence[str]) -> list[TrainedModel]:
    """Models from arguments `FILE` or `LABEL=FILE`; a label given again is another seed of the same recipe."""
    seeds: Counter[str] = Counter()
    models = []
    for argument, file_id in zip(arguments, ids, strict=True):
        label, path = split_label(argument)
        if not re.fullmatch(NAME, label) or label == "digital":
            raise InputError(
                f"a label is up to 80 letters, digits, '.', '_' and '-', got {label!r}; give LABEL=FILE, such as "
                f"rwp={path}."
            )
        if any(model.label == label and model.id == file_id for model in models):
            raise InputError(f"{path} is given twice under {label!r}; each trained model counts once.")
        models.append(TrainedModel(label=label, seed=seeds[label], file=str(path), id=file_id))
        seeds[label] += 1
    return models


def split_label(argument: str) -> tuple[str, Path]:
    """(label, path) of `LABEL=FILE`, or of FILE, whose stem, or folder for a stem like `checkpoint`, is the label."""
    label, sign, file = argument.partition("=")
    if sign and "/" not in label:
        return label, Path(file)
    path = Path(argument)
    named = path.resolve().parent.name if path.stem.lower() in ANONYMOUS and path.resolve().parent.name else path.stem
    return re.sub(r"[^A-Za-z0-9._-]", "-", named), path
