"""Accuracy on a chip with known stuck devices, before and after training around them, for every method.

    python benchmarks/faults/retraining.py

Digits (1797 images of 8 x 8, scikit-learn), 64-32-10 perceptron, RRAM of Milo 2021, one-sided pairs, 8-bit
converters. Devices are stuck at the low or at the high end of the window. Prints means over chips with known faults and
their standard deviation; each is a mean over 5 draws of all other errors.
"""

import argparse
import copy
import statistics
import warnings

import torch
from sklearn.datasets import load_digits
from torch import nn

import aimc_robust as ar

CROSSBAR = ar.Crossbar("rram-milo2021", rows=64, dac=ar.DAC(bits=8), adc=ar.ADC(bits=8))
SHARES = ((0.0, 0.01), (0.0, 0.05), (0.05, 0.05))


def methods(faulty):
    """Every method around the faults of a crossbar."""
    return {
        "sgd": ar.SGD(faults=faulty),
        "sam": ar.SAM(rho=0.05, faults=faulty),
        "asam": ar.AdaptiveSAM(rho=0.5, faults=faulty),
        "rwp": ar.RWP(sigma=0.03, faults=faulty),
        "m-rwp": ar.MixedRWP(sigma=0.03, faults=faulty),
        "array-aware": ar.ArrayAware(faulty),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chips", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    images, labels = torch.tensor(load_digits().images, dtype=torch.float32).flatten(1) / 16, load_digits().target
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], torch.tensor(labels)[order]
    test = images[1200:], labels[1200:]
    sets = {"training_set": (images[:1200], labels[:1200]), "validation_set": test}
    config = ar.TrainingConfig(epochs=arguments.epochs, lr=0.1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    ar.train(net, ar.SGD(), ar.TrainingConfig(epochs=3 * arguments.epochs, lr=0.1), **sets)

    def accuracy(model, crossbar) -> float:
        deployment = ar.Deployment(ranges=ar.calibrate(model, crossbar, [images[:500]]))
        return ar.evaluate(model, test, crossbar, chips=5, deployment=deployment).mean

    print(f"digital {ar.evaluate(net, test, None).mean:.1f}, without stuck devices {accuracy(net, CROSSBAR):.1f}")
    print("| stuck low / high | before | " + " | ".join(methods(CROSSBAR.replace(stuck=ar.FaultMap({})))) + " |")
    for low, high in SHARES:
        scores: dict[str, list[float]] = {}
        for chip in range(arguments.chips):
            drawn = ar.draw_faults(net, CROSSBAR.replace(stuck=(low, high)), chip=chip)
            faulty = CROSSBAR.replace(stuck=drawn)
            scores.setdefault("before", []).append(accuracy(net, faulty))
            for name, method in methods(faulty).items():
                retrained = copy.deepcopy(net)
                ar.train(retrained, method, config, **sets)
                scores.setdefault(name, []).append(accuracy(retrained, faulty))
        cells = [f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" for values in scores.values()]
        print(f"| {100 * low:g} % / {100 * high:g} % | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        main()
