"""A bad fit is reported as bad, and a good one is not."""

import numpy as np
import pytest
from support.measurements import measure, noisy

from aimc_robust.fitting.fit import fit_card


def faults(rows):
    return " ".join(fit_card(rows, name="found").goodness.faults())


def test_heavy_tails_are_flagged():
    rows = noisy(lambda t: 0.02 * t, noise=lambda rng, n: rng.standard_t(3, size=n) / np.sqrt(3.0))
    assert "not normal" in faults(rows)


def test_a_uniform_error_is_flagged():
    rows = noisy(lambda t: 0.02 * t, noise=lambda rng, n: rng.uniform(-1.0, 1.0, size=n) * np.sqrt(3.0))
    assert "not normal" in faults(rows)


def test_a_law_that_no_polynomial_follows_is_flagged():
    rows = noisy(lambda t: np.where((t > 40) & (t < 50), 4.0, 1.0), cells=4000)
    assert "the law misses the standard deviation" in faults(rows)


def test_a_constant_offset_is_reported_with_its_interval():
    rows = noisy(lambda t: 1.0 + 0.0 * t)
    rows["measured"] += 1.5
    found = fit_card(rows, name="found")
    assert found.offset.low < 1.5 < found.offset.high
    assert found.offset.high - found.offset.low == pytest.approx(2 * 1.96 / np.sqrt(1000), rel=0.1)
    assert any("off their targets" in warning for warning in found.warnings)
    # the card's error is that around the target: sqrt(1 + 1.5^2)
    assert found.card.programming.coefficients[0] == pytest.approx(np.hypot(1.0, 1.5), rel=0.08)


def test_an_offset_that_is_small_is_no_warning():
    rows = noisy(lambda t: 1.0 + 0.0 * t, cells=4000)
    rows["measured"] += 0.1
    found = fit_card(rows, name="found")
    assert found.offset.p < 0.01
    assert not any("off their targets" in warning for warning in found.warnings)


@pytest.mark.slow
def test_p_values_of_right_fits_are_spread_evenly():
    p = [
        (good.p_distance, good.p_anderson, good.p_law)
        for seed in range(40)
        for good in [fit_card(noisy(lambda t: 1.0 + 0.02 * t, cells=200, seed=seed), name="found").goodness]
    ]
    for values in np.transpose(p):
        assert 0.3 < np.mean(values) < 0.7  # 4 standard errors around 0.5 are 0.32 to 0.68
        assert (values < 0.05).mean() < 0.2


def test_the_wrong_drift_is_flagged():
    rows = measure("pcm-nandakumar2019", times_s=(0.0, 1e3, 1e5), cells=500, window=(5.0, 25.0))
    found = fit_card(rows, name="found", drift="none")
    assert "the drift misses the states at 100000 s" in " ".join(found.goodness.faults())
    assert found.warnings


def test_the_choice_of_drift_says_why():
    rows = measure("pcm-nandakumar2019", times_s=(0.0, 1e3, 1e5), cells=500, window=(5.0, 25.0))
    text = fit_card(rows, name="found").drift_summary
    assert "BIC above the lowest: none" in text
    assert "power-law 0.0" in text
    without = fit_card(rows.drop(columns="device"), name="found")
    assert without.card.drift.kind == "table"
    assert "a power law needs 30 cells" in without.drift_summary
