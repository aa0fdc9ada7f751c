"""Claims: a chip of `evaluate`, programming included, costs at most 1.05 x plain torch inference; a call of `program`
for each chip, which prepares the model each time, 1.10 x.

    python benchmarks/speed/chips.py [--device cuda]

ResNet-18 in its CIFAR form, 1000 images, RRAM (Milo 2021), one-sided pairs; ratios in one run.
"""

from common import model_and_batches, print_ratios, ratios

from aimc_robust import Crossbar, program
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.tasks.classification import Classification

CHIPS = 3


def main() -> None:
    model, batches, _ = model_and_batches(__doc__, 1000, 250)
    crossbar = Crossbar("rram-milo2021")

    def plain():
        for _ in range(CHIPS):
            Classification().measure(model, batches)

    def monte_carlo():
        list(evaluate_chips(model, batches, crossbar, chips=range(CHIPS)))

    def program_each():
        for chip in range(CHIPS):
            Classification().measure(program(model, crossbar, chip=chip), batches)

    calls = {"a chip of evaluate()": monte_carlo, "program() and inference": program_each}
    limits = {"a chip of evaluate()": 1.05, "program() and inference": 1.10}
    print_ratios("one chip against plain inference", ratios(plain, calls, rounds=3), limits)


if __name__ == "__main__":
    main()
