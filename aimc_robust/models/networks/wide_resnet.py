"""Wide residual networks, WRN-depth-widen (Zagoruyko and Komodakis, BMVC 2016)."""

from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.models.networks.initialization import he_normal_


class PreActivationBlock(nn.Module):
    """Twice BatchNorm, ReLU and 3x3 convolution, with dropout between the two, and a shortcut.

    A strided or widening shortcut is a 1x1 convolution of the activated input; any other is the input itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        is_projected = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if is_projected else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (N, outputs, H / stride, W / stride) for x (N, inputs, H, W)."""
        active = F.relu(self.bn1(x))
        hidden = self.dropout(F.relu(self.bn2(self.conv1(active))))
        return self.conv2(hidden) + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """A 3x3 convolution, three stages of pre-activation blocks, BatchNorm, global average pooling, a linear layer.

    Stage i has channels * widen * 2**i channels, and the second and third stage halve the image. WRN-28-10 with
    channels 16 is the paper's network of 36.5 million weights.

    Args:
        depth: 6 n + 4, for n blocks in a stage.
        widen: Widening factor.
        channels: Channels of the first convolution.
        dropout: Dropout rate in the blocks.
    """

    def __init__(
        self, *, in_channels: int, classes: int, depth: int, widen: int, channels: int = 16, dropout: float = 0.0
    ) -> None:
        super().__init__()
        require_whole("depth of wrn", depth, low=10, high=1000)
        require_whole("widen of wrn", widen, low=1, high=100)
        require_whole("channels of wrn", channels, low=1, high=1024)
        require_finite("dropout of wrn", dropout, high=0.99)
        if (depth - 4) % 6:
            raise InputError(f"depth of wrn must be 6 n + 4 (10, 16, 22, 28, 34, 40 ...), got {depth}.")
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        layers, width = [], channels
        for stage in range(3):
            for block in range((depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(PreActivationBlock(width, channels * widen * 2**stage, stride, dropout))
                width = channels * widen * 2**stage
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        he_normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (N, classes) of images (N, in_channels, H, W)."""
        hidden = F.relu(self.bn(self.blocks(self.stem(images))))
        return self.classifier(hidden.mean(dim=(2, 3)))
