"""Networks by name: our own, torchvision's, or any function that returns a module."""

import importlib
import sys
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aimc_robust.bench.resnet import ResNet
from aimc_robust.bench.small_cnn import SmallCNN
from aimc_robust.bench.spec import ModelSpec
from aimc_robust.errors import InputError, MissingDependencyError, unknown_name
from aimc_robust.seeding import Axes

OWN = {"small-cnn": SmallCNN, "resnet": ResNet}


class Example(Protocol):
    """What a network is built for: shape (C, H, W) of an image, number of classes, two images."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def classes(self) -> int: ...

    @property
    def example(self) -> Tensor: ...


def build_model(spec: ModelSpec, data: Example, *, seed: int) -> nn.Module:
    """The network that a spec names, freshly initialised from `seed`, checked to turn these images into class scores.

    Raises UnknownNameError or InputError; MissingDependencyError when torchvision is needed and absent.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Axes(seed).at(use="init").seed())
        model = _construct(spec, data)
        _check(model, spec.name, data)
    return model


def _construct(spec: ModelSpec, data: Example) -> nn.Module:
    if spec.name in OWN:
        return _called(OWN[spec.name], spec, in_channels=data.shape[0], classes=data.classes)
    source, _, name = spec.name.partition(":")
    if not name:
        raise unknown_name("model", spec.name, [*OWN, "torchvision:NAME", "package.module:function"])
    if source == "torchvision":
        return _torchvision(name, spec, data)
    model = _called(named_function(source, name), spec)
    if not isinstance(model, nn.Module):
        raise InputError(f"model {spec.name} returned {type(model).__name__}; expected a torch.nn.Module.")
    return model


def _torchvision(name: str, spec: ModelSpec, data: Example) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise MissingDependencyError(
            f"model {spec.name} needs torchvision ({error}); install it with: pip install 'aimc-robust[vision]'"
        ) from None
    if name not in models.list_models():
        raise unknown_name("torchvision model", name, models.list_models())
    return _called(models.get_model, spec, name, weights=None, num_classes=data.classes)


def named_function(module: str, name: str, *, what: str = "model") -> Any:
    """The function `name` of `module`, looked for in the working directory too, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever a user's module raises
        raise InputError(f"{what} {module}:{name}: the module cannot be imported: {error}.") from None
    if not callable(function):
        raise InputError(f"{what} {module}:{name}: the module {module} has no function {name}.")
    return function


def _called(function: Any, spec: ModelSpec, *args: Any, **given: Any) -> Any:
    try:
        return function(*args, **given, **spec.options)
    except Exception as error:  # whatever a user's function raises
        raise InputError(f"model {spec.name} cannot be built with the options {spec.options}: {error}.") from None


def _check(model: nn.Module, name: str, data: Example) -> None:
    was_training = model.training
    try:
        with torch.no_grad():
            scores = model.eval()(data.example)
    except Exception as error:  # whatever a user's forward raises
        raise InputError(f"model {name} does not take images of shape {data.shape} (C, H, W): {error}.") from None
    model.train(was_training)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != 2 or scores.shape[1] < data.classes:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"model {name} returns {got} for 2 images; expected (2, {data.classes}).")
