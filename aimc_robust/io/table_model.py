"""Models of a spec's tables, made from the classes that the tables describe: their arguments are the schema."""

from __future__ import annotations

import inspect
import types
import typing
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

import pydantic

from aimc_robust.errors import AimcError
from aimc_robust.io.toml import StrictModel

TOML_TYPES = {str: "text", bool: "flag", int: "number", float: "number", list: "list", tuple: "list", dict: "table"}


@contextmanager
def as_validation_error(location: str = "") -> Iterator[None]:
    """Turn an AimcError into a ValueError, as pydantic expects, that starts with the location in the spec."""
    try:
        yield
    except AimcError as error:
        raise ValueError(f"{location}: {error}" if location else str(error)) from None


class Table(StrictModel):
    """Base of the models that `table_model` makes. It is dumped as it was written, without defaults.

    Attributes:
        target: The class whose arguments the keys are.
        fixed: Arguments that the table may not set -> a value to try it with when it is read; None: it is not tried,
            since it is partial, or building it would import code.
    """

    target: ClassVar[Any]
    fixed: ClassVar[Mapping[str, Any] | None] = {}

    def build(self, **fixed: Any) -> Any:
        """Return the object that the table describes; `fixed` are arguments that the table may not set."""
        return self.target(**self.arguments(), **fixed)

    def arguments(self, *, without: Collection[str] = ()) -> dict[str, Any]:
        """Return the keys that are set, except those in `without`, with their values; tables among these are built."""
        values = {key: getattr(self, key) for key in self._keys if key not in without}
        return {key: value.build() if isinstance(value, Table) else value for key, value in values.items()}

    @property
    def _keys(self) -> tuple[str, ...]:
        """The keys that are set, in the order in which they are written."""
        return self.__dict__.get("_order", ())

    @pydantic.model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self._keys}

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _try(cls, values: Any, validate: pydantic.ModelWrapValidatorHandler[Self]) -> Self:
        """Keep the order of the keys, and build the object once, so that invalid values are reported."""
        table = validate(values)
        if isinstance(values, dict):
            table.__dict__["_order"] = tuple(values)  # no field: tables in another order are equal
        with as_validation_error(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # given when the object is built to be used
            if cls.fixed is not None:
                table.build(**cls.fixed)
        return table


def table_model(
    target: Any,
    name: str,
    *,
    fixed: Mapping[str, Any] | None = None,
    types: Mapping[str, Any] | None = None,
    base: type[Table] = Table,
    partial: bool = False,
) -> Any:
    """Return the model `name` of the tables that describe instances of a class.

    Args:
        target: A dataclass, or a class whose `__init__` has annotations.
        name: Name of the model.
        fixed: Arguments that a table may not set -> a value to try each table with.
        types: Key -> type, for arguments that a table expresses otherwise.
        base: Base class of the model, with further keys; its own types are kept.
        partial: Make every key optional and build nothing: the table overrides parts of another.
    """
    hints = typing.get_type_hints(target.__init__)
    keys: dict[str, Any] = {}
    for key, parameter in inspect.signature(target).parameters.items():
        if key in (fixed or {}) or key in base.model_fields:
            continue
        kind = (types or {}).get(key) or toml_type(hints[key])
        optional = partial or parameter.default is not inspect.Parameter.empty
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        keys[key] = (kind, pydantic.Field(default=default)) if optional else (kind, ...)
    model: Any = pydantic.create_model(name, __base__=base, **keys)
    model.target, model.fixed = target, None if partial else (fixed or {})
    return model


def partial_model(model: type[StrictModel], name: str) -> Any:
    """Return the model of a table that overrides some keys of another; each key is checked, their relations are not."""
    keys: Any = {key: (field.rebuild_annotation(), None) for key, field in model.model_fields.items()}
    partial: Any = pydantic.create_model(name, __base__=Table, **keys)
    partial.fixed = None
    return partial


def toml_type(annotation: Any) -> Any:
    """Return what a TOML file may give for an argument: tables for dataclasses, lists for tuples and sequences."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        members = [toml_type(member) for member in arguments if member is not types.NoneType]
        kind = members[0] if len(members) == 1 else by_toml_type(*members)
        return kind | None if len(members) < len(arguments) else kind
    if origin in (tuple, Sequence):
        if arguments == ():
            return Annotated[list[float], pydantic.Field(max_length=0)]
        item: Any = toml_type(arguments[0])
        if origin is tuple and arguments[-1] is not Ellipsis:
            return Annotated[list[item], pydantic.Field(min_length=len(arguments), max_length=len(arguments))]
        return list[item]
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _nested_table(annotation)
    return annotation


@lru_cache
def _nested_table(target: type) -> Any:
    return table_model(target, target.__name__)


def by_toml_type(*kinds: Any) -> Any:
    """Return the union of types, of which errors concern the one that TOML tells apart (text, number, list, table)."""
    groups: dict[str, list[Any]] = {}
    for kind in kinds:
        groups.setdefault(_toml_name(kind), []).append(kind)
    tagged = [Annotated[Union[tuple(group)], pydantic.Tag(f"<{name}>")] for name, group in groups.items()]  # noqa: UP007

    def tag(value: Any) -> str:
        return f"<{next((name for kind, name in TOML_TYPES.items() if isinstance(value, kind)), 'table')}>"

    if len(tagged) == 1:
        return Union[tuple(kinds)]  # noqa: UP007
    expected = " or ".join(f"a {name}" for name in groups)
    return Annotated[
        Union[tuple(tagged)],  # noqa: UP007
        pydantic.Discriminator(tag, custom_error_type="toml_type", custom_error_message=f"expected {expected}"),
    ]


def _toml_name(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Annotated:
        return _toml_name(get_args(kind)[0])
    if origin is Literal:
        return TOML_TYPES[type(get_args(kind)[0])]
    return TOML_TYPES.get(origin or kind, "table")
