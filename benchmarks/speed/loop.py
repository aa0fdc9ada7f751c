"""Claim: `train` takes at most 1.02 x the time of an SGD loop written by hand, over the same images and recipe.

    python benchmarks/speed/loop.py            # a small residual network, where overhead is largest
    python benchmarks/speed/loop.py --device cuda

Both shuffle, crop and flip the same images and validate once an epoch; `train` also writes its checkpoint and history.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from common import images, print_ratios, ratios
from torch import nn

from aimc_robust import SGD, Augmentation, Images, TrainingConfig, train
from aimc_robust.models.networks.resnet import ResNet
from aimc_robust.training.fabric import Machine

BATCH, EPOCHS = 128, 2


def plain_loop(model: nn.Module, data: Images, validation: tuple[torch.Tensor, torch.Tensor]) -> float:
    """The loop that a user of PyTorch would write."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    updates = EPOCHS * (len(data) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=updates)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for inputs, labels in data.epoch(epoch, batch_size=BATCH):
            optimizer.zero_grad()
            loss_fn(model(inputs), labels).backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.inference_mode():
            parts = zip(validation[0].split(512), validation[1].split(512), strict=True)
            correct = sum((model(inputs).argmax(1) == labels).sum() for inputs, labels in parts)
    return float(correct)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    device = torch.device(parser.parse_args().device)
    rounds = parser.parse_args().rounds
    inputs, labels = (part.to(device) for part in images(2560))
    data = Images(inputs[:2048], labels[:2048], augmentation=Augmentation(crop=4, flip=True))
    validation = (inputs[2048:], labels[2048:])
    fabric = Machine(accelerator="gpu" if device.type == "cuda" else "cpu").fabric("32-true")
    config = TrainingConfig(epochs=EPOCHS, batch_size=BATCH)

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return ResNet(in_channels=3, classes=100).to(device)

    def with_train() -> None:
        with tempfile.TemporaryDirectory() as folder:
            train(
                fresh(),
                SGD(),
                config,
                training_set=data,
                validation_set=validation,
                fabric=fabric,
                folder=Path(folder),
            )

    measured = ratios(lambda: plain_loop(fresh(), data, validation), {"train": with_train}, rounds)
    print_ratios(f"{EPOCHS} epochs of 2048 images against a loop by hand", measured, {"train": 1.02})


if __name__ == "__main__":
    main()
