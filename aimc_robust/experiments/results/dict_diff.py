"""Where two questions differ, in words."""

from collections.abc import Iterator, Mapping
from typing import Any


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """The dotted keys under which two nested dictionaries differ, each with both values where these are short."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from differences(one.get(key), other.get(key), f"{where}.{key}" if where else str(key))
    elif one != other:
        short = max(len(repr(one)), len(repr(other))) <= 40
        yield f"{where}: {one!r} and {other!r}" if short else where
