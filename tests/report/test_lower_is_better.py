"""Reports of a metric of which lower values are better: the mirror image of those of an accuracy, in its own words."""

import json
import re
import shutil

import pandas as pd
import pytest

from aimc_robust.cli.progress_display import estimate_text
from aimc_robust.cli.views.evaluate import show
from aimc_robust.experiments.recommend.verdict import judge
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.report.comparison import content as comparison
from aimc_robust.report.evaluation import content as evaluation
from aimc_robust.report.write import write_report
from aimc_robust.statistics.primary_metric import PrimaryMetric

SUM = 110.0  # of an accuracy and the perplexity that stands for it


def mirrored(row):
    """A row whose accuracies are perplexities: the higher the one, the lower the other."""
    changed = {
        key.replace("accuracy", "perplexity"): SUM - value
        for key, value in row.items()
        if "accuracy" in key and value is not None
    }
    kept = row if "epoch" in row else {key: value for key, value in row.items() if "accuracy" not in key}
    return kept | changed | {key: SUM - row[key] for key in ("exact", "whole", "alone", "without") if key in row}


def mirror(folder, out, **changes):
    """A copy of a results folder with perplexities of a language model in place of accuracies."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("report.*", "*.csv", "tables", "figures"))
    change_question(out, task={"kind": "language-modelling"}, **changes)
    for path in (*out.glob("runs/*/*.jsonl"), *out.glob("attribution.jsonl")):
        rows = [mirrored(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


def change_question(folder, **changes):
    """Change the spec that is stored in a results folder."""
    path = folder / "question.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def compared(finished_comparison, tmp_path):
    """(folder with accuracies, folder with perplexities) of a comparison in which m-rwp is better on the device."""
    accuracies = shutil.copytree(finished_comparison, tmp_path / "accuracies")
    for seed in (0, 1):
        lines = (accuracies / f"runs/sgd-seed{seed}/evaluations.jsonl").read_text().splitlines()
        rows = [json.loads(line) | {"model": "m-rwp"} for line in lines]
        points = {"digital": 0.0, "gaussian-0.2": -5.0, "rram-wan2022": 5.0}
        rows = [row | {"accuracy": row["accuracy"] + points[row["target"]] + 0.1 * seed} for row in rows]
        path = accuracies / f"runs/m-rwp-seed{seed}/evaluations.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return accuracies, mirror(accuracies, tmp_path / "perplexities")


@pytest.fixture
def evaluated(finished_evaluation, tmp_path):
    """(folder with accuracies, folder with perplexities) of an evaluation with a threshold."""
    folder = shutil.copytree(finished_evaluation.folder, tmp_path / "accuracies")
    change_question(folder, threshold=86.0)
    return folder, mirror(folder, tmp_path / "perplexities", threshold=SUM - 86.0)


def gathered(folder, kind):
    results, module = (ComparisonResults, comparison) if kind == "comparison" else (EvaluationResults, evaluation)
    return module.gather(results.open(folder))


def pages(folder):
    """The texts of both pages, and of the tables for papers."""
    write_report(folder)
    html = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", (folder / "report.html").read_text(), flags=re.DOTALL)
    files = [folder / "report.md", *folder.glob("tables/*.md"), *folder.glob("tables/*.tex")]
    return [re.sub(r"<[^>]+>", " ", html), *(path.read_text() for path in files)]


def check_words(texts, *names):
    """Nothing is called an accuracy, an image or a percentage of them."""
    for text in texts:
        for name in names:
            text = text.replace(name, "")
        assert not re.search(r"accura", text, re.IGNORECASE)
        assert "images" not in text
        assert not re.search(r"\d\.\d\d ?\\?%|\[\\?%\]|points\b", text)


def test_a_comparison_ranks_the_lowest_first(compared):
    accuracies, perplexities = compared
    found = gathered(perplexities, "comparison")
    known = gathered(accuracies, "comparison")
    for target, ranks in known.rankings.items():
        assert {label: rank.tags for label, rank in found.rankings[target].items()} == {
            label: rank.tags for label, rank in ranks.items()
        }
        means = {label: rank.estimate.mean for label, rank in found.rankings[target].items()}
        (best,) = [label for label, rank in found.rankings[target].items() if rank.is_best]
        assert means[best] == min(means.values())
    assert found.rankings["rram-wan2022"]["m-rwp"].tags == ["best", "better"]
    assert found.rankings["gaussian-0.2"]["m-rwp"].tags == ["worse"]
    summaries = [(c.target, c.best, c.best_means, c.settled) for c in found.baseline_comparisons]
    assert summaries == [(c.target, c.best, c.best_means, c.settled) for c in known.baseline_comparisons]
    leads, known_leads = ([c.largest_lead for c in content.baseline_comparisons] for content in (found, known))
    assert leads == pytest.approx(known_leads)
    assert len(set(leads)) > 1
    assert [c.p_holm for c in found.comparisons.values()] == pytest.approx(
        [c.p_holm for c in known.comparisons.values()], nan_ok=True
    )
    assert list(found.styles) == list(known.styles)


def test_a_comparisons_page_names_the_lower_one(compared):
    _, folder = compared
    html, markdown, *tables = pages(folder)
    check_words([html, markdown, *tables])
    ranks = gathered(folder, "comparison").rankings["rram-wan2022"]
    best, other = (f"{ranks[label].estimate.mean:#.4g}" for label in ("m-rwp", "sgd"))
    assert f"`rram-wan2022`: **m-rwp** reaches {best}, sgd {other}. Difference on the same chips: -5.050 [" in markdown
    assert "Settled to be worse than sgd: m-rwp on `gaussian-0.2`." in markdown
    assert "- m-rwp has the lowest mean on `digital`, `rram-wan2022`; sgd on `gaussian-0.2`." in markdown
    for words in (
        "Perplexity",
        "Lower is better.",
        "180 tokens of",
        "**best**: lowest mean",
        "It ends at 1.",
        "a negative difference is in favour",
    ):
        assert words in markdown
    (table, latex) = tables
    assert re.search(rf"\| m-rwp .*\*\*{best}\*\* ± .* ↑ \|", table)
    assert table.endswith("Bold: lowest mean. ↑, ↓: settled to be better, worse than the baseline (sgd).\n")
    assert rf"\mathbf{{{best}}}" in latex


def test_an_evaluations_statistics_are_mirrored(evaluated):
    accuracies, perplexities = evaluated
    found = gathered(perplexities, "evaluation")
    known = gathered(accuracies, "evaluation")
    for row, other in zip(found.rows, known.rows, strict=True):
        for key in ("mean", "reached_by_95", "median", "worst"):
            assert row[key] == pytest.approx(SUM - other[key])
        for key in ("worst_train_seed", "worst_chip", "yield", "yield_low", "yield_high", "chips", "models", "n"):
            assert row[key] == pytest.approx(other[key], nan_ok=True)
        for key in ("sd_noise", "sd_seed", "half_width"):
            assert row[key] == pytest.approx(other[key], nan_ok=True)
        assert pd.isna(row["sampling"])
        chips = found.estimates[row["model"], row["target"]].table["perplexity"]
        assert row["worst"] == chips.max()
        assert row["yield"] == pytest.approx(100.0 * (chips <= found.results.spec.threshold).mean())
    assert 0.0 < min(row["yield"] for row in found.rows) < 100.0


def test_an_evaluations_page_speaks_of_perplexities(evaluated, capsys):
    _, folder = evaluated
    results = EvaluationResults.open(folder)
    html, markdown = pages(folder)
    check_words([html, markdown], results.spec.images.name, results.spec.images.calibrated_on, "top5 [%]")
    row = gathered(folder, "evaluation").row("near", "wan-1d")
    assert f"**{row['mean']:#.4g}**" in markdown
    assert "worse than digital weights; yield at 24: " in markdown
    assert "95 % of the chips have at most this perplexity" in markdown
    assert "**yield**: share of the chips whose perplexity is at most 24, with" in markdown
    assert "| yield<br>chips with at most 24 |" in markdown
    assert "Which perplexity do these models reach" in markdown
    assert "tested on the same 80 tokens of" in markdown
    show(results)
    shown = capsys.readouterr().out
    check_words([shown])
    assert all(words in shown for words in ("Perplexity on 80 tokens", "<= 24", f"{row['worst']:#.4g}"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "column"), [(0, "accuracy"), (1, "perplexity")])
def test_a_device_that_beats_digital_weights_is_said_to_be_better(evaluated, number, column):
    folder = evaluated[number]
    for path in folder.glob("runs/*/evaluations.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        worst = {"accuracy": 5.0, "perplexity": SUM - 5.0}[column]
        rows = [row | {column: worst} if row["target"] == "digital" else row for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    markdown = pages(folder)[1]
    assert markdown.count(" better than digital weights") == 6
    assert not re.search("; -|worse than digital weights", markdown.split("## Summary")[1].split("\n## ")[0])


def test_what_costs_is_what_raises_a_perplexity(evaluated):
    _, folder = evaluated
    first = json.loads((folder / "attribution.jsonl").read_text().splitlines()[0])
    (markdown,) = [text for text in pages(folder) if text.startswith("#")]
    exact, whole = (f"{first[key]:#.4g}" for key in ("exact", "whole"))
    assert f"perplexity {exact} without errors, {whole} with all errors." in markdown
    assert "| cost alone |" in markdown


@pytest.mark.parametrize("label", ["m-rwp", "sgd"])
def test_a_verdict_follows_the_direction(compared, label):
    accuracies, perplexities = compared
    other = "sgd" if label == "m-rwp" else "m-rwp"
    found = judge(label, other, "rram-wan2022", ComparisonResults.open(perplexities).estimates())
    known = judge(label, other, "rram-wan2022", ComparisonResults.open(accuracies).estimates())
    assert (found.judgement, found.best) == (known.judgement, "m-rwp")
    assert found.judgement == ("confirmed" if label == "m-rwp" else "refuted")
    assert " is better " in found.sentence
    assert " by 5.050 [" in found.sentence
    assert " by 5.05 [" in known.sentence


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (PrimaryMetric("perplexity", better="lower"), "14.00 ± 12.71 (2 chips)"),
        (PrimaryMetric("rmse", "mV", "lower"), "14.00 ± 12.71 mV (2 chips)"),
        (PrimaryMetric("miou", "%"), "14.00 ± 12.71 % (2 chips)"),
    ],
    ids=["no unit", "a unit", "percent"],
)
def test_a_running_estimate_has_the_unit_of_its_metric(metric, text):
    assert estimate_text([13.0, 15.0], metric) == text
