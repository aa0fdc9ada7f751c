"""The spec of a comparison: methods, training seeds and targets in one TOML file."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import pydantic

from aimc_robust.analysis.diagnostics import DiagnosticsConfig
from aimc_robust.data.spec import LOCATION_FIELDS, DataSpec
from aimc_robust.errors import AimcError, InputError
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.base import ExperimentSpec
from aimc_robust.experiments.spec.inheritance import deep_merge
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.experiments.spec.methods import build_method
from aimc_robust.experiments.spec.published_table import PaperSpec
from aimc_robust.io.dataclass_from_table import from_table
from aimc_robust.io.toml import parse
from aimc_robust.models.spec import ModelSpec
from aimc_robust.targets.build import build_targets
from aimc_robust.targets.target import NAME, Target
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.methods.base import Method

# Keys that change no number: diagnostics only observe a training, the others describe the spec.
DESCRIPTIVE_KEYS = frozenset({"diagnostics", "paper", "question", "scale", "multiply", "overrides"})
METHOD_TABLES = ("data", "model", "training")  # tables that a method may override


class ComparisonSpec(ExperimentSpec):
    """Methods x training seeds x targets x chips.

    `data`, `model` and `training` apply to every method. A method's table may contain tables of these names; their
    keys override the common ones, so that one comparison can hold several networks and data sets.

    Attributes:
        name: Name of the comparison.
        question: The question that the comparison answers; shown in the report.
        data_seed: Root seed of the data split and of the diagnostics.
        train_seeds: One model of each method is trained per seed.
        top5: Record the top-5 accuracy of each row too.
        targets: Names and tables, see `targets.target.build_target`.
        landscapes: Loss landscapes around every trained model.
        data: The data set.
        model: The network.
        training: Fields of `TrainingConfig`.
        methods: Label -> table of a method, see `spec.methods.build_method`.
        diagnostics: Fields of `DiagnosticsConfig`; None: no diagnostics.
        paper: The published table that the comparison reproduces.
        scale: Name of the scale that was applied, see `spec.inheritance.read_spec`.
        multiply: Factors of strengths that the scale applied.
        overrides: Overrides that were applied, as `KEY=VALUE`.
    """

    kind: Literal["comparison"] = "comparison"
    name: str = pydantic.Field(pattern=NAME)
    question: str = "Which training method keeps the most accuracy when its weights are stored in analog memory?"
    data_seed: int = 0
    train_seeds: list[Annotated[int, pydantic.Field(ge=0)]] = pydantic.Field(default=[0, 1, 2], min_length=1)
    top5: bool = False
    targets: list[Any] = pydantic.Field(min_length=1)
    landscapes: list[LandscapeSpec] = pydantic.Field(default_factory=list)
    data: DataSpec
    model: ModelSpec
    training: dict[str, Any]
    methods: dict[str, dict[str, Any]] = pydantic.Field(min_length=1)
    diagnostics: dict[str, Any] | None = None
    paper: PaperSpec | None = None
    scale: str | None = None
    multiply: dict[str, float] = pydantic.Field(default_factory=dict)
    overrides: list[str] = pydantic.Field(default_factory=list)

    @pydantic.model_validator(mode="after")
    def _check_components(self) -> ComparisonSpec:
        """Build every component eagerly so that configuration errors surface before training starts."""
        if len(set(self.train_seeds)) != len(self.train_seeds):
            raise ValueError(f"train_seeds: each seed may appear once, got {self.train_seeds}")
        with _error_prefix("training"):
            self.config()
        with _error_prefix("data"):
            self.data.build_augmentation()
        with _error_prefix("diagnostics"):
            self.build_diagnostics()
        self._check_methods()
        with _error_prefix("targets"):
            targets = self.build_targets()
        self._check_targets(targets)
        if self.paper is not None:
            with _error_prefix("paper"):
                names = [target.name for target in targets]
                self.paper.check_references(self.labels, names, partial=self.scale is not None)
        return self

    def _check_methods(self) -> None:
        for label in self.methods:
            if not re.fullmatch(NAME, label):
                raise ValueError(f"methods: a label is up to 80 letters, digits, '.', '_' and '-', got {label!r}")
            with _error_prefix(f"methods.{label}"):
                self.method(label, seed=0)
                self.config_of(label)
                self.model_of(label)
                self.data_of(label).build_augmentation()

    def _check_targets(self, targets: Sequence[Target]) -> None:
        names = [target.name for target in targets] + [landscape.name for landscape in self.landscapes]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(f"targets: {', '.join(duplicates)} appears twice; give each its own name")
        for label in self.methods:
            measured: Iterable[Target | LandscapeSpec] = itertools.chain(targets, self.landscapes)
            for one in measured:
                with _error_prefix(f"{'landscapes' if isinstance(one, LandscapeSpec) else 'targets'}.{one.name}"):
                    one.selection(self.config_of(label))

    @property
    def labels(self) -> list[str]:
        """Labels of the methods, in the order of the spec."""
        return list(self.methods)

    @property
    def trials(self) -> list[Trial]:
        """All trials, seed by seed, so that an early look compares all methods."""
        return [Trial(label, seed) for seed in self.train_seeds for label in self.labels]

    def config(self) -> TrainingConfig:
        """Return the training configuration that all methods share."""
        return _training_config(self.training)

    def config_of(self, label: str) -> TrainingConfig:
        """Return the training configuration of the method `label`."""
        return _training_config(deep_merge(self.training, self._method_override(label, "training")))

    def data_of(self, label: str) -> DataSpec:
        """Return the data set of the method `label`."""
        override = self._method_override(label, "data")
        return parse(deep_merge(self.data.model_dump(), override), DataSpec, source="data") if override else self.data

    def model_of(self, label: str) -> ModelSpec:
        """Return the network of the method `label`."""
        override = self._method_override(label, "model")
        common = self.model.model_dump()
        if override.get("name", common["name"]) != common["name"]:
            common = {}  # another network has other options
        return parse(deep_merge(common, override), ModelSpec, source="model") if override else self.model

    def _method_override(self, label: str, table: str) -> dict[str, Any]:
        override = self.methods[label].get(table, {})
        if not isinstance(override, dict):
            raise InputError(f"{table} of a method must be a table of the keys that differ, got {override!r}.")
        return override

    def method_table(self, label: str) -> dict[str, Any]:
        """Return the method's table without the tables that override `data`, `model` or `training`."""
        return {key: value for key, value in self.methods[label].items() if key not in METHOD_TABLES}

    def method(self, label: str, *, seed: int) -> Method:
        """Build the method `label`. `seed` is the root of its random draws."""
        return build_method(label, self.method_table(label), seed=seed)

    def build_targets(self) -> list[Target]:
        """Build the targets, in the order of the spec."""
        return [built for target in self.targets for built in build_targets(target)]

    def build_diagnostics(self) -> DiagnosticsConfig | None:
        """Return what is measured after each epoch, with the same images and draws for every training, or None."""
        if self.diagnostics is None:
            return None
        return from_table(DiagnosticsConfig, self.diagnostics, name="diagnostics", fixed={"seed": self.data_seed})

    def recipe(self, label: str, seed: int) -> str:
        """Return a hash of everything that decides a trained model: its key in a shared model folder.

        The hash is equal in every spec that trains the same model, whatever its label there. Default values are left
        out, so that a new setting does not invalidate older models. The source code of a user's network is included.

        Args:
            label: Label of the method.
            seed: Training seed.
        """
        table, code = self.method_table(label), self.model_of(label).source_digest
        content = {
            "data": self.data_of(label).model_dump(mode="json", exclude_defaults=True, exclude=set(LOCATION_FIELDS)),
            "model": self.model_of(label).model_dump(mode="json", exclude_defaults=True),
            "training": deep_merge(self.training, self._method_override(label, "training")),
            "method": {"kind": label} | table,
            "diagnostics": self.diagnostics,
            "seeds": [self.data_seed, seed],
        } | ({} if code is None else {"code": code})
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return everything that decides a number, as plain values.

        Two results folders can be continued or merged if their specs have equal identities.
        """
        values = self.model_dump(mode="json", exclude=set(DESCRIPTIVE_KEYS))
        for table in (values["data"], *(method.get("data", {}) for method in values["methods"].values())):
            for key in LOCATION_FIELDS:
                table.pop(key, None)
        return values


def _training_config(table: dict[str, Any]) -> TrainingConfig:
    table = dict(table)
    if "early_stopping" in table:
        table["early_stopping"] = from_table(EarlyStopping, table["early_stopping"], name="early_stopping")
    return from_table(TrainingConfig, table, name="training")


@contextmanager
def _error_prefix(location: str) -> Iterator[None]:
    """Turn an AimcError into a ValueError, as pydantic expects, that starts with the location in the spec."""
    try:
        yield
    except AimcError as error:
        raise ValueError(f"{location}: {error}") from None
