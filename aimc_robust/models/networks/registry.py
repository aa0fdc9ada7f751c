"""Our own networks for small images, by name."""

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
KNOWN = (*NETWORKS, "wrn-DEPTH-WIDEN")
WRN = re.compile(r"wrn-(\d+)-(\d+)")


def find_network(name: str) -> tuple[Builder, dict[str, Any]] | None:
    """What builds the network of this name, and the arguments that the name fixes; None when it is none of ours.

    Every builder takes keyword arguments alone: `in_channels`, `classes`, what the name fixes and its own options;
    ViT also `image_size`, the (H, W) that its position embedding is for.
    """
    wide = WRN.fullmatch(name)
    if wide:
        return WideResNet, {"depth": int(wide[1]), "widen": int(wide[2])}
    return NETWORKS.get(name)
