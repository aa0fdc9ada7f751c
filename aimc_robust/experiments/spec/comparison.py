"""The spec of a comparison: methods, training seeds and targets in one TOML file."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import pydantic

from aimc_robust.analysis.diagnostics import DiagnosticsConfig
from aimc_robust.data.spec import LOCATION_FIELDS, DataSpec
from aimc_robust.errors import InputError
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.base import ExperimentSpec
from aimc_robust.experiments.spec.inheritance import deep_merge
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.experiments.spec.methods import OVERRIDES, MethodEntry, TrainingTable
from aimc_robust.experiments.spec.task import SCORE, default_task
from aimc_robust.io.table_model import as_validation_error, table_model
from aimc_robust.io.toml import parse
from aimc_robust.io.user_code import is_reference
from aimc_robust.models.registry import ModelSpec
from aimc_robust.targets.build import build_targets
from aimc_robust.targets.entries import Entry
from aimc_robust.targets.target import NAME, Target, require_name
from aimc_robust.tasks.model_score import no_loss
from aimc_robust.tasks.regression import refuse_label_smoothing
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.methods.base import Method
from aimc_robust.training.recipe import recipe_fingerprint

# Keys that change no number: diagnostics only observe a training, the others describe the spec.
DESCRIPTIVE_KEYS = frozenset({"diagnostics", "question", "report_sections", "scale", "multiply", "overrides"})

Label = Annotated[str, pydantic.AfterValidator(lambda label: require_name("a label", label, reserved=""))]


class ComparisonSpec(ExperimentSpec):
    """Methods x training seeds x targets x chips.

    `data`, `model` and `training` apply to every method. A method's table may contain tables of these names; their
    keys override the common ones, so that one comparison can hold several networks and data sets.

    Attributes:
        name: Name of the comparison.
        question: The question that the comparison answers; shown in the report.
        data_seed: Root seed of the data split and of the diagnostics.
        train_seeds: One model of each method is trained per seed.
        targets: Names and tables, see `targets.target.build_target`.
        landscapes: Loss landscapes around every trained model.
        data: The data set.
        model: The network.
        training: Fields of `TrainingConfig`.
        methods: Label -> method, see `spec.methods`; `kind` is the label where it is left out.
        diagnostics: Fields of `DiagnosticsConfig`; None: no diagnostics.
        report_sections: Functions `package.module:function` that add a section to the report: docs/how-to/extend.md.
        scale: Name of the scale that was applied, see `spec.inheritance.read_spec`.
        multiply: Factors of strengths that the scale applied.
        overrides: Overrides that were applied, as `KEY=VALUE`.
    """

    kind: Literal["comparison"] = "comparison"
    name: str = pydantic.Field(pattern=NAME)
    question: str = "Which training method loses least when its weights are stored in analog memory?"
    data_seed: int = 0
    train_seeds: list[Annotated[int, pydantic.Field(ge=0)]] = pydantic.Field(default=[0, 1, 2], min_length=1)
    targets: list[Entry] = pydantic.Field(min_length=1)
    landscapes: list[LandscapeSpec] = pydantic.Field(default_factory=list)
    data: DataSpec
    model: ModelSpec
    training: TrainingTable
    methods: dict[Label, MethodEntry] = pydantic.Field(min_length=1)
    diagnostics: table_model(DiagnosticsConfig, "DiagnosticsTable", fixed={"seed": 0}) | None = None  # type: ignore[valid-type]
    report_sections: list[str] = pydantic.Field(default_factory=list)
    scale: str | None = None
    multiply: dict[str, float] = pydantic.Field(default_factory=dict)
    overrides: list[str] = pydantic.Field(default_factory=list)

    @pydantic.field_validator("methods", mode="before")
    @classmethod
    def _default_kinds(cls, methods: Any) -> Any:
        if not isinstance(methods, dict):
            return methods
        tables = {label: table for label, table in methods.items() if isinstance(table, dict)}
        return methods | {label: {"kind": label} | table for label, table in tables.items()}

    @pydantic.model_validator(mode="after")
    def _check_components(self) -> ComparisonSpec:
        """Check what several parts say together, so that errors surface before training starts."""
        if self.task.kind == SCORE:
            with as_validation_error("task"):
                raise no_loss()
        if len(set(self.train_seeds)) != len(self.train_seeds):
            raise ValueError(f"train_seeds: each seed may appear once, got {self.train_seeds}")
        for label in self.methods:
            with as_validation_error(f"methods.{label}"):
                config = self.config_of(label)
                if self.task.kind in ("regression", "multilabel"):
                    refuse_label_smoothing(config.label_smoothing)
                self._check_teacher(config, self.model_of(label))
                self.data_of(label)
        with as_validation_error("targets"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # given when they are built to be used
            targets = self.build_targets()
        self._check_targets(targets)
        for reference in self.report_sections:
            if not is_reference(reference):
                raise ValueError(f"report_sections: expected package.module:function, got {reference!r}")
        return self

    def _check_teacher(self, config: TrainingConfig, model: ModelSpec) -> None:
        if config.distillation is not None and config.distillation.teacher is None and model.weights is None:
            raise InputError(
                "training.distillation learns from the model that training starts from, which is not trained: give "
                "its file as model.weights, or that of another teacher as training.distillation.teacher."
            )

    def _check_targets(self, targets: Sequence[Target]) -> None:
        names = [target.name for target in targets] + [landscape.name for landscape in self.landscapes]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(f"targets: {', '.join(duplicates)} appears twice; give each its own name")
        for label in self.methods:
            measured: Iterable[Target | LandscapeSpec] = itertools.chain(targets, self.landscapes)
            for one in measured:
                with as_validation_error(f"{'landscapes' if isinstance(one, LandscapeSpec) else 'targets'}.{one.name}"):
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
        return self._config(self.training.model_dump(mode="json"))

    def config_of(self, label: str) -> TrainingConfig:
        """Return the training configuration of the method `label`."""
        return self._config(self._merged(label, "training"))

    def _config(self, keys: dict[str, Any]) -> TrainingConfig:
        """Return a training configuration; label smoothing, unless given, is for classification only."""
        default = {} if self.task.kind == "classification" else {"label_smoothing": 0.0}
        return parse(default | keys, TrainingTable, source="training").build()

    def data_of(self, label: str) -> DataSpec:
        """Return the data set of the method `label`."""
        return parse(self._merged(label, "data"), DataSpec, source="data")

    def model_of(self, label: str) -> ModelSpec:
        """Return the network of the method `label`."""
        return parse(self._merged(label, "model"), ModelSpec, source="model")

    def _merged(self, label: str, table: str) -> dict[str, Any]:
        """Return the keys of a table of the spec with those that the method overrides."""
        common = {table: getattr(self, table).model_dump(mode="json")}
        return deep_merge(common, self.overrides_of(label))[table]

    def overrides_of(self, label: str) -> dict[str, dict[str, Any]]:
        """Return the keys of `data`, `model` and `training` that the method `label` overrides."""
        table = self.methods[label].model_dump(mode="json")
        return {key: table[key] for key in OVERRIDES if key in table}

    def method_table(self, label: str) -> dict[str, Any]:
        """Return the method's keys as they are written, without the tables that override others."""
        table = self.methods[label].model_dump(mode="json")
        return {key: value for key, value in table.items() if key not in OVERRIDES}

    def method(self, label: str, *, seed: int) -> Method:
        """Build the method `label`. `seed` is the root of its random draws."""
        return self.methods[label].build(seed=seed)

    def build_targets(self) -> list[Target]:
        """Build the targets, in the order of the spec."""
        return [built for target in self.targets for built in build_targets(target)]

    def build_diagnostics(self) -> DiagnosticsConfig | None:
        """Return what is measured after each epoch, with the same images and draws for every training, or None."""
        return None if self.diagnostics is None else self.diagnostics.build(seed=self.data_seed)

    def files_of(self, label: str) -> list[str]:
        """Return the files of weights that the trainings of the method `label` read: their start and their teacher."""
        distillation = self.config_of(label).distillation
        files = (self.model_of(label).weights, None if distillation is None else distillation.teacher)
        return list(dict.fromkeys(str(file) for file in files if file is not None))

    def recipe(self, label: str, seed: int) -> str:
        """Return the fingerprint of the training of a method and seed: its key in a shared model folder.

        It is equal in every spec that trains the same model, whatever its label there.
        """
        data, network, diagnostics = self.data_of(label), self.model_of(label), self.diagnostics
        images = data.model_dump(mode="json", exclude_defaults=True, exclude=set(LOCATION_FIELDS))
        columns = None if diagnostics is None else diagnostics.model_dump(mode="json")  # of the history
        task = (
            [] if self.task == default_task() else [self.task.model_dump(), self.code_digests.get(self.task.code or "")]
        )
        files = {file: self.code_digests.get(file) for file in self.files_of(label)}
        return recipe_fingerprint(
            [network.model_dump(mode="json", exclude_defaults=True), network.source_digest],
            [images, self.data_seed, columns, *task, *([files] if files else [])],
            self.method(label, seed=seed),
            self.config_of(label),
            data.build_augmentation(),
            seed,
        )

    def identity(self) -> dict[str, Any]:
        """Return everything that decides a number, as plain values.

        Two results folders can be continued or merged if their specs have equal identities. That covers many trainings
        and how they are evaluated, and so is another thing than the fingerprint of one training; and it is values, not
        a hash, so that a message can name what differs.
        """
        values = self.model_dump(mode="json", exclude=set(DESCRIPTIVE_KEYS))
        for table in (values["data"], *(method.get("data") or {} for method in values["methods"].values())):
            for key in LOCATION_FIELDS:
                table.pop(key, None)
        augmentation, fields = self.data.augmentation, type(self.data.augmentation).model_fields
        values["data"]["augmentation"] = {  # a default that is written out is no difference
            key: value
            for key, value in values["data"]["augmentation"].items()
            if getattr(augmentation, key) != fields[key].default
        }
        return values

    def run_identity(self) -> dict[str, Any]:
        """Return `identity` without the training seeds: how many models there are changes none of them."""
        return {key: value for key, value in self.identity().items() if key != "train_seeds"}

    def differences_to_continue(self, stored: ExperimentSpec) -> list[str]:
        """Return what keeps the results of the spec `stored` from being continued; other training seeds do not."""
        return stored.differences(self.model_copy(update={"train_seeds": getattr(stored, "train_seeds", None)}))
