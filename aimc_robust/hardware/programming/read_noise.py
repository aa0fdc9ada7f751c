"""Random numbers of read noise: drawn anew for every multiplication, independent of the batch size."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import VmapInterpreter, retrieve_all_functorch_interpreters
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from aimc_robust.errors import InputError
from aimc_robust.random_numbers import blocks_per_row, draw_rows, short_normals
from aimc_robust.seeding import Axes

# Whether the CPU has instructions for products. An older torch cannot tell; the products are then of float32, as on a
# CPU without them.
HAS_BFLOAT16 = hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
Array = tuple[int | str, ...]
"""What names an array's stream: bank, tile, input slice, the time step of a recurrent layer, a further call of a layer
in one forward pass; before them, what draws if it is not the array's outputs."""


def reject_tracing(layer: str) -> None:
    """Raise InputError if torch records the forward pass (trace, export): read noise would become a constant in it."""
    is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
    if is_traced or torch.compiler.is_exporting() or get_proxy_mode() is not None:
        raise InputError(
            f"the layer {layer!r} draws read noise, or computes in CrossSim, at every multiply; a traced or exported "
            "model would repeat one result as a constant. Export the model programmed with read_noise=False, without "
            "noise of DACs and outputs, on the native backend, or run it as it is."
        )


def reject_vmap(layer: str) -> None:
    """Raise InputError under `torch.func.vmap`, unless its `randomness` is "same" (equal numbers in all instances).

    torch's own random layers raise an error by default, too; what they do with `different`, streams cannot.
    """
    for transform in retrieve_all_functorch_interpreters():
        if isinstance(transform, VmapInterpreter) and transform.randomness() != "same":
            raise InputError(
                f"the layer {layer!r} draws read noise, which would be the same for all instances of torch.func.vmap; "
                "call the model once for each instance, or give vmap randomness='same' if that is meant."
            )


def reject_forward_mode(layer: str) -> None:
    """Raise InputError under forward-mode differentiation, in which rounding would have the tangent 0."""
    if forward_ad._current_level >= 0:
        raise InputError(
            f"forward-mode differentiation (torch.func.jvp) cannot pass through the converters of the layer {layer!r}, "
            "whose rounding would give tangents of 0; use gradients, which pass straight through them."
        )


def to_variance_type(values: Tensor, *, overwrite: bool = False) -> Tensor:
    """Round variances of devices, squares of inputs, or their products, to the 8 bits of bfloat16, in float32 on a CPU.

    The product then takes half the time of one in float32, and the standard deviation of the noise errs by 0.1 % on
    average and 0.8 % at most. A CPU without instructions for it computes in float32 with the same rounded numbers.
    Values in float64, and on other devices, are returned as they are. `overwrite` allows their memory to be reused.
    """
    if values.dtype != torch.float32 or values.device.type != "cpu":
        return values
    if HAS_BFLOAT16:
        return values.bfloat16()
    return values.copy_(values.bfloat16()) if overwrite else values.bfloat16().float()


class ReadNoise:
    """Source of standard normal numbers for the outputs of arrays, with one stream per array.

    The noise of one output, the sum of x_j times the independent Gaussian noise of its devices, is exactly Gaussian
    with variance sum_j x_j^2 sigma_j^2: one number per output replaces one per device. This holds for Gaussian noise
    that is added to a state, not if a noisy state is clipped (at 0, for states within a few sigma of it) or if the
    current is not proportional to the input (I-V curves).

    The numbers are the same on every device. Those of one image do not depend on its batch, for a layer whose inputs
    have images along dimension 0.
    """

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._streams: dict[Array, _Stream] = {}

    def draw(self, like: Tensor, array: Array, *, outputs_last: bool) -> Tensor:
        """Draw the next standard normal numbers of the stream of an array, like a tensor.

        `outputs_last`: whether `like` has shape (..., outputs) instead of (images, outputs, ...).
        """
        if array not in self._streams:
            self._streams[array] = _Stream(self._axes.at(array=".".join(map(str, array))).key())
        count = like.shape[-1] if outputs_last else math.prod(like.shape[1:])
        parts = like.numel() // count if count else 0
        numbers = self._streams[array].next(parts, count, like.device).to(like.dtype)
        if outputs_last:
            return numbers.view(like.shape)
        images, outputs, *positions = like.shape
        # Positions first, as in the memory layout of convolutions here; the order is part of the stream's definition.
        return numbers.view(images, *positions, outputs).movedim(-1, 1)


class _Stream:
    """Normal numbers of a key, part by part."""

    def __init__(self, key: int) -> None:
        self._key, self._block = key, 0

    def next(self, parts: int, count: int, device: torch.device) -> Tensor:
        bits = 16  # half as many as a chip's numbers take: bits are most of the time
        numbers = draw_rows([self._key], parts, count, short_normals, first=self._block, bits=bits, device=device)
        self._block += parts * blocks_per_row(count, bits)
        return numbers
