"""Claims: 8-bit converters and 256-row arrays cost at most 1.4 x plain torch inference, read noise 2.2 x, both 3.5 x.

Wall time with two threads, Numba, and nothing beside it, medians of three rounds of several runs on an AVX2 CPU whose
two threads share a core: 1.16 to 1.39 x, 1.70 to 1.95 x and 2.85 to 3.35 x; plain torch takes 0.78 to 0.91 x with
the images as `evaluate` gives them (channels last). Without Numba both take 3.3 to 3.6 x.
What is left: two convolutions of each array (the current and its variance) take 1.9 x by themselves, normal numbers
0.5 x, converters and layouts in memory the rest.

    python benchmarks/speed/arrays.py [--device cuda]

ResNet-18 in its CIFAR form, 128 images; ratios in one run. The weight-error path is in chips.py.
"""

import torch
from common import model_and_batches, print_ratios, ratios
from torch import nn

from aimc_robust import ADC, DAC, Crossbar, Deployment, calibrate, program
from aimc_robust.evaluation.image_format import FastestFormat
from aimc_robust.tasks.classification import Classification

CONVERTERS = {"rows": 256, "dac": DAC(bits=8), "adc": ADC(bits=8)}
CROSSBARS = {
    "weight errors": Crossbar("rram-milo2021"),
    "8-bit DAC and ADC": Crossbar("rram-milo2021", **CONVERTERS),
    "8-bit DAC and ADC, read noise": Crossbar("sonos-agrawal2022", **CONVERTERS),
    "read noise only": Crossbar("sonos-agrawal2022"),
}
LIMITS = dict(zip(CROSSBARS, (1.05, 1.4, 3.5, 2.2), strict=True))


def on_chips(model: nn.Module, images: torch.Tensor) -> dict[str, nn.Module]:
    """Program a model onto each crossbar, with converter ranges from the images."""
    chips = {}
    for name, crossbar in CROSSBARS.items():
        ranges = calibrate(model, crossbar, [images]) if crossbar.periphery.needs_calibration else None
        chips[name] = program(model, crossbar, deployment=Deployment(ranges=ranges))
    return chips


def main() -> None:
    model, batches, device = model_and_batches(__doc__, 128, 64)
    analog = on_chips(model, batches[0][0])

    faster = FastestFormat(batches, model)

    def run(network, batches=faster):
        Classification().measure(network, batches)
        if device != "cpu":
            torch.cuda.synchronize()

    calls = {name: lambda name=name: run(analog[name]) for name in CROSSBARS}
    calls["plain torch, images as in evaluate"] = lambda: run(model)
    measured = ratios(lambda: run(model, batches), calls, rounds=3)
    print_ratios("inference against plain torch", measured, LIMITS)


if __name__ == "__main__":
    main()
