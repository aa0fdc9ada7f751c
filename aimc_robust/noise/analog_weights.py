"""Which parameters a perturbation touches, and how the weights of each kind of layer are laid out."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from aimc_robust.errors import InputError, require_known

Scope = str | Callable[[str, nn.Parameter], bool]
"""`weights`: what a crossbar holds (`analog_weights`); `all`: every parameter; or a predicate of (name, parameter)."""

SCOPES = ("weights", "all")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
ANALOG_LAYERS = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class AnalogWeight:
    """One weight matrix that a crossbar holds, and the bias that belongs to it.

    name: of the parameter. array: the layer whose arrays hold it, which is the first of those that share the
    parameter. module: its layer. bias: a view of the layer's bias for these outputs, or None.
    """

    name: str
    array: str
    module: nn.Module
    parameter: nn.Parameter
    bias: Tensor | None

    @property
    def layer(self) -> str:
        """What the weight is called in tables and ranges: the layer's name, or the parameter's own."""
        return layer_name(self.name)

    def filters_first(self, values: Tensor | None = None) -> Tensor:
        """The weight (or `values` of its shape) with one filter, that is one output, per entry of dimension 0."""
        values = self.parameter.detach() if values is None else values
        if not isinstance(self.module, TRANSPOSED):
            return values
        return values.unflatten(0, (self.module.groups, -1)).transpose(1, 2).flatten(0, 1)

    def as_stored(self, filters: Tensor) -> Tensor:
        """The inverse of `filters_first`."""
        if not isinstance(self.module, TRANSPOSED):
            return filters
        return filters.unflatten(0, (self.module.groups, -1)).transpose(1, 2).flatten(0, 1)


def layer_name(parameter: str) -> str:
    """What the weight of this name is called in seeds, ranges and tables."""
    return parameter.replace("_orig_mod.", "").removesuffix(".weight")  # torch.compile's wrapper is no layer


def analog_weights(model: nn.Module, *, every_use: bool = False) -> dict[str, AnalogWeight]:
    """Parameter name -> weight matrix, for all that a crossbar holds, in the model's order.

    Weights of linear layers, convolutions and transposed convolutions; the in and out projections of
    MultiheadAttention; input, recurrent and projection weights of RNN, LSTM, GRU and their cells. A computed weight
    (weight_norm and other parametrisations) is no parameter that could be programmed and is left out.
    A parameter that layers share appears once, under its first name; with `every_use` once for each of them.
    """
    found: dict[str, AnalogWeight] = {}
    arrays: dict[int, str] = {}
    for prefix, module in model.named_modules():
        for attribute, bias in _matrices(module):
            parameter = module._parameters.get(attribute)
            if parameter is None or (id(parameter) in arrays and not every_use):
                continue
            name = f"{prefix}.{attribute}" if prefix else attribute
            array = arrays.setdefault(id(parameter), layer_name(name))
            found[name] = AnalogWeight(name, array, module, parameter, bias)
    return found


def _matrices(module: nn.Module) -> list[tuple[str, Tensor | None]]:
    """(attribute of a weight matrix, view of its bias) of one module."""
    if isinstance(module, ANALOG_LAYERS):
        return [("weight", None if module.bias is None else module.bias.detach())]
    if isinstance(module, nn.MultiheadAttention):
        bias = None if module.in_proj_bias is None else module.in_proj_bias.detach()
        parts = (None,) * 3 if bias is None else bias.chunk(3)
        separate = zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), parts, strict=True)
        return [("in_proj_weight", bias), *separate]
    if isinstance(module, RECURRENT):
        biases = {
            name.replace("bias_", "weight_"): value for name, value in module._parameters.items() if "bias" in name
        }
        return [
            (name, None if biases.get(name) is None else biases[name].detach())
            for name in module._parameters
            if name.startswith("weight_")
        ]
    return []


def analog_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> convolution, transposed convolution or linear layer with a weight of its own; shared layers once."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ANALOG_LAYERS) and module._parameters.get("weight") is not None
    }


def outputs_of(layer: nn.Module) -> int:
    """Outputs of a linear layer, or output channels of a convolution."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def check_scope(scope: Scope) -> None:
    """Raise UnknownNameError unless `scope` is one of SCOPES or a predicate."""
    if not callable(scope):
        require_known("scope", scope, SCOPES)


def weights_in_scope(model: nn.Module, scope: Scope = "weights") -> dict[str, nn.Parameter]:
    """Name -> parameter, for the trainable or frozen parameters that a perturbation touches.

    A parameter shared by two layers appears once, under its first name. Raises InputError when there is none.
    """
    parameters = dict(model.named_parameters())
    if scope == "weights":
        weights = {id(weight.parameter) for weight in analog_weights(model).values()}
        chosen = {name: p for name, p in parameters.items() if id(p) in weights}
    elif scope == "all":
        chosen = parameters
    else:
        check_scope(scope)
        chosen = {name: p for name, p in parameters.items() if scope(name, p)}
    if not chosen:
        raise InputError(
            f"{type(model).__name__} has no parameter in scope {scope!r}; expected at least one layer that a crossbar "
            "can hold (convolution, linear, attention, recurrent), or a scope that picks some of its parameters."
        )
    return chosen
