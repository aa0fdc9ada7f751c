"""Programming without error."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from aimc_robust.devices.laws.base import ProgrammingLaw

if TYPE_CHECKING:
    from torch import Tensor


class NoError(ProgrammingLaw):
    """sigma(state) = 0."""

    formula: ClassVar[str] = "sigma(state) = 0."

    kind: Literal["none"]
    has_error: ClassVar[bool] = False

    def std(self, state: Tensor) -> Tensor:
        """Return zeros; see `ProgrammingLaw.std`."""
        import torch

        return torch.zeros_like(state)
