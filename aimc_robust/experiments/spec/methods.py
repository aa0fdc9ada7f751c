"""The methods of a spec: one model per kind of table, made from the class of the method, whose fields are its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import pydantic

from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import InputError, require_whole
from aimc_robust.io.table_model import Table, as_validation_error, by_toml_type, partial_model, table_model
from aimc_robust.models.registry import ModelSpec
from aimc_robust.noise.base import WeightNoise
from aimc_robust.targets.build import build_target
from aimc_robust.targets.entries import Entry
from aimc_robust.targets.presets import expand_preset
from aimc_robust.targets.target import CrossbarTarget, NoiseTarget
from aimc_robust.tasks.distillation import Distillation
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.learned_ranges import LearnedRanges
from aimc_robust.training.methods.ramp import Ramp, RampShape
from aimc_robust.training.methods.registry import METHODS

OVERRIDES = ("data", "model", "training")  # tables that a method may override
NOISE_KEYS = ("noise", "crossbar", "faults")  # entries like those of targets
OF_TRAINING = {"task": None, "label_smoothing": 0.0}  # what a distillation takes from the training


class DistillationTable(table_model(Distillation, "DistillationKeys", fixed=OF_TRAINING, types={"teacher": str})):  # type: ignore[misc]
    """A distillation: the fields of `Distillation`; `teacher` is a file of weights, relative to the spec's folder."""

    fixed: ClassVar[dict[str, Any]] = {}


TRAINING_TYPES = {"distillation": DistillationTable | None}


class TrainingTable(table_model(TrainingConfig, "TrainingKeys", types=TRAINING_TYPES)):  # type: ignore[misc]
    """How models are trained: the fields of `TrainingConfig`."""


class RampTable(table_model(Ramp, "RampKeys", partial=True)):  # type: ignore[misc]
    """A ramp: the fields of `Ramp`, or `updates` out of a `run` of so many updates, a fraction of any run."""

    run: int | None = None
    fixed: ClassVar[dict[str, Any]] = {}

    def build(self, **fixed: Any) -> Ramp:
        """Return the ramp."""
        options = self.arguments()
        if "run" in options:
            run = options.pop("run")
            require_whole("`run` of a ramp", run, low=1)
            require_whole("`updates` of a ramp", options.get("updates"), low=1, high=run)
            options["fraction"] = options.pop("updates") / run
        return Ramp(**options)


class LearnedRangesTable(table_model(LearnedRanges, "LearnedRangesKeys", fixed={"start": None})):  # type: ignore[misc]
    """How ranges are learned: the fields of `LearnedRanges`."""

    def build(self, **fixed: Any) -> LearnedRanges:
        """Return the rule."""
        return LearnedRanges(**self.arguments())


class MethodTable(Table):
    """What the tables of all methods share.

    Attributes:
        kind: A name of `METHODS`.
        data: Keys of the spec's `data` that this method overrides.
        model: Keys of the spec's `model`.
        training: Keys of the spec's `training`.
    """

    data: partial_model(DataSpec, "DataOverride") | None = None  # type: ignore[valid-type]
    kind: str = ""
    model: partial_model(ModelSpec, "ModelOverride") | None = None  # type: ignore[valid-type]
    training: table_model(TrainingConfig, "TrainingOverride", types=TRAINING_TYPES, partial=True) | None = None  # type: ignore[valid-type]

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _expand(cls, values: Any, validate: pydantic.ModelWrapValidatorHandler[Any]) -> Any:
        """Give the crossbar the keys of the preset that it names, without how that is deployed."""
        if isinstance(values, dict):
            with as_validation_error():
                crossbars = {key: expand_preset(values[key], deployed=False) for key in NOISE_KEYS if key in values}
            values = values | crossbars
        return validate(values)

    def build(self, **fixed: Any) -> Method:
        """Return the method; `fixed` is `seed`, the root seed of its random draws."""
        options = self.arguments(without=("kind", *NOISE_KEYS, *OVERRIDES))
        if isinstance(options.get("ramp"), str):
            options["ramp"] = Ramp(shape=options["ramp"])
        entries = {key: getattr(self, key, None) for key in NOISE_KEYS}
        options |= {key: _training_noise(key, entry) for key, entry in entries.items() if entry is not None}
        return self.target(**options, **fixed)


def _training_noise(key: str, entry: Any) -> WeightNoise:
    """Return the noise, or the crossbar, that a method trains with."""
    noise = build_target(entry)
    if not isinstance(noise, NoiseTarget | CrossbarTarget):
        raise InputError(
            f"{key}: `{noise.name}` is not a noise to train with; name one such as gaussian-0.1, or a device."
        )
    if key in ("crossbar", "faults") and not isinstance(noise, CrossbarTarget):
        raise InputError(f"{key}: `{noise.name}` is a noise; name a device, or give a table with `device`.")
    if isinstance(noise, CrossbarTarget) and (noise.time_s or not noise.is_plain):
        advice = "training perturbs with programming errors only; remove time_s, backend, compensation and fold"
        if key == "faults":
            advice = "stuck devices have no time; remove time_s, backend, compensation and fold"
        if key == "crossbar":
            advice = "time_s and drift_compensation are keys of the method; remove backend, compensation and fold"
        raise InputError(f"{key}: {advice}.")
    return noise.condition


def _table_of(kind: str) -> Any:
    """Return the model of the tables of one kind of method."""
    types: dict[str, Any] = {"scope": Literal["weights", "all"]}
    types |= {
        "ramp": by_toml_type(RampShape, RampTable),
        "noise": Entry | None,
        "crossbar": Entry,
        "faults": Entry | None,
    }
    types |= {"ranges": by_toml_type(Literal["learned"], LearnedRangesTable) | None}  # others belong to a trained model
    own_kind: Any = (Literal[kind], kind)
    base = pydantic.create_model(f"{kind} kind", __base__=MethodTable, kind=own_kind)
    return table_model(METHODS[kind], kind, fixed={"seed": 0}, types=types, base=base)


if TYPE_CHECKING:
    MethodEntry = MethodTable
else:
    MethodEntry = Annotated[Union[tuple(map(_table_of, METHODS))], pydantic.Discriminator("kind")]  # noqa: UP007
