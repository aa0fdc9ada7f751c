"""Aim: the sizes of a training's files per parameter, and how many JPEG files a core reads in a second.

    python benchmarks/speed/files.py [--images 300]

The files are those that `train` writes for a perceptron of 2 million weights, SGD with momentum. The images have the
size of an average ImageNet file, 500 x 375 pixels and about 110 kB, and are read as a training reads them: random area,
flip, 224 x 224 pixels. Counted is CPU time, so that other work on the machine matters little.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from aimc_robust import SGD, EarlyStopping, StreamedImages, TrainingConfig, train
from aimc_robust.data.augmentation import StreamedAugmentation
from aimc_robust.data.image_files import ImageFiles

SELECTIONS = {"last epoch": None, "six sigmas": EarlyStopping(sigma=[0.0, 0.02, 0.03, 0.04, 0.05, 0.07], draws=1)}
STATISTICS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def sizes(stopping: EarlyStopping | None, width: int = 1000) -> tuple[float, float]:
    """Return bytes per parameter of the state of an unfinished training (the largest), and of a finished one."""
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    inputs, labels = torch.randn(64, width), torch.arange(64) % width
    config = TrainingConfig(epochs=6, batch_size=16, lr=0.5, early_stopping=stopping)
    unfinished: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def note(_: object) -> None:
            unfinished.extend(path.stat().st_size for path in folder.glob("unfinished*"))

        data = {"training_set": (inputs, labels), "validation_set": (inputs, labels)}
        train(model, SGD(), config, folder=folder, on_epoch=note, **data)
        finished = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return max(unfinished) / parameters, finished / parameters


def read_rate(images: int) -> tuple[float, float]:
    """Return images per second of CPU time, and the mean size of a file [kB]."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{number}.jpg") for number in range(images)]
        for path in paths:
            coarse = Image.fromarray(generator.integers(0, 256, (75, 100, 3), dtype=np.uint8)).resize((500, 375))
            coarse.save(path, quality=92)
        kilobytes = sum(Path(path).stat().st_size for path in paths) / images / 1e3
        files = ImageFiles(folder, paths, size=224, resize=256)
        augmentation = StreamedAugmentation(area=(0.08, 1.0), flip=True)
        streamed = StreamedImages(files, torch.zeros(images, dtype=torch.long), augmentation=augmentation, **STATISTICS)
        start = time.process_time()
        count = sum(len(labels) for _, labels in streamed.epoch(1, batch_size=50))
        return count / (time.process_time() - start), kilobytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    options = parser.parse_args()
    for name, stopping in SELECTIONS.items():
        unfinished, finished = sizes(stopping)
        print(f"{name}: unfinished {unfinished:.1f}, finished {finished:.1f} bytes per parameter")
    rate, kilobytes = read_rate(options.images)
    print(f"{rate:.0f} images per second and core (files of {kilobytes:.0f} kB)")


if __name__ == "__main__":
    main()
