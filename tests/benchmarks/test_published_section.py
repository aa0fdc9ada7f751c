"""The published table: ours beside the published figures, judged by both deviations, and what became of each claim."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from published.claim import Claim, Side
from published.claims import check_claims, claim_pairs
from published.layout import PublishedCell
from published.measured import Entry, MeasuredValue
from published.values import PublishedValue
from scipy import stats
from support import published_tables
from support.published_tables import SECTION, paper_claims, paper_entries

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.write import write_report
from aimc_robust.statistics.crossed_effects import CrossedEffects
from aimc_robust.statistics.paired_difference import compare_pairs

pytestmark = pytest.mark.usefixtures("stub_figures")

NAN = math.nan


def entry(ours, published, metric="accuracy"):
    return Entry(PublishedCell("row", "column", ("sgd",), "digital", metric, None, published), ours)


@pytest.mark.parametrize(
    ("ours", "published", "within"),
    [
        (MeasuredValue(70.0, 3.0, 0.0), PublishedValue(75.0, 0.0, 4.0), True),  # 5 = sqrt(3^2 + 4^2), on the edge
        (MeasuredValue(70.0, 3.0, 0.0), PublishedValue(75.01, 0.0, 4.0), False),
        (MeasuredValue(70.0, 1.0, 1.0), PublishedValue(68.0, 1.0, 1.0), True),  # 2 = sqrt(4)
        (
            MeasuredValue(70.0, 1.0, 1.0),
            PublishedValue(67.9, 1.0, 1.0),
            False,
        ),  # the sum of the two sides' would be 2.83
        (MeasuredValue(70.0, NAN, 0.3), PublishedValue(70.2, None, None), True),  # what is not given counts as 0
        (MeasuredValue(70.0, NAN, 0.1), PublishedValue(70.2, None, None), False),
        (MeasuredValue(70.0, NAN, NAN), PublishedValue(70.2, None, None), None),
        (None, PublishedValue(70.0, 1.0, 1.0), None),
        (MeasuredValue(70.0, 1.0, 1.0), None, None),
    ],
)
def test_a_difference_is_within_both_deviations_by_their_sum_in_quadrature(ours, published, within):
    assert entry(ours, published).within is within


def test_every_cell_is_that_of_the_rows_and_of_the_published_figures(comparison_with_paper):
    table = paper_entries(gather(ComparisonResults.open(comparison_with_paper)))
    rows = pd.read_csv(comparison_with_paper / "evaluations.csv")
    for entries in table[:2]:
        method = {"plain": "sgd", "mixed": "m-rwp"}[entries[0].cell.row]
        for e, column in ((entries[0], "accuracy"), (entries[1], "accuracy"), (entries[2], "loss")):
            models = rows[(rows["model"] == method) & (rows["target"] == e.cell.target)].groupby("train_seed")[column]
            assert e.measured.value == pytest.approx(models.mean().mean())
            assert e.measured.sd_seed == pytest.approx(models.mean().std())
            assert e.measured.sd_noise == pytest.approx(models.std().mean(), nan_ok=True)
        assert [e.measured.label for e in entries[:3]] == [None] * 3
    plain, mixed, _ = table
    assert plain[0].difference == pytest.approx(plain[0].measured.value - 50.0)
    assert (plain[0].within, plain[1].within) == (False, True)
    assert mixed[1].difference is None  # no published figure
    assert [e.difference for e in (plain[3], mixed[3])] == [0.0, 0.0]
    assert len([e for row in table for e in row if e.within is not None]) == 3


def test_of_several_methods_the_best_is_shown_with_its_name(comparison_with_paper):
    content = gather(ComparisonResults.open(comparison_with_paper))
    best = paper_entries(content)[2]
    for e, target in zip(best[:2], ("digital", "gaussian-0.2"), strict=True):
        means = {method: content.estimates[method, target].mean for method in ("sgd", "m-rwp")}
        assert (e.measured.label, e.measured.value) == max(means.items(), key=lambda item: item[1])
    losses = {m: content.estimates[m, "gaussian-0.2"].for_column("loss").mean for m in ("sgd", "m-rwp")}
    assert (best[2].measured.label, best[2].measured.value) == min(losses.items(), key=lambda item: item[1])


def test_claims_are_judged_by_the_paired_difference_over_models_and_chips(comparison_with_paper):
    content = gather(ComparisonResults.open(comparison_with_paper))
    rows = pd.read_csv(comparison_with_paper / "evaluations.csv")
    noisy = rows[rows["target"] == "gaussian-0.2"].pivot(
        index=["train_seed", "chip"], columns="model", values="accuracy"
    )
    better, free = paper_claims(content)
    assert better.difference.mean == pytest.approx((noisy["m-rwp"] - noisy["sgd"]).groupby("train_seed").mean().mean())
    digital = rows[rows["target"] == "digital"].pivot(index="train_seed", columns="model", values="accuracy")
    models = noisy["sgd"].groupby("train_seed").mean() - digital["sgd"]
    assert free.difference.mean == pytest.approx(models.mean())
    chips = noisy["sgd"] - digital["sgd"].reindex(noisy.index, level="train_seed")
    half = CrossedEffects(chips.unstack().to_numpy()).mean_error().half_width()
    ends = np.clip([models.mean() - half, models.mean() + half], -100.0, 100.0)  # the bounds of a difference
    assert free.difference.ci == pytest.approx(tuple(ends))
    assert {claim.difference.covers for claim in (better, free)} == {"models"}


def test_claims_are_corrected_with_all_comparisons_of_the_page(change_question):
    folder = change_question(report_sections=[SECTION])
    for seed, points in enumerate((5.0, 5.6)):  # p = 0.036 alone
        moved(folder, f"m-rwp-seed{seed}", points)
    content = gather(ComparisonResults.open(folder))
    claim = paper_claims(content)[0]
    assert content.comparison_count == 4  # m-rwp and sgd on three targets, and sgd on two
    assert claim.difference.ci[0] > 0.0
    assert claim.state == "not settled"
    assert not content.rankings["gaussian-0.2"]["m-rwp"].status  # the mark in the table agrees


def test_a_claim_about_the_best_of_several_methods_is_corrected_for_each_of_them(comparison_with_paper):
    content = gather(ComparisonResults.open(comparison_with_paper))
    claim = Claim("Noise costs", Side(("sgd",), "digital"), Side(("sgd", "m-rwp"), "gaussian-0.2"))
    found = set(claim_pairs([claim], content.results.spec, content.estimates))
    assert found == {(("sgd", "digital"), (label, "gaussian-0.2")) for label in ("sgd", "m-rwp")}


def judged(content, claim):
    """The result of a claim alone, with all its pairs compared."""
    spec, estimates = content.results.spec, content.estimates
    pairs = list(claim_pairs([claim], spec, estimates))
    candidates = {key: estimate for side in (claim.better, claim.than) for key, estimate in keyed(claim, side, content)}
    return check_claims([claim], spec, estimates, compare_pairs(candidates, pairs))[0]


def keyed(claim, side, content):
    for label in side.labels:
        estimate = content.estimates[label, side.target]
        if claim.metric == "loss":
            yield (label, f"loss on {side.target}"), estimate.for_column("loss")
        else:
            yield (label, side.target), estimate


def test_a_claim_of_all_methods_compares_the_worst_of_them(comparison_with_paper):
    content = gather(ComparisonResults.open(comparison_with_paper))
    both = ("sgd", "m-rwp")
    means = {label: content.estimates[label, "gaussian-0.2"].mean for label in both}
    for pick, choose in (("best", max), ("worst", min)):
        claim = Claim("Noise", Side(both, "gaussian-0.2", pick), Side(("sgd",), "digital"))
        assert judged(content, claim).better == (choose(means, key=means.get), "gaussian-0.2")
    losses = {label: content.estimates[label, "gaussian-0.2"].for_column("loss").mean for label in both}
    for pick, choose in (("best", min), ("worst", max)):
        claim = Claim("Noise", Side(both, "gaussian-0.2", pick), Side(("sgd",), "digital"), "loss")
        assert judged(content, claim).better == (choose(losses, key=losses.get), "loss on gaussian-0.2")


LOSS_CLAIM = {
    "text": "The loss of mixed training is lower under noise",
    "metric": "loss",
    "better": {"method": "m-rwp", "target": "gaussian-0.2"},
    "than": {"method": "sgd", "target": "gaussian-0.2"},
}


@pytest.mark.parametrize(("points", "state"), [((-0.5, -0.52), "held"), ((0.5, 0.52), "did not hold")])
def test_a_claim_about_the_loss_is_held_where_the_loss_is_lower(change_question, monkeypatch, points, state):
    monkeypatch.setitem(published_tables.PAPER, "claims", [LOSS_CLAIM])
    folder = change_question(report_sections=[SECTION])
    for seed, by in enumerate(points):
        moved(folder, f"m-rwp-seed{seed}", by, "loss")
    content = gather(ComparisonResults.open(folder))
    (verdict,) = paper_claims(content)
    assert (verdict.state, verdict.difference.mean) == (state, pytest.approx(sum(points) / 2))
    assert (("m-rwp", "loss on gaussian-0.2"), ("sgd", "loss on gaussian-0.2")) in content.comparisons
    (low, high), page = verdict.interval, write_report(folder).read_text()
    assert f"{verdict.difference.mean:+z#.4g} [{low:z#.4g}, {high:z#.4g}] over models" in page
    assert f"m-rwp: loss on gaussian-0.2 {verdict.estimates[0].mean:#.4g}" in page


def test_a_loss_that_overflowed_leaves_its_claim_without_rows(change_question, monkeypatch):
    monkeypatch.setitem(published_tables.PAPER, "claims", [LOSS_CLAIM])
    folder = change_question(report_sections=[SECTION])
    moved(folder, "m-rwp-seed0", math.inf, "loss")
    (verdict,) = paper_claims(gather(ComparisonResults.open(folder)))
    assert verdict.reason == "no rows with a finite loss of m-rwp on gaussian-0.2"


def moved(folder, cell, points, column="accuracy"):
    """Set a cell's rows to those of sgd's same seed, with so much more accuracy or loss."""
    seed = cell[-1]
    rows = (folder / "runs" / f"sgd-seed{seed}" / "evaluations.jsonl").read_text().splitlines()
    changed = [json.loads(row) | {"model": "m-rwp"} for row in rows]
    changed = [row | {column: row[column] + points} for row in changed]
    (folder / "runs" / cell / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))


@pytest.mark.parametrize(
    ("points", "state"),
    [
        ((5.0, 5.2), "**held**"),
        ((-5.0, -5.2), "**did not hold**<br>the opposite is settled"),
        ((5.0, -5.0), "**not settled**"),
    ],
)
def test_a_claim_held_did_not_hold_or_is_not_settled(change_question, points, state):
    folder = change_question(report_sections=[SECTION])
    for seed, by in enumerate(points):
        moved(folder, f"m-rwp-seed{seed}", by)
    verdict = paper_claims(gather(ComparisonResults.open(folder)))[0]
    assert verdict.state == state.split("**")[1]
    assert verdict.difference.mean == pytest.approx(sum(points) / 2)
    page, markdown = write_report(folder).read_text(), (folder / "report.md").read_text()
    assert f"<strong>{verdict.state}</strong>" in page
    assert f"| Mixed training is better under noise | {state} |" in markdown


@pytest.mark.parametrize(
    ("smallest_lead", "state"),
    [(0.0, "not settled"), (0.2, "not settled"), (0.3, "did not hold")],
)
def test_a_claim_of_a_lead_settled_to_be_too_small_did_not_hold(change_question, smallest_lead, state):
    folder = change_question(report_sections=[SECTION])
    for seed, by in enumerate((0.005, -0.005)):
        moved(folder, f"m-rwp-seed{seed}", by)
    content = gather(ComparisonResults.open(folder))
    claims = [Claim("Mixed", Side(("m-rwp",), "gaussian-0.2"), Side(("sgd",), "gaussian-0.2"))]
    (found,) = check_claims(claims, content.results.spec, content.estimates, content.comparisons, smallest_lead)
    half_width = 0.005 * stats.t.ppf(1.0 - 0.025 / content.comparison_count, df=1)
    assert found.interval == pytest.approx((-half_width, half_width))
    assert found.state == state
    assert found.reason == ("any lead is below 0.3 points" if state == "did not hold" else "")


def test_a_claim_about_other_images_or_without_rows_says_why_it_is_not_settled(change_question):
    folder = change_question(report_sections=[SECTION], methods={"m-rwp": {"data": {"test_share": 0.2}}})
    found = paper_claims(gather(ComparisonResults.open(folder)))[0]
    assert (found.state, found.reason, found.difference) == ("not settled", "not paired: different data sets", None)
    (folder / "runs" / "sgd-seed0" / "evaluations.jsonl").unlink()
    (folder / "runs" / "m-rwp-seed1" / "evaluations.jsonl").unlink()
    store = ComparisonResults.open(folder)
    assert paper_claims(gather(store))[0].reason == "not paired: different data sets"
    (folder / "runs" / "sgd-seed1" / "evaluations.jsonl").unlink()
    assert paper_claims(gather(store))[0].reason == "no rows of sgd on gaussian-0.2"
    assert "no rows of sgd" in write_report(folder).read_text()


def test_a_claim_that_the_page_does_not_compare_says_so_not_that_the_data_differ(change_question):
    content = gather(ComparisonResults.open(change_question(report_sections=[SECTION])))
    assert paper_claims(content)[0].reason == ""
    assert paper_claims(replace(content, comparisons={}))[0].reason == "not among the comparisons of this page"


def test_models_that_share_no_seed_are_not_paired(change_question):
    folder = change_question(report_sections=[SECTION])
    (folder / "runs" / "sgd-seed0" / "evaluations.jsonl").unlink()
    (folder / "runs" / "m-rwp-seed1" / "evaluations.jsonl").unlink()
    assert paper_claims(gather(ComparisonResults.open(folder)))[0].reason == "not paired: no training seed in common"


def test_a_scale_or_an_override_is_said_on_top_of_the_page(change_question):
    for keys, words in (
        ({"scale": "mini"}, "at the scale mini"),
        ({"scale": "mini", "overrides": ["training.epochs=2"]}, "at the scale mini with training.epochs=2"),
        ({"overrides": ["training.epochs=2"]}, "with training.epochs=2"),
    ):
        folder = change_question(report_sections=[SECTION], **keys)
        page, markdown = write_report(folder).read_text(), (folder / "report.md").read_text()
        assert f"Run {words}" in page.split('<section id="paper">')[0]
        assert f"> Run {words}: " in markdown
        assert "Compare trends with the published values" in page


def test_as_written_the_page_says_nothing_of_a_scale(comparison_with_paper):
    assert "Compare trends" not in (comparison_with_paper / "report.html").read_text()


def test_page_and_markdown_hold_layout_figures_and_open_points_escaped(comparison_with_paper):
    page, markdown = (
        (comparison_with_paper / "report.html").read_text(),
        (comparison_with_paper / "report.md").read_text(),
    )
    section = page.split('<section id="paper">')[1].split("<h2>Summary")[0]
    assert page.index('<section id="paper">') < page.index("<h2>Accuracy <")
    assert "Table 7 of A. Author et al., Noise &amp; &lt;nets&gt;_100%" in section
    assert "lr: The paper has no learning rate; settled: 0.1." in section
    assert "lr: The paper has no learning rate; settled: 0.1." in markdown
    plain = paper_entries(gather(ComparisonResults.open(comparison_with_paper)))[0]
    ours = plain[1].measured
    value = f"{ours.value:.2f} ± {ours.sd_noise:.2f} ± {ours.sd_seed:.2f}"
    assert f"| {value}<br>paper 40.00 ± 300.00 ± 4.00<br>" in markdown
    for text in (f">{value} <", "paper 40.00 ± 300.00 ±"):
        assert text in section
    assert f"{ours.value - 40.0:+.2f} within" in section
    digital = plain[0].measured
    assert f"{digital.value - 50.0:+.2f} beyond" in section
    assert f" ± {digital.sd_seed:.2f} <" in section  # one chip: the deviation over models alone


def test_tables_as_files_hold_the_same(comparison_with_paper):
    table = paper_entries(gather(ComparisonResults.open(comparison_with_paper)))
    rows = list(csv.DictReader(io.StringIO((comparison_with_paper / "tables" / "paper.csv").read_text())))
    entries = [e for row in table for e in row]
    assert [(row["row"], row["column"]) for row in rows] == [(e.cell.row, e.cell.column) for e in entries]
    for row, e in zip(rows, entries, strict=True):
        assert row["ours"] == ("" if e.measured is None else repr(e.measured.value))
        assert row["within"] == {None: "", True: "yes", False: "no"}[e.within]
        assert (row["difference"] == "") == (e.difference is None)
    latex = (comparison_with_paper / "tables" / "paper.tex").read_text()
    ours = table[0][1].measured
    assert rf"${ours.value:.2f} \pm {ours.sd_noise:.2f} \pm {ours.sd_seed:.2f}$" in latex
    assert r"($40.00 \pm 300.00 \pm 4.00$)" in latex
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in lines} == {5}
    assert len(re.findall(r"\\(?:top|mid|bottom)rule", latex)) == 3


def test_costs_are_relative_to_sgd_and_of_several_methods_the_median(comparison_with_paper):
    plain, mixed, best = paper_entries(gather(ComparisonResults.open(comparison_with_paper)))
    assert [row[3].measured.value for row in (plain, mixed, best)] == [1, 2, 1.5]
    assert plain[4].measured.value == 1.0
