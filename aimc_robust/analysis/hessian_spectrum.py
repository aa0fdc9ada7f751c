"""Leading eigenvalues and spectral density of the loss's Hessian, by Lanczos over a whole data set.

The Hessian is that of the mean loss over all items, in evaluation mode: batches are only parts of a sum, so that the
result depends on their size by rounding alone. The density is a stochastic Lanczos quadrature.

References:
    B. Ghorbani, S. Krishnan, Y. Xiao, An Investigation into Neural Net Optimization via Hessian Eigenvalue Density,
    ICML 2019, Sec. 2 and Alg. 1 (what Fig. A6 of the m-RWP paper uses).
    S. Ubaru, J. Chen, Y. Saad, SIAM J. Matrix Anal. Appl. 38, 1075, 2017 (error of the quadrature).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aimc_robust.analysis.hessian_products import (
    differentiable_gradient,
    hessian_vector_product,
    twice_differentiable,
)
from aimc_robust.analysis.lanczos import lanczos
from aimc_robust.data.batches import Batches, repeatable, split_whole
from aimc_robust.errors import DataError, DivergenceError, InputError, require_finite, require_whole
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.layers.input_stage import InputStage
from aimc_robust.noise.analog_weights import Scope, layer_name, unwrap_model, weights_in_scope
from aimc_robust.noise.base import standard_normal
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.task import Task
from aimc_robust.training.methods.gradient_passes import LossFunction, loss_and_items


@dataclass(frozen=True, eq=False)
class HessianSpectrum:
    """Leading eigenvalues and density of a Hessian.

    Attributes:
        parameters: Number of parameters, the order of the Hessian.
        eigenvalues: The largest eigenvalues, in descending order, as found by Lanczos: never above the true largest.
        errors: For each of them, how far from it an eigenvalue of the Hessian lies at most. If one is not small
            against the distance to the next eigenvalue, more steps are needed.
        lowest: The lowest Ritz value: never below the true smallest eigenvalue.
        eigenvectors: For each eigenvalue: parameter name -> its part of the unit eigenvector.
        nodes: (probes, steps) Ritz values of each start vector, ascending.
        weights: (probes, steps) their weights, which add up to 1 for each start vector.
    """

    parameters: int
    eigenvalues: tuple[float, ...]
    errors: tuple[float, ...]
    lowest: float
    eigenvectors: tuple[Mapping[str, Tensor], ...]
    nodes: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    @property
    def trace(self) -> float:
        """The estimated sum of all eigenvalues, a mean over start vectors."""
        return float(self._traces.mean())

    @property
    def trace_se(self) -> float:
        """Standard error of `trace`, from the spread over start vectors; NaN for a single one."""
        probes = len(self._traces)
        return float(self._traces.std(ddof=1)) / math.sqrt(probes) if probes > 1 else math.nan

    @property
    def _traces(self) -> npt.NDArray[np.float64]:
        return self.parameters * (self.nodes * self.weights).sum(axis=1)

    def density(self, points: npt.ArrayLike, *, width: float) -> npt.NDArray[np.float64]:
        """Return the spectral density at points: the share of eigenvalues per unit, a Gaussian in place of each.

        Args:
            points: Values of lambda.
            width: Standard deviation of the Gaussians, above 0, in the units of the eigenvalues.

        Raises:
            InputError: If the width is not above 0.
        """
        return spectral_density(self.nodes, self.weights, points, width=width)


def spectral_density(
    nodes: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], points: npt.ArrayLike, *, width: float
) -> npt.NDArray[np.float64]:
    """Return the mean over rows of sum_i weight_i N(point; node_i, width^2); see `HessianSpectrum.density`."""
    require_finite("width", width)
    if width == 0.0:
        raise InputError(f"width must be above 0, got {width!r}; use about a hundredth of the largest eigenvalue.")
    distances = (np.asarray(points, dtype=float)[..., None] - nodes.ravel()) / width
    kernels = np.exp(-0.5 * distances**2) / (width * math.sqrt(2.0 * math.pi))
    return kernels @ weights.ravel() / len(weights)


@float32_convolutions()
def hessian_spectrum(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Batches,
    *,
    eigenvalues: int = 5,
    steps: int = 80,
    probes: int = 1,
    scope: Scope = "all",
    seed: int = 0,
) -> HessianSpectrum:
    """Return the largest eigenvalues of the loss's Hessian, and its spectral density.

    Each step is a pass over all data, at about the cost of an epoch of SAM. The vectors of one start vector are in
    memory together: `steps` times the size of the weights. The model is unchanged bit for bit.

    An eigenvalue that occurs several times may be found once, until the number of steps exceeds that of different
    eigenvalues. At the kinks of ReLU and max-pooling the second derivative is that of one side.

    Args:
        model: The trained model, with weights in float32 or float64.
        loss_fn: Function (output, target) -> mean loss of a batch, or a task such as `ar.Regression()`.
        batches: Labelled data, as for `evaluate`; passed `steps * probes` times.
        eigenvalues: Number of eigenvalues, at most `steps`.
        steps: Lanczos steps for each start vector; with fewer parameters, one for each parameter.
        probes: Random start vectors for the density. The eigenvalues are those of the first one.
        scope: Parameters that the Hessian is over: `all` or `weights` (those that crossbars store), or a predicate.
        seed: Root seed of the start vectors, which do not depend on the model's device and dtype.

    Raises:
        DataError: If there is no data.
        InputError: If an argument is invalid, or the loss cannot be differentiated twice.
        DivergenceError: If the Hessian is not finite at the model's weights.

    Examples:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> inputs = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> spectrum = hessian_spectrum(model, nn.MSELoss(), [(inputs, torch.zeros(2, 1))], eigenvalues=2)
        >>> [round(value, 4) for value in spectrum.eigenvalues]
        [4.0, 1.0]
    """
    require_whole("steps", steps, low=1)
    require_whole("eigenvalues", eigenvalues, low=1, high=steps)
    require_whole("probes", probes, low=1)
    require_whole("seed", seed, low=0)
    check_model(model)
    model = unwrap_model(model)
    data = repeatable(split_whole(batches, loss_fn if isinstance(loss_fn, Task) else None))
    with twice_differentiable(model, weights_in_scope(model, scope)) as weights:
        _check_weights(model, weights)
        parameters = sum(weight.numel() for weight in weights.values())
        steps = min(steps, parameters)
        product, axes = _product(model, loss_fn, data, weights), Axes(seed).at(use="lanczos")
        leading = range(steps - 1, max(steps - 1 - eigenvalues, -1), -1)
        vectors: tuple[Mapping[str, Tensor], ...] = ()
        ritz: list[npt.NDArray[np.float64]] = []
        for probe in range(probes):
            run = lanczos(product, _start_vectors(weights, axes.at(probe=probe)), steps)
            ritz.append(torch.stack([run.ritz_values, run.quadrature_weights, run.residuals]).numpy())
            if probe == 0:
                vectors = tuple(_by_name(run.ritz_vector(index), weights) for index in leading)
    nodes, shares, residuals = np.stack(ritz, axis=1)
    return HessianSpectrum(
        parameters=parameters,
        eigenvalues=tuple(float(nodes[0, index]) for index in leading),
        errors=tuple(float(residuals[0, index]) for index in leading),
        lowest=float(nodes.min()),
        eigenvectors=vectors,
        nodes=nodes,
        weights=shares,
    )


def _check_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    arrays = next((name for name, module in model.named_modules() if isinstance(module, InputStage)), None)
    if arrays is not None:
        raise InputError(
            f"the layer {arrays!r} computes in arrays, whose converters and read noise have no second derivative; pass "
            "the digital model, or a chip without them."
        )
    dtypes = {weight.dtype for weight in weights.values()}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        names = ", ".join(sorted(str(dtype) for dtype in dtypes))
        raise InputError(
            f"the Hessian needs weights that are all float32 or all float64, got {names}; call model.float() first."
        )


def _product(
    model: nn.Module, loss_fn: LossFunction, batches: Iterable[Batch], weights: Mapping[str, nn.Parameter]
) -> Callable[[Tensor], Tensor]:
    """Return the function v -> H v (parameters,) in float64, a mean over all items of all batches."""

    def product(vector: Tensor) -> Tensor:
        named, total, items = _by_name(vector, weights), torch.zeros_like(vector, dtype=torch.float64), 0
        for batch in batches:
            loss, count = loss_and_items(model, loss_fn, batch)
            if count == 0:  # a batch of nothing but ignored tokens
                continue
            gradient = differentiable_gradient(loss, weights)
            products = hessian_vector_product(gradient, weights, named, retain_graph=False)
            total += count * torch.cat([part.detach().flatten() for part in products.values()])
            items += count
        if items == 0:
            raise DataError("expected at least one batch of images and labels, got none.")
        if not bool(total.isfinite().all()):
            raise DivergenceError("the Hessian is not finite at these weights; check the loss and the data for NaN.")
        return total / items

    return product


def _start_vectors(weights: Mapping[str, Tensor], axes: Axes) -> Callable[[int], Tensor]:
    """Return the function number -> a random vector (parameters,), drawn parameter by parameter on the CPU."""

    def draw(number: int) -> Tensor:
        parts = (
            standard_normal(weight, axes.at(layer=layer_name(name), vector=number).generator()).flatten()
            for name, weight in weights.items()
        )
        return torch.cat(list(parts)).detach()

    return draw


def _by_name(vector: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameter name -> its part of a vector of all parameters."""
    parts = vector.split([weight.numel() for weight in weights.values()])
    return {name: part.view(weight.shape) for part, (name, weight) in zip(parts, weights.items(), strict=True)}
