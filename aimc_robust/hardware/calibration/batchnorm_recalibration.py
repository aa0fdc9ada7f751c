"""BatchNorm recalibration: correct a chip's channel statistics with unlabelled data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust.data.batches import input_batches
from aimc_robust.errors import InputError
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.conversion.batchnorm_folding import FoldedNorm, NormThenRest
from aimc_robust.tasks.calling import call_model
from aimc_robust.tasks.registry import TaskLike


class ChannelCorrection(nn.Module):
    """Gives each channel the mean and variance that BatchNorm would have given it; replaces a folded BatchNorm.

    out = (y - mean) / sqrt(var + eps gain^2) * |gamma| + beta, with mean and var of the chip's own outputs y, which
    already contain the BatchNorm's gain: exactly the BatchNorm with statistics estimated anew.
    """

    folded: FoldedNorm
    gamma: Tensor
    beta: Tensor
    eps: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, folded: FoldedNorm) -> None:
        super().__init__()
        self.__dict__["folded"] = folded  # kept for another recalibration, without being registered as a submodule
        tensors = {"gamma": folded.gamma.abs(), "beta": folded.beta, "eps": folded.eps * folded.gain.square()}
        for name, values in tensors.items():
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("mean", torch.zeros_like(folded.beta))
        self.register_buffer("var", torch.zeros_like(folded.beta))
        self.images = 0
        self.learning = True

    def forward(self, y: Tensor) -> Tensor:
        """Normalize outputs (images, channels, ...) by the batch's statistics while learning, else by those of all."""
        shape = [1, -1, *[1] * (y.ndim - 2)]
        mean, var = self.mean, self.var
        if self.learning:
            dims = [d for d in range(y.ndim) if d != 1]
            var, mean = torch.var_mean(y.to(self.mean.dtype), dim=dims, correction=0)
            self.images += len(y)
            share = len(y) / self.images
            # The spread of batch means belongs to the variance over all images.
            self.var += share * (var - self.var) + share * (1.0 - share) * (mean - self.mean).square()
            self.mean += share * (mean - self.mean)
        factor = self.gamma / (var + self.eps).clamp(min=1e-30).sqrt()
        shift = self.beta - mean * factor
        return (y * factor.reshape(shape) + shift.reshape(shape)).to(y.dtype)


@torch.no_grad()
@float32_convolutions()
def recalibrate_batchnorm(analog: nn.Module, batches: Iterable[Any], *, task: TaskLike = None) -> nn.Module:
    """Estimate the BatchNorm statistics anew on the chip, in place.

    One pass over unlabelled inputs. Each BatchNorm normalizes by its batch's own statistics while it accumulates the
    mean and variance over all images, as in training; batches should hold at least a few dozen images.

    Args:
        analog: A programmed model, from `program`.
        batches: Inputs, or labelled batches whose labels are not used, see `tasks.batches.unlabelled`.
        task: The task that unpacks the batches, where they are of another kind.

    Returns:
        `analog`.

    Raises:
        DataError: if there are no inputs, or they are of another kind.
        InputError: if the model has no BatchNorm.

    References:
        V. Joshi et al., Nat. Commun. 11, 2473, 2020 (adaptive BatchNorm statistics update).
    """
    folded = {
        name: module.folded if isinstance(module, ChannelCorrection) else module
        for name, module in analog.named_modules()
        if isinstance(module, FoldedNorm | ChannelCorrection)
    }
    neutral = {id(module[1]) for module in analog.modules() if isinstance(module, NormThenRest)}
    norms = [
        norm
        for norm in analog.modules()
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None and id(norm) not in neutral
    ]
    if not folded and not norms:
        raise InputError(f"{type(analog).__name__} has no BatchNorm to recalibrate.")
    inputs = input_batches(batches, task)
    for name, module in folded.items():
        analog.set_submodule(name, ChannelCorrection(module))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:  # a BatchNorm that was not folded accumulates as in training
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for x in inputs:
        call_model(analog, x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    for correction in analog.modules():
        if isinstance(correction, ChannelCorrection):
            correction.learning = False
    return analog
