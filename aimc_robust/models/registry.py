"""Networks by name: our own, torchvision's, timm's, or any function that returns a module."""

import difflib
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, MissingDependencyError, unknown_name
from aimc_robust.io.user_code import import_callable
from aimc_robust.models.networks.registry import KNOWN, find_network
from aimc_robust.models.networks.vit import ViT
from aimc_robust.models.spec import ModelSpec
from aimc_robust.seeding import Axes

SOURCES = ("torchvision:NAME", "timm:NAME", "package.module:function")
NEAREST = 12  # of a thousand names of timm, those that a miss lists


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

    Raises as `construct` does, and InputError when the network does not take the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Axes(seed).at(use="init").seed())
        model = construct(spec, data)
        _check(model, spec.name, data)
    return model


def construct(spec: ModelSpec, data: Example) -> nn.Module:
    """The network that a spec names, with weights from torch's global generator and nothing checked about its outputs.

    Under `torch.device("meta")` our own, torchvision's and timm's networks are built without memory for weights.
    Raises UnknownNameError, InputError, or MissingDependencyError when torchvision or timm is needed and absent.
    """
    found = find_network(spec.name)
    if found:
        builder, fixed = found
        sized = {"image_size": data.shape[1:]} if builder is ViT else {}
        return _called(builder, spec, in_channels=data.shape[0], classes=data.classes, **fixed, **sized)
    source, _, name = spec.name.partition(":")
    if not name:
        raise unknown_name("model", spec.name, [*KNOWN, *SOURCES])
    if source == "torchvision":
        return _torchvision(name, spec, data)
    if source == "timm":
        return _timm(name, spec, data)
    model = _called(import_callable(spec.name, what="model"), spec)
    if not isinstance(model, nn.Module):
        raise InputError(f"model {spec.name} returned {type(model).__name__}; expected a torch.nn.Module.")
    return model


def _torchvision(name: str, spec: ModelSpec, data: Example) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise _missing(spec, "torchvision", "vision", error) from None
    if name not in models.list_models():
        raise unknown_name("torchvision model", name, models.list_models())
    return _called(models.get_model, spec, name, weights=None, num_classes=data.classes)


def _timm(name: str, spec: ModelSpec, data: Example) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise _missing(spec, "timm", "timm", error) from None
    known = timm.list_models()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=NEAREST, cutoff=0.0)
        advice = f"(The nearest of {len(known)}; timm.list_models() has all.)"
        raise unknown_name("timm model", name, nearest, advice=advice)
    return _called(timm.create_model, spec, name, pretrained=False, num_classes=data.classes, in_chans=data.shape[0])


def _missing(spec: ModelSpec, package: str, extra: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"model {spec.name} needs {package} ({error}); install it with: pip install 'aimc-robust[{extra}]'"
    )


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
