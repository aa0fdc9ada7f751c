"""Coverage: how much of a model a crossbar stores, and what stays digital."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from aimc_robust.errors import InputError, join_names, warn
from aimc_robust.hardware.config.placement import Hardware, stored_weights
from aimc_robust.hardware.conversion.batchnorm_folding import Folding
from aimc_robust.hardware.conversion.mac_count import MacCount
from aimc_robust.hardware.conversion.mapping_summary import MappingSummary
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.model_kinds import require_real_values

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
        kept_digital: Name of each layer that a crossbar could hold and that is digital by choice -> number of its
            parameters.
        digital_matrices: Those digital modules whose weights a crossbar could store if their type were supported.
        folding: Which BatchNorms were folded.
        macs: Multiply-accumulate operations for an example input; None without one.
        mapping: The arrays of each layer on a crossbar; None without one.
    """

    analog_parameters: int
    total_parameters: int
    layers: tuple[str, ...]
    bias_parameters: int
    digital_parameters: dict[str, int]
    digital_matrices: tuple[str, ...]
    folding: Folding
    macs: MacCount | None = None
    mapping: MappingSummary | None = None
    kept_digital: dict[str, int] = field(default_factory=dict)

    def require_all_analog(self) -> None:
        """Raise `InputError` if weights that a crossbar could store stay digital.

        Biases, normalizations, lookups (embeddings) and parameters of shape (1, ...), such as class tokens and position
        embeddings, do not count. With an example input (see `coverage`), parameters that nothing is multiplied with
        do not count either, and operations that may multiply and cannot be counted are refused.
        """
        if names := self.digital_layers():
            raise InputError(f"strict: weights of these modules would stay digital: {self._listed(names)}.")
        if self.macs is not None and self.macs.unknown:
            listed = "; ".join(f"{_shown(name)}: {', '.join(found)}" for name, found in self.macs.unknown.items())
            raise InputError(f"strict: these operations may multiply and cannot be counted: {listed}.")

    def digital_layers(self) -> list[str]:
        """Modules whose weights a crossbar could store if their type were supported, see `require_all_analog`."""
        if self.macs is None:
            return list(self.digital_matrices)
        multiplied = {name.rpartition(".")[0] for name in self.macs.digital_weights}
        multiplied |= set(self.macs.unknown) & set(self.digital_matrices)  # how often, cannot be counted
        return [name for name in self.digital_parameters if name in multiplied]

    def warn_if_digital(self) -> None:
        """Warn of weights that a crossbar could store and that stay digital, by name and share."""
        if names := self.digital_layers():
            warn(
                f"weights stay digital and exact, because their modules are of no type that a crossbar can hold: "
                f"{self._listed(names)}. Replace them by linear layers or convolutions; strict=True makes this an "
                "error, strict=False accepts it.",
            )

    def _listed(self, names: list[str]) -> str:
        counts = {name: self.digital_parameters[name] for name in names}
        return join_names(
            [f"{_shown(n)} ({c:,} parameters, {100.0 * c / self.total_parameters:.1f} %)" for n, c in counts.items()],
            limit=8,
        )

    def summary(self) -> str:
        """Summarize the coverage in one sentence, and the arrays in another."""
        share = 100.0 * self.analog_parameters / self.total_parameters
        digital = [f"{_shown(name)} ({count:,})" for name, count in self.digital_parameters.items()]
        parts = [
            f"{self.analog_parameters:,} of {self.total_parameters:,} parameters ({share:.1f} %)"
            + (f" and {self.macs.analog_percent:.1f} % of the multiplies" if self.macs else "")
            + f" are analog, in {len(self.layers)} layer{'s' * (len(self.layers) != 1)}",
            f"digital: {', '.join([f'biases ({self.bias_parameters:,})', *digital])}",
        ]
        if self.kept_digital:
            kept = [f"{name} ({count:,})" for name, count in self.kept_digital.items()]
            parts.append(f"kept digital by choice: {', '.join(kept)}")
        if self.macs and self.macs.digital:
            counts = ", ".join(
                f"{_shown(name)} ({self.macs.digital_percent(name):.1f} %)" for name in self.macs.digital
            )
            parts.append(f"digital multiplies: {counts}")
        if self.macs and self.macs.unknown:
            counts = ", ".join(f"{_shown(name)} ({', '.join(found)})" for name, found in self.macs.unknown.items())
            parts.append(f"operations that may multiply and cannot be counted: {counts}")
        text = "; ".join([*parts, *self.folding.summary()]) + "."
        return text if self.mapping is None else f"{text} {self.mapping.summary()}"


def _shown(module: str) -> str:
    return module or "the model itself"


def count_coverage(model: nn.Module, folding: Folding, shared: set[int], hardware: Hardware | None = None) -> Coverage:
    """Count the coverage of a model after BatchNorm folding, without MAC counts.

    `shared` are the ids of digital parameters that arrays store too, as in an embedding that the head shares; they
    count as analog, once. `hardware` says which layers are digital by choice.

    Raises:
        InputError: if a layer's weights are complex, or none.
    """
    matrices = stored_weights(model, hardware)
    for matrix in matrices.values():
        require_real_values(matrix.parameter, layer=matrix.layer)
    stored = {id(matrix.parameter) for matrix in matrices.values()}
    analog_modules = {id(matrix.module) for matrix in stored_weights(model, hardware, include_shared=True).values()}
    others = [w for w in analog_weights(model, include_shared=True).values() if id(w.parameter) not in stored]
    kept, kept_modules = ({id(getattr(w, key)): w.array_owner for w in others} for key in ("parameter", "module"))
    kept_digital: dict[str, int] = {}
    counted = set(shared)
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
            elif id(parameter) in kept or (id(module) in kept_modules and "bias" in attribute):
                layer = kept.get(id(parameter)) or kept_modules[id(module)]
                kept_digital[layer] = kept_digital.get(layer, 0) + parameter.numel()
            else:
                digital[name] = digital.get(name, 0) + parameter.numel()
                if _is_matrix(module, parameter) and name not in digital_matrices:
                    digital_matrices.append(name)
    total = analog + biases + sum(digital.values()) + sum(kept_digital.values())
    layers = tuple(matrix.layer for matrix in matrices.values())
    return Coverage(analog, total, layers, biases, digital, tuple(digital_matrices), folding, kept_digital=kept_digital)


def _is_matrix(module: nn.Module, parameter: Tensor) -> bool:
    """Whether inputs are multiplied with the parameter, judged by its module and shape."""
    if isinstance(module, LOOKUPS_AND_NORMS):
        return False
    return sum(size > 1 for size in parameter.shape) > 1 and parameter.shape[0] > 1
