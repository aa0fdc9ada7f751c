"""Initial weights that the literature's residual and VGG networks start from."""

from torch import nn


def he_normal_(model: nn.Module) -> None:
    """Convolutions drawn from N(0, 2 / (kernel area * output channels)), their biases and those of linear layers 0.

    Linear weights stay as torch drew them. Source: He et al., ICCV 2015, Eq. 14 (variance kept by the backward pass),
    as the codes of WRN, PyramidNet and VGG for CIFAR have it.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
