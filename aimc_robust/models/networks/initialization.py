"""Weight initialization of the residual and VGG networks in the literature."""

from torch import nn


def he_normal_(model: nn.Module) -> None:
    """Initialize convolutions from N(0, 2 / (kernel area * output channels)), and all biases with 0, in place.

    Linear weights keep torch's initialization.

    References:
        He et al., ICCV 2015, Eq. 14 (preserves the variance in the backward pass), as in the published codes of WRN,
        PyramidNet and VGG for CIFAR.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
