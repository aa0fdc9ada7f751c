"""The documentation site builds strictly, has every public name, every kind of report and all stored results; its pages
fit a screen and a phone, and are searched offline."""

import ast
import html
import importlib
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aimc_robust as ar

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WIDTHS = {"screen": (1280, 900), "phone": (390, 844)}
PAGES = [
    "index.html",
    "tutorials/first-report.html",
    "how-to/describe-hardware.html",
    "how-to/predict-accuracy.html",
    "explanation/crossbars.html",
    "explanation/statistics.html",
    "reference/api/evaluation.html",
    "reference/spec.html",
    "reference/command-line.html",
    "reference/devices/pcm-nandakumar2019.html",
    "benchmarks/index.html",
    "benchmarks/results/all.html",
    "benchmarks/results/incorruptible-table2-cpu-digits/report.html",
    "gallery/index.html",
    "gallery/evaluate/report.html",
]
SEARCHES = {
    "predict accuracy on RRAM crossbar": "how-to/predict-accuracy.html",
    "choose a method": "how-to/choose-a-method.html",
    "add a device from measurements": "how-to/add-a-device.html",
    "fit a device card": "how-to/add-a-device.html",
    "keep layers digital": "how-to/keep-layers-digital.html",
    "how good must a device be": "how-to/device-requirements.html",
    "compare training methods": "how-to/compare-methods.html",
    "train with noise": "how-to/train.html",
    "reproduce a table": "how-to/reproduce-a-table.html",
    "sharpness": "how-to/measure-sharpness.html",
    "drift compensation": "how-to/describe-hardware.html",
    "settled": "explanation/statistics.html",
    "RWP": "explanation/methods.html",
}


def test_the_pictures_of_crossbars_are_what_their_script_draws():
    pictures = runpy.run_path(str(ROOT / "docs/hooks/pictures.py"))["PICTURES"]
    for name, draw in pictures.items():
        assert (ROOT / "docs/explanation" / name).read_text(encoding="utf-8") == draw(), name


@pytest.mark.parametrize("table", ["DataSpec", "CrossbarTable", "TrainingTable", "rwp"])
def test_every_key_of_a_table_of_specs_has_a_meaning(table, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs/hooks"))
    reference = importlib.import_module("reference")
    page = reference.spec_page(reference.spec_schema())
    section = page.split(f"\n## {table}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in re.findall(r"^\| `.*$", section, re.M)
    ]
    assert len(rows) >= 10
    assert [row[0] for row in rows if len(row) != 4 or len(row[-1]) < 10] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra [docs] is not installed; the site cannot be built")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_public_name_every_command_and_every_device_has_an_entry(site):
    reference = "".join(path.read_text(encoding="utf-8") for path in (site / "reference/api").glob("*.html"))
    names = {*ar.__all__, *(f"plot.{name}" for name in ar.plot.__all__)} - {"__version__", "plot"}
    assert [name for name in sorted(names) if f'id="aimc_robust.{name}"' not in reference] == []
    assert {path.stem for path in (site / "reference/devices").glob("*.html")} == {"index", *ar.card_names()}


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"?(https?:[^\s\">]+)", text)
        loaded += re.findall(r"<link[^>]+rel=\"?(?:stylesheet|preconnect|icon)[^>]+href=\"?(https?:[^\s\">]+)", text)
        assert loaded == [], path


def links(path):
    """The relative links and pictures of a page, without anchors."""
    text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"<(?:a|img)\b[^>]*?\s(?:href|src)=(?:\"([^\"]*)\"|([^\s>]+))", text)
    addresses = {html.unescape(quoted or bare).split("#")[0] for quoted, bare in found}
    return {address for address in addresses if address and not re.match(r"[a-z]+:|/", address)}


@pytest.mark.slow
def test_no_link_is_broken(site):
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    assert len(pages) > 100
    broken = [(path, link) for path in pages for link in links(path) if not (path.parent / link).exists()]
    assert broken == []


@pytest.mark.slow
def test_every_report_leads_back_to_the_page_that_shows_it(site):
    reports = [path for path in site.rglob("*.html") if '<p class="kicker">' in path.read_text(encoding="utf-8")]
    assert len(reports) > 30
    for report in reports:
        (home,) = re.findall(r'<p class="kicker"><a href="([^"]+)">Documentation</a>', report.read_text("utf-8"))
        assert report in [(report.parent / home).parent / link for link in links(report.parent / home)] or (
            "gallery" in report.parts and (report.parent / home).resolve() == site / "gallery/index.html"
        )


@pytest.mark.slow
def test_every_folder_of_results_has_a_page_with_its_figures_and_a_full_report(site):
    table = site / "benchmarks/results/all.html"
    names = {path.parent.name for path in ROOT.glob("benchmarks/results/*/rows.tar.xz")}
    assert len(names) >= 20
    for name in names:
        assert {f"{name}/report.html", f"{name}/full-report.html"} <= links(table), name
        page = site / "benchmarks/results" / name / "report.html"
        assert "full-report.html" in links(page)
        assert any(link.startswith("figures/") for link in links(page)), name
    row = r'<td><a href="incorruptible-table1-cpu-digits/report.html">.*?</tr>'
    row = re.search(row, table.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert re.search(r"8 held<br ?/?>\s*0 did not hold<br ?/?>\s*0 not settled", row)


@pytest.mark.slow
def test_the_gallery_has_every_kind_of_page_that_is_written(site):
    linked = [site / "gallery" / link for link in links(site / "gallery/index.html")]
    shown = [path.read_text(encoding="utf-8") for path in linked if path.suffix == ".html" and path.is_file()]
    kinds = page_kinds()
    assert {"comparison of training methods", "evaluation", "recommendation", "requirements"} <= kinds
    assert [kind for kind in kinds if not any(f"· {kind}<" in text for text in shown)] == []
    assert any(path.suffix == ".svg" for path in linked)


def page_kinds():
    """The kinds of pages that the package and the leaderboard write: the second argument of each `Page`."""
    paths = [*(ROOT / "aimc_robust").rglob("*.py"), *(ROOT / "benchmarks/leaderboard").glob("*.py")]
    calls = [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    pages = [c for c in calls if isinstance(c, ast.Call) and isinstance(c.func, ast.Name) and c.func.id == "Page"]
    return {ast.literal_eval(page.args[1]) for page in pages}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("device", WIDTHS)
def test_pages_fit_the_width(site, browser, device):
    width, height = WIDTHS[device]
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    page = context.new_page()
    for name in PAGES:
        page.goto((site / name).as_uri())
        assert page.locator("h1").first.is_visible(), name
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, name
    context.close()


@pytest.mark.slow
def test_search_finds_the_right_page_first_without_a_server(site, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    for words, expected in SEARCHES.items():
        page.goto((site / "index.html").as_uri())
        page.locator("input.md-search__input").fill(words)
        first = page.locator(".md-search-result__item > a").first
        assert expected in first.get_attribute("href", timeout=60_000), words
    context.close()
