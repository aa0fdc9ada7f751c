"""Entries of a spec's targets: one model per kind of table, which builds its target."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import pydantic

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.library import DEVICE_ADVICE, card_names, preset_names
from aimc_robust.errors import InputError, require_known, unknown_name
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Backend, Compensation, Deployment
from aimc_robust.hardware.config.placement import check_time_of
from aimc_robust.io.table_model import Table, as_validation_error, table_model
from aimc_robust.io.user_code import construct, is_reference
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.targets.layer_entries import CROSSBAR_TYPES, LayerPlaces, build_placement, fill_card
from aimc_robust.targets.presets import expand_preset
from aimc_robust.targets.target import (
    NAME,
    AscentTarget,
    CrossbarTarget,
    DigitalTarget,
    NoiseTarget,
    RadiusTarget,
    Split,
    Target,
    as_name,
    require_name,
    time_label,
)

NOISES: dict[str, type[Gaussian] | type[Laplace]] = {"gaussian": Gaussian, "laplace": Laplace}
KINDS: dict[str, type[WeightNoise] | type[Target]] = {
    **NOISES,
    "ascent": AscentTarget,
}
"""`noise` of a target's table -> the weight noise, or the target, whose arguments are the other keys."""
NAMED_NOISE = re.compile(r"(gaussian|laplace)-(\d+(?:\.\d+)?)")


Compensations = Annotated[
    list[Compensation],
    pydantic.BeforeValidator(
        lambda value: [value] if isinstance(value, str) else value,
        json_schema_input_type=Compensation | list[Compensation],
    ),
]
"""A single name, as on a command line, is a list of one."""
Name = Annotated[str, pydantic.AfterValidator(lambda name: require_name("the name of a target", name))]


class TargetTable(Table):
    """What all tables of targets share; the other keys are the arguments of the target, unless `build` says otherwise.

    Attributes:
        split: Images that are evaluated.
        selected_at: Sigma of early stopping whose selected epoch is evaluated.
        code_digests: Digests of the user's code, recorded with results.
    """

    stored_keys: ClassVar[frozenset[str]] = frozenset({"code_digests"})

    name: Name | None
    split: Split = "test"
    selected_at: pydantic.NonNegativeFloat | None = None
    code_digests: dict[str, str] = pydantic.Field(default_factory=dict)

    def build(self, **fixed: Any) -> Target:
        """Return the target."""
        return self.target(**self.arguments(without=("noise", "code_digests")))

    @property
    def common(self) -> dict[str, Any]:
        """Arguments that all targets share."""
        return {"split": self.split, "selected_at": self.selected_at}


class DigitalTable(table_model(DigitalTarget, "DigitalKeys", base=TargetTable)):  # type: ignore[misc]
    """Digital weights, on the images of `split`."""

    name: str = pydantic.Field(pattern=NAME)


class RadiusTable(table_model(RadiusTarget, "RadiusKeys", base=TargetTable)):  # type: ignore[misc]
    """Gaussian noise of L2 length `radius`."""

    name: Name
    noise: Literal["gaussian"]


class NoiseTable(TargetTable):
    """A noise of this package: the other keys are its arguments."""

    name: Name

    def build(self, **fixed: Any) -> Target:
        """Return the target."""
        noise = self.target(**self.arguments(without=(*TargetTable.model_fields, "noise")))
        return NoiseTarget(self.name, noise, **self.common)


def _table_of(kind: str) -> Any:
    """Return the model of the tables of one of KINDS."""
    base = TargetTable if issubclass(KINDS[kind], Target) else NoiseTable
    own_kind: Any = Literal[kind]
    named = pydantic.create_model(f"{kind} kind", __base__=base, name=(Name, ...), noise=(own_kind, ...))
    return table_model(KINDS[kind], kind, base=named)


class UserNoiseTable(TargetTable):
    """A weight noise of the user's own; all further keys are arguments of its function."""

    model_config = pydantic.ConfigDict(extra="allow")

    name: Name | None = None
    noise: Annotated[str, pydantic.Field(json_schema_extra={"pattern": ":"})]

    def build(self, **fixed: Any) -> Target:
        """Return the target."""
        if not is_reference(self.noise):
            require_known("noise", self.noise, KINDS)
        options = self.model_extra
        noise = construct(self.noise, WeightNoise, what="noise", options=options)  # type: ignore[type-abstract]  # python/mypy#4717
        return NoiseTarget(self.name or as_name(self.noise.partition(":")[2], "noise"), noise, **self.common)


class CrossbarTable(table_model(Crossbar, "CrossbarOptions", types=CROSSBAR_TYPES, base=TargetTable)):  # type: ignore[misc]
    """Weights programmed onto a crossbar: the arguments of `Crossbar`, and how it is deployed."""

    name: Name | None = None
    time_s: float = 0.0
    backend: Backend = "native"
    compensation: Compensations = pydantic.Field(default_factory=list)
    fold: bool = True
    layers: LayerPlaces | None = None
    preset: str | None = None

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _expand(cls, values: Any, validate: pydantic.ModelWrapValidatorHandler[Any]) -> Any:
        """Give the table the keys of the preset that it names."""
        with as_validation_error():
            expanded = expand_preset(values)
        return validate(expanded)

    _card = pydantic.field_validator("device", mode="after", check_fields=False)(fill_card)

    def build(self, **fixed: Any) -> Target:
        """Return the target. Raise InputError, or warn, if its time leaves the limits of the device."""
        crossbar = Crossbar(**self.arguments(without=(*CrossbarTable.__annotations__, *TargetTable.model_fields)))
        placement = None if self.layers is None else build_placement(crossbar, self.layers)
        check_time_of(placement or crossbar, self.time_s)
        label = f"-{time_label(self.time_s)}" if self.time_s else ""
        name = self.name or as_name(crossbar.device.cell.name + label, "device")
        deployment = Deployment(fold=self.fold, backend=self.backend, compensation=tuple(self.compensation))
        return CrossbarTarget(name, crossbar, deployment, self.time_s, placement=placement, **self.common)


def build_named(name: str) -> Target:
    """Build a target that is only a name: `digital`, a noise and its strength, a device of the library."""
    noise = NAMED_NOISE.fullmatch(name)
    if name == "digital":
        return DigitalTarget()
    if noise:
        return NoiseTarget(name, NOISES[noise[1]](float(noise[2])))
    if is_reference(name):
        table = reference_table(name)
        return (CrossbarTable if "device" in table else UserNoiseTable).model_validate(table).build()
    if name in preset_names():
        return CrossbarTable.model_validate({"device": name}).build()
    if name not in card_names():
        known = ["digital", "gaussian-0.1", "laplace-0.1", *card_names(), *preset_names()]
        raise unknown_name("target", name, known, advice=DEVICE_ADVICE)
    return CrossbarTarget(name, Crossbar(name))


def reference_table(reference: str) -> dict[str, Any]:
    """Return the table of a target that is only the import path of a cell model or a weight noise.

    Raises:
        InputError: if the import path leads to neither, nor to a function without arguments that returns one.
    """
    built = construct(reference, object, what="target")
    if isinstance(built, CellModel):
        return {"device": reference}
    if isinstance(built, WeightNoise):
        return {"noise": reference}
    raise InputError(f"target {reference} returned {type(built).__name__}; expected a CellModel or a WeightNoise.")


def _known_target(name: str) -> str:
    with as_validation_error():
        build_named(name)
    return name


def _kind(entry: Any) -> str:
    """Return the tag of a target's entry."""
    if isinstance(entry, str):
        return "<name>"
    table = entry if isinstance(entry, dict) else entry.__dict__ if isinstance(entry, Table) else None
    if table is None:
        return ""
    if "device" in table:
        return "<device>"
    noise = table.get("noise")
    if noise is None:
        return "<digital>" if "split" in table or table.get("name") == "digital" else ""
    if noise == "gaussian" and "radius" in table:
        return "<radius>"
    return f"<{noise}>" if isinstance(noise, str) and noise in KINDS else "<user noise>"


_ENTRIES: dict[str, Any] = {
    "<name>": Annotated[str, pydantic.AfterValidator(_known_target)],
    "<device>": CrossbarTable,
    **{f"<{kind}>": _table_of(kind) for kind in KINDS},
    "<radius>": RadiusTable,
    "<user noise>": UserNoiseTable,
    "<digital>": DigitalTable,
}
if TYPE_CHECKING:
    Entry = TargetTable | str
else:
    Entry = Annotated[
        Union[tuple(Annotated[kind, pydantic.Tag(tag)] for tag, kind in _ENTRIES.items())],  # noqa: UP007
        pydantic.Discriminator(
            _kind,
            custom_error_type="target",
            custom_error_message="expected a name, or a table with `device`, `noise` or `split`",
        ),
    ]
    """An entry of a spec's targets."""
