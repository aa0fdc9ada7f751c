"""Claim: the check that no weight of a chip became NaN or infinite costs at most 2 % of an evaluation.

    python benchmarks/speed/finite_check.py [--device cuda]

Evaluation with the check against evaluation without it, as ratios in one run: ResNet-18 in its CIFAR form with 32
images, and the quickstart's network with 360 digits; under Gaussian noise, on RRAM (Milo 2021), and in arrays of PCM
(Nandakumar 2019) with read noise and 8-bit converters.
"""

import argparse
from collections.abc import Callable
from unittest import mock

from common import digits, images, print_ratios, quickstart_cnn, ratios, resnet18_cifar

from aimc_robust import ADC, DAC, Crossbar, Deployment, Gaussian, calibrate
from aimc_robust.data.batches import split_batches
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.hardware.programming import programmed_matrix
from aimc_robust.noise import perturbation

ARRAYS = Crossbar("pcm-nandakumar2019", rows=256, dac=DAC(bits=8), adc=ADC(bits=8))
CONDITIONS = {"Gaussian noise": Gaussian(0.05), "weights on RRAM": Crossbar("rram-milo2021"), "arrays": ARRAYS}


def without_check(call: Callable[[], object]) -> None:
    def accept(*arguments: object) -> None:
        """In place of a check."""

    with (
        mock.patch.object(programmed_matrix, "check_states", accept),
        mock.patch.object(perturbation, "_check_finite", accept),
    ):
        call()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    networks = {
        "ResNet-18": (resnet18_cifar(), images(32), 1, 5),
        "quickstart": (quickstart_cnn(), digits(360), 25, 20),
    }
    for network, (model, data, chips, rounds) in networks.items():
        model = model.eval().to(device)
        batches = [(x.to(device), y.to(device)) for x, y in split_batches(data, 100)]
        ranges = calibrate(model, ARRAYS, [batches[0][0][:64]])
        for name, condition in CONDITIONS.items():
            deployment = Deployment(ranges=ranges) if condition is ARRAYS else None

            def evaluated(model=model, batches=batches, condition=condition, deployment=deployment, chips=chips):
                return list(evaluate_chips(model, batches, condition, chips=range(chips), deployment=deployment))

            measured = ratios(lambda call=evaluated: without_check(call), {"with the check": evaluated}, rounds)
            print_ratios(f"{network}, {name}: against without it", measured, {"with the check": 1.02})


if __name__ == "__main__":
    main()
