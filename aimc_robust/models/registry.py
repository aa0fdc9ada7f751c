"""Networks by name: built-in ones, torchvision's, timm's, or any function that returns a module."""

import difflib
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, MissingDependencyError, is_out_of_memory, unknown_name
from aimc_robust.io.user_code import import_callable
from aimc_robust.models.networks.registry import NETWORK_NAMES, find_network
from aimc_robust.models.networks.vit import ViT
from aimc_robust.models.spec import ModelSpec
from aimc_robust.seeding import Axes

SOURCES = ("torchvision:NAME", "timm:NAME", "package.module:function")
SUGGESTIONS = 12  # of timm's thousand names, those that the error for an unknown name lists


class DataInfo(Protocol):
    """Properties of the data that a network is built for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def example(self) -> Tensor:
        """Two images (2, C, H, W) as the network takes them."""


def build_model(spec: ModelSpec, data: DataInfo, *, seed: int) -> nn.Module:
    """Build and initialize the network of a spec, and check that it returns class scores for the data.

    Args:
        spec: Spec of the network.
        data: Data that the network is built for.
        seed: Root seed of the initial weights.

    Raises:
        InputError: If the network does not accept the images, or in the cases of `construct`.
        UnknownNameError: If the name is unknown.
        MissingDependencyError: If torchvision or timm is needed and not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Axes(seed).at(use="init").seed())
        model = construct(spec, data)
        _check_outputs(model, spec.name, data)
    return model


def construct(spec: ModelSpec, data: DataInfo) -> nn.Module:
    """Build the network of a spec with weights from torch's global generator, without checking its outputs.

    Under `torch.device("meta")`, built-in networks and those of torchvision and timm take no memory for weights.

    Args:
        spec: Spec of the network.
        data: Data that the network is built for.

    Raises:
        InputError: If the network cannot be built with the options.
        UnknownNameError: If the name is unknown.
        MissingDependencyError: If torchvision or timm is needed and not installed.
    """
    network = find_network(spec.name)
    if network:
        builder, fixed = network
        image_size = {"image_size": data.shape[1:]} if builder is ViT else {}
        return _call(builder, spec, in_channels=data.shape[0], classes=data.classes, **fixed, **image_size)
    source, _, name = spec.name.partition(":")
    if not name:
        raise unknown_name("model", spec.name, [*NETWORK_NAMES, *SOURCES])
    if source == "torchvision":
        return _torchvision(name, spec, data)
    if source == "timm":
        return _timm(name, spec, data)
    model = _call(import_callable(spec.name, what="model", kind=nn.Module), spec)
    if not isinstance(model, nn.Module):
        raise InputError(f"model {spec.name} returned {type(model).__name__}; expected a torch.nn.Module.")
    return model


def _torchvision(name: str, spec: ModelSpec, data: DataInfo) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise _missing_package(spec, "torchvision", "vision", error) from None
    if name not in models.list_models():
        raise unknown_name("torchvision model", name, models.list_models())
    return _call(models.get_model, spec, name, weights=None, num_classes=data.classes)


def _timm(name: str, spec: ModelSpec, data: DataInfo) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise _missing_package(spec, "timm", "timm", error) from None
    known = timm.list_models()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=SUGGESTIONS, cutoff=0.0)
        advice = f"(The nearest of {len(known)}; timm.list_models() has all.)"
        raise unknown_name("timm model", name, nearest, advice=advice)
    return _call(timm.create_model, spec, name, pretrained=False, num_classes=data.classes, in_chans=data.shape[0])


def _missing_package(spec: ModelSpec, package: str, extra: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"model {spec.name} needs {package} ({error}); install it with: pip install 'aimc-robust[{extra}]'"
    )


def _call(function: Any, spec: ModelSpec, *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs, **spec.options)
    except Exception as error:  # a user's function may raise anything
        if is_out_of_memory(error):
            raise
        raise InputError(f"model {spec.name} cannot be built with the options {spec.options}: {error}.") from None


def _check_outputs(model: nn.Module, name: str, data: DataInfo) -> None:
    was_training = model.training
    try:
        with torch.no_grad():
            scores = model.eval()(data.example)
    except Exception as error:  # a user's forward may raise anything
        if is_out_of_memory(error):
            raise
        raise InputError(f"model {name} does not take images of shape {data.shape} (C, H, W): {error}.") from None
    model.train(was_training)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != 2 or scores.shape[1] < data.classes:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"model {name} returns {got} for 2 images; expected (2, {data.classes}).")
