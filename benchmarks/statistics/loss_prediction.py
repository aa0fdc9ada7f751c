"""Claim: `predict_loss` finds the rise of the loss at every width of the errors; the automatic Hessian does not.

    python benchmarks/statistics/loss_prediction.py

Two networks with ReLU and max pooling, trained on real digits: the quickstart's, and one of torchvision's residual
blocks. Gaussian errors of a width relative to each layer's largest weight, on 250 images that the networks have not
seen. Printed are ratios to the rise that mirrored draws simulate, each with the standard error of both: of the
prediction, of gradients at the full width alone, and of half the trace of the automatic Hessian times the variances.
"""

import math

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from aimc_robust.analysis import expected_rise as module
from aimc_robust.devices.moments import Moments
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.models.networks.small_cnn import SmallCNN

WIDTHS = (0.03, 0.1, 0.2)
DRAWS = 200
Batch = tuple[Tensor, Tensor]


def quickstart() -> nn.Module:
    """The quickstart's network."""
    return SmallCNN(in_channels=1, classes=10, channels=8, stages=3)


def residual() -> nn.Module:
    """A small network of torchvision's residual blocks."""
    shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        BasicBlock(8, 8),
        BasicBlock(8, 16, 2, shortcut),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def trained(model: nn.Module) -> tuple[nn.Module, Batch]:
    """Train on 1297 digits for 8 epochs; return the model with folded BatchNorm, and images that it has not seen."""
    digits = load_digits()
    x = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1).sub_(0.3).div_(0.38)
    y = torch.tensor(digits.target)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(8):
        for rows in torch.randperm(1297).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return prepare(model.eval())[0].eval(), (x[-250:], y[-250:])


def simulated(model: nn.Module, batch: Batch, moments: dict[str, Moments]) -> tuple[float, float]:
    """Rise of the loss and its standard error over mirrored draws."""
    weights = {name: p for name, p in model.named_parameters() if name in moments}
    generator, rises = torch.Generator().manual_seed(1), []
    with torch.no_grad():
        clean = F.cross_entropy(model(batch[0]), batch[1])
        for _ in range(2 * DRAWS):
            losses = []
            z = {n: torch.randn(p.shape, generator=generator) * moments[n].variance.sqrt() for n, p in weights.items()}
            for sign in (1.0, -1.0):
                for name, weight in weights.items():
                    weight.copy_(moments[name].mean + sign * z[name])
                losses.append(F.cross_entropy(model(batch[0]), batch[1]))
            rises.append((losses[0] + losses[1]) / 2 - clean)
        for name, weight in weights.items():
            weight.copy_(moments[name].mean)
    values = torch.stack(rises).double()
    return float(values.mean()), float(values.std()) / len(values) ** 0.5


def automatic(model: nn.Module, batch: Batch, moments: dict[str, Moments]) -> tuple[float, float]:
    """Half the trace of the automatic Hessian times the variances (Hutchinson), and its standard error."""
    weights = {name: p for name, p in model.named_parameters() if name in moments}
    generator, values = torch.Generator().manual_seed(2), []
    loss = F.cross_entropy(model(batch[0]), batch[1])
    gradient = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    for _ in range(DRAWS):
        z = [torch.randn(p.shape, generator=generator) * moments[n].variance.sqrt() for n, p in weights.items()]
        products = torch.autograd.grad(gradient, list(weights.values()), z, retain_graph=True)
        values.append(sum(float((a * b).sum()) for a, b in zip(z, products, strict=True)) / 2)
    return float(torch.tensor(values).mean()), float(torch.tensor(values).std()) / DRAWS**0.5


def predicted(
    model: nn.Module, batch: Batch, moments: dict[str, Moments], nodes: tuple[float, ...]
) -> tuple[float, float]:
    """The rise from gradients at these nodes, and its standard error."""
    module.NODES = nodes
    found = module.expected_rise(model, [[batch]] * (DRAWS // len(nodes)), [moments], loss_fn=F.cross_entropy)
    values = found.values[0].sum(dim=0).mean(dim=-1)
    return float(values.mean()), float(values.std()) / len(values) ** 0.5


def main() -> None:
    torch.set_num_threads(1)
    nodes = module.NODES
    for name, make in {"small-cnn": quickstart, "residual": residual}.items():
        torch.manual_seed(0)
        model, batch = trained(make())
        for width in WIDTHS:
            moments = {
                n: Moments(p.detach().clone(), torch.full_like(p, (width * float(p.detach().abs().max())) ** 2))
                for n, p in model.named_parameters()
                if p.ndim > 1
            }
            rise, error = simulated(model, batch, moments)
            line = f"{name:<10} width {width:<5g} rise {rise:9.5f}"
            for title, (value, own) in {
                "prediction": predicted(model, batch, moments, nodes),
                "full width": predicted(model, batch, moments, (1.0,)),
                "automatic Hessian": automatic(model, batch, moments),
            }.items():
                line += f"   {title} {value / rise:.2f} +- {math.hypot(own, value / rise * error) / rise:.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
