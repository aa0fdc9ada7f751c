"""Coverage: how much of a model a crossbar stores, and what stays digital."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from aimc_robust.errors import InputError
from aimc_robust.hardware.conversion.batchnorm_folding import Folding
from aimc_robust.hardware.conversion.mac_count import MacCount
from aimc_robust.noise.analog_weights import analog_weights

LOOKUPS_AND_NORMS = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)


@dataclass(frozen=True)
class Coverage:
    """Analog and digital parts of a model after BatchNorm folding.

    Attributes:
        analog_parameters: Number of parameters that crossbars store.
        total_parameters: Number of all parameters.
        layers: Names of the weight matrices that crossbars store.
        bias_parameters: Number of biases of these layers, which stay digital by default.
        digital_parameters: Name of each digital module -> number of its parameters.
        digital_matrices: Those digital modules whose weights a crossbar could store if their type were supported.
        folding: Which BatchNorms were folded.
        macs: Multiply-accumulate operations for an example input; None without one.
    """

    analog_parameters: int
    total_parameters: int
    layers: tuple[str, ...]
    bias_parameters: int
    digital_parameters: dict[str, int]
    digital_matrices: tuple[str, ...]
    folding: Folding
    macs: MacCount | None = None

    def require_all_analog(self) -> None:
        """Raise `InputError` if weights that a crossbar could store stay digital.

        Biases, normalizations, lookups (embeddings) and parameters of shape (1, ...), such as class tokens and position
        embeddings, do not count. With an example input (see `coverage`), modules without matrix products of their own
        do not count either.
        """
        names = [name for name in self.digital_matrices if self.macs is None or name in self.macs.digital]
        if names:
            listed = ", ".join(
                f"{name or 'the model itself'} ({self.digital_parameters[name]:,} parameters)" for name in names
            )
            raise InputError(f"strict: weights of these modules would stay digital: {listed}.")

    def summary(self) -> str:
        """Summarize the coverage in one sentence."""
        share = 100.0 * self.analog_parameters / self.total_parameters
        digital = [f"{name or 'the model itself'} ({count:,})" for name, count in self.digital_parameters.items()]
        parts = [
            f"{self.analog_parameters:,} of {self.total_parameters:,} parameters ({share:.1f} %)"
            + (f" and {self.macs.analog_percent:.1f} % of the multiplies" if self.macs else "")
            + f" are analog, in {len(self.layers)} layers",
            f"digital: {', '.join([f'biases ({self.bias_parameters:,})', *digital])}",
        ]
        if self.macs and self.macs.digital:
            counts = ", ".join(f"{name} ({self.macs.digital_percent(name):.1f} %)" for name in self.macs.digital)
            parts.append(f"digital multiplies: {counts}")
        if self.folding.folded:
            parts.append(f"{len(self.folding.folded)} BatchNorm folded into the weights")
        if self.folding.not_folded:
            reasons = [f"{name} ({reason})" for name, reason in self.folding.not_folded.items()]
            parts.append(f"BatchNorm not folded: {', '.join(reasons)}")
        return "; ".join(parts) + "."


def count_coverage(model: nn.Module, folding: Folding) -> Coverage:
    """Count the coverage of a model after BatchNorm folding, without MAC counts."""
    matrices = analog_weights(model)
    stored = {id(matrix.parameter) for matrix in matrices.values()}
    analog_modules = {id(matrix.module) for matrix in analog_weights(model, include_shared=True).values()}
    counted: set[int] = set()
    analog = biases = 0
    digital: dict[str, int] = {}
    digital_matrices: list[str] = []
    for name, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            if id(parameter) in counted:
                continue
            counted.add(id(parameter))
            if id(parameter) in stored:
                analog += parameter.numel()
            elif id(module) in analog_modules and "bias" in attribute:
                biases += parameter.numel()
            else:
                digital[name] = digital.get(name, 0) + parameter.numel()
                if _is_matrix(module, parameter) and name not in digital_matrices:
                    digital_matrices.append(name)
    total = analog + biases + sum(digital.values())
    layers = tuple(matrix.layer for matrix in matrices.values())
    return Coverage(analog, total, layers, biases, digital, tuple(digital_matrices), folding)


def _is_matrix(module: nn.Module, parameter: Tensor) -> bool:
    """Whether inputs are multiplied with the parameter, judged by its module and shape."""
    if isinstance(module, LOOKUPS_AND_NORMS):
        return False
    return sum(size > 1 for size in parameter.shape) > 1 and parameter.shape[0] > 1
