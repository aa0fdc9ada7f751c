"""The pages in a real Chromium: they open without a network, sort, filter, fit a phone, and need no JavaScript.

Skipped where Playwright or a Chromium is missing.
"""

import json
import os
import shutil

import pytest

from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.report.write import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine"),
]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}

LONG = "rwp-" + "a-name-that-is-as-long-as-a-label-may-be-" * 2
TARGETS = ["digital", "rram-wan2022", "sonos-agrawal2022", *(f"gaussian-{i / 20:.2f}" for i in range(1, 12))]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def many(tiny, tmp_path_factory):
    """The page of a real comparison of eight methods on fourteen targets, which also shows diagnostics."""
    folder = tmp_path_factory.mktemp("many")
    methods = "".join(f"[methods.rwp-{i}]\nkind = 'rwp'\nsigma = {i / 20}\n" for i in range(1, 6))
    methods += f"[methods.{LONG[:80]}]\nkind = 'rwp'\nsigma = 0.4\nramp = {{ shape = 'linear', fraction = 0.5 }}\n"
    text = tiny.replace('["digital", "gaussian-0.2", "rram-wan2022"]', str(TARGETS)) + methods
    for old, new in (
        ("[0, 1]", "[0]"),
        ("chips = 3", "chips = 2"),
        ("epochs = 3", "epochs = 1"),
        ("= 0.1\n[m", "= 0.5\n[m"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "spec.toml"
    path.write_text(text)
    compare(load_spec(path), folder / "out", spec_text=text, data_folder=folder, progress=ExperimentProgress())
    for path in (folder / "out").glob("runs/*/history.jsonl"):
        row = json.loads(path.read_text())
        path.write_text(json.dumps(row | {"gradient_norm": 1.0, "test_accuracy@0": 50.0}) + "\n")
    return write_report(folder / "out")


@pytest.fixture(scope="module")
def evaluation(finished_evaluation, tmp_path_factory):
    """The page of a finished evaluation."""
    copy = tmp_path_factory.mktemp("evaluation") / "out"
    shutil.copytree(finished_evaluation.folder, copy)
    return write_report(copy)


@pytest.fixture
def pages(many, comparison_with_paper, evaluation):
    return {"many": many, "paper": comparison_with_paper / "report.html", "evaluation": evaluation}


@pytest.fixture
def opened(browser):
    """Opens a file; faults and requests are kept in `page.faults` and `page.requests`."""
    contexts = []

    def open_(path, viewport=WIDE, **options):
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.faults, page.requests = [], []
        page.on("console", lambda m: page.faults.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        if folder := os.environ.get("AIMC_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/{path.parts[-3]}-{viewport['width']}.png", full_page=True)
        return page

    yield open_
    for context in contexts:
        context.close()


def column(page, table, number):
    """The first word of each cell of one column of a table."""
    texts = "(table, number) => [...table.tBodies[0].rows].map(row => row.cells[number].innerText)"
    return [text.split()[0] for text in page.locator(table).evaluate(texts, number)]


@pytest.mark.parametrize("name", ["many", "paper", "evaluation"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_a_page_opens_without_faults_or_requests_and_nothing_overflows(pages, opened, name, viewport):
    page = opened(pages[name], viewport)
    for summary in page.locator("details > summary").all():
        summary.click()
    assert page.faults == []
    assert page.requests == [pages[name].as_uri()]
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), page.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth)"
        ".map(e => e.tagName + '.' + e.className).slice(0, 9)"
    )


def test_the_check_of_overflow_can_fail(many, opened):
    page = opened(many, PHONE)
    page.evaluate("document.querySelector('h1').style.width = '900px'")
    assert not page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def test_a_table_sorts_by_value_on_a_click_and_again_reversed(many, opened):
    page = opened(many)
    table = "table.results >> nth=0"
    head = page.locator(table).locator("thead th").nth(2)
    before = column(page, table, 0)
    head.locator("button").click()
    values = [float(text) for text in column(page, table, 2)]
    assert values == sorted(values)
    assert head.get_attribute("aria-sort") == "ascending"
    assert sorted(column(page, table, 0)) == sorted(before) != column(page, table, 0)
    head.locator("button").click()
    assert [float(text) for text in column(page, table, 2)] == values[::-1]
    assert head.get_attribute("aria-sort") == "descending"
    page.locator(table).locator("thead th button").first.click()
    assert column(page, table, 0) == sorted(before)
    assert head.get_attribute("aria-sort") == "none"


def test_a_table_sorts_by_keyboard(many, opened):
    page = opened(many)
    table = "table.results >> nth=1"
    button = page.locator(table).locator("thead th button").nth(1)
    for key, reverse in (("Enter", False), ("Space", True)):
        button.focus()
        page.keyboard.press(key)
        values = [float(text) for text in column(page, table, 1)]
        assert values == sorted(values, reverse=reverse)


def test_a_page_without_filters_sorts_too(evaluation, opened):
    page = opened(evaluation)
    button = page.locator("table >> nth=0").locator("thead th button").nth(2)
    button.click()
    values = [float(text) for text in column(page, "table >> nth=0", 2)]
    assert values == sorted(values)
    assert page.faults == []


def test_numbers_sort_by_value_and_what_is_missing_comes_last(comparison_with_paper, opened):
    page = opened(comparison_with_paper / "report.html")
    for table, number in (("table.paper", 2), ("table >> nth=5", 6)):
        button = page.locator(table).locator("thead th button").nth(number)
        for reverse in (False, True):
            button.click()
            values = [float(text) for text in column(page, table, number)]
            assert values == sorted(values, reverse=reverse)
    page.evaluate("document.querySelector('table.paper tbody tr td').dataset.value = '9'")
    page.evaluate("document.querySelectorAll('table.paper tbody tr td:nth-child(2)')[1].dataset.value = '10'")
    last = page.locator("table.paper tbody tr").nth(2).locator("td").first
    last.evaluate("cell => { delete cell.dataset.value; cell.textContent = '–'; }")
    button = page.locator("table.paper thead th button").nth(1)
    button.click()
    assert column(page, "table.paper", 1)[2] == "–"
    button.click()
    assert column(page, "table.paper", 1)[2] == "–"


def test_filters_hide_the_rows_and_columns_of_what_is_not_chosen(many, opened):
    page = opened(many)
    form = page.locator("form.filters")
    form.get_by_label("rwp-3", exact=True).uncheck()
    form.get_by_label("gaussian-0.05", exact=True).uncheck()
    form.get_by_label("rram-wan2022", exact=True).uncheck()
    for what in ("[data-method='rwp-3']", "[data-target='gaussian-0.05']", "[data-target='rram-wan2022']"):
        assert page.locator(what).count() > 1
        assert page.locator(f"{what} >> visible=true").count() == 0
    assert page.locator("tr[data-method='rwp-2'] >> visible=true").count() >= 4  # three tables of accuracies, trainings
    assert page.locator("section[data-target] >> visible=true").count() == 1
    assert form.locator("[role=status]").inner_text() == "7 of 8 methods shown, 12 of 14 targets shown"
    form.locator("fieldset[data-kind=target] button[data-set=none]").click()
    assert page.locator("table.results >> visible=true").count() == 0
    form.get_by_label("digital", exact=True).check()
    assert page.locator("table.results >> visible=true").count() == 1
    form.locator("fieldset[data-kind=target] button[data-set=all]").click()
    form.locator("fieldset[data-kind=method] button[data-set=all]").click()
    assert page.locator("table.results tr[data-method] >> visible=true").count() == 3 * 8


def test_without_javascript_everything_is_there(many, opened):
    page = opened(many, java_script_enabled=False)
    assert page.locator("table.results tbody tr >> visible=true").count() == 3 * 8
    assert page.locator("table.results td >> visible=true").count() == 8 * len(TARGETS)
    assert page.locator("form.filters").is_hidden()
    assert page.locator("thead button").count() == 0
    assert page.faults == []


@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_the_link_of_a_heading_leads_to_its_section_and_opens_a_folded_one(many, opened, viewport):
    page = opened(many, viewport)
    for section in ("section[id]", "details[id]"):
        element = page.locator(section).last
        assert element.get_attribute("open") is None
        element.locator(".anchor").first.click()
        assert page.evaluate("location.hash") == f"#{element.get_attribute('id')}"
        assert element.bounding_box()["y"] < viewport["height"]
    assert element.get_attribute("open") is not None
