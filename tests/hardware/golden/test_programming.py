"""Programming, and ageing to a later time, agree with CrossSim 3.2.0 given its own normal draws."""

import torch
from support.golden import ARRAYS, CASES, DAY_S, PRECISIONS, by_id, replayed, stored_array

from aimc_robust import Crossbar
from aimc_robust.hardware.programming.weights_to_states import program_matrix, read_back

DRIFTED = [case for case in CASES["programming"] if case["time_days"] > 0]


def difference(
    case: dict, dtype: torch.dtype, names: tuple[str, str] = ("xi_pos", "xi_neg"), days: float = 0.0
) -> float:
    """Largest difference to CrossSim's programmed weights in units of w_max, `days` after the time of the case."""
    crossbar = Crossbar(
        case["device"], window=tuple(case["window"]), mapping=case["mapping"], cell_bits=case["cell_bits"]
    )
    weight, time_s = ARRAYS["programming_W"].to(dtype), (case["time_days"] + days) * DAY_S
    ours = read_back(
        crossbar.device,
        crossbar.weights,
        program_matrix(crossbar.device, crossbar.weights, weight, replayed(case, names), time_s=time_s),
    )
    assert ours.dtype == dtype
    return float((ours - stored_array(case, "w_prog")).abs().max()) / case["w_max"]


@PRECISIONS
@by_id(CASES["programming"])
def test_programmed_weights_are_crosssims_given_its_draws(case, dtype):
    assert difference(case, dtype) < case["tolerance"]


def test_the_stored_programming_cases_cover_every_device_and_time_with_and_without_levels():
    seen = {(case["device"], case["time_days"], case["cell_bits"]) for case in CASES["programming"]}
    devices = ("rram-milo2021", "rram-wan2022", "pcm-joshi2020", "sonos-agrawal2022")
    times = [(device, 0.0) for device in devices] + [("sonos-agrawal2022", days) for days in (1.0, 2.5, 5.0)]
    assert seen == {(*time, bits) for time in times for bits in (0, 7)}


@by_id(CASES["programming"])
def test_with_the_draws_of_plus_and_minus_swapped_it_does_not_agree(case):
    assert difference(case, torch.float64, ("xi_neg", "xi_pos")) > 100 * case["tolerance"]


@by_id(DRIFTED)
def test_an_hour_earlier_it_does_not_agree(case):
    assert difference(case, torch.float64, days=-1.0 / 24.0) > 3 * case["tolerance"]
