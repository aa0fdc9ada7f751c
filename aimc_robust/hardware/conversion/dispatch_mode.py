"""A mode that sees every operation of torch's dispatcher, without loading torch's compiler."""

from __future__ import annotations

import sys
from abc import abstractmethod
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A `TorchDispatchMode` whose `dispatch` is kept from the compiler only where one is loaded.

    torch wraps the method of every other mode so that its first call imports the compiler, which takes seconds.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    @abstractmethod
    def dispatch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of an operation; as `__torch_dispatch__`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (dynamo := sys.modules.get("torch._dynamo")) is None:
            return self.dispatch(func, args, kwargs or {})
        return dynamo.disable(self.dispatch, recursive=True)(func, args, kwargs or {})
