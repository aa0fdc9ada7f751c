"""List the differences of two nested dictionaries as text."""

from collections.abc import Iterator, Mapping
from typing import Any


def dict_differences(first: Any, second: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted keys whose values differ, each with both values if these are short.

    Args:
        first: A nested dictionary, or a value of one.
        second: The other one.
        path: Dotted key of the two.
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in [*first, *(key for key in second if key not in first)]:
            yield from dict_differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
    elif first != second:
        is_short = max(len(repr(first)), len(repr(second))) <= 40
        yield f"{path}: {first!r} and {second!r}" if is_short else path
