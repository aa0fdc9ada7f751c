"""Claim: 8-bit converters and 256-row arrays cost at most 4 x plain torch inference, with read noise 6 x.

    python benchmarks/speed/arrays.py [--device cuda]

ResNet-18 in its CIFAR form, 128 images; ratios in one run. The weight-error path is in chips.py.
"""

import argparse

import torch
from common import images, print_ratios, ratios, resnet18_cifar

from aimc_robust import ADC, DAC, Crossbar, Deployment, calibrate, program
from aimc_robust.data.batches import split_batches
from aimc_robust.tasks.classification import Classification


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    model = resnet18_cifar().eval().to(device)
    batches = [(x.to(device), y.to(device)) for x, y in split_batches(images(128), 64)]
    converters = {"rows": 256, "dac": DAC(bits=8), "adc": ADC(bits=8)}
    crossbars = {
        "weight errors": (Crossbar("rram-milo2021"), 1.05),
        "8-bit DAC and ADC": (Crossbar("rram-milo2021", **converters), 4.0),
        "8-bit DAC and ADC, read noise": (Crossbar("sonos-agrawal2022", **converters), 6.0),
        "read noise only": (Crossbar("sonos-agrawal2022"), 6.0),
    }
    analog = {}
    for name, (crossbar, _) in crossbars.items():
        ranges = calibrate(model, crossbar, [batches[0][0]]) if crossbar.periphery.needs_calibration else None
        analog[name] = program(model, crossbar, deployment=Deployment(ranges=ranges))

    def run(network):
        Classification().measure(network, batches)
        if device != "cpu":
            torch.cuda.synchronize()

    calls = {name: lambda name=name: run(analog[name]) for name in crossbars}
    measured = ratios(lambda: run(model), calls, rounds=3)
    print_ratios("inference against plain torch", measured, {name: limit for name, (_, limit) in crossbars.items()})


if __name__ == "__main__":
    main()
