"""Products of the rows of one array with their inputs."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from aimc_robust.hardware.config.tiling import Interval
from aimc_robust.hardware.layers.input_stage import InputStage, RowInputs


class ArrayProduct(InputStage):
    """An input stage whose inputs are multiplied with rows of a matrix; a subclass defines how a channel is applied.

    Attributes:
        groups: Number of groups of a convolution.
        outputs_last: Whether outputs are the last dimension, as in a linear layer, instead of dimension 1.
    """

    groups: int = 1
    outputs_last = False

    @abstractmethod
    def select_channels(self, x: Tensor, first: int, last: int) -> Tensor:
        """Return the input channels [first, last) of each group, in the memory layout in which `product` is fastest."""

    @abstractmethod
    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply channels from `select_channels` with their weights, filters first, and add a bias: a new tensor."""

    def row_products(
        self, rows: RowInputs, matrix: Tensor, start: int, stop: int, scale: float = 1.0, shift: float = 0.0
    ) -> Tensor:
        """Rows [start, stop) of `matrix` (outputs, inputs, bias rows) times their inputs: scale * products + shift."""
        return self._multiply(self._inputs_of(rows, start, stop), matrix, start, stop, scale, shift)

    def _channels_of(self, start: int, stop: int) -> Interval:
        """[first, last) of the input channels of each group that the rows [start, stop) belong to."""
        if start >= self.input_rows:  # an array with bias rows only, which gets an input that no device takes
            return 0, 1
        kernel = self.input_rows // self.shape[1]
        return start // kernel, -(-min(stop, self.input_rows) // kernel)

    def _inputs_of(self, rows: RowInputs, start: int, stop: int) -> RowInputs:
        """Inputs of the channels of the rows [start, stop)."""
        return rows._replace(inputs=self.select_channels(rows.inputs, *self._channels_of(start, stop)))

    def _multiply(
        self, inputs: RowInputs, matrix: Tensor, start: int, stop: int, scale: float = 1.0, shift: float = 0.0
    ) -> Tensor:
        """Multiply rows [start, stop) of `matrix` with inputs from `_inputs_of`: scale * products + shift."""
        (first, last), kernel = self._channels_of(start, stop), self.input_rows // self.shape[1]
        part = matrix[:, first * kernel : last * kernel]
        # If an array's edge cuts a channel's kernel, the part outside is zero: no device, no current.
        before, inside = start - first * kernel, max(min(stop, self.input_rows) - start, 0)
        if scale != 1.0 or inside < part.shape[1]:
            part = part * scale
            part[:, :before] = 0.0
            part[:, before + inside :] = 0.0
        weight = part.to(inputs.inputs.dtype).reshape(-1, last - first, *self.shape[2:])
        out = self.product(inputs.inputs, weight, weight.new_full((len(weight),), shift) if shift else None)
        if stop <= self.input_rows:
            return out
        biases = matrix[:, max(start, self.input_rows) : stop].sum(dim=1) * (inputs.bias_input * scale)
        return out.add_(self._per_output(biases, out))

    def _per_output(self, values: Tensor, like: Tensor) -> Tensor:
        """One value per output, broadcastable to an output tensor."""
        return values if self.outputs_last else values.reshape(-1, *[1] * (like.ndim - 2))
