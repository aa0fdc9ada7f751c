"""Residual networks for small images (CIFAR forms), of any width and depth."""

from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError, require_whole


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a shortcut; a strided or widening shortcut is a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (N, outputs, H / stride, W / stride) for x (N, inputs, H, W)."""
        hidden = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 convolution, stages of basic blocks, global average pooling, a linear layer.

    Stage i has blocks[i] blocks of channels * 2**i channels; every stage but the first halves the image. channels 64,
    blocks (2, 2, 2, 2) is the CIFAR form of ResNet-18 (11.2 million weights); channels 16, blocks (n, n, n) is
    ResNet-(6n+2) with projection shortcuts.

    Args:
        channels: Channels of the first stage.
        blocks: Number of blocks in each of 1 to 6 stages.
        stem_stride: Stride of the first convolution; 2 reduces images of 64 x 64 to the cost of CIFAR's.

    References:
        He et al., CVPR 2016, Sec. 3 and 4.2.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        channels: int = 16,
        blocks: list[int] | tuple[int, ...] = (1, 1, 1),
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        require_whole("channels of resnet", channels, low=1, high=4096)
        require_whole("stem_stride of resnet", stem_stride, low=1, high=16)
        if not isinstance(blocks, list | tuple) or not 1 <= len(blocks) <= 6:
            raise InputError(f"blocks of resnet must be 1 to 6 whole numbers, one for each stage, got {blocks!r}.")
        self.stem = nn.Conv2d(in_channels, channels, 3, stem_stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        layers, width = [], channels
        for stage, count in enumerate(blocks):
            require_whole("blocks of resnet", count, low=1, high=100)
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(width, channels * 2**stage, stride))
                width = channels * 2**stage
        self.blocks = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (N, classes) of images (N, in_channels, H, W)."""
        hidden = self.blocks(F.relu(self.bn(self.stem(images))))
        return self.classifier(hidden.mean(dim=(2, 3)))


BLOCKS = {9: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (5, 6, 9, 4)}


def cifar_resnet(*, in_channels: int, classes: int, depth: int, channels: int = 64, stem_stride: int = 1) -> ResNet:
    """Build ResNet-9, 18, 34 or 50 for small images, with basic blocks only.

    18 and 34 are the published networks. For ResNet-50 the Incorruptible paper (App. F, Table 7) says only that basic
    blocks replace the bottlenecks, and it does not define ResNet-9. Here they are:

    - 50: 24 blocks, so that 2 * 24 + 2 layers are 50. The published (3, 4, 6, 3) with basic blocks would be ResNet-34
      itself, and the paper's results differ between the two; (5, 6, 9, 4) keeps the share of layers that each stage has
      in the published ResNet-50, whose 9, 12, 18 and 9 convolutions are 4.5, 6, 9 and 4.5 pairs.
    - 9: one block per stage; with the stem, 9 convolutions on the main path.

    """
    return ResNet(
        in_channels=in_channels, classes=classes, channels=channels, blocks=BLOCKS[depth], stem_stride=stem_stride
    )
