"""How much of a model a crossbar holds, and what stays digital."""

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
    """Counts of parameters after BatchNorm folding, and the digital modules by name.

    digital: module -> parameters that stay digital. matrices: those among them whose weights a crossbar could hold if
    their layer were supported. multiplies: counted on an example input, None without one.
    """

    analog_weights: int
    total_weights: int
    layers: tuple[str, ...]
    biases: int
    digital: dict[str, int]
    matrices: tuple[str, ...]
    folding: Folding
    multiplies: MacCount | None = None

    def require_all_analog(self) -> None:
        """Raise InputError when weights that a crossbar could hold stay digital.

        Biases, normalisations, lookups (embeddings) and parameters of shape (1, ...), such as class tokens and
        position embeddings, are no such weights. Without an example input that is all that is known; with one (see
        `coverage`), modules that do no multiplies of their own are let pass too.
        """
        found = [name for name in self.matrices if self.multiplies is None or name in self.multiplies.digital]
        if found:
            named = ", ".join(f"{name or 'the model itself'} ({self.digital[name]:,} parameters)" for name in found)
            raise InputError(f"strict: weights of these modules would stay digital: {named}.")

    def line(self) -> str:
        """One sentence for a person."""
        share = 100.0 * self.analog_weights / self.total_weights
        named = [f"{name or 'the model itself'} ({self._share(name, count)})" for name, count in self.digital.items()]
        parts = [
            f"{self.analog_weights:,} of {self.total_weights:,} parameters ({share:.1f} %)"
            + (f" and {self.multiplies.share:.1f} % of the multiplies" if self.multiplies else "")
            + f" are analog, in {len(self.layers)} layers",
            f"digital: {', '.join([f'biases ({self.biases:,})', *named])}",
        ]
        if self.multiplies and self.multiplies.digital:
            counts = ", ".join(f"{name} ({self.multiplies.of(name):.1f} %)" for name in self.multiplies.digital)
            parts.append(f"digital multiplies: {counts}")
        if self.folding.folded:
            parts.append(f"{len(self.folding.folded)} BatchNorm folded into the weights")
        if self.folding.kept:
            kept = [f"{name} ({reason})" for name, reason in self.folding.kept.items()]
            parts.append(f"BatchNorm not folded: {', '.join(kept)}")
        return "; ".join(parts) + "."

    def _share(self, name: str, count: int) -> str:
        return f"{count:,}"


def count_coverage(model: nn.Module, folding: Folding) -> Coverage:
    """The coverage of a model whose BatchNorms have been folded as `folding` says."""
    matrices = analog_weights(model)
    arrays = {id(matrix.parameter) for matrix in matrices.values()}
    holders = {id(matrix.module) for matrix in analog_weights(model, every_use=True).values()}
    seen: set[int] = set()
    analog = biases = 0
    digital: dict[str, int] = {}
    unheld: list[str] = []
    for name, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if id(parameter) in arrays:
                analog += parameter.numel()
            elif id(module) in holders and "bias" in attribute:
                biases += parameter.numel()
            else:
                digital[name] = digital.get(name, 0) + parameter.numel()
                if _is_matrix(module, parameter) and name not in unheld:
                    unheld.append(name)
    total = analog + biases + sum(digital.values())
    layers = tuple(matrix.layer for matrix in matrices.values())
    return Coverage(analog, total, layers, biases, digital, tuple(unheld), folding)


def _is_matrix(module: nn.Module, parameter: Tensor) -> bool:
    """Whether inputs are multiplied with it, as far as its module and shape tell."""
    if isinstance(module, LOOKUPS_AND_NORMS):
        return False
    return sum(size > 1 for size in parameter.shape) > 1 and parameter.shape[0] > 1
