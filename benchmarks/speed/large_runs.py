"""Aim: what the published tables take at full scale, computed from their specs and a card's rate.

    python benchmarks/speed/large_runs.py [--tflops 60]

FLOPs of a forward pass are counted on the device meta, a multiply-add as two; backward takes twice a forward pass.
Counted are all passes of training, the validation of each epoch with the noise of early stopping, and the chips. A chip
costs CHIP times a plain pass. Not counted are diagnostics, landscapes and the time to read images. Models that several
tables share count in each. The result is the table of docs/how-to/plan-large-runs.md, and a test compares the two.
"""

import argparse
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.registry import ModelSpec, construct
from aimc_robust.targets.target import Target

BENCHMARKS = Path(__file__).parents[1]
TFLOPS = 60.0  # sustained in training; an assumption, see the page
BACKWARD = 2.0  # forward passes that a backward pass costs
# Measured on an H100 with ResNet-18 at 64 x 64 pixels: a chip's pass over a plain one.
CHIP = {"weights alone": 2.3, "read noise": 18.0, "converters": 52.0}
TABLES = [
    "m-rwp/table2",
    "incorruptible/figure14",
    *(f"incorruptible/table{number}" for number in range(1, 13)),
    "m-rwp/table1",
    "m-rwp/tableA1",
]


class Data(NamedTuple):
    """Images of a data set, and their shape as a network takes them."""

    training: int
    test: int
    outputs: int
    size: int


DATA = {
    "torchvision:CIFAR10": Data(50_000, 10_000, 10, 32),
    "torchvision:CIFAR100": Data(50_000, 10_000, 100, 32),
    "folder:../data/tiny-imagenet-200": Data(100_000, 10_000, 200, 64),
    "folder:../data/imagenet-100": Data(126_689, 5_000, 100, 224),
    "torchvision:ImageNet": Data(1_281_167, 50_000, 1000, 224),
}


class Cost(NamedTuple):
    """Floating-point operations of a table."""

    models: int
    training: float
    validation: float
    chips: float

    def hours(self, tflops: float) -> list[float]:
        """Return the hours of training, validation and chips at a rate."""
        return [flops / (tflops * 1e12) / 3600 for flops in self[1:]]


@functools.cache
def forward_flops(model: str, options: str, outputs: int, size: int) -> float:
    """Return the FLOPs of one image through a network."""
    spec = ModelSpec.model_validate_json(f'{{"name": "{model}", "options": {options}}}')
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        construct(spec, SimpleNamespace(shape=(3, size, size), outputs=outputs)).eval()(torch.empty(1, 3, size, size))
    return float(counter.get_total_flops())


def flops_of(spec: ModelSpec, data: Data) -> float:
    """Return the FLOPs of one image through a spec's network."""
    options = ModelSpec(name=spec.name, options=spec.options).model_dump_json(include={"options"})
    return forward_flops(spec.name, options.removeprefix('{"options":').removesuffix("}"), data.outputs, data.size)


def chip_factor(target: Target) -> float:
    """Return what a chip of a target costs, over a plain pass."""
    crossbars = getattr(getattr(target, "condition", None), "crossbars", ())
    if any(crossbar.periphery.acts for crossbar in crossbars):
        return CHIP["converters"]
    if any(crossbar.computes_in_arrays for crossbar in crossbars):
        return CHIP["read noise"]
    return 1.0 if target.chips(2) == 1 else CHIP["weights alone"]


def parts(spec: ComparisonSpec) -> Iterator[Cost]:
    """Yield the cost of each method's models."""
    targets = spec.build_targets()
    for label in spec.labels:
        config, data = spec.config_of(label), DATA[spec.data_of(label).name]
        flops, passes = flops_of(spec.model_of(label), data), spec.method(label, seed=0).passes_per_update
        images = config.updates_per_epoch(data.training) * config.batch_size * config.epochs
        stopping = config.early_stopping
        draws = 1 if stopping is None else 1 + stopping.draws * sum(sigma > 0 for sigma in stopping.sigmas)
        tested = sum(
            (data.test if target.split == "test" else data.training) * target.chips(spec.chips) * chip_factor(target)
            for target in targets
        )
        seeds = len(spec.train_seeds)
        yield Cost(
            seeds,
            seeds * passes * images * (1 + BACKWARD) * flops,
            seeds * config.epochs * draws * data.test * flops,
            seeds * tested * flops,
        )


def cost(spec: ComparisonSpec) -> Cost:
    """Return the cost of all models of a spec."""
    return Cost(*map(sum, zip(*parts(spec), strict=True)))


def table(tflops: float, names: Sequence[str] = TABLES) -> str:
    """Return the costs of tables as Markdown."""
    rows = [
        "| spec | models | training [EFLOP] | training [h] | validation [h] | chips [h] |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        costs = cost(load_spec(BENCHMARKS / f"{name}.toml"))
        numbers = " | ".join(f"{number:.1f}" for number in (costs.training / 1e18, *costs.hours(tflops)))
        rows.append(f"| `{name}.toml` | {costs.models} | {numbers} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, default=TFLOPS, help="sustained rate of training [TFLOP/s]")
    print(table(parser.parse_args().tflops))


if __name__ == "__main__":
    main()
