"""What a measurement says before another training: an error that compensation removes, or that costs nothing."""

import pytest

from aimc_robust.experiments.recommend.measurement import before_training, systematic_share
from aimc_robust.targets.build import build_target

DAY_S = 86400.0


def layer(weights, std, rms):
    return {"weights": weights, "std_layer_max": std, "rms_layer_max": rms}


def measured(*layers, digital=95.0, interval=(80.0, 85.0), compensation=()):
    return {
        "layers": list(layers),
        "digital": digital,
        "device_interval": list(interval),
        "compensation": list(compensation),
        "chips": 20,
        "examples": 300,
    }


AGED = {"name": "aged", "device": "pcm-nandakumar2019", "time_s": DAY_S}
DRIFTED = layer(100, 0.025, 0.1)


def test_the_systematic_share_is_of_the_mean_square_over_all_weights():
    assert systematic_share([layer(100, 0.3, 0.5), layer(300, 0.1, 0.1)]) == pytest.approx(1 - (9 + 3) / (25 + 3))
    assert systematic_share([layer(100, 0.1, 0.1), layer(9, None, None)]) == pytest.approx(0.0)
    assert systematic_share([layer(1, 0.0, 0.0)]) == 0.0


@pytest.mark.parametrize(
    ("values", "target", "is_advised"),
    [
        (measured(DRIFTED), AGED, True),
        (measured(DRIFTED, compensation=["drift"]), AGED, False),
        (measured(layer(100, 0.09, 0.1)), AGED, False),
        (measured(DRIFTED), {**AGED, "time_s": 0.0}, False),
        (measured(DRIFTED), {"name": "no-drift", "device": "rram-milo2021"}, False),
    ],
)
def test_compensation_is_advised_where_drift_is_most_of_the_error(values, target, is_advised):
    remarks = before_training(values, build_target(target))
    assert [remark for remark in remarks if 'compensation = ["drift"]' in remark] == (
        list(remarks) if is_advised else []
    )
    assert len(remarks) == is_advised
    if is_advised:
        assert remarks[0].startswith("94 % of the mean square error is systematic")


def test_a_device_that_costs_nothing_settled_is_said_to():
    device = build_target({"name": "device", "device": "rram-milo2021"})
    costs = before_training(measured(layer(1, 0.1, 0.1), interval=(80.0, 94.9)), device)
    free = before_training(measured(layer(1, 0.1, 0.1), interval=(80.0, 95.1)), device)
    assert costs == ()
    assert len(free) == 1
    assert "plain SGD may do" in free[0]
