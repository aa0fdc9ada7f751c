"""Which parameters a perturbation touches."""

from collections.abc import Callable

from torch import nn

from aimc_robust.errors import InputError, require_known

Scope = str | Callable[[str, nn.Parameter], bool]
"""`weights`: weights of convolutions and linear layers; `all`: every parameter; or a predicate of (name, parameter)."""

SCOPES = ("weights", "all")
# Transposed convolutions keep their filters along dimension 1 and stay digital until they are mapped as such.
ANALOG_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def analog_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> layer, for the layers whose weights a crossbar holds. A layer reached by two names appears once."""
    return {
        name: module
        for name, module in model.named_modules()
        # A computed weight (weight_norm and other parametrisations) is no parameter that could be programmed.
        if isinstance(module, ANALOG_LAYERS) and module._parameters.get("weight") is not None
    }


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
        weights = {id(layer.weight) for layer in analog_layers(model).values()}
        chosen = {name: p for name, p in parameters.items() if id(p) in weights}
    elif scope == "all":
        chosen = parameters
    else:
        check_scope(scope)
        chosen = {name: p for name, p in parameters.items() if scope(name, p)}
    if not chosen:
        raise InputError(
            f"{type(model).__name__} has no parameter in scope {scope!r}; expected at least one convolution or "
            "linear layer, or a scope that picks some of its parameters."
        )
    return chosen
