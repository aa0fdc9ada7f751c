"""A run leaves the numbers of `ar.evaluate`, once each, however often and in whatever way it is interrupted."""

import copy
import html
import itertools
import json
import math
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from support.evaluation_cases import RecordingProgress, evaluation_inputs, run

import aimc_robust as ar
from aimc_robust.data.batches import split_batches
from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.files import lock_folder
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.io.atomic import read_json, read_rows
from aimc_robust.report.write import write_report
from aimc_robust.statistics.crossed_effects import CrossedEffects
from aimc_robust.statistics.t_interval import hall_interval
from aimc_robust.statistics.two_stage_sampling import chips_needed
from aimc_robust.tasks.metrics import RESERVED

EXPLAINED = ("attribution", "prediction", "prediction_layers", "validity", "state_counts", "signals")
TABLES = ("evaluations", "summary", "differences", *EXPLAINED)


def table_of(folder, name="evaluations"):
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=["", "nan"])


def rows_of(folder):
    return [row for path in sorted(folder.glob("runs/*/evaluations.jsonl")) for row in read_rows(path)]


def files_of(folder):
    """Content of every file, by its path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


# Rows ---------------------------------------------------------------------------------------------------------------


def test_every_table_is_there_and_the_rows_are_in_the_order_of_the_question(finished_evaluation):
    assert {path.stem for path in finished_evaluation.folder.glob("*.csv")} == set(TABLES)
    table = table_of(finished_evaluation.folder)
    targets = ["digital", "rram-milo2021", "wan", "wan-1d", "gaussian-0.1"]
    order = itertools.product([("exact", 0), ("near", 0), ("near", 1)], targets)
    chips = {target: 1 if target == "digital" else 4 for target in targets}
    expected = [(*model, target, chip) for model, target in order for chip in range(chips[target])]
    assert list(table[["model", "train_seed", "target", "chip"]].itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("target", ["digital", "rram-milo2021", "wan", "wan-1d", "gaussian-0.1"])
def test_the_rows_are_those_of_evaluate_bit_for_bit(finished_evaluation, target):
    built = {t.name: t for t in finished_evaluation.question.build_targets()}[target]
    for model, trained in zip(finished_evaluation.question.models, finished_evaluation.models, strict=True):
        condition, options = built.condition, {"chips": 4, "time_s": built.time_s, "jobs": 1, "metrics": ["top5"]}
        if target.startswith("wan"):
            ranges = calibrate(trained, condition, finished_evaluation.images.calibration_batches())
            options["deployment"] = ar.Deployment(ranges=ranges)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            expected = ar.evaluate(trained, finished_evaluation.batches, condition, **options).table
        rows = [
            r for r in rows_of(finished_evaluation.folder) if (r["model"], r["train_seed"]) == (model.label, model.seed)
        ]
        found = pd.DataFrame([row for row in rows if row["target"] == target])
        for column in ("chip", "accuracy", "loss", "n", "top5"):
            assert list(found[column]) == list(expected[column])
        assert set(found["time_s"]) == {built.time_s}


def test_the_end_of_a_model_is_told_with_its_mean_accuracies(small, evaluation_images, tmp_path):
    class Heard(RecordingProgress):
        def finished(self, trial, accuracies):
            self.means = {trial: accuracies}

    heard = Heard()
    results = run(tmp_path / "out", *small, evaluation_images, progress=heard)
    expected = {target: estimate.mean for (_, target), estimate in results.estimates().items()}
    assert heard.means == {results.trials[0]: pytest.approx(expected)}


def test_any_number_of_processes_writes_the_same_bytes(files, evaluation_images, tmp_path):
    question, models = evaluation_inputs(
        [str(files / "near.safetensors")], evaluation_images, devices=["rram-wan2022", "gaussian-0.1"]
    )
    for jobs in (1, 3):
        run(tmp_path / str(jobs), question, models, evaluation_images, jobs=jobs)
    one, three = ((tmp_path / str(jobs) / "evaluations.csv").read_bytes() for jobs in (1, 3))
    assert one == three
    assert len(one.splitlines()) == 1 + 1 + 2 * 4


def test_what_ran_is_noted(finished_evaluation):
    (environment,) = json.loads((finished_evaluation.folder / "environment.json").read_text())
    assert (environment["threads"], environment["processes"], environment["aimc_robust"]) == (1, 1, ar.__version__)
    assert "analog" in finished_evaluation.results.coverage


@pytest.mark.parametrize("settings", [(), ("fold=false",)], ids=["one target", "all targets"])
def test_a_target_without_folding_is_evaluated_and_reported_so(files, evaluation_images, tmp_path, settings):
    unfolded = '{name = "unfolded", device = "rram-wan2022", fold = false}'
    question, models = evaluation_inputs(
        [str(files / "near.safetensors")],
        evaluation_images,
        devices=["rram-wan2022", unfolded],
        settings=settings,
        chips=2,
    )
    results = run(tmp_path, question, models, evaluation_images)
    batches = split_batches(evaluation_images.test, 50)
    for target, fold in (("rram-wan2022", not settings), ("unfolded", False)):
        expected = ar.evaluate(
            models[0], batches, ar.Crossbar("rram-wan2022"), chips=2, deployment=ar.Deployment(fold=fold)
        )
        found = [row["loss"] for row in rows_of(tmp_path) if row["target"] == target]
        assert found == pytest.approx(expected.table["loss"].tolist(), rel=1e-5)
    write_report(tmp_path)
    for text in (results.coverage, (tmp_path / "report.md").read_text()):
        assert ("1 BatchNorm folded into the weights" in text) == (not settings)
        assert "BatchNorm not folded: 1 (fold=False)" in text
    assert (tmp_path / "report.md").read_text().count("no BatchNorm folded") == 1


# Going on -----------------------------------------------------------------------------------------------------------


def test_a_second_run_evaluates_and_explains_nothing_again(finished_evaluation, tmp_path):
    before = files_of(finished_evaluation.folder)
    folder, heard = shutil.copytree(finished_evaluation.folder, tmp_path / "out"), RecordingProgress()
    again = {"attribution_chips": 2, "prediction_chips": 2, "progress": heard}
    run(folder, finished_evaluation.question, finished_evaluation.models, finished_evaluation.images, **again)
    assert (heard.chips, heard.explained) == ([], [])
    assert {done for _, _, done, _ in heard.began} == {1, 4}
    assert files_of(folder) == before


@pytest.fixture
def small(files, evaluation_images):
    """(question, models) of one model on one device."""
    return evaluation_inputs([str(files / "exact.safetensors")], evaluation_images, chips=3)


def test_more_chips_are_added_to_those_that_are_there(small, evaluation_images, tmp_path):
    question, models = small
    run(tmp_path / "few", question, models, evaluation_images)
    rows = tmp_path / "few" / "runs" / "exact-seed0" / "evaluations.jsonl"
    before = rows.read_bytes()
    more = question.model_copy(update={"chips": 6})
    run(tmp_path / "few", more, models, evaluation_images)
    assert rows.read_bytes().startswith(before)
    run(tmp_path / "whole", more, models, evaluation_images)
    few, whole = (tmp_path / name / "evaluations.csv" for name in ("few", "whole"))
    assert few.read_bytes() == whole.read_bytes()
    run(
        tmp_path / "few", question, models, evaluation_images
    )  # fewer again: the rows stay, the estimates are of those asked for
    assert few.read_bytes() == whole.read_bytes()
    assert table_of(tmp_path / "few", "summary")["chips"].tolist() == [1, 3]


def test_a_half_written_last_row_is_evaluated_again(small, evaluation_images, tmp_path):
    question, models = small
    run(tmp_path / "out", question, models, evaluation_images)
    whole = (tmp_path / "out" / "evaluations.csv").read_bytes()
    path = tmp_path / "out" / "runs" / "exact-seed0" / "evaluations.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    heard = RecordingProgress()
    run(tmp_path / "out", question, models, evaluation_images, progress=heard)
    assert heard.chips == [("exact-seed0", "rram-milo2021", 3)]
    assert (tmp_path / "out" / "evaluations.csv").read_bytes() == whole
    assert len(rows_of(tmp_path / "out")) == 4


def test_another_question_in_the_same_folder_is_refused_and_its_rows_are_kept(small, evaluation_images, tmp_path):
    question, models = small
    run(tmp_path / "out", question, models, evaluation_images)
    before = files_of(tmp_path / "out")
    with pytest.raises(ResultsError, match=r"chip_seed.*--out"):
        run(tmp_path / "out", question.model_copy(update={"chip_seed": 1}), models, evaluation_images)
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("device", "draws"),
    [
        ("rram-milo2021", False),
        ("sonos-agrawal2022", True),
        ('{name = "dac", device = "rram-milo2021", dac = {kind = "ideal", full_scale = 1.0, noise = 0.01}}', True),
    ],
    ids=["no noise at reads", "read noise", "noise of DACs"],
)
def test_another_batch_size_is_refused_where_numbers_may_depend_on_it(
    files, evaluation_images, tmp_path, device, draws
):
    question, models = evaluation_inputs(
        [str(files / "near.safetensors")], evaluation_images, devices=[device], chips=1
    )
    run(tmp_path / "out", question, models, evaluation_images)
    before = rows_of(tmp_path / "out")
    more = question.model_copy(update={"batch_size": 7, "chips": 2})
    if draws:
        with pytest.raises(ResultsError, match=r"batch_size: 512 and 7.*--out"):
            run(tmp_path / "out", more, models, evaluation_images)
        assert rows_of(tmp_path / "out") == before
    else:
        assert len(run(tmp_path / "out", more, models, evaluation_images).table()) == 3


def test_the_folder_of_a_comparison_is_refused(small, evaluation_images, finished_comparison):
    before = (finished_comparison / "question.json").read_bytes()
    with pytest.raises(ResultsError, match="comparison"):
        run(finished_comparison, *small, evaluation_images)
    assert (finished_comparison / "question.json").read_bytes() == before


def test_a_deleted_question_is_written_again_for_the_same_question_only(files, evaluation_images, small, tmp_path):
    folder = run(tmp_path / "out", *small, evaluation_images).folder
    before, table = (folder / "question.json").read_bytes(), (folder / "evaluations.csv").read_bytes()
    for name in ("question.json", "coverage.json", "notes.json", "evaluations.csv", "summary.csv"):
        (folder / name).unlink()
    other = evaluation_inputs([f"exact={files / 'near.safetensors'}"], evaluation_images, devices=["gaussian-0.1"])
    with pytest.raises(ResultsError, match=r"no question\.json.*rows of another spec"):
        run(folder, *other, evaluation_images)
    run(folder, *small, evaluation_images)
    assert (folder / "question.json").read_bytes() == before
    assert (folder / "evaluations.csv").read_bytes() == table
    assert {"coverage.json", "notes.json", "summary.csv"} <= {path.name for path in folder.iterdir()}


def test_rows_of_other_weights_are_not_continued(small, evaluation_images, tmp_path):
    question, (model, *_) = small
    folder = run(tmp_path / "out", question, [model], evaluation_images).folder
    with torch.no_grad():
        moved = copy.deepcopy(model)
        next(moved.parameters()).add_(1e-6)
    with pytest.raises(ResultsError, match=r"runs/.* holds rows of digital that were measured on other weights"):
        run(folder, question, [moved], evaluation_images)


def test_a_folder_that_another_holds_is_refused(small, evaluation_images, tmp_path):
    with lock_folder(tmp_path / "out"), pytest.raises(ResultsError, match="process"):
        run(tmp_path / "out", *small, evaluation_images)


def test_a_folder_that_holds_no_evaluation_is_not_opened(finished_comparison, tmp_path):
    with pytest.raises(InputError, match="evaluation"):
        EvaluationResults.open(tmp_path)
    with pytest.raises(ResultsError, match="comparison"):
        EvaluationResults.open(finished_comparison)


# Stopping at a half-width -------------------------------------------------------------------------------------------


def test_a_precision_stops_as_evaluate_does_and_goes_on_where_it_stopped(files, evaluation_images, tmp_path):
    arguments, chips = [str(files / "exact.safetensors")], {"chips": 60, "devices": ["gaussian-0.1"]}
    question, models = evaluation_inputs(arguments, evaluation_images, precision=2.0, **chips)
    results = run(tmp_path / "out", question, models, evaluation_images)
    condition = question.build_targets()[1].condition
    expected = ar.evaluate(
        models[0], evaluation_images.batches("test", 500), condition, chips=60, precision=2.0, jobs=1
    )
    found = results.estimates()["exact", "gaussian-0.1"]
    assert 10 < found.chips < 60
    assert list(found.table["accuracy"]) == list(expected.table["accuracy"])
    assert found.ci == expected.ci  # Stein's: of the pilot
    assert (found.ci[1] - found.ci[0]) / 2 <= 2.0
    path = tmp_path / "out" / "runs" / "exact-seed0" / "evaluations.jsonl"
    whole = (tmp_path / "out" / "evaluations.csv").read_bytes()
    for kept in (5, 15):  # within the pilot, and after it
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
        run(tmp_path / "out", question, models, evaluation_images)
        assert (tmp_path / "out" / "evaluations.csv").read_bytes() == whole
    finer = question.model_copy(update={"precision": 1.5})
    assert (
        found.chips < run(tmp_path / "out", finer, models, evaluation_images).estimates()["exact", "gaussian-0.1"].chips
    )


def test_a_precision_that_the_number_of_chips_ended_early_is_said(files, evaluation_images, tmp_path, monkeypatch):
    arguments = [str(files / "exact.safetensors")]
    question, models = evaluation_inputs(
        arguments, evaluation_images, precision=0.5, chips=12, devices=["gaussian-0.1"], threshold=80.0
    )
    results = run(tmp_path / "out", question, models, evaluation_images)
    reached = results.estimates()["exact", "gaussian-0.1"].half_width_over_chips
    assert reached > 0.5
    (note,) = read_json(tmp_path / "out" / "notes.json")
    needed = chips_needed(results.estimates()["exact", "gaussian-0.1"].table["accuracy"][:10], 0.5)
    assert note == (
        f"exact-seed0 on gaussian-0.1: ±{reached:.2g} points with 12 chips; ±0.5 needs {needed} chips (more --chips)."
    )
    page = write_report(tmp_path / "out").read_text()
    assert f"<td>12, only ±{reached:.2g}</td>" in page
    assert f"| 12, only ±{reached:.2g} |" in (tmp_path / "out" / "report.md").read_text()
    assert note in html.unescape(page)
    met = question.model_copy(update={"precision": 60.0})
    run(tmp_path / "out", met, models, evaluation_images)
    assert read_json(tmp_path / "out" / "notes.json") == []


# Converters, warnings, notes ----------------------------------------------------------------------------------------


def test_converter_ranges_are_found_once_for_each_model_and_kept(finished_evaluation, tmp_path, monkeypatch):
    for model in finished_evaluation.question.models:
        kept = json.loads((finished_evaluation.results.run_folder(model.trial) / "ranges.json").read_text())
        assert set(kept) == {"wan", "wan-1d"}
    trained, crossbar = finished_evaluation.models[1], finished_evaluation.question.build_targets()[2].condition
    expected = calibrate(trained, crossbar, finished_evaluation.images.calibration_batches())
    assert finished_evaluation.results.ranges(finished_evaluation.question.models[1].trial, "wan") == expected
    monkeypatch.setattr(
        "aimc_robust.experiments.execution.target_runner.calibrate", lambda *_: pytest.fail("found again")
    )
    folder = shutil.copytree(finished_evaluation.folder, tmp_path / "out")
    run(folder, finished_evaluation.question, finished_evaluation.models, finished_evaluation.images)


def test_what_leaves_a_cards_limits_is_told_once_and_kept(files, evaluation_images, tmp_path, recwarn):
    question, models = evaluation_inputs(
        [str(files / "exact.safetensors")], evaluation_images, devices=["sonos-agrawal2022"], times_s=[1e9]
    )
    heard = RecordingProgress()
    run(tmp_path / "out", question, models, evaluation_images, progress=heard, notes=["read with care"])
    limits = [note for note in heard.notes if "outside the limits" in note]
    assert len(limits) == 1
    assert heard.notes == ["read with care", *limits]
    assert json.loads((tmp_path / "out" / "notes.json").read_text()) == heard.notes
    assert not [one for one in recwarn.list if one.category is UserWarning]


def test_weights_that_guess_are_told_and_those_that_do_not_are_not(files, evaluation_images, tmp_path):
    question, models = evaluation_inputs(
        [f"{label}={files / 'exact.safetensors'}" for label in ("fine", "wrong")], evaluation_images
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models[1][-1], "bias", None)
        patch.setattr(models[1][-1], "weight", type(models[1][-1].weight)(-models[1][-1].weight.detach()))
        heard = RecordingProgress()
        run(tmp_path / "out", question, models, evaluation_images, progress=heard)
    (note,) = heard.notes
    assert note.startswith("wrong-seed0 scores ")
    assert "chance (16.7 %)" in note


def test_notes_are_kept_while_the_work_goes_on(files, evaluation_images, tmp_path):
    question, models = evaluation_inputs([str(files / "exact.safetensors")], evaluation_images)

    class Stops(RecordingProgress):
        def chip(self, model, target, accuracies):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", question, models, evaluation_images, progress=Stops(), notes=["read with care"])
    assert json.loads((tmp_path / "out" / "notes.json").read_text()) == ["read with care"]


def test_a_label_beyond_the_outputs_is_told_before_anything_is_written(small, evaluation_images, tmp_path):
    images, labels = evaluation_images.test[0], evaluation_images.test[1].clone()
    labels[40] = 99  # in the middle
    with pytest.raises(ar.errors.DataError, match="labels run from 0 to 99, but the model has 7 outputs"):
        run(tmp_path / "out", *small, replace(evaluation_images, test=(images, labels)))
    assert not (tmp_path / "out").exists()


def test_a_metric_of_the_users_is_a_column(files, evaluation_images, tmp_path):
    question, models = evaluation_inputs(
        [str(files / "exact.safetensors")], evaluation_images, metrics=["support.nets:margin"]
    )
    run(tmp_path / "out", question, models, evaluation_images)
    summary, rows = table_of(tmp_path / "out", "summary"), table_of(tmp_path / "out")
    assert rows["margin"].nunique() == 5
    assert summary["margin"].tolist() == pytest.approx(rows.groupby("target", sort=False)["margin"].mean().tolist())


# Tables -------------------------------------------------------------------------------------------------------------


def test_no_metric_may_be_called_as_another_column(finished_evaluation):
    # `forward_precision` is a column of evaluations in bf16 alone.
    columns = {*table_of(finished_evaluation.folder), *table_of(finished_evaluation.folder, "summary")}
    of_histories = {"epoch", "updates", "lr", "strength", "train_loss", "distance", "seconds", "probe_seconds"}
    assert columns - {"top5"} | of_histories | {"forward_precision"} == RESERVED


def test_the_summary_is_recomputed_from_the_rows(finished_evaluation):
    rows, summary = table_of(finished_evaluation.folder), table_of(finished_evaluation.folder, "summary")
    assert len(summary) == 10
    for row in summary.to_dict("records"):
        mine = rows[(rows["model"] == row["model"]) & (rows["target"] == row["target"])]
        means = mine.groupby("train_seed")["accuracy"].mean()
        effects = CrossedEffects(mine.pivot(index="train_seed", columns="chip", values="accuracy").to_numpy())
        half = effects.mean_error().half_width()
        chips = mine.groupby("train_seed")["accuracy"]
        half_over_chips = (stats.t.ppf(0.975, chips.count() - 1) * chips.sem()).max()
        skewed = hall_interval(mine["accuracy"]) if len(means) == 1 else (math.nan, math.nan)
        share = mine["accuracy"].mean() / 100
        share = min(max(share, 1 / 80), 1 - 1 / 80)
        expected = {
            "mean": means.mean(),
            "ci_low": max(means.mean() - half, 0.0) if half == half else half,
            "ci_high": min(means.mean() + half, 100.0) if half == half else half,
            "half_width": half_over_chips,
            "skewness": chips.apply(lambda values: values.skew()).mean(),
            "skewed_low": np.clip(skewed[0], 0.0, 100.0),
            "skewed_high": np.clip(skewed[1], 0.0, 100.0),
            "sd_noise": mine.groupby("train_seed")["accuracy"].std().mean(),
            "sd_seed": means.std(),
            "var_noise": chips.var().mean(),
            "var_seed": means.var() - effects.residual_variance / row["chips"],
            "var_chip": chips.var().mean() - effects.residual_variance if len(means) > 1 else math.nan,
            "reached_by_95": mine["accuracy"].quantile(0.05),
            "median": mine["accuracy"].median(),
            "worst": mine["accuracy"].min(),
            "sampling": 196 * math.sqrt(share * (1 - share) / 80),
            "chips": mine["chip"].nunique(),
            "models": len(means),
            "n": 80,
            "yield": 100 * (mine["accuracy"] >= 80.0).mean(),
            "loss": mine["loss"].mean(),
            "top5": mine["top5"].mean(),
            "time_s": mine["time_s"].iloc[0],
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), (row, name)
        passing = row["yield"] / 100 * row["chips"]  # of the chips that all models meet
        exact = 100 * np.array(proportion_confint(passing, row["chips"], method="beta"))
        bounds = exact if row["chips"] > 1 else (math.nan, math.nan)
        assert (row["yield_low"], row["yield_high"]) == pytest.approx(bounds, nan_ok=True)
        worst = mine[(mine["train_seed"] == row["worst_train_seed"]) & (mine["chip"] == row["worst_chip"])]
        assert worst["accuracy"].tolist() == [row["worst"]]


def test_intervals_cover_models_where_a_label_has_several(finished_evaluation):
    summary = table_of(finished_evaluation.folder, "summary").set_index(["model", "target"])
    assert summary.loc[("exact", "wan"), "covers"] == "chips"
    assert summary.loc[("near", "wan"), "covers"] == "models"
    assert summary.loc[("near", "digital"), "covers"] == "models"  # two trainings, a single chip each


def pairs_of(differences):
    columns = ["first_model", "first_target", "second_model", "second_target"]
    return list(differences[columns].itertuples(index=False, name=None))


def test_models_are_compared_on_each_target_devices_at_the_same_time_and_each_with_its_youth(finished_evaluation):
    differences = table_of(finished_evaluation.folder, "differences")
    targets = ["digital", "rram-milo2021", "wan", "wan-1d", "gaussian-0.1"]
    within = [("rram-milo2021", "wan"), ("rram-milo2021", "gaussian-0.1"), ("wan", "gaussian-0.1"), ("wan-1d", "wan")]
    expected = {("exact", target, "near", target) for target in targets}
    expected |= {(label, a, label, b) for label in ("exact", "near") for a, b in within}
    found = pairs_of(differences)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_differences_are_recomputed_from_the_rows(finished_evaluation):
    rows, differences = table_of(finished_evaluation.folder), table_of(finished_evaluation.folder, "differences")
    by = rows.set_index(["model", "target", "train_seed", "chip"])["accuracy"].sort_index()
    for row, (model, target, other, beside) in zip(differences.to_dict("records"), pairs_of(differences), strict=True):
        both = (by.loc[model, target] - by.loc[other, beside]).dropna()
        means = both.groupby("train_seed").mean()
        units = means if len(means) > 1 else both
        expected = {"difference": means.mean(), "pairs": len(both)}
        if len(units) > 1 and units.std() > 0:
            error = CrossedEffects(both.unstack().to_numpy()).mean_error()
            low, high = np.clip(means.mean() + np.array([-1, 1]) * error.half_width(), -100.0, 100.0)
            expected |= {"p": error.p_value(means.mean()), "ci_low": low, "ci_high": high}
            if len(means) == 1:
                assert row["p"] == pytest.approx(stats.ttest_1samp(units, 0.0).pvalue, rel=1e-7)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-7, abs=1e-9), (model, target, other, beside, name)
    tested = differences["p"].dropna().sort_values()
    factors = np.arange(len(tested), 0, -1)
    holm = np.minimum(np.maximum.accumulate(tested.to_numpy() * factors), 1.0)
    assert differences["p_holm"].loc[tested.index].tolist() == pytest.approx(holm.tolist())
    assert len(tested) > 8


def test_an_attribution_is_that_of_attribute(finished_evaluation):
    question, target = finished_evaluation.question, finished_evaluation.question.build_targets()[3]
    ranges = calibrate(
        finished_evaluation.models[0], target.condition, finished_evaluation.images.calibration_batches()
    )
    options = {"chips": 2, "time_s": 86400.0, "deployment": ar.Deployment(ranges=ranges), "jobs": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = ar.attribute(finished_evaluation.models[0], finished_evaluation.batches, target.condition, **options)
    rows = table_of(finished_evaluation.folder, "attribution")
    mine = rows[(rows["model"] == "exact") & (rows["target"] == "wan-1d")]
    assert set(rows["target"]) == {"rram-milo2021", "wan-1d"}  # each device at its last time
    assert set(rows["model"]) == {"exact", "near"}
    assert set(rows["train_seed"]) == {0}  # the first of each label
    assert mine["name"].tolist() == expected.table["name"].tolist()
    assert mine["cost_alone"].tolist() == expected.table["cost_alone"].tolist()
    assert mine["exact"].iloc[0] == expected.ideal
    assert question.chips == 4


@pytest.mark.slow
def test_what_cannot_be_explained_is_left_out_with_a_remark_and_the_rest_goes_on(files, evaluation_images, tmp_path):
    """A device without error, and one with a compensation only: nothing to blame, nothing to predict for it."""
    devices = ["ideal", '{name = "old", device = "pcm-nandakumar2019", time_s = 86400.0, compensation = ["drift"]}']
    question, models = evaluation_inputs(
        [str(files / "exact.safetensors")], evaluation_images, devices=devices, chips=2
    )
    heard = RecordingProgress()
    results = run(
        tmp_path / "out", question, models, evaluation_images, progress=heard, attribution_chips=2, prediction_chips=2
    )
    assert any(note.startswith("ideal has no error source") for note in heard.notes)
    assert any(note.startswith("old-drift is not attributed") for note in heard.notes)
    assert set(results.explanation("attribution")["target"]) == {"old"}
    assert set(results.explanation("prediction")["target"]) == {"ideal", "old"}
    assert (tmp_path / "out" / "differences.csv").is_file()


@pytest.mark.slow
def test_a_prediction_that_was_asked_for_again_stands_once_and_costs_what_it_took(small, evaluation_images, tmp_path):
    folder, (question, models) = tmp_path / "out", small
    for chips in (2, 3):
        results = run(folder, question, models, evaluation_images, prediction_chips=chips)
    rows = results.explanation("prediction")
    assert list(rows["target"]) == ["rram-milo2021"]
    assert len(pd.read_csv(folder / "prediction.csv")) == 1
    assert (results.explanation("validity")["chips"] == 3).all()
    assert 0.1 < float(rows["cost"].iloc[0]) < 1000
