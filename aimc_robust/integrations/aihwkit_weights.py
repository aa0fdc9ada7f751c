"""Weights and input ranges of models of aihwkit and aihwkit-lightning (IBM), from their state_dicts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.errors import CheckpointError, InputError, join_names, require_type, short_repr, warn
from aimc_robust.hardware.config.ranges import ConverterRanges, LayerRanges
from aimc_robust.models.checkpoint import Tensors
from aimc_robust.models.pretrained import WHOLE_FILE, PretrainedWeights, load_weights, read_weights
from aimc_robust.models.weight_files import TILE_STATE, flatten_tile_states
from aimc_robust.models.weight_names import remove_prefix

STORED = f"{TILE_STATE}.analog_tile_weights"
# Where an array's tensors are in a state_dict of aihwkit: LAYER.analog_module, with .array.I.J if there are several.
TILE = re.compile(r"(?:(?P<layer>.+?)\.)?(?:analog_module|(?:analog_module\.)?array\.(?P<row>\d+)\.(?P<column>\d+))")
UNREAD = re.compile(r"(^|\.)analog_(module|tile_state|ctx|out_scaling_alpha|shared_weights)")
SCALES = ("mapping_scales", "out_scaling_alpha")  # or in the state, in older versions
USED = (STORED, *SCALES, *(f"{TILE_STATE}.{name}" for name in SCALES), "bias", "input_range", "alpha")
# What else an array has; it does not change the digital output.
UNUSED = re.compile(
    rf"({TILE_STATE}\.)?(analog_ctx|shared_weights|analog_tile_hidden_parameters)|tile\.weight|input_range_update_idx"
)
# What a layer of aihwkit-lightning has besides weight and bias.
LIGHTNING = ("input_range", "input_range_update_idx", "x_min", "x_max", "learnable_weight_clip")


def import_aihwkit(model: nn.Module, source: str | Path | Mapping[str, Any]) -> tuple[nn.Module, ConverterRanges]:
    """Load the weights of a model of aihwkit or aihwkit-lightning into the same model in plain torch.

    Arrays of a layer are joined, output scales multiplied into the weights, and a learned clipping of weights is
    applied, so that the plain model computes what the peer's does without noise and quantization. No code of a file is
    run: the hardware description in it is not read; `import_rpu_config` takes it as an object. What was chosen or
    changed on the way is a warning.

    Args:
        model: The network that was converted to analog there, with the same names; its weights are replaced.
        source: The peer's `model.state_dict()`, or a file of it from torch.save.

    Returns:
        The model, and the ranges -r to r of the inputs of each layer that has a learned or calibrated input range r. If
        the arrays of a layer have different ranges, the largest.

    Raises:
        CheckpointError: if a file cannot be read, a tensor is unknown or missing, the weights do not fit the model, or
            are those of one programmed chip.
        InputError: if an argument is of another type.
    """
    require_type("model", model, nn.Module, example="a torch module")
    name, weights = _read(source)
    state = model.state_dict()
    others, matrices, bounds = _plain_weights(weights.tensors, source=name)
    tensors, prefix = remove_prefix(others | {_join(layer, "weight"): matrices[layer] for layer in matrices}, state)
    bounds = {layer.removeprefix(prefix): values.double().abs().flatten() for layer, values in bounds.items()}
    for layer in (layer.removeprefix(prefix) for layer in matrices):
        _set_matrix(tensors, state, layer, has_range=layer in bounds, source=name)
    ranges = {layer or "weight": _layer_ranges(layer, float(values.max())) for layer, values in bounds.items()}
    notes = [*weights.notes, *load_weights(model, replace(weights, tensors=tensors), source=name)]
    notes += [f"removed the prefix {prefix!r} from all names"] if prefix else []
    notes += [
        f"the arrays of {layer!r} have input ranges from {values.min():g} to {values.max():g}; a layer has one here, "
        "the largest"
        for layer, values in bounds.items()
        if values.min() != values.max()
    ]
    for note in notes:
        warn(f"{name}: {note}.")
    return model, ConverterRanges(ranges)


def _read(source: str | Path | Mapping[str, Any]) -> tuple[str, PretrainedWeights]:
    require_type("source", source, str | Path | Mapping, example="a state_dict or the path of its file")
    if not isinstance(source, Mapping):
        return str(source), read_weights(Path(source))
    if not all(isinstance(name, str) for name in source):
        raise InputError(f"the state_dict must have names, got {short_repr(list(source))}.")
    tensors = flatten_tile_states(source)
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{name} of the state_dict must be a tensor, got {type(value).__name__}.")
    return "the state_dict", PretrainedWeights(tensors, "", (), WHOLE_FILE)


def _layer_ranges(layer: str, bound: float) -> LayerRanges:
    try:
        return LayerRanges(inputs=(-bound, bound))
    except InputError:
        raise CheckpointError(f"the input range of {layer!r} must be above 0 and finite, got {bound:g}.") from None


def _plain_weights(tensors: Tensors, *, source: str) -> tuple[Tensors, Tensors, Tensors]:
    """Return tensors under the names of plain torch, aihwkit's matrix of each layer, and each layer's input ranges."""
    plain, matrices, bounds = dict(tensors), {}, {}
    for layer, tiles in _tiles(tensors).items():
        grid = [_Tile(tensors, prefix, source=source) for prefix in tiles.values()]
        rows, columns = (1 + max(place[axis] for place in tiles) for axis in (0, 1))
        if len(tiles) != rows * columns:
            raise CheckpointError(f"{source} holds {len(tiles)} of {rows} x {columns} arrays of {layer!r}.")
        for tile in grid:
            for name in tile.names:
                plain.pop(name)
        try:
            parts = [torch.cat([tile.matrix for tile in grid[i * columns :][:columns]]) for i in range(rows)]
            matrices[layer] = torch.cat(parts, dim=1)
        except RuntimeError:
            shapes = join_names([str(tuple(tile.matrix.shape)) for tile in grid])
            raise CheckpointError(
                f"{source}: the {rows} x {columns} arrays of {layer!r} do not fit: {shapes}."
            ) from None
        bias = plain.pop(_join(layer, "analog_module.bias"), grid[0].bias)
        if bias is not None:
            plain[_join(layer, "bias")] = bias
        ranges = [tile.input_range for tile in grid if tile.input_range is not None]
        if ranges:
            bounds[layer] = torch.cat(ranges)
    for layer in _lightning_layers(tensors):
        clip = plain.get(_join(layer, "learnable_weight_clip"))
        if clip is not None:
            weight = plain[_join(layer, "weight")]
            if clip.numel() == 0 or clip.numel() % len(weight):
                raise CheckpointError(
                    f"{source}: learnable_weight_clip of {layer!r} must have {len(weight)} numbers for each array, got "
                    f"{clip.numel()}."
                )
            plain[_join(layer, "weight")] = _clipped(weight, clip)
        extra = {name: plain.pop(_join(layer, name)) for name in LIGHTNING if _join(layer, name) in plain}
        if "input_range" in extra:
            bounds[layer] = extra["input_range"]
    unknown = [name for name in plain if UNREAD.search(name)]
    if unknown:
        raise CheckpointError(
            f"{source} holds {join_names(unknown)}, but not {STORED}; save the whole state_dict, "
            "torch.save(model.state_dict(), FILE). A file from before aihwkit 0.8 must be converted there first, by "
            "aihwkit.utils.legacy.convert_legacy_checkpoint."
        )
    return plain, matrices, bounds


def _join(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name


# aihwkit --------------------------------------------------------------------------------------------------------------


def _tiles(tensors: Tensors) -> dict[str, dict[tuple[int, int], str]]:
    """Return the arrays of each layer: (part of the inputs, part of the outputs) -> start of their names, in order."""
    layers: dict[str, dict[tuple[int, int], str]] = {}
    for name in tensors:
        start = name.removesuffix(f".{STORED}")
        if start != name and (match := TILE.fullmatch(start)):
            place = (int(match["row"] or 0), int(match["column"] or 0))
            layers.setdefault(match["layer"] or "", {})[place] = start
    return {layer: dict(sorted(tiles.items())) for layer, tiles in layers.items()}


class _Tile:
    """One array: its tensors' names, and what of them acts on the digital output.

    Attributes:
        names: Names in the state_dict.
        matrix: Weights (outputs, inputs) with output scales; an analog bias is the last column.
        bias: Digital bias, or None.
        input_range: Bound of the inputs, or None.
    """

    def __init__(self, tensors: Tensors, start: str, *, source: str) -> None:
        start = f"{start}."
        self.names = [name for name in tensors if name.startswith(start)]
        fields = {name.removeprefix(start): tensors[name] for name in self.names}
        if unknown := [name for name in fields if name not in USED and not UNUSED.fullmatch(name)]:
            raise CheckpointError(
                f"{source}: {start}{unknown[0]} is not known; arrays with weights, scales, a bias and an input range "
                "can be read."
            )
        fields = {name: value.detach().cpu() for name, value in fields.items() if name in USED}
        if fields[STORED].ndim != 2:
            raise CheckpointError(f"{source}: {start}{STORED} must be a matrix, got {tuple(fields[STORED].shape)}.")
        self.matrix, self.bias, self.input_range = fields[STORED], fields.get("bias"), fields.get("input_range")
        for name in SCALES:
            scale = fields.get(name, fields.get(f"{TILE_STATE}.{name}"))
            if scale is not None:
                self.matrix = self.matrix * self._checked(scale, name, source=f"{source}: {start}").view(-1, 1)
        compensation = fields.get("alpha", torch.ones(1))
        if not compensation.eq(1).all():
            raise CheckpointError(
                f"{source}: {start}alpha, the drift compensation, is {compensation.flatten()[0]:g}, so the weights are "
                "those of one chip that was programmed and has drifted; save the model before drift_analog_weights."
            )

    def _checked(self, scale: Tensor, name: str, *, source: str) -> Tensor:
        if scale.numel() not in (1, len(self.matrix)):
            raise CheckpointError(f"{source}{name} must be 1 or {len(self.matrix)} numbers, got {scale.numel()}.")
        return scale


def _set_matrix(tensors: Tensors, state: Mapping[str, Tensor], layer: str, *, has_range: bool, source: str) -> None:
    """Give a layer's matrix the shape of the model's weight, in place; one column more is the bias."""
    weight, bias = _join(layer, "weight"), _join(layer, "bias")
    if weight not in state:
        return  # an error of loading, with all names
    matrix, inputs = tensors[weight], state[weight][0].numel()
    if matrix.shape[1] == inputs + 1 and bias in state and bias not in tensors:
        if has_range:
            raise CheckpointError(
                f"{source}: {layer!r} has an analog bias and an input range, which aihwkit multiplies with the bias; "
                "train it with mapping.digital_bias = True."
            )
        tensors[bias], matrix = matrix[:, -1], matrix[:, :-1]
    if matrix.numel() == state[weight].numel():
        tensors[weight] = matrix.reshape(state[weight].shape)


# aihwkit-lightning ----------------------------------------------------------------------------------------------------


def _lightning_layers(tensors: Tensors) -> Iterator[str]:
    for name in tensors:
        layer = name.removesuffix("weight").removesuffix(".")
        own = {_join(layer, field) for field in ("input_range_update_idx", "learnable_weight_clip")}
        if name == _join(layer, "weight") and own & tensors.keys():
            yield layer


def _clipped(weight: Tensor, clip: Tensor) -> Tensor:
    """Return weights within the learned bounds (arrays, outputs); the inputs are cut into arrays of equal size."""
    bounds = clip.reshape(-1, len(weight))
    parts = weight.flatten(1).tensor_split(len(bounds), dim=1)
    # aihwkit-lightning 2.1 takes bounds that are all above 1 as numbers of steps: their reciprocals act.
    acting = [1 / bound if (bound > 1).all() else bound for bound in bounds[:, :, None]]
    clipped = [torch.clamp(part, -bound, bound) for part, bound in zip(parts, acting, strict=True)]
    return torch.cat(clipped, dim=1).reshape(weight.shape)
