"""Summary tables of mean, standard deviation and number of cells give the card that the cells themselves give."""

import numpy as np
import pandas as pd
import pytest
import torch
from support.measurements import noisy

from aimc_robust.errors import DataError, InputError
from aimc_robust.fitting.fit import fit_card

TARGETS = np.linspace(10.0, 100.0, 9)


def cells(times_s=(0.0,), offset=0.0):
    """Cells whose mean falls and whose width grows with time."""
    rows = pd.concat([noisy(lambda t: 0.0 * t, cells=1800).assign(time_s=time_s) for time_s in times_s])
    rng = np.random.default_rng(1)
    rows["target"] = TARGETS[np.arange(len(rows)) % 9]
    decades = np.log10(1.0 + rows["time_s"])
    width = (1.0 + 0.03 * rows["target"]) * (1.0 + 0.1 * decades)
    mean = rows["target"] * (1.0 - 0.01 * decades) + offset
    rows["measured"] = mean + width * rng.normal(size=len(rows)).clip(-3, 3)
    return rows


def summary(rows):
    groups = rows.groupby(["target", "time_s"])["measured"]
    return groups.agg(["mean", "std", "count"]).rename(columns={"count": "n"}).reset_index()


def test_the_programming_error_is_that_of_the_cells():
    rows = cells()
    full, short = (fit_card(table, name="found") for table in (rows, summary(rows)))
    states = torch.linspace(10.0, 100.0, 19, dtype=torch.float64)
    expected = full.card.programming_std(states).numpy()
    assert short.card.programming_std(states).numpy() == pytest.approx(expected, rel=1e-3)
    assert short.goodness.p_law == pytest.approx(full.goodness.p_law, rel=0.02)
    assert [b.measured for b in short.goodness.bins] == pytest.approx(
        [b.measured for b in full.goodness.bins], rel=1e-6
    )
    assert np.isnan(short.goodness.p_distance)
    assert short.warnings == ()
    assert "its distribution is not tested" not in full.card.source.fit
    assert "distribution is not tested" in short.card.source.fit


def test_drift_is_that_of_the_cells():
    rows = cells(times_s=(0.0, 1e3, 1e6))
    full, short = (
        fit_card(table, name="found", drift="table")
        for table in (rows.drop(columns="device", errors="ignore"), summary(rows))
    )
    target = torch.tensor([20.0, 90.0], dtype=torch.float64)
    for expected, found in zip(full.card.drift.at, short.card.drift.at, strict=True):
        assert found.time_s == expected.time_s
        assert found.std.std(target).numpy() == pytest.approx(expected.std.std(target).numpy(), rel=0.01)
        shifts = [np.polynomial.polynomial.polyval(target.numpy(), row.shift or (0.0,)) for row in (found, expected)]
        assert shifts[0] == pytest.approx(shifts[1], abs=0.02)


def test_columns_by_other_names_and_from_a_file(tmp_path):
    table = summary(cells()).rename(columns={"target": "State", "std": " STD "})
    path = tmp_path / "summary.csv"
    table.to_csv(path, index=False)
    expected = fit_card(summary(cells()), name="found").card.programming
    assert fit_card(path, name="found").card.programming == expected


def test_a_mean_offset_is_told():
    found = fit_card(summary(cells(offset=3.0)), name="found")
    assert found.offset.mean == pytest.approx(3.0, abs=0.2)
    assert any("off their targets on average" in warning for warning in found.warnings)


def test_one_noisy_state_is_no_stuck_cell():
    table = summary(cells())
    table.loc[4, "std"] *= 15.0
    assert fit_card(table, name="found").stuck == (0, 0)


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("n", 1.0, "row 2.*n counts cells.*1"),
        ("n", 20.5, "row 2.*whole number.*20.5"),
        ("n", 1e7, "200000"),
        ("n", -3.0, "row 2.*n cannot be negative"),
        ("std", -1.0, "row 2.*std cannot be negative"),
        ("mean", -1.0, "row 2.*mean = -1"),
        ("std", None, "row 2.*column std"),
    ],
)
def test_an_impossible_value_is_refused_by_row_and_column(column, value, match):
    table = summary(cells()).astype(object)
    table.loc[2, column] = value
    with pytest.raises(DataError, match=match):
        fit_card(table, name="found")


def test_a_missing_column_few_cells_and_quantiles_are_refused():
    table = summary(cells())
    with pytest.raises(DataError, match="column n is missing"):
        fit_card(table.drop(columns="n"), name="found")
    with pytest.raises(DataError, match="at least 30 measurements, got 18"):
        fit_card(table.assign(n=2), name="found")
    with pytest.raises(InputError, match=r"no quantiles.*'normal'"):
        fit_card(table, name="found", programming="empirical")
