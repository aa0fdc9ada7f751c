"""Products of the loss's Hessian with vectors, by automatic differentiation, at the weights of a model.

At the kinks of ReLU and max-pooling the second derivative is that of one side.

References:
    B. A. Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6, 147, 1994.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from aimc_robust.analysis.expected_rise import differentiable
from aimc_robust.errors import InputError


@contextmanager
def twice_differentiable(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, nn.Parameter]]:
    """Yield the named parameters, in evaluation mode and with kernels that have a second derivative.

    Only these parameters require gradients. The model's state is restored on exit. Raises UnknownNameError for a name
    that is not a parameter.
    """
    with sdpa_kernel(SDPBackend.MATH), differentiable(model, names) as weights:
        yield weights


def differentiable_gradient(loss: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient, with its graph, of each weight for which it depends on the weights; elsewhere H is 0."""
    if not loss.requires_grad:
        return {}
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
    return {name: g for name, g in zip(weights, gradients, strict=True) if g is not None and g.requires_grad}


def hessian_vector_product(
    gradient: Mapping[str, Tensor], weights: Mapping[str, Tensor], vector: Mapping[str, Tensor], *, retain_graph: bool
) -> dict[str, Tensor]:
    """Return H v for each weight."""
    if not gradient:
        return {name: torch.zeros_like(weight) for name, weight in weights.items()}
    message = "the model or its loss cannot be differentiated twice"
    if _has_once_differentiable(gradient.values()):
        raise InputError(f"{message}: a function in it is marked once_differentiable.")
    try:
        products = torch.autograd.grad(
            list(gradient.values()),
            list(weights.values()),
            [vector[name] for name in gradient],
            retain_graph=retain_graph,
            materialize_grads=True,
        )
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise InputError(f"{message}: {error}.") from error
    return dict(zip(weights, products, strict=True))


def _has_once_differentiable(gradient: Iterable[Tensor]) -> bool:
    """Whether the gradient's graph ends at a once_differentiable function, which torch would treat as a constant."""
    nodes: list[Any] = [g.grad_fn for g in gradient]
    visited: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in visited:
            continue
        if node.name().endswith("::Error"):
            return True
        visited.add(node)
        nodes += [following for following, _ in node.next_functions]
    return False
