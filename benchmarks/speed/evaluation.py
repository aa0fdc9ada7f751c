"""Claims: 100 chips x 10 000 images of the quickstart's network cost at most 1.10 x 100 plain inferences on one core,
programming and statistics included; two jobs are at least 1.8 x faster than one; memory does not grow with the chips.

    python benchmarks/speed/evaluation.py [--chips 100] [--rounds 3]

RRAM (Milo 2021); real digits, repeated to 10 000; ratios side by side in one run.
"""

import argparse
import resource
import statistics

import torch
from common import digits, print_ratios, quickstart_cnn, ratios, seconds

from aimc_robust import Crossbar, evaluate
from aimc_robust.data.batches import split_batches
from aimc_robust.tasks.classification import Classification


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, batches, crossbar = quickstart_cnn().eval(), split_batches(digits(10_000), 500), Crossbar("rram-milo2021")

    def plain():
        for _ in range(options.chips):
            Classification().measure(model, batches)

    def chips(jobs, count=options.chips):
        return evaluate(model, batches, crossbar, chips=count, jobs=jobs)

    assert chips(1, 4).table.equals(chips(2, 4).table)
    measured = ratios(plain, {f"{options.chips} chips, one job": lambda: chips(1)}, rounds=options.rounds)
    print_ratios("against plain inference on one core", measured, {f"{options.chips} chips, one job": 1.10})

    gains = []
    for _ in range(options.rounds):
        one, two, again = seconds(lambda: chips(1)), seconds(lambda: chips(2)), seconds(lambda: chips(1))
        gains.append((one + again) / 2 / two)
    median = statistics.median(gains)
    verdict = "holds" if median >= 1.8 else "FAILS"
    print(f"two jobs against one: {median:.2f} x ({min(gains):.2f} to {max(gains):.2f})  >= 1.80 {verdict}")

    chips(1, 5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chips(1, options.chips)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory after {options.chips} chips against 5: {after / before:.3f} x")


if __name__ == "__main__":
    main()
