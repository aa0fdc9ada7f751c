"""The report of an evaluation: every number from the rows, self-contained, and honest about what is not there."""

import html
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support.evaluation_cases import evaluation_inputs, run

from aimc_robust.cli.app import main
from aimc_robust.evaluation.error_sources import SOURCES
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.report.evaluation import explanation_sections
from aimc_robust.report.evaluation.content import gather
from aimc_robust.report.write import write_report
from aimc_robust.statistics.crossed_effects import CrossedEffects

NAMES = {"exact": "exact", "near": "near-seed0"}  # of the models that are explained
VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use"}


class Page(HTMLParser):
    """Tables, links, pictures and text of a page; what is opened must be closed, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.pictures, self.ids = [], [], [], [], []
        self.tables, self.cell, self.text = [], None, ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [values[key] for key in ("href", "src", "xlink:href", "action") if key in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "svg":
            self.pictures.append(values)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.cell = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.tables[-1][-1].append(" ".join(self.cell.split()))
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data


def markdown_tables(text):
    """Rows of cells of each table, without the line under the heads; lines of a cell as the words of the page."""
    blocks = re.findall(r"(?:^\|.*\n)+", text.replace("<br>", " "), flags=re.MULTILINE)
    rows = [[[c.strip() for c in line.strip().strip("|").split("|")] for line in b.splitlines()] for b in blocks]
    return [[table[0], *table[2:]] for table in rows]


def number(value, digits=2):
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def bounds(low, high, digits=2):
    return "" if low is None or math.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"


def joined(*parts):
    return " ".join(part for part in parts if part)


def p_text(p):
    return "–" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def frame(folder, name):
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])


@pytest.fixture(scope="module")
def folder(finished_evaluation, tmp_path_factory):
    """A copy of the finished evaluation, with its report."""
    copy = tmp_path_factory.mktemp("report") / "out"
    shutil.copytree(finished_evaluation.folder, copy)
    write_report(copy)
    return copy


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


@pytest.fixture(scope="module")
def markdown(folder):
    return markdown_tables((folder / "report.md").read_text())


# Numbers: tests/deployment compares the tables with the rows, these compare the pages with the tables ----------------


def beyond_noise(variance):
    """What the page says of the models' variance component."""
    if math.isnan(variance):
        return "–"
    return f"{math.sqrt(variance):.2f}" if variance >= 0 else f"negative (variance {variance:.2g})"


@pytest.mark.slow
def test_every_accuracy_of_the_page_is_the_summary(folder, page, markdown):
    expected, short, estimates = [], [], EvaluationResults.open(folder).estimates()
    for r in frame(folder, "summary").to_dict("records"):
        chips = f"{r['models']} x {r['chips']}" if r["models"] > 1 else str(r["chips"])
        share = joined(f"{r['yield']:.0f} %", bounds(r["yield_low"], r["yield_high"], 0) or "–")
        interval, last = bounds(r["ci_low"], r["ci_high"]), [number(r["loss"], 3)]
        top5 = estimates[r["model"], r["target"]].for_column("top5")
        assert top5.mean == pytest.approx(r["top5"])
        last.append(joined(number(top5.mean), bounds(*top5.ci)))
        chip = [f"no. {r['worst_chip']}"] if r["chips"] > 1 else []
        chip += [f"{r['model']}-seed{r['worst_train_seed']}"] if r["models"] > 1 else []
        worst = joined(number(r["worst"]), " of ".join(chip))
        seeds = f"{number(r['sd_seed'])} {beyond_noise(r['var_seed'])}"
        names, low = [r["model"], r["target"]], number(r["reached_by_95"])
        skewed = f"skewed {bounds(r['skewed_low'], r['skewed_high'])}" if abs(r["skewness"]) > 1 else ""
        mean = joined(number(r["mean"]), interval, skewed if r["skewed_low"] > 0 else "")
        expected.append([*names, mean, number(r["sd_noise"]), seeds, low, worst, share, *last, chips])
        short.append([*names, mean.replace(number(r["mean"]), f"**{number(r['mean'])}**", 1), *expected[-1][3:]])
    assert page.tables[0][1:] == expected
    assert markdown[0][1:] == short


@pytest.mark.slow
def test_every_difference_of_the_page_is_in_the_table(folder, page, markdown):
    expected = []
    for r in frame(folder, "differences").to_dict("records"):
        names = [f"{r['first_model']} on {r['first_target']}", f"{r['second_model']} on {r['second_target']}"]
        interval, settled = bounds(r["ci_low"], r["ci_high"]), "yes" if r["p_holm"] < 0.05 else "no"
        both = joined(number(r["difference"]), interval)
        expected.append(
            [*names, both, f"{r['covers']} {r['pairs']} pairs", p_text(r["p"]), p_text(r["p_holm"]), settled]
        )
    assert page.tables[1][1:] == markdown[1][1:] == expected


def test_every_cost_of_the_page_is_the_attribution(folder, page, markdown):
    rows = frame(folder, "attribution")
    groups = list(rows.groupby(["model", "target"], sort=False))
    assert len(groups) == 4
    for (key, group), table, short in zip(groups, page.tables[2:6], markdown[2:6], strict=True):
        costs = [
            [joined(number(r[k]), bounds(r[f"{k}_low"], r[f"{k}_high"])) for k in ("cost_alone", "saved")]
            for r in group.to_dict("records")
        ]
        layer = {row.name: f"{int(row.weights):,}" for row in group[group["kind"] == "layer"].itertuples(index=False)}
        heads = [
            [name, layer[name]] if name in layer else [f"{name} {SOURCES[name]}", ""] for name in group["name"].map(str)
        ]
        assert table[1:] == short[1:] == [head + cost for head, cost in zip(heads, costs, strict=True)], key
        first = group.iloc[0]
        facts = f"{first['exact']:.2f} % without errors, {first['whole']:.2f} % with all errors."

        assert f"{NAMES[key[0]]} on {key[1]}" in page.text
        assert facts in page.text
    assert "Of several models of a label the first is explained." in page.text


@pytest.mark.parametrize(
    ("low", "words"),
    [
        ([-1.0, 0.5], "the layers whose interval excludes 0: `2`, which alone costs 3.00 points [0.50, 5.50]."),
        ([0.2, 0.5], "the layers whose interval excludes 0: `1`, which alone costs 4.00 points [0.20, 9.00]."),
        ([-1.0, -0.5], "No layer alone has a cost beyond chance."),
        ([math.nan, math.nan], "The largest cost among the layers: `1`, which alone costs 4.00 points."),
    ],
    ids=["the second", "the first", "none", "nothing random"],
)
def test_the_layer_that_the_page_names_is_the_largest_whose_interval_excludes_0_and_it_says_so(folder, low, words):
    content = gather(EvaluationResults.open(folder))
    rows = content.results.explanation("attribution")
    rows = rows[(rows["model"] == "exact") & (rows["target"] == "wan-1d") & (rows["kind"] == "layer")][:2]
    rows = rows.assign(name=["1", "2"], cost_alone=[4.0, 3.0], cost_alone_low=low, cost_alone_high=[9.0, 5.5])
    rows = pd.concat([rows[:1].assign(kind="all"), rows])
    section = explanation_sections._attribution(content.metric, "exact", "wan-1d", rows)
    assert words in section.blocks[0]


def test_every_prediction_of_the_page_stands_beside_the_chips_of_its_model(folder, page, markdown):
    rows, chips, checks = (frame(folder, name) for name in ("prediction", "evaluations", "validity"))
    own = checks[checks["scale"] == 1].set_index(["model", "train_seed", "target"])["verdict"]
    expected = []
    for r in rows.to_dict("records"):
        mine = chips[
            (chips[["model", "train_seed", "target"]] == [r["model"], r["train_seed"], r["target"]]).all(axis=1)
        ]
        simulated = f"{mine['loss'].mean():.4f}"
        names, left_out = (
            [NAMES[r["model"]], r["target"]],
            r["left_out"] if isinstance(r["left_out"], str) else "nothing",
        )
        clean, mean, predicted = (f"{r[key]:.4f}" for key in ("clean_loss", "mean_weight_loss", "predicted"))
        curvature = f"{r['curvature']:.4f} ± {r['curvature_se']:.4f}"
        expected.append([*names, clean, mean, curvature, predicted, f"{simulated} 4 chips"])
        interval = f"[{r['metric_low']:.2f}, {r['metric_high']:.2f}]"
        expected[-1] += [f"{r['metric_predicted']:.2f} {interval}", f"{mine['accuracy'].mean():.2f}"]
        expected[-1] += [own.get((r["model"], r["train_seed"], r["target"]), "–"), left_out]
    assert page.tables[6][1:] == expected
    assert [[cell.replace("**", "") for cell in row] for row in markdown[6][1:]] == expected
    assert len(expected) == 8
    assert [row[-2] == "–" for row in expected].count(False) == len(own) > 0
    assert "**does not hold**: it is farther away" in (folder / "report.md").read_text()


def test_every_figure_and_its_caption_is_in_the_markdown(folder, page):
    text = (folder / "report.md").read_text()
    named = re.findall(r"^Figure `(figures/[^`]+)`: .+", text, flags=re.MULTILINE)
    assert len(named) == len(page.pictures)
    assert sorted(named) == sorted(f"figures/{path.name}" for path in (folder / "figures").glob("*.svg"))
    checks = frame(folder, "validity")
    for row in checks[checks["scale"] != 1].itertuples():
        assert re.search(
            rf"^Figure .*\*\*{NAMES[row.model]} on {row.target}\*\*.* {row.scale:g} × {row.verdict}", text, re.M
        )


def test_the_findings_name_the_loss_to_digital_weights_on_the_same_chips(folder, page):
    rows = frame(folder, "evaluations").set_index(["model", "target", "train_seed", "chip"])["accuracy"].sort_index()
    exact = rows.loc["exact", "digital"].iloc[0] - rows.loc["exact", "wan-1d"]
    low, high = stats.t.interval(0.95, len(exact) - 1, exact.mean(), stats.sem(exact))
    assert f"{exact.mean():.2f} points [{low:.2f}, {high:.2f}] worse than digital weights" in page.text
    near = np.array([rows.loc["near", "digital", k, 0] - rows.loc["near", "wan-1d", k] for k in (0, 1)])
    half = CrossedEffects(near).mean_error().half_width()
    mean = near.mean()
    size = f"{mean:.2f} points [{mean - half:.2f}, {mean + half:.2f}] worse"
    assert f"not settled whether better or worse than digital weights ({size})" in page.text


def test_a_device_that_scores_as_digital_weights_on_every_chip_is_the_same(small):
    folder, *_ = small
    path = folder / "runs" / "exact-seed0" / "evaluations.jsonl"
    rows = [json.loads(line) | {"accuracy": 90.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "; the same as digital weights." in Page(write_report(folder).read_text()).text


def test_what_the_data_are_is_no_warning(small):
    folder, *_ = small
    question = json.loads((folder / "question.json").read_text())
    question["images"]["notes"] = ["inputs: the columns a, b"]
    (folder / "question.json").write_text(json.dumps(question))
    (folder / "notes.json").write_text(json.dumps(["inputs: the columns a, b", "read with care"]))
    page = write_report(folder).read_text()
    (box,) = re.findall(r'<div class="warning">.*?</div>', page, re.DOTALL)
    assert "read with care" in box
    assert "inputs: the columns" not in box
    assert page.count("inputs: the columns a, b") == 1


# The page as a file -------------------------------------------------------------------------------------------------


def test_the_page_needs_no_network(page, folder):
    assert not {"iframe", "object", "embed", "link", "img"} & set(page.tags)
    assert page.tags.count("script") == 1  # that which sorts tables, in the page; test_browser.py says what it requests
    outside = [link for link in page.links if not link.startswith("#")]
    assert outside
    assert all(link.startswith("https://doi.org/") for link in outside)
    text = (folder / "report.html").read_text()
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_every_picture_is_described_and_no_id_is_there_twice(page):
    labels = [picture["aria-label"] for picture in page.pictures]
    assert all(picture["role"] == "img" for picture in page.pictures)
    assert all(labels)
    # chips, times, yields, 2 pictures for each of 4 attributions, 3 predictions for each of 2 models, 2 devices, their
    # states, and the inputs and currents of one of them
    assert len(labels) == 3 + 8 + 6 + 2 + 2 + 2
    assert len(page.ids) == len(set(page.ids))


def test_models_are_named_by_their_runs_and_a_term_is_explained_where_it_is_shown(page, folder):
    assert "3 trained models (exact-seed0, near-seed0, near-seed1) were programmed" in page.text
    assert "file=" not in page.text.replace("data-", "")
    shown = any(re.search(r"skewed \[", cell) for row in page.tables[0][1:] for cell in row)
    assert ("Hall's transformation" in page.text) == shown


def test_the_page_says_nothing_of_nan(page, folder):
    for text in (page.text, (folder / "report.md").read_text()):
        assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text)


@pytest.fixture
def small(files, evaluation_images, tmp_path):
    """(folder, question, models, images) of one model on one device, with its report."""
    question, models = evaluation_inputs([str(files / "exact.safetensors")], evaluation_images, chips=3)
    run(tmp_path / "out", question, models, evaluation_images, notes=["<b>read</b> & weep"])
    write_report(tmp_path / "out")
    return tmp_path / "out", question, models, evaluation_images


def pages(folder):
    return (folder / "report.html").read_bytes(), (folder / "report.md").read_bytes()


def test_report_rebuilds_the_same_bytes_from_the_rows_and_another_row_makes_another_page(small, monkeypatch, capsys):
    folder, *_ = small
    before = pages(folder)
    kept = {"question.json", "runs", "notes.json", "coverage.json", "environment.json", "state_counts.jsonl"}
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    monkeypatch.setattr(sys, "argv", ["aimc-robust", "report", str(folder)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    assert pages(folder) == before
    rows = folder / "runs" / "exact-seed0" / "evaluations.jsonl"
    first, second, *others = rows.read_text().splitlines()
    lower = json.loads(second) | {"accuracy": 12.5}
    rows.write_text("\n".join([first, json.dumps(lower), *others]) + "\n")
    write_report(folder)
    assert "12.50" in Page(pages(folder)[0].decode()).text
    assert b"12.50" in pages(folder)[1]
    assert b"12.50" not in before[0]


def test_text_of_the_users_is_escaped(small):
    folder, *_ = small
    path = folder / "question.json"
    question = json.loads(path.read_text())
    question["images"]["name"] = 'npz:a<script>alert("x")</script>.npz'
    path.write_text(json.dumps(question))
    text = write_report(folder).read_text()
    assert "&lt;b&gt;read&lt;/b&gt; &amp; weep" in text
    page = Page(text)
    assert page.tags.count("script") == 1  # the page's own
    assert 'a<script>alert("x")</script>.npz' in page.text
    assert "- &lt;b>read&lt;/b> & weep" in (folder / "report.md").read_text()


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_an_unfinished_evaluation_has_a_report_that_says_so(small, rows):
    folder, *_ = small
    path = folder / "runs" / "exact-seed0" / "evaluations.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:rows]))
    page = Page(write_report(folder).read_text())
    missing = {0: 2, 1: 1}.get(rows)
    for text in (page.text, (folder / "report.md").read_text()):
        assert ("Unfinished: " in text) == (missing is not None)
        assert missing is None or f"Unfinished: {missing} " in text
    assert ("Summary" in page.text, "Accuracy of every chip" in page.text) == (rows == 2, rows > 0)
    assert len(page.tables) == 2 + (rows > 0)  # arrays, weights, accuracies
    assert not rows or len(page.tables[0]) == 1 + rows


def test_an_attribution_that_was_asked_for_again_shows_its_last_answer(small):
    folder, question, models, shown = small
    for chips in (2, 3):
        results = run(folder, question, models, shown, attribution_chips=chips)
    write_report(folder)
    markdown = (folder / "report.md").read_text()
    assert "the same 3 chips" in markdown
    assert "the same 2 chips" not in markdown
    (table,) = [rows for rows in markdown_tables(markdown) if rows[0][0] == "source or layer"]
    assert len(results.explanation("attribution")) == len(table) - 1
    assert len((folder / "attribution.jsonl").read_text().splitlines()) == 2 * len(results.explanation("attribution"))
    assert (pd.read_csv(folder / "attribution.csv")["chips"] == 3).all()


def test_the_content_is_read_from_an_open_folder_alone(folder):
    content = gather(EvaluationResults.open(folder))
    assert content.missing == 0
    assert [[target.name for target in group] for group in content.devices] == [
        ["rram-milo2021"],
        ["wan", "wan-1d"],
    ]
    assert content.row("near", "wan")["models"] == 2
    assert content.row("near", "sonos") is None


# In a browser -------------------------------------------------------------------------------------------------------


def width_at(page, wide, tmp_path):
    """How wide a page would like to be in a window of so many pixels, as chromium lays it out; and what it logged."""
    script = "document.title = 'width ' + this.contentDocument.documentElement.scrollWidth"
    frame = f'<iframe srcdoc="{html.escape(page)}" style="width:{wide}px;border:0" onload="{script}"></iframe>'
    (tmp_path / "frame.html").write_text(f"<!doctype html><title>none</title><body>{frame}</body>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000"]
    options += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        ["chromium", *options, "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
    )
    return int(re.search(r"<title>width (\d+)</title>", done.stdout)[1]), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium on PATH")
def test_the_page_fits_a_phone_and_logs_no_error(folder, tmp_path):
    text = (folder / "report.html").read_text()
    width, log = width_at(text, 390, tmp_path)
    assert width == 390
    assert "CONSOLE" not in log
    broad = text.replace("<body>", '<body><div style="width:700px">x</div><script>console.error("loud")</script>')
    width, log = width_at(broad, 390, tmp_path)  # the control: both are seen where they happen
    assert width >= 700
    assert "CONSOLE" in log
