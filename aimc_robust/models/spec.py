"""Spec of a network: its name and options."""

from __future__ import annotations

from typing import Any

import pydantic

from aimc_robust.io.toml import StrictModel
from aimc_robust.io.user_code import is_reference, refuse_standard_library, source_digest

LIBRARIES = ("torchvision", "timm")


class ModelSpec(StrictModel):
    """Spec of a network.

    Attributes:
        name: One of `models.networks.registry.NETWORKS`, `wrn-DEPTH-WIDEN`, `torchvision:NAME`, `timm:NAME` or
            `package.module:function`.
        options: Keyword arguments of the network's constructor.
    """

    name: str
    options: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if is_reference(name):
            refuse_standard_library(name, name.partition(":")[0], "model")
        return name

    @property
    def source_digest(self) -> str | None:
        """Digest of the source file of a user-defined network; None for a network of this package or of a library."""
        return None if self.name.partition(":")[0] in LIBRARIES else source_digest(self.name)
