"""Forward passes of an evaluation in mixed precision; what is programmed stays in float32."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import nn

from aimc_robust.errors import InputError, require_known
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.noise.base import WeightNoise
from aimc_robust.training.config import Precision


def check_forward_precision(
    precision: Precision, condition: WeightNoise | None, deployment: Deployment | None = None
) -> None:
    """Raise InputError for an unknown precision, or mixed precision where more than the weights has errors.

    bfloat16 rounds products to 8 bits: as coarse as many converters, and often as reads.
    """
    require_known("forward_precision", precision, get_args(Precision))
    if precision == "32-true" or not isinstance(condition, Hardware):
        return
    if deployment is not None and deployment.backend == "crosssim":
        reason = "CrossSim computes in float32"
    elif condition.computes_in_arrays:
        reason = "its converters and read noise act on products, which bfloat16 would round to 8 bits"
    elif any(crossbar.wires is not None for crossbar in condition.crossbars):
        reason = "its IR drop acts on products, which bfloat16 would round to 8 bits"
    else:
        return
    raise InputError(
        f"forward_precision {precision} is for crossbars whose weights alone have errors: {reason}; use 32-true, or "
        "leave those out (read_noise=False, no dac and adc)."
    )


@contextmanager
def forward_in(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Context manager in which each call of `model` runs under autocast, and nothing else does."""
    if precision == "32-true":
        yield
        return
    forward, own = model.forward, model.__dict__.get("forward")

    @functools.wraps(forward)
    def with_autocast(*args: Any, **kwargs: Any) -> Any:
        device = next((parameter.device.type for parameter in model.parameters()), "cpu")
        with torch.autocast(device, torch.bfloat16):
            return forward(*args, **kwargs)

    model.forward = with_autocast  # a hook could not end the context after an error
    try:
        yield
    finally:
        if own is None:
            del model.forward
        else:
            model.forward = own
