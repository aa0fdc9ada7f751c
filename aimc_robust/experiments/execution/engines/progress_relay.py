"""Progress across process borders: a call becomes (name, arguments, named arguments), and a call again elsewhere."""

from collections.abc import Callable
from typing import Any

from aimc_robust.experiments.callbacks.comparison import ComparisonProgress

Call = tuple[str, tuple[Any, ...], dict[str, Any]]

CALLS = tuple(name for name in vars(ComparisonProgress) if not name.startswith("_"))


class ForwardingProgress(ComparisonProgress):
    """Sends each call away with `send`."""

    def __init__(self, send: Callable[[Call], None]) -> None:
        self._send = send


def _forwarding(name: str) -> Callable[..., None]:
    def forward(self: ForwardingProgress, *args: Any, **named: Any) -> None:
        self._send((name, args, named))

    return forward


for _name in CALLS:  # every call that ComparisonProgress has, also those to come
    setattr(ForwardingProgress, _name, _forwarding(_name))


def replay(progress: ComparisonProgress, call: Call) -> None:
    """Make on `progress` the call that a relay sent."""
    name, args, named = call
    getattr(progress, name)(*args, **named)
