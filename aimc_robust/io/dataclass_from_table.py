"""Build a dataclass from a table of a spec; the fields of the dataclass are the schema, and it checks its values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from aimc_robust.errors import InputError, unknown_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def from_table(cls: type[T], table: Any, *, name: str, fixed: dict[str, Any] | None = None) -> T:
    """Build a dataclass instance from a table.

    Args:
        cls: A dataclass, which checks its own values.
        table: Table of the spec: field name -> value.
        name: Name of the table, for error messages.
        fixed: Values of fields that the table may not set.

    Returns:
        The instance.

    Raises:
        UnknownNameError: if a key is not a field.
        InputError: if `table` is not a table or a required key is missing.
    """
    if not isinstance(table, dict):
        raise InputError(f"{name} must be a table of keys and values, got {table!r}.")
    fixed = fixed or {}
    schema = {field.name: field for field in fields(cls) if field.name not in fixed}
    check_keys(table, schema, name=name)
    for key, field in schema.items():
        if field.default is MISSING and key not in table:
            raise InputError(f"{name} needs `{key}`.")
    return cls(**table, **fixed)


def check_keys(table: dict[str, Any], known: Collection[str], *, name: str) -> None:
    """Raise `UnknownNameError` for the first key that is not known.

    Args:
        table: Table to check.
        known: Allowed keys.
        name: Name of the table, for the error message.
    """
    for key in table:
        if key not in known:
            raise unknown_name(f"key of {name}", key, known)
