"""The spec of a comparison: one TOML file that holds the whole question."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pydantic

from aimc_robust.analysis.diagnostics import DiagnosticsConfig
from aimc_robust.bench.from_table import from_table
from aimc_robust.bench.methods import build_method
from aimc_robust.bench.targets import NAME, Target, build_targets, with_card
from aimc_robust.errors import AimcError, InputError
from aimc_robust.toml_files import StrictModel, parse, read_values
from aimc_robust.training.augmentation import Augmentation
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.method import Method


class DataSpec(StrictModel):
    """Which images: `digits`, or `npz:PATH` (relative to the spec's folder) with x_train, y_train, x_test, y_test."""

    name: str
    test_share: float = pydantic.Field(default=1 / 3, gt=0, lt=1)  # of digits; a file brings its own test split
    validation_share: float = pydantic.Field(default=0.15, gt=0, lt=1)  # of the training images
    classes: int | None = pydantic.Field(default=None, ge=2)  # only images of the labels below this
    augmentation: dict[str, Any] = pydantic.Field(default_factory=dict)  # fields of Augmentation

    def built_augmentation(self) -> Augmentation:
        """What each training image goes through."""
        return from_table(Augmentation, self.augmentation, what="augmentation")


class ModelSpec(StrictModel):
    """A network and its options: `small-cnn`, `resnet`, `torchvision:NAME` or `package.module:function`."""

    name: str
    options: dict[str, Any] = pydantic.Field(default_factory=dict)


class Spec(StrictModel):
    """Methods x seeds x targets x chips on one data set and model."""

    name: str = pydantic.Field(pattern=NAME)
    question: str = "Which training method keeps the most accuracy when its weights are stored in analog memory?"
    seed: int = 0  # root of the data split and the chips
    seeds: list[Annotated[int, pydantic.Field(ge=0)]] = pydantic.Field(
        default=[0, 1, 2], min_length=1
    )  # one trained model of each method per seed
    chips: int = pydantic.Field(default=25, ge=1)
    targets: list[Any] = pydantic.Field(min_length=1)  # names and tables, see `targets.build_target`
    data: DataSpec
    model: ModelSpec
    training: dict[str, Any]  # fields of TrainingConfig
    methods: dict[str, dict[str, Any]] = pydantic.Field(min_length=1)
    diagnostics: dict[str, Any] | None = None  # fields of DiagnosticsConfig; without the table nothing is measured

    @pydantic.model_validator(mode="after")
    def _buildable(self) -> Spec:
        """Build everything once, so that a mistake is told before the first hour of training, not after it."""
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: each seed may appear once, got {self.seeds}")
        _told_where("training", self.config)
        _told_where("data", self.data.built_augmentation)
        _told_where("diagnostics", self.built_diagnostics)
        for label in self.methods:
            if not re.fullmatch(NAME, label):
                raise ValueError(f"methods: a label is up to 80 letters, digits, '.', '_' and '-', got {label!r}")
            _told_where(f"methods.{label}", lambda label=label: self.method(label, seed=0))
        names = [target.name for target in _told_where("targets", self.built_targets)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"targets: {', '.join(twice)} appears twice; give each its own name")
        return self

    def config(self) -> TrainingConfig:
        """The recipe that all methods share. No early_stopping keeps the last epoch."""
        table = dict(self.training)
        if "early_stopping" in table:
            table["early_stopping"] = from_table(EarlyStopping, table["early_stopping"], what="early_stopping")
        return from_table(TrainingConfig, table, what="training")

    def built_diagnostics(self) -> DiagnosticsConfig | None:
        """What is measured after each epoch of each training, on the same images and draws for all; None: nothing."""
        if self.diagnostics is None:
            return None
        return from_table(DiagnosticsConfig, self.diagnostics, what="diagnostics", given={"seed": self.seed})

    def method(self, label: str, *, seed: int) -> Method:
        """The method called `label`."""
        return build_method(label, self.methods[label], seed=seed)

    def built_targets(self) -> list[Target]:
        """The targets in the spec's order."""
        return [built for target in self.targets for built in build_targets(target)]

    @property
    def labels(self) -> list[str]:
        """The methods' names in the spec's order."""
        return list(self.methods)


def _told_where(where: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except AimcError as error:
        raise ValueError(f"{where}: {error}") from None


def load_spec(path: Path) -> Spec:
    """The spec in the TOML file `path`, with every device card that it names written out.

    So the result is the whole question: it does not change when a card does, and needs no other file but the data.
    Paths of cards start from the spec's folder. Raises InputError that names the file, the key and the remedy.
    """
    return spec_from(read_values(path, what="spec"), source=str(path), folder=path.parent)


def spec_from(values: dict[str, Any], *, source: str = "spec", folder: Path = Path()) -> Spec:
    """A spec from a dictionary of the same shape as the file; see `load_spec`."""
    values = dict(values)
    try:
        if isinstance(values.get("targets"), list):
            values["targets"] = [with_card(target, folder) for target in values["targets"]]
        if isinstance(values.get("methods"), dict):
            values["methods"] = {
                label: table | {"noise": with_card(table["noise"], folder)}
                if isinstance(table, dict) and "noise" in table
                else table
                for label, table in values["methods"].items()
            }
    except AimcError as error:
        raise InputError(f"{source}: {error}") from None
    return parse(values, Spec, source=source)
