"""How much of a model a crossbar holds, and what stays digital."""

from dataclasses import dataclass

from torch import nn

from aimc_robust.hardware.fold import Folding
from aimc_robust.noise.scope import analog_layers


@dataclass(frozen=True)
class Coverage:
    """Counts of parameters after BatchNorm folding, and the digital modules by name."""

    analog_weights: int
    total_weights: int
    layers: tuple[str, ...]
    biases: int
    digital: dict[str, int]  # module -> parameters that stay digital
    folding: Folding

    def line(self) -> str:
        """One sentence for a person."""
        share = 100.0 * self.analog_weights / self.total_weights
        named = [f"{name} ({count:,})" for name, count in self.digital.items()]
        parts = [
            f"{self.analog_weights:,} of {self.total_weights:,} parameters ({share:.1f} %) are analog, in "
            f"{len(self.layers)} layers",
            f"digital: {', '.join([f'biases ({self.biases:,})', *named])}",
        ]
        if self.folding.folded:
            parts.append(f"{len(self.folding.folded)} BatchNorm folded into the weights")
        if self.folding.kept:
            kept = [f"{name} ({reason})" for name, reason in self.folding.kept.items()]
            parts.append(f"BatchNorm not folded: {', '.join(kept)}")
        return "; ".join(parts) + "."


def count_coverage(model: nn.Module, folding: Folding) -> Coverage:
    """The coverage of a model whose BatchNorms have been folded as `folding` says."""
    layers = analog_layers(model)
    arrays = {id(layer.weight): name for name, layer in reversed(layers.items())}  # tied layers share one array
    seen: set[int] = set()
    analog = biases = 0
    digital: dict[str, int] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if id(parameter) in arrays:
                analog += parameter.numel()
            elif name in layers:
                biases += parameter.numel()
            else:
                digital[name] = digital.get(name, 0) + parameter.numel()
    total = analog + biases + sum(digital.values())
    return Coverage(analog, total, tuple(reversed(arrays.values())), biases, digital, folding)
