"""VGG-16 with BatchNorm (Simonyan and Zisserman, ICLR 2015, configuration D), CIFAR form."""

from torch import Tensor, nn

from aimc_robust.errors import require_finite, require_whole
from aimc_robust.models.networks.initialization import he_normal_

GROUPS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # (channels in units of the first group's, convolutions)


class VGG16(nn.Module):
    """Five groups of 3x3 convolution, BatchNorm, ReLU, each halving the image; mean over what is left; linear layers.

    Input (N, in_channels, H, W) of at least 32 x 32, output (N, classes). channels 64 is the usual width.
    hidden: linear layers of 8 * channels before the last, with ReLU, and dropout before each. Of 13 convolutions and
    one linear layer, as most CIFAR codes have it, it is hidden = 0 with 14.7 million weights. The public codes of the
    m-RWP paper's authors have hidden = 2, dropout = 0.5 (15.3 million); the paper itself says VGG16-BN alone.
    """

    def __init__(
        self, *, in_channels: int, classes: int, channels: int = 64, hidden: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        require_whole("channels of vgg16-bn", channels, low=1, high=1024)
        require_whole("hidden of vgg16-bn", hidden, low=0, high=10)
        require_finite("dropout of vgg16-bn", dropout, high=0.99)
        features: list[nn.Module] = []
        width = in_channels
        for times, convolutions in GROUPS:
            for _ in range(convolutions):
                features += [nn.Conv2d(width, times * channels, 3, padding=1), nn.BatchNorm2d(times * channels)]
                features.append(nn.ReLU())
                width = times * channels
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features)
        head = [layer for _ in range(hidden) for layer in (nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU())]
        self.classifier = nn.Sequential(*head, nn.Linear(width, classes))
        he_normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean(dim=(2, 3)))
