"""The spec of a comparison: one TOML file that holds the whole question."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic

from aimc_robust.analysis.diagnostics import DiagnosticsConfig
from aimc_robust.data.spec import WHEREABOUTS, DataSpec
from aimc_robust.errors import AimcError, InputError
from aimc_robust.experiments.spec.loading import deep_merge, read_spec
from aimc_robust.experiments.spec.methods import build_method
from aimc_robust.experiments.spec.published_table import PaperSpec, insert_published_values
from aimc_robust.io.from_table import from_table
from aimc_robust.io.toml import StrictModel, parse
from aimc_robust.models.spec import ModelSpec
from aimc_robust.models.user_code import source_digest
from aimc_robust.targets.target import NAME, Target, build_targets, with_card
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.methods.base import Method

# What may change between runs: it decides no number. Diagnostics only watch a training, the rest is said of it.
WATCHING = frozenset({"diagnostics", "paper", "question", "scale", "multiply", "overrides"})
METHOD_TABLES = ("data", "model", "training")  # what a method may have of its own


class ComparisonSpec(StrictModel):
    """Methods x seeds x targets x chips.

    `data`, `model` and `training` are those of all methods but where a method's table holds tables of these names,
    which are laid over them: so one comparison can hold several networks and data sets. scale, multiply, overrides:
    how the question was made from its file (`spec_file.read_spec`). paper: the published table that it reproduces.
    """

    name: str = pydantic.Field(pattern=NAME)
    question: str = "Which training method keeps the most accuracy when its weights are stored in analog memory?"
    seed: int = 0  # root of the data split and the chips
    seeds: list[Annotated[int, pydantic.Field(ge=0)]] = pydantic.Field(
        default=[0, 1, 2], min_length=1
    )  # one trained model of each method per seed
    chips: int = pydantic.Field(default=25, ge=1)
    top5: bool = False  # keep the top-5 accuracy of each row too
    targets: list[Any] = pydantic.Field(min_length=1)  # names and tables, see `targets.build_target`
    data: DataSpec
    model: ModelSpec
    training: dict[str, Any]  # fields of TrainingConfig
    methods: dict[str, dict[str, Any]] = pydantic.Field(min_length=1)
    diagnostics: dict[str, Any] | None = None  # fields of DiagnosticsConfig; without the table nothing is measured
    paper: PaperSpec | None = None
    scale: str | None = None
    multiply: dict[str, float] = pydantic.Field(default_factory=dict)
    overrides: list[str] = pydantic.Field(default_factory=list)

    @pydantic.model_validator(mode="after")
    def _buildable(self) -> ComparisonSpec:
        """Build everything once, so that a mistake is told before the first hour of training, not after it."""
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: each seed may appear once, got {self.seeds}")
        _told_where("training", self.config)
        _told_where("data", self.data.built_augmentation)
        _told_where("diagnostics", self.build_diagnostics)
        for label in self.methods:
            if not re.fullmatch(NAME, label):
                raise ValueError(f"methods: a label is up to 80 letters, digits, '.', '_' and '-', got {label!r}")
            _told_where(f"methods.{label}", lambda label=label: self.method(label, seed=0))
            for part in (self.config_of, self.model_of, lambda label: self.data_of(label).built_augmentation()):
                _told_where(f"methods.{label}", lambda label=label, part=part: part(label))
        targets = _told_where("targets", self.build_targets)
        names = [target.name for target in targets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"targets: {', '.join(twice)} appears twice; give each its own name")
        if targets and all(target.landscape is not None for target in targets):
            raise ValueError('targets: a landscape has no accuracy to compare; add another, such as "digital"')
        for label in self.methods:
            for target in targets:
                _told_where(f"targets.{target.name}", lambda t=target, label=label: t.selection(self.config_of(label)))
        if self.paper is not None:
            scored = [target.name for target in targets if target.landscape is None]
            _told_where("paper", lambda: self.paper.resolved(self.labels, scored, partial=self.scale is not None))
        return self

    def config(self) -> TrainingConfig:
        """The recipe that all methods share. No early_stopping keeps the last epoch."""
        return _config(self.training)

    def config_of(self, label: str) -> TrainingConfig:
        """The recipe of one method."""
        return _config(deep_merge(self.training, self._own(label, "training")))

    def data_of(self, label: str) -> DataSpec:
        """The images of one method."""
        own = self._own(label, "data")
        return parse(deep_merge(self.data.model_dump(), own), DataSpec, source="data") if own else self.data

    def model_of(self, label: str) -> ModelSpec:
        """The network of one method."""
        own = self._own(label, "model")
        kept = self.model.model_dump()
        if own.get("name", kept["name"]) != kept["name"]:
            kept = {}  # another network has other options
        return parse(deep_merge(kept, own), ModelSpec, source="model") if own else self.model

    def _own(self, label: str, part: str) -> dict[str, Any]:
        own = self.methods[label].get(part, {})
        if not isinstance(own, dict):
            raise InputError(f"{part} of a method is a table of what differs, got {own!r}.")
        return own

    def method_table(self, label: str) -> dict[str, Any]:
        """What the spec says of the method itself, without the tables of its own."""
        return {key: value for key, value in self.methods[label].items() if key not in METHOD_TABLES}

    def recipe(self, label: str, seed: int) -> str:
        """A name for all that decides a trained model: equal in every spec that trains it, whatever its label there.

        What is at its default is left out, so that a new setting does not disown what was trained before it came. The
        code of a network of the user's own is part of it.
        """
        table, code = self.method_table(label), source_digest(self.model_of(label).name)
        content = {
            "data": self.data_of(label).model_dump(mode="json", exclude_defaults=True, exclude=WHEREABOUTS),
            "model": self.model_of(label).model_dump(mode="json", exclude_defaults=True),
            "training": deep_merge(self.training, self._own(label, "training")),
            "method": {"kind": label} | table,
            "diagnostics": self.diagnostics,
            "seeds": [self.seed, seed],
        } | ({} if code is None else {"code": code})
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).hexdigest()

    def build_diagnostics(self) -> DiagnosticsConfig | None:
        """What is measured after each epoch of each training, on the same images and draws for all; None: nothing."""
        if self.diagnostics is None:
            return None
        return from_table(DiagnosticsConfig, self.diagnostics, what="diagnostics", given={"seed": self.seed})

    def method(self, label: str, *, seed: int) -> Method:
        """The method called `label`."""
        return build_method(label, self.method_table(label), seed=seed)

    def build_targets(self) -> list[Target]:
        """The targets in the spec's order."""
        return [built for target in self.targets for built in build_targets(target)]

    def asked(self) -> dict[str, Any]:
        """All that decides a number, as plain values: what two folders must share to hold the same results."""
        values = self.model_dump(mode="json", exclude=WATCHING)
        for table in (values["data"], *(method.get("data", {}) for method in values["methods"].values())):
            for key in WHEREABOUTS:
                table.pop(key, None)
        return values

    @property
    def labels(self) -> list[str]:
        """The methods' names in the spec's order."""
        return list(self.methods)


def _config(table: dict[str, Any]) -> TrainingConfig:
    table = dict(table)
    if "early_stopping" in table:
        stopping = from_table(EarlyStopping, table["early_stopping"], what="early_stopping")
        table["early_stopping"] = stopping
    return from_table(TrainingConfig, table, what="training")


def _told_where(where: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except AimcError as error:
        raise ValueError(f"{where}: {error}") from None


def load_spec(path: Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> ComparisonSpec:
    """The spec in the TOML file `path`, with every sweep and every device card that it names written out.

    So the result is the whole question: it does not change when a card does, and needs no other file but the data.
    scale: one of the spec's tables `[scale.NAME]`, laid over it. overrides: texts such as `training.epochs=2`, laid
    over that. Paths of cards and published figures start from the spec's folder. Raises InputError that names the file,
    the key and the remedy.
    """
    return spec_from_dict(read_spec(path, scale=scale, overrides=overrides), source=str(path), folder=path.parent)


def spec_from_dict(values: dict[str, Any], *, source: str = "spec", folder: Path = Path()) -> ComparisonSpec:
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
        if isinstance(values.get("paper"), dict):
            values["paper"] = insert_published_values(values["paper"], folder)
    except AimcError as error:
        raise InputError(f"{source}: {error}") from None
    return parse(values, ComparisonSpec, source=source)
