"""A linear classifier of two classes, whose expected error under Gaussian weight noise has a closed form."""

import numpy as np
import torch
from scipy.special import ndtr
from torch import nn

INPUTS = 4


def two_classes(n=60, *, flipped=False):
    """A linear layer in float64, n examples with labels of which most (`flipped`: few) are the layer's own."""
    generator = torch.Generator().manual_seed(3)
    model = nn.Linear(INPUTS, 2, bias=False, dtype=torch.float64)
    model.weight.data = torch.randn(2, INPUTS, generator=generator, dtype=torch.float64)
    x = torch.randn(n, INPUTS, generator=generator, dtype=torch.float64)
    labels = model(x).argmax(1)
    labels[: n // 6] = 1 - labels[: n // 6]
    return model, (x, 1 - labels if flipped else labels)


def expected_error(model, batch, sigma):
    """Mean over examples of P(wrong): the margin (w_y - w_other) x has standard deviation sigma sqrt(2) ||x||."""
    x, labels = batch
    scores = model(x).detach().numpy()
    rows = np.arange(len(scores))
    margins = scores[rows, labels] - scores[rows, 1 - labels]
    return float(ndtr(-margins / (sigma * np.sqrt(2.0) * np.linalg.norm(x.numpy(), axis=1))).mean())
