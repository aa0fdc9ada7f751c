"""Fold BatchNorm into the preceding layer where this is exact."""

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust.errors import InputError, join_names
from aimc_robust.hardware.conversion.example import GetExample
from aimc_robust.hardware.conversion.preceding_layer import NotFoldable, preceding_layer, run, trace, used_twice
from aimc_robust.hardware.conversion.references import rebind
from aimc_robust.hardware.layers.own_forward import has_own_forward
from aimc_robust.hardware.programming.weights_to_states import blocks
from aimc_robust.noise.analog_weights import AnalogLayer, analog_weights


@dataclass(frozen=True)
class Folding:
    """Which BatchNorms were folded, and why the others were not.

    Attributes:
        folded: Name of each folded BatchNorm -> name of the layer that it was folded into.
        not_folded: Name of each other BatchNorm -> reason.
    """

    folded: dict[str, str]
    not_folded: dict[str, str]

    def summary(self) -> list[str]:
        """Summarize in at most two phrases what was folded, and what not for which reasons."""
        parts = [f"{len(self.folded)} BatchNorm folded into the weights"] if self.folded else []
        reasons: dict[str, list[str]] = {}
        for name, reason in self.not_folded.items():
            reasons.setdefault(reason, []).append(name)
        listed = [f"{join_names(names, limit=8)} ({reason})" for reason, names in reasons.items()]
        return [*parts, f"BatchNorm not folded: {', '.join(listed)}"] if listed else parts


def fold_nothing(model: nn.Module) -> Folding:
    """Return the folding of a model whose BatchNorms all stay, by choice."""
    norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    return Folding({}, dict.fromkeys(norms, "fold=False"))


def fold_batchnorm(model: nn.Module, get_example: GetExample | None = None) -> Folding:
    """Fold every BatchNorm that follows a convolution or linear layer, in place, for evaluation mode.

    W' = W gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta, computed in float64. A BatchNorm is
    folded if its input is the output of one layer that nothing else uses, and both are called once, under one name,
    without hooks. This is read from a trace; if the model cannot be traced, from a run on an example, if there is one.
    All others stay digital and compute the same; only the weights are programmed without the factor.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    if not norms:
        return Folding({}, {})
    try:
        paths = trace(model)
    except Exception as error:  # a user's forward may raise anything under tracing
        if get_example is None:
            reason = f"the model cannot be traced ({type(error).__name__}), and there is no example input to run"
            return Folding({}, dict.fromkeys(norms, reason))
        paths = [run(model, get_example())]
    folded: dict[str, str] = {}
    not_folded: dict[str, str] = {}
    replaced: dict[int, nn.Module] = {}
    shared = used_twice(model)
    for name, norm in norms.items():
        results = [preceding_layer(model, uses, name, shared) for uses in paths]
        layers = {result for result in results if isinstance(result, str)}
        reasons = [result.reason for result in results if isinstance(result, NotFoldable)]
        if not reasons and not _is_batchnorm_first(norm):
            reasons = [f"{type(norm).__name__} computes something else than BatchNorm does"]
        if not reasons and not all(_is_linear(model.get_submodule(layer)) for layer in layers):
            reasons = [f"the forward of {', '.join(layers)} is not its product alone"]
        if reasons or len(layers) != 1:
            not_folded[name] = reasons[0] if reasons else NotFoldable().reason
            continue
        folded[name] = layers.pop()
        layer = cast(AnalogLayer, model.get_submodule(folded[name]))
        gain, weight_dimensions = _fold(layer, norm), layer.weight.ndim
        identity = FoldedNorm(norm, gain, dimensions=weight_dimensions)
        whole = NormThenRest(identity, _neutral(norm)) if has_own_forward(norm) else identity
        model.set_submodule(name, whole)
        replaced[id(norm)] = whole
    rebind(model, replaced)
    return Folding(folded, not_folded)


class NormThenRest(nn.Sequential):
    """Replacement of a folded BatchNorm of a subclass: the folded norm, then a neutral one for what else it does."""


def _neutral(norm: _BatchNorm) -> _BatchNorm:
    """Return a copy whose statistics change nothing, so that only the rest of its forward acts."""
    neutral = copy.deepcopy(norm)
    mean, variance = _running_statistics(neutral)
    mean.zero_()
    variance.fill_(1.0 - neutral.eps)
    if neutral.affine:
        nn.init.ones_(neutral.weight)
        nn.init.zeros_(neutral.bias)
    neutral.requires_grad_(False)
    return neutral


@torch.no_grad()
def _is_batchnorm_first(norm: _BatchNorm) -> bool:
    """Check on numbers that a subclass normalizes as its class of torch does, whatever it does afterwards."""
    if not has_own_forward(norm):
        return True
    mean, variance = _running_statistics(norm)
    dimensions = {nn.BatchNorm1d: 0, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}
    spatial = next((size for kind, size in dimensions.items() if isinstance(norm, kind)), 2)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((4, norm.num_features, *[3] * spatial), generator=generator).to(mean) * 3.0
    plain = nn.functional.batch_norm(x, mean, variance, norm.weight, norm.bias, eps=norm.eps)
    modes = [(module, module.training) for module in norm.modules()]
    norm.eval()
    try:
        own, after = norm(x.clone()), _neutral(norm).eval()(plain)
    except Exception:  # a forward that takes something else than a BatchNorm's input
        return False
    finally:
        for module, training in modes:
            module.training = training
    return isinstance(own, Tensor) and torch.allclose(own, after, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def _is_linear(layer: nn.Module) -> bool:
    """Check on numbers that a layer of a subclass scales and shifts its outputs as its weight and bias do."""
    if not has_own_forward(layer):
        return True
    twin: Any = copy.deepcopy(layer).eval()
    matrix = next(iter(analog_weights(twin).values()))
    generator = torch.Generator().manual_seed(0)
    gain = torch.rand(len(matrix.filters_first()), generator=generator).to(matrix.parameter) + 0.5
    if isinstance(layer, nn.Linear):
        x, on_outputs = torch.randn((4, twin.in_features), generator=generator), gain
    else:
        sizes = [dilation * (kernel + 3) for dilation, kernel in zip(twin.dilation, twin.kernel_size, strict=True)]
        x = torch.randn((2, twin.in_channels, *sizes), generator=generator)
        on_outputs = gain.reshape(-1, *[1] * len(sizes))
    x = x.to(matrix.parameter)
    try:
        before = twin(x)
        filters = matrix.filters_first() * gain.reshape(-1, *[1] * (matrix.filters_first().ndim - 1))
        matrix.parameter.copy_(matrix.to_parameter_layout(filters))
        if twin.bias is not None:
            twin.bias.copy_(twin.bias * gain + 1.0)
        after = twin(x)
    except Exception:  # a forward that takes something else than its class does
        return False
    shift = 0.0 if twin.bias is None else 1.0
    return isinstance(after, Tensor) and torch.allclose(after, before * on_outputs + shift, rtol=1e-4, atol=1e-5)


class FoldedNorm(nn.Module):
    """Replacement of a folded BatchNorm: the identity, which keeps the folded values, each of shape (features,).

    Attributes:
        gamma: Scale of the BatchNorm.
        beta: Shift of the BatchNorm.
        gain: Factor by which the weights of each output were multiplied.
        dimensions: Dimensions that inputs must have, with the batch: 2 after a linear layer.
    """

    gamma: Tensor
    beta: Tensor
    gain: Tensor

    def __init__(self, norm: _BatchNorm, gain: Tensor, *, dimensions: int) -> None:
        super().__init__()
        gamma, beta = (
            (torch.ones_like(gain), torch.zeros_like(gain)) if norm.weight is None else (norm.weight, norm.bias)
        )
        dtype = _running_statistics(norm)[0].dtype
        for name, values in (("gamma", gamma), ("beta", beta), ("gain", gain)):
            self.register_buffer(name, values.detach().to(dtype).clone(), persistent=False)
        self.eps, self.dimensions = norm.eps, dimensions

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`; raise InputError if it has a shape for which folding is not exact."""
        if x.ndim != self.dimensions:
            raise InputError(
                f"a BatchNorm was folded for inputs of {self.dimensions} dimensions (batch, features, ...), got "
                f"{x.ndim}; for other shapes it normalizes over another axis and cannot be folded."
            )
        return x


def _running_statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Running mean and variance."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


@torch.no_grad()
def _fold(layer: AnalogLayer, norm: _BatchNorm) -> Tensor:
    """Fold in place and return the gain of each output."""
    weight, (mean, variance) = layer.weight, _running_statistics(norm)
    gain = (variance.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    bias = -mean.double() if layer.bias is None else layer.bias.double() - mean.double()
    bias = bias * gain
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    matrix = next(iter(analog_weights(layer).values()))
    filters = matrix.filters_first()
    for rows in blocks(filters.flatten(1)):
        filters[rows] = filters[rows].double() * gain[rows].reshape(-1, *[1] * (filters.ndim - 1))
    if filters.data_ptr() != weight.data_ptr():  # those of a transposed convolution are a copy
        weight.copy_(matrix.to_parameter_layout(filters))
    layer.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=weight.requires_grad)
    return gain
