"""Aim, not reached: the weight-error path of a BERT costs at most 1.05 x its plain inference, programming included.

    python benchmarks/speed/bert_weight_errors.py [--threads 1] [--rounds 5]      # about 10 minutes on one core

On two cores with nothing beside it: 1.07 to 1.09 x. One AVX-512 core takes 16 to 17 s for plain inference and 1.2 s of
processor time to program a chip. The two Gaussian numbers of each weight, which torch makes in 3.5 ns each, alone make
it 1.035 x; numpy's generators (SFC64, Philox, PCG64DXSM) take twice as long.

transformers' BERT of the default configuration (109 million parameters, 86 million of them on arrays) with random
weights, without a download; 8 batches of 8 x 128 random tokens; ratios side by side in one run. Each run of the
weight-error path programs another chip and then runs the same 8 batches, as `evaluate` does for every chip; the time
of `program` alone, which also copies and prepares the model, is printed beside it.
"""

import argparse
import itertools
import statistics

import torch
from common import print_ratios, ratios, seconds

from aimc_robust import Crossbar, program
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import chip_axes, program_prepared
from aimc_robust.hardware.program_chips import copy_for_chip

try:
    from transformers import BertConfig, BertModel
except ImportError:
    raise SystemExit("This script measures a model of transformers: pip install 'aimc-robust[huggingface]'.") from None

LIMIT = 1.05
CROSSBARS = {"RRAM Wan": "rram-wan2022", "PCM Joshi": "pcm-joshi2020"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = BertModel(BertConfig()).eval()
    batches = [torch.randint(model.config.vocab_size, (8, 128)) for _ in range(options.batches)]
    prepared, covered = prepare(model, lambda: batches[0])
    print(f"{covered.total_parameters:,} parameters, {covered.analog_parameters:,} of them on arrays")

    @torch.inference_mode()
    def run(network):
        for batch in batches:
            network(input_ids=batch)

    def on_chip(crossbar, chips=itertools.count(), memory={}):  # noqa: B006, B008, one for all calls
        axes = chip_axes(0, next(chips))
        return program_prepared(copy_for_chip(prepared, memory), crossbar, axes)

    crossbars = {name: Crossbar(device, read_noise=False) for name, device in CROSSBARS.items()}
    calls = {name: lambda crossbar=crossbar: run(on_chip(crossbar)) for name, crossbar in crossbars.items()}
    measured = ratios(lambda: run(model), calls, rounds=options.rounds)
    title = f"against plain inference, {options.batches} batches, {options.threads} threads"
    print_ratios(title, measured, dict.fromkeys(measured, LIMIT))
    plain = statistics.median(seconds(lambda: run(model)) for _ in range(3))
    for name, crossbar in crossbars.items():
        chip = statistics.median(seconds(lambda crossbar=crossbar: on_chip(crossbar)) for _ in range(5))
        alone = statistics.median(seconds(lambda crossbar=crossbar: program(model, crossbar)) for _ in range(5))
        print(f"{name:<28} a chip {chip:.2f} s, program {alone:.2f} s, plain inference {plain:.2f} s")


if __name__ == "__main__":
    main()
