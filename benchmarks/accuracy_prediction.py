"""Predicted against simulated accuracy, on every device of the library and five networks.

    apt-get install dataset-fashion-mnist       # or the four files idx*-ubyte.gz from anywhere else
    python benchmarks/fashion_images.py /usr/share/datasets/fashion-mnist benchmarks/data
    python benchmarks/accuracy_prediction.py benchmarks/data/fashion-14.npz [--chips 10] [--network MLP ...]

Trains two networks on scikit-learn's digits and three on Fashion-MNIST at 14 x 14 pixels, with plain SGD or Adam. Every
card is measured at time 0, those that drift also after a day; PCM then with and without global drift compensation.
`predict_accuracy` draws weights from their mean and variance, the simulation programs chips; both have read noise.
About 10 minutes on one core; docs/explanation/second-order.md has the numbers. Prints a row per condition:
predicted / simulated [%], then per network: Spearman's rank correlation over the conditions, the mean and the largest
absolute difference, and the processor time of both.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import aimc_robust as ar
from aimc_robust.models.networks.resnet import ResNet
from aimc_robust.models.networks.small_cnn import SmallCNN
from aimc_robust.models.networks.vit import ViT

DAY_S, TESTED = 86400.0, 500
COMPENSATED = ar.Deployment(compensation=("drift",))


def separable(inputs, outputs, stride):
    """A depthwise and a pointwise convolution, as in MobileNet."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def mobile_net():
    """A stem and four separable convolutions."""
    stem = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [separable(16, 32, 2), separable(32, 32, 1), separable(32, 64, 2), separable(64, 64, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp():
    """Two hidden layers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def resnet():
    """Three residual blocks."""
    return ResNet(in_channels=1, classes=10, channels=8, blocks=(1, 1, 1))


def transformer():
    """Two encoder blocks on 49 patches of 2 x 2 pixels."""
    sizes = {"patch": 2, "dim": 32, "depth": 2, "heads": 4, "mlp_dim": 64, "dropout": 0.0}
    return ViT(in_channels=1, classes=10, image_size=(14, 14), **sizes)


def cnn():
    """Three convolutions."""
    return SmallCNN(in_channels=1, classes=10, channels=8, stages=3)


NETWORKS = {  # name -> (data, function, epochs, optimizer)
    "MLP": ("digits", mlp, 20, "sgd"),
    "CNN": ("digits", cnn, 10, "sgd"),
    "ResNet": ("fashion", resnet, 3, "sgd"),
    "MobileNet": ("fashion", mobile_net, 4, "sgd"),
    "ViT": ("fashion", transformer, 6, "adam"),
}


def digits():
    """(training images, labels, test images, labels)."""
    found = load_digits()
    images, labels = torch.tensor(found.images / 8.0 - 1.0, dtype=torch.float32)[:, None], torch.tensor(found.target)
    return images[:-TESTED], labels[:-TESTED], images[-TESTED:], labels[-TESTED:]


def fashion(path):
    """(training images, labels, test images, labels)."""
    file = np.load(path)
    images, tests = (torch.tensor(file[f"x_{s}"] / 127.5 - 1.0, dtype=torch.float32) for s in ("train", "test"))
    labels, test_labels = (torch.tensor(file[f"y_{split}"]).long() for split in ("train", "test"))
    return images.permute(0, 3, 1, 2), labels, tests.permute(0, 3, 1, 2)[:TESTED], test_labels[:TESTED]


def train(model, images, labels, epochs, optimizer):
    """Train with a schedule of one cycle."""
    steps = epochs * -(-len(images) // 64)
    if optimizer == "adam":
        rate, chosen = 3e-3, torch.optim.AdamW(model.parameters(), lr=3e-3)
    else:
        rate, chosen = 0.1, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(chosen, rate, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            chosen.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            chosen.step()
            schedule.step()
    return model.eval()


def conditions():
    """Name -> (crossbar, time, deployment) of every card, also after a day if it drifts."""
    found = {}
    for name in ar.card_names():
        crossbar = ar.Crossbar(name)
        found[name] = crossbar, 0.0, ar.Deployment()
        if ar.load_card(name).drift is not None:
            found[f"{name}, 1 day"] = crossbar, DAY_S, ar.Deployment()
            if name.startswith("pcm-"):
                found[f"{name}, 1 day, compensated"] = crossbar, DAY_S, COMPENSATED
    return found


def compare(model, data, chips):
    """Return a row per condition: predicted, low, high, simulated and its interval; and the seconds of both."""
    cases = conditions()
    crossbars = {name: crossbar for name, (crossbar, _, _) in cases.items()}
    times_s = {name: time_s for name, (_, time_s, _) in cases.items()}
    deployments = {name: deployment for name, (_, _, deployment) in cases.items()}
    began = time.process_time()
    table = ar.predict_accuracy(model, data, crossbars, time_s=times_s, deployment=deployments).table
    predicted = time.process_time()
    estimates = [
        ar.evaluate(model, data, crossbar, time_s=time_s, deployment=deployment, chips=chips)
        for crossbar, time_s, deployment in cases.values()
    ]
    seconds = predicted - began, time.process_time() - predicted
    simulated = [(estimate.mean, *estimate.ci) for estimate in estimates]
    return table.assign(
        **dict(zip(("mean", "mean_low", "mean_high"), zip(*simulated, strict=True), strict=True))
    ), seconds


def summary(table, seconds):
    """Agreement of one network."""
    difference = table["predicted"] - table["mean"]
    joint = np.hypot(table["high"] - table["low"], table["mean_high"] - table["mean_low"]) / 2.0
    return {
        "rank correlation": f"{spearmanr(table['predicted'], table['mean']).statistic:.3f}",
        "mean absolute difference": f"{difference.abs().mean():.2f}",
        "mean difference": f"{difference.mean():+.2f}",
        "largest difference": f"{difference.abs().max():.2f}",
        "beyond both 95 % intervals": f"{int((difference.abs() > joint + 1e-6).sum())} of {len(table)}",
        "processor time, predicted / simulated [s]": f"{seconds[0]:.0f} / {seconds[1]:.0f}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fashion", help="fashion-14.npz of fashion_images.py")
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # a day is beyond what some cards were measured for
    sources = {"digits": digits(), "fashion": fashion(options.fashion)}
    columns, summaries = {}, {}
    for name in options.network or NETWORKS:
        source, build, epochs, optimizer = NETWORKS[name]
        torch.manual_seed(0)
        images, labels, *test = sources[source]
        table, seconds = compare(train(build(), images, labels, epochs, optimizer), tuple(test), options.chips)
        columns["condition"] = table["condition"]
        columns[f"{name} ({table['digital'][0]:.1f})"] = [
            f"{r.predicted:.1f} / {r.mean:.1f}" for r in table.itertuples()
        ]
        summaries[name] = summary(table, seconds)
        print(name, summaries[name], flush=True)
    for frame in (pd.DataFrame(columns), pd.DataFrame(summaries).rename_axis("agreement").reset_index()):
        print("\n| " + " | ".join(frame.columns) + " |\n|" + "---|" * len(frame.columns))
        print("\n".join("| " + " | ".join(map(str, row)) + " |" for row in frame.itertuples(index=False)))


if __name__ == "__main__":
    main()
