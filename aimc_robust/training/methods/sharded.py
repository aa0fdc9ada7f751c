"""Methods on a model whose parameters FSDP2 splits over processes: what they cannot do, and gradients of a pass."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from aimc_robust.errors import InputError
from aimc_robust.noise.analog_weights import unwrap_model
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.noise.shards import is_sharded


def check_shards(model: nn.Module, method: str, obstacle: str) -> None:
    """Raise InputError if `model` is sharded and the method has an obstacle: why it needs whole models."""
    inner = unwrap_model(model)
    if not is_sharded(inner):
        return
    if obstacle:
        raise InputError(
            f"{method} cannot train a model that fully_shard splits over processes: {obstacle}. Change that, or use "
            "DistributedDataParallel."
        )
    check_model(inner, shards=True)


def gradients_of_backward(
    loss_fn: Callable[[], Tensor], model: nn.Module, weights: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return the gradients that `loss_fn().backward()` leaves in `weights`; p.grad of the model is unchanged.

    FSDP2 gathers weights outside of the graph, so that `torch.autograd.grad` knows no sharded weight. Its gradients are
    averaged over all processes.
    """
    parameters = list(model.parameters())  # now: after the forward pass the model has gathered ones
    before = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    loss_fn().backward()
    gradients = [weight.grad for weight in weights]
    for parameter, gradient in zip(parameters, before, strict=True):
        parameter.grad = gradient
    if all(gradient is None for gradient in gradients):
        raise InputError(
            "the pass left no gradient in the sharded weights: a method that ascends needs it averaged in every pass; "
            "remove set_requires_gradient_sync(False), and any frozen weights in scope."
        )
    return gradients
