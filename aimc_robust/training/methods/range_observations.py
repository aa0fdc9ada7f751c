"""What the layers of all workers have seen in an update that learns converter ranges."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from aimc_robust.hardware.calibration.range_learning import RangeRecorder
from aimc_robust.training.methods.distributed import mean_over_workers


def gather(recorders: Mapping[str, RangeRecorder]) -> dict[str, dict[str, float]]:
    """Return what each layer has seen in this update, as means over all workers, with one transfer for all layers."""
    tensors: list[Tensor] = []
    rows: list[list[float]] = []
    for recorder in recorders.values():
        gradient, clipped = recorder.gradient, recorder.clipped
        zero = torch.zeros(())
        tensors += [zero if gradient is None else gradient, zero if clipped is None else clipped]
        ends = [0.0] * (2 * recorder.slices)
        for output in recorder.outputs:
            ends = [total + end for total, end in zip(ends, itertools.chain(*output), strict=True)]
        scales = recorder.scales
        rows.append([recorder.inputs, sum(scales), len(scales), recorder.is_signed, len(recorder.outputs), *ends])
    if not rows:
        return {}
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), torch.device("cpu"))
    precision = torch.float32 if device.type == "mps" else torch.float64
    on_device = torch.stack([tensor.detach().to(device, precision) for tensor in tensors]).tolist()
    flat = [value for number, row in enumerate(rows) for value in (*on_device[2 * number : 2 * number + 2], *row)]
    flat = _mean(flat, device)
    seen, position = {}, 0
    for name, row in zip(recorders, rows, strict=True):
        width = 2 + len(row)
        values, position = flat[position : position + width], position + width
        names = ["gradient", "clipped", "inputs", "scale", "batches", "signed", "outputs"]
        names += [f"end {i}" for i in range(width - len(names))]
        seen[name] = dict(zip(names, values, strict=True))
    return seen


def _mean(values: list[float], device: torch.device) -> list[float]:
    """Return the mean over all workers."""
    vector = torch.tensor(values, dtype=torch.float64)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        vector = vector.to(device)
    mean = mean_over_workers([vector], [vector])[0]
    assert mean is not None
    return mean.tolist()
