"""Modules that are imported when they are used: collecting tests need not wait for them."""

import importlib


class LazyModule:
    """A module that is imported when its first name is asked for.

    `importlib.util.LazyLoader` does not help: pytest asks each global of a test module for its class, which loads it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        if attribute.startswith("_"):  # what pytest asks of every object
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
