"""A fitted card is written atomically, reads back equal, and works in a crossbar."""

import tomllib

import pytest
import torch
from support.measurements import measure

import aimc_robust as ar
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.errors import InputError
from aimc_robust.fitting.fit import fit_card
from aimc_robust.fitting.fit_result import card_toml


@pytest.fixture(scope="module")
def found():
    times_s = (1.0, 100.0, 1e4)
    return fit_card(
        measure("rram-wan2022-drift", times_s=times_s, cells=400), name="my-rram", technology='"ours" \x7f µ'
    )


def test_the_written_card_equals_the_fitted_one(found, tmp_path):
    path = found.write(tmp_path / "my-rram.toml")
    assert load_card(path) == found.card
    assert found.card.technology == '"ours" \x7f µ'
    assert "# Programming error [uS]" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["my-rram.toml"]


def test_the_fitted_card_programs_a_model(found):
    crossbar = ar.Crossbar(found.card)
    weight = torch.nn.Linear(8, 8)
    assert not torch.equal(ar.program(weight, crossbar, chip=1, time_s=100.0).weight, weight.weight)


def test_a_card_that_is_there_is_kept_unless_forced(found, tmp_path):
    path = tmp_path / "my-rram.toml"
    path.write_text("precious")
    with pytest.raises(InputError, match="--force"):
        found.write(path)
    assert path.read_text() == "precious"
    assert load_card(found.write(path, force=True)) == found.card


@pytest.mark.parametrize(("path", "words"), [("my-rram.txt", r"\.toml"), ("gone/my-rram.toml", "folder")])
def test_a_path_that_cannot_be_is_refused(found, tmp_path, path, words):
    with pytest.raises(InputError, match=words):
        found.write(tmp_path / path)


@pytest.mark.parametrize("name", card_names())
def test_every_card_of_the_library_survives_being_written(name):
    card = load_card(name)
    assert load_card(tomllib.loads(card_toml(card, ["a comment\nin two lines"]))) == card


def test_the_picture_has_a_panel_for_each_effect(found):
    from aimc_robust.report.figures.fit import draw_fit

    axes = draw_fit(found).get_axes()
    assert len(axes) == 5  # states, programming error, and drift of three ranges of targets
    assert "µS" in axes[0].get_xlabel()
    assert "µS" in axes[1].get_ylabel()
    read = fit_card(measure("sonos-agrawal2022", cells=200, reads=3), name="mine", unit="nA")
    assert [a.get_title() for a in draw_fit(read).get_axes()] == ["states at 0 s", "programming error", "read noise"]


def test_a_fit_is_the_same_each_time():
    rows = measure("rram-milo2021", cells=200)
    assert fit_card(rows, name="a").to_toml() == fit_card(rows.copy(), name="a").to_toml()
