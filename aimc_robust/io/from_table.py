"""A spec's table to a dataclass: the dataclass's own fields are the schema, and it checks its own values."""

from collections.abc import Collection
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from aimc_robust.errors import InputError, unknown_name

Built = TypeVar("Built")


def from_table(cls: type[Built], table: Any, *, what: str, given: dict[str, Any] | None = None) -> Built:
    """A `cls` from the keys of `table` and the values `given` by the program, which the table may not set.

    Raises UnknownNameError for a key that is no field, InputError for a missing one; values are `cls`'s to check.
    """
    if not isinstance(table, dict):
        raise InputError(f"{what} is a table of keys and values, got {table!r}.")
    given = given or {}
    known = {field.name: field for field in fields(cls) if field.name not in given}
    check_keys(table, known, what=what)
    for name, field in known.items():
        if field.default is MISSING and name not in table:
            raise InputError(f"{what} needs `{name}`.")
    return cls(**table, **given)


def check_keys(table: dict[str, Any], known: Collection[str], *, what: str) -> None:
    """Raise UnknownNameError for the first key of `table` that is not among `known`."""
    for key in table:
        if key not in known:
            raise unknown_name(f"key of {what}", key, known)
