"""Claim: a training step through arrays with 8-bit converters costs at most 3 x an SGD step.

    python benchmarks/speed/array_aware.py [--batch 128] [--rounds 5]

ResNet-18 in its CIFAR form (11.2 million weights, programmed anew at each step), arrays of 256 rows, on the CPU;
ratios in one run. The claim is of converter ranges found in each batch and of fixed ones; read noise comes on top.
Processor time with one thread, batch of 32: 2.0 x with fixed ranges, 2.6 x with ranges of the batch, 3.3 x with read
noise too.
"""

import argparse
from collections.abc import Callable

import torch
from common import images, print_ratios, ratios, resnet18_cifar
from torch import nn

import aimc_robust as ar

CROSSBAR = ar.Crossbar("pcm-nandakumar2019", rows=256, dac=ar.DAC(bits=8), adc=ar.ADC(bits=8))
LIMITS = {"fixed ranges": 3.0, "ranges of the batch": 3.0}


def array_methods(model: nn.Module, inputs: torch.Tensor) -> dict[str, ar.Method]:
    """Methods by name, with ranges calibrated as in training: BatchNorms folded."""
    noiseless = CROSSBAR.replace(read_noise=False)
    ranges = ar.calibrate(model, noiseless, [inputs[:8]])
    return {
        "fixed ranges": ar.ArrayAware(noiseless, ranges=ranges),
        "ranges of the batch": ar.ArrayAware(noiseless),
        "and read noise": ar.ArrayAware(CROSSBAR),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model, batch, loss = resnet18_cifar().train(), images(options.batch), nn.CrossEntropyLoss()
    methods = array_methods(model, batch[0])

    def step(method: ar.Method) -> Callable[[], object]:
        def call() -> None:
            model.zero_grad()
            method.backward(model, loss, [batch], step=1)

        return call

    measured = ratios(step(ar.SGD()), {name: step(method) for name, method in methods.items()}, options.rounds)
    print_ratios("one gradient against one of SGD, on the CPU", measured, LIMITS)


if __name__ == "__main__":
    main()
