"""Pyramidal residual networks, whose channels grow at every unit (Han et al., CVPR 2017), CIFAR form."""

from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError, require_whole
from aimc_robust.models.networks.initialization import he_normal_


class PyramidalUnit(nn.Module):
    """BatchNorm, 3x3 convolution, BatchNorm, ReLU, 3x3 convolution, BatchNorm (the paper's Fig. 6d).

    The shortcut has no weights: it averages 2x2 pixels where the unit halves the image, and pads new channels with 0.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.stride, self.new_channels = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output (N, outputs, H / stride, W / stride) for x (N, inputs, H, W)."""
        hidden = self.bn3(self.conv2(F.relu(self.bn2(self.conv1(self.bn1(x))))))
        shortcut = x if self.stride == 1 else F.avg_pool2d(x, self.stride, ceil_mode=True)
        return hidden + F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels))


class PyramidNet(nn.Module):
    """A 3x3 convolution, three stages of pyramidal units, BatchNorm, global average pooling, a linear layer.

    Unit k of N = 3 n has channels + alpha k / N channels (additive growth), rounded to the nearest integer as in the
    authors' PyTorch code, where the paper says rounded down. The first units of the second and third stage halve the
    image.

    `pyramidnet50`: papers that name PyramidNet-50 on CIFAR do not define it. Here it has two-convolution units with
    n = 8, because bottlenecks have depths of 9 n + 2, which 50 is not; and alpha 270, the largest of the paper's
    networks of such units: 12.9 million weights, similar to ResNet-18's 11.2, where alpha 48 would give 0.8.

    Args:
        depth: 6 n + 2, for n units in a stage.
        alpha: Total growth in channels.
        channels: Channels of the first convolution.
    """

    def __init__(self, *, in_channels: int, classes: int, depth: int, alpha: int = 270, channels: int = 16) -> None:
        super().__init__()
        require_whole("depth of pyramidnet", depth, low=8, high=1000)
        require_whole("alpha of pyramidnet", alpha, low=0, high=4096)
        require_whole("channels of pyramidnet", channels, low=1, high=1024)
        if (depth - 2) % 6:
            raise InputError(f"depth of pyramidnet must be 6 n + 2 (8, 14, 20 ... 50 ... 110), got {depth}.")
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(channels)
        units, width, count = [], channels, (depth - 2) // 2
        for k in range(1, count + 1):
            wider = channels + (2 * alpha * k + count) // (2 * count)  # half a channel is rounded up
            starts_stage = k > 1 and (k - 1) % (count // 3) == 0
            units.append(PyramidalUnit(width, wider, 2 if starts_stage else 1))
            width = wider
        self.units = nn.Sequential(*units)
        self.bn = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        he_normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (N, classes) of images (N, in_channels, H, W)."""
        hidden = self.units(self.stem_bn(self.stem(images)))
        return self.classifier(F.relu(self.bn(hidden)).mean(dim=(2, 3)))
