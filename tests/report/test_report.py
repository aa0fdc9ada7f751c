"""The report: self-contained, a pure function of the rows, honest about ties, gaps and failures."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from aimc_robust.bench.store import Store
from aimc_robust.errors import InputError
from aimc_robust.report import write_report
from aimc_robust.report.content import gather


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
def folder(done, tmp_path):
    """A copy of a finished comparison, to be changed."""
    return shutil.copytree(done, tmp_path / "copy")


def edit_rows(folder, cell, change):
    path = folder / "runs" / cell / "evaluations.jsonl"
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_page_needs_no_network_and_no_other_file(folder):
    html = write_report(folder).read_text()
    page = Page(html)
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"@import|@font-face|url\((?!#)", html)
    outside = [link for link in page.links if not link.startswith("#")]
    assert all(link.startswith("https://doi.org/10.") for link in outside)
    assert len(outside) == 1


def test_ids_are_unique_and_every_reference_inside_the_page_resolves(folder):
    html = write_report(folder).read_text()
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


def test_both_reports_hold_question_tables_devices_source_and_versions(folder):
    html = Page(write_report(folder).read_text()).text
    markdown = (folder / "report.md").read_text()
    summary = (folder / "summary.csv").read_text().splitlines()[1:]
    spec = Store.open(folder).spec
    for text in (html, markdown):
        for word in [spec.question, *spec.labels, "rram-wan2022", "10.1038/s41586-022-04992-8", "torch", "seeds"]:
            assert word in text
        for line in summary:
            assert f"{float(line.split(',')[3]):.2f}" in text
    assert html.count("<svg") == 0  # figures are elements, not escaped text
    assert (folder / "report.html").read_text().count("<svg") == 4


def test_the_best_is_marked_and_ties_are_those_the_paired_interval_cannot_tell_apart(folder):
    store = Store.open(folder)
    # m-rwp beats sgd by exactly 5 points on every chip and seed: settled. Then only on average: tied.
    rows = {(r["seed"], r["target"], r["chip"]): r["accuracy"] for c in store.cells[::2] for r in store.evaluations(c)}
    for seed in (0, 1):
        edit_rows(
            folder,
            f"m-rwp-seed{seed}",
            lambda row: row | {"accuracy": rows[row["seed"], row["target"], row["chip"]] + 5.0 + 0.1 * row["seed"]},
        )
    standings = gather(store).standings["rram-wan2022"]
    assert {m: s.place for m, s in standings.items()} == {"sgd": "", "m-rwp": "best"}
    edit_rows(folder, "m-rwp-seed1", lambda row: row | {"accuracy": row["accuracy"] - 8.0})
    standings = gather(store).standings["rram-wan2022"]
    assert {m: s.place for m, s in standings.items()} == {"sgd": "tied", "m-rwp": "best"}
    write_report(folder)
    assert "tied" in (folder / "report.html").read_text()


def test_an_unfinished_comparison_has_a_report_that_says_so(folder):
    shutil.rmtree(folder / "runs" / "m-rwp-seed1")
    shutil.rmtree(folder / "runs" / "sgd-seed1")
    text = Page(write_report(folder).read_text()).text
    assert "Unfinished: 2 of 4 models" in text
    assert "One model was trained" not in text  # the spec asks for two


def test_a_comparison_without_any_row_has_a_report(folder):
    shutil.rmtree(folder / "runs")
    assert "Unfinished: 4 of 4 models" in Page(write_report(folder).read_text()).text


def test_failures_are_listed_with_their_reason_and_text_is_escaped(folder):
    (folder / "runs" / "sgd-seed1" / "failed.json").write_text('{"reason": "lost <b>weight</b> & more"}')
    html = write_report(folder).read_text()
    assert "lost &lt;b&gt;weight&lt;/b&gt; &amp; more" in html
    assert "lost <b>weight</b> & more" in (folder / "report.md").read_text()


def test_a_half_written_last_row_is_left_out(folder):
    before = write_report(folder).read_bytes()
    with (folder / "runs" / "sgd-seed0" / "evaluations.jsonl").open("a") as file:
        file.write('{"method": "sgd", "seed": 0, "target": "rram')
    assert write_report(folder).read_bytes() == before


def test_a_folder_without_a_comparison_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no comparison"):
        write_report(tmp_path)
