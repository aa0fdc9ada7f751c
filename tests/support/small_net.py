"""A small net with BatchNorm, and images that it labels itself."""

import torch
from torch import nn

from aimc_robust.seeding import global_seed


def net(seed=0):
    """Convolution and BatchNorm with statistics of its own, so that folding has something to do."""
    with global_seed(seed):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        )
        model.train()(torch.randn(50, 1, 6, 6))
    return model


def data(n=120):
    """Images labelled by a net, so that noise has an accuracy to lose."""
    images = torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return images, net().eval()(images).argmax(1)


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}
