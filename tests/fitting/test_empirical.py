"""A fitted table of quantiles: the shape of the error, its moments, what it does not go with."""

import numpy as np
import pytest
import torch
from scipy import stats
from support.measurements import measure, noisy

from aimc_robust.devices.library import load_card
from aimc_robust.devices.states import cell_states
from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.fitting.fit import fit_card

SHAPES = {
    "heavy tails": lambda rng, n: rng.standard_t(3, size=n) / np.sqrt(3.0),
    "sharp edges": lambda rng, n: rng.uniform(-1.0, 1.0, size=n) * np.sqrt(3.0),
    "skewed, with a mean": lambda rng, n: rng.gamma(2.0, size=n) / np.sqrt(2.0),
}


def empirical(rows, **options):
    return fit_card(rows, name="found", programming="empirical", **options)


def rows_of(shape, *, states=8, cells=4000, seed=0):
    """Cells at few targets: their error is `1 + 0.02 target` times a number of the shape."""
    rows = noisy(lambda t: 0.0 * t, cells=cells, seed=seed)
    rng = np.random.default_rng(seed)
    rows["target"] = np.linspace(10.0, 100.0, states)[np.arange(cells) % states]
    rows["measured"] = np.maximum(rows["target"] + (1.0 + 0.02 * rows["target"]) * SHAPES[shape](rng, cells), 0.0)
    return rows


def simulated(card, target, seed=5):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.full((20_000,), target, dtype=torch.float64)
    states = cell_states(card, targets, lambda effect, like: torch.rand(like.shape, generator=generator).double())
    return states.now.numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_of_the_fitted_card_have_the_shape_of_those_measured(shape):
    rows = rows_of(shape, cells=8000)
    found = empirical(rows)
    target = float(rows["target"].unique()[4])
    measured = rows.loc[rows["target"] == target, "measured"]
    assert stats.ks_2samp(measured, simulated(found.card, target)).pvalue > 0.01
    normal = fit_card(rows, name="found").card.programming.std(torch.tensor([target])).item()
    assert stats.kstest(measured, stats.norm(target, normal).cdf).pvalue < 1e-3  # control
    assert found.goodness.faults() == []
    assert not any("on average" in warning for warning in found.warnings)  # the table has the mean
    assert "empirical, quantiles at 8 targets" in found.card.source.fit


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_and_std_at_each_target_are_those_of_its_cells(shape):
    rows = rows_of(shape)
    law = empirical(rows).card.programming
    error = (rows["measured"] - rows["target"]).groupby(rows["target"])
    target = torch.tensor(sorted(rows["target"].unique()), dtype=torch.float64)
    assert law.mean(target).numpy() == pytest.approx(error.mean().to_numpy(), rel=1e-5, abs=1e-5)
    assert law.std(target).numpy() == pytest.approx(error.std().to_numpy(), rel=1e-5)


def test_targets_all_over_the_window_are_put_in_bins():
    rows = noisy(lambda t: 1.0 + 0.02 * t, cells=4000, noise=SHAPES["skewed, with a mean"])
    found = empirical(rows)
    state = torch.linspace(15.0, 95.0, 9, dtype=torch.float64)
    assert len(found.card.programming.at) == 10
    assert found.card.programming.std(state).numpy() == pytest.approx((1.0 + 0.02 * state).numpy(), rel=0.15)
    assert found.goodness.faults() == []


def test_a_bend_between_targets_that_the_table_misses_is_flagged():
    rows = noisy(lambda t: np.where((t > 47) & (t < 49), 40.0, 1.0), cells=6000)
    assert "do not follow the table" in " ".join(empirical(rows).goodness.faults())


def test_read_noise_is_taken_out_of_the_table():
    rows = measure("sonos-agrawal2022", cells=1500, reads=4, targets=6)
    found = empirical(rows, unit="nA")
    card = load_card("sonos-agrawal2022")
    target = torch.tensor(sorted(rows["target"].unique())[1:], dtype=torch.float64)
    ratio = found.card.programming.std(target) / card.programming_std(target)
    assert ratio.numpy() == pytest.approx(1.0, abs=0.2)  # 250 cells each: 4.5 standard errors
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.09)


def test_drift_is_a_power_law_or_none():
    rows = measure("pcm-nandakumar2019", times_s=(0.0, 1e3, 1e5), cells=600, window=(5.0, 25.0))
    found = empirical(rows)
    assert (found.card.programming.kind, found.card.drift.kind) == ("empirical", "power-law")
    assert "no drift table" in found.drift_summary
    late = found.goodness.times[-1]
    assert (late.mean, late.std) == (pytest.approx(0.0, abs=0.15), pytest.approx(1.0, abs=0.1))
    with pytest.raises(InputError, match=r"no drift table.*normal"):
        empirical(rows, drift="table")


def test_the_file_reads_back_as_the_card(tmp_path):
    found = empirical(rows_of("heavy tails", cells=800))
    assert load_card(found.write(tmp_path / "found.toml")) == found.card


def test_few_cells_and_errors_without_spread_are_refused():
    with pytest.raises(DataError, match=r"40 cells.*got 35.*programming='normal'"):
        empirical(noisy(lambda t: 0.02 * t, cells=35))
    rows = rows_of("heavy tails", states=4, cells=200)
    rows.loc[rows["target"] == 10.0, "measured"] = 11.0
    with pytest.raises(DataError, match="target 10 all deviate by 1"):
        empirical(rows)
    with pytest.raises(UnknownNameError, match="'empirical'"):
        fit_card(rows, name="found", programming="empirica")


def test_a_normal_fit_of_another_shape_points_to_the_table():
    assert "programming='empirical'" in " ".join(fit_card(rows_of("heavy tails"), name="found").warnings)


def test_the_figure_shows_the_mean_of_the_table():
    from aimc_robust.report.figures.fit import draw_fit

    found = empirical(rows_of("skewed, with a mean", cells=800))
    upper, lower = (line.get_ydata() for line in draw_fit(found).get_axes()[0].get_lines()[1:3])
    law, state = found.card.programming, torch.linspace(10.0, 100.0, len(upper), dtype=torch.float64)
    assert (upper + lower) / 2.0 == pytest.approx(law.mean(state).numpy(), rel=1e-6)
    assert float(law.mean(state).min()) > 1.0  # control: it is not 0
