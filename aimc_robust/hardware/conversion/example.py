"""Call a model with an example input."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from aimc_robust.metrics import run_model

GetExample = Callable[[], Any]
"""Returns an example input, for `run_example`; called only where one is needed."""


def run_example(model: nn.Module, example: Any) -> Any:
    """Call with keyword arguments for a mapping such as a batch of transformers, with all arguments for a tuple."""
    if isinstance(example, Mapping):
        return model(**example)
    return model(*example) if isinstance(example, tuple) else run_model(model, example)
