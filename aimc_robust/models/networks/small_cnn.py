"""A convolutional network small enough to be harmed by weight noise, and to train in seconds."""

from torch import Tensor, nn

from aimc_robust.errors import require_whole


class SmallCNN(nn.Module):
    """Stages of convolution (3x3), BatchNorm, ReLU, with pooling between them; then a linear layer.

    Stage i has channels * 2**i channels. Input (N, in_channels, H, W), output (N, classes).
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
            out = channels * 2**stage
            layers += [nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            width = out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean(dim=(2, 3)))
