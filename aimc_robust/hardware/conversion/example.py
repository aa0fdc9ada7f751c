"""Where an example input of a model comes from."""

from collections.abc import Callable
from typing import Any

GetExample = Callable[[], Any]
"""Returns an example input as `tasks.calling.call_model` takes it; called only where one is needed."""
