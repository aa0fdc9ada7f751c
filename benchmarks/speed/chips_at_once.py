"""Claim: on the quickstart's network, chips that are programmed at once are evaluated at least 1.3 x as fast.

    python benchmarks/speed/chips_at_once.py

`evaluate_chips` programs up to 32 chips of a small model at once and shares one copy of it; one by one, each chip is
programmed alone and has a copy of its own. 450 images as the quickstart tests on, one thread; ratios in one run.
"""

import torch
from common import digits, print_ratios, quickstart_cnn, ratios

from aimc_robust import Crossbar, Deployment
from aimc_robust.evaluation.monte_carlo import chip_evaluation, evaluate_chips

CHIPS, DAY_S, YEAR_S = 40, 86400.0, 365 * 86400.0
COMPENSATED = Deployment(compensation=("drift",))
CONDITIONS = {
    "RRAM": (Crossbar("rram-milo2021"), {}),
    "SONOS, 5 days": (Crossbar("sonos-agrawal2022", read_noise=False), {"time_s": 5 * DAY_S}),
    "PCM, 1 year, compensated": (
        Crossbar("pcm-nandakumar2019", read_noise=False),
        {"time_s": YEAR_S, "deployment": COMPENSATED},
    ),
}


def main() -> None:
    torch.set_num_threads(1)
    model, data = quickstart_cnn().eval(), [digits(450)]
    for name, (crossbar, options) in CONDITIONS.items():
        evaluation = chip_evaluation(model, data, crossbar, **options)

        def one_by_one(evaluation=evaluation):
            return [evaluation(chip) for chip in range(CHIPS)]

        def at_once(crossbar=crossbar, options=options):
            return [measured for _, measured in evaluate_chips(model, data, crossbar, chips=range(CHIPS), **options)]

        assert at_once() == one_by_one()
        measured = ratios(one_by_one, {name: at_once}, rounds=5)
        print_ratios("chips at once, against one by one", measured, {name: 1 / 1.3})


if __name__ == "__main__":
    main()
