"""A chip that is programmed again: what stays with its devices, and what is drawn anew."""

import numpy as np
import pytest
import torch
from scipy import stats

from aimc_robust import CellModel, Crossbar, Deployment, crosssim_json, load_card, program
from aimc_robust.devices.cell_model_checks import check_cell_model
from aimc_robust.errors import InputError
from aimc_robust.fitting.verify import verify_card

EMPIRICAL = {
    "kind": "empirical",
    "probabilities": [0.0, 0.1, 0.5, 0.9, 1.0],
    "at": [{"state": s, "quantiles": [-0.02, -0.01, 0.0, 0.03, 0.3]} for s in (0.0, 1.0)],
}
LAWS = {
    "normal": {"kind": "polynomial", "coefficients": [0.05]},
    "uniform": {"kind": "polynomial", "coefficients": [0.05], "distribution": "uniform"},
    "empirical": EMPIRICAL,
}


def card(law, share, **tables):
    values = load_card("independent-gaussian").model_dump(exclude_none=True) | tables
    return load_card(values | {"name": "again", "programming": LAWS[law] | {"device_share": share}})


def errors(device, *, cycle=0, chip=0, **options):
    """Errors of 10 000 weights whose devices are in the middle of the window."""
    model = torch.nn.Linear(100, 100, bias=False).double()
    model.weight.data.zero_()[0, 0] = 1.0
    crossbar = Crossbar(device, mapping="offset", window=(0.2, 0.8))
    return next(program(model, crossbar, chip=chip, cycle=cycle, **options).parameters()).detach().flatten()[1:].numpy()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_share_of_the_device_is_the_correlation_of_two_programmings(law, share):
    first, again, other = (errors(card(law, share), cycle=c, chip=chip) for c, chip in ((0, 0), (1, 0), (1, 1)))
    scores = [stats.norm.ppf(stats.rankdata(values) / (len(values) + 1)) for values in (first, again, other)]
    assert np.corrcoef(*scores[:2])[0, 1] == pytest.approx(share, abs=0.04)
    assert np.corrcoef(scores[0], scores[2])[0, 1] == pytest.approx(0.0, abs=0.04)


@pytest.mark.parametrize("law", LAWS)
def test_the_distribution_does_not_depend_on_the_share(law):
    half, none = (errors(card(law, share)) for share in (0.5, 0.0))
    assert stats.ks_2samp(half, none).pvalue > 0.01
    assert verify_card(card(law, 0.5), cells=300).verified


def test_all_of_the_error_stays_with_a_share_of_1():
    device = card("normal", 1.0)
    assert np.array_equal(errors(device), errors(device, cycle=7))
    assert not np.array_equal(errors(device), errors(device, chip=1))


def test_stuck_cells_stay_and_drift_is_drawn_anew():
    stuck = card("normal", 0.0, stuck={"low": 0.2, "high": 0.1})
    first, again = (errors(stuck, cycle=cycle) for cycle in (0, 1))
    ends = [np.isin(values, (values.min(), values.max())) for values in (first, again)]
    assert 0.25 < ends[0].mean() < 0.35
    assert np.array_equal(*ends)
    drifting = load_card("pcm-nandakumar2019").model_copy(update={"programming": card("normal", 1.0).programming})
    exponents = []
    for cycle in (0, 1):
        late, early = (0.5 + 0.3 * errors(drifting, cycle=cycle, time_s=t) for t in (1e5, 0.0))
        exponents.append(np.log(late / early))
    assert abs(np.corrcoef(*exponents)[0, 1]) < 0.04


@pytest.mark.parametrize("crossbar", [{}, {"rows": 7}, {"mapping": "one-sided*2"}], ids=str)
def test_a_cycle_is_the_same_in_arrays_and_in_weights(crossbar):
    device = load_card("sonos-agrawal2022")
    model = torch.nn.Linear(20, 6).double()
    noisy, quiet = (
        program(model, Crossbar(device, read_noise=noise, **crossbar), cycle=2, time_s=3600.0)
        for noise in (True, False)
    )
    torch.testing.assert_close(noisy.weight, quiet.weight)
    assert not torch.allclose(noisy.weight, program(model, Crossbar(device, **crossbar), time_s=3600.0).weight)


def test_drift_compensation_compares_with_the_same_cycle():
    model = torch.nn.Linear(20, 6, bias=False).double()
    frozen = card("normal", 0.0)
    deployment = Deployment(compensation=["drift"])
    flat = {"kind": "logarithmic", "mean_ln": 0.0, "std_ln": 0.0, "std_offset": 0.0, "limits_s": [0.0, 1e6]}
    device = load_card(frozen.model_dump(exclude_none=True) | {"drift": flat})
    plain = program(model, Crossbar(device), cycle=3, time_s=100.0)
    compensated = program(model, Crossbar(device), cycle=3, time_s=100.0, deployment=deployment)
    torch.testing.assert_close(compensated.weight, plain.weight, rtol=1e-12, atol=0)


def test_a_cell_model_in_python_has_a_share_too():
    class Mine(CellModel):
        name, unit, window, programming_device_share = "mine", "1", (0.0, 1.0), 0.6

        def programming_std(self, target):
            return 0.05 + 0.0 * target

    assert np.corrcoef(errors(Mine()), errors(Mine(), cycle=1))[0, 1] == pytest.approx(0.6, abs=0.04)
    with pytest.raises(InputError, match=r"programming_device_share.*1\.5"):
        check_cell_model(type("Bad", (Mine,), {"programming_device_share": 1.5})())


@pytest.mark.parametrize("cycle", [-1, 1.5, True, "1"])
def test_an_impossible_cycle_is_refused(cycle):
    with pytest.raises(InputError, match="cycle"):
        errors(card("normal", 0.5), cycle=cycle)


def test_an_impossible_share_is_refused_and_crosssim_has_none():
    with pytest.raises(InputError, match=r"device_share.*less than or equal to 1"):
        card("normal", 1.2)
    assert crosssim_json(Crossbar(card("normal", 0.0)))
    with pytest.raises(InputError, match="no model of the card 'again'"):
        crosssim_json(Crossbar(card("normal", 0.5)))
    with pytest.raises(InputError, match=r"a chip again.*backend='native'"):
        errors(card("normal", 0.0), cycle=1, deployment=Deployment(backend="crosssim"))
