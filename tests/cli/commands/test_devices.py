"""`aimc-robust devices` as a user meets it."""

import os

import pytest
from support.command_line import invoke

from aimc_robust.devices.library import card_names, load_card


def call(*arguments, cwd=None):
    return invoke("devices", *arguments, cwd=cwd)


def test_the_list_says_which_cards_have_drift_and_read_noise():
    rows = {line.split()[0]: line for line in call().stdout.splitlines() if line.split()[:1]}
    for name in card_names():
        card = load_card(name)
        assert rows[name].count("yes") == (card.drift is not None) + (card.read is not None)


@pytest.mark.parametrize("name", card_names())
def test_a_card_is_shown_with_its_source_all_tables_and_curves(name):
    card = load_card(name)
    done = call(name)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert " ".join(card.source.citation.split()) in shown
    for table, chart in (("drift", "drift: mean"), ("read", "of one read over"), ("stuck", "[stuck]")):
        law = getattr(card, table)
        assert (f"[{table}]" in shown) == (law is not None)
        assert (chart in shown) == (law is not None)
    assert "programming error: standard deviation" in shown


def test_a_drift_table_is_shown_row_by_row_and_as_a_band():
    shown = call("sonos-agrawal2022").stdout
    for row in load_card("sonos-agrawal2022").drift.at:
        assert f"\n{row.time_s:g} " in shown
        assert f"amplitude {row.std.amplitude:.7g}" in shown
    assert "0 to 432000 s (5 d), 0 to 1800 nA" in shown
    # target 1600 nA at day 5, from the fit: mean 1559.3, standard deviation 34.6
    assert "5 d      1559 ± 34.6" in shown
    assert "━●━" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")]
)
@pytest.mark.drawn_figures
def test_a_plot_is_written_in_the_format_of_its_suffix(suffix, start, tmp_path):
    path = tmp_path / f"plot.{suffix}"
    done = call("pcm-nandakumar2019", "--plot", path)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes().startswith(start)
    assert done.stdout.endswith(f"plot: {path}\n")
    assert os.listdir(tmp_path) == [path.name]


def test_the_plot_has_a_panel_per_effect_with_units():
    from aimc_robust.report.figures.device import draw_card

    for name, panels, unit in (("ideal", 1, "share"), ("rram-wan2022-drift", 2, "µS"), ("pcm-nandakumar2019", 3, "µS")):
        axes = draw_card(load_card(name)).get_axes()
        assert len(axes) == panels
        assert unit in axes[0].get_xlabel()
        assert unit in axes[0].get_ylabel()
        assert axes[0].lines


MISTAKES = {
    "suffix": (["ideal", "--plot", "plot.jpg"], ".png, .svg or .pdf, got 'plot.jpg'"),
    "no suffix": (["ideal", "--plot", "plot"], ".png, .svg or .pdf, got 'plot'"),
    "folder": (["ideal", "--plot", "gone/plot.png"], "gone/"),
    "no device": (["--plot", "plot.png"], "--plot needs a device"),
    "unknown device": (["sonos", "--plot", "plot.png"], "unknown device 'sonos'"),
    "missing card": (["my-cell.toml"], "no device card at my-cell.toml"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.drawn_figures
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(mistake, tmp_path):
    arguments, words = MISTAKES[mistake]
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert os.listdir(tmp_path) == []
