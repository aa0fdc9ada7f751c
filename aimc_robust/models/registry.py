"""Networks by name: built-in ones, torchvision's, timm's, or any function that returns a module."""

from __future__ import annotations

import difflib
import importlib
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pydantic
import torch
from torch import nn

from aimc_robust.errors import AimcError, InputError, MissingDependencyError, is_out_of_memory, unknown_name
from aimc_robust.io.toml import StrictModel
from aimc_robust.io.user_code import import_callable, is_reference, refuse_standard_library, source_digest
from aimc_robust.models.networks.mlp import MLP
from aimc_robust.models.networks.pyramidnet import PyramidNet
from aimc_robust.models.networks.resnet import ResNet, cifar_resnet
from aimc_robust.models.networks.small_cnn import SmallCNN
from aimc_robust.models.networks.vgg import VGG16
from aimc_robust.models.networks.vit import ViT
from aimc_robust.models.networks.wide_resnet import WideResNet
from aimc_robust.seeding import Axes, global_seed
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.tasks.task import Task

# Builders and the arguments that a name fixes. They take only keyword arguments: `in_channels`, `classes`, those fixed
# by the name, and options of the network; ViT also takes `image_size`, the (H, W) of its position embedding, and MLP
# takes `features`, the numbers in one input, in place of `in_channels`.
NETWORKS: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "small-cnn": (SmallCNN, {}),
    "resnet": (ResNet, {}),
    **{f"resnet{depth}": (cifar_resnet, {"depth": depth}) for depth in (9, 18, 34, 50)},
    "wrn": (WideResNet, {}),
    "pyramidnet": (PyramidNet, {}),
    "pyramidnet50": (PyramidNet, {"depth": 50}),
    "vgg16-bn": (VGG16, {}),
    "vit-s": (ViT, {}),
    "mlp": (MLP, {}),
}
KNOWN = (*NETWORKS, "wrn-DEPTH-WIDEN", "torchvision:NAME", "timm:NAME", "package.module:function")
SUGGESTIONS = 12  # of timm's thousand names, those that the error for an unknown name lists


class ModelSpec(StrictModel):
    """Spec of a network.

    Attributes:
        name: One of NETWORKS, `wrn-DEPTH-WIDEN`, `torchvision:NAME`, `timm:NAME` or `package.module:function`.
        options: Keyword arguments of the network's constructor.
        weights: File of trained weights that every training starts from, see `load_checkpoint`; relative to the spec's
            folder. None: weights are initialized.
    """

    name: str
    options: dict[str, Any] = pydantic.Field(default_factory=dict)
    weights: str | None = None

    @pydantic.field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if is_reference(name):
            refuse_standard_library(name, name.partition(":")[0], "model")
        return name

    @property
    def source_digest(self) -> str | None:
        """Digest of the source file of a user-defined network; None for a network of this package or of a library."""
        return None if self.name.startswith(("torchvision:", "timm:")) else source_digest(self.name)


class DataInfo(Protocol):
    """Properties of the data that a network is built for."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one input, (C, H, W) for images; None if the network takes several inputs."""

    @property
    def outputs(self) -> int:
        """Number of outputs: classes, or columns of labels."""

    @property
    def example_batch(self) -> Batch:
        """A few examples with labels."""


def build_model(spec: ModelSpec, data: DataInfo, *, seed: int, task: TaskLike = None) -> nn.Module:
    """Build and initialize the network of a spec, and check that its outputs are those that a task scores."""
    task = as_task(task)
    with global_seed(Axes(seed).at(use="init").seed()):
        model = construct(spec, data)
        _check_outputs(model, spec.name, data, task)
    return model


def find_network(name: str) -> tuple[Callable[..., nn.Module], dict[str, Any]] | None:
    """Return the builder of a built-in network and the arguments that its name fixes; None if there is none."""
    wide = re.fullmatch(r"wrn-(\d+)-(\d+)", name)
    return (WideResNet, {"depth": int(wide[1]), "widen": int(wide[2])}) if wide else NETWORKS.get(name)


def construct(spec: ModelSpec, data: DataInfo) -> nn.Module:
    """Build the network of a spec with weights from torch's global generator, without checking its outputs.

    Under `torch.device("meta")`, built-in networks and those of torchvision and timm take no memory for weights.
    """
    network = find_network(spec.name)
    source, _, name = spec.name.partition(":")
    if data.shape is None and (network or source in ("torchvision", "timm")):
        raise InputError(
            f"model {spec.name} takes one tensor, the data have several inputs; use package.module:function."
        )
    shape = data.shape or (0,)
    if network:
        builder, fixed = network
        sizes: dict[str, Any] = {"in_channels": shape[0]} | ({"image_size": shape[1:]} if builder is ViT else {})
        sizes = {"features": math.prod(shape)} if builder is MLP else sizes
        return _call(builder, spec, classes=data.outputs, **fixed, **sizes)
    if not name:
        raise unknown_name("model", spec.name, KNOWN)
    if source == "torchvision":
        models = _import_library("torchvision", "vision", spec).models
        if name not in (known := models.list_models()):
            raise unknown_name("torchvision model", name, known)
        return _call(models.get_model, spec, name, weights=None, num_classes=data.outputs)
    if source == "timm":
        timm = _import_library("timm", "timm", spec)
        if name not in (known := timm.list_models()):
            nearest = difflib.get_close_matches(name, known, n=SUGGESTIONS, cutoff=0.0)
            advice = f"(The nearest of {len(known)}; timm.list_models() has all.)"
            raise unknown_name("timm model", name, nearest, advice=advice)
        return _call(timm.create_model, spec, name, pretrained=False, num_classes=data.outputs, in_chans=shape[0])
    model = _call(import_callable(spec.name, what="model", kind=nn.Module), spec)
    if not isinstance(model, nn.Module):
        raise InputError(f"model {spec.name} returned {type(model).__name__}; expected a torch.nn.Module.")
    return model


def _import_library(package: str, extra: str, spec: ModelSpec) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"model {spec.name} needs {package} ({error}); install it with: pip install 'aimc-robust[{extra}]'"
        ) from None


def _call(function: Callable[..., Any], spec: ModelSpec, *args: Any, **kwargs: Any) -> Any:
    with _failure_as_input_error(f"model {spec.name} cannot be built with the options {spec.options}"):
        return function(*args, **kwargs, **spec.options)


@contextmanager
def _failure_as_input_error(message: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a user's function may raise anything
        if is_out_of_memory(error):
            raise
        raise InputError(f"{message}: {error}.") from None


def _check_outputs(model: nn.Module, name: str, data: DataInfo, task: Task) -> None:
    """Raise InputError if a task cannot score what the model returns for a few examples."""
    if task.takes_any_batches:
        return
    inputs, labels = task.unpack(data.example_batch)
    was_training = model.training
    try:
        with torch.no_grad():
            task.check(*task.align(task.predict(model.eval(), inputs), labels))
    except AimcError as error:
        inputs = f"inputs of shape {data.shape}" if data.shape else "the data"
        raise InputError(f"model {name} does not fit {inputs}: {error}") from None
    finally:
        model.train(was_training)
