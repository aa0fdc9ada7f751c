"""A small convolutional network that is sensitive to weight noise and trains in seconds."""

from torch import Tensor, nn

from aimc_robust.errors import require_whole


class SmallCNN(nn.Module):
    """Stages of 3x3 convolution, BatchNorm and ReLU with max-pooling between them, then a linear layer.

    Args:
        channels: Channels of the first stage; stage i has channels * 2**i.
        stages: Number of stages, 1 to 6.
    """

    def __init__(self, *, in_channels: int, classes: int, channels: int = 8, stages: int = 3) -> None:
        super().__init__()
        require_whole("channels of small-cnn", channels, low=1, high=1024)
        require_whole("stages of small-cnn", stages, low=1, high=6)
        layers: list[nn.Module] = []
        width = in_channels
        for stage in range(stages):
            if stage:
                layers.append(nn.MaxPool2d(2))
            stage_width = channels * 2**stage
            layers.append(nn.Conv2d(width, stage_width, 3, padding=1, bias=False))
            layers += [nn.BatchNorm2d(stage_width), nn.ReLU()]
            width = stage_width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (N, classes) of images (N, in_channels, H, W)."""
        return self.classifier(self.features(images).mean(dim=(2, 3)))
