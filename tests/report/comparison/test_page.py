"""The report: self-contained, a pure function of the rows, honest about ties, gaps and failures."""

import json
import math
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest

from aimc_robust.errors import InputError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.comparison.figures import curves_over_sigma
from aimc_robust.report.write import write_report


class Page(HTMLParser):
    """Tags, ids and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        self.links += [values[key] for key in ("href", "src", "xlink:href") if key in values]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def folder(finished_comparison, tmp_path):
    """A copy of a finished comparison, to be changed."""
    return shutil.copytree(finished_comparison, tmp_path / "copy")


def edit_rows(folder, cell, change):
    path = folder / "runs" / cell / "evaluations.jsonl"
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_page_needs_no_network_and_no_other_file(finished_comparison):
    html = (finished_comparison / "report.html").read_text()
    page = Page(html)
    assert not {"link", "iframe", "img", "object"} & {tag for tag, _ in page.tags}
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]  # its own, in the page
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|\bimport\b|eval\(", html.split("<script>")[1])
    assert not re.search(r"@import|@font-face|url\((?!#)", html)
    outside = [link for link in page.links if not link.startswith("#")]
    assert all(link.startswith("https://doi.org/10.") for link in outside)
    assert len(outside) == 1


def test_ids_are_unique_and_every_reference_inside_the_page_resolves(finished_comparison):
    html = (finished_comparison / "report.html").read_text()
    page = Page(html)
    inside = {link[1:] for link in page.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert inside
    assert inside <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_the_report_is_a_pure_function_of_the_rows(folder):
    names = ("report.html", "report.md", "summary.csv", "evaluations.csv")
    write_report(folder)
    first = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    write_report(folder)
    assert {name: (folder / name).read_bytes() for name in names} == first


def test_both_reports_hold_question_tables_devices_source_and_versions(finished_comparison):
    html = Page((finished_comparison / "report.html").read_text()).text
    markdown = (finished_comparison / "report.md").read_text()
    summary = (finished_comparison / "summary.csv").read_text().splitlines()[1:]
    spec = ComparisonResults.open(finished_comparison).spec
    for text in (html, markdown):
        for word in [spec.question, *spec.labels, "rram-wan2022", "10.1038/s41586-022-04992-8", "torch", "seeds"]:
            assert word in text
        for line in summary:
            assert f"{float(line.split(',')[3]):.2f}" in text
    assert html.count("<svg") == 0  # figures are elements, not escaped text
    assert (finished_comparison / "report.html").read_text().count("<svg") == 5


def test_the_best_is_marked_and_what_is_settled_against_the_baseline(folder):
    store = ComparisonResults.open(folder)
    # m-rwp beats sgd by 5 points on every chip and seed: settled. Then only on average: not settled.
    rows = {
        (r["train_seed"], r["target"], r["chip"]): r["accuracy"]
        for c in store.trials[::2]
        for r in store.evaluations(c)
    }
    for seed in (0, 1):
        edit_rows(
            folder,
            f"m-rwp-seed{seed}",
            lambda row: (
                row | {"accuracy": rows[row["train_seed"], row["target"], row["chip"]] + 5.0 + 0.1 * row["train_seed"]}
            ),
        )
    rankings = gather(store).rankings["rram-wan2022"]
    assert {m: s.tags for m, s in rankings.items()} == {"sgd": [], "m-rwp": ["best", "better"]}
    assert all(c.settled for c in gather(store).baseline_comparisons)  # the summary says the same
    write_report(folder)
    assert '<span class="tag better">better</span>' in (folder / "report.html").read_text()
    assert "** best better" in (folder / "report.md").read_text()
    edit_rows(folder, "m-rwp-seed1", lambda row: row | {"accuracy": row["accuracy"] - 8.0})
    rankings = gather(store).rankings["rram-wan2022"]
    assert {m: s.tags for m, s in rankings.items()} == {"sgd": [], "m-rwp": ["best"]}
    assert not any(c.settled for c in gather(store).baseline_comparisons)
    write_report(folder)
    html, markdown = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert '<span class="tag better">better</span>' not in html
    assert "This page makes 3 comparisons" in html
    assert "No method is settled to be better than sgd" in markdown
    assert "** best better" not in markdown


def cells_of(html, table):
    """Method -> texts of its cells, in one accuracy table of the page."""
    text = html.split('<table class="results">')[table].split("</table>")[0]
    rows = re.findall(r'<tr data-method=".*?"><th scope="row">(.*?)</th>(.*?)</tr>', text, re.DOTALL)
    return {m: [re.sub(r"<[^>]+>", " ", c).split() for c in re.findall(r"<td.*?</td>", r, re.DOTALL)] for m, r in rows}


def test_every_cell_of_the_page_and_of_the_markdown_is_the_summary_row(finished_comparison):
    html = (finished_comparison / "report.html").read_text()
    markdown = (finished_comparison / "report.md").read_text()
    best = {
        t: max(s, key=lambda m: s[m].estimate.mean)
        for t, s in gather(ComparisonResults.open(finished_comparison)).rankings.items()
    }
    summary = pd.read_csv(finished_comparison / "summary.csv").set_index(["model", "target"])
    for table, targets in enumerate([["digital", "rram-wan2022"], ["gaussian-0.2"]], start=1):
        for method, cells in cells_of(html, table).items():
            for target, cell in zip(targets, cells, strict=True):
                row = summary.loc[method, target]
                interval = f"[{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
                noise = "–" if math.isnan(row["sd_noise"]) else f"{row['sd_noise']:.2f}"
                words = [f"{row['mean']:.2f}", *interval.split(), "sd", noise, "·", f"{row['sd_seed']:.2f}"]
                assert [word for word in cell if word not in ("best", "better", "worse")] == words
                assert ("best" in cell) == (best[target] == method)
                mean = f"**{row['mean']:.2f}** best" if best[target] == method else f"{row['mean']:.2f}"
                mean += "".join(f" {tag}" for tag in ("better", "worse") if tag in cell)
                assert f"| {mean}<br>{interval}<br>sd {noise} · {row['sd_seed']:.2f} |" in markdown


def test_sampling_error_is_binomial(folder):
    content = gather(ComparisonResults.open(folder))
    shares = [e.mean / 100 for e in content.estimates.values()]
    half = [1.959964 * math.sqrt(p * (1 - p) / 180) * 100 for p in shares]
    assert content.sampling_half_widths == pytest.approx(half, rel=1e-4)


def test_the_sigma_figure_shows_the_rows_of_filter_max_by_rising_sigma(folder):
    content = gather(ComparisonResults.open(folder))
    points = curves_over_sigma(content)
    assert [sigma for sigma, _ in points["sgd"]] == [0.0, 0.2]
    assert [e.mean for _, e in points["sgd"]] == [content.estimates["sgd", t].mean for t in ("digital", "gaussian-0.2")]


def test_unusual_specs_have_a_report(write_quick_spec, run, tmp_path):
    targets = """targets = [ "gaussian-0.1", "gaussian-0.10", "rram-wan2022",
        { name = "norm", noise = "gaussian", sigma = 0.1, scale = "filter_norm" },
        { name = "wan-two", device = "rram-wan2022", mapping = "two-sided" } ]"""
    path = write_quick_spec(
        ('targets = ["digital", "gaussian-0.2", "rram-wan2022"]', targets),
        ('[methods.m-rwp]\nsigma = 0.1\nramp = { shape = "linear", fraction = 0.5 }', "[methods.rwp]\nnoise = 'ideal'"),
        ("train_seeds = [0, 1]", "train_seeds = [3]"),
        ("[methods.sgd]", '[methods.sgd]\nramp = { shape = "constant" }'),
    )
    run(path)
    html = write_report(tmp_path / "out").read_text()
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert "chips only" in page.text
    assert "noise ideal" in page.text
    assert "nan" not in page.text.lower()
    assert html.count("<svg") == 5  # targets, yields, training, and a curve for each device: none over sigma or time


def test_methods_whose_seeds_do_not_overlap_are_not_compared(folder):
    for cell in ("sgd-seed0", "m-rwp-seed1"):
        shutil.rmtree(folder / "runs" / cell)
        (folder / "runs" / cell).mkdir()
        (folder / "runs" / cell / "failed.json").write_text('{"reason": "lost"}')
    text = Page(write_report(folder).read_text()).text
    assert "unpaired" in text
    assert "1 of 2 models" in text
    assert "chips only" in text
    assert not [f for f in gather(ComparisonResults.open(folder)).baseline_comparisons if f.settled]


def test_a_difference_over_some_of_the_models_says_so(folder):
    rows = {
        r["chip"]: r["accuracy"]
        for r in ComparisonResults.open(folder).evaluations(Trial("sgd", 0))
        if r["target"] == "gaussian-0.2"
    }
    edit_rows(
        folder,
        "m-rwp-seed0",
        lambda row: (
            row | ({"accuracy": rows[row["chip"]] + 9 + row["chip"]} if row["target"] == "gaussian-0.2" else {})
        ),
    )
    shutil.rmtree(folder / "runs" / "m-rwp-seed1")
    html = write_report(folder).read_text()
    for text in (html, (folder / "report.md").read_text()):
        assert "+10.00 points [7.52, 12.48] (over the 1 of 2 models that both methods have)" in text


def test_many_targets_are_laid_out_at_most_six_side_by_side(write_quick_spec, run, tmp_path):
    noises = ", ".join(f'"gaussian-0.{i:02d}"' for i in range(1, 14))
    run(
        write_quick_spec(
            ('targets = ["digital", "gaussian-0.2", "rram-wan2022"]', f"targets = [{noises}]"),
            ("chips = 3", "chips = 1"),
        )
    )
    assert [len(group) for group in gather(ComparisonResults.open(tmp_path / "out")).target_groups] == [4, 4, 5]


def test_a_half_evaluated_model_is_unfinished(folder):
    path = folder / "runs" / "sgd-seed1" / "evaluations.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    assert "Unfinished: 1 of 4 models has no complete result" in Page(write_report(folder).read_text()).text


def test_an_unfinished_comparison_has_a_report_that_says_so(folder):
    shutil.rmtree(folder / "runs" / "m-rwp-seed1")
    shutil.rmtree(folder / "runs" / "sgd-seed1")
    text = Page(write_report(folder).read_text()).text
    assert "Unfinished: 2 of 4 models" in text
    assert "chips only" in text  # one seed is there, whatever the spec asks for


def test_a_comparison_without_any_row_has_a_report(folder):
    shutil.rmtree(folder / "runs")
    text = Page(write_report(folder).read_text()).text
    assert "Unfinished: 4 of 4 models have no complete result" in text
    assert "the baseline ()" not in text
    assert "settled" not in text


def test_failures_are_listed_with_their_reason_and_text_is_escaped(folder):
    (folder / "runs" / "sgd-seed1" / "failed.json").write_text('{"reason": "lost <b>weight</b> & more"}')
    html = write_report(folder).read_text()
    assert "lost &lt;b&gt;weight&lt;/b&gt; &amp; more" in html
    assert "lost &lt;b>weight&lt;/b> & more" in (folder / "report.md").read_text()


def test_a_half_written_last_row_is_left_out(folder):
    before = write_report(folder).read_bytes()
    with (folder / "runs" / "sgd-seed0" / "evaluations.jsonl").open("a") as file:
        file.write('{"model": "sgd", "train_seed": 0, "target": "rram')
    assert write_report(folder).read_bytes() == before


def test_a_folder_without_a_comparison_is_refused(tmp_path):
    with pytest.raises(InputError, match="comparison"):
        write_report(tmp_path)


def test_the_order_in_which_rows_were_written_is_in_no_file_of_the_report(finished_comparison, tmp_path):
    first, second = (shutil.copytree(finished_comparison, tmp_path / name) for name in ("first", "second"))
    for path in second.glob("runs/*/evaluations.jsonl"):
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    for folder in (first, second):
        write_report(folder)
    for name in ("evaluations.csv", "summary.csv", "report.md", "report.html"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize(
    ("optimizer", "words"), [("sgd", "SGD with momentum 0.9, learning"), ("adamw", "AdamW, learning")]
)
def test_the_recipe_names_the_optimizer_and_a_momentum_only_of_sgd(change_question, optimizer, words):
    training = {"epochs": 3, "batch_size": 100, "optimizer": optimizer}
    folder = change_question(training=training)
    write_report(folder)
    (recipe,) = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("Recipe: ")]
    assert words in recipe
    assert ("momentum" in recipe) == (optimizer == "sgd")
