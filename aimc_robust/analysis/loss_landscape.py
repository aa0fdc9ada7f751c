"""Losses over a plane through the weights of a model, and along the line between two models.

References:
    H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018 (filter-normalised directions).
    I. J. Goodfellow, O. Vinyals, A. M. Saxe, ICLR 2015 (linear interpolation between two models).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aimc_robust.analysis.hessian_spectrum import HessianSpectrum
from aimc_robust.analysis.landscape import Landscape, filter_directions
from aimc_robust.data.batches import Batches, repeatable, split_whole
from aimc_robust.errors import DataError, InputError, require_known, require_whole
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.calibration.batchnorm_recalibration import recalibrate_batchnorm
from aimc_robust.noise.analog_weights import analog_weights, layer_name, unwrap_model, weights_in_scope
from aimc_robust.noise.base import standard_normal
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.noise.perturbation import evaluation_mode, frozen_buffers, restored
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.task import Task
from aimc_robust.training.methods.gradient_passes import LossFunction, loss_and_items

DirectionName = Literal["filter_norm", "random"]
Direction = Mapping[str, Tensor]
"""Parameter name -> change of the parameter at coordinate 1; missing parameters do not move."""


@float32_convolutions()
def loss_landscape(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Batches,
    *,
    directions: DirectionName | HessianSpectrum | tuple[Direction, Direction] = "filter_norm",
    points: int = 11,
    span: float = 1.0,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Return the mean loss over a square grid of a plane through the weights, in evaluation mode.

    A parameter that several layers share moves in all of them. The model is unchanged bit for bit.

    Args:
        model: The trained model.
        loss_fn: Function (output, target) -> mean loss of a batch, or a task.
        batches: Labelled data, as for `evaluate`; passed once for each point.
        directions: `filter_norm`: random, each filter of a weight matrix scaled to the L2 norm of the model's own, so
            that coordinate 1 moves each filter by its norm; biases and BatchNorm stay. `random`: Gaussian over all
            parameters, of L2 norm 1 together, so that coordinates are distances in the units of the weights. A
            `HessianSpectrum` of this model: its first two eigenvectors, of norm 1 too. Or two directions of your own,
            each parameter name -> tensor.
        points: Grid points along each direction, 2 to 1000; the weights are the center if the number is odd.
        span: The grid extends from -span to span along both directions.
        seed: Root seed of random directions. The draws depend on (seed, direction, layer) only: models of one network
            share them.

    Returns:
        (points, points) losses, the first direction along the first axis; NaN where the loss is not finite.

    Raises:
        DataError: If there is no data.
        InputError: If an argument is invalid.
        UnknownNameError: If directions have an unknown name.
    """
    check_model(model)
    model, grid = unwrap_model(model), Landscape(points, span)
    data = repeatable(split_whole(batches, loss_fn if isinstance(loss_fn, Task) else None))
    first, second = _directions(model, directions, seed)
    parameters = dict(model.named_parameters())
    start = {name: parameters[name].detach().clone() for name in {**first, **second}}
    losses = np.empty(grid.num_points)
    with _measuring(model), restored(model, lambda name, _: name in start):
        for index in range(grid.num_points):
            for name, value in start.items():
                change = sum(
                    coordinate * direction[name].to(value)
                    for coordinate, direction in zip(grid.coordinates(index), (first, second), strict=True)
                    if name in direction
                )
                parameters[name].copy_(value + change)
            losses[index] = mean_loss(model, loss_fn, data)
    return losses.reshape(points, points)


@float32_convolutions()
def interpolation_losses(
    first: nn.Module,
    second: nn.Module,
    loss_fn: LossFunction,
    batches: Batches,
    *,
    points: int = 11,
    recalibrate: Batches | None = None,
) -> npt.NDArray[np.float64]:
    """Return the mean loss at (1 - t) w_1 + t w_2, for t from 0 to 1 in equal steps, in evaluation mode.

    Buffers are interpolated like the weights: between the models, BatchNorm then normalises by statistics that are not
    those of its inputs, which raises the loss by itself. With `recalibrate`, the statistics are estimated anew at every
    t, also at both ends. Counters of batches keep the values of the first model. Both models are unchanged.

    Args:
        first: The model at t = 0.
        second: The model at t = 1, with parameters and buffers of the same names and shapes.
        loss_fn: Function (output, target) -> mean loss of a batch, or a task.
        batches: Labelled data, as for `evaluate`; passed once for each point.
        points: Number of values of t, at least 2.
        recalibrate: Inputs that BatchNorm statistics are estimated from, see `recalibrate_batchnorm`: training data in
            batches of at least a few dozen. None: interpolate the statistics.

    Returns:
        (points,) losses; NaN where the loss is not finite.

    Raises:
        DataError: If there is no data.
        InputError: If the models do not match, or an argument is invalid.
    """
    require_whole("points", points, low=2)
    check_model(first)
    check_model(second)
    blend = copy.deepcopy(unwrap_model(first)).eval()
    ends = unwrap_model(first).state_dict(), unwrap_model(second).state_dict()
    _check_match(*ends)
    task = loss_fn if isinstance(loss_fn, Task) else None
    data, losses = repeatable(split_whole(batches, task)), np.empty(points)
    inputs = None if recalibrate is None else list(repeatable(split_whole(recalibrate, task)))
    values = blend.state_dict()
    with torch.no_grad():
        for index, t in enumerate(np.linspace(0.0, 1.0, points)):
            for name, value in values.items():
                if value.is_floating_point():
                    value.copy_(torch.lerp(ends[0][name], ends[1][name].to(value), float(t)))
            if inputs is not None:
                recalibrate_batchnorm(blend, inputs, task=task)
            losses[index] = mean_loss(blend, loss_fn, data)
    return losses


def _directions(model: nn.Module, directions: Any, seed: int) -> tuple[Direction, Direction]:
    if isinstance(directions, HessianSpectrum):
        if len(directions.eigenvectors) < 2:
            raise InputError(f"two eigenvectors span a plane, got {len(directions.eigenvectors)}; use eigenvalues=2.")
        directions = directions.eigenvectors[:2]
    elif isinstance(directions, str):
        require_known("directions", directions, get_args(DirectionName))
        require_whole("seed", seed, low=0)
        if directions == "random":
            return _unit_direction(model, 0, seed), _unit_direction(model, 1, seed)
        weights_in_scope(model)  # raises if there is none
        matrices, by_layer = analog_weights(model), filter_directions(model, seed=seed)
        first, second = (
            {name: matrix.to_parameter_layout(direction[matrix.layer]) for name, matrix in matrices.items()}
            for direction in by_layer
        )
        return first, second
    is_pair = isinstance(directions, tuple | list) and len(directions) == 2
    if not is_pair or not all(isinstance(direction, Mapping) for direction in directions):
        raise InputError(
            "directions must be filter_norm, random, a HessianSpectrum or two mappings, got "
            f"{type(directions).__name__}."
        )
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for direction in directions:
        for name, change in direction.items():
            require_known("parameter", name, shapes)
            if change.shape != shapes[name]:
                raise InputError(
                    f"the direction of {name!r} has shape {tuple(change.shape)}, expected {tuple(shapes[name])}; use "
                    "directions that were made for this model."
                )
    return directions[0], directions[1]


def _unit_direction(model: nn.Module, number: int, seed: int) -> Direction:
    draws = {
        name: standard_normal(weight.detach(), Axes(seed).at(landscape=number, layer=layer_name(name)).generator())
        for name, weight in weights_in_scope(model, "all").items()
    }
    norm = math.sqrt(sum(float(draw.double().square().sum()) for draw in draws.values()))
    return {name: draw / norm for name, draw in draws.items()}


def _check_match(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    for name in {**first, **second}:
        shapes = [tuple(state[name].shape) if name in state else None for state in (first, second)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"the two models differ in {name!r}: shape {shapes[0]} and {shapes[1]}; pass two models of one network."
            )
        is_counter = name.rpartition(".")[2] == "num_batches_tracked"
        if not first[name].is_floating_point() and not is_counter and not torch.equal(first[name], second[name]):
            raise InputError(
                f"the buffer {name!r} of {first[name].dtype} differs between the two models and cannot be "
                "interpolated; give both the same values."
            )


@contextmanager
def _measuring(model: nn.Module) -> Iterator[None]:
    with torch.no_grad(), frozen_buffers(model), evaluation_mode(model):
        yield


@torch.no_grad()
def mean_loss(model: nn.Module, loss_fn: LossFunction, batches: Iterable[Batch]) -> float:
    """Return the mean loss over all items; NaN if it is not finite."""
    total, items = 0.0, 0
    for batch in batches:
        loss, count = loss_and_items(model, loss_fn, batch)
        if count:
            total, items = total + count * float(loss), items + count
    if items == 0:
        raise DataError("expected at least one batch of images and labels, got none.")
    return total / items if math.isfinite(total) else math.nan
