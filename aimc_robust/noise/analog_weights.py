"""Which parameters a perturbation affects, and the layout of the weights of each layer type."""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from aimc_robust.errors import InputError, require_known
from aimc_robust.noise.model_kinds import check_model

ScopeName = Literal["weights", "all"]
"""`weights`: what a crossbar stores (see `analog_weights`); `all`: every parameter."""

Scope = ScopeName | Callable[[str, nn.Parameter], bool]
"""The name of a scope, or a predicate of (name, parameter)."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
ANALOG_LAYERS = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)

TRANSFORMERS_CONV1D = "transformers.pytorch_utils"  # the module of Conv1D: a linear layer, weight (inputs, outputs)

AnalogLayer = (
    nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)


@dataclass(frozen=True)
class AnalogWeight:
    """One weight matrix that a crossbar stores, with the bias that belongs to it.

    Attributes:
        name: Name of the parameter.
        array_owner: Name of the layer whose arrays store it: the first of those that share the parameter.
        module: Layer of the weight.
        parameter: The weight.
        bias: View of the layer's bias for these outputs, or None.
    """

    name: str
    array_owner: str
    module: nn.Module
    parameter: Tensor
    bias: Tensor | None

    @property
    def layer(self) -> str:
        """Name of the weight in tables and ranges: the layer's name, or the parameter's own."""
        return layer_name(self.name)

    @property
    def groups(self) -> int:
        """Number of groups of a convolution, each with its own arrays; 1 for other layers."""
        return self.module.groups if isinstance(self.module, (*CONVOLUTIONS, *TRANSPOSED)) else 1

    def filters_first(self, values: Tensor | None = None) -> Tensor:
        """Return values of the parameter's shape, or the parameter, with one entry per output along dimension 0."""
        values = self.parameter.detach() if values is None else values
        if is_transformers_conv1d(self.module):
            return values.T
        if not isinstance(self.module, TRANSPOSED):
            return values
        return values.unflatten(0, (self.module.groups, -1)).transpose(1, 2).flatten(0, 1)

    def bias_source(self) -> tuple[nn.Parameter, slice]:
        """Return the parameter that `bias` is a view of, and its part; attention has one for three matrices."""
        assert self.bias is not None
        address = self.bias.untyped_storage().data_ptr()
        vectors = (p for p in self.module._parameters.values() if p is not None and p.ndim == 1)
        parameter = next(p for p in vectors if p.untyped_storage().data_ptr() == address)
        start = int(self.bias.storage_offset() - parameter.storage_offset())
        return parameter, slice(start, start + len(self.bias))

    def to_parameter_layout(self, filters: Tensor) -> Tensor:
        """Invert `filters_first`, which is its own inverse."""
        return self.filters_first(filters)


def is_transformers_conv1d(module: nn.Module) -> bool:
    """Check for the `Conv1D` of Hugging Face transformers (GPT-2), a linear layer; it need not be installed."""
    library = sys.modules.get(TRANSFORMERS_CONV1D)
    return library is not None and isinstance(module, library.Conv1D)


def is_analog_layer(module: nn.Module) -> TypeGuard[AnalogLayer]:
    """Check for a linear layer, a convolution or a transposed convolution."""
    return isinstance(module, ANALOG_LAYERS) or is_transformers_conv1d(module)


def layer_name(parameter: str) -> str:
    """Name in seeds, ranges and tables of the weight with this parameter name."""
    return parameter.replace("_orig_mod.", "").removesuffix(".weight")  # torch.compile's wrapper is not a layer


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the model inside its wrappers, so that layer names do not depend on how the model is run."""
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            inner: nn.Module | None = model.module
        elif "_orig_mod" in model._modules:  # torch.compile's OptimizedModule
            inner = model._modules["_orig_mod"]
        else:  # Lightning Fabric
            inner = dict(model.named_children()).get("_forward_module")
        if inner is None:
            return model
        model = inner


def analog_weights(model: nn.Module, *, include_shared: bool = False) -> dict[str, AnalogWeight]:
    """Find all weight matrices that a crossbar can store: parameter name -> weight matrix, in the order of the model.

    These are the weights of linear layers (transformers' `Conv1D` too), convolutions and transposed convolutions;
    the in and out projections of
    MultiheadAttention; input, recurrent and projection weights of RNN, LSTM, GRU and their cells. Computed weights
    (weight_norm and other parametrizations) are not parameters that could be programmed and are omitted.

    `include_shared`: whether a parameter that several layers share appears once for each of them instead of only under
    its first name.
    """
    weights: dict[str, AnalogWeight] = {}
    owners: dict[int, str] = {}
    for prefix, module in model.named_modules():
        for attribute, bias in _matrices(module):
            parameter = module._parameters.get(attribute)
            if parameter is None or (id(parameter) in owners and not include_shared):
                continue
            name = f"{prefix}.{attribute}" if prefix else attribute
            owner = owners.setdefault(id(parameter), layer_name(name))
            weights[name] = AnalogWeight(name, owner, module, parameter, bias)
    return weights


def _matrices(module: nn.Module) -> list[tuple[str, Tensor | None]]:
    """(attribute of a weight matrix, view of its bias) of one module, without its children."""
    if is_analog_layer(module):
        return [("weight", None if module.bias is None else module.bias.detach())]
    if isinstance(module, nn.MultiheadAttention):
        bias = None if module.in_proj_bias is None else module.in_proj_bias.detach()
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        separate = zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), biases, strict=True)
        return [("in_proj_weight", bias), *separate]
    if isinstance(module, RECURRENT):
        recurrent_biases = {
            name.replace("bias_", "weight_"): value.detach()
            for name, value in module._parameters.items()
            if "bias" in name and value is not None
        }
        return [(name, recurrent_biases.get(name)) for name in module._parameters if name.startswith("weight_")]
    return []


def check_scope(scope: Scope) -> None:
    """Raise `UnknownNameError` unless `scope` is a `ScopeName` or a predicate."""
    if not callable(scope):
        require_known("scope", scope, get_args(ScopeName))


def weights_in_scope(model: nn.Module, scope: Scope = "weights", *, shards: bool = False) -> dict[str, nn.Parameter]:
    """Find the parameters, trainable or frozen, that a perturbation affects; a shared one under its first name.

    `shards`: whether they may be DTensors of a model that `fully_shard` splits.

    Raises:
        InputError: if no parameter is in scope.
        UnknownNameError: if `scope` is an unknown name.
    """
    check_model(model, shards=shards)
    return select_weights(model, scope)


def select_weights(model: nn.Module, scope: Scope, analog: Collection[int] | None = None) -> dict[str, nn.Parameter]:
    """Do as `weights_in_scope` for a checked model; `analog`: ids of its `analog_weights`, if they are known."""
    check_scope(scope)
    parameters = dict(model.named_parameters())
    if callable(scope):
        selected = {name: p for name, p in parameters.items() if scope(name, p)}
    elif scope == "all":
        selected = parameters
    else:
        weights = {id(w.parameter) for w in analog_weights(model).values()} if analog is None else analog
        selected = {name: p for name, p in parameters.items() if id(p) in weights}
    if not selected:
        raise InputError(
            f"{type(model).__name__} has no parameter in scope {scope!r}; expected at least one layer that a crossbar "
            "can store (convolution, linear, attention, recurrent), or a scope that selects some parameters."
        )
    return selected
