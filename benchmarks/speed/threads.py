"""Claim: beside programs that keep every core busy, an epoch with one thread is at least twice as fast as with two.

    python benchmarks/speed/threads.py              # two busy processes per core, about a minute

The small network of the quickstart on digits; ratios in one run. On an idle machine the ratio is printed too.
"""

import argparse
import multiprocessing
import os

import torch
from common import digits, print_ratios, quickstart_cnn, ratios

from aimc_robust import SGD, TrainingConfig, train
from aimc_robust.parallel.process_pool import use_threads


def spin() -> None:
    while True:
        pass


def epoch(threads: int) -> None:
    images, labels = digits(1000)
    with use_threads(threads):
        config = TrainingConfig(epochs=1, batch_size=64)
        train(quickstart_cnn(), SGD(), config, training_set=(images, labels), validation_set=(images[:64], labels[:64]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    name = f"{options.threads} threads"
    calls = {name: lambda: epoch(options.threads)}
    idle = ratios(lambda: epoch(1), calls, rounds=3)
    print_ratios("time of an epoch against one thread", idle, {})
    others = [multiprocessing.get_context("fork").Process(target=spin, daemon=True) for _ in range(options.busy)]
    for other in others:
        other.start()
    crowded = ratios(lambda: epoch(1), calls, rounds=3)
    for other in others:
        other.kill()
    print_ratios(f"the same beside {options.busy} busy processes", crowded, {})


if __name__ == "__main__":
    main()
