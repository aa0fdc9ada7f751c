"""Measurements that cannot support a fit raise DataError."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.measurements import measure, noisy

from aimc_robust.errors import AimcError, DataError, InputError
from aimc_robust.fitting.fit import fit_card
from aimc_robust.fitting.measurements import read_measurements
from aimc_robust.fitting.points import gather_points, time_groups

ROWS = [f"{10 + i},{10 + i + 0.1 * (-1) ** i}" for i in range(40)]


def csv(*changes, header="target,measured", rows=ROWS):
    """A CSV text with some of its lines (numbered from 1, the header is 1) changed."""
    lines = [header, *rows]
    for number, line in changes:
        lines[number - 1] = line
    return "\n".join(lines) + "\n"


TEXTS = {
    "empty": ("", "is empty; expected a header line"),
    "no target": (csv(header="goal,measured"), "column target is missing; the columns present are 'goal', 'measured'"),
    "no columns": (csv(header="a,b"), "the columns target and measured are missing"),
    "semicolons": (csv().replace(",", ";"), "Separate fields by commas"),
    "repeated column": (csv(header="target,measured,target", rows=[r + ",1" for r in ROWS]), "target occurs 2 times"),
    "text": (csv((7, "twelve,12")), "line 7: expected a number in the column target, got 'twelve'"),
    "blank": (csv((7, "12,")), "line 7: expected a number in the column measured, got a blank"),
    "underscore": (csv((7, "1_2,12")), "line 7: expected a number in the column target, got '1_2'"),
    "nan": (csv((7, "12,nan")), "line 7: expected a finite number in the column measured, got 'nan'"),
    "infinite": (csv((7, "12,inf")), "line 7: expected a finite number"),
    "negative target": (csv((7, "-12,12")), "line 7: a state cannot be negative, got target = '-12'"),
    "negative state": (csv((7, "12,-0.001")), "line 7: a state cannot be negative, got measured = '-0.001'"),
    "absurd": (csv((7, "12,1e300")), "above 1e+12; check its unit"),
    "fields": (csv((7, "12,12,12")), "line 7: expected 2 fields as in the header, got 3"),
    "few": (csv(rows=ROWS[:29]), "at least 30 measurements, got 29"),
    "header alone": (csv(rows=[]), "at least 30 measurements, got 0"),
    "one state": (csv(rows=["10,10.5"] * 40), "every cell has the target 10; measure at least two target states"),
    "no error": (csv(rows=[f"{i},{i}" for i in range(40)]), "equals its target"),
    "all 0": (csv(rows=[f"{i},0" for i in range(40)]), "every measured state is 0"),
    "time": (csv(header="target,measured,time_s", rows=[r + ",-1" for r in ROWS]), "line 2: time_s counts seconds"),
    "late": (csv(header="target,measured,time_s", rows=[r + ",1e11" for r in ROWS]), "above 3.2e+09; check its unit"),
    "device": (csv(header="target,measured,device", rows=[r + "," for r in ROWS]), "line 2: the device is blank"),
    "first": (
        csv(header="target,measured,time_s", rows=[r + f",{0 if i < 5 else 60}" for i, r in enumerate(ROWS)]),
        "at the earliest time, 0 s, expected at least 20 cells, got 5",
    ),
    "quotes": (csv((7, '"12,12')), "is not a CSV file"),
}


@pytest.mark.parametrize("mistake", TEXTS)
def test_a_file_that_cannot_be_fitted_is_refused(mistake, tmp_path):
    text, words = TEXTS[mistake]
    path = tmp_path / "measurements.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        fit_card(path, name="mine")
    assert words in str(caught.value)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe", b"target,measured\n1,\x00\n", b"\x00" * 50])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    path = tmp_path / "measurements.csv"
    path.write_bytes(content)
    with pytest.raises(DataError):
        fit_card(path, name="mine")


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="file"):
        fit_card(tmp_path / "gone.csv", name="mine")
    with pytest.raises(DataError, match="CSV"):
        fit_card(tmp_path, name="mine")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "My RRAM"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "digital"}, "^name 'digital' is reserved for exact weights"),
        ({"unit": "mS"}, "'mS'"),
        ({"drift": "linear"}, "'linear'"),
        ({"drift": "table"}, "times"),
        ({"t0_s": 0.0}, "t0_s"),
        ({"citation": "short"}, "10"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(AimcError, match=words):
        fit_card(noisy(lambda t: 0.1 * t), **({"name": "mine"} | arguments))


def test_a_power_law_needs_trajectories():
    rows = measure("pcm-nandakumar2019", times_s=(0.0, 1e3), cells=200).drop(columns="device")
    with pytest.raises(InputError, match=r"power law.*30"):
        fit_card(rows, name="mine", drift="power-law")


def test_a_drift_table_needs_cells_at_a_second_time():
    rows = measure("pcm-nandakumar2019", times_s=(0.0, 1e3), cells=40).iloc[:50]  # 10 cells at the second time
    with pytest.raises(InputError, match=r"drift table needs 20 cells .* second time"):
        fit_card(rows, name="mine", drift="table")
    assert "a drift table needs 20 cells" in fit_card(rows, name="mine").drift_summary


def test_a_data_frame_with_a_gap_is_refused_by_its_row():
    rows = noisy(lambda t: 0.1 * t)
    rows.loc[3, "measured"] = np.nan
    with pytest.raises(DataError, match=r"row 3.*measured"):
        fit_card(rows, name="mine")


def test_blank_times_are_0_blank_lines_and_further_columns_are_left_alone(tmp_path):
    path = tmp_path / "measurements.csv"
    rows = [f"{row},,x" for row in ROWS]
    path.write_text("\ufeff" + csv(header="target, measured ,time_s,note", rows=[*rows[:5], "", *rows[5:]]), "utf-8")
    found = read_measurements(path)
    assert len(found.target) == 40
    assert not found.time_s.any()
    assert found.device is None


def test_reads_of_one_cell_become_one_point():
    rows = pd.DataFrame({"device": [1, 1, 1, 2] * 10, "target": [5.0, 5.0, 6.0, 5.0] * 10, "measured": np.arange(40.0)})
    points = gather_points(read_measurements(rows))
    assert points.target.tolist() == [5.0, 6.0, 5.0]
    assert points.reads.tolist() == [20, 10, 10]
    assert points.variance == pytest.approx(
        [rows["measured"][rows.index % 4 < 2].var(), rows["measured"][2::4].var(), rows["measured"][3::4].var()]
    )


def test_times_within_5_percent_are_one():
    group, times_s = time_groups(np.array([0.0, 1.0, 1.02, 1.04, 2.0, 0.0]))
    assert group.tolist() == [0, 1, 1, 1, 2, 0]
    assert times_s.tolist() == [0.0, 1.02, 2.0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 2.0, 5.0, 1e6]),
            st.floats(0.0, 1e7),
            st.sampled_from([0.0, 1.0, 60.0]),
            st.integers(0, 30),
        ),
        min_size=30,
        max_size=90,
    )
)
def test_whatever_the_numbers_a_fit_ends_in_a_card_or_in_one_of_our_errors(rows):
    frame = pd.DataFrame(rows, columns=["target", "measured", "time_s", "device"])
    try:
        found = fit_card(frame, name="mine")
    except (DataError, InputError):
        return
    assert all(np.isfinite(found.card.programming.model_dump().get("coefficients", (0.0,))))


@pytest.mark.parametrize(("written", "meant"), [("cycles", "cycle"), ("device_id", "device"), ("time", "time_s")])
def test_a_misspelt_column_is_refused(written, meant):
    rows = (
        noisy(lambda x: 2.0 + 0.0 * x).assign(device=range(1000), cycle=0, time_s=0.0).rename(columns={meant: written})
    )
    with pytest.raises(DataError, match=f"unknown column '{written}': did you mean '{meant}'"):
        fit_card(rows, name="my-card")


def test_other_columns_are_named_in_a_warning():
    rows = noisy(lambda x: 2.0 + 0.0 * x).assign(wafer="w1", Operator="me")
    assert fit_card(rows, name="my-card").warnings[0] == "columns that are not used: wafer, operator."
    assert fit_card(rows[["target", "measured"]], name="my-card").warnings == ()
