"""Claim: on 2 cores `Images` yields at least 3 x as many training images per second as a torchvision DataLoader.

    python benchmarks/speed/loader.py [--device cuda]

50 000 images of CIFAR-100's shape, random crop, flip and normalization, batches of 128, shuffled. The DataLoader reads
PIL images as torchvision's CIFAR does, with the best of 0, 1 and 2 workers; each of its epochs is timed between two
epochs of `Images`. With `--device cuda`, images and batches are on the GPU; the DataLoader's batches are moved
there. For information, not part of the claim: torchvision's v2 transforms on tensors, which draw once per batch.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable

import numpy as np
import torch
from common import seconds
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.data.in_memory import Images

try:
    from torchvision import transforms
    from torchvision.transforms import v2
except ImportError:
    raise SystemExit("This script measures torchvision too: pip install 'aimc-robust[vision]'.") from None

IMAGES, BATCH = 50_000, 128
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
CLAIM = 3.0


class PilImages(Dataset):
    """Reads images as torchvision's CIFAR data sets do: array, PIL image, transform."""

    def __init__(self, images: np.ndarray, labels: list[int], transform: Callable) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class TensorImages(Dataset):
    """Returns whole batches of bytes."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[indices], self.labels[indices]


def consume(batches: Iterable, device: torch.device, transform: Callable | None = None) -> None:
    """Move every batch to the device, as a training step needs it."""
    for inputs, labels in batches:
        inputs, labels = inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        if transform is not None:
            inputs = transform(inputs)
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    options = parser.parse_args()
    device, n = torch.device(options.device), options.images // BATCH * BATCH
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(100, (n,), generator=generator)

    images = Images(
        pixels.to(device), labels.to(device), mean=MEAN, std=STD, augmentation=Augmentation(crop=4, flip=True)
    )
    crop_and_flip = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    pipeline = transforms.Compose([*crop_and_flip, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    pil_images = PilImages(pixels.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist(), pipeline)
    pinned = {"pin_memory": device.type == "cuda"}
    batch_loader = DataLoader(
        TensorImages(pixels, labels), BATCH, shuffle=True, drop_last=True, collate_fn=lambda batch: batch, **pinned
    )
    crop_and_flip = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
    tensor_pipeline = v2.Compose([*crop_and_flip, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    loaders = {
        f"DataLoader, workers: {workers}": DataLoader(
            pil_images,
            BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            **pinned,
        )
        for workers in (0, 1, 2)
    }
    calls = {name: lambda loader=loader: consume(loader, device) for name, loader in loaders.items()}
    calls["v2 on tensors, one draw a batch"] = lambda: consume(batch_loader, device, tensor_pipeline)

    def epoch() -> None:
        consume(images.epoch(1, batch_size=BATCH), device)

    epoch()
    speeds = {name: [] for name in calls}
    own_speeds, ratios = [], {name: [] for name in calls}
    for _ in range(options.rounds):
        for name, call in calls.items():
            before, elapsed, after = seconds(epoch), seconds(call), seconds(epoch)
            speeds[name].append(n / elapsed)
            own_speeds += [n / before, n / after]
            ratios[name].append(elapsed / ((before + after) / 2))
    print(f"{'images a second':<32}{'median':>10}{'Images is':>14}")
    print(f"{'Images':<32}{statistics.median(own_speeds):10.0f}")
    for name in calls:
        print(f"{name:<32}{statistics.median(speeds[name]):10.0f}{statistics.median(ratios[name]):12.1f} x")
    best = min(loaders, key=lambda name: statistics.median(ratios[name]))
    ratio, spread = statistics.median(ratios[best]), f"{min(ratios[best]):.1f} to {max(ratios[best]):.1f}"
    verdict = "holds" if ratio >= CLAIM else "FAILS"
    print(f"against {best}, the best of them: {ratio:.1f} x ({spread})  >= {CLAIM:.1f} {verdict}")


if __name__ == "__main__":
    main()
