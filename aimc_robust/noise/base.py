"""Abstract base class of weight noise."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from aimc_robust import random_numbers
from aimc_robust.errors import AimcError, InputError, is_out_of_memory
from aimc_robust.seeding import Axes


class WeightNoise(ABC):
    """Base class of anything that turns a named weight tensor into a perturbed one.

    Gaussian and Laplace noise are weight noises, and so is programming the weights onto a crossbar. Training,
    evaluation and sharpness analysis accept any weight noise.

    Attributes:
        supports_any_device: Whether `perturb` accepts a generator of any device. If False it gets a CPU generator.
        accepts_axes: Whether `perturb` accepts `Axes` instead of a generator, and draws by `standard_normal`,
            `standard_laplace` or `random_numbers`: the same numbers on every device. Equal axes give equal numbers: a
            second draw needs axes of its own, such as `axes.at(part=1)`. Subclasses do not inherit it.
    """

    supports_any_device: ClassVar[bool] = False
    accepts_axes: ClassVar[bool] = False

    def check_model(self, model: nn.Module) -> None:  # noqa: B027  # most noises suit any model
        """Raise InputError for a model that the noise does not suit; `perturbed` calls it."""

    @abstractmethod
    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        """Return a perturbed copy of a weight.

        Args:
            name: Name of the weight's layer, or of the parameter if it is not the weight of a layer.
            weight: Weight of any shape with filters along dimension 0; not modified.
            generator: Source of all randomness: a torch generator, or the axes of the weight if the noise accepts them.

        Returns:
            Perturbed weight of the same shape, dtype and device.
        """


def perturb_checked(noise: WeightNoise, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
    """Return `noise.perturb(name, weight, generator)`; an exception or another shape becomes an InputError."""
    code = f"{type(noise).__name__}.perturb"
    with naming_layer(name, code):
        noisy: object = noise.perturb(name, weight, generator)
    if not isinstance(noisy, Tensor) or noisy.shape != weight.shape:
        got = tuple(noisy.shape) if isinstance(noisy, Tensor) else type(noisy).__name__
        raise InputError(
            f"{code} must return a tensor of the weight's shape {tuple(weight.shape)}, got {got} for {name!r}."
        )
    return noisy


@contextmanager
def naming_layer(layer: str, code: str) -> Iterator[None]:
    """Context manager for `code` of a user: what it raises becomes an InputError that names it and the layer.

    Exhausted memory is raised as it is.
    """
    try:
        yield
    except AimcError as error:
        if not isinstance(error, InputError) or repr(layer) in str(error):
            raise
        raise InputError(f"the layer {layer!r}: {error}") from error
    except Exception as error:  # whatever a user's code raises
        if is_out_of_memory(error):
            raise
        message = " ".join(f"{code} raised {type(error).__name__} on the layer {layer!r}: {error}".split())
        raise InputError(f"{message.rstrip(': .')}.") from error


def own_source(noise: WeightNoise, axes: Axes) -> torch.Generator | Axes:
    """Return what a noise draws from for given axes: themselves, or a CPU generator."""
    return axes if vars(type(noise)).get("accepts_axes", False) else axes.generator()


def standard_normal(like: Tensor, generator: torch.Generator | Axes) -> Tensor:
    """Draw standard normal numbers with the shape, device and dtype of a tensor.

    They are drawn in float32 whatever the dtype of `like`, so that a float64 copy of a model sees the same chip: from
    axes the same on every device, from a generator on the generator's device.
    """
    if isinstance(generator, Axes):
        return random_numbers.normal(generator, like)
    draw = torch.randn(like.shape, generator=generator, device=generator.device, dtype=torch.float32)
    return draw.to(device=like.device, dtype=like.dtype)


def standard_laplace(like: Tensor, generator: torch.Generator | Axes) -> Tensor:
    """Draw numbers of the Laplace distribution with mean 0 and parameter 1; see `standard_normal`."""
    if isinstance(generator, Axes):
        return random_numbers.laplace(generator, like)
    # The difference of two standard exponentials, without the log(0) of an inverse CDF.
    draws = torch.empty((2, *like.shape), device=generator.device, dtype=torch.float32)
    draws.exponential_(generator=generator)
    return (draws[0] - draws[1]).to(device=like.device, dtype=like.dtype)
