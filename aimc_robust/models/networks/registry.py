"""Built-in networks for small images, by name."""

import re
from collections.abc import Callable
from typing import Any

from torch import nn

from aimc_robust.models.networks.pyramidnet import PyramidNet
from aimc_robust.models.networks.resnet import ResNet, cifar_resnet
from aimc_robust.models.networks.small_cnn import SmallCNN
from aimc_robust.models.networks.vgg import VGG16
from aimc_robust.models.networks.vit import ViT
from aimc_robust.models.networks.wide_resnet import WideResNet

Builder = Callable[..., nn.Module]

NETWORKS: dict[str, tuple[Builder, dict[str, Any]]] = {
    "small-cnn": (SmallCNN, {}),
    "resnet": (ResNet, {}),
    "resnet9": (cifar_resnet, {"depth": 9}),
    "resnet18": (cifar_resnet, {"depth": 18}),
    "resnet34": (cifar_resnet, {"depth": 34}),
    "resnet50": (cifar_resnet, {"depth": 50}),
    "wrn": (WideResNet, {}),
    "pyramidnet": (PyramidNet, {}),
    "pyramidnet50": (PyramidNet, {"depth": 50}),
    "vgg16-bn": (VGG16, {}),
    "vit-s": (ViT, {}),
}
NETWORK_NAMES = (*NETWORKS, "wrn-DEPTH-WIDEN")
WRN_PATTERN = re.compile(r"wrn-(\d+)-(\d+)")


def find_network(name: str) -> tuple[Builder, dict[str, Any]] | None:
    """Find the builder of a built-in network.

    Builders take only keyword arguments: `in_channels`, `classes`, those fixed by the name, and options of the network;
    ViT also takes `image_size`, the (H, W) of its position embedding.

    Returns:
        The builder and the arguments fixed by the name, or None if no built-in network has this name.
    """
    match = WRN_PATTERN.fullmatch(name)
    if match:
        return WideResNet, {"depth": int(match[1]), "widen": int(match[2])}
    return NETWORKS.get(name)
