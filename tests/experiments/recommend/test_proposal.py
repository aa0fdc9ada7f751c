"""What is proposed for a strength of error, and that the figures it cites are the paper's."""

import pytest
from support.methods import build_method

from aimc_robust.errors import InputError
from aimc_robust.experiments.recommend.proposal import LARGE_SIGMA_FACTOR, RHO, SIGMA_FACTOR, propose
from aimc_robust.noise.distributions import Gaussian

# Test accuracy [%] of ResNet-18 on CIFAR-100 in Incorruptible Neural Networks.
# Table 3: sigma_test -> constant, linear and quadratic (RWP, SAM).
TABLE_3 = {
    0.02: ((77.65, 77.95, 78.26), (79.12, 79.40, 79.49)),
    0.03: ((76.26, 76.61, 77.00), (76.82, 77.61, 77.13)),
    0.05: ((71.04, 71.85, 72.43), (66.51, 67.27, 68.11)),
    0.07: ((61.36, 62.24, 65.27), (53.61, 58.37, 60.24)),
}
# Table 1: sigma_test -> {sigma_train: accuracy} of RWP at constant sigma.
TABLE_1 = {
    0.02: {0.0: 77.24, 0.02: 77.64, 0.03: 77.57, 0.05: 77.65, 0.06: 77.15, 0.07: 76.32, 0.08: 76.24},
    0.03: {0.0: 71.95, 0.02: 75.77, 0.03: 75.82, 0.05: 76.26, 0.06: 75.97, 0.07: 75.18, 0.08: 75.15},
    0.05: {0.0: 56.21, 0.02: 67.11, 0.03: 67.97, 0.05: 70.43, 0.06: 71.04, 0.07: 70.51, 0.08: 70.96},
    0.07: {0.0: 47.09, 0.02: 50.12, 0.03: 52.57, 0.05: 56.55, 0.06: 59.27, 0.07: 59.39, 0.08: 61.36},
}
# Table 12: sigma_max -> best over the ramp's length, at sigma_test 0.07.
TABLE_12 = {0.08: 63.32, 0.10: 65.57, 0.12: 63.41}
# Table 2: rho -> accuracies of constant SAM at sigma_test 0.02 and 0.03.
TABLE_2 = {0.2: (78.71, 75.27), 0.3: (79.12, 76.82), 0.5: (77.31, 74.41), 0.8: (71.04, 66.98)}


@pytest.mark.parametrize("sigma", TABLE_3)
def test_constant_noise_above_the_devices_is_proposed_at_every_strength(sigma):
    assert propose(sigma).settings == {"kind": "rwp", "sigma": pytest.approx(1.5 * sigma, rel=1e-2)}


def test_the_gain_of_a_ramp_that_is_cited_is_the_tables():
    gains = [quadratic - constant for (constant, _, quadratic), _ in TABLE_3.values()]
    assert f"by {min(gains):.1f} to {max(gains):.1f} points" in propose(0.05).reasons[2]


def test_noise_in_training_was_better_than_none_at_every_strength():
    for sigma, row in TABLE_1.items():
        assert row[sigma] > row[0.0]


def test_training_noise_is_over_the_devices_by_what_was_best():
    ratios = [max(row, key=row.__getitem__) / sigma for sigma, row in TABLE_1.items()]
    ratios.append(max(TABLE_12, key=TABLE_12.__getitem__) / 0.07)
    assert (round(min(ratios), 1), round(max(ratios), 1)) == (1.1, 2.5)  # as the reasons and comments say
    assert min(ratios) < SIGMA_FACTOR < max(ratios)
    assert max(ratios) == pytest.approx(LARGE_SIGMA_FACTOR)
    assert propose(0.1).settings["sigma"] == pytest.approx(0.15)
    assert "1.1 to 2.5 times" in propose(0.1).reasons[1]


def test_rho_is_the_best_constant_one():
    for column in (0, 1):
        assert max(TABLE_2, key=lambda rho: TABLE_2[rho][column]) == RHO
    assert propose(0.02).methods["sam"]["rho"] == RHO


@pytest.mark.parametrize("sigma", [1e-4, 0.0399, 0.04, 0.0901234, 0.5])
def test_the_sweep_holds_the_baseline_first_the_proposal_and_a_question_for_each_rival(sigma):
    proposal = propose(sigma)
    labels = list(proposal.methods)
    assert labels[0] == "sgd"
    assert proposal.label in labels
    assert set(proposal.questions) == set(labels) - {proposal.label}
    assert len(labels) == 7
    for label, table in proposal.methods.items():
        build_method(label, table, seed=0)  # a spec takes every one
    strengths = [table["sigma"] for table in proposal.methods.values() if "sigma" in table]
    assert sorted({round(strength / sigma, 1) for strength in strengths}) == [1.0, 1.5, 2.5]


@pytest.mark.parametrize("sigma", [0.01, 0.1])
@pytest.mark.parametrize("bits", [0, 4, 6, 8])
def test_training_through_arrays_is_among_the_methods_and_proposed_for_coarse_converters(sigma, bits):
    table = {"kind": "array-aware", "crossbar": "pcm-nandakumar2019", "time_s": 60.0}
    proposal = propose(sigma, arrays={"bits": bits, "method": table})
    label = f"array-aware-{sigma:g}"
    assert proposal.methods[label] | table == proposal.methods[label]
    assert build_method(label, proposal.methods[label], seed=0).noise == Gaussian(sigma)
    assert (proposal.label == label) == (bits in (4, 6))
    assert list(proposal.methods)[:7] == list(propose(sigma).methods)
    assert set(proposal.questions) == set(proposal.methods) - {proposal.label}
    if proposal.label == label:
        assert f"{bits} bits" in proposal.reasons[0]
        assert "learned" not in proposal.reasons[0]
    else:
        assert proposal.reasons == propose(sigma).reasons


@pytest.mark.parametrize("sigma", [0.0, 1e-7, -0.1, float("nan"), float("inf"), True, "0.1"])
def test_a_strength_that_cannot_be_is_refused(sigma):
    with pytest.raises(InputError, match="sigma"):
        propose(sigma)
