"""The pictures of the trainings are the means of the history rows, and are there only when those have numbers."""

import json
import re
import shutil

import pytest
from support.fixtures.comparison import run_spec
from support.fixtures.report import figures_as_stubs

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.plot.style import curve_styles
from aimc_robust.report.comparison import figures
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.comparison.histories import curve_points, mean_rows
from aimc_robust.report.comparison.training_section import diagnostics_cost
from aimc_robust.report.write import write_report
from aimc_robust.statistics.primary_metric import ACCURACY

DIAGNOSTICS = "[diagnostics]\nsigmas = [0.1, 0.02]\ndraws = 2\nimages = 40\nbatch_size = 20\n"


@pytest.fixture(scope="module")
def comparison_with_diagnostics(tiny, tmp_path_factory):
    """The folder of the small comparison with figures."""
    folder = tmp_path_factory.mktemp("watched")
    path = folder / "spec.toml"
    path.write_text(tiny + DIAGNOSTICS)
    run_spec(path, folder / "out")
    with figures_as_stubs():
        write_report(folder / "out")
    return folder / "out"


def rows_of(folder, cell):
    return [json.loads(line) for line in (folder / "runs" / cell / "history.jsonl").read_text().splitlines()]


def means_of(folder):
    store = ComparisonResults.open(folder)
    return mean_rows(store.spec, store.histories())


def checkpoints(folder):
    """Digests of the trained weights, by trial."""
    paths = folder.glob("runs/*/checkpoint.safetensors")
    return {path.parent.name: read_checkpoint(path)[1]["weights"] for path in paths}


@pytest.mark.slow
def test_models_and_their_evaluations_are_bitwise_those_of_a_comparison_without_diagnostics(
    comparison_with_diagnostics, finished_comparison
):
    assert checkpoints(comparison_with_diagnostics) == checkpoints(finished_comparison)
    assert len(checkpoints(finished_comparison)) == 4
    assert (comparison_with_diagnostics / "evaluations.csv").read_bytes() == (
        finished_comparison / "evaluations.csv"
    ).read_bytes()
    plain = {"epoch", "train_loss", "accuracy", "loss", "strength", "distance"}
    for cell in checkpoints(finished_comparison):
        for with_keys, without in zip(
            rows_of(comparison_with_diagnostics, cell), rows_of(finished_comparison, cell), strict=True
        ):
            assert {key: with_keys[key] for key in plain} == {key: without[key] for key in plain}
            assert set(without) == set(with_keys) - {key for key in with_keys if key not in without}
            assert "gradient_norm" in with_keys
            assert not [key for key in without if "@" in key or "gradient" in key or "sharpness" in key]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("epoch", "test_accuracy@0.02"),
        ("train_loss@0", "gradient_sharpness"),
        ("train_sharpness@0.1", "test_sharpness@0.1"),
        ("epoch", "distance"),
    ],
)
def test_curves_are_the_means_over_seeds_of_the_rows(comparison_with_diagnostics, x, y):
    rows = [rows_of(comparison_with_diagnostics, f"m-rwp-seed{seed}") for seed in (0, 1)]
    expected = [[(first[key] + second[key]) / 2 for first, second in zip(*rows, strict=True)] for key in (x, y)]
    means = figures.diagnostics_rows(means_of(comparison_with_diagnostics))
    places, values = curve_points(means["m-rwp"], x, y)
    assert (places, values) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_every_figure_of_the_paper_has_its_panels_for_every_sigma(comparison_with_diagnostics):
    means = figures.diagnostics_rows(means_of(comparison_with_diagnostics))
    assert figures.noise_sigmas(means) == ["0", "0.02", "0.1"]
    panels = {(panel.x, panel.y) for group in figures.panel_groups(ACCURACY, means).values() for panel in group}
    expected = {("epoch", f"{split}_accuracy@{s}") for split in ("train", "test") for s in ("0", "0.02", "0.1")}
    for s in ("0.02", "0.1"):
        expected |= {(f"{split}_loss@0", f"{split}_sharpness@{s}") for split in ("train", "test")}
        expected |= {(f"train_sharpness@{s}", f"test_sharpness@{s}")}
    expected |= {("epoch", key) for key in ("gradient_norm", "gradient_cosine", "distance", "strength")}
    expected |= {("epoch", "full_strength_loss"), ("train_loss@0", "gradient_sharpness")}
    expected |= {(f"{split}_loss@0", f"{split}_ascent_sharpness") for split in ("train", "test")}
    assert panels == expected


@pytest.mark.drawn_figures
def test_a_panel_draws_the_methods_that_have_numbers(comparison_with_diagnostics):
    means = figures.diagnostics_rows(means_of(comparison_with_diagnostics))
    styles = curve_styles(list(means), list(means))
    colors = [style.color for style in styles.values()]  # sgd, m-rwp
    for key, shown in (("gradient_norm", [True, True]), ("gradient_cosine", [False, True])):
        picture = figures.panel_figure(figures.Panel("title", key), means, styles).svg
        assert [color in picture for color in colors] == shown
        assert all(word in picture for word in ("title", "epoch"))
    alone = {"sgd": means["sgd"]}
    assert ("epoch", "gradient_cosine") not in {
        (p.x, p.y) for g in figures.panel_groups(ACCURACY, alone).values() for p in g
    }


def test_the_page_and_the_markdown_hold_the_numbers_of_the_last_rows_and_the_cost(comparison_with_diagnostics):
    html, markdown = (
        (comparison_with_diagnostics / "report.html").read_text(),
        (comparison_with_diagnostics / "report.md").read_text(),
    )
    assert re.search('<details id="[a-z-]+"><summary>Training diagnostics', html)
    means = means_of(comparison_with_diagnostics)
    assert (
        html.count("<svg")
        == 5 + sum(map(len, figures.panel_groups(ACCURACY, figures.diagnostics_rows(means)).values())) + 2
    )
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for what, key in (("test accuracy, sigma = 0.1 [%]", "test_accuracy@0.1"), ("gradient sharpness",) * 2):
        key = key.replace(" ", "_")
        last = [
            [rows_of(comparison_with_diagnostics, f"{m}-seed{seed}")[-1][key] for seed in (0, 1)]
            for m in ("sgd", "m-rwp")
        ]
        texts = ["–" if None in values else f"{sum(values) / 2:.3g}" for values in last]
        assert f"| {what} | {texts[0]} | {texts[1]} |" in markdown
        cells = f'<td data-method="sgd">{texts[0]}</td><td data-method="m-rwp">{texts[1]}</td>'
        assert f'<th scope="row">{what}</th>{cells}' in html
    rows = [
        row for cell in checkpoints(comparison_with_diagnostics) for row in rows_of(comparison_with_diagnostics, cell)
    ]
    probing, seconds = (sum(row[key] for row in rows) for key in ("probe_seconds", "seconds"))
    line = f"{probing:.1f} s in addition to {seconds:.1f} s of training ({100 * probing / seconds:.0f} % more)"
    assert line in html
    assert line in markdown


def test_without_diagnostics_there_is_no_section(finished_comparison):
    content = gather(ComparisonResults.open(finished_comparison))
    assert figures.diagnostics_rows(means_of(finished_comparison)) == {}
    assert diagnostics_cost(content) is None
    assert "iagnostics" not in (finished_comparison / "report.md").read_text()
    assert "<details class" not in (finished_comparison / "report.html").read_text()


def test_diagnostics_may_be_switched_on_and_off_over_finished_models(tiny, finished_comparison, tmp_path):
    folder = shutil.copytree(finished_comparison, tmp_path / "out")
    for text in (tiny + DIAGNOSTICS, tiny):
        path = tmp_path / "spec.toml"
        path.write_text(text)
        stamps = {p: p.stat().st_mtime_ns for p in folder.glob("runs/*/*")}
        assert not run_spec(path, folder).failed
        assert {p: p.stat().st_mtime_ns for p in folder.glob("runs/*/*")} == stamps


def test_a_training_that_was_watched_for_some_epochs_is_drawn_for_those(comparison_with_diagnostics, tmp_path):
    folder = shutil.copytree(comparison_with_diagnostics, tmp_path / "out")
    path = folder / "runs" / "sgd-seed0" / "history.jsonl"
    first, *others = rows_of(comparison_with_diagnostics, "sgd-seed0")
    plain = {key: value for key, value in first.items() if "@" not in key and key not in ("gradient_norm", "seconds")}
    path.write_text("".join(json.dumps(row) + "\n" for row in (plain | {"seconds": 1.0}, *others)))
    shutil.rmtree(folder / "runs" / "sgd-seed1")
    html = write_report(folder).read_text()
    means = figures.diagnostics_rows(means_of(folder))
    assert curve_points(means["sgd"], "epoch", "gradient_norm")[0] == [2, 3]
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL).lower()


@pytest.mark.parametrize("sigmas", [[0.1, 0.1000001], [0.1000001]])
def test_strengths_that_print_alike_at_six_digits_are_told_apart(tiny, sigmas, tmp_path):
    path = tmp_path / "spec.toml"
    text = tiny.replace("sigma = 0.1, draws = 2", f"sigma = {sigmas}, draws = 2").replace(', "rram-wan2022"', "")
    path.write_text(text)
    titles = [title for _, title in figures._early_stopping_panels(load_spec(path), ACCURACY)]
    assert len(set(titles)) == len(titles) == len(sigmas)
    assert "the same at sigma = 0.1000001 [%]" in titles
