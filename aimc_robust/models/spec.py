"""The network that a spec names, and its options."""

from __future__ import annotations

from typing import Any

import pydantic

from aimc_robust.io.toml import StrictModel


class ModelSpec(StrictModel):
    """A network and its options: one of `models.OWN`, `torchvision:NAME`, `timm:NAME` or `package.module:function`."""

    name: str
    options: dict[str, Any] = pydantic.Field(default_factory=dict)
