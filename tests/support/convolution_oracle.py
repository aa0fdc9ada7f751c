"""The rows that a convolution drives for each of its outputs, by loops over positions: part of the oracle."""

import itertools
from collections.abc import Callable

import numpy as np
from torch import nn

PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
Product = Callable[[np.ndarray, range], np.ndarray]
"""(driven rows, outputs) -> (outputs)."""


def convolved(layer: nn.Module, x: np.ndarray, product: Product) -> np.ndarray:
    """Outputs (images, outputs, ...) of a convolution."""
    kernel, per_group = layer.kernel_size, layer.out_channels // layer.groups
    edges = layer._reversed_padding_repeated_twice
    pads = [(edges[2 * i], edges[2 * i + 1]) for i in reversed(range(len(kernel)))]
    padded = np.pad(x, [(0, 0), (0, 0), *pads], mode=PADDING[layer.padding_mode])
    sizes = [
        (n - gap * (k - 1) - 1) // step + 1
        for n, k, gap, step in zip(padded.shape[2:], kernel, layer.dilation, layer.stride, strict=True)
    ]
    y = np.zeros((len(x), layer.out_channels, *sizes))
    channels = layer.in_channels // layer.groups
    for image, group in itertools.product(range(len(x)), range(layer.groups)):
        for place in itertools.product(*map(range, sizes)):
            rows = []
            for c in range(channels):
                for at in itertools.product(*map(range, kernel)):
                    parts = zip(place, layer.stride, at, layer.dilation, strict=True)
                    where = tuple(p * step + k * gap for p, step, k, gap in parts)
                    rows.append(padded[(image, group * channels + c, *where)])
            outputs = range(group * per_group, (group + 1) * per_group)
            y[(image, slice(outputs.start, outputs.stop), *place)] = product(np.array(rows), outputs)
    return y


def spread(layer: nn.Module, x: np.ndarray, sizes: tuple[int, ...], product: Product) -> np.ndarray:
    """Outputs (images, outputs, *sizes) of a transposed convolution: a row is driven where an input falls on it."""
    per_group, channels = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    y = np.zeros((len(x), layer.out_channels, *sizes))
    for image, group in itertools.product(range(len(x)), range(layer.groups)):
        for place in itertools.product(*map(range, sizes)):
            rows = []
            for c in range(channels):
                for at in itertools.product(*map(range, layer.kernel_size)):
                    parts = zip(place, layer.padding, at, layer.dilation, layer.stride, x.shape[2:], strict=True)
                    sources = [((p + cut - k * gap), step, n) for p, cut, k, gap, step, n in parts]
                    meets = all(s % step == 0 and 0 <= s // step < n for s, step, n in sources)
                    where = tuple(s // step for s, step, _ in sources)
                    rows.append(x[(image, group * channels + c, *where)] if meets else 0.0)
            outputs = range(group * per_group, (group + 1) * per_group)
            y[(image, slice(outputs.start, outputs.stop), *place)] = product(np.array(rows), outputs)
    return y


def matrix_of(layer: nn.Module) -> np.ndarray:
    """The weight as (outputs, rows), by loops for transposed convolutions."""
    weight = layer.weight.detach().double().numpy()
    if not isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return weight.reshape(len(weight), -1)
    per_group, channels = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    filters = []
    for output in range(layer.out_channels):
        group, inner = divmod(output, per_group)
        filters.append(np.stack([weight[group * channels + c, inner].ravel() for c in range(channels)]).ravel())
    return np.array(filters)
