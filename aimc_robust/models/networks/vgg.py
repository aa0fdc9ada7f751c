"""VGG-16 with BatchNorm (Simonyan and Zisserman, ICLR 2015, configuration D), CIFAR form."""

from torch import Tensor, nn

from aimc_robust.errors import require_finite, require_whole
from aimc_robust.models.networks.initialization import he_normal_

GROUPS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # (channels relative to the first group, convolutions)


class VGG16(nn.Module):
    """Five groups of 3x3 convolution, BatchNorm and ReLU that halve the image, global average pooling, linear layers.

    The defaults have 13 convolutions and 3 linear layers, the 16 layers of the name, with dropout before the hidden two
    as in the VGG paper, but 512 wide in place of 4096 (15.3 million weights with 10 classes). So has the public code of
    the m-RWP paper's authors (github.com/nblt/RWP and nblt/mARWP, models/vgg.py); their paper says only VGG16-BN.
    hidden = 0 leaves one linear layer (14.7 million weights), as many CIFAR codes do.

    Args:
        in_channels: Channels of the images, which are at least 32 x 32.
        classes: Number of classes.
        channels: Channels of the first group; the usual width is 64.
        hidden: Number of hidden linear layers of 8 * channels, with ReLU.
        dropout: Dropout rate before each hidden layer.
    """

    def __init__(
        self, *, in_channels: int, classes: int, channels: int = 64, hidden: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        require_whole("channels of vgg16-bn", channels, low=1, high=1024)
        require_whole("hidden of vgg16-bn", hidden, low=0, high=10)
        require_finite("dropout of vgg16-bn", dropout, high=0.99)
        features: list[nn.Module] = []
        width = in_channels
        for factor, convolutions in GROUPS:
            for _ in range(convolutions):
                features += [nn.Conv2d(width, factor * channels, 3, padding=1), nn.BatchNorm2d(factor * channels)]
                features.append(nn.ReLU())
                width = factor * channels
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features)
        head = [layer for _ in range(hidden) for layer in (nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU())]
        self.classifier = nn.Sequential(*head, nn.Linear(width, classes))
        he_normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (N, classes) of images (N, in_channels, H, W)."""
        return self.classifier(self.features(images).mean(dim=(2, 3)))
