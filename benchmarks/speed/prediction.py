"""Claim: the prediction of a device's loss costs less than 10 chips of Monte Carlo.

    python benchmarks/speed/prediction.py [--large]

The quickstart's network on 10 000 images of digits; with --large also ResNet-18 in its CIFAR form on 500 images, with
the curvature of 150 of them (also printed for all 500, without a claim: four gradients cost about 12 inferences of an
image). RRAM (Milo 2021), one thread; ratios to one chip of `evaluate`, in one run. Each further device or time costs as
much again.
"""

import argparse

import torch
from common import digits, images, print_ratios, quickstart_cnn, ratios, resnet18_cifar
from torch import Tensor, nn

from aimc_robust import Crossbar
from aimc_robust.data.batches import split_batches
from aimc_robust.evaluation.loss_prediction import predict_loss
from aimc_robust.evaluation.monte_carlo import evaluate_chips

RRAM = Crossbar("rram-milo2021")
CHIPS = 3


def print_comparison(
    title: str, model: nn.Module, data: tuple[Tensor, Tensor], options: dict[str, dict], rounds: int
) -> None:
    """Print the time of predictions with each of the options, relative to one chip."""
    batches = split_batches(data, 250)

    def chips():
        list(evaluate_chips(model, batches, RRAM, chips=range(CHIPS)))

    calls = {
        name: lambda chosen=chosen: predict_loss(model, batches, {"rram": RRAM}, **chosen)
        for name, chosen in options.items()
    }
    measured = {name: [CHIPS * ratio for ratio in values] for name, values in ratios(chips, calls, rounds).items()}
    print_ratios(f"{title}: a prediction in chips", measured, {next(iter(options)): 10.0})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    large = parser.parse_args().large
    torch.set_num_threads(1)
    print_comparison(
        "small-cnn, 10 000 digits",
        quickstart_cnn().eval(),
        digits(10_000),
        {"default": {}, "all images": {"images": 10_000}},
        3,
    )
    if large:
        options = {"curvature of 150 images": {"images": 150, "probes": 20}, "of all": {"probes": 20}}
        print_comparison("ResNet-18, 500 images", resnet18_cifar().eval(), images(500), options, 1)


if __name__ == "__main__":
    main()
