"""Clip weights after every update, so that no few large weights set the scale of an array."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from aimc_robust.errors import InputError, names_arguments, require_finite, require_known, require_type
from aimc_robust.hardware.config.placement import Hardware, stored_weights
from aimc_robust.noise.analog_weights import AnalogWeight, analog_weights, unwrap_model, weights_in_scope
from aimc_robust.noise.shards import reshard, whole, write
from aimc_robust.noise.weight_shift import derived_weights
from aimc_robust.training.methods.base import Method

ClippedGroup = Literal["layer", "channel"]


@names_arguments
@dataclass(frozen=True, kw_only=True)
class WeightClipping:
    """Clip the weights that a crossbar stores to [-limit, limit], or to [-k s, k s] with s of a layer or channel.

    A crossbar maps max|W| to the end of its window, so a few large weights leave all others few states, and read noise
    and programming errors grow in proportion to max|W|. s = sqrt(mean(w^2)) is the standard deviation about 0.

    Args:
        std: k, above 0. Give either `std` or `limit`.
        limit: Largest magnitude, above 0.
        per: Weights that share s: those of a `layer`, or of an output `channel`.

    References:
        V. Joshi et al., Nat. Commun. 11, 2473, 2020, Methods (per layer, after every update). IBM/aihwkit-lightning,
        `WeightClipType` (a fixed value, per layer, per channel).
    """

    std: float | None = None
    limit: float | None = None
    per: ClippedGroup = "layer"

    def __post_init__(self) -> None:
        require_known("per", self.per, get_args(ClippedGroup))
        if (self.std is None) == (self.limit is None):
            raise InputError("WeightClipping takes either std or limit, exactly one of the two.")
        name = "limit" if self.std is None else "std"
        value = getattr(self, name)
        require_finite(name, value)
        if value == 0:
            raise InputError(f"{name} of WeightClipping must be above 0, which would make all weights 0.")
        if self.limit is not None and self.per != "layer":
            raise InputError("per applies to std only: a limit is the same for all channels; remove it.")

    @torch.no_grad()
    def apply(self, model: nn.Module, *, method: Method | None = None) -> None:
        """Clip the weights of `model`, in place; call it after `optimizer.step()`.

        Args:
            model: The model.
            method: The training method: layers that its `Placement` (or the scope of `ArrayAware`) keeps digital are
                not clipped, as in `train` and `RobustOptimizer`. None: every layer that a crossbar can store is.

        Raises:
            InputError: if a layer computes its weight from other parameters.
        """
        require_type("model", model, nn.Module, example="a torch.nn.Module")
        require_type("method", method, Method | None, example="a Method such as ArrayAware(crossbar), or None")
        inner = unwrap_model(model)
        reshard(inner)
        weights = analog_weights(inner) if method is None else _stored_weights(inner, method)
        computed = next((weight for weight in derived_weights(inner) if not weight.is_shared), None)
        if computed is not None:
            raise InputError(
                f"the layer {computed.layer!r} computes its weight from others (weight_norm, pruning), which clipping "
                "cannot reach; make it a plain weight."
            )
        for weight in weights.values():
            if self.std is None:
                weight.parameter.clamp_(-self.limit, self.limit)  # type: ignore[operator]  # one of the two is set
                continue
            filters = weight.filters_first(whole(weight.parameter.detach()))
            squares = filters.square()
            s = (squares.flatten(1).mean(dim=1) if self.per == "channel" else squares.mean().reshape(1)).sqrt()
            bound = self.std * s.reshape(-1, *[1] * (filters.ndim - 1))
            write(weight.parameter, weight.to_parameter_layout(filters.clamp(-bound, bound)))


def _stored_weights(model: nn.Module, method: Method) -> dict[str, AnalogWeight]:
    """Return the weights that are on a method's crossbars; all that a crossbar could store, if it has none."""
    arrays = getattr(method, "crossbar", None)  # of `ArrayAware`, where layers out of scope are digital
    places = (place for place in (arrays, getattr(method, "noise", None), method.faults) if isinstance(place, Hardware))
    stored = stored_weights(model, next(places, None))
    if arrays is None:
        return stored
    in_scope = {id(parameter) for parameter in weights_in_scope(model, method.scope).values()}
    return {name: weight for name, weight in stored.items() if id(weight.parameter) in in_scope}
