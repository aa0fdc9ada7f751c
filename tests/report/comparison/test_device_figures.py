"""A panel for each device: lines and steps are those of the estimates; the pictures are on the HTML page only."""

from dataclasses import replace

import numpy as np
import pytest
from support.estimates import estimate

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison import device_figures
from aimc_robust.report.comparison.content import gather
from aimc_robust.targets.build import build_target

HOUR = 3600.0
ROWS = {"sgd": {0.0: [80.0, 82.0], HOUR: [70.0, 75.0]}, "m-rwp": {0.0: [90.0, 90.5], HOUR: [88.0, 89.0]}}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn."""
    found = {}
    monkeypatch.setattr(device_figures, "render_figure", lambda figure, name: found.setdefault(name, figure))
    return found


@pytest.fixture
def content(finished_comparison):
    """The finished comparison on `devices` ageing devices, with rows at both times."""

    def make(devices=1):
        known = gather(ComparisonResults.open(finished_comparison))
        targets, estimates = {}, {}
        for number in range(devices):
            for time_s in (0.0, HOUR):
                name = f"d{number}-{time_s:g}"
                table = {"name": name, "device": "rram-wan2022-drift", "rows": 64 + number, "time_s": time_s}
                targets[name] = build_target(table)
                estimates |= {(label, name): estimate([values[time_s]]) for label, values in ROWS.items()}
        return replace(known, targets=targets, estimates=estimates)

    return make


@pytest.mark.drawn_figures
def test_each_method_is_a_line_of_means_over_time(content, drawn):
    device_figures.over_time(content(2))
    assert [axes.get_title(loc="left") for axes in drawn["times"].axes] == ["d0-0", "d1-0"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in drawn["times"].axes[0].lines}
    assert lines == {label: [[t, np.mean(v)] for t, v in values.items()] for label, values in ROWS.items()}


@pytest.mark.drawn_figures
def test_the_yield_of_each_device_is_that_of_its_last_time(content, drawn):
    device_figures.yields(content())
    (axes,) = drawn["yields"].axes
    assert axes.get_title(loc="left") == "d0-3600"
    at, share = next(line for line in axes.lines if line.get_label() == "sgd").get_data()
    assert (share[np.searchsorted(at, 75.0)], share[np.searchsorted(at, 70.0)]) == (50.0, 100.0)


def test_of_many_devices_the_first_are_drawn(content, drawn, stub_figures):
    many, share = content(device_figures.MAX_PANELS + 2), "reach a value of the accuracy, on each device"
    device_figures.yields(many)
    assert sum(axes.get_visible() for axes in drawn["yields"].axes) == device_figures.MAX_PANELS
    caption = device_figures.yields_caption(many)
    assert caption.endswith(f"{share} at its last time. Of the 8 devices the first 6 are drawn.")
    one = replace(many, targets={"d0-0": many.targets["d0-0"]})
    assert device_figures.yields_caption(one).endswith(f"{share}.")


def test_without_two_times_or_devices_nothing_is_drawn(content):
    known = content()
    assert device_figures.over_time(replace(known, targets={"d0-0": known.targets["d0-0"]})) is None
    assert device_figures.yields(replace(known, targets={})) is None


def test_the_pictures_are_on_the_html_page_and_not_in_the_markdown(finished_comparison):
    assert "Yield of each method" in (finished_comparison / "report.html").read_text(encoding="utf-8")
    assert (finished_comparison / "figures/yields.png").is_file()
    markdown = (finished_comparison / "report.md").read_text(encoding="utf-8")
    assert "figures/targets.svg" in markdown
    assert "yields" not in markdown
