"""Forward progress callbacks between processes: each call is sent as (name, arguments, keyword arguments)."""

from collections.abc import Callable
from typing import Any

from aimc_robust.experiments.callbacks.comparison import ComparisonProgress

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""(name of the callback, arguments, keyword arguments)."""

CALLS = tuple(name for name in vars(ComparisonProgress) if not name.startswith("_"))


class ForwardingProgress(ComparisonProgress):
    """Pass every callback to `send` as a `Call`.

    Args:
        send: Receives each call.
    """

    def __init__(self, send: Callable[[Call], None]) -> None:
        self._send = send


def _forwarding(name: str) -> Callable[..., None]:
    def forward(self: ForwardingProgress, *args: Any, **kwargs: Any) -> None:
        self._send((name, args, kwargs))

    return forward


for _name in CALLS:  # every callback, including ones that are added later
    setattr(ForwardingProgress, _name, _forwarding(_name))


def replay(progress: ComparisonProgress, call: Call) -> None:
    """Call on `progress` what a `ForwardingProgress` has sent."""
    name, args, kwargs = call
    getattr(progress, name)(*args, **kwargs)
